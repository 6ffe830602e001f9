//! Retries on the wire: what is sent again, how often, to whom, and what it costs the upstream.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::{
    config::Config,
    observe::Flags,
    policy::retry::{Backoff, Budget, Limit, On, Policy},
    unit::{ByteSize, Share},
};

use tokio::time::Instant;

use super::support::{Message, Running, cluster, config, forward, nobody, service, start};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A service that answers the n-th request of all its connections by the n-th of these statuses, after so many
/// milliseconds; the last one is repeated. The answer's body is the request's.
fn scripted(script: &'static [(u16, u64)]) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let address = service(move |mut wire| {
        while let Some(request) = wire.message() {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            let (status, delay) = script[n.min(script.len() - 1)];
            thread::sleep(MS(delay));
            let body = request.body;
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}", body.len());
            let told = request
                .head
                .lines()
                .find(|it| it.starts_with("x-envoy-attempt-count"));
            let told = told.unwrap_or("x-none: 1");
            if !wire.try_send(format!("{head}\r\ntold-{told}\r\n\r\n{body}")) {
                return;
            }
        }
    });
    (address, count)
}

fn policy(on: &str, retries: u32) -> Policy {
    Policy {
        on: On::parse(on),
        retries,
        backoff: Backoff {
            base: MS(1),
            max: MS(2),
        },
        ..Policy::default()
    }
}

fn retrying(up: SocketAddr, policy: Policy) -> Config {
    let mut config = config(up);
    let forward = forward(&mut config);
    forward.tries.retry = Some(policy);
    forward.attempt_count = true;
    forward.attempt_count_in_answer = true;
    config
}

fn post(proxy: &Running, body: &str) -> Message {
    let mut wire = proxy.connect();
    let length = body.len();
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    wire.message().unwrap()
}

#[test]
fn a_failed_request_is_sent_again_with_its_body() {
    let (up, _) = scripted(&[(503, 0), (500, 0), (200, 0)]);
    let proxy = start(retrying(up, policy("5xx", 3)));
    let answer = post(&proxy, "some body");
    assert_eq!((answer.status(), answer.body.as_str()), (200, "some body"));
    for name in ["x-envoy-attempt-count", "told-x-envoy-attempt-count"] {
        assert_eq!(answer.header(name).as_deref(), Some("3"), "{name}");
    }
    let record = proxy.told.record();
    assert_eq!((record.attempts, record.flags), (3, Flags::default()));
    assert_eq!(record.bytes_in, 9);
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry{"), 2);
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_total{"), 3);
}

#[test]
fn what_is_retried_in_vain_says_so() {
    let (up, count) = scripted(&[(503, 0)]);
    let proxy = start(retrying(up, policy("5xx", 2)));
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let record = proxy.told.record();
    assert_eq!(
        (record.flags, &*record.details),
        (Flags::URX, "via_upstream")
    );
    let proxy = start(retrying(nobody(), policy("connect-failure", 1)));
    let answer = proxy.get("/");
    assert!(
        answer.body.contains("retried and the latest reset reason"),
        "{answer:?}"
    );
    let record = proxy.told.record();
    assert!(record.flags.has(Flags::URX) && record.flags.has(Flags::UF));
}

#[test]
fn a_body_that_is_too_long_to_keep_is_sent_once() {
    // The least of what the route and the cluster let through counts.
    for (kept, by_cluster, status, requests) in [
        (9, None, 200, 2),
        (8, None, 503, 1),
        (9, Some(9), 200, 2),
        (9, Some(8), 503, 1),
        (8, Some(9), 503, 1),
    ] {
        let (up, count) = scripted(&[(503, 0), (200, 0)]);
        let mut config = retrying(up, policy("5xx", 3));
        forward(&mut config).tries.kept_body = Some(ByteSize(kept));
        config.clusters[0].kept_body = by_cluster.map(ByteSize);
        let proxy = start(config);
        assert_eq!(post(&proxy, "some body").status(), status);
        assert_eq!(count.load(Ordering::SeqCst), requests);
    }
}

#[test]
fn an_attempt_has_its_own_time() {
    let (up, _) = scripted(&[(200, 3_000), (200, 0)]);
    let tight = Policy {
        per_try_timeout: Some(MS(100)),
        ..policy("5xx", 1)
    };
    let proxy = start(retrying(up, tight.clone()));
    let begin = Instant::now();
    assert_eq!(proxy.get("/").status(), 200);
    assert!((MS(100)..MS(2_000)).contains(&begin.elapsed()));
    let (up, _) = scripted(&[(200, 3_000)]);
    let proxy = start(retrying(up, tight));
    assert_eq!(proxy.get("/").status(), 504);
    let record = proxy.told.record();
    assert!(record.flags.has(Flags::URX) && record.flags.has(Flags::UT));
    assert_eq!(
        (&*record.details, record.attempts),
        ("upstream_per_try_timeout", 2)
    );
}

#[test]
fn a_hedge_goes_on_beside_the_first_attempt_and_the_first_good_answer_is_taken() {
    for (script, winner) in [
        (&[(200, 600), (200, 2_500)][..], "1"),
        (&[(200, 2_500), (200, 100)], "2"),
    ] {
        let (up, count) = scripted(script);
        let mut config = retrying(
            up,
            Policy {
                per_try_timeout: Some(MS(200)),
                ..policy("5xx", 1)
            },
        );
        forward(&mut config).tries.hedge = true;
        let proxy = start(config);
        let begin = Instant::now();
        let answer = post(&proxy, "body");
        assert_eq!((answer.status(), answer.body.as_str()), (200, "body"));
        assert!(begin.elapsed() < MS(2_000));
        assert_eq!(
            answer.header("told-x-envoy-attempt-count").as_deref(),
            Some(winner)
        );
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_retry_goes_to_another_endpoint() {
    let (up, _) = scripted(&[(200, 0)]);
    let mut config = retrying(
        up,
        Policy {
            other_hosts: true,
            host_picks: 5,
            ..policy("connect-failure", 1)
        },
    );
    config.clusters = vec![cluster("up", &[nobody(), up, nobody()])];
    let proxy = start(config);
    // With one retry and two dead endpoints of three, only a request whose two attempts are both dead may fail.
    let answers: Vec<_> = (0..30).map(|_| proxy.get("/").status()).collect();
    let records = proxy.told.records(30);
    let failed = answers.iter().filter(|status| **status == 503).count();
    assert!(failed < 30 && failed > 0, "{answers:?}");
    assert!(records.iter().all(|record| record.attempts <= 2));
    let other = Policy {
        other_hosts: true,
        host_picks: 5,
        ..policy("connect-failure", 1)
    };
    let mut config = retrying(up, other);
    config.clusters = vec![cluster("up", &[nobody(), up])];
    let proxy = start(config);
    assert!((0..30).all(|_| proxy.get("/").status() == 200));
}

#[test]
fn the_number_of_retries_under_way_is_bounded() {
    let (up, count) = scripted(&[(503, 200)]);
    let mut config = retrying(up, policy("5xx", 1));
    config.clusters[0].limits.default.retries = Limit::Most(2);
    let proxy = Arc::new(start(config));
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || proxy.get("/").status())
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 503);
    }
    assert_eq!(count.load(Ordering::SeqCst), 6 + 2);
    let records = proxy.told.records(6);
    let overflown = records.iter().filter(|it| it.flags.has(Flags::UO)).count();
    assert_eq!(overflown, 4);
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry_overflow{"), 4);
}

/// The load on an upstream that fails everything, in requests sent a request asked for.
fn load_in_an_outage(limit: Limit) -> f64 {
    let (up, count) = scripted(&[(503, 20)]);
    let mut config = retrying(
        up,
        Policy {
            backoff: Backoff::default(),
            ..policy("5xx", 3)
        },
    );
    config.clusters[0].limits.default.retries = limit;
    let proxy = Arc::new(start(config));
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let mut wire = proxy.connect();
                for _ in 0..25 {
                    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                    assert_eq!(wire.message().unwrap().status(), 503);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    count.load(Ordering::SeqCst) as f64 / 1_000.0
}

#[test]
fn a_budget_of_a_fifth_keeps_the_load_below_six_fifths_in_an_outage() {
    let unbounded = load_in_an_outage(Limit::Most(u32::MAX));
    assert!(unbounded > 3.9, "{unbounded}: all retries are made");
    let budget = Budget {
        share: Share::new(0.2).unwrap(),
        least: 0,
    };
    let bounded = load_in_an_outage(Limit::Budget(budget));
    // Some retries are made, so that it is the budget that holds the others back.
    assert!((1.05..=1.2).contains(&bounded), "{bounded}");
}
