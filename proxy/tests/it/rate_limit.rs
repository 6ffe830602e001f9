//! Local rate limits on the wire: what passes, what is told, whose bucket it is.

use std::{sync::Arc, thread, time::Duration};

use meshbed_proxy::{
    config::{Config, Filter, RateLimit},
    observe::Flags,
    policy::rate_limit::{Action, Fill, Settings},
    unit::Share,
};
use tokio::time::Instant;

use super::support::{config, echo, start, start_with};

fn fill(most: u64, tokens: u64, interval_s: f64) -> Fill {
    Fill {
        most,
        tokens,
        interval_s,
    }
}

fn limited(limit: RateLimit) -> Config {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().filters = vec![Filter::RateLimit(Box::new(limit))];
    config
}

fn all(fill: Fill) -> Settings {
    Settings {
        stat_prefix: "limit".to_owned(),
        fill: Some(fill),
        enabled: Share::ALL,
        enforced: Share::ALL,
        tells: true,
        ..Settings::default()
    }
}

#[test]
fn what_is_left_and_what_is_refused_is_told() {
    let proxy = start(limited(RateLimit {
        settings: Settings {
            answer_headers: vec![("x-limited".to_owned(), "yes".to_owned())],
            ..all(fill(2, 2, 60.0))
        },
        ..RateLimit::default()
    }));
    for (status, remaining, own) in [(200, "1", None), (200, "0", None), (429, "0", Some("yes"))] {
        let answer = proxy.get("/");
        assert_eq!(answer.status(), status);
        assert_eq!(answer.header("x-ratelimit-limit").as_deref(), Some("2"));
        assert_eq!(
            answer.header("x-ratelimit-remaining").as_deref(),
            Some(remaining)
        );
        assert_eq!(answer.header("x-limited").as_deref(), own);
        if status == 429 {
            assert_eq!(answer.body, "local_rate_limited");
        }
    }
    let record = proxy.told.records(3).remove(2);
    assert_eq!(
        (record.flags, &*record.details),
        (Flags::RL, "local_rate_limited")
    );
    assert_eq!(proxy.metric("envoy_http_local_rate_limit_rate_limited{"), 1);
}

#[test]
fn event_loops_share_the_bucket_and_no_more_passes_than_its_rate() {
    // 200 a second and 20 at once, for as long as 4 clients of 2 event loops can ask within about a second.
    let limit = RateLimit {
        settings: all(fill(20, 20, 0.1)),
        ..RateLimit::default()
    };
    let proxy = Arc::new(start_with(limited(limit), 2));
    let begin = Instant::now();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let mut wire = proxy.connect();
                let mut passed = 0;
                while begin.elapsed() < Duration::from_secs(1) {
                    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                    passed += u64::from(wire.message().unwrap().status() == 200);
                }
                passed
            })
        })
        .collect();
    let passed: u64 = clients.into_iter().map(|it| it.join().unwrap()).sum();
    let most = 20.0 + 200.0 * begin.elapsed().as_secs_f64();
    assert!(
        (200..=most as u64 + 1).contains(&passed),
        "{passed} of {most}"
    );
}

#[test]
fn users_have_buckets_of_their_own() {
    let proxy = start(limited(RateLimit {
        settings: Settings {
            fill: None,
            descriptors: vec![(vec![("user".to_owned(), String::new())], fill(1, 1, 60.0))],
            ..all(fill(1, 1, 60.0))
        },
        actions: vec![vec![Action::Header {
            name: "x-user".to_owned(),
            key: "user".to_owned(),
            skip: false,
        }]],
        ..RateLimit::default()
    }));
    let status = |user: &str| {
        let mut wire = proxy.connect();
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{user}\r\n"));
        wire.message().unwrap().status()
    };
    let users = ["x-user: a\r\n", "x-user: b\r\n", "x-user: a\r\n", "", ""];
    assert_eq!(users.map(status), [200, 200, 429, 200, 200]);
}

#[test]
fn a_limit_that_is_not_enforced_marks_the_request() {
    let proxy = start(limited(RateLimit {
        settings: Settings {
            enforced: Share::NONE,
            request_headers: vec![("x-over".to_owned(), "1".to_owned())],
            ..all(fill(1, 1, 60.0))
        },
        ..RateLimit::default()
    }));
    let marked = [(); 2].map(|()| proxy.get("/").body.contains("x-over: 1"));
    assert_eq!(marked, [false, true]);
}
