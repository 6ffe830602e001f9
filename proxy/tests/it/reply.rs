//! What the client is told when there is no answer of the upstream's, and what the record says of it.

use std::{net::SocketAddr, time::Duration};

use meshbed_proxy::{
    config::{Action, Forward, Target},
    observe::Flags,
    policy::rewrite::{HostRewrite, PathRewrite},
};

use super::support::{
    Running, Seen, cluster, config, echo, forward, nobody, once, route, service, start,
};

/// Status, body, flags and details are Envoy 1.40's, as its own answers to these peers were.
fn expect(
    proxy: &Running,
    path: &str,
    status: u16,
    body: &str,
    flags: &str,
    details: &str,
) -> Seen {
    let answer = proxy.get(path);
    assert_eq!((answer.status(), &*answer.body), (status, body));
    let kind = (!body.is_empty()).then_some("text/plain");
    assert_eq!(answer.header("content-type").as_deref(), kind);
    assert_eq!(answer.header("server").as_deref(), Some("meshbed"));
    let record = proxy.told.record();
    assert_eq!(record.status, Some(status));
    assert_eq!(record.flags.to_string(), flags);
    assert_eq!(record.details, details);
    assert_eq!(record.bytes_out, body.len() as u64);
    assert!(record.complete);
    record
}

#[test]
fn no_route_is_404() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes =
        vec![route("/known", Forward::to("up"))];
    let proxy = start(config);
    let record = expect(&proxy, "/unknown", 404, "", "NR", "route_not_found");
    assert_eq!(
        (&*record.route, &*record.cluster, record.attempts),
        ("", "", 0)
    );
    let mut wire = proxy.connect();
    wire.send("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 404);
}

#[test]
fn a_cluster_without_endpoints_is_unhealthy() {
    let mut config = config(echo());
    config.clusters[0].endpoints.clear();
    let proxy = start(config);
    expect(
        &proxy,
        "/",
        503,
        "no healthy upstream",
        "UH",
        "no_healthy_upstream",
    );
}

#[test]
fn an_endpoint_that_refuses_is_a_connection_failure() {
    let proxy = start(config(nobody()));
    let record = expect(
        &proxy,
        "/",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        "UF",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
    );
    assert_eq!(record.attempts, 1);
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_connect_fail"), 1);
}

#[test]
fn an_endpoint_that_does_not_answer_the_connect_is_a_timeout() {
    // A queue of one that is full: the kernel drops what comes after it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        held.push(stream);
    }
    let mut config = config(address);
    config.clusters[0].connect_timeout = Duration::from_millis(50);
    let proxy = start(config);
    expect(
        &proxy,
        "/",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
        "UF",
        "upstream_reset_before_response_started{connection_timeout}",
    );
}

#[test]
fn an_endpoint_that_closes_before_its_header_is_a_termination() {
    let closes = once("");
    let resets = service(|mut wire| {
        wire.message();
        wire.reset();
    });
    let within_header = once("HTTP/1.1 200 OK\r\nconte");
    for peer in [closes, resets, within_header] {
        let proxy = start(config(peer));
        expect(
            &proxy,
            "/",
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
        );
    }
}

#[test]
fn garbage_is_a_protocol_error() {
    for answer in [
        "garbage garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
    ] {
        let proxy = start(config(once(answer)));
        expect(
            &proxy,
            "/",
            502,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
            "UPE",
            "upstream_reset_before_response_started{protocol_error}",
        );
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut_off() {
    for (answer, ended) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
            "\r\n\r\nabc",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "\r\n\r\n3\r\nabc\r\n",
        ),
    ] {
        let proxy = start(config(once(answer)));
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let seen = String::from_utf8(wire.rest()).unwrap();
        assert!(seen.ends_with(ended), "{seen}");
        let record = proxy.told.record();
        assert_eq!((record.status, record.complete), (Some(200), false));
        assert!(record.flags.has(Flags::UPE));
        assert_eq!(
            record.details,
            "upstream_reset_after_response_started{protocol_error}"
        );
    }
}

#[test]
fn an_endpoint_that_hangs_runs_into_the_routes_timeout() {
    let mut config = config(service(|mut wire| {
        wire.message();
        wire.message();
    }));
    forward(&mut config).timeout = Some(Duration::from_millis(80));
    let proxy = start(config);
    let record = expect(
        &proxy,
        "/",
        504,
        "upstream request timeout",
        "UT",
        "response_timeout",
    );
    assert!(
        record.duration >= Duration::from_millis(80),
        "{:?}",
        record.duration
    );
    // It is counted from the request's end, and the connection of the client goes on.
    let mut wire = proxy.connect();
    for _ in 0..2 {
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na");
        std::thread::sleep(Duration::from_millis(100));
        wire.send("b");
        assert_eq!(wire.message().unwrap().status(), 504);
        let record = proxy.told.record();
        // From its beginning it would be 100 ms; the proxy may have read that a little later than it was sent.
        assert!(
            record.duration >= Duration::from_millis(150),
            "{:?}",
            record.duration
        );
    }
}

#[test]
fn an_answer_that_stalls_within_its_body_is_cut_off_by_the_timeout() {
    let mut config = config(service(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        wire.message();
    }));
    forward(&mut config).timeout = Some(Duration::from_millis(80));
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(wire.rest().ends_with(b"\r\n\r\nabc"));
    let record = proxy.told.record();
    assert_eq!(
        (record.flags.to_string().as_str(), record.complete),
        ("UT", false)
    );
}

#[test]
fn a_stream_on_which_nothing_moves_is_ended() {
    let mut config = config(service(|mut wire| {
        wire.message();
        wire.message();
    }));
    forward(&mut config).timeout = None;
    config.listeners[0]
        .manager_mut()
        .unwrap()
        .stream_idle_timeout = Some(Duration::from_millis(80));
    let proxy = start(config);
    expect(
        &proxy,
        "/",
        504,
        "stream timeout",
        "SI",
        "stream_idle_timeout",
    );
    // The request had not come in full: it is the client's fault.
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na");
    assert_eq!(wire.message().unwrap().status(), 408);
    assert!(proxy.told.record().flags.has(Flags::SI));
}

#[test]
fn a_request_that_does_not_come_in_full_is_ended() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().request_timeout = Some(Duration::from_millis(80));
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (408, "request timeout"));
    let record = proxy.told.record();
    assert_eq!(record.details, "request_overall_timeout");
    assert!(record.flags.is_empty());
}

#[test]
fn idle_connections_and_slow_heads_are_closed() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().idle_timeout = Some(Duration::from_millis(100));
    config.listeners[0]
        .manager_mut()
        .unwrap()
        .request_headers_timeout = Some(Duration::from_millis(60));
    let proxy = start(config);
    let mut idle = proxy.connect();
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(idle.message().unwrap().status(), 200);
    assert_eq!(idle.message(), None);
    proxy.await_metric("envoy_http_downstream_cx_idle_timeout", 1);
    let mut slow = proxy.connect();
    slow.send("GET / HT");
    let answer = slow.message().unwrap();
    assert_eq!(
        (answer.status(), &*answer.body),
        (408, "request header timeout")
    );
    assert_eq!(slow.message(), None);
    proxy.await_metric("envoy_http_downstream_rq_timeout", 1);
    let record = proxy.told.records(2).remove(1);
    assert_eq!(record.details, "request_header_timeout");
}

#[test]
fn a_body_that_is_not_framed_as_it_says_is_the_clients_fault() {
    let proxy = start(config(service(|mut wire| {
        wire.head();
        wire.rest();
    })));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n");
    assert_eq!(wire.message().unwrap().status(), 400);
    let record = proxy.told.record();
    assert_eq!(
        (record.flags.to_string().as_str(), &*record.details),
        ("DPE", "http1.codec_error")
    );
}

#[test]
fn a_client_that_leaves_is_one_record() {
    let (arrived, wait) = std::sync::mpsc::channel();
    let arrived = std::sync::Mutex::new(arrived);
    let proxy = start(config(service(move |mut wire| {
        wire.head();
        arrived.lock().unwrap().send(()).unwrap();
        wire.rest();
    })));
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc",
    ] {
        let mut wire = proxy.connect();
        wire.send(request);
        wait.recv().unwrap();
        drop(wire);
        let record = proxy.told.record();
        assert_eq!((record.status, record.complete), (None, false));
        assert_eq!(record.flags.to_string(), "DC");
        assert_eq!(record.details, "downstream_remote_disconnect");
    }
    assert_eq!(proxy.metric("envoy_http_downstream_rq_active"), 0);
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_active"), 0);
}

#[test]
fn a_client_that_leaves_within_the_answer_is_one_record() {
    let proxy = start(config(service(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while wire.try_send("3\r\nabc\r\n") {
            std::thread::sleep(Duration::from_millis(1));
        }
    })));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.head();
    drop(wire);
    let record = proxy.told.record();
    assert_eq!((record.status, record.complete), (Some(200), false));
    assert!(record.flags.has(Flags::DC), "{}", record.flags);
}

#[test]
fn a_route_may_answer_by_itself() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action =
        Action::Respond {
            status: 418,
            body: "short and stout".to_owned(),
        };
    let proxy = start(config);
    expect(&proxy, "/", 418, "short and stout", "-", "direct_response");
}

#[test]
fn weighted_clusters_get_their_share_and_prefixes_and_hosts_are_rewritten() {
    let (one, two) = (echo(), echo());
    let mut config = config(one);
    config.clusters.push(cluster("other", &[two]));
    let forward = forward(&mut config);
    forward.clusters = vec![Target::new("up", 3), Target::new("other", 1)];
    forward.path_rewrite = Some(PathRewrite::Prefix("/v2/".to_owned()));
    forward.host_rewrite = Some(HostRewrite::Literal("inner.test".to_owned()));
    let proxy = start(config);
    let mut wire = proxy.connect();
    for _ in 0..400 {
        wire.send("GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n");
        let body = wire.message().unwrap().body;
        assert!(
            body.starts_with("GET /v2/x?y HTTP/1.1\r\nhost: inner.test\r\n"),
            "{body}"
        );
    }
    let others = proxy
        .told
        .records(400)
        .iter()
        .filter(|record| record.cluster == "other")
        .count();
    // 3 sigma of 400 draws of one in four: 26.
    assert!((74..=126).contains(&others), "{others}");
}

#[test]
fn endpoints_are_used_in_turn() {
    let names = |name: &'static str| {
        service(move |mut wire| {
            while wire.message().is_some() {
                wire.try_send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}"
                ));
            }
        })
    };
    let mut config = config(names("a"));
    config.clusters = vec![cluster("up", &[names("a"), names("b"), names("c")])];
    let proxy = start(config);
    let mut wire = proxy.connect();
    let mut order = String::new();
    for _ in 0..6 {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        order += &wire.message().unwrap().body;
    }
    assert_eq!(order, "abcabc");
}
