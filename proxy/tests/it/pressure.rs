//! What holds a service's load down while it is slow or failing, and how long an exchange may last: on the wire.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::{
    config::{Config, Fallback, Filter, Named},
    policy::{adaptive, admission, breaker::trip},
    unit::Share,
};
use tokio::time::Instant;

use super::support::{Running, cluster, config, echo, forward, service, start};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn with(filter: Filter, mut config: Config) -> Arc<Running> {
    config.listeners[0].manager_mut().unwrap().filters = vec![filter];
    Arc::new(start(config))
}

/// So many clients that each ask so often, one request after the other; the statuses that they got.
fn ask(proxy: &Arc<Running>, clients: usize, times: usize) -> Vec<u16> {
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let proxy = Arc::clone(proxy);
            thread::spawn(move || {
                let mut wire = proxy.connect();
                let ask = |_| {
                    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                    wire.message().unwrap().status()
                };
                (0..times).map(ask).collect::<Vec<_>>()
            })
        })
        .collect();
    clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect()
}

#[test]
fn no_more_is_under_way_than_the_adaptive_bound() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (active, highest) = (Arc::clone(&now), Arc::clone(&most));
    let up = service(move |mut wire| {
        while wire.message().is_some() {
            let count = active.fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(count, Ordering::SeqCst);
            thread::sleep(MS(20));
            active.fetch_sub(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let settings = adaptive::Settings {
        most: 4,
        ..adaptive::Settings::default()
    };
    let filter = Filter::Adaptive(Box::new(Named {
        name: "a".to_owned(),
        settings,
    }));
    let proxy = with(filter, config(up));
    let statuses = ask(&proxy, 12, 25);
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!(most.load(Ordering::SeqCst) <= 4, "{most:?}");
    assert!(passed > 25 && passed < statuses.len(), "{passed}");
    let blocked = proxy.metric("envoy_http_adaptive_concurrency_gradient_controller_rq_blocked");
    assert_eq!(blocked as usize, statuses.len() - passed);
}

#[test]
fn a_service_that_fails_is_spared_and_one_that_works_is_not() {
    let (works, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (answers, counted) = (Arc::clone(&works), Arc::clone(&count));
    let up = service(move |mut wire| {
        while wire.message().is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            let status = if answers.load(Ordering::SeqCst) {
                200
            } else {
                503
            };
            wire.send(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    let settings = admission::Settings {
        window: Duration::from_secs(2),
        ..admission::Settings::default()
    };
    let filter = Filter::Admission(
        Box::new(Named {
            name: "a".to_owned(),
            settings,
        }),
        Share::ALL,
    );
    let proxy = with(filter, config(up));
    ask(&proxy, 1, 100);
    let before = count.load(Ordering::SeqCst);
    ask(&proxy, 1, 1_000);
    // A fifth is let through: 200 of 1,000, within five sigma.
    let sent = count.load(Ordering::SeqCst) - before;
    assert!((135..265).contains(&sent), "{sent}");
    works.store(true, Ordering::SeqCst);
    thread::sleep(MS(3_100));
    assert!(ask(&proxy, 1, 100).iter().all(|status| *status == 200));
}

#[test]
fn an_exchange_lasts_no_longer_than_it_may() {
    let up = service(|mut wire| {
        wire.message();
        thread::sleep(MS(3_000));
    });
    let mut config = config(up);
    forward(&mut config).tries.max_duration = Some(MS(200));
    let proxy = start(config);
    let begin = Instant::now();
    let answer = proxy.get("/");
    assert_eq!(
        (answer.status(), &*answer.body),
        (504, "downstream duration timeout")
    );
    assert!((MS(200)..MS(2_000)).contains(&begin.elapsed()));
    let record = proxy.told.record();
    assert!(record.flags.is_empty() && record.details == "max_duration_timeout");
}

#[test]
fn a_grpc_client_says_how_long_it_waits_where_the_route_lets_it() {
    for (most, waits) in [(None, 400), (Some(MS(0)), 150), (Some(MS(50)), 50)] {
        let up = service(|mut wire| {
            wire.message();
            thread::sleep(MS(3_000));
        });
        let mut config = config(up);
        let tries = &mut forward(&mut config).tries;
        (tries.max_duration, tries.grpc_timeout_max) = (Some(MS(400)), most);
        let proxy = start(config);
        let begin = Instant::now();
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\ngrpc-timeout: 150m\r\n\r\n");
        assert_eq!(wire.message().unwrap().status(), 504);
        let took = begin.elapsed();
        assert!(
            (MS(waits)..MS(waits + 1_500)).contains(&took),
            "{most:?} {took:?}"
        );
    }
}

#[test]
fn where_a_breaker_is_open_the_fallback_answers() {
    let down = || {
        service(|mut wire| {
            while wire.message().is_some() {
                wire.send("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n");
            }
        })
    };
    let respond = Fallback::Respond {
        status: 203,
        body: "of yesterday".to_owned(),
    };
    for (fallback, status, body) in [
        (respond, 203, "of yesterday"),
        (Fallback::Cluster("other".to_owned()), 200, "a body"),
    ] {
        let mut config = config(down());
        forward(&mut config).tries.fallback = Some(fallback);
        config.clusters[0].trip = Some(trip::Settings::default());
        config.clusters.push(cluster("other", &[echo()]));
        let proxy = start(config);
        let mut wire = proxy.connect();
        let mut ask = || {
            wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\na body");
            wire.message().unwrap()
        };
        let answer = (0..200).map(|_| ask()).find(|it| it.status() != 500);
        let answer = answer.expect("the breaker opens");
        assert_eq!(answer.status(), status);
        assert!(answer.body.ends_with(body), "{answer:?}");
        let mark = answer.header("x-meshbed-fallback");
        assert_eq!(mark.as_deref(), Some("breaker-open"));
        assert_eq!(proxy.get("/").status(), status);
        let text = proxy.handle.metrics();
        assert!(text.contains("envoy_cluster_upstream_rq_active{envoy_cluster_name=\"up\"} 0"));
    }
}
