//! A running proxy as those who start it see it: ports, swaps, drains, the admin port.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Proxy, StartError},
    config::{Action, Address, Config, Endpoint, Target},
};

use super::support::{Wire, config, echo, forward, service, start, start_with};

fn named(name: &'static str) -> SocketAddr {
    service(move |mut wire| {
        while wire.message().is_some() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}",
                name.len()
            );
            if !wire.try_send(answer) {
                return;
            }
        }
    })
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(echo());
    config.listeners[0].address = taken.local_addr().unwrap();
    for workers in [1, 2] {
        let error = Proxy::start(
            config.clone(),
            Deps {
                workers,
                ..Deps::default()
            },
        )
        .unwrap_err();
        assert!(matches!(error, StartError::Bind { .. }));
        let expected = format!(
            "listener `main` cannot listen on {}: the address is in use",
            config.listeners[0].address
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_proxy_that_runs_keeps_its_port_from_another() {
    let proxy = start_with(config(echo()), 2);
    let mut other = config(echo());
    other.listeners[0].address = proxy.address;
    assert!(
        Proxy::start(
            other,
            Deps {
                workers: 2,
                ..Deps::default()
            }
        )
        .is_err()
    );
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_all_its_problems() {
    let mut wrong = config(echo());
    forward(&mut wrong).clusters = vec![Target::new("nowhere", 1)];
    wrong.clusters[0].endpoints = vec![Endpoint::at(Address::Listener("none".into()))];
    let Err(StartError::Config(problems)) = Proxy::start(wrong, Deps::default()) else {
        panic!("it was started");
    };
    let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(
        text.iter().any(|text| text.contains("`nowhere`")),
        "{text:?}"
    );
    assert!(text.iter().any(|text| text.contains("`none`")), "{text:?}");
}

#[test]
fn an_endpoint_may_be_another_listener_wherever_it_was_bound() {
    let mut config = config(echo());
    let mut second = config.listeners[0].clone();
    second.name = "second".into();
    let Action::Forward(forward) =
        &mut second.manager_mut().unwrap().virtual_hosts[0].routes[0].action
    else {
        panic!("the route forwards");
    };
    forward.clusters = vec![Target::new("chain", 1)];
    config.listeners.push(second);
    let mut chain = config.clusters[0].clone();
    chain.name = "chain".into();
    chain.endpoints[0].address = Address::Listener("main".into());
    config.clusters.push(chain);
    let proxy = start(config);
    let mut wire = Wire::connect(proxy.handle.address("second").unwrap());
    wire.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 200);
    assert_eq!(proxy.told.records(2).len(), 2);
}

#[test]
fn configurations_are_swapped_under_load_without_a_failed_request() {
    let (one, two) = (named("one"), named("two"));
    let proxy = Arc::new(start_with(config(one), 2));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (proxy, stop) = (Arc::clone(&proxy), Arc::clone(&stop));
            thread::spawn(move || {
                let mut seen = [0_u64; 2];
                let mut wire = proxy.connect();
                while !stop.load(Ordering::Relaxed) {
                    wire.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
                    let answer = wire.message().unwrap();
                    assert_eq!(answer.status(), 200);
                    seen[usize::from(answer.body == "two")] += 1;
                }
                seen
            })
        })
        .collect();
    for round in 0..100 {
        let mut next = config(if round % 2 == 0 { two } else { one });
        next.listeners[0].address = proxy.address;
        proxy.handle.publish(next).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = [0_u64; 2];
    for client in clients {
        let seen = client.join().unwrap();
        total[0] += seen[0];
        total[1] += seen[1];
    }
    assert!(total[0] > 0 && total[1] > 0, "{total:?}");
    let records = proxy.told.records((total[0] + total[1]) as usize);
    assert!(
        records
            .iter()
            .all(|record| record.status == Some(200) && record.complete)
    );
    // The last one published is in force, for the next request of every connection.
    assert_eq!(proxy.get("/").body, "one");
}

#[test]
fn what_cannot_be_swapped_is_refused_and_the_old_configuration_stays() {
    let proxy = start(config(named("one")));
    let mut wrong: Vec<(Config, &str)> = Vec::new();
    let mut moved = config(named("two"));
    moved.listeners[0].address = SocketAddr::from(([127, 0, 0, 1], 1));
    wrong.push((moved, "cannot move"));
    let mut renamed = config(named("two"));
    renamed.listeners[0].name = "other".into();
    wrong.push((renamed, "`other` is new"));
    let mut none = config(named("two"));
    none.clusters.clear();
    wrong.push((none, "`up`"));
    for (config, expected) in wrong {
        let problems = proxy.handle.publish(config).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|problem| problem.to_string().contains(expected)),
            "{problems:?}"
        );
        assert_eq!(proxy.get("/").body, "one");
    }
}

#[test]
fn a_drain_ends_requests_and_refuses_connections() {
    let up = service(|mut wire| {
        wire.message();
        thread::sleep(Duration::from_millis(300));
        wire.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let proxy = Arc::new(start_with(config(up), 2));
    let mut idle = proxy.connect();
    let mut busy = proxy.connect();
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_http_downstream_rq_active", 1);
    let draining = Arc::clone(&proxy);
    let drain = thread::spawn(move || draining.handle.drain(Duration::from_secs(20)));
    assert_eq!(idle.message(), None);
    let answer = busy.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (200, "ok"));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(busy.message(), None);
    assert!(drain.join().unwrap());
    assert!(std::net::TcpStream::connect(proxy.address).is_err());
}

#[test]
fn one_that_leaves_ends_each_connection_with_its_next_answer_and_cuts_none() {
    let proxy = start(config(named("one")));
    let mut kept = proxy.connect();
    kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = kept.message().unwrap();
    assert_eq!(answer.header("connection"), None);
    proxy.handle.leave();

    // New connections are still taken, and end with their first answer.
    let mut last = None;
    for _ in 0..200 {
        last = proxy.get("/").header("connection");
        if last.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(last.as_deref(), Some("close"));
    // The one that was idle when it began to leave is not closed: its client's next request is answered.
    kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = kept.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (200, "one"));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(kept.message(), None);
    drop(kept);
    proxy.await_metric("envoy_http_downstream_cx_active", 0);
    assert!(proxy.handle.drain(Duration::from_secs(5)));
}

#[test]
fn a_drain_that_takes_too_long_says_so() {
    let up = service(|mut wire| {
        wire.message();
        wire.message();
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_http_downstream_rq_active", 1);
    assert!(!proxy.handle.drain(Duration::from_millis(50)));
    let told = Arc::clone(&proxy.told);
    proxy.handle.shutdown();
    // The request that was under way is recorded also then.
    assert!(told.record().flags.to_string().contains("DC"));
}

#[test]
fn the_admin_port_answers_envoys_paths() {
    let mut config = config(echo());
    config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let proxy = start(config);
    proxy.get("/");
    proxy.told.record();
    let admin = proxy.handle.address("admin").unwrap();
    let ask = |method: &str, path: &str| {
        let mut wire = Wire::connect(admin);
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
        wire.message().unwrap()
    };
    assert_eq!(ask("GET", "/ready").body, "LIVE\n");
    let stats = ask("GET", "/stats").body;
    assert!(
        stats.contains("cluster.up.upstream_rq_total: 1\n"),
        "{stats}"
    );
    assert!(
        stats.contains("http.http.downstream_rq_2xx: 1\n"),
        "{stats}"
    );
    let prometheus = ask("GET", "/stats/prometheus").body;
    assert!(prometheus.contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"up\"} 1\n"));
    assert!(prometheus.contains("envoy_server_live{} 1\n"));
    let dump = ask("GET", "/config_dump");
    assert_eq!(
        dump.header("content-type").as_deref(),
        Some("application/json")
    );
    let dump: serde_json::Value = serde_json::from_str(&dump.body).unwrap();
    assert_eq!(dump["listeners"][0]["name"], "main");
    assert_eq!(dump["clusters"][0]["name"], "up");
    assert!(ask("GET", "/clusters").body.contains("up::127.0.0.1:"));
    assert_eq!(ask("GET", "/nothing").status(), 404);
    assert_eq!(ask("GET", "/quitquitquit").status(), 405);
    assert_eq!(ask("POST", "/drain_listeners").status(), 200);
    assert_eq!(ask("GET", "/ready").status(), 503);
    assert_eq!(ask("POST", "/quitquitquit").status(), 200);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(proxy.handle.asked_to_quit());
}

#[test]
fn the_event_loops_cpu_time_grows_with_their_work() {
    let proxy = start(config(echo()));
    let before = proxy.handle.cpu();
    let mut wire = proxy.connect();
    for _ in 0..200 {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap();
    }
    assert!(proxy.handle.cpu() > before);
}
