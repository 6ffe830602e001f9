//! Carries out what fault rules decided: for a request once, and for each of its attempts.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, Response, header, uri::PathAndQuery};
use tokio::time::Instant;

use super::{body::Upload, client::Client, log::Log};
use crate::{
    error::Error,
    net::{body::Incoming, onward::Onward},
    observe::{Effect, Flags, Hit, Identity},
    policy::{
        fault::{Active, Chosen, Decision, Fate, Place, Shape, Who, abort::End, rewrite},
        matcher::RequestView,
    },
    snapshot::Faults,
};

/// A client is cut off instead of being answered; its connection's server finds this among the answer's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The stream is reset; an HTTP/1 connection is.
    Stream,
    /// The connection is left: `GOAWAY`; an HTTP/1 connection is closed.
    Connection,
}

/// What is done to a request's answer, and the places under `max_active` that are held until its end.
#[derive(Debug)]
pub struct Shaping {
    /// What is done.
    pub shape: Shape,
    _active: Vec<Active>,
}

/// What the attempts of a request met. They may run beside one another, and be dropped at any time.
#[derive(Debug, Default)]
pub struct Met {
    /// Rules that were drawn.
    pub considered: Vec<Arc<str>>,
    /// Those that chose an attempt.
    pub hits: Vec<Hit>,
    /// What was done.
    pub flags: Flags,
}

/// The faults of a request's attempts.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    faults: &'a Faults,
    identity: Identity,
    /// As it came: what is sent on may be rewritten.
    path: Option<PathAndQuery>,
    met: Rc<RefCell<Met>>,
}

/// What an attempt is to do.
#[derive(Debug)]
pub(super) enum Course {
    /// It goes on, and this is done to its answer.
    On(Option<Box<Shaping>>),
    /// It ends here.
    End(End),
}

/// Draws the faults of the request's route and suffers them. The end of the request, if it ends by one. When the client
/// leaves meanwhile, what was not done yet is recorded as abandoned.
pub(super) async fn suffer(log: &mut Log, request: &RequestView<'_>) -> Result<Option<End>, Error> {
    let passed = log.route().map(|route| route.passed(log.target));
    let Some(passed) = passed.filter(|passed| passed.faults.at_request) else {
        return Ok(None);
    };
    let faults = &passed.faults;
    let decision = faults.rules.decide(
        Place::Request,
        request,
        who(log.identity, 0),
        &faults.counters,
    );
    log.considered = decision.considered;
    if decision.hits.is_empty() {
        return Ok(None);
    }
    log.hits = decision.hits.iter().map(|it| hit(it, 0)).collect();
    count_overflow(&log.client, &log.hits);
    if !decision.delay.is_zero() {
        log.flags.set(Flags::DI);
        delay(log, &decision.hits).await?;
    }
    // Places under `max_active` are given back when the delay has ended; those of the answer's faults at its end.
    log.shaping = shaping(decision.shape, decision.hits);
    if let Some(end) = &decision.end {
        log.flags.set(Flags::FI);
        log.client.metrics.aborts.inc();
        if let Some(status) = end.status() {
            settle(&mut log.hits, |hit| hit.status == Some(status));
        }
        settle(&mut log.hits, |hit| hit.asked.is_none());
    }
    Ok(decision.end)
}

/// The answer is there: it waits for as long as faults say, and is made what they say. What they do to its body is left
/// in [`Log::shaping`].
pub(super) async fn shape(log: &mut Log, response: &mut Response<Incoming>) -> Result<(), Error> {
    let Some(shaping) = &log.shaping else {
        return Ok(());
    };
    let delay = shaping.shape.delay;
    let begin = Instant::now();
    if !delay.is_zero() {
        log.flags.set(Flags::DI);
        let client = Rc::clone(&log.client);
        client.metrics.delays.inc();
        let sleep = client.core.timer.sleep_until(begin + delay);
        client.in_time(sleep).await?;
    }
    if let Some(shaping) = &log.shaping {
        rewrite(response, &shaping.shape.rewrites);
        if !shaping.shape.rewrites.is_empty() {
            log.flags.set(Flags::FI);
        }
    }
    for hit in &mut log.hits {
        if hit.effect == Effect::Abandoned {
            hit.effect = Effect::Applied;
            hit.actual = hit.asked.map(|_| begin.elapsed());
        }
    }
    Ok(())
}

impl<'a> Attempts<'a> {
    /// The faults of a route's attempts; `None`: there are none.
    pub(super) fn of(faults: &'a Faults, log: &mut Log) -> Option<Self> {
        faults.at_attempt.then(|| Self {
            faults,
            identity: log.identity,
            path: log.path.clone(),
            met: Rc::clone(log.met.get_or_insert_default()),
        })
    }

    /// Draws the faults of an attempt, from 0, and suffers its delays.
    pub(super) async fn suffer(
        &self,
        attempt: u32,
        request: &Onward<Upload>,
        client: &Client,
    ) -> Result<Course, Error> {
        let decision = self.decide(attempt, request);
        if decision.hits.is_empty() {
            return Ok(Course::On(None));
        }
        let first = {
            let mut met = self.met.borrow_mut();
            let first = met.hits.len();
            met.hits
                .extend(decision.hits.iter().map(|it| hit(it, attempt)));
            count_overflow(client, met.hits.get(first..).unwrap_or_default());
            first
        };
        let begin = Instant::now();
        let (mut asked_so_far, mut last) = (Duration::ZERO, begin);
        for (at, chosen) in decision.hits.iter().enumerate() {
            let Some(asked) = chosen.asked.filter(|_| is_request_delay(chosen)) else {
                continue;
            };
            asked_so_far += asked;
            self.met.borrow_mut().flags.set(Flags::DI);
            client.metrics.delays.inc();
            let sleep = client.core.timer.sleep_until(begin + asked_so_far);
            client.in_time(sleep).await?;
            let now = Instant::now();
            if let Some(hit) = self.met.borrow_mut().hits.get_mut(first + at) {
                hit.effect = Effect::Applied;
                hit.actual = Some(now.saturating_duration_since(last));
            }
            last = now;
        }
        if let Some(end) = decision.end {
            client.metrics.aborts.inc();
            let mut met = self.met.borrow_mut();
            met.flags.set(Flags::FI);
            settle(met.hits.get_mut(first..).unwrap_or_default(), |_| true);
            return Ok(Course::End(end));
        }
        Ok(Course::On(shaping(decision.shape, decision.hits)))
    }

    fn decide(&self, attempt: u32, request: &Onward<Upload>) -> Decision {
        let headers = &request.head.headers;
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let view = RequestView {
            method: request.head.method.as_str(),
            authority: host.unwrap_or_default(),
            path: self.path.as_ref().map_or("", PathAndQuery::path),
            query: self.path.as_ref().and_then(PathAndQuery::query),
            headers,
        };
        let who = who(self.identity, attempt);
        let Faults {
            rules, counters, ..
        } = self.faults;
        let mut decision = rules.decide(Place::Attempt, &view, who, counters);
        let mut met = self.met.borrow_mut();
        for id in decision.considered.drain(..) {
            if !met.considered.contains(&id) {
                met.considered.push(id);
            }
        }
        decision
    }

    /// An attempt's answer is there: it waits, and is made what its faults say.
    pub(super) async fn shape(
        &self,
        shaping: &Shaping,
        response: &mut Response<Incoming>,
        client: &Client,
    ) -> Result<(), Error> {
        let delay = shaping.shape.delay;
        if !delay.is_zero() {
            self.met.borrow_mut().flags.set(Flags::DI);
            client.metrics.delays.inc();
            let sleep = client.core.timer.sleep_until(Instant::now() + delay);
            client.in_time(sleep).await?;
        }
        rewrite(response, &shaping.shape.rewrites);
        let mut met = self.met.borrow_mut();
        if !shaping.shape.rewrites.is_empty() {
            met.flags.set(Flags::FI);
        }
        settle(&mut met.hits, |_| true);
        Ok(())
    }
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

fn who(identity: Identity, attempt: u32) -> Who {
    Who {
        ordinal: identity.ordinal,
        side: identity.side,
        n: identity.n,
        attempt,
        intended_ms: identity.intended_ms,
    }
}

fn is_request_delay(chosen: &Chosen) -> bool {
    chosen.fate == Fate::Applied && !chosen.to_answer
}

/// What is left to be done when the answer comes.
fn shaping(shape: Shape, hits: Vec<Chosen>) -> Option<Box<Shaping>> {
    (!shape.is_empty()).then(|| {
        Box::new(Shaping {
            shape,
            _active: hits.into_iter().filter_map(|hit| hit.active).collect(),
        })
    })
}

fn rewrite(response: &mut Response<Incoming>, rewrites: &[Arc<rewrite::Compiled>]) {
    for rewrite in rewrites {
        if let Some(status) = rewrite.status {
            *response.status_mut() = status;
        }
        if let Some(body) = &rewrite.body {
            let headers = response.headers_mut();
            headers.remove(header::TRANSFER_ENCODING);
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            *response.body_mut() = Incoming::whole(body.clone());
        }
        for (name, value) in &rewrite.headers {
            response.headers_mut().insert(name, value.clone());
        }
    }
}

/// What is chosen and may be done is abandoned until it is done.
fn hit(chosen: &Chosen, attempt: u32) -> Hit {
    Hit {
        fault: chosen.id.clone(),
        attempt,
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

fn count_overflow(client: &Client, hits: &[Hit]) {
    let capped = hits.iter().filter(|hit| hit.effect == Effect::Capped);
    client.metrics.fault_overflow.add(capped.count() as u64);
}

/// The delays follow one another, so that each can be measured; a late end of one does not move the next one's.
async fn delay(log: &mut Log, chosen: &[Chosen]) -> Result<(), Error> {
    let client = log.client.clone();
    let begin = Instant::now();
    let (mut asked_so_far, mut last) = (Duration::ZERO, begin);
    client.metrics.faults_active.inc();
    let active = Gauged(&client.metrics.faults_active);
    for (at, chosen) in chosen.iter().enumerate() {
        let Some(asked) = chosen.asked.filter(|_| is_request_delay(chosen)) else {
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

fn settle(hits: &mut [Hit], done: impl Fn(&Hit) -> bool) {
    for hit in hits {
        if hit.effect == Effect::Abandoned && done(hit) {
            hit.effect = Effect::Applied;
        }
    }
}

/// A fault is under way; also when the client leaves.
struct Gauged<'a>(&'a crate::metrics::Gauge);

impl Drop for Gauged<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
