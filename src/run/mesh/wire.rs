//! Bytes on their way from a caller to its sidecar. Where a fault breaks connections, or nobody is to look into them, they
//! are passed on by a listener of their own, which bears the name and the port that the caller knows:
//!
//! ```text
//! client ──► out:client>shop (bytes, connections break here) ──► via:client>shop (requests, as without it) ──► in:shop
//! ```

use std::net::SocketAddr;

use meshbed_proxy::{
    config::{Address, Cluster, Endpoint, Listener, TcpProxy},
    policy::{
        breaker::Limits,
        fault::tcp::{Rule, Select},
    },
};

use super::{CONNECT_TIMEOUT, Caller, Switch, UNBOUNDED, Wiring, any_port};
use crate::{
    event::Id,
    measure::CLIENT,
    plan,
    scenario::{Fault, FaultKind, Scenario, protocol_of},
};

/// Name of the listener behind the one that bytes come to.
pub(super) fn via(outbound: &str) -> String {
    outbound.replacen("out:", "via:", 1)
}

/// The faults that this caller meets on its way to this service.
pub(super) fn meeting<'a>(
    scenario: &'a Scenario,
    caller: &'a str,
    peer: &'a Id,
) -> impl Iterator<Item = &'a Fault> {
    scenario.faults.iter().filter(move |fault| {
        fault.target == *peer && fault.from.as_deref().is_none_or(|from| from == caller)
    })
}

/// What becomes of a caller's listener for requests: where connections break, another stands before it.
pub(super) fn before(
    scenario: &Scenario,
    wiring: &Wiring,
    caller: Caller<'_>,
    peer: &Id,
    requests: Listener,
) -> (Vec<Listener>, Option<Cluster>) {
    // The sidecars pass on bytes, and see no requests.
    let opaque = !protocol_of(&scenario.services, peer).is_http();
    let breaks = |fault: &&Fault| matches!(fault.kind, FaultKind::Connection(..));
    let faults: Vec<&Fault> = meeting(scenario, caller.id, peer).filter(breaks).collect();
    if faults.is_empty() && !opaque {
        return (vec![requests], None);
    }
    let name = requests.name.to_string();
    let behind = via(&name);
    let to = if opaque {
        format!("in:{peer}")
    } else {
        behind.clone()
    };
    let rules = faults
        .into_iter()
        .filter_map(|fault| rule(fault, caller.id, wiring));
    let front = Listener {
        place: requests.place.clone(),
        freebind: requests.freebind,
        ..Listener::tcp(
            name.as_str(),
            requests.address,
            TcpProxy {
                stat_prefix: name.clone(),
                // What is behind it has its own.
                idle_timeout: None,
                faults: rules.collect(),
                live: true,
                numbered: caller.id == CLIENT,
                ..TcpProxy::to(to)
            },
        )
    };
    if opaque {
        return (vec![front], None);
    }
    let address = Address::Listener(behind.as_str().into());
    let cluster = Cluster {
        name: behind.as_str().into(),
        endpoints: vec![Endpoint::at(address)],
        connect_timeout: CONNECT_TIMEOUT,
        limits: Limits {
            default: UNBOUNDED,
            ..Limits::default()
        },
        ..Cluster::default()
    };
    let requests = Listener {
        name: behind.into(),
        address: any_port(),
        ..requests
    };
    (vec![front, requests], Some(cluster))
}

/// A service's own sidecar, where it passes on bytes.
pub(super) fn inbound(name: &str, to: String, address: SocketAddr) -> Listener {
    Listener::tcp(
        name,
        address,
        TcpProxy {
            stat_prefix: name.to_owned(),
            ..TcpProxy::to(to)
        },
    )
}

/// A fault at one caller's sidecar; `None`: it is off now.
fn rule(fault: &Fault, caller: &str, wiring: &Wiring) -> Option<Rule> {
    let FaultKind::Connection(kind, direction) = &fault.kind else {
        return None;
    };
    let (name, select) = choice(fault, caller, wiring)?;
    Some(Rule {
        id: fault.id.clone(),
        name,
        select,
        direction: *direction,
        kind: kind.clone(),
    })
}

/// What names a fault's draws, and which connections it chooses; `None`: it is off now.
pub(super) fn choice(fault: &Fault, caller: &str, wiring: &Wiring) -> Option<(String, Select)> {
    let on = match wiring.switches.get(&fault.id).copied().unwrap_or_default() {
        Switch::Off => false,
        Switch::On => true,
        Switch::Timeline => wiring.live.contains(&fault.id),
    };
    let numbers = wiring.numbers.get(&fault.id).filter(|_| caller == CLIENT);
    on.then(|| plan::connection_choice(fault, caller, numbers.cloned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshbed_proxy::{
        config::{Config, Serve},
        policy::fault::tcp::{self, Direction},
    };

    use super::*;
    use crate::{
        run::{fixture, mesh},
        scenario::Protocol,
    };

    /// The fixture, whose `cart` has a fault of connections.
    fn scenario() -> Scenario {
        let mut scenario = fixture::scenario();
        scenario.faults[0].target = "cart".into();
        scenario.faults[0].kind =
            FaultKind::Connection(tcp::Fault::Reset(Duration::ZERO), Direction::Both);
        scenario
    }

    fn proxy<'a>(config: &'a Config, listener: &str) -> Option<&'a TcpProxy> {
        let mut listeners = config.listeners.iter();
        let found = listeners.find(|it| &*it.name == listener).unwrap();
        match &found.chains[0].serve {
            Serve::Tcp(proxy) => Some(proxy),
            Serve::Http(_) => None,
        }
    }

    #[test]
    fn connections_break_before_the_sidecar_sees_requests() {
        let scenario = scenario();
        let mut wiring = Wiring {
            endpoints: fixture::endpoints(),
            ..Wiring::default()
        };
        let off = mesh::config(&scenario, &wiring);
        assert_eq!(off.check(), Vec::new());
        let before = proxy(&off, "out:shop>cart").unwrap();
        assert_eq!(before.clusters, [("via:shop>cart".to_owned(), 1)]);
        assert!(before.live && !before.numbered && before.faults.is_empty());
        assert!(proxy(&off, "via:shop>cart").is_none());
        // Nothing breaks here.
        assert!(proxy(&off, "out:client>shop").is_none());

        wiring.live.insert(scenario.faults[0].id.clone());
        let on = mesh::config(&scenario, &wiring);
        let rule = &proxy(&on, "out:shop>cart").unwrap().faults[0];
        assert_eq!(rule.name, format!("{}@shop>cart", scenario.faults[0].id));
        assert!(matches!(rule.select, Select::Share(_)));
        // Listeners and their places are the same, so that one can be published in place of the other.
        let names = |config: &Config| -> Vec<_> {
            let listeners = config.listeners.iter();
            listeners.map(|it| (it.name.clone(), it.address)).collect()
        };
        assert_eq!(names(&off), names(&on));

        wiring
            .switches
            .insert(scenario.faults[0].id.clone(), Switch::Off);
        let stopped = mesh::config(&scenario, &wiring);
        assert!(proxy(&stopped, "out:shop>cart").unwrap().faults.is_empty());
    }

    #[test]
    fn of_a_service_that_speaks_no_http_only_bytes_are_seen() {
        let mut scenario = fixture::scenario();
        scenario.faults.clear();
        let payments = scenario.services.iter_mut();
        for service in payments.filter(|it| &*it.id == "payments") {
            service.protocol = Protocol::Tcp;
        }
        let config = mesh::config(
            &scenario,
            &Wiring {
                endpoints: fixture::endpoints(),
                ..Wiring::default()
            },
        );
        assert_eq!(config.check(), Vec::new());
        let out = proxy(&config, "out:shop>payments").unwrap();
        assert_eq!(out.clusters, [("in:payments".to_owned(), 1)]);
        let inward = proxy(&config, "in:payments").unwrap();
        assert_eq!(inward.clusters, [("at:payments".to_owned(), 1)]);
    }
}
