//! Sends a request on: an endpoint, a connection, the answer's head; again where a policy says so.

use std::{net::IpAddr, rc::Rc, str::FromStr, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request,
    uri::Authority,
};
use tokio::time::Instant;

use super::{
    body::Upload,
    core::Local,
    edit,
    inject::{self, Shaping},
    log::Log,
    replay::Replay,
};
use crate::{
    cluster::{
        Cluster, Elsewhere, Pick,
        pool::{Lease, Pool},
        roster::Member,
    },
    error::{self, Error},
    net::{body::Incoming, onward::Onward},
    policy::{
        balance::subset::Metadata, breaker::Priority, fault::abort, grpc, outlier::Outcome,
        rewrite::CompiledHost, sticky,
    },
    snapshot::Route,
};

mod attempt;
mod race;
mod times;
mod wish;

use attempt::{Failure, Progress};
use times::Times;

/// `x-envoy-expected-rq-timeout-ms`.
pub(super) const EXPECTED_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// `x-envoy-attempt-count`.
pub(super) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// As Envoy: by this header of an answer an endpoint takes itself out until its health checks succeed.
const FAILS_CHECK: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

/// The head of an answer, and the connection that its body comes from.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Incoming>,
    /// Its connection.
    pub lease: Lease<Upload>,
    /// When the request began to be sent on.
    pub sent: Instant,
    /// When the answer's head came.
    pub arrived: Instant,
    /// What is done to its body.
    pub shaping: Option<Box<Shaping>>,
}

/// What a request got.
#[derive(Debug)]
pub enum Got {
    /// The upstream's answer. In a box: it goes through as many hands as its request.
    Upstream(Box<Answer>),
    /// The answer of a fault that the attempt met.
    Injected(abort::Reply),
}

/// Sends the request to its cluster. Timeouts of the route are counted from its end.
pub async fn send(
    mut head: Box<request::Parts>,
    body: Upload,
    cluster: &Rc<Cluster<Upload>>,
    log: &mut Log,
) -> Result<Got, Error> {
    let client = Rc::clone(&log.client);
    let (respects, quiet) = log.listener().map_or((false, false), |it| {
        (it.manager.respects_expected_timeout, it.manager.quiet)
    });
    let wish = wish::take(&mut head.headers, log.internal, respects);
    // Asked for its retries below, while the log is told of the attempts.
    let local = Rc::clone(&log.local);
    let (key, metadata) = bind(&local, &head.headers, log);
    let forward = log.forward().ok_or(Error::NoRoute)?;
    let times = Times::of(forward, &wish);
    // The head was read just now, unless a filter has held it.
    let begin = if log.hits.is_empty() && !log.held {
        log.start
    } else {
        Instant::now()
    };
    let priority = forward.priority;
    let tell_attempt = forward.attempt_count;
    let told_timeout = forward.timeout_ms.clone();
    let own_host = matches!(forward.host_rewrite, Some(CompiledHost::Endpoint))
        .then_some(forward.append_forwarded_host);
    client.expect_answer(begin, times.whole, forward.idle_timeout);
    cluster.metrics().requests_active.inc();
    let route = local.route(log.http, log.route);
    let sender = Sender {
        cluster,
        client: &client,
        key,
        metadata,
        version: log.version,
        tunnel: head.method == Method::CONNECT && forward.terminates(),
        begin,
        times,
        tell_attempt,
        told_timeout: told_timeout.filter(|_| wish.timeout.is_none()),
        faults: route.and_then(|route| inject::Attempts::of(&route.passed(log.target).faults, log)),
        name: asked_name(cluster, &head, log),
        own_host,
        quiet,
        priority,
    };
    log.sent = Some(begin);
    let retries = route.and_then(|route| {
        let tries = &route.forward()?.tries;
        let view = inject::view(log, &head.headers);
        let retries = tries.retry.begin(&view, wish.retry)?;
        Some((retries, tries.kept_body))
    });
    if retries.is_none() && times.per_try.is_none() && times.per_try_idle.is_none() {
        return sender.once(head, body, log).await;
    }
    let (retries, kept) = match retries {
        Some((retries, kept)) => {
            let most = cluster.settings().kept_body.unwrap_or(u64::MAX);
            (Some(retries), kept.min(most))
        }
        None => (None, 0),
    };
    let body = match body {
        Upload::Empty => None,
        body => Some(Replay::new(body, kept)),
    };
    // On the heap, so that connections without retries are no larger for it.
    Box::pin(race::Race::new(&sender, head, body, retries, log).run()).await
}

/// Takes off what the client wishes of retries and timeouts.
pub(super) fn forget_wishes(headers: &mut HeaderMap) {
    wish::take(headers, false, false);
}

/// What binds the request to an endpoint, and what it asks for of one. A client is given the cookies that bind it.
fn bind<'a>(
    local: &'a Local,
    headers: &HeaderMap,
    log: &mut Log,
) -> (Option<u64>, Option<&'a Metadata>) {
    let route = local.route(log.http, log.route);
    let Some(forward) = route.and_then(Route::forward) else {
        return (None, None);
    };
    let target = forward.targets.get(log.target);
    let metadata = target.and_then(|target| target.metadata.as_ref());
    if forward.sticky.is_empty() {
        return (None, metadata);
    }
    let bound = forward.sticky.bind(&sticky::Request {
        headers,
        query: log.path.as_ref().and_then(|path| path.query()),
        peer: log.client.peer,
        local: log.client.local,
    });
    log.cookies = bound.cookies;
    (bound.key, metadata)
}

/// What all attempts of a request have in common.
struct Sender<'a> {
    cluster: &'a Rc<Cluster<Upload>>,
    client: &'a super::client::Client,
    /// What binds it to an endpoint.
    key: Option<u64>,
    /// What it asks for of an endpoint's metadata.
    metadata: Option<&'a Metadata>,
    /// What the client speaks.
    version: Version,
    /// It is a `CONNECT` that ends here.
    tunnel: bool,
    begin: Instant,
    times: Times,
    tell_attempt: bool,
    /// What the upstream is told of the timeout, where nobody has changed it.
    told_timeout: Option<HeaderValue>,
    /// The faults that each attempt meets.
    faults: Option<inject::Attempts<'a>>,
    /// The name that endpoints are asked for in TLS's handshake, where it is the request's.
    name: Option<Box<str>>,
    /// Endpoints are asked for by their own names; whether they are told what the client asked for.
    own_host: Option<bool>,
    /// The upstream is told nothing of timeouts, and of what was rewritten.
    quiet: bool,
    /// Whose limits are the request's.
    priority: Priority,
}

/// Where an attempt goes.
struct Way {
    pool: Rc<Pool<Upload>>,
    /// The endpoint's priority.
    level: u32,
    /// The endpoint's name, where it is asked for by that.
    host: Option<HeaderValue>,
}

/// Envoy's `auto_sni`: the host that the client asked for, without its port, unless it is an address (RFC 6066 §3).
fn asked_name(cluster: &Cluster<Upload>, head: &request::Parts, log: &Log) -> Option<Box<str>> {
    let header = cluster.settings().sni_header()?;
    let value = match *header {
        header::HOST => log.authority.as_ref(),
        // As Envoy: where that is not there, the host is it after all.
        _ => head.headers.get(header).or(log.authority.as_ref()),
    };
    server_name(value?)
}

/// A host without its port, unless it is an address.
pub(super) fn server_name(host: &HeaderValue) -> Option<Box<str>> {
    let host = Authority::from_str(host.to_str().ok()?).ok()?;
    let host = host.host();
    (host.parse::<IpAddr>().is_err() && !host.starts_with('[')).then(|| host.into())
}

impl Sender<'_> {
    /// The only attempt.
    async fn once(
        &self,
        mut head: Box<request::Parts>,
        body: Upload,
        log: &mut Log,
    ) -> Result<Got, Error> {
        log.tries = 1;
        let Way { pool, host, .. } = match self.next(None, 0, None) {
            Ok(way) => way,
            Err(error) => {
                self.cluster.metrics().requests.inc();
                return Err(self.no_endpoint(error, log));
            }
        };
        self.rename(&mut head, host, log);
        self.dress(&mut head, 1);
        log.upstream = Some(pool.address());
        let progress = Progress::default();
        let request = Onward { head, body };
        let result = attempt::run(request, &pool, self, &progress, 1, self.begin).await;
        self.settle(&progress, self.begin, &result, log);
        result.map_err(|failure| failure.error)
    }

    /// The connections, such as suit the client's protocol, to the endpoint whose turn it is; if it is rejected, to
    /// another one, sought so often.
    fn next(
        &self,
        reject: Option<&dyn Fn(&Member) -> bool>,
        others: u32,
        elsewhere: Option<Elsewhere<'_>>,
    ) -> Result<Way, Error> {
        let host = self.cluster.pick(&Pick {
            key: self.key,
            metadata: self.metadata,
            reject,
            attempts: others,
            elsewhere,
        })?;
        let urgent = (self.priority == Priority::High).then(|| host.pool.for_urgent());
        let own = urgent.as_ref().unwrap_or(&host.pool);
        let tunnels = self.tunnel.then(|| own.for_tunnel());
        let pool = match &tunnels {
            Some(tunnels) => tunnels,
            None => own.for_client(self.version),
        };
        Ok(Way {
            level: host.site.member.endpoint.priority,
            pool: match &self.name {
                Some(name) => pool.for_name(name),
                None => Rc::clone(pool),
            },
            host: self.own_host.and_then(|_| {
                let name = &host.site.member.endpoint.hostname;
                HeaderValue::from_str(name).ok()
            }),
        })
    }

    /// Asks for the endpoint by its name, if it has one.
    fn rename(&self, head: &mut request::Parts, host: Option<HeaderValue>, log: &mut Log) {
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            let append = self.own_host.unwrap_or_default();
            edit::replace_host(host, append, self.quiet, &mut head.headers);
            log.keep_request(head);
        }
    }

    /// Tells the upstream which attempt it is, and how long it has.
    fn dress(&self, head: &mut request::Parts, n: u32) {
        self.cluster.metrics().requests.inc();
        let told = match &self.told_timeout {
            _ if self.quiet => None,
            Some(told) if n == 1 && self.times.per_try.is_none() => Some(told.clone()),
            _ if n == 1 => self.times.expected(Duration::ZERO),
            _ => self.times.expected(self.begin.elapsed()),
        };
        if let Some(told) = told {
            head.headers.insert(EXPECTED_TIMEOUT, told);
        }
        if self.tell_attempt {
            head.headers.insert(ATTEMPT_COUNT, HeaderValue::from(n));
        }
    }

    fn no_endpoint(&self, error: Error, log: &mut Log) -> Error {
        self.cluster.metrics().none_healthy.inc();
        log.attempts
            .push(attempt::record(None, Duration::ZERO, Err(&error)));
        error
    }

    /// An attempt has ended, or was given up: it is counted and kept for the records.
    fn settle(
        &self,
        progress: &Progress,
        start: Instant,
        result: &Result<Got, Failure>,
        log: &mut Log,
    ) {
        let metrics = self.cluster.metrics();
        let pool = progress.pool.take();
        let took = match result {
            Ok(Got::Upstream(answer)) => answer.arrived.saturating_duration_since(start),
            _ => start.elapsed(),
        };
        if let Some(took) = progress.stale.take() {
            let mut stale = attempt::record(pool.as_ref(), took, Err(&Error::Terminated));
            stale.why = Some("stale connection".into());
            log.attempts.push(stale);
        }
        if let Some(pool) = &pool {
            if progress.connected.get().is_some() {
                pool.report(Outcome::Connected, Duration::ZERO);
            }
            if let Some(outcome) = outcome(result, log.grpc) {
                pool.report(outcome, took);
            }
            if !self.cluster.settings().health.is_empty()
                && let Ok(Got::Upstream(answer)) = result
                && answer.response.headers().contains_key(FAILS_CHECK)
            {
                pool.fail_check();
            }
        }
        match result {
            Ok(got) => metrics.answered(got.status().as_u16()),
            Err(failure) => match failure.error {
                Error::Timeout => metrics.timeouts.inc(),
                Error::PerTryTimeout { .. } => metrics.per_try_timeouts.inc(),
                Error::Terminated | Error::Protocol | Error::ConnectReset | Error::Reset { .. } => {
                    metrics.resets.inc();
                }
                _ => {}
            },
        }
        // What only access logs and header operations ask for.
        if progress.connected.get().is_some() {
            (log.upstream_protocol, log.upstream_local) = progress.over.get();
        }
        if log.kept.is_some()
            && let Err(Failure {
                error: Error::Connect(cause),
                ..
            }) = result
        {
            log.transport_failure = error::transport_failure(cause).into();
        }
        // It did not come as far as an endpoint.
        let refused = matches!(
            result,
            Err(failure) if matches!(failure.error, Error::Overflow { waiting: true })
        );
        if refused {
            log.upstream = None;
        }
        log.attempts.push(attempt::record(
            pool.as_ref().filter(|_| !refused),
            took,
            result
                .as_ref()
                .map(Got::status)
                .map_err(|failure| &failure.error),
        ));
    }
}

/// What an attempt tells of its endpoint; `None`: nothing. A gRPC call's status counts where the answer begins with it: as
/// Envoy, what comes in trailers is not waited for.
fn outcome(result: &Result<Got, Failure>, is_call: bool) -> Option<Outcome> {
    match result {
        Ok(Got::Upstream(answer)) => {
            let response = &answer.response;
            let told = is_call.then(|| grpc::status(response.headers())).flatten();
            let status = told.map_or_else(|| response.status().as_u16(), grpc::to_http);
            Some(Outcome::Status(status))
        }
        Ok(Got::Injected(_)) => None,
        Err(failure) => match failure.error {
            Error::Connect(_)
            | Error::Terminated
            | Error::Protocol
            | Error::ConnectReset
            | Error::Reset { .. } => Some(Outcome::Failed),
            Error::ConnectTimeout | Error::Timeout | Error::PerTryTimeout { .. } => {
                Some(Outcome::Timeout)
            }
            _ => None,
        },
    }
}

impl Got {
    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Upstream(answer) => answer.response.status(),
            Self::Injected(reply) => reply.status,
        }
    }
}
