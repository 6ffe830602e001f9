//! Redirects that are followed here, as Envoy does: the request begins anew as if its client had followed them, with a log
//! of its own.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, Uri, header, request, uri::PathAndQuery};
use http_body::Body;
use tokio::time::Instant;

use super::{
    body::{Download, Upload},
    forward::{self, Answer},
    log::Log,
    normalize::FORWARDED_PROTO,
    pass,
    replay::Replay,
    route,
};
use crate::{
    cluster::Cluster,
    net::body::Incoming,
    policy::redirect::{Compiled, Place, Refusal, Step},
    snapshot::{Action, Route, hosts::RouteId},
};

/// `x-envoy-original-url`.
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");
const DETAILS: &str = "internal_redirect";

/// A request that begins anew.
#[derive(Debug)]
pub(super) struct Turn {
    log: Box<Log>,
    head: Box<request::Parts>,
    body: Incoming,
    trail: Box<Trail>,
}

/// Where a request has been.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// How often it was sent elsewhere.
    count: u32,
    /// What it was last sent to is `https`; `None`: it was not yet.
    secure: Option<bool>,
    steps: Vec<Step>,
    /// Bytes of its body so far.
    pub(super) bytes: u64,
}

/// What is kept of a request until its answer is there.
#[derive(Debug)]
pub(super) struct Spare {
    head: Box<request::Parts>,
    /// `None`: it has no body.
    body: Option<Replay>,
}

/// Where the request goes.
#[derive(Debug)]
pub(super) struct Next {
    head: Box<request::Parts>,
    body: Bytes,
    trail: Box<Trail>,
}

/// Keeps the request, where its route follows redirects.
pub(super) fn keep(
    log: &Log,
    head: &request::Parts,
    body: Upload,
    cluster: &Cluster<Upload>,
) -> (Option<Box<Spare>>, Upload) {
    let Some(forward) = log.forward().filter(|it| it.redirects.is_some()) else {
        return (None, body);
    };
    let (kept, body) = match body {
        Upload::Empty => (None, Upload::Empty),
        body => {
            let most = cluster.settings().kept_body.unwrap_or(u64::MAX);
            let replay = Replay::new(body, forward.tries.kept_body.min(most));
            let reader = Upload::Replay(replay.reader());
            (Some(replay), reader)
        }
    };
    let spare = Spare {
        head: Box::new(head.clone()),
        body: kept,
    };
    (Some(Box::new(spare)), body)
}

/// Where the answer sends the request; `None`: the client is told. The log has the new route then.
pub(super) fn next(
    log: &mut Log,
    spare: Spare,
    trail: Option<Box<Trail>>,
    answer: &Answer,
) -> Option<Next> {
    let local = Rc::clone(&log.local);
    let from = local.route(log.http, log.route)?;
    let Action::Forward(forward) = &from.action else {
        return None;
    };
    let compiled = forward.redirects.as_deref()?;
    if !compiled.policy.concerns(answer.response.status().as_u16()) {
        return None;
    }
    let cluster = log.cluster().cloned();
    let next = turned(log, (from, compiled), spare, trail, answer);
    if let Some(cluster) = cluster {
        let metrics = cluster.metrics();
        match next {
            Ok(_) => metrics.redirects_followed.inc(),
            Err(_) => metrics.redirects_passed.inc(),
        }
    }
    let metrics = &log.client.metrics;
    match next {
        Ok(next) => return Some(next),
        Err(Refusal::NoRequest) => {}
        Err(Refusal::BadLocation) => metrics.redirects_bad_location.inc(),
        Err(Refusal::Scheme) => metrics.redirects_unsafe_scheme.inc(),
        Err(Refusal::TooMany) => metrics.redirects_too_many.inc(),
        Err(Refusal::NoRoute) => metrics.redirects_no_route.inc(),
        Err(Refusal::Condition) => metrics.redirects_condition.inc(),
    }
    None
}

/// The request as it goes on.
fn turned(
    log: &mut Log,
    (from, compiled): (&Route, &Compiled),
    spare: Spare,
    trail: Option<Box<Trail>>,
    answer: &Answer,
) -> Result<Next, Refusal> {
    let mut trail = trail.unwrap_or_default();
    let status = answer.response.status().as_u16();
    let location = answer.response.headers().get(header::LOCATION);
    let location = location.ok_or(Refusal::NoRequest)?;
    let body = match &spare.body {
        None => Bytes::new(),
        Some(body) => body.complete().ok_or(Refusal::NoRequest)?,
    };
    let location = location.to_str().map_err(|_| Refusal::BadLocation)?;
    let place = Place::read(location)?;
    let mut head = spare.head;
    let secure = trail.secure.unwrap_or_else(|| {
        let proto = head.headers.get(FORWARDED_PROTO);
        proto.is_some_and(|proto| proto == "https")
    });
    compiled.policy.allows(secure, place.secure, trail.count)?;
    turn(&mut head, compiled, &place, secure, answer).ok_or(Refusal::BadLocation)?;
    let before = Before::replace(log, &head);
    route(log, &head);
    let to = log.route().map(|to| to.name.clone());
    let Some(to) = to else {
        before.restore(log);
        return Err(Refusal::NoRoute);
    };
    let (step, schemes) = ((from.name.clone(), to), (secure, place.secure));
    if !compiled.policy.allows_step(&step, &trail.steps, schemes) {
        before.restore(log);
        return Err(Refusal::Condition);
    }
    before.count(log);
    trail.count += 1;
    trail.secure = Some(place.secure);
    trail.steps.push(step);
    // RFC 9110 §15.4.4: what follows is a look at the result.
    let body = if status == 303 && !matches!(head.method, Method::GET | Method::HEAD) {
        head.method = Method::GET;
        head.headers.remove(header::CONTENT_LENGTH);
        log.method = Method::GET;
        Bytes::new()
    } else {
        body
    };
    Ok(Next { head, body, trail })
}

/// Makes the head that of a request for this place.
fn turn(
    head: &mut request::Parts,
    compiled: &Compiled,
    place: &Place,
    secure: bool,
    answer: &Answer,
) -> Option<()> {
    let host = HeaderValue::from_str(&place.authority).ok()?;
    let uri = Uri::try_from(&place.path).ok()?;
    forward::forget_wishes(&mut head.headers);
    let copied = answer.response.headers();
    for name in &compiled.copied {
        match copied.get(name) {
            Some(value) => head.headers.insert(name, value.clone()),
            None => head.headers.remove(name),
        };
    }
    let before = head.headers.insert(header::HOST, host);
    let original = [
        if secure { "https://" } else { "http://" }.as_bytes(),
        before.as_ref().map_or(b"", HeaderValue::as_bytes),
        head.uri
            .path_and_query()
            .map_or("", PathAndQuery::as_str)
            .as_bytes(),
    ];
    let original = HeaderValue::from_bytes(&original.concat()).ok()?;
    head.headers.insert(ORIGINAL_URL, original);
    head.uri = uri;
    Some(())
}

/// What a log said before the request was looked up anew.
struct Before {
    path: Option<PathAndQuery>,
    authority: Option<HeaderValue>,
    route: Option<RouteId>,
    target: usize,
    cluster: Option<usize>,
}

impl Before {
    fn replace(log: &mut Log, head: &request::Parts) -> Self {
        let path = head.uri.path_and_query().cloned();
        let authority = head.headers.get(header::HOST).cloned();
        Self {
            path: std::mem::replace(&mut log.path, path),
            authority: std::mem::replace(&mut log.authority, authority),
            route: log.route,
            target: log.target,
            cluster: log.cluster.take(),
        }
    }

    fn restore(self, log: &mut Log) {
        log.path = self.path;
        log.authority = self.authority;
        log.route = self.route;
        log.target = self.target;
        log.cluster = self.cluster;
    }

    /// The log, which ends with the new cluster, was counted with this one.
    fn count(&self, log: &Log) {
        if self.cluster == log.cluster || log.sent.is_none() {
            return;
        }
        let before = self.cluster.and_then(|index| log.local.clusters.get(index));
        if let Some(cluster) = before {
            cluster.metrics().requests_active.dec();
        }
        if let Some(cluster) = log.cluster() {
            cluster.metrics().requests_active.inc();
        }
    }
}

impl Next {
    /// Ends the log with this answer, as Envoy does: it tells of the request as it goes on. Opens the next.
    pub(super) fn go(mut self, mut log: Box<Log>, answer: Box<Answer>) -> Turn {
        let now = Instant::now();
        log.status = Some(answer.response.status());
        log.arrived = Some(answer.arrived);
        log.details = DETAILS.into();
        log.keep_request(&self.head);
        log.keep_answer(answer.response.headers());
        // Its body is of no use: neither is the connection, unless there is none.
        if answer.response.body().is_end_stream() {
            answer.lease.give_back(now);
        }
        self.trail.bytes = log.bytes_in.as_ref().map_or(0, |bytes| bytes.get());
        let mut next = Log::open(
            Rc::clone(&log.client),
            Rc::clone(&log.local),
            log.http,
            self.head.method.clone(),
            log.path.clone(),
            now,
        );
        next.version = log.version;
        next.grpc = log.grpc;
        next.authority.clone_from(&log.authority);
        next.identity = log.identity;
        next.internal = log.internal;
        next.remote = log.remote;
        next.request_id.clone_from(&log.request_id);
        next.bytes_in = Some(Rc::new(Cell::new(self.trail.bytes)));
        next.keep_request(&self.head);
        log.finish(true, now);
        if let Some(listener) = next.listener() {
            next.client.begin(now, &listener.manager, true);
        }
        let body = if self.body.is_empty() {
            Incoming::empty()
        } else {
            Incoming::whole(self.body)
        };
        Turn {
            log: next,
            head: self.head,
            body,
            trail: self.trail,
        }
    }
}

/// Serves the request until its answer is the client's.
pub(super) async fn follow(mut turn: Turn) -> Response<Download> {
    loop {
        let Turn {
            log,
            head,
            body,
            trail,
        } = turn;
        match pass(log, head, body, None, Some(trail)).await {
            Ok(response) => return response,
            Err(next) => turn = next,
        }
    }
}
