//! The way through our own proxy: clients connect to us, we to the primary, and copies leave beside.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy, StartError},
    config::{
        Address, Chain, Cluster, Config, Direction, Endpoint, Except, Forward, HttpManager,
        Inspect, Inspector, Late, Listener as Port, Place, TcpProxy, tls,
    },
    observe::Observer,
    policy::{
        breaker::{Limits, Thresholds},
        protocol::Upstream,
        retry::Limit,
    },
};

use super::{LIVE, ends::Ends};
use crate::{
    measure::CLIENT,
    run::{Failure, chain, mesh},
    scenario::{Backing, Scenario},
};

/// Name of the listener and of the primary's cluster.
const NAME: &str = "mirror";

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Upstream connections are kept so long without a request: less than servers commonly wait before they close.
const UPSTREAM_IDLE: Duration = Duration::from_mins(1);

/// When a client of a port that is taken over has said nothing within this, the server is connected to as well: it may be who
/// speaks first, and is delayed by as much. Until one of them speaks, nothing is decided: a client that opens its connections
/// before it needs them is mirrored all the same.
const SPEAKS_WITHIN: Duration = Duration::from_secs(1);

/// The count of connections that were passed on unread.
const UNREAD: &str = "envoy_tcp_downstream_cx_total{";

/// A proxy in front of the primary.
#[derive(Debug)]
pub struct Listener {
    proxy: Handle,
    bound: SocketAddr,
    listen: SocketAddr,
    ends: Ends,
    mark: Option<u32>,
}

impl Listener {
    /// Listens, and tells the observer of what passes.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(
        scenario: &Scenario,
        listen: SocketAddr,
        ends: Ends,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, Failure> {
        Self::marked(scenario, listen, ends, None, observer)
    }

    /// The same, with the firewall's mark on all connections that it makes.
    pub(super) fn marked(
        scenario: &Scenario,
        listen: SocketAddr,
        ends: Ends,
        mark: Option<u32>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, Failure> {
        let deps = Deps {
            observer,
            workers: scenario.workers,
            ..Deps::default()
        };
        let proxy =
            Proxy::start(config(scenario, listen, &ends, mark), deps).map_err(
                |error| match error {
                    StartError::Bind { address, cause, .. } => {
                        Failure::Environment(format!("cannot listen at {address}: {cause}"))
                    }
                    other => Failure::Environment(chain(&other)),
                },
            )?;
        let bound = proxy.address(NAME).unwrap_or(listen);
        Ok(Self {
            proxy,
            bound,
            listen,
            ends,
            mark,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.bound
    }

    pub(super) fn reload(&self, scenario: &Scenario) -> Result<(), String> {
        self.proxy
            .publish(config(scenario, self.listen, &self.ends, self.mark))
            .map_err(|problems| {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                problems.join("; ")
            })
    }

    /// Clients go elsewhere with their next request; none is cut off.
    pub(super) fn leave(&self) {
        self.proxy.leave();
    }

    /// Connections that were passed on unread, since they were seen not to begin with HTTP.
    pub(super) fn unread(&self) -> u64 {
        let text = self.proxy.metrics();
        let rows = text.lines().filter(|row| row.starts_with(UNREAD));
        rows.filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    pub(super) fn drain(&self, within: Duration) -> bool {
        self.proxy.drain(within)
    }
}

/// What the proxy does. Pure.
fn config(scenario: &Scenario, listen: SocketAddr, ends: &Ends, mark: Option<u32>) -> Config {
    let mut clusters = Vec::new();
    let service = scenario.services.first();
    let h2 = service.is_some_and(|service| service.protocol.is_h2());
    let spoken = |tls: &Option<tls::Client>| match (h2, &ends.clients, tls) {
        (true, ..) => Upstream::Http2,
        (false, None, _) => Upstream::Downstream,
        // Clients choose HTTP/2 because we offer it; who is behind us may know HTTP/1.1 alone.
        (false, Some(_), Some(_)) => Upstream::Alpn,
        (false, Some(_), None) => Upstream::Http1,
    };
    if let Some(service) = service {
        clusters.push(Cluster {
            protocol: spoken(&ends.primary),
            mark,
            tls: ends.primary.clone(),
            ..cluster(NAME, &service.backing)
        });
    }
    let mut forward = Forward::to(NAME.to_owned());
    // The primary answers when it answers; that is between it and its clients.
    forward.timeout = None;
    for (shadow, side) in scenario.shadows.iter().zip(1_u8..) {
        let name = format!("shadow:{}", shadow.id);
        let tls = ends.shadows.get(&shadow.id).cloned();
        clusters.push(Cluster {
            protocol: spoken(&tls),
            mark,
            tls,
            ..cluster(&name, &shadow.backing)
        });
        forward.mirrors.push(mesh::mirror(shadow, side, name));
    }
    let manager = HttpManager {
        // What the primary sees with us is what it sees without.
        generate_request_id: false,
        preserve_request_id: true,
        stream_idle_timeout: None,
        ..mesh::manager(NAME.to_owned(), forward, Vec::new())
    };
    let mut port = Port {
        place: Some(Place {
            caller: CLIENT.into(),
            service: LIVE.into(),
            direction: Direction::Outbound,
        }),
        ..Port::http(NAME, listen, manager)
    };
    for chain in &mut port.chains {
        chain.tls.clone_from(&ends.clients);
    }
    if mark.is_some() {
        pass_on_what_is_not_http(&mut port);
    }
    Config {
        seed: scenario.seed,
        run: None,
        listeners: vec![port],
        clusters,
        admin: None,
    }
}

/// Whose port is taken over may speak anything: TLS, another protocol, one in which the server speaks first. That is passed
/// on byte by byte, as if we were not there.
fn pass_on_what_is_not_http(port: &mut Port) {
    let tls = Inspector::Tls {
        most: Inspector::LONGEST_HELLO,
    };
    port.inspect = Inspect {
        filters: [tls, Inspector::Http]
            .map(|look| (look, Except::Never))
            .into(),
        timeout: Some(SPEAKS_WITHIN),
        late: Late::Attend,
    };
    for chain in &mut port.chains {
        chain.matches.application_protocols =
            ["http/1.1", "http/1.0", "h2c"].map(str::to_owned).into();
        // The protocols that a client offers in TLS have the same names.
        chain.matches.transport_protocol = Some("raw_buffer".to_owned());
    }
    port.default_chain = Some(Chain::tcp(TcpProxy {
        stat_prefix: NAME.to_owned(),
        idle_timeout: None,
        ..TcpProxy::to(NAME)
    }));
}

/// A cluster without limits of its own: clients are as many as they are.
fn cluster(name: &str, backing: &Backing) -> Cluster {
    Cluster {
        name: name.into(),
        endpoints: backing
            .addresses()
            .iter()
            .map(|address| Endpoint::at(Address::Socket(*address)))
            .collect(),
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: Some(UPSTREAM_IDLE),
        limits: Limits {
            default: Thresholds {
                connections: u32::MAX,
                pending: u32::MAX,
                requests: u32::MAX,
                retries: Limit::Most(u32::MAX),
            },
            ..Limits::default()
        },
        ..Cluster::default()
    }
}
