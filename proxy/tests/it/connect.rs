//! `CONNECT`, by both versions of HTTP: ended here at a plain TCP service, or sent on to a proxy.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use http::{Method, Request, Response, StatusCode};
use meshbed_proxy::{
    config::Config,
    observe::Flags,
    policy::protocol::{Upgrade, Upstream},
};

use super::{
    http2::peer::{self, Client, whole},
    support::{Wire, config, forward, nobody, service, start},
};

/// The only route takes `CONNECT`, and ends it here where `terminates`.
fn connecting(up: SocketAddr, terminates: bool) -> Config {
    let mut config = config(up);
    let manager = config.listeners[0].manager_mut().unwrap();
    let matcher = &mut manager.virtual_hosts[0].routes[0].matcher;
    matcher.path = None;
    matcher.connect = true;
    forward(&mut config).upgrades = vec![Upgrade {
        protocol: "connect".to_owned(),
        allowed: true,
        terminates,
    }];
    config
}

/// Says what it is told in capitals; at the end `bye`. `quit` makes it end itself, `break` reset the connection.
fn capitals(mut wire: Wire) {
    let mut said = [0; 64];
    loop {
        match wire.tcp.read(&mut said) {
            Ok(0) => {
                let _ = wire.tcp.write_all(b"bye");
                return;
            }
            Ok(length) => {
                let said = &said[..length];
                if said == b"break" {
                    return wire.reset();
                }
                let _ = wire.tcp.write_all(&said.to_ascii_uppercase());
                if said == b"quit" {
                    let _ = wire.tcp.shutdown(Shutdown::Write);
                }
            }
            Err(_) => return,
        }
    }
}

/// Takes the `CONNECT` of HTTP/1, and is [`capitals`] from there on.
fn next_proxy() -> SocketAddr {
    service(|mut wire| {
        let head = wire.head().unwrap();
        assert!(
            head.starts_with("CONNECT db.test:5432 HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(!head.contains("transfer-encoding"), "{head}");
        wire.send("HTTP/1.1 200 OK\r\nx-next: 1\r\n\r\n");
        capitals(wire);
    })
}

/// The same by HTTP/2.
fn next_proxy_http2() -> SocketAddr {
    peer::service(server::Builder::new(), |request, mut respond| async move {
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.uri(), "db.test:5432");
        let mut stream = request.into_body();
        let answer = Response::builder().header("x-next", "1").body(()).unwrap();
        let mut send = respond.send_response(answer, false).unwrap();
        while let Some(said) = stream.data().await {
            let said = said.unwrap().to_ascii_uppercase();
            send.send_data(Bytes::from(said), false).unwrap();
        }
        send.send_data(Bytes::from_static(b"bye"), true).unwrap();
    })
}

const ASK: &str = "CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n\r\n";

/// Asks by HTTP/1 and says so; the head of the answer, and the connection.
fn ask(address: SocketAddr, say: &str) -> (String, Wire) {
    let mut wire = Wire::connect(address);
    wire.send(ASK);
    let head = wire.head().unwrap();
    wire.send(say);
    (head, wire)
}

/// Asks by HTTP/2, says `ping`, and once that has come back `last`, which ends the stream where `ends`; the status, what was
/// said besides, and why it broke.
fn ask_http2(
    address: SocketAddr,
    last: &'static str,
    ends: bool,
) -> (StatusCode, Result<Bytes, Option<Reason>>) {
    let client = Client::connect(address);
    client.run(async {
        let request = Request::connect("db.test:5432").body(()).unwrap();
        let mut send = client.send.clone().ready().await.unwrap();
        let (answer, mut stream) = send.send_request(request, false).unwrap();
        let answer = answer.await.unwrap();
        let status = answer.status();
        let mut body = answer.into_body();
        if status == StatusCode::OK {
            stream
                .send_data(Bytes::from_static(b"ping"), false)
                .unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), "PING");
            stream.send_data(Bytes::from(last), ends).unwrap();
        }
        let said = whole(&mut body).await.map_err(|error| error.reason());
        (status, said)
    })
}

#[test]
fn a_connect_of_http_1_ends_here_and_its_bytes_go_on() {
    let proxy = start(connecting(service(capitals), true));
    let mut wire = proxy.connect();
    // What comes with the head is the other protocol's already.
    wire.send(format!("{ASK}early"));
    let head = wire.head().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "x-envoy-upstream",
    ] {
        assert!(!head.contains(name), "{head}");
    }
    assert_eq!(wire.exactly(5), b"EARLY");
    wire.send("quit");
    assert_eq!(wire.rest(), b"QUIT");
    let record = proxy.told.record();
    assert_eq!((record.bytes_in, record.bytes_out), (9, 9));
    assert_eq!(
        (record.status, &*record.details),
        (Some(200), "via_upstream")
    );
    assert_eq!(record.flags, Flags::default());
    assert_eq!(record.attempts, 1);
}

#[test]
fn the_end_of_an_http_1_client_ends_both_connections() {
    let (ended, end) = mpsc::channel();
    let up = service(move |mut wire| {
        assert_eq!(wire.exactly(4), b"ping");
        wire.send("PING");
        assert_eq!(wire.rest(), b"");
        ended.send(()).unwrap();
    });
    let proxy = start(connecting(up, true));
    let (_, mut wire) = ask(proxy.address, "ping");
    assert_eq!(wire.exactly(4), b"PING");
    wire.tcp.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"");
    end.recv_timeout(Duration::from_secs(10)).unwrap();
    let record = proxy.told.record();
    assert_eq!((record.bytes_in, record.bytes_out), (4, 4));
    assert_eq!(record.flags, Flags::DC);
}

#[test]
fn each_side_of_an_http_2_stream_ends_for_itself() {
    let proxy = start(connecting(service(capitals), true));
    for (last, ends, said, bytes) in [
        ("more", true, &b"MOREbye"[..], (8, 11)),
        // The service ends first.
        ("quit", false, b"QUIT", (8, 8)),
    ] {
        let (status, answer) = ask_http2(proxy.address, last, ends);
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer.as_deref(), Ok(said), "{last}");
        let record = proxy.told.record();
        assert_eq!((record.bytes_in, record.bytes_out), bytes, "{last}");
        assert_eq!(record.details, "via_upstream", "{last}");
        assert!(record.complete);
    }
}

#[test]
fn a_service_that_breaks_breaks_the_tunnel() {
    let proxy = start(connecting(service(capitals), true));
    let (status, answer) = ask_http2(proxy.address, "break", false);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, Err(Some(Reason::CONNECT_ERROR)));
    let (_, mut wire) = ask(proxy.address, "break");
    assert_eq!(wire.rest(), b"");
    for record in proxy.told.records(2) {
        assert_eq!(record.flags, Flags::UC);
        assert_eq!(
            record.details,
            "upstream_reset_after_response_started{connection_termination}"
        );
    }
}

#[test]
fn a_connect_is_sent_on_in_either_version() {
    for (up, protocol) in [
        (next_proxy(), Upstream::Http1),
        (next_proxy_http2(), Upstream::Http2),
    ] {
        let mut config = connecting(up, false);
        config.clusters[0].protocol = protocol;
        let proxy = start(config);
        let (head, mut wire) = ask(proxy.address, "ping");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("x-next: 1\r\n"), "{head}");
        assert_eq!(wire.exactly(4), b"PING", "{protocol:?}");
        drop(wire);
        let record = proxy.told.record();
        assert_eq!((record.bytes_in, record.bytes_out), (4, 4), "{protocol:?}");
        assert_eq!(record.flags, Flags::DC, "{protocol:?}");

        let (status, answer) = ask_http2(proxy.address, "more", true);
        assert_eq!(status, StatusCode::OK);
        let record = proxy.told.record();
        assert_eq!((record.bytes_in, record.bytes_out), (8, 11), "{protocol:?}");
        if protocol == Upstream::Http2 {
            assert_eq!(answer.as_deref(), Ok(&b"MOREbye"[..]));
            assert_eq!(record.details, "via_upstream");
        } else {
            // As with Envoy: HTTP/1 has no orderly end for it.
            assert_eq!(answer, Err(Some(Reason::CONNECT_ERROR)));
            assert_eq!(record.flags, Flags::UC);
        }
    }
}

#[test]
fn a_refusal_of_the_next_proxy_is_the_clients() {
    let up = service(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 407 No\r\ncontent-length: 4\r\n\r\nwho?");
    });
    let proxy = start(connecting(up, false));
    let mut wire = proxy.connect();
    wire.send(ASK);
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (407, "who?"));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(wire.rest(), b"");
    assert_eq!(proxy.told.record().details, "via_upstream");
}

#[test]
fn a_connect_that_cannot_be_made_is_answered_as_envoy_does() {
    let up = service(|_| panic!("nothing is sent on"));
    let mut denied = connecting(up, true);
    forward(&mut denied).upgrades[0].allowed = false;
    let mut unsaid = connecting(up, true);
    forward(&mut unsaid).upgrades.clear();
    let mut without_route = config(up);
    let manager = without_route.listeners[0].manager_mut().unwrap();
    manager.upgrades = vec!["connect".to_owned()];
    let unreachable = connecting(nobody(), true);
    for (config, status, flags, details) in [
        (denied, 403, Flags::default(), "upgrade_failed"),
        (unsaid, 403, Flags::default(), "upgrade_failed"),
        (without_route, 404, Flags::NR, "route_not_found"),
        (config(up), 404, Flags::NR, "route_not_found"),
        (
            unreachable,
            503,
            Flags::UF,
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ),
    ] {
        let proxy = start(config);
        let mut wire = proxy.connect();
        wire.send(ASK);
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.body.is_empty(), status != 503, "{answer:?}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        let (status_2, _) = ask_http2(proxy.address, "", true);
        assert_eq!(status_2.as_u16(), status);
        for record in proxy.told.records(2) {
            assert_eq!(record.status, Some(status));
            assert_eq!((record.flags, &*record.details), (flags, details));
            assert_eq!(record.bytes_in, 0);
        }
    }
}
