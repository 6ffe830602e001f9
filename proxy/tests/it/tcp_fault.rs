//! Faults of connections that are passed on byte by byte, each by its effect.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
    time::Duration,
};

use meshbed_proxy::{
    config::{Listener, Serve, TcpProxy},
    envoy::read,
    policy::fault::tcp::{
        Direction, Fault, Rule, Select, bandwidth::Bandwidth, latency::Latency,
        limit_data::LimitData, slicer::Slicer,
    },
    unit::Share,
};
use tokio::time::Instant;

use crate::support::{Running, STRICT, config, read_file, service, start};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A proxy before a service that says all that it hears, whose connections to the client suffer this.
fn suffering(kind: Fault) -> Running {
    let echo = service(|wire| {
        let _ = std::io::copy(&mut &wire.tcp, &mut &wire.tcp);
    });
    let mut config = config(echo);
    let proxy = TcpProxy {
        faults: vec![Rule {
            id: "f".into(),
            name: "f@a>b".to_owned(),
            select: Select::Share(Share::ALL),
            direction: Direction::Downstream,
            kind,
        }],
        ..TcpProxy::to("up")
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listeners = vec![Listener::tcp("main", any, proxy)];
    start(config)
}

/// How long it takes until so many bytes are back, which must be those that were sent.
fn echoed(proxy: &Running, length: usize) -> Duration {
    let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut wire = proxy.connect();
    let begin = Instant::now();
    wire.send(&bytes);
    assert!(wire.exactly(length) == bytes);
    begin.elapsed()
}

#[test]
fn bytes_are_late_slow_or_in_pieces_and_all_of_them_come() {
    let late = suffering(Fault::Latency(Latency {
        delay: ms(120),
        jitter: ms(20),
    }));
    assert!(echoed(&late, 1_000) >= ms(100));
    late.await_metric("meshbed_fault_rq_applied", 1);
    let slow = suffering(Fault::Bandwidth(Bandwidth {
        bytes_per_second: 100_000,
    }));
    assert!(echoed(&slow, 30_000) >= ms(290));
    let sliced = suffering(Fault::Slicer(Slicer {
        size: 100,
        variation: 20,
        pause: ms(2),
    }));
    // At least 84 pieces.
    assert!(echoed(&sliced, 10_000) >= ms(160));
}

#[test]
fn an_exact_prefix_comes_and_then_the_end() {
    let proxy = suffering(Fault::LimitData(LimitData { bytes: 12_345 }));
    let mut wire = proxy.connect();
    wire.send(vec![7; 20_000]);
    assert_eq!(wire.rest().len(), 12_345);
}

#[test]
fn a_reset_comes_at_its_time_without_any_byte() {
    let proxy = suffering(Fault::Reset(ms(100)));
    let wire = proxy.connect();
    let begin = Instant::now();
    let error = (&wire.tcp).read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(begin.elapsed() >= ms(90));
}

#[test]
fn who_is_refused_or_finds_nobody_reaches_no_service() {
    let proxy = suffering(Fault::Refuse);
    let error = (&proxy.connect().tcp).read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), 0);

    for (kind, connections) in [(Fault::HalfOpen, 0), (Fault::Blackhole(ms(0)), 1)] {
        let proxy = suffering(kind);
        let mut wire = proxy.connect();
        wire.send("anybody?");
        wire.tcp.set_read_timeout(Some(ms(150))).unwrap();
        let nothing = (&wire.tcp).read(&mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), connections);
    }
}

#[test]
fn the_end_and_the_beginning_of_a_connection_may_be_slow() {
    for kind in [Fault::SlowClose(ms(150)), Fault::SlowAccept(ms(150))] {
        let proxy = suffering(kind);
        let mut wire = proxy.connect();
        let begin = Instant::now();
        wire.send("bye");
        wire.tcp.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(wire.rest(), b"bye");
        assert!(begin.elapsed() >= ms(140));
    }
}

#[test]
fn faults_stand_before_the_tcp_proxy_in_envoys_file() {
    let file = |value: &str| {
        let fault = format!(
            "{{name: slow, typed_config: {{\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: meshbed/fault, value: {value}}}}}"
        );
        let tcp = "{name: tcp, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: shop}}";
        format!(
            "static_resources:\n  listeners:\n  - {{name: main, address: {{socket_address: {{address: 127.0.0.1, port_value: 8081}}}}, filter_chains: [{{filters: [{fault}, {tcp}]}}]}}\n"
        )
    };
    let config = read_file(&file(
        "{percent: 20%, direction: upstream, latency: {delay: 100ms, jitter: 10ms}}",
    ));
    let Serve::Tcp(proxy) = &config.listeners[0].chains[0].serve else {
        panic!("bytes are passed on");
    };
    assert_eq!(
        proxy.faults,
        [Rule {
            id: "slow.latency".into(),
            name: "slow.latency@main>*".to_owned(),
            select: Select::Share(Share::new(0.2).unwrap()),
            direction: Direction::Upstream,
            kind: Fault::Latency(Latency {
                delay: ms(100),
                jitter: ms(10),
            }),
        }]
    );
    for wrong in [
        "{lateness: {delay: 1s}}",
        "{latency: {delay: soon}}",
        "{percent: lots}",
    ] {
        let problems = read(&file(wrong), STRICT).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .contains("filters[0].typed_config.value."),
            "{problems:?}"
        );
    }
}
