//! HTTP: what becomes of a request, from its head to the last byte of its answer.

use std::{cell::Cell, rc::Rc};

use http::{Response, request};
use http_body::Body;
use tokio::time::Instant;

pub mod body;
pub mod client;
pub mod core;
mod date;
mod edit;
mod fallback;
pub mod filters;
pub mod forward;
pub mod h2;
mod identity;
pub mod inject;
mod local;
mod locate;
pub mod log;
mod normalize;
mod origin;
mod redirect;
pub mod replay;
pub mod reply;
pub mod server;
pub mod shadow;
pub mod shaped;
pub mod view;
mod xfcc;

use body::{Download, FromClient, Upload};
use client::Client;
use fallback::Sent;
use forward::Got;
use log::Log;
use redirect::{Trail, Turn};
use shadow::{Copies, Primary, Shadow};

use crate::{
    error::Error,
    net::body::Incoming,
    policy::{fault::abort::End, grpc},
    snapshot::{Action, Forward, hosts::RouteId, target::Choice},
};

const GRPC_TIMEOUT: http::HeaderName = http::HeaderName::from_static("grpc-timeout");

/// Serves one request. Its head is in a box: each step that it is handed to would copy it, twice.
pub async fn serve(
    client: Rc<Client>,
    mut head: Box<request::Parts>,
    body: Incoming,
) -> Response<Download> {
    // The configuration is loaded once: what is swapped in meanwhile is for the next request.
    let (local, http) = client.local();
    // One log is opened; from here exactly one record leaves, also when the client vanishes.
    let mut log = open(&client, local, http, &head, &body);
    // What is for this hop alone is taken off, and the request gets its host, its ids, and its place in the schedule.
    let upgrade = match settle(&mut log, &mut head) {
        Ok(upgrade) => upgrade,
        Err(error) => return reply::error(log, &error),
    };
    if let Err(elsewhere) = locate::path(&mut log, &mut head) {
        return reply::elsewhere(log, elsewhere);
    }
    match pass(log, head, body, upgrade, None).await {
        Ok(response) => response,
        // On the heap, so that connections without it are no larger for it.
        Err(turn) => Box::pin(redirect::follow(turn)).await,
    }
}

/// Serves a settled request; the error is what becomes of it where its upstream sends it elsewhere, and that is followed
/// here. `trail`: where it has been before.
async fn pass(
    mut log: Box<Log>,
    mut head: Box<request::Parts>,
    mut body: Incoming,
    upgrade: Option<String>,
    trail: Option<Box<Trail>>,
) -> Result<Response<Download>, Turn> {
    let switches = upgrade.is_some();
    // The first route of the most specific host is taken, and one of its clusters.
    route(&mut log, &head);
    // An upgrade is what they allow: from its head on, the connection is the other protocol's.
    // As with Envoy, a `CONNECT` without a route is told that.
    let upgrade = upgrade.filter(|_| log.route.is_some() || head.method != http::Method::CONNECT);
    if let Some(protocol) = upgrade {
        if !allows(&log, &protocol) {
            return Ok(reply::error(log, &Error::UpgradeDenied));
        }
        body.switch();
        let websocket = protocol.eq_ignore_ascii_case("websocket");
        log.client.request_goes_on(websocket);
    }
    // How long all of it may take is known now.
    bound(&log, &mut head.headers);
    // It passes the filters: faults are drawn and suffered, limits kept; one may answer it.
    match filters::request(&mut log, &mut head, &mut body).await {
        Ok(None) => {}
        Ok(Some(ended)) => return Ok(reply::filtered(log, ended)),
        Err(error) => return Ok(reply::error(log, &error)),
    }
    // A route without a cluster answers by itself.
    let Some(cluster) = log.cluster().cloned() else {
        return Ok(answer_here(log, head));
    };
    // Mirrors choose it, and take their copies; the primary does not wait for them.
    let copies = mirror(&mut log, &mut head, &body);
    // It is sent on; access logs tell of it as it is now.
    log.keep_request(&head);
    let before = trail.as_ref().map_or(0, |trail| trail.bytes);
    let upload = upload(&mut log, body, copies.tees, before);
    let primaries = copies.primaries;
    // What the upstream sends elsewhere is kept until its answer is there.
    let (spare, upload) = if switches {
        (None, upload)
    } else {
        redirect::keep(&log, &head, upload, &cluster)
    };
    let sent = if falls_back(&log) {
        // On the heap, so that connections without fallbacks are no larger for them.
        Box::pin(fallback::send(head, upload, &cluster, &mut log)).await
    } else {
        forward::send(head, upload, &cluster, &mut log)
            .await
            .map(Sent::Got)
    };
    Ok(match sent {
        // The upstream's answer goes to the client; its end ends the log.
        Ok(Sent::Got(Got::Upstream(mut answer))) => {
            if let Some(spare) = spare
                && let Some(next) = redirect::next(&mut log, *spare, trail, &answer)
            {
                for primary in primaries {
                    primary.failed();
                }
                return Err(next.go(log, answer));
            }
            let shaped = match log.shaping {
                None => Ok(()),
                Some(_) => Box::pin(inject::shape(&mut log, &mut answer.response)).await,
            };
            match shaped {
                Ok(()) => reply::upstream(log, answer, primaries),
                Err(error) => failed(log, primaries, &error),
            }
        }
        // A fault that an attempt met answers as if it were the upstream.
        Ok(Sent::Got(Got::Injected(reply))) => {
            for primary in primaries {
                primary.failed();
            }
            let mut response = reply::filtered(log, filters::Ended::fault(End::Reply(reply)));
            // Whatever it says, it is not the client that it finds fault with.
            response.headers_mut().remove(http::header::CONNECTION);
            response
        }
        // Its cluster takes nothing, and its route has an answer for that.
        Ok(Sent::Answer(reply)) => {
            for primary in primaries {
                primary.failed();
            }
            reply::filtered(log, filters::Ended::Answered(reply))
        }
        // Without one, the client is told why.
        Err(error) => failed(log, primaries, &error),
    })
}

/// As Envoy: a gRPC client's own deadline, where the route lets it count, else the route's bound, else the manager's. Where
/// the route has a say, a call's upstream is told.
fn bound(log: &Log, headers: &mut http::HeaderMap) {
    let Some(listener) = log.listener() else {
        return;
    };
    let tries = log.forward().map(|forward| &forward.tries);
    let own = tries.and_then(|tries| {
        let most = tries.grpc_timeout_max?;
        let asked = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
        let asked = grpc::deadline::read(asked)?;
        let bounded = if most.is_zero() {
            asked
        } else {
            asked.min(most)
        };
        Some(bounded.saturating_sub(tries.grpc_timeout_offset))
    });
    let routes = tries.and_then(|tries| tries.max_duration);
    let within = own.or_else(|| {
        routes
            .or(listener.manager.max_stream_duration)
            .filter(|within| !within.is_zero())
    });
    let Some(within) = within else {
        return;
    };
    log.client.end_by(log.start + within);
    let has_a_say =
        tries.is_some_and(|tries| tries.max_duration.is_some() || tries.grpc_timeout_max.is_some());
    if log.grpc
        && has_a_say
        && let Ok(told) = http::HeaderValue::try_from(grpc::deadline::write(within))
    {
        headers.insert(GRPC_TIMEOUT, told);
    }
}

fn falls_back(log: &Log) -> bool {
    let forward = log.forward();
    forward.is_some_and(|forward| forward.tries.fallback.is_some())
}

fn failed(log: Box<Log>, primaries: Vec<Primary>, error: &Error) -> Response<Download> {
    for primary in primaries {
        primary.failed();
    }
    reply::error(log, error)
}

fn open(
    client: &Rc<Client>,
    local: Rc<core::Local>,
    http: usize,
    head: &request::Parts,
    body: &Incoming,
) -> Box<Log> {
    let now = Instant::now();
    let mut log = Log::open(
        Rc::clone(client),
        local,
        http,
        head.method.clone(),
        head.uri.path_and_query().cloned(),
        now,
    );
    log.version = head.version;
    log.grpc = head
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|it| grpc::is_call(it.as_bytes()));
    if let Some(listener) = log.listener() {
        client.begin(now, &listener.manager, body.is_end_stream());
    }
    log
}

fn settle(log: &mut Log, head: &mut request::Parts) -> Result<Option<String>, Error> {
    let local = Rc::clone(&log.local);
    let listener = local.snapshot.http.get(log.http).ok_or(Error::NoRoute)?;
    let settled = normalize::request(head, &log.client, &listener.manager);
    log.internal = settled.as_ref().is_ok_and(|settled| settled.internal);
    locate::host(head, &listener.manager);
    log.keep_request(head);
    log.authority = head.headers.get(http::header::HOST).cloned();
    let run = local.snapshot.run;
    log.identity = identity::of(
        listener,
        run,
        run.and_then(|_| head.headers.get(normalize::TRACEPARENT)),
        log.method.as_str(),
        log.path(),
    );
    let settled = settled?;
    log.remote = settled.client;
    if listener.manager.answer_request_id || settled.traced {
        log.request_id = head.headers.get(normalize::REQUEST_ID).cloned();
    }
    Ok(settled.upgrade)
}

fn allows(log: &Log, protocol: &str) -> bool {
    let forward = log.forward();
    let said = forward.and_then(|forward| {
        let mut upgrades = forward.upgrades.iter();
        upgrades.find(|upgrade| upgrade.protocol == protocol)
    });
    match said {
        Some(upgrade) => upgrade.allowed,
        None => log.listener().is_some_and(|listener| {
            let mut upgrades = listener.manager.upgrades.iter();
            upgrades.any(|allowed| allowed == protocol)
        }),
    }
}

fn find_route(log: &Log, head: &request::Parts) -> Option<RouteId> {
    let listener = log.listener()?;
    let view = inject::view(log, &head.headers);
    listener.hosts.find(&view, log.identity.ordinal)
}

fn route(log: &mut Log, head: &request::Parts) {
    log.route = find_route(log, head);
    let Some(forward) = log.forward() else {
        return;
    };
    let at = forward.targets.choose(log.identity.ordinal, &head.headers);
    let cluster = forward
        .targets
        .get(at)
        .and_then(|target| match &target.cluster {
            Choice::Fixed(cluster) => *cluster,
            Choice::Header(name) => named(log, head.headers.get(name)),
        });
    log.target = at;
    log.cluster = cluster;
}

fn named(log: &Log, name: Option<&http::HeaderValue>) -> Option<usize> {
    log.local.snapshot.cluster_named(name?.to_str().ok()?)
}

fn answer_here(mut log: Box<Log>, mut head: Box<request::Parts>) -> Response<Download> {
    let location = edit::redirected(&log, &mut head);
    log.keep_request(&head);
    edit::recall(&mut log, &head);
    let local = Rc::clone(&log.local);
    let listener = local.snapshot.http.get(log.http);
    let route = log
        .route
        .and_then(|id| listener.and_then(|listener| listener.hosts.get(id)));
    match route.map(|route| &route.action) {
        None => reply::error(log, &Error::NoRoute),
        Some(Action::Respond(status, body)) => {
            log.client.metrics.answered_here.inc();
            reply::direct(log, *status, body, &head)
        }
        Some(Action::Redirect(status, _)) => {
            log.client.metrics.answered_here.inc();
            reply::redirect(log, *status, &location)
        }
        Some(Action::Forward(_) | Action::Nothing) => reply::error(log, &Error::NoCluster),
    }
}

/// Rewrites come first: a copy is of what is sent on. The choice is by the request as it came.
fn mirror(log: &mut Log, head: &mut request::Parts, body: &Incoming) -> Copies {
    let chosen = match log.forward() {
        Some(forward) if !forward.mirrors.is_empty() => chosen(log, forward, &head.headers),
        _ => Vec::new(),
    };
    edit::request(log, head);
    if chosen.is_empty() {
        return Copies::default();
    }
    if log.forward().is_some_and(|forward| forward.attempt_count) {
        // As Envoy: a copy is of the first try.
        head.headers
            .insert(forward::ATTEMPT_COUNT, http::HeaderValue::from(1));
    }
    let length = if body.is_end_stream() {
        Some(0)
    } else {
        body.size_hint().exact()
    };
    shadow::copy(&chosen, head, length, log)
}

fn chosen(log: &Log, forward: &Forward, headers: &http::HeaderMap) -> Vec<Rc<Shadow>> {
    let mut chosen = Vec::new();
    // A shadow's onward calls are not shadowed again: a copy speaks for the primary's request.
    if log.identity.side != 0 {
        return chosen;
    }
    for index in &forward.mirrors {
        if let Some(shadow) = log.local.shadows.get(*index)
            && shadow
                .mirror()
                .choice
                .chosen(&inject::view(log, headers), log.identity.ordinal)
        {
            match &shadow.mirror().cluster_header {
                None => chosen.push(Rc::clone(shadow)),
                Some(name) => chosen.extend(
                    named(log, headers.get(name))
                        .and_then(|index| log.local.clusters.get(index))
                        .map(|cluster| Rc::new(shadow.toward(cluster))),
                ),
            }
        }
    }
    chosen
}

/// `before`: how many bytes came of it before it was sent elsewhere.
fn upload(log: &mut Log, body: Incoming, tees: Vec<shadow::Tee>, before: u64) -> Upload {
    if body.is_end_stream() {
        return Upload::Empty;
    }
    let bytes = Rc::new(Cell::new(before));
    log.bytes_in = Some(Rc::clone(&bytes));
    let client = Rc::clone(&log.client);
    let body = FromClient::new(body, client, bytes, tees).with_trailers(log.trailers.take());
    Upload::Client(Box::new(body))
}
