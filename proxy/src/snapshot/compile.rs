//! Compiles a configuration; all problems are told at once.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::{Http, Lasting, Mirror, headers, tcp::Tcp};
use crate::{
    access_log::Logs,
    cluster,
    config::{self, Address, Config, Problem},
    net::{dial::Way, tls},
};

mod http;
mod listener;
mod route;

/// A configuration on its way to a [`Snapshot`](super::Snapshot).
pub(super) struct Compiler<'a> {
    pub(super) config: &'a Config,
    pub(super) bound: &'a [(Arc<str>, SocketAddr)],
    pub(super) lasting: &'a Lasting,
    pub(super) clusters: BTreeMap<&'a str, usize>,
    pub(super) http: Vec<Http>,
    pub(super) tcp: Vec<Tcp>,
    pub(super) mirrors: Vec<Arc<Mirror>>,
    pub(super) cache: headers::Cache,
    pub(super) problems: Vec<Problem>,
}

impl Compiler<'_> {
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

    pub(super) fn clusters(&mut self) -> Vec<Arc<cluster::Settings>> {
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
                sockets: cluster
                    .sockets
                    .iter()
                    .enumerate()
                    .map(|(socket, tls)| {
                        let path = format!("clusters[{index}].transport_socket_matches[{socket}]");
                        self.client_tls(&path, tls.as_ref())
                    })
                    .collect(),
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
            socket: endpoint.socket,
            health_port: endpoint.health_port,
            health_hostname: endpoint.health_hostname.clone(),
            health_unchecked: endpoint.health_unchecked,
        }))
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
