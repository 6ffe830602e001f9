//! Plain data that a scenario and an Envoy file both become. Nothing here owns a handle.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    draw::Seed,
    policy::{balance::Balance, fault, matcher, mirror::Mirror},
    unit::ByteSize,
};

/// All that a proxy does.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The seed of its draws.
    pub seed: Seed,
    /// The testbed run whose trace ids name ordinal, side and due time (40 bits); `None`: ordinals are those of arrival.
    pub run: Option<u64>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it sends.
    pub clusters: Vec<Cluster>,
    /// Where its admin port listens.
    pub admin: Option<SocketAddr>,
}

/// A port and what is done with the connections to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name; unique.
    pub name: Arc<str>,
    /// Its address; port 0: one that is free, told by [`crate::app::Handle::addresses`].
    pub address: SocketAddr,
    /// Which sidecar it belongs to, in the testbed.
    pub place: Option<Place>,
    /// What is done with its requests.
    pub http: HttpManager,
}

/// The sidecar that a listener is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who calls.
    pub caller: Arc<str>,
    /// Who is called.
    pub service: Arc<str>,
    /// Whose sidecar it is.
    pub direction: Direction,
}

/// Whose sidecar a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The caller's.
    Outbound,
    /// The callee's.
    Inbound,
}

/// How HTTP connections are served; Envoy's HTTP connection manager.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpManager {
    /// Prefix of its statistics.
    pub stat_prefix: String,
    /// Value of the `server` header of answers; `None`: the upstream's passes through.
    pub server_name: Option<String>,
    /// A request without `x-request-id` is given one.
    pub generate_request_id: bool,
    /// The downstream address is used and appended to `x-forwarded-for`.
    pub use_remote_address: bool,
    /// Hosts, each with its routes; the most specific host wins.
    pub virtual_hosts: Vec<VirtualHost>,
    /// A connection without requests is closed after this long; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A stream without any byte moving ends after this long; `None`: never.
    pub stream_idle_timeout: Option<Duration>,
    /// The whole request must have come within this; `None`: no bound.
    pub request_timeout: Option<Duration>,
    /// The request's header must have come within this; `None`: no bound.
    pub request_headers_timeout: Option<Duration>,
    /// Protocols that a request may upgrade to, lower case, such as `websocket`.
    pub upgrades: Vec<String>,
    /// Longest header section of a request.
    pub max_request_headers: ByteSize,
    /// Requests by HTTP/1.0 clients are served; else answered 426 as Envoy does.
    pub accept_http_10: bool,
    /// Fault rules of every route that has none of its own.
    pub faults: Vec<fault::Rule>,
}

/// Hosts and their routes.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualHost {
    /// Its name; unique in its listener.
    pub name: String,
    /// Hosts it is for: `shop.test`, `*.shop.test`, `shop.*`, `*`.
    pub domains: Vec<String>,
    /// Routes, in order: the first that matches is taken.
    pub routes: Vec<Route>,
}

/// Which requests, and what is done with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, in records.
    pub name: String,
    /// Which requests.
    pub matcher: matcher::Matcher,
    /// What is done.
    pub action: Action,
    /// Fault rules, in place of the manager's; `None`: the manager's.
    pub faults: Option<Vec<fault::Rule>>,
}

/// What is done with a routed request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is sent on.
    Forward(Forward),
    /// It is answered here.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
}

/// How a request is sent on.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Clusters by weight; one in most cases.
    pub clusters: Vec<(String, u32)>,
    /// The whole answer must have come within this, counted from the end of the request; `None`: no bound. Envoy: 15 s.
    pub timeout: Option<Duration>,
    /// In place of the manager's stream idle timeout.
    pub idle_timeout: Option<Duration>,
    /// Replaces the matched prefix of the path.
    pub prefix_rewrite: Option<String>,
    /// Replaces the host.
    pub host_rewrite: Option<String>,
    /// Shadows.
    pub mirrors: Vec<Mirror>,
}

impl Forward {
    /// Envoy's default route timeout.
    pub const TIMEOUT: Duration = Duration::from_secs(15);

    /// Everything to one cluster, with Envoy's defaults.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            clusters: vec![(cluster.into(), 1)],
            timeout: Some(Self::TIMEOUT),
            idle_timeout: None,
            prefix_rewrite: None,
            host_rewrite: None,
            mirrors: Vec::new(),
        }
    }
}

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

/// What is wrong with a configuration: where, what, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the value, such as `listeners[0].http.virtual_hosts[1]`.
    pub path: String,
    /// What is wrong, with the value.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl Default for HttpManager {
    fn default() -> Self {
        Self {
            stat_prefix: "http".to_owned(),
            server_name: Some("meshbed".to_owned()),
            generate_request_id: true,
            use_remote_address: false,
            virtual_hosts: Vec::new(),
            idle_timeout: Some(Duration::from_hours(1)),
            stream_idle_timeout: Some(Duration::from_mins(5)),
            request_timeout: None,
            request_headers_timeout: None,
            upgrades: Vec::new(),
            max_request_headers: ByteSize(60 << 10),
            accept_http_10: false,
            faults: Vec::new(),
        }
    }
}

impl Config {
    /// Everything that is wrong with it: duplicate names, unknown clusters, bad regular expressions, empty weights.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut names = BTreeMap::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            if let Some(first) = names.insert(cluster.name.clone(), index) {
                problems.push(Problem {
                    path: format!("clusters[{index}]"),
                    what: format!("the name `{}` is taken by clusters[{first}]", cluster.name),
                });
            }
        }
        problems
    }
}
