//! What a request passes between its route and its cluster, filter by filter, in the order of the file; and what the
//! answer passes on its way back, in the opposite order. Where there are no filters it is one branch.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, request};
use tokio::time::Instant;

use super::{
    edit::{OfAnswer, OfRequest},
    inject::{self, Cut},
    log::Log,
};
use crate::{
    error::Error,
    net::body::Incoming,
    observe::Flags,
    policy::{
        authz::Denial,
        fault::abort::End,
        headers::{Mutations, Render},
        matcher::RequestView,
        query::Changes,
    },
    snapshot::filters::{Filter, Filters},
};

mod authz;
mod buffer;
mod cors;
mod grpc_web;
mod jwt;
pub mod pressure;
mod rate_limit;
mod rbac;

pub use authz::Answers;
use authz::Asked;

/// Why a request ended by a fault, as Envoy's `%RESPONSE_CODE_DETAILS%`.
pub(super) const FAULT: &str = "fault_filter_abort";

/// The details of an answered preflight.
pub(super) const CORS: &str = "cors_response";

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

/// What a client is answered for a service that was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Headers and body.
    pub denial: Denial,
    /// Why it is what it is.
    pub details: &'static str,
}

/// What filters do to what follows a request's body and its answer's.
#[derive(Debug, Default)]
pub struct Trailers {
    request: Vec<Mutations>,
    answer: Vec<Mutations>,
}

impl Trailers {
    /// Changes what follows the request.
    pub(super) fn of_request(&self, trailers: &mut HeaderMap) {
        for mutations in &self.request {
            mutations.apply_settled(trailers);
        }
    }

    /// Changes what follows the answer.
    pub(super) fn of_answer(&self, trailers: &mut HeaderMap) {
        for mutations in &self.answer {
            mutations.apply_settled(trailers);
        }
    }
}

/// The request as conditions of a filter look at it: as those before it have left it.
fn view(head: &request::Parts) -> RequestView<'_> {
    let host = head.headers.get(header::HOST);
    RequestView {
        method: head.method.as_str(),
        authority: host.and_then(|host| host.to_str().ok()).unwrap_or_default(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    }
}

/// How a filter ends a request.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an answer.
    Answered(Reply),
    /// With what a service has said.
    Refused(Box<Refusal>),
    /// Without one: its client is cut off.
    Cut(Cut),
}

/// Takes a request through its filters. How the one that ends it does, if one does.
pub(super) async fn request(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
) -> Result<Option<Ended>, Error> {
    match of(log) {
        Some(filters) if !filters.is_empty() => {
            let filters = Arc::clone(filters);
            // On the heap, so that connections without filters are no larger for them.
            Box::pin(pass(log, head, body, filters)).await
        }
        _ => Ok(None),
    }
}

async fn pass(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
    filters: Arc<Filters>,
) -> Result<Option<Ended>, Error> {
    let (mut filters, mut at) = (filters, 0);
    while let Some(filter) = filters.get(at) {
        at += 1;
        log.held |= matches!(filter, Filter::Buffer(_) | Filter::Authz(_));
        let ended = match filter {
            Filter::Faults => inject::suffer(log, &view(head)).await?.map(Ended::fault),
            Filter::RateLimit(limit) => rate_limit::ask(log, head, limit).map(Ended::Answered),
            Filter::Adaptive(adaptive) => pressure::bound(log, adaptive).map(Ended::Answered),
            Filter::Admission(admission) => pressure::admit(log, admission).map(Ended::Answered),
            Filter::Buffer(most) => buffer::gather(log, head, body, *most)
                .await?
                .map(Ended::Answered),
            Filter::Rbac(policies) => rbac::ask(log, head, policies).map(Ended::Answered),
            Filter::Jwt(tokens, route) => jwt::ask(log, head, tokens, route).map(Ended::Answered),
            Filter::Authz(authz) => {
                let authz = Arc::clone(authz);
                match Box::pin(authz::ask(log, head, body, &authz)).await? {
                    Asked::Passed => None,
                    Asked::Ended(ended) => Some(ended),
                    Asked::Elsewhere => {
                        // The rest of the way is the new route's.
                        if let Some(theirs) = of(log) {
                            filters = Arc::clone(theirs);
                            match authz::place(&filters, &authz) {
                                Some(place) => {
                                    at = place + 1;
                                    None
                                }
                                // Where the rest begins is not known: nothing is left out.
                                None => Some(authz::lost(log, &authz)),
                            }
                        } else {
                            None
                        }
                    }
                }
            }
            Filter::Cors(policy) => cors::ask(policy, log, head).map(Ended::Answered),
            Filter::GrpcWeb => {
                grpc_web::request(log, head, body);
                None
            }
            Filter::Headers(steps) => {
                let mut headers = std::mem::take(&mut head.headers);
                let render = OfRequest {
                    log,
                    method: &head.method,
                    uri: &head.uri,
                };
                steps.request.apply(&mut headers, &render);
                let uri = changed(&steps.query, &headers, &render);
                if !steps.request_trailers.is_empty() {
                    let settled = steps.request_trailers.settled(&headers, &render);
                    log.trailers.get_or_insert_default().request.push(settled);
                }
                head.headers = headers;
                if let Some(uri) = uri {
                    head.uri = uri;
                }
                None
            }
        };
        if ended.is_some() {
            return Ok(ended);
        }
    }
    Ok(None)
}

/// Takes an answer back through the filters of its request: the upstream's, and ours. What a filter knew beforehand of
/// the answer's headers stands in [`Log::answer_headers`].
pub(super) fn answer(log: &mut Log, headers: &mut HeaderMap) {
    for (name, value) in log.answer_headers.drain(..) {
        if name == header::CONNECTION {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
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
            Filter::Headers(steps) => {
                steps.answer.apply(headers, &OfAnswer(log));
                if !steps.answer_trailers.is_empty() {
                    let settled = steps.answer_trailers.settled(headers, &OfAnswer(log));
                    log.trailers.get_or_insert_default().answer.push(settled);
                }
            }
            Filter::Authz(authz) => authz::answer(log, authz, headers),
            Filter::GrpcWeb => {
                if let Some(form) = log.grpc_web {
                    grpc_web::answer(form, headers);
                }
            }
            _ => {}
        }
    }
}

/// Where the request goes with its parameters changed; `None`: where it did.
fn changed(query: &Changes, headers: &HeaderMap, render: &OfRequest<'_>) -> Option<Uri> {
    let path = render.uri.path_and_query().filter(|_| !query.is_empty())?;
    let made = query.apply(path.as_str(), |format, out| {
        render.render(format, headers, out);
    });
    Uri::try_from(made).ok()
}

impl Ended {
    /// What a fault does.
    pub(super) fn fault(end: End) -> Self {
        match end {
            End::Reply(reply) => Self::Answered(Reply {
                status: reply.status,
                body: reply.body,
                grpc_status: reply.grpc,
                headers: Vec::new(),
                flags: Flags::FI,
                details: Cow::Borrowed(FAULT),
            }),
            End::Reset => Self::Cut(Cut::Stream),
            End::GoAway => Self::Cut(Cut::Connection),
        }
    }
}

/// The time of filters that all event loops share: since the process first asked.
fn now() -> Duration {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    Instant::now().saturating_duration_since(*EPOCH)
}

/// The route's filters; where there is no route, the listener's.
fn of(log: &Log) -> Option<&Arc<Filters>> {
    match log.route() {
        Some(route) => Some(&route.passed(log.target).filters),
        None => Some(&log.listener()?.filters),
    }
}
