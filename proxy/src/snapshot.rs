//! A configuration, compiled: immutable, swapped by one pointer, loaded once per request. What must outlive a swap
//! (counts of arrivals, of equal calls, of faults) is in [`Lasting`].

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    access_log::Logs,
    cluster::{self, roster::Roster},
    config::{self, Address, Config, Problem},
    net::{dial::Way, tls},
    policy::{
        balance::subset::Metadata,
        fault::{self, Counters},
        headers::Mutations,
        matcher, mirror, redirect,
        rewrite::{CompiledHost, CompiledPath, CompiledRedirect, Redirect},
        sticky,
    },
};

pub mod calls;
pub mod filters;
pub mod headers;
pub mod hosts;
mod lasting;
pub mod listener;
mod manager;
pub mod pressure;
mod publish;
pub mod rate_limit;
pub mod replies;
mod route;
mod shelf;
pub mod target;
pub mod tcp;
pub mod tries;

pub use lasting::Lasting;
pub use manager::{Http, Manager, StripPort};
pub use publish::{Publisher, Reader};
pub use route::{Action, Faults, Forward, Mirror, Passed, Route};

use filters::Filters;
use hosts::Hosts;
use listener::{Chain, Listener, Serve};
use replies::Replies;
use target::{Choice, Target, Targets};
use tcp::Tcp;
use tries::Tries;

/// A compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// What it was compiled from.
    pub config: Config,
    /// The run whose trace ids count.
    pub run: Option<u64>,
    /// Listeners, in the order in which they were first bound.
    pub listeners: Vec<Listener>,
    /// What is done with requests, for every chain that reads some.
    pub http: Vec<Http>,
    /// How connections are passed on, for every chain that does so.
    pub tcp: Vec<Tcp>,
    /// Clusters.
    pub clusters: Vec<Arc<cluster::Settings>>,
    /// Their endpoints, in the same order.
    pub rosters: Vec<Arc<Roster>>,
    /// All mirrors of all routes: their index is what an event loop's state is kept by.
    pub mirrors: Vec<Arc<Mirror>>,
    names: HashMap<Arc<str>, usize>,
}

impl Snapshot {
    /// Compiles a configuration; `bound` says where its listeners are. All problems at once.
    pub fn compile(
        config: Config,
        bound: &[(Arc<str>, SocketAddr)],
        lasting: &Lasting,
    ) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler {
            config: &config,
            bound,
            lasting,
            clusters: BTreeMap::new(),
            http: Vec::new(),
            tcp: Vec::new(),
            mirrors: Vec::new(),
            cache: headers::Cache::default(),
            problems: config.check(),
        };
        let clusters = compiler.clusters();
        let listeners = compiler.listeners();
        let Compiler {
            http,
            tcp,
            mirrors,
            problems,
            ..
        } = compiler;
        if !problems.is_empty() {
            return Err(problems);
        }
        let rosters: Vec<_> = clusters
            .iter()
            .map(|settings| lasting.rosters.of(settings))
            .collect();
        lasting.rosters.keep(&rosters);
        // Where nothing has changed, what the roster has is what others hold.
        let clusters: Vec<Arc<cluster::Settings>> = rosters
            .iter()
            .map(|roster| Arc::clone(roster.settings()))
            .collect();
        Ok(Self {
            run: config.run,
            names: clusters
                .iter()
                .enumerate()
                .map(|(index, cluster)| (Arc::clone(&cluster.name), index))
                .collect(),
            config,
            listeners,
            http,
            tcp,
            clusters,
            rosters,
            mirrors,
        })
    }

    /// For each of our [`Snapshot::http`], what is in its place in another snapshot: the same chain of the same listener,
    /// where there still is one.
    pub fn successors(&self, next: &Self) -> Vec<Option<usize>> {
        let mut successors = vec![None; self.http.len()];
        for (before, after) in self.listeners.iter().zip(&next.listeners) {
            for chain in before.all_chains() {
                if let Serve::Http(index) = chain.serve
                    && let Some(successor) = successors.get_mut(index)
                    && let Some(Serve::Http(next)) = after.same(chain).map(|chain| chain.serve)
                {
                    *successor = Some(next);
                }
            }
        }
        successors
    }
}

impl Snapshot {
    /// The index of the cluster with this name.
    pub fn cluster_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }
}

struct Compiler<'a> {
    config: &'a Config,
    bound: &'a [(Arc<str>, SocketAddr)],
    lasting: &'a Lasting,
    clusters: BTreeMap<&'a str, usize>,
    http: Vec<Http>,
    tcp: Vec<Tcp>,
    mirrors: Vec<Arc<Mirror>>,
    cache: headers::Cache,
    problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    fn problem(&mut self, path: impl Into<String>, what: impl Into<String>) {
        let problem = Problem {
            path: path.into(),
            what: what.into(),
        };
        // `Config::check` finds some of them first.
        if !self.problems.iter().any(|known| known.path == problem.path) {
            self.problems.push(problem);
        }
    }

    fn clusters(&mut self) -> Vec<Arc<cluster::Settings>> {
        let mut clusters = Vec::new();
        for (index, cluster) in self.config.clusters.iter().enumerate() {
            self.clusters.insert(&cluster.name, index);
            let path = format!("clusters[{index}]");
            let endpoints = cluster
                .endpoints
                .iter()
                .enumerate()
                .filter_map(|(at, endpoint)| {
                    self.endpoint(&format!("{path}.endpoints[{at}]"), endpoint)
                })
                .collect();
            clusters.push(Arc::new(cluster::Settings {
                name: Arc::clone(&cluster.name),
                discovery: cluster.discovery,
                endpoints,
                balance: cluster.balance.clone(),
                spread: cluster.spread,
                subsets: cluster.subsets.clone(),
                limits: cluster.limits,
                trip: cluster.trip,
                outlier: cluster.outlier,
                health: cluster.health.clone(),
                way: Way {
                    within: cluster.connect_timeout,
                    source: cluster.source,
                    keepalive: cluster.keepalive,
                    mark: cluster.mark,
                },
                idle_timeout: cluster.idle_timeout,
                protocol: cluster.protocol,
                http1: cluster.http1.clone(),
                http2: cluster.http2.clone(),
                max_requests: cluster.max_requests,
                kept_body: cluster.kept_body.map(|bytes| bytes.0),
                tls: self.client_tls(&format!("clusters[{index}]"), cluster.tls.as_ref()),
            }));
        }
        clusters
    }

    fn endpoint(
        &mut self,
        path: &str,
        endpoint: &config::Endpoint,
    ) -> Option<Arc<cluster::Endpoint>> {
        let (address, name) = match &endpoint.address {
            Address::Socket(address) => (Some(*address), None),
            Address::Name(name, port) => (None, Some((Arc::clone(name), *port))),
            Address::Listener(name) => {
                let Some((_, bound)) = self.bound.iter().find(|(bound, _)| bound == name) else {
                    self.problem(path, format!("there is no listener `{name}`"));
                    return None;
                };
                (Some(reachable(*bound)), None)
            }
        };
        Some(Arc::new(cluster::Endpoint {
            address,
            name,
            hostname: Arc::clone(&endpoint.hostname),
            weight: endpoint.weight,
            priority: endpoint.priority,
            locality: endpoint.locality.clone(),
            locality_weight: endpoint.locality_weight,
            status: endpoint.status,
            metadata: endpoint.metadata.clone(),
            health_port: endpoint.health_port,
            health_hostname: endpoint.health_hostname.clone(),
            health_unchecked: endpoint.health_unchecked,
        }))
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let config = self.config;
        // In the order of the bound ones, so that an index means the same in every snapshot.
        let mut listeners = Vec::new();
        for (name, bound) in self.bound {
            let found = config
                .listeners
                .iter()
                .enumerate()
                .find(|(_, listener)| listener.name == *name);
            match found {
                Some((index, listener)) => listeners.push(self.listener(index, listener, *bound)),
                None => self.problem(
                    "listeners",
                    format!("the listener `{name}` is missing: a listener cannot be removed while the proxy runs"),
                ),
            }
        }
        for (index, listener) in config.listeners.iter().enumerate() {
            if !self.bound.iter().any(|(name, _)| *name == listener.name) {
                self.problem(
                    format!("listeners[{index}]"),
                    format!(
                        "the listener `{}` is new: a listener cannot be added while the proxy runs",
                        listener.name
                    ),
                );
            }
        }
        listeners
    }

    fn listener(
        &mut self,
        index: usize,
        listener: &'a config::Listener,
        bound: SocketAddr,
    ) -> Listener {
        let path = format!("listeners[{index}]");
        let access = (!listener.access_logs.is_empty())
            .then(|| Arc::new(self.access_logs(&path, &listener.access_logs)));
        let chains = listener
            .chains
            .iter()
            .enumerate()
            .map(|(at, chain)| {
                let path = format!("{path}.chains[{at}]");
                self.chain(&path, listener, chain, access.as_ref())
            })
            .collect();
        let default = listener.default_chain.as_ref().map(|chain| {
            let path = format!("{path}.default_chain");
            self.chain(&path, listener, chain, access.as_ref())
        });
        // As Envoy: the address, in which a colon would be a word's end.
        let stat_prefix = listener
            .stat_prefix
            .clone()
            .unwrap_or_else(|| bound.to_string().replace(':', "_"))
            .into();
        Listener::new(
            stat_prefix,
            listener.inspect.clone(),
            access,
            chains,
            default,
        )
    }

    fn chain(
        &mut self,
        path: &str,
        listener: &config::Listener,
        chain: &config::Chain,
        access: Option<&Arc<Logs>>,
    ) -> Chain {
        let name: Arc<str> = chain.name.as_str().into();
        let serve = match &chain.serve {
            config::Serve::Http(manager) => {
                let http = self.http(&format!("{path}.http"), listener, manager);
                self.http.push(http);
                Serve::Http(self.http.len() - 1)
            }
            config::Serve::Tcp(proxy) => {
                let tcp = self.tcp(path, listener, proxy);
                self.tcp.push(Tcp {
                    outer: access.cloned(),
                    chain: Arc::clone(&name),
                    ..tcp
                });
                Serve::Tcp(self.tcp.len() - 1)
            }
        };
        let tls = chain
            .tls
            .as_ref()
            .and_then(|it| match self.lasting.tls.server(it) {
                Ok(server) => Some(server),
                Err(wrong) => {
                    self.wrong_tls(path, &wrong);
                    None
                }
            });
        Chain {
            name,
            matches: chain.matches.clone(),
            tls,
            spoiling: (!chain.spoilt.is_empty()).then(|| listener::Spoiling {
                rules: fault::tls::Rules::new(&chain.spoilt, self.config.seed),
                listener: Arc::clone(&listener.name),
                place: listener.place.clone(),
                numbered: chain.numbered,
                arrivals: self
                    .lasting
                    .arrivals(&format!("{} handshakes", listener.name).into()),
            }),
            handshake_timeout: chain.handshake_timeout,
            limit: chain.limit.as_ref().map(|limit| listener::Limit {
                stat_prefix: limit.stat_prefix.as_str().into(),
                most: limit.most,
                delay: limit.delay,
                active: self
                    .lasting
                    .connections(&format!("{} {}", listener.name, limit.stat_prefix)),
            }),
            serve,
        }
    }

    fn client_tls(
        &mut self,
        path: &str,
        settings: Option<&config::tls::Client>,
    ) -> Option<Arc<tls::Client>> {
        match self.lasting.tls.client(settings?) {
            Ok(client) => Some(client),
            Err(wrong) => {
                self.wrong_tls(path, &wrong);
                None
            }
        }
    }

    fn wrong_tls(&mut self, path: &str, wrong: &tls::Wrong) {
        self.problem(
            format!(
                "{path}.transport_socket.typed_config.common_tls_context.{}",
                wrong.field
            ),
            wrong.what.clone(),
        );
    }

    fn tcp(&mut self, path: &str, listener: &config::Listener, proxy: &config::TcpProxy) -> Tcp {
        let access = self.access_logs(&format!("{path}.tcp"), &proxy.access_logs);
        let faults = fault::tcp::Rules::compile(&proxy.faults, self.config.seed);
        let faults = faults.unwrap_or_else(|what| {
            self.problem(format!("{path}.tcp.faults"), what);
            fault::tcp::Rules::default()
        });
        let faults = Arc::new(faults);
        Tcp {
            access,
            outer: None,
            chain: Arc::from(""),
            live: proxy
                .live
                .then(|| self.lasting.live(&listener.name, &faults)),
            numbered: proxy.numbered,
            faults,
            name: Arc::clone(&listener.name),
            stat_prefix: proxy.stat_prefix.as_str().into(),
            place: listener.place.clone(),
            clusters: proxy
                .clusters
                .iter()
                .map(|(name, weight)| (self.clusters.get(name.as_str()).copied(), *weight))
                .collect(),
            cluster_by_server_name: proxy.cluster_by_server_name,
            choice: self.config.seed.rule(&format!("clusters {path}")),
            idle_timeout: proxy.idle_timeout,
            max_duration: proxy.max_duration,
            max_connect_attempts: proxy.max_connect_attempts,
            hash_source_ip: proxy.hash_source_ip,
            arrivals: self.lasting.arrivals(&listener.name),
        }
    }

    fn http(
        &mut self,
        path: &str,
        listener: &config::Listener,
        http: &config::HttpManager,
    ) -> Http {
        let mut hosts = Hosts::new(http.routing.ignore_port);
        let filters = self.filters(
            &format!("{path}.filters"),
            &http.filters,
            !http.faults.is_empty(),
        );
        for (at, host) in http.virtual_hosts.iter().enumerate() {
            let path = format!("{path}.virtual_hosts[{at}]");
            let mut routes: Vec<_> = host
                .routes
                .iter()
                .enumerate()
                .filter_map(|(at, route)| {
                    self.route(&format!("{path}.routes[{at}]"), route, http, &filters)
                })
                .collect();
            let plain = host.require_tls.then_some(routes.len());
            if host.require_tls {
                routes.extend(self.route(&path, &to_tls(), http, &filters));
            }
            if let Err(taken) = hosts.add(&host.domains, routes, plain) {
                self.problem(
                    format!("{path}.domains"),
                    format!("the domain `{taken}` is taken by another virtual host"),
                );
            }
        }
        let replies = self.replies(path, &http.local_replies);
        let mut access = self.access_logs(path, &http.access_logs);
        if !replies.is_empty() {
            access.share(replies.headers());
        }
        let server_name = http.server_name.as_deref().and_then(|name| {
            let value = HeaderValue::from_str(name).ok();
            if value.is_none() {
                self.problem(
                    format!("{path}.server_name"),
                    format!("`{name}` is not a header's value"),
                );
            }
            value
        });
        Http {
            name: Arc::clone(&listener.name),
            stat_prefix: http.stat_prefix.as_str().into(),
            place: listener.place.clone(),
            manager: Manager {
                server_name,
                generate_request_id: http.generate_request_id,
                preserve_request_id: http.preserve_request_id,
                answer_request_id: http.answer_request_id,
                origin: http.origin.clone(),
                http1: http.http1.clone(),
                idle_timeout: http.idle_timeout,
                stream_idle_timeout: http.stream_idle_timeout,
                max_stream_duration: http.max_stream_duration,
                request_timeout: http.request_timeout,
                request_headers_timeout: http.request_headers_timeout,
                upgrades: http
                    .upgrades
                    .iter()
                    .map(|upgrade| upgrade.to_ascii_lowercase())
                    .collect(),
                max_request_headers: http.max_request_headers.0 as usize,
                accept_http_10: http.accept_http_10,
                codec: http.codec,
                http2: http.http2.clone(),
                access,
                replies,
                client_cert: http.client_cert,
                path: http.routing.path,
                strip_port: match http.routing.port {
                    config::Port::Keep => None,
                    config::Port::Strip => Some(StripPort::Any),
                    config::Port::StripOwn => {
                        let bound = self.bound.iter().find(|(name, _)| *name == listener.name);
                        let own = bound.map_or(listener.address, |(_, address)| *address);
                        Some(StripPort::Own(own.port()))
                    }
                },
                strip_trailing_dot: http.routing.strip_trailing_dot,
                via: http.signature.via.as_deref().and_then(|via| {
                    let value = HeaderValue::from_str(via).ok();
                    if value.is_none() {
                        let via = via.escape_debug();
                        self.problem(
                            format!("{path}.signature.via"),
                            format!("`{via}` is not a value that a header can have"),
                        );
                    }
                    value
                }),
                server_if_absent: http.signature.server_if_absent,
                quiet: http.signature.quiet,
                respects_expected_timeout: http.signature.respects_expected_timeout,
            },
            hosts,
            filters,
            arrivals: self.lasting.arrivals(&listener.name),
            calls: self.lasting.calls(listener.place.as_ref()),
        }
    }

    fn replies(&mut self, path: &str, settings: &config::LocalReplies) -> Replies {
        Replies::compile(settings).unwrap_or_else(|(index, what)| {
            let place =
                index.map_or_else(|| "format".to_owned(), |index| format!("mappers[{index}]"));
            self.problem(format!("{path}.local_replies.{place}"), what);
            Replies::default()
        })
    }

    fn access_logs(&mut self, path: &str, settings: &[config::AccessLog]) -> Logs {
        // A configuration that cannot be used must not leave files behind.
        if !self.problems.is_empty() {
            return Logs::default();
        }
        Logs::open(settings, &self.lasting.sinks).unwrap_or_else(|(index, what)| {
            self.problem(format!("{path}.access_logs[{index}]"), what);
            Logs::default()
        })
    }

    fn route(
        &mut self,
        path: &str,
        route: &config::Route,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Option<Route> {
        let passed = self.passed(
            path,
            route.filters.as_deref(),
            route.faults.as_deref(),
            http,
            outer,
        );
        let matcher = matcher::Compiled::new(&route.matcher)
            .map_err(|what| self.problem(format!("{path}.match"), what))
            .ok();
        let action = match &route.action {
            config::Action::Respond { status, body } => StatusCode::from_u16(*status)
                .ok()
                .filter(|status| !status.is_informational())
                .map(|status| Action::Respond(status, body.clone()))
                .or_else(|| {
                    self.problem(
                        format!("{path}.status"),
                        format!("{status} is not a status from 200 to 999"),
                    );
                    None
                }),
            config::Action::Redirect { status, to } => StatusCode::from_u16(*status)
                .ok()
                .zip(CompiledRedirect::new(to, &route.matcher).ok())
                .map(|(status, to)| Action::Redirect(status, to)),
            config::Action::Nothing => Some(Action::Nothing),
            config::Action::Forward(forward) => Some(Action::Forward(
                self.forward(path, route, forward, http, outer),
            )),
        };
        // What cannot be compiled was told by the check.
        let edits = route.edits.iter();
        let levels: Vec<_> = edits.filter_map(|it| self.cache.level(it).ok()).collect();
        let body = route.body_format.as_ref().and_then(|format| {
            replies::Format::compile(format)
                .map_err(|what| self.problem(format!("{path}.body_format"), what))
                .ok()
        });
        let passed = passed?;
        let action = action?;
        let of_targets = match &action {
            Action::Forward(forward) => forward.targets.all.as_slice(),
            _ => &[],
        };
        Some(Route {
            name: route.name.clone(),
            matcher: matcher?,
            share: route.share.map(|share| {
                let name = format!("route {path}");
                (self.config.seed.rule(&name), share.get())
            }),
            recalls: passed.filters.recalls()
                || of_targets
                    .iter()
                    .filter_map(|it| it.passed.as_ref())
                    .any(|passed| passed.filters.recalls())
                || body.as_ref().is_some_and(replies::Format::recalls)
                || levels
                    .iter()
                    .chain(of_targets.iter().filter_map(|it| it.level.as_ref()))
                    .any(|level| level.recalls),
            action,
            passed,
            levels,
            target_last: route.cluster_last,
            body,
        })
    }

    /// What requests pass; where nothing is said of filters or fault rules, the manager's.
    fn passed(
        &mut self,
        path: &str,
        filters: Option<&[config::Filter]>,
        faults: Option<&[fault::Rule]>,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Option<Passed> {
        let rules = faults.unwrap_or(&http.faults);
        let compiled = fault::Rules::compile(rules, self.config.seed)
            .map_err(|what| self.problem(format!("{path}.faults"), what))
            .ok();
        // Most routes say nothing of their own, and share the manager's.
        let filters = if filters.is_none() && faults.is_none() {
            Arc::clone(outer)
        } else {
            let list = filters.unwrap_or(&http.filters);
            self.filters(&format!("{path}.filters"), list, !rules.is_empty())
        };
        let rules = compiled?;
        Some(Passed {
            filters,
            faults: Faults {
                counters: Counters::new(&rules, &self.lasting.faults),
                at_request: rules.has(fault::Place::Request),
                at_attempt: rules.has(fault::Place::Attempt),
                rules,
            },
        })
    }

    fn filters(&mut self, path: &str, list: &[config::Filter], faults: bool) -> Arc<Filters> {
        let filters = Filters::compile(list, faults, &self.lasting.known, &mut self.cache);
        Arc::new(filters.unwrap_or_else(|(index, what)| {
            self.problem(format!("{path}[{index}]"), what);
            Filters::default()
        }))
    }

    fn forward(
        &mut self,
        path: &str,
        route: &config::Route,
        forward: &config::Forward,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Forward {
        let mut all = Vec::new();
        for (index, target) in forward.clusters.iter().enumerate() {
            // Names that nobody has were told by the check, where they are a mistake.
            let cluster = match &target.cluster {
                config::ClusterName::Fixed(name) => {
                    Choice::Fixed(self.clusters.get(name.as_str()).copied())
                }
                config::ClusterName::Header(name) => match HeaderName::try_from(name) {
                    Ok(name) => Choice::Header(name),
                    Err(_) => Choice::Fixed(None),
                },
            };
            let edits = target.edits.as_ref();
            let passed = target.filters.as_deref().and_then(|filters| {
                let path = format!("{path}.clusters[{index}]");
                self.passed(&path, Some(filters), target.faults.as_deref(), http, outer)
            });
            all.push(Target {
                passed: passed.map(Box::new),
                cluster,
                weight: target.weight,
                level: edits.and_then(|edits| self.cache.level(edits).ok()),
                host: target
                    .host_rewrite
                    .as_deref()
                    .and_then(|host| HeaderValue::from_str(host).ok()),
                metadata: Some(merged(&forward.metadata, &target.metadata))
                    .filter(|metadata| !metadata.is_empty()),
            });
        }
        if all.is_empty() {
            self.problem(format!("{path}.clusters"), "no cluster is named");
        }
        let weights = all.iter().map(|target| u64::from(target.weight));
        let targets = Targets {
            total: weights.sum(),
            all,
            choice: self.config.seed.rule(&format!("clusters {}", route.name)),
            choice_header: forward
                .choice_header
                .as_ref()
                .and_then(|name| HeaderName::try_from(name).ok()),
        };
        let mirrors = forward
            .mirrors
            .iter()
            .enumerate()
            .filter_map(|(at, mirror)| self.mirror(&format!("{path}.mirrors[{at}]"), mirror))
            .collect();
        Forward {
            priority: forward.priority,
            targets,
            not_found: StatusCode::from_u16(forward.not_found_status)
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            timeout: forward.timeout,
            timeout_ms: forward
                .timeout
                .and_then(|timeout| HeaderValue::from_str(&timeout.as_millis().to_string()).ok()),
            idle_timeout: forward.idle_timeout,
            sticky: sticky::Compiled::new(&forward.sticky).unwrap_or_else(|what| {
                self.problem(format!("{path}.sticky"), what);
                sticky::Compiled::default()
            }),
            attempt_count: forward.attempt_count,
            attempt_count_in_answer: forward.attempt_count_in_answer,
            tries: Box::new(
                Tries::compile(&forward.tries, |name| self.clusters.get(name).copied())
                    .unwrap_or_else(|what| {
                        self.problem(format!("{path}.tries"), what);
                        Tries::default()
                    }),
            ),
            path_rewrite: forward
                .path_rewrite
                .as_ref()
                .and_then(|it| CompiledPath::new(it, &route.matcher).ok()),
            host_rewrite: forward
                .host_rewrite
                .as_ref()
                .and_then(|it| CompiledHost::new(it).ok()),
            append_forwarded_host: forward.append_forwarded_host,
            redirects: forward.redirects.as_ref().and_then(|policy| {
                redirect::Compiled::new(policy)
                    .map_err(|what| self.problem(format!("{path}.redirects"), what))
                    .ok()
                    .map(Box::new)
            }),
            upgrades: forward.upgrades.clone(),
            mirrors,
        }
    }

    fn mirror(&mut self, path: &str, mirror: &mirror::Mirror) -> Option<usize> {
        let cluster = self.clusters.get(mirror.cluster.as_str()).copied();
        let choice = mirror::Compiled::new(mirror, self.config.seed)
            .map_err(|what| self.problem(path, what))
            .ok()?;
        let mut set = Vec::new();
        for (name, value) in &mirror.set_headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => set.push((name, value)),
                _ => self.problem(
                    format!("{path}.set_headers"),
                    format!("`{name}: {value}` is not a header"),
                ),
            }
        }
        let mut remove = Vec::new();
        for name in &mirror.remove_headers {
            match HeaderName::try_from(name) {
                Ok(name) => remove.push(name),
                Err(_) => self.problem(
                    format!("{path}.remove_headers"),
                    format!("`{name}` is not the name of a header"),
                ),
            }
        }
        let mutations = Mutations::new(&mirror.mutations)
            .map_err(|what| self.problem(path, what))
            .ok()?;
        self.mirrors.push(Arc::new(Mirror {
            id: mirror.id.as_str().into(),
            settings: mirror.clone(),
            choice,
            cluster: cluster.filter(|_| mirror.cluster_header.is_none()),
            cluster_header: mirror
                .cluster_header
                .as_ref()
                .and_then(|name| HeaderName::try_from(name).ok()),
            host: mirror
                .host
                .as_deref()
                .and_then(|host| HeaderValue::from_str(host).ok()),
            mutations,
            set,
            remove,
        }));
        Some(self.mirrors.len() - 1)
    }
}

/// The route of plain requests to a host that takes none.
fn to_tls() -> config::Route {
    config::Route {
        action: config::Action::Redirect {
            status: 301,
            to: Redirect {
                scheme: Some("https".to_owned()),
                ..Redirect::default()
            },
        },
        ..config::Route::default()
    }
}

/// What a route asks for, and what one of its clusters asks for besides, which counts more.
fn merged(route: &Metadata, target: &Metadata) -> Metadata {
    let mut merged = route.clone();
    merged.extend(target.clone());
    merged
}

/// An address on which a listener at `bound` can be reached from this machine.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
