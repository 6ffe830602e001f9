//! Holds back what a limit does not let pass.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, request};

use super::Reply;
use crate::{
    http::log::Log,
    observe::Flags,
    policy::rate_limit::{Left, Subject},
    snapshot::rate_limit::RateLimit,
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// gRPC's `RESOURCE_EXHAUSTED`.
const RESOURCE_EXHAUSTED: u32 = 8;

/// Takes a token for the request; the answer where there is none.
pub(super) fn ask(log: &mut Log, head: &mut request::Parts, limit: &RateLimit) -> Option<Reply> {
    let settings = &limit.settings;
    let core = &log.client.core;
    if !within(settings.enabled.get(), || core.chance()) {
        return None;
    }
    let metrics = core.rate_limit(&limit.stat_prefix);
    metrics.enabled.inc();
    let described: Vec<_> = if limit.describe.is_empty() {
        Vec::new()
    } else {
        let subject = subject(log, head);
        let each = limit.describe.iter();
        each.filter_map(|it| it.describe(&subject)).collect()
    };
    let now_s = super::now().as_secs_f64();
    let verdict = limit.buckets.take(&described, now_s);
    if settings.tells
        && let Some(left) = verdict.left
    {
        log.answer_headers.extend(tell(left));
    }
    if verdict.allowed {
        metrics.ok.inc();
        return None;
    }
    metrics.rate_limited.inc();
    if !within(settings.enforced.get(), || log.client.core.chance()) {
        for (name, value) in &limit.request_headers {
            head.headers.append(name, value.clone());
        }
        return None;
    }
    metrics.enforced.inc();
    Some(Reply {
        status: limit.status,
        body: Bytes::from_static(b"local_rate_limited"),
        grpc_status: settings.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
        headers: limit.answer_headers.clone(),
        flags: Flags::RL,
        details: "local_rate_limited".into(),
    })
}

/// No number is drawn where it makes no difference.
fn within(share: f64, chance: impl FnOnce() -> f64) -> bool {
    share > 0.0 && (share >= 1.0 || chance() < share)
}

fn subject<'a>(log: &'a Log, head: &'a request::Parts) -> Subject<'a> {
    Subject {
        request: super::view(head),
        remote: log.client.peer.ip(),
        cluster: log.cluster_name(),
    }
}

fn tell(left: Left) -> [(HeaderName, HeaderValue); 3] {
    [
        (LIMIT, HeaderValue::from(left.most)),
        (REMAINING, HeaderValue::from(left.tokens)),
        (RESET, HeaderValue::from(left.full_in_s)),
    ]
}
