//! Routes, ready to be asked.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};

use super::{filters::Filters, headers, replies, target::Targets, tries::Tries};
use crate::{
    draw::Draw,
    policy::{
        breaker::Priority,
        fault::{self, Counters},
        headers::Mutations,
        matcher, mirror,
        protocol::Upgrade,
        redirect,
        rewrite::{CompiledHost, CompiledPath, CompiledRedirect},
        sticky,
    },
};

/// A route, ready to be asked.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Which requests.
    pub matcher: matcher::Compiled,
    /// Which share of them: those whose draw is below it.
    pub share: Option<(Draw, f64)>,
    /// What is done.
    pub action: Action,
    /// What its requests pass, unless their target says otherwise.
    pub passed: Passed,
    /// What is done to headers, after the target's own.
    pub levels: Vec<Arc<headers::Level>>,
    /// What the body of its own answer becomes.
    pub body: Option<replies::Format>,
    /// What is done to answers looks at the request's headers.
    pub recalls: bool,
}

/// What requests pass.
#[derive(Debug)]
pub struct Passed {
    /// Filters.
    pub filters: Arc<Filters>,
    /// Faults.
    pub faults: Faults,
}

/// Fault rules and their counts.
#[derive(Debug)]
pub struct Faults {
    /// The rules.
    pub rules: fault::Rules,
    /// Their counts.
    pub counters: Counters,
    /// There are some that a request meets once.
    pub at_request: bool,
    /// There are some that each attempt meets.
    pub at_attempt: bool,
}

/// What is done with a routed request.
#[derive(Debug)]
pub enum Action {
    /// It is sent on.
    Forward(Forward),
    /// It is answered here.
    Respond(StatusCode, String),
    /// Its client is sent elsewhere.
    Redirect(StatusCode, CompiledRedirect),
    /// Nothing.
    Nothing,
}

/// How a request is sent on.
#[derive(Debug)]
pub struct Forward {
    /// Its clusters.
    pub targets: Targets,
    /// The status of the answer where the cluster is not there.
    pub not_found: StatusCode,
    /// The whole answer must have come within this, from the request's end.
    pub timeout: Option<Duration>,
    /// That, as `x-envoy-expected-rq-timeout-ms`.
    pub timeout_ms: Option<HeaderValue>,
    /// In place of the manager's.
    pub idle_timeout: Option<Duration>,
    /// Upstreams are told which try it is.
    pub attempt_count: bool,
    /// Clients are told how many tries there were.
    pub attempt_count_in_answer: bool,
    /// How often it is tried, and for how long.
    pub tries: Box<Tries>,
    /// Replaces the path, or a part of it.
    pub path_rewrite: Option<CompiledPath>,
    /// Replaces the host.
    pub host_rewrite: Option<CompiledHost>,
    /// The host that was asked for is appended to `x-forwarded-host` where it is replaced.
    pub append_forwarded_host: bool,
    /// Upstreams' redirects that are followed here.
    pub redirects: Option<Box<redirect::Compiled>>,
    /// Upgrades that are allowed, or not, whatever the manager says.
    pub upgrades: Vec<Upgrade>,
    /// Indexes into [`Snapshot::mirrors`](super::Snapshot::mirrors).
    pub mirrors: Vec<usize>,
    /// What binds requests to endpoints.
    pub sticky: sticky::Compiled,
    /// Whose limits are its requests'.
    pub priority: Priority,
}

impl Forward {
    /// A `CONNECT` ends here, and its bytes go to an endpoint without HTTP.
    pub fn terminates(&self) -> bool {
        let mut upgrades = self.upgrades.iter();
        upgrades.any(|upgrade| upgrade.protocol == "connect" && upgrade.terminates)
    }
}

/// A mirror, ready to be asked.
#[derive(Debug)]
pub struct Mirror {
    /// Its settings.
    pub settings: mirror::Mirror,
    /// Its id, to be shared.
    pub id: Arc<str>,
    /// Which requests.
    pub choice: mirror::Compiled,
    /// Index of its cluster; `None`: there is none, or a header names it.
    pub cluster: Option<usize>,
    /// The header that names it.
    pub cluster_header: Option<HeaderName>,
    /// The copy's host.
    pub host: Option<HeaderValue>,
    /// What else is done to copies' headers.
    pub mutations: Mutations,
    /// Headers that are set on copies.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers that are removed from copies.
    pub remove: Vec<HeaderName>,
}

impl Route {
    /// Its way on, if its requests are sent on.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// What its requests to this target pass.
    pub fn passed(&self, target: usize) -> &Passed {
        let own = self.forward().and_then(|forward| {
            let target = forward.targets.get(target)?;
            target.passed.as_deref()
        });
        own.unwrap_or(&self.passed)
    }
}
