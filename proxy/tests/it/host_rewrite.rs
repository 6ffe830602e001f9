//! Hosts that endpoints are asked for: their own, where the route says so.

use std::sync::{Arc, Mutex};

use meshbed_proxy::{
    config::Config,
    policy::{
        retry::{Backoff, On, Policy},
        rewrite::HostRewrite,
    },
};

use super::support::{config, forward, service, start};

type Hosts = Arc<Mutex<Vec<[Option<String>; 3]>>>;

/// Endpoints of these names that answer this, and the hosts, original hosts and forwarded hosts that they are asked for.
fn named(names: &[&str], status: u16) -> (Config, Hosts) {
    let hosts = Hosts::default();
    let kept = Arc::clone(&hosts);
    let address = service(move |mut wire| {
        while let Some(request) = wire.message() {
            let told = ["host", "x-envoy-original-host", "x-forwarded-host"];
            kept.lock()
                .unwrap()
                .push(told.map(|name| request.header(name)));
            if !wire.try_send(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")) {
                return;
            }
        }
    });
    let mut config = config(address);
    let endpoints = &mut config.clusters[0].endpoints;
    let one = endpoints.remove(0);
    for name in names {
        let mut endpoint = one.clone();
        endpoint.hostname = (*name).into();
        endpoints.push(endpoint);
    }
    forward(&mut config).host_rewrite = Some(HostRewrite::Endpoint);
    (config, hosts)
}

fn told(hosts: [&str; 3]) -> [Option<String>; 3] {
    hosts.map(|host| Some(host.to_owned()).filter(|host| !host.is_empty()))
}

fn ask(config: Config) {
    ask_with(config, "");
}

fn ask_with(config: Config, header: &str) {
    let running = start(config);
    let mut wire = running.connect();
    wire.send(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{header}\r\n"));
    wire.message().unwrap();
}

#[test]
fn an_endpoint_is_asked_for_by_its_name_if_it_has_one() {
    for (name, append, expected) in [
        ("ep.test", false, ["ep.test", "a.test", ""]),
        ("ep.test", true, ["ep.test", "a.test", "a.test"]),
        ("", true, ["a.test", "", ""]),
    ] {
        let (mut config, hosts) = named(&[name], 200);
        forward(&mut config).append_forwarded_host = append;
        ask(config);
        assert_eq!(*hosts.lock().unwrap(), [told(expected)]);
    }
}

#[test]
fn a_weighted_clusters_host_comes_first() {
    for (name, expected) in [
        ("ep.test", ["ep.test", "w.test", ""]),
        ("", ["w.test", "", ""]),
    ] {
        let (mut config, hosts) = named(&[name], 200);
        forward(&mut config).clusters[0].host_rewrite = Some("w.test".to_owned());
        ask(config);
        assert_eq!(*hosts.lock().unwrap(), [told(expected)]);
    }
}

#[test]
fn each_try_asks_for_its_own_endpoint() {
    let (mut config, hosts) = named(&["r1.test"], 503);
    let forward = forward(&mut config);
    forward.append_forwarded_host = true;
    forward.tries.retry = Some(Policy {
        on: On::parse("5xx"),
        retries: 1,
        backoff: Backoff {
            base: std::time::Duration::from_millis(1),
            max: std::time::Duration::from_millis(2),
        },
        ..Policy::default()
    });
    ask(config);
    assert_eq!(
        *hosts.lock().unwrap(),
        [
            told(["r1.test", "a.test", "a.test"]),
            told(["r1.test", "r1.test", "a.test,r1.test"]),
        ]
    );
}

#[test]
fn a_host_that_was_told_last_is_not_told_again() {
    for (known, expected) in [
        ("z.test,a.test", "z.test,a.test"),
        ("a.test,z.test", "a.test,z.test,a.test"),
    ] {
        let (mut config, hosts) = named(&["ep.test"], 200);
        forward(&mut config).append_forwarded_host = true;
        ask_with(config, &format!("x-forwarded-host: {known}\r\n"));
        assert_eq!(
            *hosts.lock().unwrap(),
            [told(["ep.test", "a.test", expected])]
        );
    }
}
