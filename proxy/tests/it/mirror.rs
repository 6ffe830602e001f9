//! Mirrors on the wire: the copy, its limits, what is told, and that the primary never waits.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use meshbed_proxy::{
    config::Config,
    observe::{Answer, First, Outcome},
    policy::{
        fault::{Fault, Rule, Select, abort::Abort},
        matcher::Matcher,
        mirror::{Limits, Mirror},
        protocol::Upstream,
    },
    unit::{ByteSize, Share},
};

use rustix::net::{RecvFlags, recv};
use tokio::time::Instant;

use super::http2::peer;
use super::support::{cluster, config, echo, forward, nobody, once, service, start};

fn mirror() -> Mirror {
    Mirror {
        id: "candidate".to_owned(),
        cluster: "shadow".to_owned(),
        compare: true,
        ..Mirror::default()
    }
}

fn mirrored_to(primary: SocketAddr, shadow: SocketAddr, mirror: Mirror) -> Config {
    let mut config = config(primary);
    config.clusters.push(cluster("shadow", &[shadow]));
    forward(&mut config).mirrors = vec![mirror];
    config
}

#[test]
fn a_copy_is_the_request_but_for_what_the_mirror_changes() {
    let run = 0xab_u64;
    let mut settings = mirror();
    settings.side = 3;
    settings.host_suffix = "-shadow".to_owned();
    settings.set_headers = vec![("x-shadow".to_owned(), "yes".to_owned())];
    settings.remove_headers = vec!["cookie".to_owned()];
    let mut config = mirrored_to(echo(), echo(), settings);
    config.run = Some(run);
    let proxy = start(config);
    let mut wire = proxy.connect();
    let trace = |side: u8| {
        format!(
            "00-{run:010x}{side:02x}{:08x}{:012x}-00f067aa0ba902b7-01",
            5, 9
        )
    };
    wire.send(format!(
        "POST /pay?x HTTP/1.1\r\nhost: shop.test:80\r\ncookie: a=b\r\nx-request-id: id\r\ntraceparent: {}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        trace(0)
    ));
    let answer = wire.message().unwrap();
    assert!(answer.body.contains(&trace(0)) && answer.body.contains("cookie: a=b\r\n"));
    let told = proxy.told.mirrored(1).remove(0);
    assert_eq!(told.outcome, Outcome::Compared);
    assert_eq!(
        (&*told.shadow, told.method.as_str(), &*told.path),
        ("candidate", "POST", "/pay?x")
    );
    assert_eq!((told.identity.ordinal, told.identity.side), (9, 0));
    let (primary, shadow) = (told.primary.unwrap(), told.answer.unwrap());
    assert_eq!(primary.body, answer.body);
    assert_eq!(primary.length, answer.body.len() as u64);
    assert_eq!(
        primary
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .collect::<Vec<_>>(),
        ["content-length"]
    );
    let copy = String::from_utf8(shadow.body.to_vec()).unwrap();
    for part in [
        "POST /pay?x HTTP/1.1\r\nhost: shop.test-shadow:80\r\n",
        "x-request-id: id\r\n",
        "x-shadow: yes\r\n",
        &trace(3),
        "\r\n\r\nabc",
    ] {
        assert!(copy.contains(part), "{part} is not in {copy}");
    }
    assert!(!copy.contains("cookie"), "{copy}");
    assert_eq!(proxy.metric("meshbed_mirror_rq_answered"), 1);
}

#[test]
fn a_shadow_that_hangs_or_refuses_does_not_delay_the_primary_and_every_copy_is_told_of() {
    let hangs = service(|mut wire| {
        wire.message();
        wire.message();
    });
    for (shadow, expected) in [
        (hangs, "timeout"),
        (nobody(), "connect"),
        (once(""), "reset"),
        (once("junk\r\n\r\n"), "protocol"),
    ] {
        let mut settings = mirror();
        settings.limits = Limits {
            in_flight: 4,
            queue: 8,
            deadline: Duration::from_secs(1),
            ..Limits::default()
        };
        let proxy = start(mirrored_to(echo(), shadow, settings));
        let mut wire = proxy.connect();
        let begin = Instant::now();
        for _ in 0..200 {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(wire.message().unwrap().status(), 200);
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
        let told = proxy.told.mirrored(200);
        let failed: Vec<_> = told
            .iter()
            .filter(|told| matches!(told.outcome, Outcome::Failed(_)))
            .collect();
        assert!(!failed.is_empty(), "{expected}");
        for told in failed {
            assert_eq!(told.outcome, Outcome::Failed(expected));
            assert_eq!(told.primary.as_ref().unwrap().status, 200);
            assert!(told.answer.is_none());
        }
        for told in &told {
            let known = [
                Outcome::Failed(expected),
                Outcome::Shed("queue"),
                Outcome::Shed("connect_backoff"),
            ];
            assert!(known.contains(&told.outcome), "{:?}", told.outcome);
        }
        proxy.told.records(200);
        let counted: u64 = ["meshbed_mirror_rq_shed", "meshbed_mirror_rq_failed"]
            .iter()
            .map(|name| proxy.metric(name))
            .sum();
        assert_eq!(counted, 200);
        assert_eq!(proxy.metric("meshbed_mirror_rq_chosen"), 200);
    }
}

#[test]
fn a_body_that_is_too_long_is_not_copied() {
    let (seen, requests) = mpsc::channel();
    let shadow = service(move |mut wire| {
        while let Some(request) = wire.message() {
            seen.send(request.body).unwrap();
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let mut settings = mirror();
    settings.limits.request_body = ByteSize(4);
    let proxy = start(mirrored_to(echo(), shadow, settings));
    let mut wire = proxy.connect();
    for framed in [
        "content-length: 5\r\n\r\nabcde",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "content-length: 4\r\n\r\nabcd",
    ] {
        wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framed}"));
        assert_eq!(wire.message().unwrap().status(), 200);
    }
    let outcomes: Vec<_> = proxy
        .told
        .mirrored(3)
        .iter()
        .map(|told| told.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Shed("request_body"),
            Outcome::Shed("request_body"),
            Outcome::Compared
        ]
    );
    assert_eq!(requests.recv().unwrap(), "abcd");
    assert!(requests.try_recv().is_err());
}

#[test]
fn answers_are_kept_up_to_a_limit() {
    let up = service(|mut wire| {
        while wire.message().is_some() {
            wire.send("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
            thread::sleep(Duration::from_millis(20));
            wire.send("3\r\ndef\r\n0\r\n\r\n");
        }
    });
    let mut settings = mirror();
    settings.limits.response_body = ByteSize(4);
    let proxy = start(mirrored_to(up, up, settings));
    assert_eq!(proxy.get("/").body, "abcdef");
    let told = proxy.told.mirrored(1).remove(0);
    for answer in [told.primary.unwrap(), told.answer.unwrap()] {
        assert_eq!(
            (answer.status.as_u16(), &*answer.body, answer.length),
            (201, &b"abcd"[..], 6)
        );
        assert!(answer.rest.is_some());
        assert!(answer.duration >= Duration::from_millis(20));
    }
}

#[test]
fn trailers_of_both_answers_are_kept() {
    let side = |status: &'static str| {
        peer::service(
            h2::server::Builder::new(),
            move |_, mut respond| async move {
                let mut send = respond
                    .send_response(http::Response::new(()), false)
                    .unwrap();
                send.send_data("hi".into(), false).unwrap();
                send.send_trailers(peer::headers(&[("grpc-status", status)]))
                    .unwrap();
            },
        )
    };
    let mut config = mirrored_to(side("0"), side("5"), mirror());
    for cluster in &mut config.clusters {
        cluster.protocol = Upstream::Http2;
    }
    let proxy = start(config);
    let client = peer::Client::connect(proxy.address);
    let answer = client.get("/shop.Cart/Get").unwrap();
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    let told = proxy.told.mirrored(1).remove(0);
    let status = |answer: Option<Answer>| answer.unwrap().trailers.unwrap()["grpc-status"].clone();
    assert_eq!(
        (status(told.primary).as_ref(), status(told.answer).as_ref()),
        (&b"0"[..], &b"5"[..])
    );
}

#[test]
fn without_an_answer_of_the_primarys_there_is_nothing_to_compare() {
    let proxy = start(mirrored_to(nobody(), echo(), mirror()));
    assert_eq!(proxy.get("/").status(), 503);
    let told = proxy.told.mirrored(1).remove(0);
    assert_eq!(told.outcome, Outcome::Skipped("primary_failed"));
    assert!(told.primary.is_none() && told.answer.is_some());

    let hangs = service(|mut wire| {
        wire.message();
        wire.message();
    });
    let proxy = start(mirrored_to(hangs, echo(), mirror()));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.await_metric("envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"shadow\"}", 1);
    drop(wire);
    assert_eq!(
        proxy.told.mirrored(1).remove(0).outcome,
        Outcome::Skipped("client_left")
    );
}

#[test]
fn each_side_is_sent_first_half_of_the_time() {
    const REQUESTS: usize = 400;
    // The shadow reads a copy when it is told to. What was written to it lies in its socket until then.
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let sockets = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let shadow = service({
        let sockets = Arc::clone(&sockets);
        move |mut wire| {
            sockets.lock().unwrap().push(wire.tcp.try_clone().unwrap());
            while wait.lock().unwrap().recv().is_ok() && wire.message().is_some() {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    let copies = Arc::new(Mutex::new(Vec::<bool>::new()));
    let primary = service({
        let copies = Arc::clone(&copies);
        move |mut wire| {
            while wire.message().is_some() {
                let is_there = sockets.lock().unwrap().iter().any(|socket| {
                    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                    recv(socket, &mut [0; 1], flags).is_ok_and(|(_, count)| count > 0)
                });
                copies.lock().unwrap().push(is_there);
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    let proxy = start(mirrored_to(primary, shadow, mirror()));
    let mut wire = proxy.connect();
    let mut first = Vec::new();
    for number in 0..REQUESTS {
        wire.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(wire.message().unwrap().status(), 200);
        go.send(()).unwrap();
        first.push(proxy.told.mirrored(1).remove(0).first);
    }
    let count = first.iter().filter(|first| **first == First::Shadow);
    // 3 sigma of 400 draws of a half: 30.
    let count = count.count();
    assert!((170..=230).contains(&count), "{count}");
    for (first, copy_is_there) in first.iter().zip(&*copies.lock().unwrap()) {
        assert!(*copy_is_there || *first == First::Primary);
    }
}

#[test]
fn what_may_change_something_is_not_copied_unless_that_is_wanted() {
    let mut settings = mirror();
    settings.safe_only = true;
    let proxy = start(mirrored_to(echo(), echo(), settings));
    let mut wire = proxy.connect();
    for (method, expected) in [
        ("GET", Outcome::Compared),
        ("HEAD", Outcome::Compared),
        ("OPTIONS", Outcome::Compared),
        ("POST", Outcome::Skipped("unsafe")),
        ("DELETE", Outcome::Skipped("unsafe")),
        ("PURGE", Outcome::Skipped("unsafe")),
    ] {
        wire.send(format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
        assert_eq!(wire.message_to(method).unwrap().status(), 200);
        assert_eq!(
            proxy.told.mirrored(1).remove(0).outcome,
            expected,
            "{method}"
        );
    }
    assert_eq!(proxy.metric("meshbed_mirror_rq_skipped"), 3);
}

#[test]
fn an_aborted_request_is_not_mirrored() {
    let mut config = mirrored_to(echo(), echo(), mirror());
    config.listeners[0].manager_mut().unwrap().faults = vec![Rule {
        id: "no".into(),
        name: "fault no".to_owned(),
        windows: Vec::new(),
        matcher: Matcher::default(),
        select: Select::Every(2),
        max_active: None,
        kind: Fault::Abort(Abort::Status {
            status: 503,
            body: None,
        }),
        ..Rule::default()
    }];
    let proxy = start(config);
    for status in [200, 503, 200, 503] {
        assert_eq!(proxy.get("/").status(), status);
    }
    proxy.told.records(4);
    assert_eq!(proxy.told.mirrored(2).len(), 2);
    assert_eq!(proxy.metric("meshbed_mirror_rq_chosen"), 2);
}

#[test]
fn an_upgrade_is_not_copied() {
    let shadow = service(|_| panic!("the upgrade was copied"));
    let up = service(|mut wire| {
        wire.head();
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        );
    });
    let mut config = mirrored_to(up, shadow, mirror());
    config.listeners[0].manager_mut().unwrap().upgrades = vec!["websocket".to_owned()];
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(wire.head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(
        proxy.told.mirrored(1).remove(0).outcome,
        Outcome::Skipped("upgrade")
    );
}

#[test]
fn a_sample_is_that_of_its_share() {
    let mut settings = mirror();
    settings.share = Share::new(0.1).unwrap();
    settings.compare = false;
    let proxy = start(mirrored_to(echo(), echo(), settings));
    let mut wire = proxy.connect();
    for _ in 0..1_000 {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap();
    }
    let chosen = proxy.metric("meshbed_mirror_rq_chosen");
    // 3 sigma of 1,000 draws of one in ten: 28.
    assert!((72..=128).contains(&chosen), "{chosen}");
    let told = proxy.told.mirrored(chosen as usize);
    assert!(
        told.iter()
            .all(|told| told.outcome == Outcome::Compared && told.answer.is_none())
    );
}
