//! Answers: the upstream's on its way to the client, and our own where there is none. The only place where an error
//! becomes a status, a body, flags and details; they are Envoy's (measured).

use std::{borrow::Cow, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request,
    uri::PathAndQuery,
};
use tokio::time::Instant;

use super::{
    body::Download,
    client::Client,
    edit, filters,
    forward::{self, Answer},
    local,
    locate::Elsewhere,
    log::Log,
    normalize::{self, FORWARDED_PROTO},
    shadow::Primary,
    view::View,
};
use crate::{
    error::{self, Error},
    observe::Flags,
    policy::{grpc, rewrite::Asked},
};

/// `x-envoy-upstream-service-time`.
pub(super) const SERVICE_TIME: HeaderName =
    HeaderName::from_static("x-envoy-upstream-service-time");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `x-envoy-overloaded`.
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// What an error is answered.
struct Local {
    status: StatusCode,
    body: Cow<'static, str>,
    flags: Flags,
    details: Cow<'static, str>,
    /// The connection ends with it: what follows on it cannot be trusted.
    close: bool,
}

/// The upstream's answer, for the client.
pub fn upstream(
    mut log: Box<Log>,
    answer: Box<Answer>,
    mut primaries: Vec<Primary>,
) -> Response<Download> {
    let Answer {
        response,
        lease,
        sent,
        arrived,
        shaping,
    } = *answer;
    // What faults do to the body: those of the request, or else of the attempt.
    if log.shaping.is_none() {
        log.shaping = shaping;
    }
    log.status = Some(response.status());
    log.arrived = Some(arrived);
    log.details = Cow::Borrowed("via_upstream");
    let (mut head, body) = response.into_parts();
    // As Envoy: of what does not switch, the client gets no body, unless it is an error.
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let fails = log.client.end_handshake() && !switches && head.status.as_u16() < 400;
    let protocol = if switches {
        head.headers.remove(header::UPGRADE)
    } else {
        None
    };
    normalize::strip_answer(&mut head.headers);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if fails {
        log.details = Cow::Borrowed("websocket_handshake_unsuccessful");
        head.headers.remove(header::CONTENT_TYPE);
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(protocol) = protocol {
        head.headers.insert(header::UPGRADE, protocol);
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    for primary in &mut primaries {
        primary.begin(head.status, &head.headers, sent);
    }
    // Counted from the request's end; an answer that comes before it took no time that could be told.
    let quiet = log.listener().is_some_and(|it| it.manager.quiet);
    if let Some(end) = log.client.request_end().filter(|_| !quiet) {
        let took = arrived.saturating_duration_since(sent.max(end));
        head.headers.insert(SERVICE_TIME, millis(took.as_millis()));
    }
    for cookie in log.cookies.drain(..) {
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            head.headers.append(header::SET_COOKIE, cookie);
        }
    }
    set_attempts(&mut head.headers, &log);
    edit::answer(&log, &mut head.headers);
    filters::answer(&mut log, &mut head.headers);
    sign(&mut head.headers, &log);
    log.keep_answer(&head.headers);
    let mut response = Response::new(if fails {
        for primary in primaries {
            primary.failed();
        }
        Download::local(Bytes::new(), log)
    } else {
        Download::upstream(body, log, lease, primaries)
    });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    *response.extensions_mut() = head.extensions;
    response
}

/// A filter's answer, or the end that it makes.
pub(super) fn filtered(mut log: Box<Log>, ended: filters::Ended) -> Response<Download> {
    match ended {
        filters::Ended::Answered(reply) => {
            log.flags.set(reply.flags);
            log.details = reply.details;
            log.answer_headers.extend(reply.headers);
            log.grpc_status = reply.grpc_status;
            if log.details == filters::CORS {
                // Not what Envoy calls a local reply: neither routes nor rules change it.
                return finish(log, reply.status, HeaderMap::new(), reply.body);
            }
            plain(log, reply.status, reply.body)
        }
        filters::Ended::Refused(refusal) => {
            log.flags.set(Flags::UAEX);
            log.details = Cow::Borrowed(refusal.details);
            let mut headers = HeaderMap::new();
            edit::answer(&log, &mut headers);
            let mut denial = refusal.denial;
            let body = std::mem::take(&mut denial.body);
            denial.dress(&mut headers);
            normalize::strip_answer(&mut headers);
            log.status = Some(refusal.status);
            ruled(log, refusal.status, headers, body, Flags::default())
        }
        filters::Ended::Cut(cut) => {
            log.flags.set(Flags::FI);
            log.details = Cow::Borrowed(filters::FAULT);
            log.finish(false, Instant::now());
            let mut response = Response::new(Download::none());
            response.extensions_mut().insert(cut);
            response
        }
    }
}

/// A route's own answer.
pub(super) fn direct(
    mut log: Box<Log>,
    status: StatusCode,
    body: &str,
    head: &request::Parts,
) -> Response<Download> {
    log.details = Cow::Borrowed("direct_response");
    let mut headers = HeaderMap::new();
    // As in Envoy, it then says where.
    if status.is_redirection() || status == StatusCode::CREATED {
        let asked = asked(head);
        let here = format!("{}://{}{}", asked.scheme, asked.authority, asked.path);
        locate(&mut headers, HeaderValue::try_from(here).ok());
    }
    let mut body = Bytes::copy_from_slice(body.as_bytes());
    let local = Rc::clone(&log.local);
    let route = local.route(log.http, log.route);
    let Some(format) = route.and_then(|route| route.body.as_ref()) else {
        return edited(log, status, headers, body);
    };
    edit::answer(&log, &mut headers);
    let view = View::of_answer(&log, &headers).with_body(&body);
    let made = format.render(&view);
    body = made.into();
    let kind = headers.entry(header::CONTENT_TYPE);
    kind.or_insert_with(|| format.content_type.clone());
    log.status = Some(status);
    ruled(log, status, headers, body, Flags::default())
}

/// A route's way to send the client elsewhere.
pub(super) fn redirect(
    mut log: Box<Log>,
    status: StatusCode,
    location: &str,
) -> Response<Download> {
    log.details = Cow::Borrowed("direct_response");
    let mut headers = HeaderMap::new();
    locate(&mut headers, HeaderValue::try_from(location).ok());
    edited(log, status, headers, Bytes::new())
}

/// What a request that cannot be routed as it came is answered.
pub(super) fn elsewhere(mut log: Box<Log>, elsewhere: Elsewhere) -> Response<Download> {
    match elsewhere {
        Elsewhere::Refused(error) => self::error(log, &error),
        Elsewhere::Redirect(path) => {
            log.details = Cow::Borrowed("path_normalization_failed");
            let mut headers = HeaderMap::new();
            locate(&mut headers, Some(path));
            edited(log, StatusCode::TEMPORARY_REDIRECT, headers, Bytes::new())
        }
    }
}

/// What a request asked for, as redirects look at it.
pub(super) fn asked(head: &request::Parts) -> Asked<'_> {
    let text = |name| {
        head.headers
            .get(name)
            .and_then(|it: &HeaderValue| it.to_str().ok())
    };
    Asked {
        scheme: text(FORWARDED_PROTO).unwrap_or("http"),
        authority: text(header::HOST).unwrap_or_default(),
        path: head.uri.path_and_query().map_or("", PathAndQuery::as_str),
    }
}

fn locate(headers: &mut HeaderMap, location: Option<HeaderValue>) {
    let location = location.map(|location| (header::LOCATION, location));
    headers.extend(location);
}

/// What the client is told of an error.
pub fn error(mut log: Box<Log>, error: &Error) -> Response<Download> {
    if matches!(error, Error::ClientLeft) {
        // Nobody is there to be told; the log, dropped, says so.
        return Response::new(Download::none());
    }
    let mut local = Local::of(error);
    if log.tries > 1
        && let Some((before, reason)) = local.body.split_once("reset reason: ")
    {
        local.body = Cow::Owned(format!(
            "{before}retried and the latest reset reason: {reason}"
        ));
    }
    if let (Error::NoCluster, Some(forward)) = (error, log.forward()) {
        local.status = forward.not_found;
    }
    // What is no HTTP is flagged once it is answered: the answer does not tell of it.
    let late = local.flags == Flags::DPE;
    if !late {
        log.flags.set(local.flags);
    }
    log.details = local.details;
    match error {
        Error::NoRoute => log.client.metrics.no_route.inc(),
        Error::BadBody => log.client.metrics.protocol_errors.inc(),
        Error::RequestTimeout => log.client.metrics.request_timeouts.inc(),
        Error::MaxDuration { .. } => log.grpc_status = Some(grpc::DEADLINE_EXCEEDED),
        Error::StreamIdle { .. } => log.client.metrics.stream_idle_timeouts.inc(),
        _ => {}
    }
    let body = match local.body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let mut headers = HeaderMap::new();
    edit::answer(&log, &mut headers);
    log.status = Some(local.status);
    let flags = if late { local.flags } else { Flags::default() };
    let mut response = ruled(log, local.status, headers, body, flags);
    if matches!(error, Error::Overflow { .. } | Error::BreakerOpen) {
        response
            .headers_mut()
            .insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    if local.close {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a client is told that sent no request. There is a record of it all the same.
pub fn refused(client: &Rc<Client>, why: &Error) -> Response<Download> {
    let now = Instant::now();
    let (local, http) = client.local();
    let log = Log::open(Rc::clone(client), local, http, Method::default(), None, now);
    error(log, why)
}

/// A request of HTTP/2 that did not come so far as to be answered. There is a record of it all the same.
pub fn unheard(client: &Rc<Client>, flags: Flags, details: &'static str) {
    let now = Instant::now();
    let (local, http) = client.local();
    // What it was does not stand for all of its connection.
    let stream = Client::of_stream(client, &Arc::default(), now);
    let mut log = Log::open(Rc::new(stream), local, http, Method::default(), None, now);
    log.version = Version::HTTP_2;
    log.flags.set(flags);
    log.details = Cow::Borrowed(details);
    log.finish(false, now);
}

fn plain(log: Box<Log>, status: StatusCode, body: Bytes) -> Response<Download> {
    edited(log, status, HeaderMap::new(), body)
}

/// With headers that the route's own are made from.
fn edited(
    mut log: Box<Log>,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Download> {
    // Envoy's routes don't see the status of our own answers, either.
    edit::answer(&log, &mut headers);
    log.status = Some(status);
    ruled(log, status, headers, body, Flags::default())
}

/// An answer of our own, as the manager's rules want it; `late`: flags that they do not know of.
fn ruled(
    mut log: Box<Log>,
    mut status: StatusCode,
    mut headers: HeaderMap,
    mut body: Bytes,
    late: Flags,
) -> Response<Download> {
    // As in Envoy, whoever asks badly is not listened to any longer, whatever the rules make of it.
    if status == StatusCode::BAD_REQUEST {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    local::rewrite(&mut log, &mut status, &mut body, &mut headers);
    log.flags.set(late);
    // To Envoy, calls of gRPC-Web are none of gRPC's: what they are told is turned like an upstream's answer.
    let web = log.grpc_web.is_some();
    if log.grpc && !(web && body.is_empty()) {
        // In a header's value, a document's last line has no end.
        let json = headers.get(header::CONTENT_TYPE) == Some(&JSON);
        if json && body.ends_with(b"\n") {
            body.truncate(body.len() - 1);
        }
        call(&log, status, &std::mem::take(&mut body), &mut headers);
        if !web {
            status = StatusCode::OK;
        }
    }
    finish(log, status, headers, body)
}

fn finish(
    mut log: Box<Log>,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Download> {
    if !body.is_empty() {
        let kind = headers.entry(header::CONTENT_TYPE);
        kind.or_insert(HeaderValue::from_static("text/plain"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    set_attempts(&mut headers, &log);
    // As in Envoy, filters see the status that was meant, not the 200 of a call, and none of a preflight.
    filters::answer(&mut log, &mut headers);
    log.status = Some(status);
    sign(&mut headers, &log);
    log.keep_answer(&headers);
    let mut response = Response::new(Download::local(body, log));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// How many tries there were, where the client is told.
fn set_attempts(headers: &mut HeaderMap, log: &Log) {
    let told = log
        .forward()
        .is_some_and(|forward| forward.attempt_count_in_answer);
    if told && log.tries > 0 {
        headers.insert(forward::ATTEMPT_COUNT, HeaderValue::from(log.tries));
    }
}

/// To a gRPC call: a status of its own kind, and the text beside it, without a body.
fn call(log: &Log, status: StatusCode, text: &[u8], headers: &mut HeaderMap) {
    let code = log.grpc_status.unwrap_or_else(|| match status {
        // An answer of ours without a call's status has none, whatever HTTP says of it.
        StatusCode::OK => grpc::UNKNOWN,
        status => grpc::of_http(status.as_u16()),
    });
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    if !text.is_empty()
        && let Ok(message) = HeaderValue::try_from(grpc::message(text))
    {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// What the proxy says of itself, after all else.
fn sign(headers: &mut HeaderMap, log: &Log) {
    if let Some(id) = &log.request_id {
        headers.insert(normalize::REQUEST_ID, id.clone());
    }
    let Some(listener) = log.listener() else {
        return;
    };
    let manager = &listener.manager;
    if let Some(name) = &manager.server_name
        && !(manager.server_if_absent && headers.contains_key(header::SERVER))
    {
        headers.insert(header::SERVER, name.clone());
    }
    if let Some(via) = &manager.via {
        normalize::append_via(headers, via);
    }
}

/// Small numbers, that need no memory of their own.
fn millis(millis: u128) -> HeaderValue {
    const SMALL: [&str; 16] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
    ];
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    match usize::try_from(millis).ok().and_then(|at| SMALL.get(at)) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::from(millis),
    }
}

impl Local {
    fn of(error: &Error) -> Self {
        let (status, body, flags, details) = match error {
            Error::NoRoute => (404, "", Flags::NR, "route_not_found"),
            Error::NoCluster => (503, "", Flags::NC, "cluster_not_found"),
            Error::NoEndpoint => (503, "no healthy upstream", Flags::UH, "no_healthy_upstream"),
            Error::Overflow { .. } => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
                Flags::UO,
                "upstream_reset_before_response_started{overflow}",
            ),
            Error::BreakerOpen => (503, "breaker open", Flags::UO, "breaker_open"),
            Error::Connect(cause) => return Self::refused(cause),
            Error::ConnectTimeout => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
                Flags::UF,
                "upstream_reset_before_response_started{connection_timeout}",
            ),
            Error::Terminated => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
                Flags::UC,
                "upstream_reset_before_response_started{connection_termination}",
            ),
            Error::Protocol => (
                502,
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
                Flags::UPE,
                "upstream_reset_before_response_started{protocol_error}",
            ),
            Error::Reset { refused: false } => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
                Flags::UR,
                "upstream_reset_before_response_started{remote_reset}",
            ),
            Error::Reset { refused: true } => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset",
                Flags::UR,
                "upstream_reset_before_response_started{remote_refused_stream_reset}",
            ),
            Error::ConnectReset => (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote error with CONNECT request",
                Flags::UR,
                "upstream_reset_before_response_started{remote_error_with_CONNECT_request}",
            ),
            Error::Timeout => (
                504,
                "upstream request timeout",
                Flags::UT,
                "response_timeout",
            ),
            Error::PerTryTimeout { idle } => (
                504,
                "upstream request timeout",
                Flags::UT,
                if *idle {
                    "upstream_per_try_idle_timeout"
                } else {
                    "upstream_per_try_timeout"
                },
            ),
            Error::MaxDuration { request_complete } => (
                if *request_complete { 504 } else { 408 },
                "downstream duration timeout",
                Flags::default(),
                "max_duration_timeout",
            ),
            Error::StreamIdle { request_complete } => (
                if *request_complete { 504 } else { 408 },
                "stream timeout",
                Flags::SI,
                "stream_idle_timeout",
            ),
            Error::RequestTimeout => (
                408,
                "request timeout",
                Flags::default(),
                "request_overall_timeout",
            ),
            Error::ClientLeft => (400, "", Flags::DC, "downstream_remote_disconnect"),
            Error::NoPath => (404, "", Flags::default(), "absolute_path_rejected"),
            Error::MissingHost => (400, "", Flags::default(), "missing_host_header"),
            Error::ManyHosts => (400, "Bad Request", Flags::DPE, "http1.many_hosts"),
            Error::BadBody => (400, "Bad Request", Flags::DPE, "http1.codec_error"),
            Error::Malformed(why) => (400, "Bad Request", Flags::DPE, *why),
            Error::HeadTimeout => (
                408,
                "request header timeout",
                Flags::default(),
                "request_header_timeout",
            ),
            Error::BadPath | Error::Fragment => {
                (400, "", Flags::default(), "path_normalization_failed")
            }
            Error::Encoding => (
                501,
                "Not Implemented",
                Flags::DPE,
                "http1.invalid_transfer_encoding",
            ),
            Error::HeadersTooLarge => (
                431,
                "Request Header Fields Too Large",
                Flags::DPE,
                "http1.headers_too_large",
            ),
            Error::TooManyHeaders => (
                431,
                "Request Header Fields Too Large",
                Flags::DPE,
                "http1.too_many_headers",
            ),
            Error::LowVersion => (426, "Upgrade Required", Flags::DPE, "low_version"),
            Error::UpgradeDenied => (403, "", Flags::default(), "upgrade_failed"),
        };
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body: Cow::Borrowed(body),
            flags,
            details: Cow::Borrowed(details),
            // What has come in full leaves nothing behind.
            close: error.side() == error::Side::Downstream
                && !matches!(
                    error,
                    Error::StreamIdle {
                        request_complete: true
                    }
                ),
        }
    }

    fn refused(cause: &std::io::Error) -> Self {
        let cause = error::transport_failure(cause).replace(' ', "_");
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: Cow::Borrowed(
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            ),
            flags: Flags::UF,
            details: Cow::Owned(format!(
                "upstream_reset_before_response_started{{remote_connection_failure|{cause}}}"
            )),
            close: false,
        }
    }
}
