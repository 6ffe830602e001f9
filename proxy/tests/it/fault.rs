//! Faults on the wire: who meets them, what they measure, what is told.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use meshbed_proxy::{
    config::{Direction, Place},
    draw::{Key, Seed},
    observe::{Effect, Flags},
    policy::{
        fault::{Fault, Rule, Select, Window, abort::Abort, delay::Delay},
        matcher::Matcher,
    },
    unit::Share,
};

use super::support::{Seen, config, echo, forward, service, start, start_with};

fn rule(id: &str, share: f64, kind: Fault) -> Rule {
    Rule {
        id: id.into(),
        name: format!("{id}@client>up"),
        windows: Vec::new(),
        matcher: Matcher::default(),
        select: Select::Share(Share::new(share).unwrap()),
        max_active: None,
        kind,
        ..Rule::default()
    }
}

fn delay(millis: u64) -> Fault {
    Fault::Delay(Delay::Fixed(Duration::from_millis(millis)))
}

fn abort(status: u16) -> Fault {
    Fault::Abort(Abort::Status { status, body: None })
}

#[test]
fn an_abort_is_answered_here() {
    let up = service(|_| panic!("the request was sent on"));
    let mut config = config(up);
    config.listeners[0].manager_mut().unwrap().faults = vec![rule("no", 1.0, abort(418))];
    let proxy = start(config);
    let answer = proxy.get("/");
    assert_eq!(
        (answer.status(), &*answer.body),
        (418, "fault filter abort")
    );
    let record = proxy.told.record();
    assert_eq!(record.flags.to_string(), "FI");
    assert_eq!(record.details, "fault_filter_abort");
    assert_eq!(
        (record.attempts, &*record.considered),
        (0, &["no".to_owned()][..])
    );
    let hit = &record.hits[0];
    assert_eq!((&*hit.fault, hit.effect), ("no", Effect::Applied));
    assert_eq!(hit.status.unwrap(), 418);
    assert!(hit.u < hit.p && hit.asked.is_none());
    assert_eq!(proxy.metric("envoy_http_fault_aborts_injected"), 1);
    assert_eq!(proxy.metric("meshbed_fault_rq_applied"), 1);
}

#[test]
fn a_delay_is_not_in_the_routes_timeout_and_is_measured() {
    let mut config = config(echo());
    forward(&mut config).timeout = Some(Duration::from_millis(40));
    config.listeners[0].manager_mut().unwrap().faults =
        vec![rule("a", 1.0, delay(60)), rule("b", 1.0, delay(45))];
    let proxy = start(config);
    assert_eq!(proxy.get("/").status(), 200);
    let record = proxy.told.record();
    assert_eq!(record.flags.to_string(), "DI");
    assert!(record.duration >= Duration::from_millis(105));
    for (hit, millis) in record.hits.iter().zip([60, 45]) {
        let asked = Duration::from_millis(millis);
        assert_eq!((hit.asked, hit.effect), (Some(asked), Effect::Applied));
        // The second is measured from the first one's end, which may be late.
        assert!(hit.actual.unwrap() > asked / 2, "{hit:?}");
    }
    let total: Duration = record.hits.iter().filter_map(|hit| hit.actual).sum();
    assert!(total >= Duration::from_millis(105), "{total:?}");
    assert_eq!(proxy.metric("envoy_http_fault_delays_injected"), 2);
    assert_eq!(proxy.metric("envoy_http_fault_active_faults"), 0);
}

#[test]
fn an_abort_comes_after_the_delays_before_it_and_supersedes_what_follows() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().faults = vec![
        rule("wait", 1.0, delay(30)),
        rule("no", 1.0, abort(503)),
        rule("late", 1.0, delay(60_000)),
        rule("other", 1.0, abort(500)),
    ];
    let proxy = start(config);
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 503);
    let record = proxy.told.record();
    assert_eq!(record.flags.to_string(), "DI,FI");
    assert!(record.duration >= Duration::from_millis(30));
    let effects: Vec<_> = record.hits.iter().map(|hit| hit.effect).collect();
    assert_eq!(
        effects,
        [
            Effect::Applied,
            Effect::Applied,
            Effect::Superseded,
            Effect::Superseded
        ]
    );
}

#[test]
fn a_client_that_leaves_during_a_delay_abandons_it() {
    let up = service(|_| panic!("the request was sent on"));
    let mut config = config(up);
    config.listeners[0].manager_mut().unwrap().faults = vec![
        rule("wait", 1.0, delay(60_000)),
        rule("no", 1.0, abort(500)),
    ];
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_http_fault_active_faults", 1);
    drop(wire);
    let record = proxy.told.record();
    assert_eq!(record.status, None);
    assert!(record.flags.has(Flags::DI) && record.flags.has(Flags::DC));
    assert!(
        record
            .hits
            .iter()
            .all(|hit| hit.effect == Effect::Abandoned)
    );
    assert_eq!(proxy.metric("envoy_http_fault_active_faults"), 0);
}

#[test]
fn max_active_caps_how_many_suffer_at_once() {
    let mut config = config(echo());
    let mut capped = rule("wait", 1.0, delay(200));
    capped.max_active = Some(1);
    config.listeners[0].manager_mut().unwrap().faults = vec![capped];
    let proxy = Arc::new(start(config));
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_http_fault_active_faults", 1);
    proxy.get("/second");
    first.message().unwrap();
    proxy.get("/third");
    let records = proxy.told.records(3);
    let effect = |path: &str| {
        let record = records.iter().find(|record| record.path == path).unwrap();
        (record.hits[0].effect, record.flags.to_string())
    };
    assert_eq!(effect("/first"), (Effect::Applied, "DI".to_owned()));
    assert_eq!(effect("/second"), (Effect::Capped, "-".to_owned()));
    assert_eq!(effect("/third"), (Effect::Applied, "DI".to_owned()));
    assert_eq!(proxy.metric("envoy_http_fault_faults_overflow"), 1);
}

const RUN: u64 = 0xab_cdef_0123;

fn traceparent(side: u8, intended_ms: u32, ordinal: u64) -> String {
    format!(
        "traceparent: 00-{RUN:010x}{side:02x}{intended_ms:08x}{ordinal:012x}-00f067aa0ba902b7-01\r\n"
    )
}

/// Sends ordinals 0 to 999, each twice, over so many connections.
fn play(workers: usize, connections: usize, seed: u64) -> Vec<Seen> {
    let mut config = config(echo());
    config.seed = Seed(seed);
    config.run = Some(RUN);
    config.listeners[0].place = Some(Place {
        caller: "client".into(),
        service: "up".into(),
        direction: Direction::Outbound,
    });
    config.listeners[0].manager_mut().unwrap().faults = vec![rule("some", 0.2, abort(503))];
    let proxy = Arc::new(start_with(config, workers));
    let (next, work) = mpsc::channel();
    for ordinal in 0..1_000_u64 {
        next.send(ordinal).unwrap();
    }
    drop(next);
    let work = Arc::new(Mutex::new(work));
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let (proxy, work) = (Arc::clone(&proxy), Arc::clone(&work));
            std::thread::spawn(move || {
                let mut wire = proxy.connect();
                loop {
                    let Ok(ordinal) = work.lock().unwrap().recv() else {
                        return;
                    };
                    for _ in 0..2 {
                        let trace = traceparent(0, ordinal as u32, ordinal);
                        wire.send(format!(
                            "GET /item?q={ordinal} HTTP/1.1\r\nhost: a\r\n{trace}\r\n"
                        ));
                        wire.message().unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    proxy.told.records(2_000)
}

fn chosen(records: &[Seen]) -> Vec<(u64, u32)> {
    let mut chosen: Vec<_> = records
        .iter()
        .filter(|record| !record.hits.is_empty())
        .map(|record| (record.identity.ordinal, record.identity.n))
        .collect();
    chosen.sort_unstable();
    chosen
}

#[test]
fn the_same_seed_chooses_the_same_requests_whatever_the_workers_and_connections() {
    let first = chosen(&play(1, 1, 7));
    // 3 sigma of 2,000 draws of one in five: 54.
    assert!((346..=454).contains(&first.len()), "{}", first.len());
    assert_eq!(chosen(&play(2, 1, 7)), first);
    assert_eq!(chosen(&play(1, 64, 7)), first);
    assert_eq!(chosen(&play(2, 64, 7)), first);
    assert_ne!(chosen(&play(1, 1, 8)), first);
    let draw = Seed(7).rule("some@client>up");
    let mut expected = Vec::new();
    for ordinal in 0..1_000 {
        for n in 0..2 {
            let key = Key {
                ordinal,
                n,
                attempt: 0,
                method: "GET",
                path: "/item",
            };
            if draw.unit(&key) < 0.2 {
                expected.push((ordinal, n));
            }
        }
    }
    assert_eq!(first, expected);
}

#[test]
fn windows_go_by_the_intended_time_and_sides_are_counted_apart() {
    let mut config = config(echo());
    config.run = Some(RUN);
    config.listeners[0].place = Some(Place {
        caller: "client".into(),
        service: "up".into(),
        direction: Direction::Outbound,
    });
    let mut timed = rule("timed", 1.0, abort(503));
    timed.windows = vec![Window {
        begin_ms: 100,
        end_ms: 200,
    }];
    config.listeners[0].manager_mut().unwrap().faults = vec![timed];
    let proxy = start(config);
    let mut wire = proxy.connect();
    let foreign =
        "traceparent: 00-11111111111111111111111111111111-00f067aa0ba902b7-01\r\n".to_owned();
    for (trace, status) in [
        (traceparent(0, 99, 1), 200),
        (traceparent(0, 100, 1), 503),
        (traceparent(1, 199, 1), 503),
        (traceparent(0, 200, 1), 200),
        (foreign, 200),
    ] {
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{trace}\r\n"));
        assert_eq!(wire.message().unwrap().status(), status, "{trace}");
    }
    let seen: Vec<_> = proxy
        .told
        .records(5)
        .iter()
        .map(|record| {
            let identity = record.identity;
            (
                identity.side,
                identity.n,
                identity.intended_ms,
                identity.scheduled,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0, 0, Some(99), true),
            (0, 1, Some(100), true),
            (1, 0, Some(199), true),
            (0, 2, Some(200), true),
            (0, 0, None, false),
        ]
    );
}
