//! Filter chains: which of them serves a connection, and what becomes of one that none is for.

use std::net::{SocketAddr, TcpStream};

use meshbed_proxy::config::{Action, Chain, Config, ConnectionLimit};

use crate::support::{Running, Wire, config, nobody, start, start_with};

/// A chain that answers every request with this body.
fn answers(body: &str) -> Chain {
    let mut config = config(nobody());
    let mut manager = config.listeners[0].manager_mut().cloned().unwrap();
    manager.virtual_hosts[0].routes[0].action = Action::Respond {
        status: 200,
        body: body.to_owned(),
    };
    Chain::http(manager)
}

/// One listener `main` with these chains.
fn chains(chains: Vec<Chain>, default_chain: Option<Chain>) -> Config {
    let mut config = config(nobody());
    config.listeners[0].chains = chains;
    config.listeners[0].default_chain = default_chain;
    config
}

fn from(source: &str) -> Chain {
    let mut chain = answers(source);
    let address = source.parse().unwrap();
    chain.matches.sources = vec![meshbed_proxy::policy::cidr::Cidr::new(address, 32)];
    chain
}

/// A connection from another address of this machine.
fn connect_from(source: &str, to: SocketAddr) -> Wire {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )
    .unwrap();
    let source: std::net::IpAddr = source.parse().unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Wire::new(TcpStream::from(socket))
}

fn ask(wire: &mut Wire) -> Option<String> {
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.message().map(|answer| answer.body)
}

fn body_from(proxy: &Running, source: &str) -> Option<String> {
    ask(&mut connect_from(source, proxy.address))
}

#[test]
fn a_connection_is_served_by_the_chain_that_is_for_it() {
    let proxy = start(chains(
        vec![from("127.0.0.2"), from("127.0.0.3")],
        Some(answers("default")),
    ));
    for (source, body) in [
        ("127.0.0.2", "127.0.0.2"),
        ("127.0.0.3", "127.0.0.3"),
        ("127.0.0.4", "default"),
    ] {
        assert_eq!(body_from(&proxy, source).as_deref(), Some(body));
    }
}

#[test]
fn a_connection_that_no_chain_is_for_is_closed_and_counted() {
    let proxy = start(chains(vec![from("127.0.0.2")], None));
    assert_eq!(connect_from("127.0.0.3", proxy.address).rest(), b"");
    assert_eq!(body_from(&proxy, "127.0.0.2").as_deref(), Some("127.0.0.2"));
    proxy.await_metric("envoy_listener_no_filter_chain_match", 1);
    proxy.await_metric("envoy_listener_downstream_cx_total", 2);
}

#[test]
fn two_chains_for_the_same_connections_are_refused() {
    let problems = chains(vec![answers("a"), answers("b")], None).check();
    assert_eq!(
        problems[0].to_string(),
        "listeners[0].chains[1].matches: chains[0] matches the same connections"
    );
}

#[test]
fn a_kept_connection_follows_its_chain_through_a_swap() {
    let before = chains(vec![from("127.0.0.2"), from("127.0.0.3")], None);
    let mut after = chains(vec![from("127.0.0.3"), from("127.0.0.2")], None);
    let proxy = start(before);
    let mut wire = connect_from("127.0.0.3", proxy.address);
    assert_eq!(ask(&mut wire).as_deref(), Some("127.0.0.3"));
    after.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action = Action::Respond {
        status: 200,
        body: "new".to_owned(),
    };
    proxy.handle.publish(after).unwrap();
    assert_eq!(ask(&mut wire).as_deref(), Some("new"));
}

#[test]
fn a_kept_connection_whose_chain_is_gone_gets_its_answer_and_is_closed() {
    let proxy = start(chains(vec![from("127.0.0.2"), from("127.0.0.3")], None));
    let mut wire = connect_from("127.0.0.3", proxy.address);
    assert_eq!(ask(&mut wire).as_deref(), Some("127.0.0.3"));
    let after = chains(vec![from("127.0.0.2")], Some(answers("default")));
    proxy.handle.publish(after).unwrap();
    assert_eq!(ask(&mut wire).as_deref(), Some("127.0.0.3"));
    assert_eq!(wire.rest(), b"");
    assert_eq!(body_from(&proxy, "127.0.0.3").as_deref(), Some("default"));
}

#[test]
fn a_listener_has_as_many_addresses_as_it_likes() {
    let mut config = chains(vec![answers("here")], None);
    let more = nobody();
    config.listeners[0].more_addresses = vec![more];
    let proxy = start_with(config, 2);
    for address in [proxy.address, more] {
        assert_eq!(ask(&mut Wire::connect(address)).as_deref(), Some("here"));
    }
}

#[test]
fn connections_beyond_a_chains_limit_are_closed_and_counted() {
    let mut chain = answers("here");
    chain.limit = Some(ConnectionLimit {
        stat_prefix: "few".to_owned(),
        most: 2,
        delay: None,
    });
    // All event loops together.
    let proxy = start_with(chains(vec![chain], None), 2);
    let mut kept: Vec<Wire> = (0..2).map(|_| proxy.connect()).collect();
    for wire in &mut kept {
        assert_eq!(ask(wire).as_deref(), Some("here"));
    }
    for _ in 0..3 {
        assert_eq!(proxy.connect().rest(), b"");
    }
    proxy.await_metric("envoy_connection_limit_limited_connections", 3);
    proxy.await_metric("envoy_connection_limit_active_connections", 2);
    drop(kept.pop());
    proxy.await_metric("envoy_connection_limit_active_connections", 1);
    assert_eq!(ask(&mut proxy.connect()).as_deref(), Some("here"));
}
