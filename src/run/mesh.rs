//! What the sidecars do: a scenario in, the proxies' configuration out. Pure.
//!
//! ```text
//!  client ──► out:client>shop ──► in:shop ──► shop ──► out:shop>cart ──► in:cart ──► cart
//!                    └ copies ──► in:~candidate ──► candidate ──► out:~candidate>cart ──► in:cart
//! ```
//!
//! Everything that a caller decides (faults, mirrors, timeouts) sits at its outbound listener, as in Envoy. A shadow has
//! sidecars of its own, named `~id`, which speak for the service that it stands beside: they have its place, and their
//! requests bear the shadow's side.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use meshbed_proxy::{
    config::{
        Action, Address, Cluster, Config, Direction, Endpoint, Filter, Forward, HttpManager,
        Listener, Place, RateLimit, Route, VirtualHost, tls,
    },
    policy::{
        breaker::{Limits, Thresholds},
        fault::Rule,
        mirror::Mirror,
        protocol::Upstream,
        rate_limit,
        retry::Limit,
    },
    unit::Share,
};

use crate::{
    event::Id,
    measure::CLIENT,
    plan,
    scenario::{Backing, Fault, Scenario, Select, Shadow},
};

mod trust;
mod wire;

pub use trust::Trust;

/// The caller of an inbound sidecar, which serves all callers; not a service's id.
pub const ANYONE: &str = "*";

/// Envoy's connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Envoy's idle timeout of upstream connections.
const UPSTREAM_IDLE: Duration = Duration::from_hours(1);

/// No limits.
const UNBOUNDED: Thresholds = Thresholds {
    connections: u32::MAX,
    pending: u32::MAX,
    requests: u32::MAX,
    retries: Limit::Most(u32::MAX),
};

/// A service or a shadow: something that runs and has sidecars.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// The shadow, if it is one.
    pub shadow: Option<(&'a Shadow, u8)>,
    /// The service that it is, or stands beside.
    pub service: &'a crate::scenario::Service,
}

impl<'a> Party<'a> {
    /// Its name, unlike any other's: a service's id, or `~` and a shadow's.
    pub fn label(&self) -> String {
        match self.shadow {
            Some((shadow, _)) => format!("~{}", shadow.id),
            None => self.service.id.to_string(),
        }
    }

    /// What runs it.
    pub fn backing(&self) -> &'a Backing {
        match self.shadow {
            Some((shadow, _)) => &shadow.backing,
            None => &self.service.backing,
        }
    }

    /// Name of its sidecar's listener for calls to it.
    pub fn inbound(&self) -> String {
        format!("in:{}", self.label())
    }

    /// Name of its sidecar's listener for its calls to a peer.
    pub fn outbound(&self, peer: &str) -> String {
        format!("out:{}>{peer}", self.label())
    }
}

/// Name of the generator's listener for a driven service.
pub fn entrance(service: &str) -> String {
    format!("out:{CLIENT}>{service}")
}

/// All that runs: services in file order, then shadows.
pub fn parties(scenario: &Scenario) -> Vec<Party<'_>> {
    let services = scenario.services.iter().map(|service| Party {
        shadow: None,
        service,
    });
    let shadows = scenario
        .shadows
        .iter()
        .zip(1_u8..)
        .filter_map(|(shadow, side)| {
            let service = scenario.service(&shadow.of)?;
            Some(Party {
                shadow: Some((shadow, side)),
                service,
            })
        });
    services.chain(shadows).collect()
}

/// The services that traffic drives, each once.
pub fn driven(scenario: &Scenario) -> Vec<&Id> {
    let mut driven: Vec<&Id> = Vec::new();
    for source in &scenario.traffic {
        if !driven.contains(&&source.to) {
            driven.push(&source.to);
        }
    }
    driven
}

/// The side of every listener that belongs to a shadow, by the listener's name.
pub fn sides(scenario: &Scenario) -> BTreeMap<String, u8> {
    let mut sides = BTreeMap::new();
    for party in parties(scenario) {
        if let Some((_, side)) = party.shadow {
            sides.insert(party.inbound(), side);
            for (peer, _) in &party.service.calls {
                sides.insert(wire::via(&party.outbound(peer)), side);
                sides.insert(party.outbound(peer), side);
            }
        }
    }
    sides
}

/// Whether a fault chooses by the order of arrival at some caller, which no seed fixes: it counts requests, or chooses
/// connections, that are not the schedule's own.
pub fn counts_arrivals(scenario: &Scenario, fault: &Fault) -> bool {
    (fault.kind.is_of_connections() || matches!(fault.select, Select::First(_) | Select::Every(_)))
        && plan::callers(scenario, fault)
            .iter()
            .any(|caller| &**caller != CLIENT)
}

/// What a fault's switch stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// As the timeline says: requests that are due within its windows meet it.
    #[default]
    Timeline,
    /// Every request meets it, from now on.
    On,
    /// No request meets it, from now on.
    Off,
}

/// What the configuration depends on beside the scenario.
#[derive(Debug, Clone, Default)]
pub struct Wiring {
    /// The run's number in trace ids.
    pub run: u64,
    /// Where each party listens, by label.
    pub endpoints: BTreeMap<String, Vec<SocketAddr>>,
    /// The requests that `first` and `every` choose among the generator's, by fault.
    pub ordinals: BTreeMap<Id, Arc<[u64]>>,
    /// The connections that `first` and `every` choose among the generator's, by fault.
    pub numbers: BTreeMap<Id, Arc<[u64]>>,
    /// The faults of connections that are on by the timeline: they go by the clock.
    pub live: BTreeSet<Id>,
    /// The certificates of services that are spoken to over TLS.
    pub trust: Trust,
    /// How parties are spoken to that speak TLS themselves, whatever their callers speak; by label.
    pub ends: BTreeMap<String, tls::Client>,
    /// The switches that do not stand at the timeline.
    pub switches: BTreeMap<Id, Switch>,
    /// This machine's address on the containers' network, where their sidecars listen for their calls.
    pub gateway: Option<IpAddr>,
}

/// The configuration of all sidecars. Names of listeners and clusters depend on the scenario alone, so one made with other
/// switches can be published in place of it.
pub fn config(scenario: &Scenario, wiring: &Wiring) -> Config {
    let mut listeners = Vec::new();
    let mut clusters = Vec::new();
    for service in driven(scenario) {
        let caller = Caller {
            id: CLIENT,
            mirrors: true,
        };
        let requests = outbound(scenario, wiring, caller, entrance(service), service, None);
        let (own, cluster) = wire::before(scenario, wiring, caller, service, requests);
        listeners.extend(own);
        clusters.extend(cluster);
    }
    for party in parties(scenario) {
        let label = party.label();
        listeners.push(inbound(&party));
        for (peer, port) in &party.service.calls {
            let caller = Caller {
                id: &party.service.id,
                mirrors: party.shadow.is_none(),
            };
            // A shadow stands beside the service that may have asked for a fixed port.
            let port = port.filter(|_| party.shadow.is_none());
            let gateway = match party.backing() {
                Backing::Container(_) => wiring.gateway.map(|gateway| SocketAddr::new(gateway, 0)),
                _ => None,
            };
            let port = port.or(gateway);
            let requests = outbound(scenario, wiring, caller, party.outbound(peer), peer, port);
            let (own, cluster) = wire::before(scenario, wiring, caller, peer, requests);
            listeners.extend(own);
            clusters.extend(cluster);
        }
        let endpoints = wiring.endpoints.get(&label).into_iter().flatten();
        let policy = &party.service.policy;
        let replicas = cluster(
            &party,
            behind(&label),
            endpoints.map(|address| Address::Socket(*address)).collect(),
        );
        let end = wiring.ends.get(&label);
        clusters.push(Cluster {
            // It says in the handshake what it speaks, unless that is known.
            protocol: match end {
                Some(_) if replicas.protocol != Upstream::Http2 => Upstream::Alpn,
                _ => replicas.protocol,
            },
            balance: policy.balance.clone(),
            outlier: policy.outlier,
            health: policy.health.iter().cloned().collect(),
            tls: end.cloned().or_else(|| {
                trust::begin(party.service.protocol, party.backing(), &party.service.id)
            }),
            // Its callers' sidecars keep the limits.
            limits: Limits {
                default: UNBOUNDED,
                ..Limits::default()
            },
            ..replicas
        });
        let sidecar = vec![Address::Listener(party.inbound().into())];
        clusters.push(Cluster {
            limits: Limits {
                default: policy.limits,
                ..Limits::default()
            },
            ..cluster(&party, party.inbound(), sidecar)
        });
    }
    Config {
        seed: scenario.seed,
        run: Some(wiring.run),
        listeners,
        clusters,
        admin: None,
    }
}

/// Whose outbound listener it is.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    id: &'a str,
    /// Its calls are mirrored; those of a shadow are not.
    mirrors: bool,
}

/// Name of the cluster that holds a party's own endpoints.
fn behind(label: &str) -> String {
    format!("at:{label}")
}

fn outbound(
    scenario: &Scenario,
    wiring: &Wiring,
    caller: Caller<'_>,
    name: String,
    peer: &Id,
    port: Option<SocketAddr>,
) -> Listener {
    let mut forward = Forward::to(format!("in:{peer}"));
    if let Some(service) = scenario.service(peer) {
        forward.timeout = service.policy.timeout;
        forward.tries.retry.clone_from(&service.policy.retry);
    }
    if caller.mirrors {
        forward.mirrors = scenario
            .shadows
            .iter()
            .zip(1_u8..)
            .filter(|(shadow, _)| shadow.of == *peer)
            .map(|(shadow, side)| mirror(shadow, side, format!("in:~{}", shadow.id)))
            .collect();
    }
    let faults = wire::meeting(scenario, caller.id, peer)
        .filter_map(|fault| rule(fault, caller.id, wiring))
        .collect();
    let mut listener = Listener::http(
        Arc::from(name.as_str()),
        port.unwrap_or(any_port()),
        manager(name, forward, faults),
    );
    for chain in &mut listener.chains {
        trust::end(scenario, wiring, caller, peer, chain);
    }
    Listener {
        place: Some(Place {
            caller: caller.id.into(),
            service: peer.clone(),
            direction: Direction::Outbound,
        }),
        // Podman gives the gateway its address when the first container starts.
        freebind: port.is_some_and(|port| Some(port.ip()) == wiring.gateway),
        ..listener
    }
}

/// The service that a cluster leads to, where it is not a shadow's.
pub fn service_of(cluster: &str) -> Option<&str> {
    let label = cluster
        .strip_prefix("at:")
        .or(cluster.strip_prefix("in:"))?;
    (!label.starts_with('~')).then_some(label)
}

fn inbound(party: &Party<'_>) -> Listener {
    let mut forward = Forward::to(behind(&party.label()));
    // The caller's sidecar decides how long it waits.
    forward.timeout = None;
    let policy = &party.service.policy;
    forward.sticky.clone_from(&policy.sticky);
    let mut manager = manager(party.inbound(), forward, Vec::new());
    manager.filters.extend(policy.rate_limit.map(|fill| {
        Filter::RateLimit(Box::new(RateLimit {
            name: party.label(),
            settings: rate_limit::Settings {
                stat_prefix: party.label(),
                fill: Some(fill),
                enabled: Share::ALL,
                enforced: Share::ALL,
                ..rate_limit::Settings::default()
            },
            ..RateLimit::default()
        }))
    }));
    let listener = if party.service.protocol.is_http() {
        Listener::http(party.inbound(), any_port(), manager)
    } else {
        wire::inbound(&party.inbound(), behind(&party.label()), any_port())
    };
    Listener {
        place: Some(Place {
            caller: ANYONE.into(),
            service: party.service.id.clone(),
            direction: Direction::Inbound,
        }),
        ..listener
    }
}

/// A sidecar is as transparent as it can be: it adds no header of its own but the request id.
pub(crate) fn manager(name: String, forward: Forward, faults: Vec<Rule>) -> HttpManager {
    HttpManager {
        stat_prefix: name.clone(),
        server_name: None,
        virtual_hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                name,
                action: Action::Forward(forward),
                ..Route::default()
            }],
            ..VirtualHost::default()
        }],
        upgrades: vec!["websocket".to_owned()],
        accept_http_10: true,
        faults,
        ..HttpManager::default()
    }
}

fn cluster(party: &Party<'_>, name: String, addresses: Vec<Address>) -> Cluster {
    let h2 = party.service.protocol.is_h2();
    Cluster {
        protocol: if h2 {
            Upstream::Http2
        } else {
            Upstream::default()
        },
        name: name.into(),
        endpoints: addresses.into_iter().map(Endpoint::at).collect(),
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: Some(UPSTREAM_IDLE),
        ..Cluster::default()
    }
}

/// What the sidecars of a shadowed service's callers do for a shadow, whose copies go to this cluster.
pub(crate) fn mirror(shadow: &Shadow, side: u8, cluster: String) -> Mirror {
    Mirror {
        id: shadow.id.to_string(),
        side,
        cluster,
        matcher: shadow.matcher.clone(),
        safe_only: shadow.safe_only,
        share: shadow.percent,
        key: shadow.key.clone(),
        set_headers: shadow.set.clone(),
        remove_headers: shadow.remove.clone(),
        limits: shadow.limits.clone(),
        compare: true,
        // The shadow must see the host that the primary sees, or its answers differ for that alone.
        ..Mirror::default()
    }
}

/// A fault at one caller's sidecar; `None`: it is switched off.
fn rule(fault: &Fault, caller: &str, wiring: &Wiring) -> Option<Rule> {
    match wiring.switches.get(&fault.id).copied().unwrap_or_default() {
        Switch::Off => None,
        Switch::On => Some(Rule {
            windows: Vec::new(),
            ..plan::rule(fault, caller, None)?
        }),
        // A fault without windows would be on all the time where the timeline never has it on.
        Switch::Timeline if fault.windows.is_empty() => None,
        Switch::Timeline => {
            let planned = wiring.ordinals.get(&fault.id).filter(|_| caller == CLIENT);
            plan::rule(fault, caller, planned.cloned())
        }
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

#[cfg(test)]
mod tests {
    use meshbed_proxy::{
        policy::fault::{Select as ProxySelect, Window},
        unit::Share,
    };

    use super::*;
    use crate::run::fixture;

    fn wiring() -> Wiring {
        Wiring {
            run: 1,
            endpoints: fixture::endpoints(),
            ..Wiring::default()
        }
    }

    fn listener<'a>(config: &'a Config, name: &str) -> &'a Listener {
        config
            .listeners
            .iter()
            .find(|listener| &*listener.name == name)
            .unwrap_or_else(|| panic!("{name} is not among the listeners"))
    }

    fn forward(listener: &Listener) -> &Forward {
        match &listener.manager().unwrap().virtual_hosts[0].routes[0].action {
            Action::Forward(forward) => forward,
            _ => panic!("{} does not forward", listener.name),
        }
    }

    #[test]
    fn a_call_passes_the_callers_sidecar_then_the_callees() {
        let config = config(&fixture::scenario(), &wiring());
        assert_eq!(config.check(), Vec::new());
        let names: Vec<&str> = config.listeners.iter().map(|one| &*one.name).collect();
        assert_eq!(
            names,
            [
                "out:client>shop",
                "in:shop",
                "out:shop>catalog",
                "out:shop>cart",
                "out:shop>payments",
                "in:catalog",
                "in:cart",
                "out:cart>catalog",
                "in:payments",
                "in:~candidate",
                "out:~candidate>catalog",
            ]
        );
        let cluster_of = |name: &str| {
            let forward = forward(listener(&config, name));
            let wanted = forward.clusters[0].name().unwrap();
            let cluster = config
                .clusters
                .iter()
                .find(|one| *one.name == *wanted)
                .unwrap();
            cluster.endpoints[0].address.clone()
        };
        assert_eq!(
            cluster_of("out:~candidate>catalog"),
            Address::Listener("in:catalog".into())
        );
        assert_eq!(
            cluster_of("in:~candidate"),
            Address::Socket(([127, 0, 0, 1], 9004).into())
        );
    }

    #[test]
    fn what_a_caller_decides_sits_at_its_outbound_listener() {
        let config = config(&fixture::scenario(), &wiring());
        for listener in &config.listeners {
            let is_to_cart = listener.name.starts_with("out:") && listener.name.ends_with(">cart");
            assert_eq!(
                !listener.manager().unwrap().faults.is_empty(),
                is_to_cart,
                "{}",
                listener.name
            );
            assert_eq!(
                !forward(listener).mirrors.is_empty(),
                is_to_cart,
                "{}",
                listener.name
            );
            let timeout = listener
                .name
                .starts_with("out:")
                .then_some(Duration::from_secs(2));
            assert_eq!(forward(listener).timeout, timeout, "{}", listener.name);
        }
        let to_cart = listener(&config, "out:shop>cart");
        assert_eq!(
            to_cart.manager().unwrap().faults[0].name,
            "slow-cart@shop>cart"
        );
        assert_eq!(
            to_cart.manager().unwrap().faults[0].windows,
            [Window {
                begin_ms: 2_000,
                end_ms: 4_000
            }]
        );
        assert_eq!(forward(to_cart).mirrors[0].side, 1);
    }

    #[test]
    fn a_shadow_speaks_for_its_service_and_is_not_mirrored_itself() {
        let mut scenario = fixture::scenario();
        scenario.faults[0].target = "catalog".into();
        let mut of_catalog = scenario.shadows[0].clone();
        of_catalog.id = "other".into();
        of_catalog.of = "catalog".into();
        scenario.shadows.push(of_catalog);
        let config = config(&scenario, &wiring());

        let its_call = listener(&config, "out:~candidate>catalog");
        assert_eq!(&*its_call.place.as_ref().unwrap().caller, "cart");
        assert_eq!(
            its_call.manager().unwrap().faults[0].name,
            "slow-cart@cart>catalog"
        );
        assert!(forward(its_call).mirrors.is_empty());
        assert_eq!(
            forward(listener(&config, "out:cart>catalog")).mirrors.len(),
            1
        );
        assert_eq!(sides(&scenario)["out:~candidate>catalog"], 1);
        assert_eq!(sides(&scenario)["in:~other"], 2);
    }

    #[test]
    fn from_names_the_only_caller_that_meets_a_fault() {
        let mut scenario = fixture::scenario();
        scenario.services[1].calls.push(("cart".into(), None));
        assert_eq!(
            plan::callers(&scenario, &scenario.faults[0]),
            [Id::from("shop"), Id::from("catalog")]
        );
        scenario.faults[0].from = Some("catalog".into());
        assert_eq!(
            plan::callers(&scenario, &scenario.faults[0]),
            [Id::from("catalog")]
        );
        let config = config(&scenario, &wiring());
        assert!(
            listener(&config, "out:shop>cart")
                .manager()
                .unwrap()
                .faults
                .is_empty()
        );
        assert_eq!(
            listener(&config, "out:catalog>cart")
                .manager()
                .unwrap()
                .faults
                .len(),
            1
        );
    }

    #[test]
    fn a_switch_moves_a_fault_at_once_and_nothing_else() {
        let scenario = fixture::scenario();
        let base = config(&scenario, &wiring());
        let with = |switch| {
            let mut wiring = wiring();
            wiring.switches.insert("slow-cart".into(), switch);
            config(&scenario, &wiring)
        };
        let off = with(Switch::Off);
        assert!(
            listener(&off, "out:shop>cart")
                .manager()
                .unwrap()
                .faults
                .is_empty()
        );
        let on = with(Switch::On);
        assert!(
            listener(&on, "out:shop>cart").manager().unwrap().faults[0]
                .windows
                .is_empty()
        );
        assert_eq!(with(Switch::Timeline), base);
        assert_eq!(off.clusters, base.clusters);
    }

    #[test]
    fn the_generators_first_requests_are_those_of_the_plan() {
        let mut scenario = fixture::scenario();
        scenario.faults[0].target = "shop".into();
        scenario.faults[0].select = Select::First(3);
        let mut wiring = wiring();
        wiring
            .ordinals
            .insert("slow-cart".into(), Arc::from([100_u64, 101, 102]));
        let config = config(&scenario, &wiring);
        let rule = &listener(&config, "out:client>shop")
            .manager()
            .unwrap()
            .faults[0];
        assert_eq!(
            rule.select,
            ProxySelect::Ordinals(Arc::from([100_u64, 101, 102]))
        );
        assert_eq!(rule.name, "slow-cart@client>shop");
        assert_ne!(rule.select, ProxySelect::Share(Share::ALL));
    }
}
