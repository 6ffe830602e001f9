//! The log of one request. From its opening exactly one record leaves, also when the client vanishes: dropping it is the
//! record.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, request, uri::PathAndQuery,
};
use tokio::time::Instant;

use super::{
    body::Upload,
    client::{Client, Left},
    core::Local,
    filters::{Answers, Trailers, pressure::Watched},
    inject::{Met, Shaping},
    view::{Kept, View},
};
use crate::{
    access_log::Wanted,
    cluster::Cluster,
    net::io::Spoken,
    observe::{Attempt, Effect, Flags, Hit, Identity, Record},
    policy::grpc,
    snapshot::{Forward, Http, Route, hosts::RouteId},
};

/// What is known of a request so far.
#[derive(Debug)]
pub struct Log {
    /// The configuration that it is served by.
    pub local: Rc<Local>,
    /// Index of its HTTP connection manager there.
    pub http: usize,
    /// Its connection.
    pub client: Rc<Client>,
    /// Which request of the schedule it is.
    pub identity: Identity,
    /// Its method.
    pub method: Method,
    /// The HTTP version that its client speaks.
    pub version: Version,
    /// It is a gRPC call: what is answered here is told in gRPC's way.
    pub grpc: bool,
    /// It is a call of gRPC-Web, whose answer is wanted in this form.
    pub grpc_web: Option<grpc::web::Form>,
    /// The gRPC status of an answer of our own; `None`: what its HTTP status is to gRPC.
    pub grpc_status: Option<grpc::Status>,
    /// Its path and query as they came; `None`: it has none (`CONNECT`).
    pub path: Option<PathAndQuery>,
    /// The host asked for.
    pub authority: Option<HeaderValue>,
    /// Its route.
    pub route: Option<RouteId>,
    /// Which of its route's clusters it is.
    pub target: usize,
    /// Index of its cluster.
    pub cluster: Option<usize>,
    /// The origin that its answer is marked for.
    pub origin: Option<HeaderValue>,
    /// Its head as it was sent on, where its answer's headers are made of it.
    pub recalled: Option<Box<request::Parts>>,
    /// The answer's status.
    pub status: Option<StatusCode>,
    /// What went wrong, or was done.
    pub flags: Flags,
    /// Why the answer is what it is.
    pub details: Cow<'static, str>,
    /// The client, where that is not its connection's peer.
    pub remote: Option<SocketAddr>,
    /// When its head had been read.
    pub start: Instant,
    /// When it was sent on.
    pub sent: Option<Instant>,
    /// When its answer's header came.
    pub arrived: Option<Instant>,
    /// The endpoint of its last try.
    pub upstream: Option<SocketAddr>,
    /// The protocol that it was sent on by.
    pub upstream_protocol: Option<Version>,
    /// Our end of the connection that it was sent on by.
    pub upstream_local: Option<SocketAddr>,
    /// Why no connection to its cluster could be made.
    pub transport_failure: Cow<'static, str>,
    /// Why its client's connection was ended.
    pub termination: &'static str,
    /// What the access logs want to know of it; `None`: there are none.
    pub kept: Option<Box<Kept>>,
    /// Bytes of its body so far; shared with the body, that another task reads.
    pub bytes_in: Option<Rc<Cell<u64>>>,
    /// Bytes of the answer's body so far.
    pub bytes_out: u64,
    /// What filters do to trailers.
    pub trailers: Option<Box<Trailers>>,
    /// What services that were asked do to its answer.
    pub authz: Option<Box<Answers>>,
    /// Headers that filters add to its answer.
    pub answer_headers: Vec<(HeaderName, HeaderValue)>,
    /// Its client is of the mesh, and may ask for what others may not.
    pub internal: bool,
    /// Its id, where answers carry it.
    pub request_id: Option<HeaderValue>,
    /// How often it was tried, as `x-envoy-attempt-count`: hedges count, a stale connection does not.
    pub tries: u32,
    /// Cookies that its client is given.
    pub cookies: Vec<String>,
    /// Tries to send it on.
    pub attempts: Attempts,
    /// Fault rules that were drawn.
    pub considered: Vec<Arc<str>>,
    /// Those that chose it.
    pub hits: Vec<Hit>,
    /// It waited in filters: for its body, or for whom they ask.
    pub held: bool,
    /// What its attempts met of them; `None`: they meet none.
    pub met: Option<Rc<RefCell<Met>>>,
    /// Filters that want to know its end.
    pub watched: Vec<Watched>,
    /// What is done to its answer.
    pub shaping: Option<Box<Shaping>>,
    done: bool,
}

/// Tries to send a request on; there is one, but for stale connections and retries.
#[derive(Debug, Default)]
pub struct Attempts {
    first: Option<Attempt>,
    all: Vec<Attempt>,
}

impl Attempts {
    /// One more.
    pub fn push(&mut self, attempt: Attempt) {
        match self.first.take() {
            None if self.all.is_empty() => self.first = Some(attempt),
            first => {
                self.all.extend(first);
                self.all.push(attempt);
            }
        }
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[Attempt] {
        if self.all.is_empty() {
            self.first.as_slice()
        } else {
            &self.all
        }
    }
}

impl Log {
    /// Opens the log of a request whose head has been read.
    pub fn open(
        client: Rc<Client>,
        local: Rc<Local>,
        http: usize,
        method: Method,
        path: Option<PathAndQuery>,
        now: Instant,
    ) -> Box<Self> {
        client.metrics.requests.inc();
        client.metrics.requests_active.inc();
        let listener = local.snapshot.http.get(http);
        let logged = listener.is_some_and(|listener| !listener.manager.access.is_empty());
        Box::new(Self {
            kept: logged.then(Box::default),
            version: Version::HTTP_11,
            remote: None,
            arrived: None,
            upstream: None,
            upstream_protocol: None,
            upstream_local: None,
            transport_failure: Cow::Borrowed(""),
            termination: "",
            local,
            http,
            client,
            identity: Identity {
                ordinal: 0,
                side: 0,
                intended_ms: None,
                n: 0,
                scheduled: false,
            },
            method,
            grpc: false,
            grpc_web: None,
            grpc_status: None,
            path,
            authority: None,
            route: None,
            target: 0,
            cluster: None,
            origin: None,
            recalled: None,
            status: None,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            start: now,
            sent: None,
            bytes_in: None,
            bytes_out: 0,
            trailers: None,
            authz: None,
            answer_headers: Vec::new(),
            internal: false,
            request_id: None,
            tries: 0,
            cookies: Vec::new(),
            attempts: Attempts::default(),
            considered: Vec::new(),
            hits: Vec::new(),
            held: false,
            met: None,
            watched: Vec::new(),
            shaping: None,
            done: false,
        })
    }

    /// What its listener's chain does. An index that is out of range cannot occur: it is of this snapshot.
    pub fn listener(&self) -> Option<&Http> {
        self.local.snapshot.http.get(self.http)
    }

    /// Its route.
    pub fn route(&self) -> Option<&Route> {
        self.listener()?.hosts.get(self.route?)
    }

    /// Its route's way on.
    pub fn forward(&self) -> Option<&Forward> {
        self.route()?.forward()
    }

    /// So many bytes of the request's body came, and are not sent on.
    pub fn count_in(&mut self, bytes: u64) {
        self.bytes_in = Some(Rc::new(Cell::new(bytes)));
    }

    /// Keeps what the access logs want of the head, as it is now.
    pub fn keep_request(&mut self, head: &request::Parts) {
        self.keep(|kept, wanted| kept.request(wanted, head));
    }

    /// Keeps what the access logs want of the answer's header.
    pub fn keep_answer(&mut self, headers: &HeaderMap) {
        self.keep(|kept, wanted| kept.answer(wanted, headers));
    }

    /// Keeps what the access logs want of the answer's trailers.
    pub fn keep_trailer(&mut self, headers: &HeaderMap) {
        self.keep(|kept, wanted| kept.trailer(wanted, headers));
    }

    fn keep(&mut self, keep: impl FnOnce(&mut Kept, &Wanted)) {
        if let Some(mut kept) = self.kept.take() {
            if let Some(listener) = self.listener() {
                keep(&mut kept, &listener.manager.access.wanted);
            }
            self.kept = Some(kept);
        }
    }

    /// Its cluster's name; empty: it has none.
    pub fn cluster_name(&self) -> &str {
        self.cluster()
            .map_or("", |cluster| &cluster.settings().name)
    }

    /// The host asked for, as text.
    pub fn authority(&self) -> &str {
        text(self.authority.as_ref())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }

    /// The answer ended in full, or as far as it went.
    pub fn finish(mut self: Box<Self>, complete: bool, now: Instant) {
        self.record(complete, now);
    }

    fn record(&mut self, complete: bool, now: Instant) {
        self.done = true;
        for watched in self.watched.drain(..) {
            watched.end(self.status, complete, now);
        }
        if let Some(met) = self.met.take() {
            let met = met.take();
            self.considered.extend(met.considered);
            self.hits.extend(met.hits);
            self.flags.set(met.flags);
        }
        let duration = now.saturating_duration_since(self.start);
        // Counted first: whoever is told of the request finds it in the counts.
        self.count(duration, now);
        self.client.end(now);
        let Some(listener) = self.listener() else {
            return;
        };
        self.client.core.observer.request(&Record {
            listener: &listener.name,
            place: listener.place.as_ref(),
            identity: self.identity,
            downstream: self.client.peer,
            method: &self.method,
            path: self.path.as_ref().map_or("", PathAndQuery::as_str),
            authority: self.authority(),
            route: self.route().map_or("", |route| &route.name),
            cluster: self.cluster_name(),
            status: self.status,
            complete,
            flags: self.flags,
            details: &self.details,
            start: self.start,
            duration,
            bytes_in: self.bytes_in.as_ref().map_or(0, |bytes| bytes.get()),
            bytes_out: self.bytes_out,
            attempts: self.attempts.as_slice(),
            considered: &self.considered,
            hits: &self.hits,
        });
        if self.flags.has(Flags::DPE) {
            self.client.speaks(Spoken::Nonsense);
        }
        if self.kept.is_some() {
            listener.manager.access.write(&View::of_ended(self, now));
        }
    }

    /// Its cluster.
    pub fn cluster(&self) -> Option<&Rc<Cluster<Upload>>> {
        self.local.clusters.get(self.cluster?)
    }

    fn count(&self, duration: Duration, now: Instant) {
        let metrics = &self.client.metrics;
        metrics.requests_active.dec();
        metrics.time.record(duration);
        if let Some(status) = self.status {
            metrics.class(status.as_u16()).inc();
            metrics.completed.inc();
        }
        if let (Some(cluster), Some(sent)) = (self.cluster(), self.sent) {
            let upstream = cluster.metrics();
            upstream.requests_active.dec();
            upstream.time.record(now.saturating_duration_since(sent));
        }
        if !self.hits.is_empty() {
            self.count_faults();
        }
    }

    fn count_faults(&self) {
        for hit in &self.hits {
            let fault = self.client.core.fault(&hit.fault);
            match hit.effect {
                Effect::Applied => fault.applied.inc(),
                Effect::Superseded => fault.superseded.inc(),
                Effect::Capped => fault.capped.inc(),
                Effect::Abandoned => fault.abandoned.inc(),
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Whoever still held the log was dropped with the connection.
        let (flags, details) = match self.client.left() {
            None => (Flags::DC, "downstream_remote_disconnect"),
            Some(Left::Reset) => (Flags::DR, "http2.remote_reset"),
            Some(Left::Refused) => (Flags::DPE, "http2.violation.of.messaging.rule"),
        };
        self.flags.set(flags);
        self.details = Cow::Borrowed(details);
        self.client.metrics.remote_resets.inc();
        self.record(false, Instant::now());
    }
}

/// A header's value as text; empty where it is none.
pub fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}
