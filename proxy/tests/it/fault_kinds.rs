//! Each kind of fault on the wire, at both places.

use std::{
    io::{ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use meshbed_proxy::{
    config::Config,
    observe::{Effect, Flags},
    policy::{
        fault::{
            Fault, Place, Rule, Select, abort::Abort, delay::Delay, header::Header,
            rewrite::Rewrite, throttle::Throttle, truncate::Truncate,
        },
        retry::{Backoff, Limit, On, Policy},
    },
    unit::Share,
};
use tokio::time::Instant;

use super::support::{config, echo, forward, service, start};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn rule(place: Place, share: f64, kind: Fault) -> Rule {
    Rule {
        id: "f".into(),
        name: "f@client>up".to_owned(),
        select: Select::Share(Share::new(share).unwrap()),
        place,
        kind,
        ..Rule::default()
    }
}

fn with(rules: Vec<Rule>) -> Config {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().faults = rules;
    config
}

fn retrying(config: &mut Config, retries: u32) {
    forward(config).tries.retry = Some(Policy {
        on: On::SERVER_ERROR,
        retries,
        backoff: Backoff {
            base: MS(1),
            max: MS(1),
        },
        ..Policy::default()
    });
    config.clusters[0].limits.default.retries = Limit::Most(u32::MAX);
}

fn abort(status: u16) -> Fault {
    Fault::Abort(Abort::Status { status, body: None })
}

#[test]
fn half_of_the_attempts_aborted_leaves_an_eighth_of_the_requests_after_three() {
    let mut config = with(vec![rule(Place::Attempt, 0.5, abort(503))]);
    retrying(&mut config, 2);
    let proxy = start(config);
    let mut wire = proxy.connect();
    let requests = 4_000;
    let failed = (0..requests)
        .filter(|n| {
            wire.send(format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"));
            wire.message().unwrap().status() == 503
        })
        .count();
    let share = failed as f64 / f64::from(requests);
    let sigma = (0.125_f64 * 0.875 / f64::from(requests)).sqrt();
    assert!((share - 0.125).abs() < 3.0 * sigma, "{share}");
    let records = proxy.told.records(requests as usize);
    let exhausted = records.iter().filter(|it| it.flags.has(Flags::URX));
    assert_eq!(exhausted.count(), failed);
    // Each attempt has its own draw: 1 + 1/2 + 1/4 of the requests were attempts, half of them hits.
    let hits: usize = records.iter().map(|it| it.hits.len()).sum();
    let expected = 0.875 * f64::from(requests);
    assert!(
        (hits as f64 - expected).abs() < 4.0 * expected.sqrt(),
        "{hits}"
    );
    let hits = records.iter().flat_map(|it| &it.hits);
    assert!(hits.clone().all(|hit| hit.effect == Effect::Applied));
}

#[test]
fn a_request_meets_its_abort_once_and_an_attempt_each_time() {
    for (place, attempts) in [(Place::Request, 0), (Place::Attempt, 4)] {
        let mut config = with(vec![rule(place, 1.0, abort(503))]);
        retrying(&mut config, 3);
        let proxy = start(config);
        let answer = proxy.get("/");
        assert_eq!(
            (answer.status(), &*answer.body),
            (503, "fault filter abort")
        );
        let record = proxy.told.record();
        assert_eq!(
            (record.attempts, &*record.details),
            (attempts, "fault_filter_abort")
        );
        assert!(record.flags.has(Flags::FI));
        assert_eq!(record.hits.len(), attempts.max(1));
    }
}

#[test]
fn a_late_attempt_runs_into_its_own_time_and_a_late_request_does_not() {
    for (place, status) in [(Place::Request, 200), (Place::Attempt, 504)] {
        let delay = Fault::Delay(Delay::Fixed(MS(400)));
        let mut config = with(vec![rule(place, 1.0, delay)]);
        retrying(&mut config, 1);
        let tries = &mut forward(&mut config).tries;
        tries.retry.as_mut().unwrap().per_try_timeout = Some(MS(100));
        let proxy = start(config);
        assert_eq!(proxy.get("/").status(), status, "{place:?}");
        assert!(proxy.told.record().flags.has(Flags::DI));
    }
}

#[test]
fn an_answer_may_be_late() {
    for place in [Place::Request, Place::Attempt] {
        let came = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&came);
        let up = service(move |mut wire| {
            while wire.message().is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let mut config = config(up);
        let late = Fault::DelayAnswer(Delay::Fixed(MS(300)));
        config.listeners[0].manager_mut().unwrap().faults = vec![rule(place, 1.0, late)];
        let proxy = start(config);
        let begin = Instant::now();
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        while came.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert!(begin.elapsed() < MS(250), "the request was not late");
        assert_eq!(wire.message().unwrap().status(), 200);
        assert!(begin.elapsed() >= MS(300));
        let record = proxy.told.record();
        assert_eq!(record.hits[0].effect, Effect::Applied);
        assert!(record.flags.has(Flags::DI));
    }
}

#[test]
fn a_throttled_body_comes_at_its_rate() {
    for place in [Place::Request, Place::Attempt] {
        let throttle = Fault::Throttle(Throttle {
            bytes_per_second: 8_000,
        });
        let proxy = start(with(vec![rule(place, 1.0, throttle)]));
        let body = "x".repeat(4_000);
        let mut wire = proxy.connect();
        let begin = Instant::now();
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000\r\n\r\n{body}"
        ));
        let answer = wire.message().unwrap();
        assert!(answer.body.ends_with(&body), "every byte comes");
        let took = begin.elapsed().as_secs_f64();
        let expected = answer.body.len() as f64 / 8_000.0;
        assert!((expected - 0.1..expected + 0.5).contains(&took), "{took}");
        let record = proxy.told.record();
        assert!(record.complete && record.bytes_out == answer.body.len() as u64);
    }
}

#[test]
fn a_truncated_body_breaks_off() {
    for place in [Place::Request, Place::Attempt] {
        let truncate = Fault::Truncate(Truncate { after: 20 });
        let proxy = start(with(vec![rule(place, 1.0, truncate)]));
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = wire.head().unwrap();
        assert!(head.contains("content-length: "), "{head}");
        assert_eq!(wire.rest().len(), 20);
        let record = proxy.told.record();
        assert!(
            !record.complete && record.flags.has(Flags::FI),
            "{record:?}"
        );
        assert_eq!(record.bytes_out, 20);
    }
}

#[test]
fn a_rewritten_answer_is_another_one() {
    for place in [Place::Request, Place::Attempt] {
        let rewrite = Fault::Rewrite(Rewrite {
            status: Some(418),
            headers: vec![("x-broken".to_owned(), "1".to_owned())],
            body: Some("nonsense".to_owned()),
        });
        let proxy = start(with(vec![rule(place, 1.0, rewrite)]));
        // The connections stay good for the next request.
        let mut wire = proxy.connect();
        for _ in 0..3 {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = wire.message().unwrap();
            assert_eq!((answer.status(), &*answer.body), (418, "nonsense"));
            assert_eq!(answer.header("x-broken").as_deref(), Some("1"));
        }
    }
}

#[test]
fn a_rewritten_attempt_is_what_a_retry_policy_sees() {
    let rewrite = Fault::Rewrite(Rewrite {
        status: Some(503),
        ..Rewrite::default()
    });
    let mut config = with(vec![rule(Place::Attempt, 1.0, rewrite)]);
    retrying(&mut config, 2);
    let proxy = start(config);
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.told.record().attempts, 3);
}

#[test]
fn a_client_may_be_cut_off() {
    for (abort, is_reset) in [(Abort::Reset, true), (Abort::GoAway, false)] {
        let proxy = start(with(vec![rule(Place::Request, 1.0, Fault::Abort(abort))]));
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let end = wire.tcp.read(&mut [0; 16]);
        match end {
            Ok(read) => assert!(read == 0 && !is_reset, "an order end"),
            Err(error) => assert!(error.kind() == ErrorKind::ConnectionReset && is_reset),
        }
        let record = proxy.told.record();
        assert_eq!((record.status, record.flags), (None, Flags::FI));
        assert_eq!(record.hits[0].effect, Effect::Applied);
    }
}

#[test]
fn an_attempt_that_is_reset_is_retried() {
    let mut config = with(vec![Rule {
        select: Select::First(1),
        ..rule(Place::Attempt, 1.0, Fault::Abort(Abort::Reset))
    }]);
    retrying(&mut config, 1);
    let proxy = start(config);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.told.record().attempts, 2);
}

#[test]
fn a_request_may_ask_for_its_faults() {
    let proxy = start(with(vec![
        rule(
            Place::Request,
            1.0,
            Fault::Header(Header::Delay { of: 100 }),
        ),
        rule(
            Place::Request,
            1.0,
            Fault::Header(Header::Abort { of: 100 }),
        ),
    ]));
    let get = |headers: &str| {
        let mut wire = proxy.connect();
        let begin = Instant::now();
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
        (wire.message().unwrap().status(), begin.elapsed() >= MS(200))
    };
    let (delay, abort) = (
        "x-envoy-fault-delay-request: 200\r\n",
        "x-envoy-fault-abort-request: 507\r\n",
    );
    assert_eq!(get(""), (200, false));
    assert_eq!(get(delay), (200, true));
    assert_eq!(get(&format!("{delay}{abort}")), (507, true));
    let never = "x-envoy-fault-abort-request-percentage: 0\r\n";
    assert_eq!(get(&format!("{abort}{never}")), (200, false));
}

#[test]
fn the_faults_of_a_group_share_their_bound_and_a_request_counts_once() {
    let grouped = |kind| Rule {
        max_active: Some(1),
        group: Some("g".to_owned()),
        ..rule(Place::Request, 1.0, kind)
    };
    let proxy = start(with(vec![
        grouped(Fault::Delay(Delay::Fixed(MS(400)))),
        grouped(abort(503)),
    ]));
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_http_fault_active_faults", 1);
    assert_eq!(proxy.get("/second").status(), 200, "it is beyond the bound");
    assert_eq!(first.message().unwrap().status(), 503);
    assert_eq!(proxy.metric("envoy_http_fault_faults_overflow"), 2);
}
