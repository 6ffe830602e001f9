//! The operators of format strings, by Envoy's names. A new one is a row of `Field::named`, and a value of the source.

use http::{HeaderName, header::CONTENT_TYPE};

use super::{
    Invalid, Source, Written,
    clock::{Clock, number_padded},
    invalid,
};

/// What an operator stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The first header of these names that there is, with or without its query.
    Header(Message, Vec<Name>, Query),
    /// A parameter of the path's query, decoded.
    Parameter(String),
    /// A text.
    Text(Text),
    /// A text whose white space becomes `_`.
    Joined(Text),
    /// A number.
    Count(Count),
    /// An address, or a part of it.
    Address(Peer, Part),
    /// A time of day.
    Time(Moment, Clock),
    /// From one point to another, in whole units.
    Span(Point, Point, Precision),
    /// The gRPC status.
    Grpc(Grpc),
    /// Known from the beginning.
    Constant(String),
    /// Nothing that this proxy does gives it a value.
    Unset,
}

/// Which message's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request's.
    Request,
    /// The answer's.
    Answer,
    /// The answer's, after its body.
    Trailer,
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority`; `host` is the same.
    Authority,
    /// `:scheme`.
    Scheme,
    /// `:protocol`.
    Protocol,
    /// `:status`.
    Status,
    /// Any other.
    Header(HeaderName),
}

/// Whether a path keeps its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// It does.
    Kept,
    /// It does not.
    Dropped,
}

/// Values that are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the operator of this name, without DOWNSTREAM's and UPSTREAM's prefixes of `Tls`"
)]
pub enum Text {
    AccessLogType,
    ConnectionTerminationDetails,
    Details,
    DownstreamTls(Tls),
    DownstreamTransportFailure,
    FilterChain,
    Flags,
    FlagsLong,
    LocalReplyBody,
    Protocol,
    RequestedServerName,
    Route,
    StreamId,
    UniqueId,
    UpstreamCluster,
    UpstreamHostName,
    UpstreamHostsAttempted,
    UpstreamProtocol,
    UpstreamTls(Tls),
    UpstreamTransportFailure,
    VirtualCluster,
}

/// What is known of a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the operator of this name, such as `DOWNSTREAM_PEER_URI_SAN`"
)]
pub enum Tls {
    Version,
    Cipher,
    SessionId,
    ServerName,
    PeerUriSan,
    PeerDnsSan,
    PeerIpSan,
    PeerEmailSan,
    PeerSubject,
    PeerIssuer,
    PeerSerial,
    PeerFingerprint1,
    PeerFingerprint256,
    PeerCert,
    LocalUriSan,
    LocalDnsSan,
    LocalIpSan,
    LocalEmailSan,
    LocalSubject,
}

/// Values that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator of this name")]
pub enum Count {
    Attempts,
    BytesReceived,
    BytesSent,
    ConnectionId,
    Status,
    RequestHeaderBytes,
    AnswerHeaderBytes,
    AnswerTrailerBytes,
    UpstreamConnectionId,
    /// What only UDP has.
    Zero,
}

/// Whose address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator of this name")]
pub enum Peer {
    DownstreamRemote,
    DownstreamDirectRemote,
    DownstreamLocal,
    DownstreamDirectLocal,
    UpstreamHost,
    UpstreamRemote,
    UpstreamLocal,
}

/// What of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// The IP address.
    Ip,
    /// The port, a number.
    Port,
}

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request's start.
    Start,
    /// When the log line was made.
    Emitted,
    /// From when on the client's certificate is valid.
    DownstreamPeerFrom,
    /// Until when it is.
    DownstreamPeerUntil,
    /// From when on the service's certificate is valid.
    UpstreamPeerFrom,
    /// Until when it is.
    UpstreamPeerUntil,
}

/// Points in a request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Its first byte (`DS_RX_BEG`).
    Start,
    /// Its last byte came (`DS_RX_END`).
    RequestEnd,
    /// The connection to the service was begun (`US_CX_BEG`).
    ConnectBegin,
    /// It was made (`US_CX_END`).
    ConnectEnd,
    /// Its handshake was over (`US_HS_END`).
    HandshakeEnd,
    /// A connection was ready for the request.
    Ready,
    /// The request's first byte was sent on (`US_TX_BEG`).
    SentBegin,
    /// Its last (`US_TX_END`).
    SentEnd,
    /// The answer's first byte came (`US_RX_BEG`).
    AnswerBegin,
    /// The answer's last byte came (`US_RX_END`).
    AnswerEnd,
    /// The answer's first byte went to the client (`DS_TX_BEG`).
    ReplyBegin,
    /// Its last (`DS_TX_END`).
    ReplyEnd,
    /// All is over; now, if it is not.
    End,
}

/// Units of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `ms`.
    Millis,
    /// `us`.
    Micros,
    /// `ns`.
    Nanos,
}

/// How a gRPC status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grpc {
    /// `DeadlineExceeded`.
    Camel,
    /// `DEADLINE_EXCEEDED`.
    Snake,
    /// `4`.
    Number,
}

/// gRPC's names of its status codes, by number.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// gRPC's unknown.
const UNKNOWN: u32 = 2;
/// `grpc-status`.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `x-envoy-original-path`.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

impl Name {
    /// The name as HTTP/2 writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Authority => ":authority",
            Self::Scheme => ":scheme",
            Self::Protocol => ":protocol",
            Self::Status => ":status",
            Self::Header(name) => name.as_str(),
        }
    }

    /// The name, in any case; `None`: it is none.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":protocol" => Self::Protocol,
            ":status" => Self::Status,
            other => Self::Header(HeaderName::try_from(other).ok()?),
        })
    }
}

impl Field {
    /// The operator of this name with this argument.
    pub(super) fn named(
        name: &str,
        argument: Option<&str>,
        with_length: bool,
    ) -> Result<Self, Invalid> {
        let given = argument.filter(|argument| !argument.is_empty());
        let plain = |field| match (given, with_length) {
            (Some(_), _) => Err(invalid(format!("`%{name}%` takes no argument"))),
            (None, true) => Err(invalid(format!("`%{name}%` takes no length"))),
            (None, false) => Ok(field),
        };
        let needed = || given.ok_or_else(|| invalid(format!("`%{name}%` needs an argument")));
        if let Some(field) = address(name)
            .or_else(|| number(name))
            .or_else(|| text(name))
        {
            return plain(field);
        }
        match name {
            "REQ" | "REQUEST_HEADER" => headers(Message::Request, needed()?, Query::Kept),
            "RESP" | "RESPONSE_HEADER" => headers(Message::Answer, needed()?, Query::Kept),
            "TRAILER" | "RESPONSE_TRAILER" => headers(Message::Trailer, needed()?, Query::Kept),
            "REQ_WITHOUT_QUERY" => headers(Message::Request, needed()?, Query::Dropped),
            "PATH" => path(given),
            "QUERY_PARAM" => Ok(Self::Parameter(needed()?.to_owned())),
            "START_TIME" => time(Moment::Start, given),
            "EMIT_TIME" => time(Moment::Emitted, given),
            "DOWNSTREAM_PEER_CERT_V_START" => time(Moment::DownstreamPeerFrom, given),
            "DOWNSTREAM_PEER_CERT_V_END" => time(Moment::DownstreamPeerUntil, given),
            "UPSTREAM_PEER_CERT_V_START" => time(Moment::UpstreamPeerFrom, given),
            "UPSTREAM_PEER_CERT_V_END" => time(Moment::UpstreamPeerUntil, given),
            "COMMON_DURATION" => span(needed()?),
            "GRPC_STATUS" => Ok(Self::Grpc(match given {
                None | Some("CAMEL_STRING") => Grpc::Camel,
                Some("SNAKE_STRING") => Grpc::Snake,
                Some("NUMBER") => Grpc::Number,
                Some(other) => {
                    return Err(invalid(format!(
                        "`{other}` is not CAMEL_STRING, SNAKE_STRING or NUMBER"
                    )));
                }
            })),
            "RESPONSE_CODE_DETAILS" => match given {
                None => Ok(Self::Joined(Text::Details)),
                Some("ALLOW_WHITESPACES") => Ok(Self::Text(Text::Details)),
                Some(other) => Err(invalid(format!("`{other}` is not ALLOW_WHITESPACES"))),
            },
            "ENVIRONMENT" => {
                let value = std::env::var(needed()?).ok();
                Ok(value.map_or(Self::Unset, Self::Constant))
            }
            "HOSTNAME" => plain(Self::Constant(hostname())),
            "DYNAMIC_METADATA"
            | "CLUSTER_METADATA"
            | "UPSTREAM_METADATA"
            | "LISTENER_METADATA"
            | "METADATA"
            | "FILTER_STATE"
            | "UPSTREAM_FILTER_STATE" => {
                needed()?;
                Ok(Self::Unset)
            }
            _ if KNOWN_ONLY.contains(&name) => Err(Invalid {
                unsupported: true,
                ..invalid(format!("the operator `%{name}%`"))
            }),
            _ => Err(invalid(format!("there is no operator `%{name}%`"))),
        }
    }

    /// Appends the value to `out`.
    pub(super) fn write(&self, source: &dyn Source, out: &mut Vec<u8>) -> Written {
        let written = |set: bool| if set { Written::Text } else { Written::Unset };
        match self {
            Self::Header(of, names, query) => {
                let before = out.len();
                let set = names.iter().any(|name| source.header(*of, name, out));
                if *query == Query::Dropped {
                    let query = out.iter().skip(before).position(|byte| *byte == b'?');
                    out.truncate(query.map_or(out.len(), |at| before + at));
                }
                written(set)
            }
            Self::Parameter(name) => written(parameter(name, source, out)),
            Self::Text(text) => written(source.text(*text, out)),
            Self::Joined(text) => {
                let before = out.len();
                let set = source.text(*text, out);
                for byte in out.iter_mut().skip(before) {
                    if byte.is_ascii_whitespace() {
                        *byte = b'_';
                    }
                }
                written(set)
            }
            Self::Count(count) => number_of(source.count(*count), out),
            Self::Address(peer, part) => {
                let Some(address) = source.address(*peer) else {
                    return Written::Unset;
                };
                match part {
                    Part::Whole => out.extend_from_slice(address.to_string().as_bytes()),
                    Part::Ip => out.extend_from_slice(address.ip().to_string().as_bytes()),
                    Part::Port => return number_of(Some(address.port().into()), out),
                }
                Written::Text
            }
            Self::Time(moment, clock) => {
                let time = source.time(*moment);
                if let Some(time) = time {
                    clock.write(time, out);
                }
                written(time.is_some())
            }
            Self::Span(from, to, precision) => {
                let span = source
                    .reached(from)
                    .zip(source.reached(to))
                    .and_then(|(from, to)| to.checked_sub(from))
                    .map(|span| match precision {
                        Precision::Millis => span.as_millis(),
                        Precision::Micros => span.as_micros(),
                        Precision::Nanos => span.as_nanos(),
                    });
                number_of(span.map(|span| span as u64), out)
            }
            Self::Grpc(how) => grpc(grpc_status(source), *how, out),
            Self::Constant(text) => {
                out.extend_from_slice(text.as_bytes());
                Written::Text
            }
            Self::Unset => Written::Unset,
        }
    }

    /// The headers that it looks at.
    pub(super) fn headers(&self) -> Vec<(Message, Name)> {
        match self {
            Self::Header(of, names, _) => names.iter().map(|name| (*of, name.clone())).collect(),
            Self::Parameter(_) => vec![(Message::Request, Name::Path)],
            Self::Grpc(_) => grpc_headers(),
            _ => Vec::new(),
        }
    }
}

/// The headers that a gRPC status is found by.
pub fn grpc_headers() -> Vec<(Message, Name)> {
    vec![
        (Message::Request, Name::Header(CONTENT_TYPE)),
        (Message::Answer, Name::Header(GRPC_STATUS)),
        (Message::Trailer, Name::Header(GRPC_STATUS)),
    ]
}

/// The gRPC status of any request: the trailers', the answer's, else what the HTTP status is in gRPC.
pub fn grpc_status_or_http(source: &dyn Source) -> u32 {
    for of in [Message::Trailer, Message::Answer] {
        let mut text = Vec::new();
        if source.header(of, &Name::Header(GRPC_STATUS), &mut text) {
            let number = std::str::from_utf8(&text).ok();
            return number
                .and_then(|number| number.parse().ok())
                .unwrap_or(UNKNOWN);
        }
    }
    // https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    match source.count(Count::Status) {
        Some(400) => 13,
        Some(401) => 16,
        Some(403) => 7,
        Some(404) => 12,
        Some(429 | 502 | 503 | 504) => 14,
        _ => UNKNOWN,
    }
}

/// The status of a gRPC request.
fn grpc_status(source: &dyn Source) -> Option<u32> {
    let mut kind = Vec::new();
    source.header(Message::Request, &Name::Header(CONTENT_TYPE), &mut kind);
    let rest = kind.strip_prefix(b"application/grpc")?;
    let is_call = matches!(rest.first(), None | Some(b'+' | b';'));
    // Without an answer there is none.
    let answered = source.count(Count::Status).is_some_and(|it| it > 0);
    (is_call && answered).then(|| grpc_status_or_http(source))
}

/// What Envoy has and this proxy cannot tell yet.
const KNOWN_ONLY: &[&str] = &[
    "COALESCE",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "EMIT_TIME_LOCAL",
    "QUERY_PARAMS",
    "REQUEST_TRAILER",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "STREAM_INFO_REQ",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
];

fn address(name: &str) -> Option<Field> {
    for (prefix, peer) in [
        ("DOWNSTREAM_REMOTE", Peer::DownstreamRemote),
        ("DOWNSTREAM_DIRECT_REMOTE", Peer::DownstreamDirectRemote),
        ("DOWNSTREAM_LOCAL", Peer::DownstreamLocal),
        ("DOWNSTREAM_DIRECT_LOCAL", Peer::DownstreamDirectLocal),
        ("UPSTREAM_REMOTE", Peer::UpstreamRemote),
        ("UPSTREAM_LOCAL", Peer::UpstreamLocal),
    ] {
        let part = match name.strip_prefix(prefix) {
            Some("_ADDRESS") => Part::Whole,
            Some("_ADDRESS_WITHOUT_PORT") => Part::Ip,
            Some("_PORT") => Part::Port,
            _ => continue,
        };
        return Some(Field::Address(peer, part));
    }
    (name == "UPSTREAM_HOST").then_some(Field::Address(Peer::UpstreamHost, Part::Whole))
}

fn number(name: &str) -> Option<Field> {
    let millis = |from, to| Field::Span(from, to, Precision::Millis);
    Some(match name {
        "DURATION" => millis(Point::Start, Point::End),
        "REQUEST_DURATION" => millis(Point::Start, Point::RequestEnd),
        "REQUEST_TX_DURATION" => millis(Point::Start, Point::SentEnd),
        "RESPONSE_DURATION" => millis(Point::Start, Point::AnswerBegin),
        "RESPONSE_TX_DURATION" => millis(Point::AnswerBegin, Point::ReplyEnd),
        "UPSTREAM_CONNECTION_POOL_READY_DURATION" => millis(Point::Start, Point::Ready),
        "BYTES_RECEIVED" => Field::Count(Count::BytesReceived),
        "BYTES_SENT" => Field::Count(Count::BytesSent),
        "BYTES_RETRANSMITTED" | "PACKETS_RETRANSMITTED" => Field::Count(Count::Zero),
        "CONNECTION_ID" => Field::Count(Count::ConnectionId),
        "GRPC_STATUS_NUMBER" => Field::Grpc(Grpc::Number),
        "REQUEST_HEADERS_BYTES" => Field::Count(Count::RequestHeaderBytes),
        "RESPONSE_CODE" => Field::Count(Count::Status),
        "RESPONSE_HEADERS_BYTES" => Field::Count(Count::AnswerHeaderBytes),
        "RESPONSE_TRAILERS_BYTES" => Field::Count(Count::AnswerTrailerBytes),
        "UPSTREAM_CONNECTION_ID" => Field::Count(Count::UpstreamConnectionId),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Field::Count(Count::Attempts),
        _ => return None,
    })
}

fn text(name: &str) -> Option<Field> {
    Some(Field::Text(match name {
        "ACCESS_LOG_TYPE" => Text::AccessLogType,
        "CONNECTION_TERMINATION_DETAILS" => Text::ConnectionTerminationDetails,
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON" => {
            return Some(Field::Joined(Text::DownstreamTransportFailure));
        }
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => {
            return Some(Field::Joined(Text::UpstreamTransportFailure));
        }
        "FILTER_CHAIN_NAME" => Text::FilterChain,
        "LOCAL_REPLY_BODY" => Text::LocalReplyBody,
        "PROTOCOL" => Text::Protocol,
        "REQUESTED_SERVER_NAME" => Text::RequestedServerName,
        "RESPONSE_FLAGS" => Text::Flags,
        "RESPONSE_FLAGS_LONG" => Text::FlagsLong,
        "ROUTE_NAME" => Text::Route,
        "STREAM_ID" => Text::StreamId,
        "UNIQUE_ID" => Text::UniqueId,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Text::UpstreamCluster,
        "UPSTREAM_HOST_NAME" => Text::UpstreamHostName,
        "UPSTREAM_HOSTS_ATTEMPTED" => Text::UpstreamHostsAttempted,
        "UPSTREAM_PROTOCOL" => Text::UpstreamProtocol,
        "UPSTREAM_SERVER_NAME" => Text::UpstreamTls(Tls::ServerName),
        "VIRTUAL_CLUSTER_NAME" => Text::VirtualCluster,
        _ => {
            return if let Some(rest) = name.strip_prefix("DOWNSTREAM_") {
                tls(rest).map(|of| Field::Text(Text::DownstreamTls(of)))
            } else {
                let rest = name.strip_prefix("UPSTREAM_")?;
                tls(rest).map(|of| Field::Text(Text::UpstreamTls(of)))
            };
        }
    }))
}

fn tls(name: &str) -> Option<Tls> {
    Some(match name {
        "TLS_VERSION" => Tls::Version,
        "TLS_CIPHER" => Tls::Cipher,
        "TLS_SESSION_ID" => Tls::SessionId,
        "PEER_URI_SAN" => Tls::PeerUriSan,
        "PEER_DNS_SAN" => Tls::PeerDnsSan,
        "PEER_IP_SAN" => Tls::PeerIpSan,
        "PEER_EMAIL_SAN" => Tls::PeerEmailSan,
        "PEER_SUBJECT" => Tls::PeerSubject,
        "PEER_ISSUER" => Tls::PeerIssuer,
        "PEER_SERIAL" => Tls::PeerSerial,
        "PEER_FINGERPRINT_1" => Tls::PeerFingerprint1,
        "PEER_FINGERPRINT_256" => Tls::PeerFingerprint256,
        "PEER_CERT" => Tls::PeerCert,
        "LOCAL_URI_SAN" => Tls::LocalUriSan,
        "LOCAL_DNS_SAN" => Tls::LocalDnsSan,
        "LOCAL_IP_SAN" => Tls::LocalIpSan,
        "LOCAL_EMAIL_SAN" => Tls::LocalEmailSan,
        "LOCAL_SUBJECT" => Tls::LocalSubject,
        _ => return None,
    })
}

/// `X?Y`.
fn headers(of: Message, argument: &str, query: Query) -> Result<Field, Invalid> {
    let names: Vec<&str> = argument.split('?').collect();
    if names.len() > 2 {
        return Err(invalid(format!(
            "`{argument}` names more than one alternative header"
        )));
    }
    let names = names
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(|name| {
            Name::parse(name)
                .ok_or_else(|| invalid(format!("`{name}` is not the name of a header")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Field::Header(of, names, query))
}

/// `WQ` or `NQ`, then `ORIG`, `PATH` or `ORIG_OR_PATH`.
fn path(argument: Option<&str>) -> Result<Field, Invalid> {
    let (query, which) = argument
        .unwrap_or("WQ")
        .split_once(':')
        .unwrap_or((argument.unwrap_or("WQ"), "ORIG_OR_PATH"));
    let query = match query {
        "" | "WQ" => Query::Kept,
        "NQ" => Query::Dropped,
        other => return Err(invalid(format!("`{other}` is not WQ or NQ"))),
    };
    let original = Name::Header(ORIGINAL_PATH);
    let names = match which {
        "ORIG" => vec![original],
        "PATH" => vec![Name::Path],
        "" | "ORIG_OR_PATH" => vec![original, Name::Path],
        other => {
            return Err(invalid(format!(
                "`{other}` is not ORIG, PATH or ORIG_OR_PATH"
            )));
        }
    };
    Ok(Field::Header(Message::Request, names, query))
}

fn time(moment: Moment, format: Option<&str>) -> Result<Field, Invalid> {
    let clock = format.map_or_else(|| Ok(Clock::rfc3339()), Clock::compile)?;
    Ok(Field::Time(moment, clock))
}

/// `FROM:TO` or `FROM:TO:UNIT`.
fn span(argument: &str) -> Result<Field, Invalid> {
    let parts: Vec<&str> = argument.split(':').collect();
    let (from, to, unit) = match parts.as_slice() {
        [from, to] => (*from, *to, "ms"),
        [from, to, unit] => (*from, *to, *unit),
        _ => {
            return Err(invalid(format!(
                "`{argument}` is not two points of time such as `DS_RX_BEG:DS_TX_END:ms`"
            )));
        }
    };
    let precision = match unit {
        "ms" => Precision::Millis,
        "us" => Precision::Micros,
        "ns" => Precision::Nanos,
        other => return Err(invalid(format!("`{other}` is not ms, us or ns"))),
    };
    // A point that nothing sets has no value, as in Envoy, where filters may set points of their own.
    Ok(match point(from).zip(point(to)) {
        Some((from, to)) => Field::Span(from, to, precision),
        None => Field::Unset,
    })
}

fn point(name: &str) -> Option<Point> {
    Some(match name {
        "DS_RX_BEG" => Point::Start,
        "DS_RX_END" => Point::RequestEnd,
        "US_CX_BEG" => Point::ConnectBegin,
        "US_CX_END" => Point::ConnectEnd,
        "US_HS_END" => Point::HandshakeEnd,
        "US_TX_BEG" => Point::SentBegin,
        "US_TX_END" => Point::SentEnd,
        "US_RX_BEG" => Point::AnswerBegin,
        "US_RX_END" => Point::AnswerEnd,
        "DS_TX_BEG" => Point::ReplyBegin,
        "DS_TX_END" => Point::ReplyEnd,
        _ => return None,
    })
}

fn number_of(number: Option<u64>, out: &mut Vec<u8>) -> Written {
    let Some(number) = number else {
        return Written::Unset;
    };
    number_padded(number, 1, b'0', out);
    Written::Number
}

fn grpc(status: Option<u32>, how: Grpc, out: &mut Vec<u8>) -> Written {
    let Some(status) = status else {
        return Written::Unset;
    };
    let names = GRPC.get(status as usize);
    let name = match (how, names) {
        (Grpc::Number, _) => return number_of(Some(status.into()), out),
        (_, None) => {
            number_of(Some(status.into()), out);
            return Written::Text;
        }
        (Grpc::Camel, Some((camel, _))) => camel,
        (Grpc::Snake, Some((_, snake))) => snake,
    };
    out.extend_from_slice(name.as_bytes());
    Written::Text
}

fn parameter(name: &str, source: &dyn Source, out: &mut Vec<u8>) -> bool {
    let mut path = Vec::new();
    source.header(Message::Request, &Name::Path, &mut path);
    let Some(query) = path.iter().position(|byte| *byte == b'?') else {
        return false;
    };
    let query = path.get(query + 1..).unwrap_or_default();
    for pair in query.split(|byte| *byte == b'&') {
        let end = pair
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(pair.len());
        let (key, value) = pair.split_at(end);
        let before = out.len();
        decode(key, out);
        let found = out.get(before..) == Some(name.as_bytes());
        out.truncate(before);
        if found {
            decode(value.get(1..).unwrap_or_default(), out);
            return true;
        }
    }
    false
}

/// Percent-decoding; what is not `%` and two digits stays.
pub(in crate::policy) fn decode(text: &[u8], out: &mut Vec<u8>) {
    let nibble = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if let (b'%', Some((high, low))) = (byte, nibble(at + 1).zip(nibble(at + 2))) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
