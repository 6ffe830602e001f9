//! HTTP/1 on the wire, in both directions.

use std::{thread, time::Duration};

use meshbed_proxy::{
    config::{Action, Forward, Route},
    observe::Flags,
};

use super::support::{config, echo, nobody, once, route, service, start};

#[test]
fn a_connection_serves_many_requests_over_one_upstream_connection() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    for number in 0..50 {
        wire.send(format!(
            "GET /item/{number}?x=1 HTTP/1.1\r\nHost: shop.test\r\n\r\n"
        ));
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), 200);
        assert!(
            answer
                .body
                .starts_with(&format!("GET /item/{number}?x=1 HTTP/1.1\r\n"))
        );
    }
    let records = proxy.told.records(50);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.path, format!("/item/{number}?x=1"));
        assert_eq!(record.identity.ordinal, number as u64);
        assert_eq!((record.status, record.complete), (Some(200), true));
        assert_eq!(record.details, "via_upstream");
        assert!(record.flags.is_empty());
        assert_eq!((&*record.route, &*record.cluster), ("/", "up"));
    }
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), 1);
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_total"), 50);
    assert_eq!(proxy.metric("envoy_http_downstream_cx_total"), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    let mut all = String::new();
    for number in 0..20 {
        all += &format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    wire.send(all);
    for number in 0..20 {
        let answer = wire.message().unwrap();
        assert!(
            answer.body.starts_with(&format!("GET /{number} ")),
            "{answer:?}"
        );
    }
    proxy.told.records(20);
}

#[test]
fn answers_that_a_client_does_not_take_yet_stay_in_order() {
    const LONG: usize = 8 << 20;
    let mut config = config(nobody());
    let answers = [("/short", "short".to_owned()), ("/long", "x".repeat(LONG))];
    let answers = answers.map(|(path, body)| Route {
        action: Action::Respond { status: 200, body },
        ..route(path, Forward::to("up"))
    });
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes = answers.into();
    let proxy = start(config);
    let mut wire = proxy.connect();
    let paths = ["/long", "/short", "/short", "/long", "/short"];
    for path in paths {
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    }
    thread::sleep(Duration::from_millis(200));
    for path in paths {
        let answer = wire.message().unwrap();
        let length = if path == "/long" { LONG } else { 5 };
        assert_eq!(
            (answer.status(), answer.body.len()),
            (200, length),
            "{path}"
        );
    }
    proxy.told.records(5);
}

#[test]
fn headers_are_envoys() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    wire.send(
        "GET /x HTTP/1.1\r\nHost: a:80\r\nConnection: x-drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n\
         TE: gzip\r\nProxy-Connection: y\r\nUser-Agent: q\r\nTraceparent: 00-1-2-3\r\n\r\n",
    );
    let answer = wire.message().unwrap();
    let body = answer.body;
    let (before, id) = body.split_once("x-request-id: ").unwrap();
    assert_eq!(
        before,
        "GET /x HTTP/1.1\r\nhost: a:80\r\nuser-agent: q\r\ntraceparent: 00-1-2-3\r\nx-forwarded-proto: http\r\n"
    );
    assert_eq!(id.find("\r\n"), Some(36));
    assert_eq!(
        &id[36..],
        "\r\nx-envoy-expected-rq-timeout-ms: 15000\r\n\r\n"
    );
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("\r\nserver: meshbed\r\n"), "{head}");
    assert!(
        head.contains("\r\nx-envoy-upstream-service-time: "),
        "{head}"
    );
    assert!(head.contains("\r\ndate: "), "{head}");
}

#[test]
fn bodies_stream_both_ways() {
    // Sends each piece back as soon as it comes.
    let up = service(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        loop {
            let line = wire.line();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let data = String::from_utf8(wire.exactly(length)).unwrap();
            wire.line();
            wire.send(format!("{length:x}\r\n{data}\r\n"));
            if length == 0 {
                return;
            }
        }
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let head = wire.head().unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for piece in ["one", "two two", "three"] {
        wire.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(wire.line().trim(), format!("{:X}", piece.len()));
        assert_eq!(wire.exactly(piece.len()), piece.as_bytes());
        wire.line();
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.line(), "0\r\n");
    let record = proxy.told.record();
    assert_eq!((record.bytes_in, record.bytes_out), (15, 15));
    assert!(record.complete);
}

#[test]
fn large_bodies_pass_unchanged() {
    let up = service(|mut wire| {
        while let Some(request) = wire.message() {
            let (length, body) = (request.body.len(), request.body);
            wire.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
            ));
        }
    });
    let proxy = start(config(up));
    let body = (0..300_000).fold(String::new(), |body, number: u32| {
        body + &format!("{number:07}")
    });
    let mut wire = proxy.connect();
    for _ in 0..2 {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut writer = super::support::Wire::new(wire.tcp.try_clone().unwrap());
        let sent = body.clone();
        let sender = thread::spawn(move || writer.send(head + &sent));
        let answer = wire.message().unwrap();
        sender.join().unwrap();
        assert!(answer.body == body);
    }
    for record in proxy.told.records(2) {
        assert_eq!((record.bytes_in, record.bytes_out), (2_100_000, 2_100_000));
    }
}

#[test]
fn trailers_are_dropped_in_both_directions() {
    let (seen, requests) = std::sync::mpsc::channel();
    let up = service(move |mut wire| {
        wire.head();
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            body += &wire.line();
        }
        seen.send(body).unwrap();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
    let answer = wire.message().unwrap();
    assert_eq!(answer.body, "abc");
    assert_eq!(answer.header("trailer").as_deref(), Some("x-t"));
    assert_eq!(requests.recv().unwrap(), "3\r\nabc\r\n0\r\n\r\n");
    // The connection goes on: nothing of the trailers was left on it.
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
}

#[test]
fn answers_without_a_body_leave_the_connection_open() {
    let up = service(|mut wire| {
        while let Some(request) = wire.message() {
            let answer = match request.head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            wire.send(answer);
        }
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    for (method, path, status) in [
        ("HEAD", "/head", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("GET", "/empty", 200),
        ("GET", "/", 200),
    ] {
        wire.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let answer = wire.message_to(method).unwrap();
        assert_eq!(answer.status(), status, "{path}");
        if path == "/head" {
            assert_eq!(answer.header("content-length").as_deref(), Some("1000"));
        }
        let record = proxy.told.record();
        assert!(record.complete, "{path}: {record:?}");
    }
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), 1);
}

#[test]
fn expect_continue_is_answered_here() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(wire.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("abc");
    let answer = wire.message().unwrap();
    assert!(answer.body.ends_with("\r\n\r\nabc"), "{}", answer.body);
    assert!(!answer.body.contains("expect:"), "{}", answer.body);
}

#[test]
fn an_upgrade_passes_bytes_both_ways() {
    let up = service(|mut wire| {
        let head = wire.head().unwrap();
        assert!(
            head.contains("upgrade: WebSocket\r\n") && head.contains("connection: Upgrade\r\n")
        );
        wire.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-accept: y\r\n\r\nhello");
        let said = wire.exactly(4);
        wire.send([b"you said ".as_slice(), &said].concat());
    });
    let mut config = config(up);
    config.listeners[0].manager_mut().unwrap().upgrades = vec!["websocket".to_owned()];
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("GET /ws HTTP/1.1\r\nhost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n");
    let head = wire.head().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(
        head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
        "{head}"
    );
    assert_eq!(wire.exactly(5), b"hello");
    wire.send("ping");
    assert_eq!(wire.rest(), b"you said ping");
    drop(wire);
    let record = proxy.told.record();
    assert_eq!(
        (record.status, record.bytes_in, record.bytes_out),
        (Some(101), 4, 18)
    );
    assert!(record.complete);
}

#[test]
fn an_upgrade_that_is_not_configured_is_refused_and_h2c_is_ignored() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 403);
    assert_eq!(proxy.told.record().details, "upgrade_failed");
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n");
    let answer = wire.message().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.body.contains("h2c") && !answer.body.contains("settings"));
}

#[test]
fn clients_of_http_1_0_are_served_where_that_is_asked_for() {
    let up = once("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.0\r\n\r\n");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (426, "Upgrade Required"));
    let record = proxy.told.record();
    assert!(record.flags.has(Flags::DPE) && record.details == "low_version");

    let mut config = config(up);
    let manager = config.listeners[0].manager_mut().unwrap();
    manager.accept_http_10 = true;
    manager.http1.default_host = Some("old.test".to_owned());
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(wire.rest()).unwrap();
    // RFC 9112 §7.1: no chunks for a client that does not know them.
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nabc"),
        "{answer}"
    );
}

#[test]
fn requests_whose_framing_or_host_is_ambiguous_are_refused() {
    let proxy = start(config(echo()));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n",
            501,
        ),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        ("GARBAGE\r\n\r\n", 400),
    ] {
        let mut wire = proxy.connect();
        wire.send(request);
        assert_eq!(wire.message().unwrap().status(), status, "{request}");
    }
}

/// RFC 9112 §6.1: such a request may be an attempt at smuggling, and is refused, as in Envoy.
#[test]
fn two_framings_are_refused_and_the_connection_ends() {
    let proxy = start(config(nobody()));
    let mut wire = proxy.connect();
    for framing in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    ] {
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n2\r\nab\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        let answer = wire.message().unwrap();
        assert_eq!((answer.status(), &*answer.body), (400, "Bad Request"));
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        assert_eq!(wire.message(), None);
        let record = proxy.told.record();
        assert!(record.flags.has(Flags::DPE), "{record:?}");
        assert_eq!(
            record.details,
            "http1.content_length_and_chunked_not_allowed"
        );
        wire = proxy.connect();
    }
}

#[test]
fn a_target_in_absolute_form_settles_the_host() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    wire.send("GET http://foo.test/x?y HTTP/1.1\r\nhost: a\r\n\r\n");
    let body = wire.message().unwrap().body;
    assert!(
        body.starts_with("GET /x?y HTTP/1.1\r\nhost: foo.test\r\n"),
        "{body}"
    );
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let proxy = start(config(echo()));
    let mut wire = proxy.connect();
    wire.try_send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(70_000)
    ));
    assert_eq!(wire.message().unwrap().status(), 431);
}

#[test]
fn a_connection_that_went_stale_is_not_the_clients_problem() {
    // Closes each connection after one answer, without saying so.
    let up = service(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    for _ in 0..20 {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(wire.message().unwrap().status(), 200);
        thread::sleep(Duration::from_millis(2));
    }
}
