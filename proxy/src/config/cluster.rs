//! Where requests are sent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::tls;
use crate::policy::{balance::Balance, protocol, retry};

/// A set of endpoints that serve the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name; unique.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How requests are spread.
    pub balance: Balance,
    /// A connection must be made within this. Envoy: 5 s.
    pub connect_timeout: Duration,
    /// An idle upstream connection is closed after this; `None`: never. Envoy: 1 h.
    pub idle_timeout: Option<Duration>,
    /// How many retries to it may be under way at once.
    pub retry_limit: retry::Limit,
    /// Which HTTP version is spoken.
    pub protocol: protocol::Upstream,
    /// Bounds of HTTP/2 connections.
    pub http2: protocol::Http2,
    /// A connection is closed after so many requests; `None`: no bound.
    pub max_requests: Option<u64>,
    /// TLS is begun on connections; `None`: they are plain.
    pub tls: Option<tls::Client>,
}

/// One address of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its share of the requests, relative to the others'; above 0.
    pub weight: u32,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At a socket address.
    Socket(SocketAddr),
    /// At a listener of the same proxy, by name, wherever it was bound.
    Listener(Arc<str>),
}

impl Cluster {
    /// Envoy's default time to connect.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Envoy's default time until an idle upstream connection is closed.
    pub const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
}

/// Envoy's defaults; without a name and endpoints.
impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            endpoints: Vec::new(),
            balance: Balance::default(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            retry_limit: retry::Limit::default(),
            protocol: protocol::Upstream::default(),
            http2: protocol::Http2::default(),
            max_requests: None,
            tls: None,
        }
    }
}

impl Endpoint {
    /// One with Envoy's defaults.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }
}

/// Envoy's defaults; at no address yet.
impl Default for Endpoint {
    fn default() -> Self {
        Self {
            address: Address::Socket((Ipv4Addr::UNSPECIFIED, 0).into()),
            weight: 1,
        }
    }
}
