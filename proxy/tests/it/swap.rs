//! The configuration is swapped under load, chains and all, and nobody notices.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use meshbed_proxy::{
    config::{Action, Chain, Config, HttpManager},
    policy::{chain::Match, cidr::Cidr},
};

use crate::support::{Wire, cluster, config, echo, start_with};

const SWAPS: u32 = 1_000;

/// A different configuration for each round: what is answered or where it goes, which chains there are and in which order,
/// and what else is configured.
fn round(number: u32, up: SocketAddr, address: SocketAddr) -> Config {
    let mut config = config(up);
    let mut manager = config.listeners[0].manager().cloned().unwrap();
    if number % 3 == 1 {
        manager.virtual_hosts[0].routes[0].action = Action::Respond {
            status: 200,
            body: format!("round {number}"),
        };
    }
    let listener = &mut config.listeners[0];
    listener.address = address;
    listener.chains = match number % 4 {
        0 => vec![Chain::http(manager)],
        1 => vec![from("127.0.0.9", &manager), from("127.0.0.1", &manager)],
        2 => vec![from("127.0.0.1", &manager), from("127.0.0.9", &manager)],
        _ => {
            listener.default_chain = Some(Chain::http(manager));
            Vec::new()
        }
    };
    // Pools come and go.
    config
        .clusters
        .push(cluster(&format!("other-{}", number % 7), &[up]));
    config
}

fn from(source: &str, manager: &HttpManager) -> Chain {
    Chain {
        matches: Match {
            sources: vec![Cidr::new(source.parse().unwrap(), 32)],
            ..Match::default()
        },
        ..Chain::http(manager.clone())
    }
}

#[test]
fn a_thousand_swaps_fail_no_request() {
    let up = echo();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Arc::new(start_with(round(0, up, any), 2));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (address, stop) = (proxy.address, Arc::clone(&stop));
            let served = Arc::clone(&served);
            // Half of them keep their connection for as long as they may; the others have a new one for each request.
            let keeps = number % 2 == 0;
            thread::spawn(move || {
                let (mut requests, mut connections) = (0_u32, 0_u32);
                let mut kept: Option<Wire> = None;
                while !stop.load(Ordering::Relaxed) {
                    let mut wire = kept.take().unwrap_or_else(|| {
                        connections += 1;
                        Wire::connect(address)
                    });
                    wire.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
                    let answer = wire.message().unwrap();
                    assert_eq!(answer.status(), 200);
                    requests += 1;
                    served.fetch_add(1, Ordering::Relaxed);
                    if keeps && answer.header("connection").as_deref() != Some("close") {
                        kept = Some(wire);
                    }
                }
                (requests, connections)
            })
        })
        .collect();
    for number in 1..=SWAPS {
        proxy
            .handle
            .publish(round(number, up, proxy.address))
            .unwrap();
        // Some requests see each configuration.
        let before = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) < before + 2 {
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let counts: Vec<(u32, u32)> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let requests: u32 = counts.iter().map(|(requests, _)| requests).sum();
    assert!(requests >= 2 * SWAPS, "{counts:?}");
    // Kept connections are lost only with their chain.
    let (of_keeper, connections) = counts[0];
    assert!(connections < of_keeper, "{counts:?}");
    let records = proxy.told.records(requests as usize);
    let failed = records
        .iter()
        .filter(|record| record.status != Some(200) || !record.complete);
    assert_eq!(failed.count(), 0);
}
