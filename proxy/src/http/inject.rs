//! Carries out what fault rules decided.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::log::Log;
use crate::{
    error::Error,
    observe::{Effect, Flags, Hit},
    policy::{
        fault::{Chosen, Fate, Who, abort},
        matcher::RequestView,
    },
};

/// Draws the faults of the request's route and suffers them. The answer that ends the request, if one does. When the
/// client leaves meanwhile, what was not done yet is recorded as abandoned.
pub(super) async fn suffer(
    log: &mut Log,
    headers: &HeaderMap,
) -> Result<Option<abort::Reply>, Error> {
    let Some(route) = log.route().filter(|route| !route.faults.rules.is_empty()) else {
        return Ok(None);
    };
    let who = Who {
        ordinal: log.identity.ordinal,
        side: log.identity.side,
        n: log.identity.n,
        attempt: 0,
        intended_ms: log.identity.intended_ms,
    };
    let faults = &route.faults;
    let decision = faults
        .rules
        .decide(&view(log, headers), who, &faults.counters);
    log.considered = decision.considered;
    if decision.hits.is_empty() {
        return Ok(None);
    }
    log.hits = decision.hits.iter().map(hit).collect();
    count_overflow(log);
    if !decision.delay.is_zero() {
        log.flags.set(Flags::DI);
        delay(log, &decision.hits).await?;
    }
    // Places under `max_active` are given back when the delay has ended.
    drop(decision.hits);
    if decision.abort.is_some() {
        log.flags.set(Flags::FI);
        log.client.metrics.aborts.inc();
        settle(log, |hit| hit.status.is_some());
    }
    Ok(decision.abort)
}

/// The request as conditions look at it.
pub(super) fn view<'a>(log: &'a Log, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: log.method.as_str(),
        authority: log.authority(),
        path: log.path(),
        query: log.path.as_ref().and_then(|path| path.query()),
        headers,
    }
}

/// What is chosen and may be done is abandoned until it is done.
fn hit(chosen: &Chosen) -> Hit {
    Hit {
        fault: chosen.id.clone(),
        u: chosen.u,
        p: chosen.p,
        effect: match chosen.fate {
            Fate::Applied => Effect::Abandoned,
            Fate::Superseded => Effect::Superseded,
            Fate::Capped => Effect::Capped,
        },
        asked: chosen.asked,
        actual: None,
        status: chosen.status,
        why: match chosen.fate {
            Fate::Applied => None,
            Fate::Superseded => Some("superseded"),
            Fate::Capped => Some("max_active"),
        },
    }
}

fn count_overflow(log: &Log) {
    let capped = log
        .hits
        .iter()
        .filter(|hit| hit.effect == Effect::Capped)
        .count();
    log.client.metrics.fault_overflow.add(capped as u64);
}

/// The delays follow one another, so that each can be measured; a late end of one does not move the next one's.
async fn delay(log: &mut Log, chosen: &[Chosen]) -> Result<(), Error> {
    let client = log.client.clone();
    let begin = Instant::now();
    let (mut asked_so_far, mut last) = (Duration::ZERO, begin);
    client.metrics.faults_active.inc();
    let active = Active(&client.metrics.faults_active);
    for (at, chosen) in chosen.iter().enumerate() {
        let Some(asked) = chosen.asked.filter(|_| chosen.fate == Fate::Applied) else {
            continue;
        };
        asked_so_far += asked;
        let sleep = client.core.timer.sleep_until(begin + asked_so_far);
        client.in_time(sleep).await?;
        let now = Instant::now();
        if let Some(hit) = log.hits.get_mut(at) {
            hit.effect = Effect::Applied;
            hit.actual = Some(now.saturating_duration_since(last));
        }
        client.metrics.delays.inc();
        last = now;
    }
    drop(active);
    Ok(())
}

fn settle(log: &mut Log, done: impl Fn(&Hit) -> bool) {
    for hit in &mut log.hits {
        if hit.effect == Effect::Abandoned && done(hit) {
            hit.effect = Effect::Applied;
        }
    }
}

/// A fault is under way; also when the client leaves.
struct Active<'a>(&'a crate::metrics::Gauge);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
