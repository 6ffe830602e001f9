//! How an HTTP connection manager serves a chain, ready to be asked.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use http::HeaderValue;

use super::{calls::Calls, filters::Filters, hosts::Hosts, replies::Replies};
use crate::{
    access_log::Logs,
    config::{self, Place},
    policy::{
        http1::Http1,
        origin::Origin,
        path::Normalization,
        protocol::{Codec, Http2},
    },
};

/// What is done with the requests of a chain.
#[derive(Debug)]
pub struct Http {
    /// The name of its listener.
    pub name: Arc<str>,
    /// The name of its statistics.
    pub stat_prefix: Arc<str>,
    /// Its sidecar.
    pub place: Option<Place>,
    /// The manager's plain settings.
    pub manager: Manager,
    /// Its routes.
    pub hosts: Hosts,
    /// What requests without a route pass.
    pub filters: Arc<Filters>,
    /// Counts arrivals: ordinals of requests that are not scheduled.
    pub arrivals: Arc<AtomicU64>,
    /// Counts equal calls; `None`: it is not a caller's.
    pub calls: Option<Arc<Calls>>,
}

/// Settings of the HTTP connection manager that need no compiling.
#[derive(Debug)]
pub struct Manager {
    /// The `server` header of answers.
    pub server_name: Option<HeaderValue>,
    /// A request without `x-request-id` is given one.
    pub generate_request_id: bool,
    /// See [`config::HttpManager::preserve_request_id`].
    pub preserve_request_id: bool,
    /// See [`config::HttpManager::answer_request_id`].
    pub answer_request_id: bool,
    /// See [`config::HttpManager::origin`].
    pub origin: Origin,
    /// See [`config::HttpManager::http1`].
    pub http1: Http1,
    /// See [`config::HttpManager::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// See [`config::HttpManager::stream_idle_timeout`].
    pub stream_idle_timeout: Option<Duration>,
    /// See [`config::HttpManager::max_stream_duration`].
    pub max_stream_duration: Option<Duration>,
    /// See [`config::HttpManager::request_timeout`].
    pub request_timeout: Option<Duration>,
    /// See [`config::HttpManager::request_headers_timeout`].
    pub request_headers_timeout: Option<Duration>,
    /// See [`config::HttpManager::upgrades`].
    pub upgrades: Vec<String>,
    /// See [`config::HttpManager::max_request_headers`].
    pub max_request_headers: usize,
    /// See [`config::HttpManager::accept_http_10`].
    pub accept_http_10: bool,
    /// See [`config::HttpManager::codec`].
    pub codec: Codec,
    /// See [`config::HttpManager::http2`].
    pub http2: Http2,
    /// See [`config::HttpManager::access_logs`].
    pub access: Logs,
    /// See [`config::HttpManager::local_replies`].
    pub replies: Replies,
    /// See [`config::HttpManager::client_cert`].
    pub client_cert: config::ClientCert,
    /// What is done with paths before they are routed.
    pub path: Normalization,
    /// The port that is taken off hosts; `None`: it stays.
    pub strip_port: Option<StripPort>,
    /// A dot at the end of the host is taken off.
    pub strip_trailing_dot: bool,
    /// Appended to `via`.
    pub via: Option<HeaderValue>,
    /// An answer's own `server` header stays.
    pub server_if_absent: bool,
    /// Neither side is told what was rewritten, and how long it takes.
    pub quiet: bool,
    /// See [`config::Signature::respects_expected_timeout`].
    pub respects_expected_timeout: bool,
}

/// Which port is taken off hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripPort {
    /// Any.
    Any,
    /// This one.
    Own(u16),
}
