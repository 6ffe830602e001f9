//! Connections that are passed on byte by byte.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::mpsc,
    thread,
    time::Duration,
};

use meshbed_proxy::{
    config::{Cluster, Config, Listener, TcpProxy},
    policy::balance::{Balance, maglev},
};
use tokio::time::Instant;

use crate::support::{PATIENCE, Running, Wire, cluster, config, nobody, service, start};

/// One listener `main` that passes connections on to the cluster `up` at this address.
fn passing(up: SocketAddr, change: impl FnOnce(&mut TcpProxy)) -> Config {
    let mut proxy = TcpProxy::to("up");
    change(&mut proxy);
    let mut config = config(up);
    config.listeners = vec![Listener::tcp(
        "main",
        SocketAddr::from(([127, 0, 0, 1], 0)),
        proxy,
    )];
    config
}

fn passing_to(serve: impl Fn(Wire) + Send + Sync + 'static) -> Running {
    start(passing(service(serve), |_| {}))
}

/// Bytes that are not the same anywhere: each block of eight is its number.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u64 / 8)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

#[test]
fn a_server_that_speaks_first_is_heard_before_its_client_has_said_anything() {
    let proxy = passing_to(|mut wire| {
        wire.send("220 mail.test ready\r\n");
        assert_eq!(wire.line(), "HELO a\r\n");
        wire.send("250 mail.test\r\n");
    });
    let mut wire = proxy.connect();
    let begin = Instant::now();
    assert_eq!(wire.line(), "220 mail.test ready\r\n");
    assert!(begin.elapsed() < Duration::from_secs(2));
    wire.send("HELO a\r\n");
    assert_eq!(wire.line(), "250 mail.test\r\n");
    assert_eq!(wire.rest(), b"");
}

#[test]
fn much_goes_both_ways_at_once_and_none_of_it_is_lost() {
    const LENGTH: usize = 24 << 20;
    let proxy = passing_to(|wire| {
        // It reads slowly at first, so that the proxy must wait with what it has read.
        let mut out = wire.tcp.try_clone().unwrap();
        let writer = thread::spawn(move || {
            out.write_all(&noise(LENGTH)).unwrap();
            out.shutdown(Shutdown::Write).unwrap();
        });
        let mut read = wire.tcp;
        thread::sleep(Duration::from_millis(100));
        let mut got = Vec::new();
        read.read_to_end(&mut got).unwrap();
        assert!(got == noise(LENGTH), "{} bytes came", got.len());
        writer.join().unwrap();
    });
    let wire = proxy.connect();
    let mut out = wire.tcp.try_clone().unwrap();
    let writer = thread::spawn(move || {
        out.write_all(&noise(LENGTH)).unwrap();
        out.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    (&wire.tcp).read_to_end(&mut got).unwrap();
    assert!(got == noise(LENGTH), "{} bytes came", got.len());
    writer.join().unwrap();
    proxy.await_metric("envoy_listener_downstream_cx_active", 0);
    let length = LENGTH as u64;
    assert_eq!(
        proxy.metric("envoy_tcp_downstream_cx_rx_bytes_total"),
        length
    );
    assert_eq!(
        proxy.metric("envoy_tcp_downstream_cx_tx_bytes_total"),
        length
    );
}

#[test]
fn who_has_said_all_can_still_listen() {
    // The client first.
    let proxy = passing_to(|mut wire| {
        let said = wire.rest();
        wire.send([&b"heard "[..], &said].concat());
    });
    let mut wire = proxy.connect();
    wire.send("all");
    wire.tcp.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"heard all");

    // The service first.
    let (heard, hears) = mpsc::channel();
    let heard = std::sync::Mutex::new(heard);
    let proxy = passing_to(move |mut wire| {
        wire.send("bye");
        wire.tcp.shutdown(Shutdown::Write).unwrap();
        heard.lock().unwrap().send(wire.rest()).unwrap();
    });
    let mut wire = proxy.connect();
    assert_eq!(wire.rest(), b"bye");
    wire.send("not yet");
    drop(wire);
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), b"not yet");
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    fn ended(wire: &Wire) -> std::io::Result<usize> {
        (&wire.tcp).read(&mut [0; 8])
    }
    // The service's.
    let proxy = passing_to(|mut wire| {
        wire.line();
        wire.reset();
    });
    let mut wire = proxy.connect();
    wire.send("go\r\n");
    let error = ended(&wire).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // The client's.
    let (saw, sees) = mpsc::channel();
    let saw = std::sync::Mutex::new(saw);
    let proxy = passing_to(move |mut wire| {
        wire.line();
        wire.send("go\r\n");
        let kind = ended(&wire).map_err(|error| error.kind());
        saw.lock().unwrap().send(kind).unwrap();
    });
    let mut wire = proxy.connect();
    wire.send("come\r\n");
    wire.line();
    wire.reset();
    let seen = sees.recv_timeout(PATIENCE).unwrap();
    assert_eq!(seen, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_client_whose_connection_cannot_be_passed_on_is_let_go_and_the_cause_is_counted() {
    let gone = |config: Config| {
        let proxy = start(config);
        assert_eq!(proxy.connect().rest(), b"");
        proxy
    };
    let proxy = gone(passing(nobody(), |proxy| proxy.max_connect_attempts = 3));
    proxy.await_metric("envoy_cluster_upstream_cx_connect_fail", 3);
    let mut none = passing(nobody(), |_| {});
    none.clusters = vec![cluster("up", &[])];
    gone(none).await_metric("envoy_cluster_upstream_cx_none_healthy", 1);
    let unknown = passing(nobody(), |proxy| {
        proxy.clusters = vec![("nowhere".to_owned(), 1)];
    });
    gone(unknown).await_metric("envoy_tcp_downstream_cx_no_route", 1);
}

#[test]
fn a_connection_ends_when_it_was_idle_too_long_or_is_too_old() {
    let echo = || {
        service(|wire| {
            let _ = std::io::copy(&mut &wire.tcp, &mut &wire.tcp);
        })
    };
    let short = Some(Duration::from_millis(150));
    let proxy = start(passing(echo(), |proxy| proxy.idle_timeout = short));
    let mut wire = proxy.connect();
    let begin = Instant::now();
    for _ in 0..5 {
        wire.send("x");
        wire.exactly(1);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(wire.rest(), b"");
    assert!(begin.elapsed() > Duration::from_millis(350));
    proxy.await_metric("envoy_tcp_idle_timeout", 1);

    let proxy = start(passing(echo(), |proxy| proxy.max_duration = short));
    let mut wire = proxy.connect();
    let begin = Instant::now();
    while wire.try_send("x") && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(begin.elapsed() >= Duration::from_millis(150));
    proxy.await_metric("envoy_tcp_max_downstream_connection_duration", 1);
}

#[test]
fn connections_are_spread_over_clusters_by_their_weights() {
    let named = |name: &'static str| service(move |mut wire| wire.send(name));
    let mut config = passing(named("a"), |proxy| {
        proxy.clusters = vec![("up".to_owned(), 3), ("other".to_owned(), 1)];
    });
    config.clusters.push(cluster("other", &[named("b")]));
    let proxy = start(config);
    let of_a = (0..200).filter(|_| proxy.connect().rest() == b"a").count();
    // 150 expected, the standard deviation is 6.1.
    assert!((125..=175).contains(&of_a), "{of_a}");
}

#[test]
fn a_cluster_takes_no_more_connections_than_its_limit() {
    let echo = service(|wire| {
        let _ = std::io::copy(&mut &wire.tcp, &mut &wire.tcp);
    });
    let mut config = passing(echo, |_| {});
    config.clusters[0].limits.default.connections = 1;
    let proxy = start(config);
    let mut first = proxy.connect();
    first.send("x");
    first.exactly(1);
    assert_eq!(proxy.connect().rest(), b"");
    proxy.await_metric("envoy_cluster_upstream_cx_overflow", 1);
    drop(first);
    proxy.await_metric("envoy_cluster_upstream_cx_active", 0);
    let mut next = proxy.connect();
    next.send("x");
    next.exactly(1);
}

#[test]
fn a_client_finds_the_same_endpoint_by_its_address() {
    let named = |name: &'static str| service(move |mut wire| wire.send(name));
    let services: Vec<SocketAddr> = ["a", "b", "c", "d"].into_iter().map(named).collect();
    let mut config = passing(services[0], |proxy| proxy.hash_source_ip = true);
    config.clusters[0] = Cluster {
        balance: Balance::Maglev(maglev::Settings::default()),
        ..cluster("up", &services)
    };
    let proxy = start(config);
    let first = proxy.connect().rest();
    assert!((0..20).all(|_| proxy.connect().rest() == first));
}
