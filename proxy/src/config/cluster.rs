//! Where requests are sent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::tls;
use crate::{
    policy::{
        balance::{Balance, subset},
        breaker, health, http1, outlier, protocol,
    },
    unit::ByteSize,
};

/// A set of endpoints that serve the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name; unique.
    pub name: Arc<str>,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How requests are spread over those that are usable.
    pub balance: Balance,
    /// Which are usable.
    pub spread: Spread,
    /// Endpoints chosen by their metadata.
    pub subsets: Option<subset::Settings>,
    /// What it may have under way.
    pub limits: breaker::Limits,
    /// A breaker that opens on failures.
    pub trip: Option<breaker::trip::Settings>,
    /// Endpoints whose answers are bad are put aside.
    pub outlier: Option<outlier::Settings>,
    /// Endpoints are asked whether they are well.
    pub health: Vec<health::Check>,
    /// A connection must be made within this. Envoy: 5 s.
    pub connect_timeout: Duration,
    /// Connections are made from this address; `None`: the system's choice.
    pub source: Option<SocketAddr>,
    /// The system asks whether an endpoint is still there.
    pub keepalive: Option<Keepalive>,
    /// The firewall's mark on packets to it (`SO_MARK`; it takes the right `CAP_NET_ADMIN`); `None`: none.
    pub mark: Option<u32>,
    /// An idle upstream connection is closed after this; `None`: never. Envoy: 1 h.
    pub idle_timeout: Option<Duration>,
    /// Which HTTP version is spoken.
    pub protocol: protocol::Upstream,
    /// Bounds of HTTP/2 connections.
    pub http2: protocol::Http2,
    /// How HTTP/1 is spoken.
    pub http1: http1::Http1,
    /// A connection is closed after so many requests; `None`: no bound.
    pub max_requests: Option<u64>,
    /// So much of a request's body is kept for its retries, if the route lets it; `None`: no bound of its own.
    pub kept_body: Option<ByteSize>,
    /// TLS is begun on connections; `None`: they are plain.
    pub tls: Option<tls::Client>,
    /// What endpoints may have in place of it, see [`Endpoint::socket`].
    pub sockets: Vec<Option<tls::Client>>,
}

/// How the system asks whether the other side of a connection is still there; `None`: as it does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// So many questions without an answer end the connection.
    pub probes: Option<u32>,
    /// It asks when nothing has come for so long.
    pub time: Option<Duration>,
    /// It asks again after so long.
    pub interval: Option<Duration>,
}

/// How endpoints are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discovery {
    /// They are named.
    #[default]
    Static,
    /// Their names are resolved: each address is an endpoint.
    StrictDns(Dns),
    /// Their names are resolved: the first address is the endpoint.
    LogicalDns(Dns),
}

/// How names are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dns {
    /// How often. Envoy: 5 s.
    pub refresh: Duration,
    /// Addresses of which family.
    pub family: Family,
}

/// Addresses of which family are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv6 where there is one, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// IPv4 where there is one, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// Which endpoints are usable, and how load is spread over priorities and localities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// In percent: a priority takes all of its load until 100 / this of it are healthy. Envoy: 140.
    pub overprovisioning: u32,
    /// In percent: below it all endpoints are used. Envoy: 50; 0: never.
    pub panic_threshold: f64,
    /// In place of all endpoints: none.
    pub fail_on_panic: bool,
    /// Weights of localities count.
    pub locality_weighted: bool,
    /// Weights of endpoints count for the health of priorities.
    pub weighted_priority_health: bool,
    /// New endpoints don't count before their first health check.
    pub ignore_new_until_checked: bool,
    /// Changes of health that come within this after the last one count together, so much later; zero: at once.
    pub merge_window: Duration,
    /// Endpoints are hashed by their host name.
    pub hash_by_hostname: bool,
    /// In percent of its share: so much of all requests under way may be at an endpoint that a hash chooses; `None`: no bound.
    pub hash_bound: Option<u32>,
}

/// One address of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its host name; empty: it has none.
    pub hostname: Arc<str>,
    /// Its share of the requests, relative to the others'; above 0.
    pub weight: u32,
    /// Its priority: 0 is used first.
    pub priority: u32,
    /// Where it stands: region, zone, sub-zone.
    pub locality: Locality,
    /// The share of its locality, relative to the others' of its priority.
    pub locality_weight: u32,
    /// What is known of its health.
    pub status: Status,
    /// Its metadata for load balancing (`envoy.lb`).
    pub metadata: subset::Metadata,
    /// Which of the cluster's sockets its connections have; `None`: that of the cluster.
    pub socket: Option<usize>,
    /// Where its health is checked, in place of its address.
    pub health_port: Option<u16>,
    /// The host that health checks ask for.
    pub health_hostname: Option<Arc<str>>,
    /// Its health is not checked.
    pub health_unchecked: bool,
}

/// Region, zone and sub-zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Locality {
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Sub-zone.
    pub sub_zone: String,
}

/// What a file says of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// It is well, as far as is known.
    #[default]
    Healthy,
    /// It is not to be used.
    Unhealthy,
    /// It is to be used only where healthy ones do not suffice.
    Degraded,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At a socket address.
    Socket(SocketAddr),
    /// At a listener of the same proxy, by name, wherever it was bound.
    Listener(Arc<str>),
    /// At a name that is resolved, and a port.
    Name(Arc<str>, u16),
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
            discovery: Discovery::default(),
            endpoints: Vec::new(),
            balance: Balance::default(),
            spread: Spread::default(),
            subsets: None,
            limits: breaker::Limits::default(),
            trip: None,
            outlier: None,
            health: Vec::new(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            source: None,
            keepalive: None,
            mark: None,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            protocol: protocol::Upstream::default(),
            http2: protocol::Http2::default(),
            http1: http1::Http1::default(),
            max_requests: None,
            kept_body: None,
            tls: None,
            sockets: Vec::new(),
        }
    }
}

/// Envoy's.
impl Default for Spread {
    fn default() -> Self {
        Self {
            overprovisioning: 140,
            panic_threshold: 50.0,
            fail_on_panic: false,
            locality_weighted: false,
            weighted_priority_health: false,
            ignore_new_until_checked: false,
            merge_window: Duration::ZERO,
            hash_by_hostname: false,
            hash_bound: None,
        }
    }
}

/// Envoy's.
impl Default for Dns {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            family: Family::Auto,
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
            hostname: Arc::from(""),
            weight: 1,
            priority: 0,
            locality: Locality::default(),
            locality_weight: 0,
            status: Status::default(),
            metadata: subset::Metadata::new(),
            socket: None,
            health_port: None,
            health_hostname: None,
            health_unchecked: false,
        }
    }
}
