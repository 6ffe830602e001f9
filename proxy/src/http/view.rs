//! A request as format strings look at it: while it is under way, for header operations, and when it has ended, for
//! access logs. By then its headers are gone, but for those that the listener's logs want ([`Kept`]).

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request};
use tokio::time::Instant;

pub(crate) mod tls;

use super::log::Log;
use crate::{
    access_log::Wanted,
    net::tls::Session,
    observe::Flags,
    policy::format::{
        Source,
        field::{Count, Message, Moment, Name, Peer, Point, Text},
    },
};

/// A request, and what is known of its answer.
#[derive(Debug)]
pub struct View<'a> {
    log: &'a Log,
    now: Instant,
    request: Option<Asked<'a>>,
    answer: Option<&'a HeaderMap>,
    /// Of an answer of ours.
    body: Option<&'a [u8]>,
}

/// The head of a request under way.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

/// What access logs want to know when a request has ended, gathered while it is known.
#[derive(Debug, Default)]
pub struct Kept {
    head: Option<Head>,
    /// In the order of the [`Wanted`] ones.
    request: Vec<Option<HeaderValue>>,
    answer: Vec<Option<HeaderValue>>,
    trailer: Vec<Option<HeaderValue>>,
    request_bytes: u64,
    answer_bytes: u64,
    trailer_bytes: u64,
}

#[derive(Debug)]
struct Head {
    method: Method,
    uri: Uri,
    authority: Option<HeaderValue>,
    scheme: &'static str,
}

impl Kept {
    /// The request's head as it is now; what was kept before is forgotten.
    pub fn request(&mut self, wanted: &Wanted, head: &request::Parts) {
        self.head = Some(Head {
            method: head.method.clone(),
            uri: head.uri.clone(),
            authority: authority(&head.headers).cloned(),
            scheme: scheme(&head.headers),
        });
        self.request = pick(&wanted.request, &head.headers);
        self.request_bytes = size(&head.headers)
            + (":method:path:scheme:authority".len()
                + head.method.as_str().len()
                + scheme(&head.headers).len()) as u64
            + path_length(&head.uri);
    }

    /// The answer's header as it goes to the client.
    pub fn answer(&mut self, wanted: &Wanted, headers: &HeaderMap) {
        self.answer = pick(&wanted.answer, headers);
        self.answer_bytes = size(headers) + ":status200".len() as u64;
    }

    /// What follows the answer's body.
    pub fn trailer(&mut self, wanted: &Wanted, headers: &HeaderMap) {
        self.trailer = pick(&wanted.trailer, headers);
        self.trailer_bytes = size(headers);
    }
}

impl<'a> View<'a> {
    fn session(&self) -> Option<&Session> {
        self.log.client.tls.as_deref()
    }

    /// A request that has ended, by what was kept of it.
    pub fn of_ended(log: &'a Log, now: Instant) -> Self {
        Self {
            log,
            now,
            request: None,
            answer: None,
            body: None,
        }
    }

    /// A request on its way to the upstream.
    pub fn of_request(
        log: &'a Log,
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            log,
            now: Instant::now(),
            request: Some(Asked {
                method,
                uri,
                headers,
            }),
            answer: None,
            body: None,
        }
    }

    /// An answer on its way to the client; the request's headers only where the route recalls them.
    pub fn of_answer(log: &'a Log, headers: &'a HeaderMap) -> Self {
        Self {
            log,
            now: Instant::now(),
            request: log.recalled.as_ref().map(|head| Asked {
                method: &head.method,
                uri: &head.uri,
                headers: &head.headers,
            }),
            answer: Some(headers),
            body: None,
        }
    }

    /// The same, with the body of an answer of ours.
    #[must_use]
    pub fn with_body(self, body: &'a [u8]) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn request_header(&self, name: &Name, out: &mut Vec<u8>) -> bool {
        let kept = self.log.kept.as_deref();
        let head = kept.and_then(|kept| kept.head.as_ref());
        match (name, self.request, head) {
            (Name::Method, Some(head), _) => put(head.method.as_str(), out),
            (Name::Method, None, Some(head)) => put(head.method.as_str(), out),
            (Name::Path, Some(head), _) => path(head.uri, out),
            (Name::Path, None, Some(head)) => path(&head.uri, out),
            (Name::Authority, Some(head), _) => value(authority(head.headers), out),
            (Name::Authority, None, Some(head)) => value(head.authority.as_ref(), out),
            (Name::Scheme, Some(head), _) => put(scheme(head.headers), out),
            (Name::Scheme, None, Some(head)) => put(head.scheme, out),
            (Name::Header(name), Some(head), _) => value(head.headers.get(name), out),
            (name @ Name::Header(_), None, _) => {
                self.kept(|kept| &kept.request, Message::Request, name, out)
            }
            // Without a head, what was sent was no request.
            (
                Name::Method
                | Name::Path
                | Name::Authority
                | Name::Scheme
                | Name::Protocol
                | Name::Status,
                ..,
            ) => false,
        }
    }

    fn kept(
        &self,
        of: impl Fn(&Kept) -> &Vec<Option<HeaderValue>>,
        message: Message,
        name: &Name,
        out: &mut Vec<u8>,
    ) -> bool {
        let (Some(kept), Some(listener)) = (&self.log.kept, self.log.listener()) else {
            return false;
        };
        let wanted = &listener.manager.access.wanted;
        let names = match message {
            Message::Request => &wanted.request,
            Message::Answer => &wanted.answer,
            Message::Trailer => &wanted.trailer,
        };
        let at = names.iter().position(|wanted| wanted == name);
        let found = at.and_then(|at| of(kept).get(at)).and_then(Option::as_ref);
        value(found, out)
    }
}

impl Source for View<'_> {
    fn header(&self, of: Message, name: &Name, out: &mut Vec<u8>) -> bool {
        match (of, name, self.answer) {
            (Message::Request, name, _) => self.request_header(name, out),
            (Message::Answer, Name::Status, _) => self
                .log
                .status
                .is_some_and(|status| put(status.as_str(), out)),
            (Message::Answer, Name::Header(name), Some(headers)) => value(headers.get(name), out),
            (Message::Answer, name, _) => self.kept(|kept| &kept.answer, of, name, out),
            (Message::Trailer, name, _) => self.kept(|kept| &kept.trailer, of, name, out),
        }
    }

    fn text(&self, of: Text, out: &mut Vec<u8>) -> bool {
        let log = self.log;
        match of {
            Text::AccessLogType => put("DownstreamEnd", out),
            Text::Details => put(&log.details, out),
            // None is told as `-` also in headers, in JSON, and where empty values are omitted.
            Text::Flags | Text::FlagsLong if log.flags.is_empty() => put("-", out),
            Text::Flags => put(&log.flags.to_string(), out),
            Text::FlagsLong => put(&log.flags.long(), out),
            Text::Protocol => protocol(log.version).is_some_and(|name| put(name, out)),
            Text::Route => put(log.route().map_or("", |route| &route.name), out),
            Text::UpstreamCluster => put(log.cluster_name(), out),
            Text::UpstreamHostName => log
                .upstream
                .is_some_and(|address| put(&address.to_string(), out)),
            Text::UpstreamHostsAttempted => {
                // Each once, as in Envoy.
                let mut hosts: Vec<String> = Vec::new();
                for attempt in log.attempts.as_slice() {
                    let host = attempt.endpoint.map(|it| it.to_string());
                    hosts.extend(host.filter(|host| !hosts.contains(host)));
                }
                put(&hosts.join(","), out)
            }
            Text::UpstreamProtocol => log
                .upstream_protocol
                .and_then(protocol)
                .is_some_and(|name| put(name, out)),
            Text::UpstreamTransportFailure => put(&log.transport_failure, out),
            Text::ConnectionTerminationDetails => put(log.termination, out),
            Text::LocalReplyBody => {
                // Empty, not unset, where there is none.
                out.extend_from_slice(self.body.unwrap_or_default());
                true
            }
            Text::StreamId | Text::UniqueId => {
                let id = Name::Header(super::normalize::REQUEST_ID);
                self.request_header(&id, out)
            }
            Text::DownstreamTls(of) => self
                .session()
                .is_some_and(|session| tls::text(session, of, out)),
            Text::RequestedServerName => self
                .session()
                .is_some_and(|session| tls::requested_name(session, out)),
            Text::DownstreamTransportFailure
            | Text::FilterChain
            | Text::UpstreamTls(_)
            | Text::VirtualCluster => false,
        }
    }

    fn count(&self, of: Count) -> Option<u64> {
        let log = self.log;
        let kept = log.kept.as_deref();
        Some(match of {
            Count::Attempts => log.tries.into(),
            Count::BytesReceived => log.bytes_in.as_ref().map_or(0, |bytes| bytes.get()),
            Count::BytesSent => log.bytes_out,
            Count::ConnectionId => log.client.id.get(),
            Count::Status => log.status.as_ref().map_or(0, StatusCode::as_u16).into(),
            Count::RequestHeaderBytes => kept.map_or(0, |kept| kept.request_bytes),
            Count::AnswerHeaderBytes => kept.map_or(0, |kept| kept.answer_bytes),
            Count::AnswerTrailerBytes => kept.map_or(0, |kept| kept.trailer_bytes),
            Count::UpstreamConnectionId | Count::Zero => 0,
        })
    }

    fn address(&self, of: Peer) -> Option<SocketAddr> {
        match of {
            Peer::DownstreamRemote => Some(self.log.remote.unwrap_or(self.log.client.peer)),
            Peer::DownstreamDirectRemote => Some(self.log.client.direct),
            Peer::DownstreamLocal | Peer::DownstreamDirectLocal => Some(self.log.client.local),
            // Chosen, but not connected.
            Peer::UpstreamRemote if self.log.flags.has(Flags::UF) => None,
            Peer::UpstreamHost | Peer::UpstreamRemote => self.log.upstream,
            Peer::UpstreamLocal => self.log.upstream_local,
        }
    }

    fn time(&self, of: Moment) -> Option<Duration> {
        let now = wall_clock()?;
        match of {
            // The wall clock is asked once the request has ended; what is kept of its start is monotonic.
            Moment::Start => Some(now.saturating_sub(self.log.start.elapsed())),
            Moment::Emitted => Some(now),
            Moment::DownstreamPeerFrom => tls::good_from(self.session()?),
            Moment::DownstreamPeerUntil => tls::good_until(self.session()?),
            Moment::UpstreamPeerFrom | Moment::UpstreamPeerUntil => None,
        }
    }

    fn reached(&self, point: &Point) -> Option<Duration> {
        let log = self.log;
        let at = match point {
            Point::Start => log.start,
            Point::End => self.now,
            Point::RequestEnd => log.client.request_end()?,
            Point::ReplyEnd | Point::AnswerEnd if log.arrived.is_some() => self.now,
            Point::ReplyBegin | Point::AnswerBegin => log.arrived?,
            Point::SentBegin | Point::SentEnd | Point::Ready => log.sent?,
            Point::ReplyEnd
            | Point::AnswerEnd
            | Point::ConnectBegin
            | Point::ConnectEnd
            | Point::HandshakeEnd => return None,
        };
        Some(at.saturating_duration_since(log.start))
    }
}

/// The time of day, since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "an access log tells the time of day, and follows the clock when it is set"
)]
pub fn wall_clock() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

fn pick(names: &[Name], headers: &HeaderMap) -> Vec<Option<HeaderValue>> {
    names
        .iter()
        .map(|name| match name {
            Name::Header(name) => headers.get(name).cloned(),
            _ => None,
        })
        .collect()
}

fn authority(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(header::HOST)
}

fn scheme(headers: &HeaderMap) -> &'static str {
    const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    match headers.get(FORWARDED_PROTO) {
        Some(value) if value == "https" => "https",
        _ => "http",
    }
}

fn path(uri: &Uri, out: &mut Vec<u8>) -> bool {
    match uri.path_and_query() {
        Some(path) => put(path.as_str(), out),
        None => false,
    }
}

fn path_length(uri: &Uri) -> u64 {
    uri.path_and_query()
        .map_or(0, |path| path.as_str().len() as u64)
}

pub(super) fn protocol(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("HTTP/1.0"),
        Version::HTTP_11 => Some("HTTP/1.1"),
        Version::HTTP_2 => Some("HTTP/2"),
        _ => None,
    }
}

/// An empty text is no value.
fn put(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

fn value(value: Option<&HeaderValue>, out: &mut Vec<u8>) -> bool {
    let Some(value) = value else {
        return false;
    };
    out.extend_from_slice(value.as_bytes());
    true
}

/// Names and values, as Envoy counts them.
fn size(headers: &HeaderMap) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len()) as u64)
        .sum()
}
