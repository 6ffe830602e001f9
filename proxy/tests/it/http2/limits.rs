//! Limits of a cluster whose endpoints speak HTTP/2: connections, streams of each, requests that wait for one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use h2::server;
use http::{Response, StatusCode};
use meshbed_proxy::{config::Config, policy::breaker::Thresholds};

use super::{
    peer::{self, Client, get},
    to_h2,
};
use crate::support::start;

/// What became of six requests that came together to an endpoint with so many streams a connection, as its settings say or
/// as our file does: how many were answered, how many refused, how many were there at once; and how many connections were
/// made.
fn six(streams: u32, configure: impl FnOnce(&mut Config)) -> (usize, usize, usize, u64) {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(streams);
    let up = peer::service(builder, {
        let most = Arc::clone(&most);
        move |_, mut respond| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(at_once, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(300)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                respond.send_response(Response::new(()), true).unwrap();
            }
        }
    });
    let mut config = to_h2(up);
    configure(&mut config);
    let proxy = start(config);
    let client = Client::connect(proxy.address);
    // The endpoint's bound is known once it has answered.
    client.get("/first").unwrap();
    let mut statuses = Vec::new();
    client.run(async {
        let calls: Vec<_> = (0..6)
            .map(|_| tokio::spawn(peer::exchange(client.send.clone(), get("/"), &[], None)))
            .collect();
        for call in calls {
            statuses.push(call.await.unwrap().unwrap().status);
        }
    });
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    (
        count(StatusCode::OK),
        count(StatusCode::SERVICE_UNAVAILABLE),
        most.load(Ordering::SeqCst),
        proxy.metric("envoy_cluster_upstream_cx_http2_total"),
    )
}

fn limit(config: &mut Config, connections: u32, pending: u32) {
    config.clusters[0].limits.default = Thresholds {
        connections,
        pending,
        ..Thresholds::default()
    };
}

/// Each as Envoy 1.40 does it.
#[test]
fn connections_are_bounded_and_requests_wait_for_a_stream() {
    // By the endpoint's settings, and by ours.
    assert_eq!(six(2, |it| limit(it, 1, 1024)), (6, 0, 2, 1));
    let by_us = |it: &mut Config| {
        limit(it, 3, 1024);
        it.clusters[0].http2.max_streams = 1;
    };
    assert_eq!(six(100, by_us), (6, 0, 3, 3));
}

#[test]
fn requests_that_wait_for_a_stream_are_bounded() {
    assert_eq!(six(2, |it| limit(it, 1, 2)), (4, 2, 2, 1));
}
