//! What is wrong with a configuration, all at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    Action, Address, Chain, Cluster, ClusterName, Config, Filter, Forward, HttpManager, Listener,
    Route, Serve, VirtualHost,
};
use crate::{
    draw::Seed,
    policy::{
        cors, fault, headers, matcher, mirror,
        rewrite::{self, PathRewrite},
    },
};

/// What is wrong with a configuration: where, what, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the value, such as `listeners[0].chains[0].http.virtual_hosts[1]`.
    pub path: String,
    /// What is wrong, with the value.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Finds the problems of a whole configuration.
pub(super) fn find(config: &Config) -> Vec<Problem> {
    let mut finder = Finder {
        clusters: config
            .clusters
            .iter()
            .map(|cluster| &*cluster.name)
            .collect(),
        listeners: config
            .listeners
            .iter()
            .map(|listener| &*listener.name)
            .collect(),
        problems: Vec::new(),
    };
    finder.names(
        "listeners",
        config.listeners.iter().map(|listener| &*listener.name),
    );
    finder.names(
        "clusters",
        config.clusters.iter().map(|cluster| &*cluster.name),
    );
    finder.addresses(&config.listeners);
    for (index, listener) in config.listeners.iter().enumerate() {
        finder.listener(&format!("listeners[{index}]"), listener);
    }
    for (index, cluster) in config.clusters.iter().enumerate() {
        finder.cluster(&format!("clusters[{index}]"), cluster);
    }
    finder.problems
}

struct Finder<'a> {
    clusters: BTreeSet<&'a str>,
    listeners: BTreeSet<&'a str>,
    problems: Vec<Problem>,
}

impl Finder<'_> {
    fn say(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem {
            path: path.into(),
            what: what.into(),
        });
    }

    fn names<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str>) {
        let mut first = BTreeMap::new();
        for (index, name) in names.enumerate() {
            if name.is_empty() {
                self.say(format!("{list}[{index}].name"), "a name must not be empty");
            } else if let Some(taken) = first.insert(name, index) {
                self.say(
                    format!("{list}[{index}].name"),
                    format!("the name `{name}` is taken by {list}[{taken}]"),
                );
            }
        }
    }

    fn addresses(&mut self, listeners: &[Listener]) {
        let mut first = BTreeMap::new();
        for (index, listener) in listeners.iter().enumerate() {
            for address in [&listener.address]
                .into_iter()
                .chain(&listener.more_addresses)
            {
                if address.port() == 0 {
                    continue;
                }
                if let Some(taken) = first.insert(address, index) {
                    self.say(
                        format!("listeners[{index}].address"),
                        format!("{address} is taken by listeners[{taken}]"),
                    );
                }
            }
        }
    }

    fn listener(&mut self, path: &str, listener: &Listener) {
        if listener.chains.is_empty() && listener.default_chain.is_none() {
            self.say(format!("{path}.chains"), "a filter chain is needed");
        }
        for (index, chain) in listener.chains.iter().enumerate() {
            let path = format!("{path}.chains[{index}]");
            let mut before = listener.chains.iter().take(index);
            if let Some(first) = before.position(|before| before.matches.collides(&chain.matches)) {
                self.say(
                    format!("{path}.matches"),
                    format!("chains[{first}] matches the same connections"),
                );
            }
            self.chain(&path, chain);
        }
        if let Some(chain) = &listener.default_chain {
            self.chain(&format!("{path}.default_chain"), chain);
        }
    }

    fn chain(&mut self, path: &str, chain: &Chain) {
        match &chain.serve {
            Serve::Http(manager) => self.manager(&format!("{path}.http"), manager),
            Serve::Tcp(proxy) => {
                let path = format!("{path}.tcp");
                // As in Envoy, a cluster that there is not is found out by the connections to it.
                let total: u64 = proxy
                    .clusters
                    .iter()
                    .map(|(_, weight)| u64::from(*weight))
                    .sum();
                if total == 0 || total > u64::from(u32::MAX) {
                    self.say(
                        format!("{path}.clusters"),
                        format!(
                            "the weights add up to {total}, but must to something from 1 to {}",
                            u32::MAX
                        ),
                    );
                }
                if proxy.max_connect_attempts == 0 {
                    self.say(format!("{path}.max_connect_attempts"), "it must be above 0");
                }
            }
        }
    }

    fn manager(&mut self, path: &str, manager: &HttpManager) {
        let hosts = format!("{path}.virtual_hosts");
        self.names(
            &hosts,
            manager.virtual_hosts.iter().map(|host| host.name.as_str()),
        );
        self.faults(&format!("{path}.faults"), &manager.faults);
        for filter in &manager.filters {
            self.filter(&format!("{path}.filters"), filter);
        }
        if let Some(name) = &manager.server_name {
            self.value(&format!("{path}.server_name"), name);
        }
        let mut domains = BTreeMap::new();
        let known = !manager.routing.unknown_clusters;
        for (index, host) in manager.virtual_hosts.iter().enumerate() {
            let path = format!("{hosts}[{index}]");
            self.domains(&path, host, &mut domains);
            for (index, route) in host.routes.iter().enumerate() {
                self.route(&format!("{path}.routes[{index}]"), route, known);
            }
        }
    }

    fn domains(&mut self, path: &str, host: &VirtualHost, taken: &mut BTreeMap<String, String>) {
        if host.domains.is_empty() {
            self.say(
                format!("{path}.domains"),
                "at least one domain is needed, such as `*`",
            );
        }
        for (index, domain) in host.domains.iter().enumerate() {
            let path = format!("{path}.domains[{index}]");
            let stars = domain.matches('*').count();
            let at_end = domain.starts_with('*') || domain.ends_with('*');
            if domain.is_empty() || stars > 1 || (stars == 1 && !at_end) {
                self.say(
                    path,
                    format!(
                        "`{domain}` is not a domain: `shop.test`, `*.shop.test`, `shop.*` or `*`"
                    ),
                );
            } else if let Some(first) = taken.insert(domain.to_ascii_lowercase(), path.clone()) {
                self.say(path, format!("the domain `{domain}` is taken by {first}"));
            }
        }
    }

    fn route(&mut self, path: &str, route: &Route, known: bool) {
        if let Err(what) = matcher::Compiled::new(&route.matcher) {
            self.say(format!("{path}.matcher"), what);
        }
        if let Some(faults) = &route.faults {
            self.faults(&format!("{path}.faults"), faults);
        }
        for edits in &route.edits {
            self.edits(&format!("{path}.edits"), edits);
        }
        for filter in route.filters.iter().flatten() {
            self.filter(&format!("{path}.filters"), filter);
        }
        let path = format!("{path}.action");
        let status = match &route.action {
            Action::Forward(forward) => return self.forward(&path, forward, route, known),
            Action::Nothing => return,
            Action::Respond { status, .. } => *status,
            Action::Redirect { status, to } => {
                if let Err(what) = rewrite::CompiledRedirect::new(to, &route.matcher) {
                    self.say(format!("{path}.to"), what);
                }
                *status
            }
        };
        if !(200..600).contains(&status) {
            self.say(
                format!("{path}.status"),
                format!("the status {status} must be from 200 to 599"),
            );
        }
    }

    fn filter(&mut self, path: &str, filter: &Filter) {
        match filter {
            Filter::Cors(policy) => {
                if let Err(what) = cors::Compiled::new(policy) {
                    self.say(path, what);
                }
            }
            Filter::Headers(steps) => {
                for steps in [&steps.request, &steps.response] {
                    if let Err(what) = headers::Mutations::new(steps) {
                        self.say(path, what);
                    }
                }
            }
            _ => {}
        }
    }

    fn edits(&mut self, path: &str, edits: &headers::Edits) {
        for edit in [&edits.request, &edits.response] {
            if let Err(what) = headers::Compiled::new(edit) {
                self.say(path, what);
            }
        }
    }

    fn forward(&mut self, path: &str, forward: &Forward, route: &Route, known: bool) {
        for (index, target) in forward.clusters.iter().enumerate() {
            let path = format!("{path}.clusters[{index}]");
            if let Some(faults) = &target.faults {
                self.faults(&format!("{path}.faults"), faults);
            }
            for filter in target.filters.iter().flatten() {
                self.filter(&format!("{path}.filters"), filter);
            }
            match &target.cluster {
                ClusterName::Fixed(name) if known => self.known(&path, name),
                ClusterName::Fixed(_) => {}
                ClusterName::Header(name) => self.header(&path, name),
            }
            if let Some(edits) = &target.edits {
                self.edits(&format!("{path}.edits"), edits);
            }
            if let Some(host) = &target.host_rewrite {
                self.value(&format!("{path}.host_rewrite"), host);
            }
        }
        let weights = forward.clusters.iter();
        let total: u64 = weights.map(|target| u64::from(target.weight)).sum();
        if total == 0 || total > u64::from(u32::MAX) {
            self.say(
                format!("{path}.clusters"),
                format!(
                    "the weights add up to {total}, but must to something from 1 to {}",
                    u32::MAX
                ),
            );
        }
        if let Some(name) = &forward.choice_header {
            self.header(&format!("{path}.choice_header"), name);
        }
        if let Some(Err(what)) = forward
            .host_rewrite
            .as_ref()
            .map(rewrite::CompiledHost::new)
        {
            self.say(format!("{path}.host_rewrite"), what);
        }
        match &forward.path_rewrite {
            None => {}
            Some(PathRewrite::Prefix(prefix))
                if !prefix.starts_with('/')
                    || http::uri::PathAndQuery::try_from(prefix).is_err() =>
            {
                self.say(
                    format!("{path}.path_rewrite"),
                    format!("`{}` is not a path such as `/api`", prefix.escape_debug()),
                );
            }
            Some(it) => {
                if let Err(what) = rewrite::CompiledPath::new(it, &route.matcher) {
                    self.say(format!("{path}.path_rewrite"), what);
                }
            }
        }
        for (index, mirror) in forward.mirrors.iter().enumerate() {
            let path = format!("{path}.mirrors[{index}]");
            match &mirror.cluster_header {
                Some(name) => self.header(&path, name),
                None if known => self.known(&path, &mirror.cluster),
                None => {}
            }
            if let Err(what) = headers::Mutations::new(&mirror.mutations) {
                self.say(&path, what);
            }
            if let Some(host) = &mirror.host {
                self.value(&path, host);
            }
            if let Err(what) = mirror::Compiled::new(mirror, Seed(0)) {
                self.say(&path, what);
            }
            for (name, value) in &mirror.set_headers {
                self.header(&path, name);
                self.value(&path, value);
            }
            for name in &mirror.remove_headers {
                self.header(&path, name);
            }
        }
    }

    fn header(&mut self, path: &str, name: &str) {
        if http::HeaderName::try_from(name).is_err() {
            self.say(path, format!("`{name}` is not the name of a header"));
        }
    }

    fn value(&mut self, path: &str, value: &str) {
        if http::HeaderValue::try_from(value).is_err() {
            let value = value.escape_debug();
            self.say(
                path,
                format!("`{value}` is not a value that a header can have"),
            );
        }
    }

    fn known(&mut self, path: &str, cluster: &str) {
        if !self.clusters.contains(cluster) {
            let known: Vec<_> = self
                .clusters
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let known = if known.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            self.say(path, format!("there is no cluster `{cluster}`; {known}"));
        }
    }

    fn faults(&mut self, path: &str, rules: &[fault::Rule]) {
        for (index, rule) in rules.iter().enumerate() {
            if let Err(what) = fault::Rules::compile(std::slice::from_ref(rule), Seed(0)) {
                self.say(format!("{path}[{index}]"), what);
            }
        }
    }

    fn cluster(&mut self, path: &str, cluster: &Cluster) {
        if cluster.connect_timeout.is_zero() {
            self.say(format!("{path}.connect_timeout"), "it must be above 0");
        }
        for (index, endpoint) in cluster.endpoints.iter().enumerate() {
            let path = format!("{path}.endpoints[{index}]");
            if endpoint.weight == 0 {
                self.say(format!("{path}.weight"), "it must be above 0");
            }
            match &endpoint.address {
                Address::Listener(name) if !self.listeners.contains(&**name) => {
                    self.say(path, format!("there is no listener `{name}`"));
                }
                Address::Socket(address) if address.port() == 0 => {
                    self.say(path, format!("{address} has no port"));
                }
                Address::Name(name, port) if name.is_empty() || *port == 0 => {
                    self.say(path, format!("`{name}:{port}` is not a name and a port"));
                }
                Address::Listener(_) | Address::Socket(_) | Address::Name(..) => {}
            }
        }
    }
}
