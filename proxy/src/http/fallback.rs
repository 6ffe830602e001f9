//! What is done where a cluster takes nothing: its breaker is open, or its limits are reached.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, request};

use super::{
    body::Upload,
    filters::Reply,
    forward::{self, Got},
    log::Log,
    replay::Replay,
};
use crate::{cluster::Cluster, error::Error, observe::Flags, snapshot::tries::Fallback};

/// Marks an answer that is not the cluster's.
const MARK: HeaderName = HeaderName::from_static("x-meshbed-fallback");

/// What a request got.
#[derive(Debug)]
pub(super) enum Sent {
    /// What its cluster, or its fallback's, gave.
    Got(Got),
    /// The answer of its fallback.
    Answer(Reply),
}

/// Sends the request on; where its cluster takes nothing, to the route's fallback.
pub(super) async fn send(
    head: Box<request::Parts>,
    body: Upload,
    cluster: &Rc<Cluster<Upload>>,
    log: &mut Log,
) -> Result<Sent, Error> {
    let tries = log.forward().map(|forward| &forward.tries);
    let other = match tries.and_then(|tries| tries.fallback.as_ref()) {
        Some(Fallback::Cluster(index)) => Some(*index),
        _ => None,
    };
    let kept = tries.map_or(0, |tries| tries.kept_body);
    // Kept for the other cluster.
    let (spare, body) = match (other, body) {
        (Some(_), Upload::Empty) => (Some((head.clone(), None)), Upload::Empty),
        (Some(_), body) => {
            let replay = Replay::new(body, kept);
            let body = Upload::Replay(replay.reader());
            (Some((head.clone(), Some(replay))), body)
        }
        (None, body) => (None, body),
    };
    let sent = forward::send(head, body, cluster, log).await;
    let (Err(error @ (Error::BreakerOpen | Error::Overflow { .. })), tries) =
        (&sent, log.forward().map(|forward| &forward.tries))
    else {
        return sent.map(Sent::Got);
    };
    let reply = match tries.and_then(|tries| tries.fallback.as_ref()) {
        Some(Fallback::Respond(status, body)) => Some((*status, Bytes::clone(body))),
        _ => None,
    };
    let mark = HeaderValue::from_static(match error {
        Error::BreakerOpen => "breaker-open",
        _ => "overflow",
    });
    log.flags.set(Flags::UO);
    if let Some((status, body)) = reply {
        return Ok(Sent::Answer(Reply {
            status,
            body,
            grpc_status: None,
            headers: vec![(MARK, mark)],
            flags: Flags::UO,
            details: "fallback".into(),
        }));
    }
    log.answer_headers.push((MARK, mark));
    let next = other.and_then(|index| Some((index, log.local.clusters.get(index)?.clone())));
    let (Some((index, next)), Some((head, body))) = (next, spare) else {
        return sent.map(Sent::Got);
    };
    if body.as_ref().is_some_and(|body| !body.is_whole()) {
        return sent.map(Sent::Got);
    }
    cluster.metrics().requests_active.dec();
    log.cluster = Some(index);
    let body = body.map_or(Upload::Empty, |body| Upload::Replay(body.reader()));
    forward::send(head, body, &next, log).await.map(Sent::Got)
}
