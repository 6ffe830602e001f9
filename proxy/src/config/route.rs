//! Which requests go where.

use std::time::Duration;

use super::{Filter, Tries};
use crate::policy::{fault, matcher, mirror::Mirror};

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
    /// All that its requests pass, in place of the manager's filters; `None`: the manager's.
    pub filters: Option<Vec<Filter>>,
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
    /// In place of the manager's stream idle timeout; zero: this route has none.
    pub idle_timeout: Option<Duration>,
    /// Replaces the matched prefix of the path.
    pub prefix_rewrite: Option<String>,
    /// Replaces the host.
    pub host_rewrite: Option<String>,
    /// Upstreams are told by `x-envoy-attempt-count` which try it is.
    pub attempt_count: bool,
    /// Clients are told how many tries there were.
    pub attempt_count_in_answer: bool,
    /// How often it is tried, and for how long.
    pub tries: Box<Tries>,
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
            attempt_count: false,
            attempt_count_in_answer: false,
            tries: Box::default(),
            mirrors: Vec::new(),
        }
    }
}
