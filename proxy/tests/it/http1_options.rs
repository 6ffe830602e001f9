//! What a file may settle about HTTP/1 and about who a client is.

use std::{thread, time::Duration};

use meshbed_proxy::{
    config::Config,
    observe::Flags,
    policy::{
        http1::{Http1, Names, Underscores},
        origin::Origin,
    },
};

use super::support::{Wire, config, echo, service, start};

fn with(up: std::net::SocketAddr, http1: Http1) -> Config {
    let mut config = config(up);
    config.clusters[0].http1 = http1.clone();
    config.listeners[0].manager_mut().unwrap().http1 = http1;
    config
}

#[test]
fn names_are_written_as_words_or_as_they_were_sent() {
    for (names, request, answer) in [
        (
            Names::Lower,
            "host: a\r\nx-foo-bar: 1\r\n",
            "x-one-two: 1\r\n",
        ),
        (
            Names::Words,
            "Host: a\r\nX-Foo-Bar: 1\r\n",
            "X-One-Two: 1\r\n",
        ),
        (
            Names::AsSent,
            "HOST: a\r\nX-fOO-bar: 1\r\n",
            "X-oNE-two: 1\r\n",
        ),
    ] {
        let up = service(move |mut wire| {
            let head = wire.head().unwrap();
            assert!(head.contains(request), "{head}");
            wire.send("HTTP/1.1 200 OK\r\nX-oNE-two: 1\r\nContent-Length: 0\r\n\r\n");
        });
        let http1 = Http1 {
            names,
            ..Http1::default()
        };
        let proxy = start(with(up, http1));
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHOST: a\r\nX-fOO-bar: 1\r\n\r\n");
        let head = wire.head().unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains(answer),
            "{head}"
        );
    }
}

#[test]
fn trailers_pass_both_ways_where_that_is_asked_for() {
    let (seen, requests) = std::sync::mpsc::channel();
    let up = service(move |mut wire| {
        wire.head();
        let mut body = String::new();
        while !body.ends_with("\r\n\r\n") {
            body += &wire.line();
        }
        seen.send(body).unwrap();
        wire.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-u: 2\r\n\r\n",
        );
    });
    let http1 = Http1 {
        trailers: true,
        ..Http1::default()
    };
    let proxy = start(with(up, http1));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
    wire.head();
    assert_eq!(wire.rest(), b"3\r\nabc\r\n0\r\nx-u: 2\r\n\r\n");
    assert_eq!(requests.recv().unwrap(), "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
}

#[test]
fn a_message_with_both_framings_is_read_by_its_chunks_where_that_is_asked_for() {
    let http1 = Http1 {
        chunked_length: true,
        ..Http1::default()
    };
    let proxy = start(with(echo(), http1));
    let mut wire = proxy.connect();
    wire.send(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
         GET /next HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    let answer = wire.message().unwrap();
    assert!(answer.body.ends_with("\r\n\r\nab"), "{}", answer.body);
    assert!(!answer.body.contains("content-length"), "{}", answer.body);
    assert!(wire.message().unwrap().body.starts_with("GET /next "));
}

#[test]
fn headers_with_underscores_are_dropped_or_refused() {
    for (underscores, status) in [(Underscores::Drop, 200), (Underscores::Reject, 400)] {
        let http1 = Http1 {
            underscores,
            ..Http1::default()
        };
        let proxy = start(with(echo(), http1));
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\nx-z: 2\r\n\r\n");
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), status);
        assert!(!answer.body.contains("x_y"), "{}", answer.body);
        let record = proxy.told.record();
        assert_eq!(record.flags.has(Flags::DPE), status == 400);
    }
}

#[test]
fn a_connection_ends_after_its_most_requests_on_both_sides() {
    let http1 = Http1 {
        max_requests: Some(2),
        ..Http1::default()
    };
    let proxy = start(with(echo(), http1));
    for _ in 0..2 {
        let mut wire = proxy.connect();
        for close in [None, Some("close")] {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = wire.message().unwrap();
            assert_eq!(answer.header("connection").as_deref(), close);
        }
        assert_eq!(wire.message(), None);
    }
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), 2);
}

#[test]
fn an_old_connection_takes_no_requests() {
    let http1 = Http1 {
        max_age: Some(Duration::from_millis(100)),
        drain: Duration::from_millis(100),
        ..Http1::default()
    };
    let proxy = start(with(echo(), http1));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.message().unwrap().header("connection"), None);
    // Without a request it ends after its age and the time to drain.
    assert_eq!(wire.message(), None);
    let mut wire = proxy.connect();
    thread::sleep(Duration::from_millis(120));
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    if let Some(answer) = wire.message() {
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
    }
}

#[test]
fn who_the_client_is_is_told_to_the_next_hop() {
    let mut config = config(echo());
    let manager = config.listeners[0].manager_mut().unwrap();
    manager.origin = Origin {
        use_remote_address: true,
        ..Origin::default()
    };
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send(
        "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nx-envoy-internal: true\r\n\
         x-request-id: mine\r\nx-envoy-force-trace: 1\r\nx-envoy-decorator-operation: x\r\n\r\n",
    );
    let body = wire.message().unwrap().body;
    assert!(body.contains("x-forwarded-for: 1.1.1.1,2.2.2.2,"), "{body}");
    assert!(
        body.contains("x-envoy-external-address: 127.0.0.1\r\n"),
        "{body}"
    );
    for gone in [
        "x-envoy-internal",
        "x-request-id: mine",
        "force-trace",
        "decorator",
    ] {
        assert!(!body.contains(gone), "{gone}: {body}");
    }
}

#[test]
fn an_answer_before_the_requests_end_ends_the_connection() {
    let up = service(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
        wire.rest();
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nabc");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (413, "no"));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    assert_eq!(wire.message(), None);
}

#[test]
fn an_endpoint_is_asked_whether_it_wants_the_body_where_that_is_asked_for() {
    let up = service(|mut wire| {
        while let Some(head) = wire.head() {
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            if head.starts_with("POST /no ") {
                wire.send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            wire.send("HTTP/1.1 199 X\r\n\r\nHTTP/1.1 100 Continue\r\nx-up: 1\r\n\r\n");
            let body = wire.exactly(5);
            assert_eq!(body, b"hello");
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let http1 = Http1 {
        pass_continue: true,
        ..Http1::default()
    };
    let proxy = start(with(up, http1));
    let ask = |wire: &mut Wire, path: &str| {
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        ));
        wire.head().unwrap()
    };
    let mut wire = proxy.connect();
    for _ in 0..2 {
        let head = ask(&mut wire, "/yes");
        assert_eq!(head, "HTTP/1.1 100 Continue\r\nx-up: 1\r\n\r\n");
        wire.send("hello");
        let answer = wire.message().unwrap();
        assert_eq!((answer.status(), &*answer.body), (200, "ok"));
    }
    // A refusal comes alone, and the body is not waited for.
    let head = ask(&mut wire, "/no");
    assert!(head.starts_with("HTTP/1.1 417 "), "{head}");
    let bytes: Vec<_> = proxy.told.records(3).iter().map(|it| it.bytes_in).collect();
    assert_eq!(bytes, [5, 5, 0]);
}

#[test]
fn an_endpoint_that_asks_for_the_body_without_end_is_passed_on_a_few_times() {
    let up = service(|mut wire| {
        while wire.head().is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000));
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let http1 = Http1 {
        pass_continue: true,
        ..Http1::default()
    };
    let proxy = start(with(up, http1));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut told = 0;
    let head = loop {
        let head = wire.head().unwrap();
        if !head.starts_with("HTTP/1.1 100 ") {
            break head;
        }
        told += 1;
    };
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!((1..500).contains(&told), "{told}");
}
