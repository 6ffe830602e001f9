//! What ends a request without the upstream's answer: whose fault, and what. The answer that follows is made in one
//! place, [`crate::http::reply`].

use std::{fmt, io, sync::Arc};

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The service's.
    Upstream,
    /// The configuration's.
    Proxy,
}

/// Why a request has no answer of the upstream's.
#[derive(Debug, Clone)]
pub enum Error {
    /// No virtual host or no route is for it.
    NoRoute,
    /// The route's cluster does not exist.
    NoCluster,
    /// The cluster has no endpoint that may be used.
    NoEndpoint,
    /// The cluster has too much under way.
    Overflow {
        /// Too many requests wait for a connection; else too many are under way.
        waiting: bool,
    },
    /// The cluster's breaker is open.
    BreakerOpen,
    /// No connection to the endpoint could be made.
    Connect(Arc<io::Error>),
    /// No connection to the endpoint could be made in time.
    ConnectTimeout,
    /// The endpoint closed or reset the connection before its answer's header, or within its body.
    Terminated,
    /// What the endpoint sent is not HTTP.
    Protocol,
    /// The endpoint reset the stream; whether it says that it has done nothing (`REFUSED_STREAM`).
    Reset {
        /// It says so.
        refused: bool,
    },
    /// The endpoint reset the stream for a connection behind it that broke (`CONNECT_ERROR`).
    ConnectReset,
    /// The answer did not come within the route's timeout.
    Timeout,
    /// An attempt's time was over.
    PerTryTimeout {
        /// Nothing had moved in it for too long; else its whole time was over.
        idle: bool,
    },
    /// The whole exchange took longer than it may; whether the request had come in full.
    MaxDuration {
        /// It had.
        request_complete: bool,
    },
    /// No byte moved for too long; whether the request had come in full.
    StreamIdle {
        /// It had.
        request_complete: bool,
    },
    /// The request did not come within the manager's timeout.
    RequestTimeout,
    /// The client's connection broke within the request.
    ClientLeft,
    /// The request's body is not framed as HTTP wants it.
    BadBody,
    /// The request's path is one that nobody may ask for.
    BadPath,
    /// The request has no host.
    MissingHost,
    /// The request has more than one host (RFC 9112 §3.2).
    ManyHosts,
    /// The request is HTTP/1.0 and the listener does not take it.
    LowVersion,
    /// What the client sent is no request, or an ambiguous one; why, in Envoy's words.
    Malformed(&'static str),
    /// The request's head did not come in time.
    HeadTimeout,
    /// The request's target has a fragment.
    Fragment,
    /// The request's target is not a path.
    NoPath,
    /// The request's transfer encoding is not known.
    Encoding,
    /// The request's head is too long.
    HeadersTooLarge,
    /// The request has too many headers.
    TooManyHeaders,
    /// The request asks for an upgrade that the listener does not take.
    UpgradeDenied,
}

impl Error {
    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::NoRoute | Self::NoPath | Self::NoCluster => Side::Proxy,
            Self::NoEndpoint
            | Self::Overflow { .. }
            | Self::BreakerOpen
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Terminated
            | Self::Protocol
            | Self::PerTryTimeout { .. }
            | Self::MaxDuration { .. }
            | Self::ConnectReset
            | Self::Reset { .. }
            | Self::Timeout => Side::Upstream,
            Self::StreamIdle { .. }
            | Self::RequestTimeout
            | Self::ClientLeft
            | Self::BadBody
            | Self::BadPath
            | Self::MissingHost
            | Self::ManyHosts
            | Self::LowVersion
            | Self::Malformed(_)
            | Self::HeadTimeout
            | Self::Fragment
            | Self::Encoding
            | Self::HeadersTooLarge
            | Self::TooManyHeaders
            | Self::UpgradeDenied => Side::Downstream,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route is for the request"),
            Self::NoCluster => f.write_str("the route's cluster does not exist"),
            Self::Overflow { .. } => f.write_str("the cluster has too much under way"),
            Self::BreakerOpen => f.write_str("the cluster's breaker is open"),
            Self::NoEndpoint => f.write_str("the cluster has no usable endpoint"),
            Self::Connect(cause) => f.write_str(&cause_of(cause)),
            Self::ConnectTimeout => f.write_str("connect timeout"),
            Self::Terminated => f.write_str("connection termination"),
            Self::Protocol => f.write_str("protocol error"),
            Self::ConnectReset => f.write_str("remote error with CONNECT request"),
            Self::Reset { refused: false } => f.write_str("remote reset"),
            Self::Reset { refused: true } => f.write_str("remote refused stream reset"),
            Self::Timeout => f.write_str("response timeout"),
            Self::PerTryTimeout { idle: false } => f.write_str("per try timeout"),
            Self::PerTryTimeout { idle: true } => f.write_str("per try idle timeout"),
            Self::MaxDuration { .. } => f.write_str("max duration timeout"),
            Self::StreamIdle { .. } => f.write_str("stream idle timeout"),
            Self::RequestTimeout => f.write_str("request timeout"),
            Self::ClientLeft => f.write_str("the client left"),
            Self::BadBody => f.write_str("the request's body is malformed"),
            Self::BadPath => f.write_str("the request's path is not one that may be asked for"),
            Self::MissingHost => f.write_str("the request has no host"),
            Self::ManyHosts => f.write_str("the request has several hosts"),
            Self::LowVersion => f.write_str("the request is HTTP/1.0"),
            Self::Malformed(why) => write!(f, "the request is malformed ({why})"),
            Self::HeadTimeout => f.write_str("request header timeout"),
            Self::Fragment => f.write_str("the request's path has a fragment"),
            Self::NoPath => f.write_str("the request's target is not a path"),
            Self::Encoding => f.write_str("the request's transfer encoding is not known"),
            Self::HeadersTooLarge => f.write_str("the request's head is too long"),
            Self::TooManyHeaders => f.write_str("the request has too many headers"),
            Self::UpgradeDenied => f.write_str("the upgrade is not allowed"),
        }
    }
}

impl std::error::Error for Error {}

/// Why a connection was not made, as Envoy says it: TLS in its own words, the rest as the kernel's.
pub fn transport_failure(error: &io::Error) -> String {
    match error.get_ref() {
        Some(handshake) => handshake.to_string(),
        None => format!("delayed connect error: {}", cause_of(error)),
    }
}

/// The kernel's words for a failed connect, without the number that Rust adds.
pub fn cause_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "Connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "No route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "Network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "Connection timed out".to_owned(),
        _ => {
            let text = error.to_string();
            match text.split_once(" (os error") {
                Some((words, _)) => words.to_owned(),
                None => text,
            }
        }
    }
}
