//! What a request passes between its route and its cluster, filter by filter, in the order of the file; and what the
//! answer passes on its way back, in the opposite order. Where there are no filters it is one branch.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request};

use super::{
    edit::{OfAnswer, OfRequest},
    inject,
    log::Log,
};
use crate::{
    error::Error,
    net::body::Incoming,
    observe::Flags,
    policy::fault::abort,
    snapshot::filters::{Filter, Filters},
};

mod buffer;
mod cors;
mod rate_limit;

/// A filter's answer, in place of the upstream's.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body, plain text.
    pub body: Bytes,
    /// The status that a gRPC client is told, where it does not follow from the other one.
    pub grpc_status: Option<u32>,
    /// Headers that it has beside the usual ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is told of it.
    pub flags: Flags,
    /// Why it is what it is.
    pub details: Cow<'static, str>,
}

/// Takes a request through its filters. The answer of the one that ends it, if one does.
pub(super) async fn request(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
) -> Result<Option<Reply>, Error> {
    let filters = match of(log) {
        Some(filters) if !filters.is_empty() => Arc::clone(filters),
        _ => return Ok(None),
    };
    for filter in &*filters {
        let reply = match filter {
            Filter::Faults => inject::suffer(log, &head.headers).await?.map(Reply::fault),
            Filter::RateLimit(limit) => rate_limit::ask(log, head, limit),
            Filter::Buffer(most) => buffer::gather(log, head, body, *most).await?,
            Filter::Cors(policy) => cors::ask(policy, log, head),
            Filter::Headers(steps) => {
                let mut headers = std::mem::take(&mut head.headers);
                let render = OfRequest {
                    log,
                    method: &head.method,
                    uri: &head.uri,
                };
                steps.request.apply(&mut headers, &render);
                head.headers = headers;
                None
            }
        };
        if reply.is_some() {
            return Ok(reply);
        }
    }
    Ok(None)
}

/// Takes an answer back through the filters of its request: the upstream's, and ours. What a filter knew beforehand of
/// the answer's headers stands in [`Log::answer_headers`].
pub(super) fn answer(log: &mut Log, headers: &mut HeaderMap) {
    for (name, value) in log.answer_headers.drain(..) {
        headers.append(name, value);
    }
    let filters = match of(log) {
        Some(filters) if !filters.is_empty() => Arc::clone(filters),
        _ => return,
    };
    for filter in filters.iter().rev() {
        match filter {
            Filter::Cors(policy) => {
                if let Some(origin) = log.origin.take() {
                    policy.mark(origin, headers);
                }
            }
            Filter::Headers(steps) => steps.answer.apply(headers, &OfAnswer(log)),
            _ => {}
        }
    }
}

impl Reply {
    pub(super) fn fault(abort: abort::Reply) -> Self {
        Self {
            status: abort.status,
            body: abort.body,
            grpc_status: None,
            headers: Vec::new(),
            flags: Flags::FI,
            details: Cow::Borrowed("fault_filter_abort"),
        }
    }
}

/// The route's filters; where there is no route, the listener's.
fn of(log: &Log) -> Option<&Arc<Filters>> {
    match log.route() {
        Some(route) => Some(&route.filters),
        None => Some(&log.listener()?.filters),
    }
}
