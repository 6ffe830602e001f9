//! Which requests go where.

use std::{sync::Arc, time::Duration};

use super::{BodyFormat, Filter, Tries};
use crate::{
    policy::{
        balance::subset::Metadata,
        breaker::Priority,
        fault,
        headers::Edits,
        matcher,
        mirror::Mirror,
        path::Normalization,
        protocol::Upgrade,
        redirect,
        rewrite::{HostRewrite, PathRewrite, Redirect},
        sticky,
    },
    unit::Share,
};

/// What is done with hosts and paths before a route is looked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Routing {
    /// Paths.
    pub path: Normalization,
    /// The port of the host that was asked for.
    pub port: Port,
    /// A dot at the end of the host is taken off.
    pub strip_trailing_dot: bool,
    /// Hosts are looked for without their port, which stays.
    pub ignore_port: bool,
    /// A route to a cluster that there is not is no mistake: its requests are answered.
    pub unknown_clusters: bool,
}

/// What becomes of the port of the host that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Port {
    /// It stays.
    #[default]
    Keep,
    /// It is taken off where it is the listener's own.
    StripOwn,
    /// It is taken off.
    Strip,
}

/// Hosts and their routes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VirtualHost {
    /// Its name; unique in its listener.
    pub name: String,
    /// Hosts it is for: `shop.test`, `*.shop.test`, `shop.*`, `*`.
    pub domains: Vec<String>,
    /// Routes, in order: the first that matches is taken.
    pub routes: Vec<Route>,
    /// Plain requests are redirected to `https`.
    pub require_tls: bool,
}

/// Which requests, and what is done with them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Route {
    /// Its name, in records.
    pub name: String,
    /// Which requests.
    pub matcher: matcher::Matcher,
    /// Which share of them, by draw; `None`: all.
    pub share: Option<Share>,
    /// What is done.
    pub action: Action,
    /// Fault rules, in place of the manager's; `None`: the manager's.
    pub faults: Option<Vec<fault::Rule>>,
    /// All that its requests pass, in place of the manager's filters; `None`: the manager's.
    pub filters: Option<Vec<Filter>>,
    /// What is done to headers, in order, after a weighted cluster's own.
    pub edits: Vec<Arc<Edits>>,
    /// What the body of its own answer becomes.
    pub body_format: Option<BodyFormat>,
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
    /// Its client is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where.
        to: Redirect,
    },
    /// Nothing: it is answered as one whose cluster there is not.
    Nothing,
}

/// How a request is sent on.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Clusters by weight; one in most cases.
    pub clusters: Vec<Target>,
    /// Header whose number takes the place of the draw among them.
    pub choice_header: Option<String>,
    /// The status of the answer where the cluster is not there.
    pub not_found_status: u16,
    /// The whole answer must have come within this, counted from the end of the request; `None`: no bound. Envoy: 15 s.
    pub timeout: Option<Duration>,
    /// In place of the manager's stream idle timeout; zero: this route has none.
    pub idle_timeout: Option<Duration>,
    /// Replaces the path, or a part of it.
    pub path_rewrite: Option<PathRewrite>,
    /// Replaces the host.
    pub host_rewrite: Option<HostRewrite>,
    /// The host that was asked for is appended to `x-forwarded-host` where it is replaced.
    pub append_forwarded_host: bool,
    /// Upstreams are told by `x-envoy-attempt-count` which try it is.
    pub attempt_count: bool,
    /// Clients are told how many tries there were.
    pub attempt_count_in_answer: bool,
    /// How often it is tried, and for how long.
    pub tries: Box<Tries>,
    /// Upstreams' redirects that are followed here; `None`: all are the client's.
    pub redirects: Option<Box<redirect::Policy>>,
    /// Upgrades that are allowed, or not, whatever the manager says.
    pub upgrades: Vec<Upgrade>,
    /// Shadows.
    pub mirrors: Vec<Mirror>,
    /// What binds requests to endpoints.
    pub sticky: Vec<sticky::Policy>,
    /// What is asked for of endpoints' metadata.
    pub metadata: Metadata,
    /// Which of its cluster's limits its requests are held to.
    pub priority: Priority,
}

/// A cluster that requests are sent to, and its share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// Which.
    pub cluster: ClusterName,
    /// Its part of the sum of all weights.
    pub weight: u32,
    /// What is done to headers.
    pub edits: Option<Arc<Edits>>,
    /// Replaces the host, before the route's rewrite does.
    pub host_rewrite: Option<String>,
    /// What else is asked for of endpoints' metadata.
    pub metadata: Metadata,
    /// All that its requests pass, in place of the route's filters; `None`: the route's, and its fault rules.
    pub filters: Option<Vec<Filter>>,
    /// Fault rules, beside filters of its own; `None`: the manager's.
    pub faults: Option<Vec<fault::Rule>>,
}

/// How a cluster is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterName {
    /// By its name.
    Fixed(String),
    /// By the value of this header of the request.
    Header(String),
}

impl Default for ClusterName {
    fn default() -> Self {
        Self::Fixed(String::new())
    }
}

impl Default for Action {
    fn default() -> Self {
        Self::Forward(Forward::default())
    }
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            choice_header: None,
            not_found_status: Self::NOT_FOUND,
            timeout: Some(Self::TIMEOUT),
            idle_timeout: None,
            path_rewrite: None,
            host_rewrite: None,
            append_forwarded_host: false,
            attempt_count: false,
            attempt_count_in_answer: false,
            tries: Box::default(),
            redirects: None,
            upgrades: Vec::new(),
            mirrors: Vec::new(),
            sticky: Vec::new(),
            metadata: Metadata::new(),
            priority: Priority::Default,
        }
    }
}

impl Forward {
    /// Envoy's default route timeout.
    pub const TIMEOUT: Duration = Duration::from_secs(15);
    /// What Envoy answers where the cluster is not there.
    pub const NOT_FOUND: u16 = 503;

    /// Everything to one cluster, with Envoy's defaults.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            clusters: vec![Target::new(cluster, 1)],
            ..Self::default()
        }
    }
}

impl Target {
    /// A cluster with a weight, and nothing else.
    pub fn new(cluster: impl Into<String>, weight: u32) -> Self {
        Self {
            cluster: ClusterName::Fixed(cluster.into()),
            weight,
            ..Self::default()
        }
    }

    /// Its cluster's name, where requests don't choose it.
    pub fn name(&self) -> Option<&str> {
        match &self.cluster {
            ClusterName::Fixed(name) => Some(name),
            ClusterName::Header(_) => None,
        }
    }
}
