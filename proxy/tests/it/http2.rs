//! HTTP/2 on the wire, in both directions, and over the bridge to HTTP/1.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, client, server};
use http::{Response, StatusCode};
use meshbed_proxy::{
    config::Config,
    observe::Flags,
    policy::protocol::{Codec, Keepalive, Upstream},
};

use super::support::{self, PATIENCE, config, start};

mod limits;
pub(crate) mod peer;
pub(crate) mod raw;
mod upgrade;

use peer::{Client, get, headers, post};

/// The cluster speaks HTTP/2.
fn to_h2(up: SocketAddr) -> Config {
    let mut config = config(up);
    config.clusters[0].protocol = Upstream::Http2;
    config
}

#[test]
fn a_client_is_served_by_its_preface_and_where_the_codec_says_so() {
    for codec in [Codec::Auto, Codec::Http2] {
        let mut config = config(support::echo());
        config.listeners[0].manager_mut().unwrap().codec = codec;
        let proxy = start(config);
        let client = Client::connect(proxy.address);
        for number in 0..20 {
            let answer = client.get(&format!("/item/{number}?x=1")).unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(
                text.starts_with(&format!("GET /item/{number}?x=1 HTTP/1.1\r\n")),
                "{text}"
            );
            assert!(
                text.to_ascii_lowercase()
                    .contains("\r\nhost: shop.test\r\n"),
                "{text}"
            );
        }
        proxy.told.records(20);
        assert_eq!(proxy.metric("envoy_http_downstream_cx_http2_total"), 1);
        assert_eq!(proxy.metric("envoy_http_downstream_cx_total"), 1);
    }
}

#[test]
fn a_client_of_http_1_may_begin_slowly_with_the_prefaces_letters() {
    let proxy = start(config(support::echo()));
    let mut wire = proxy.connect();
    wire.send("P");
    std::thread::sleep(Duration::from_millis(20));
    wire.send("UT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok");
    assert!(wire.message().unwrap().body.starts_with("PUT /x "));
}

#[test]
fn answers_come_as_they_are_ready_and_not_in_the_order_of_requests() {
    let up = peer::service(server::Builder::new(), |request, mut respond| async move {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        respond.send_response(Response::new(()), true).unwrap();
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let calls = ["/slow", "/fast"].map(|path| {
        let (send, order) = (client.send.clone(), Arc::clone(&order));
        async move {
            peer::exchange(send, get(path), &[], None).await.unwrap();
            order.lock().unwrap().push(path);
        }
    });
    let [slow, fast] = calls;
    client.run(async { tokio::join!(slow, fast) });
    assert_eq!(*order.lock().unwrap(), ["/fast", "/slow"]);
}

#[test]
fn trailers_pass_both_ways() {
    let proxy = start(to_h2(peer::echo()));
    let client = Client::connect(proxy.address);
    let trailers = headers(&[("x-sum", "7"), ("grpc-status", "0")]);
    let answer = client
        .call(post("/x"), &["one", "two"], Some(trailers.clone()))
        .unwrap();
    assert_eq!(answer.body, "POST http://shop.test/x onetwo");
    assert_eq!(answer.trailers, Some(trailers));
    let record = proxy.told.record();
    assert_eq!((record.bytes_in, record.bytes_out), (6, 30));
    assert!(record.complete);
}

#[test]
fn requests_of_http_1_go_on_as_streams_of_one_connection() {
    let proxy = start(to_h2(peer::echo()));
    for number in 0..5 {
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST /{number} HTTP/1.1\r\nhost: a.test:81\r\nconnection: x-mine, te\r\nx-mine: 1\r\nte: trailers\r\ncontent-length: 4\r\n\r\ndata"
        ));
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body, format!("POST http://a.test:81/{number} data"));
        assert_eq!(answer.header("x-te").as_deref(), Some("trailers"));
        assert_eq!(answer.header("x-connection"), None);
    }
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_http2_total"), 1);
}

#[test]
fn crumbs_of_a_cookie_are_joined() {
    let proxy = start(to_h2(peer::echo()));
    let client = Client::connect(proxy.address);
    let mut request = get("/");
    for crumb in ["a=1", "b=2", "c=3"] {
        let value = crumb.parse().unwrap();
        request.headers_mut().append("cookie", value);
    }
    let answer = client.call(request, &[], None).unwrap();
    assert_eq!(answer.headers["x-cookie"], "a=1; b=2; c=3");
}

#[test]
fn an_endpoints_bound_on_streams_is_kept_with_several_connections() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(4);
    let up = peer::service(builder, {
        let (under_way, most) = (Arc::clone(&under_way), Arc::clone(&most));
        move |_, mut respond| {
            let (under_way, most) = (Arc::clone(&under_way), Arc::clone(&most));
            async move {
                most.fetch_max(
                    under_way.fetch_add(1, Ordering::SeqCst) + 1,
                    Ordering::SeqCst,
                );
                tokio::time::sleep(Duration::from_millis(300)).await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                respond.send_response(Response::new(()), true).unwrap();
            }
        }
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    // The endpoint's bound is known once it has answered.
    client.get("/first").unwrap();
    client.run(async {
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(peer::exchange(client.send.clone(), get("/"), &[], None)))
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status, StatusCode::OK);
        }
    });
    assert!(
        most.load(Ordering::SeqCst) > 4,
        "one connection has room for 4"
    );
    let made = proxy.metric("envoy_cluster_upstream_cx_http2_total");
    assert!((2..=20).contains(&made), "{made} connections");
}

#[test]
fn a_client_that_resets_its_stream_is_recorded_so() {
    let up = peer::service(server::Builder::new(), |_, respond| async move {
        tokio::time::sleep(PATIENCE).await;
        drop(respond);
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    client.run(async {
        let mut send = client.send.clone().ready().await.unwrap();
        let (_answer, mut stream) = send.send_request(post("/"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_reset(Reason::CANCEL);
    });
    let record = proxy.told.record();
    assert!(record.flags.has(Flags::DR), "{}", record.flags);
    assert_eq!(record.details, "http2.remote_reset");
    assert_eq!((record.status, record.complete), (None, false));
}

#[test]
fn a_client_that_goes_is_recorded_so() {
    let up = peer::service(server::Builder::new(), |_, respond| async move {
        tokio::time::sleep(PATIENCE).await;
        drop(respond);
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    let calls = (0..3).map(|_| client.send.clone());
    let calls: Vec<_> = calls
        .map(|send| client.spawn(peer::exchange(send, get("/"), &[], None)))
        .collect();
    proxy.await_metric("envoy_http_downstream_rq_active", 3);
    client.vanish();
    for record in proxy.told.records(3) {
        assert!(record.flags.has(Flags::DC), "{}", record.flags);
    }
    drop(calls);
}

#[test]
fn an_endpoints_reset_is_told_with_its_kind() {
    for (reason, details, text) in [
        (Reason::INTERNAL_ERROR, "remote_reset", "remote reset"),
        (
            Reason::REFUSED_STREAM,
            "remote_refused_stream_reset",
            "remote refused stream reset",
        ),
    ] {
        let proxy = start(to_h2(peer::resetting(reason, false)));
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 503);
        assert_eq!(
            answer.body,
            format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {text}"
            )
        );
        let record = proxy.told.record();
        assert!(record.flags.has(Flags::UR), "{}", record.flags);
        assert_eq!(
            record.details,
            format!("upstream_reset_before_response_started{{{details}}}")
        );
    }
}

#[test]
fn a_reset_within_an_answer_resets_the_clients_stream_and_no_other() {
    let proxy = start(to_h2(peer::resetting(Reason::INTERNAL_ERROR, true)));
    let client = Client::connect(proxy.address);
    for _ in 0..2 {
        let error = client.get("/").unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
    }
    for record in proxy.told.records(2) {
        assert_eq!(record.status, Some(200));
        assert!(!record.complete);
        assert_eq!(
            record.details,
            "upstream_reset_after_response_started{remote_reset}"
        );
    }
    assert_eq!(proxy.metric("envoy_http_downstream_cx_total"), 1);
}

#[test]
fn requests_after_an_endpoints_good_bye_go_to_a_new_connection() {
    let up = peer::connections(|tcp| async move {
        let mut connection = server::handshake(tcp).await.unwrap();
        let mut served = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
            served += 1;
            if served == 3 {
                connection.graceful_shutdown();
            }
        }
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    for _ in 0..12 {
        assert_eq!(client.get("/").unwrap().status, StatusCode::OK);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(proxy.metric("envoy_cluster_upstream_cx_http2_total") >= 3);
}

#[test]
fn a_drain_says_good_bye_and_lets_requests_end() {
    let up = peer::service(server::Builder::new(), |_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        respond.send_response(Response::new(()), true).unwrap();
    });
    let proxy = start(to_h2(up));
    let client = Client::connect(proxy.address);
    let call = client.spawn(peer::exchange(client.send.clone(), get("/"), &[], None));
    proxy.await_metric("envoy_http_downstream_rq_active", 1);
    assert!(proxy.handle.drain(PATIENCE));
    assert_eq!(client.run(call).unwrap().unwrap().status, StatusCode::OK);
    client.ended().unwrap();
}

#[test]
fn an_endpoint_that_answers_no_ping_is_left() {
    let up = peer::connections(|mut tcp| async move {
        // It takes everything and says nothing.
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    });
    let mut config = to_h2(up);
    config.clusters[0].http2.keepalive = Some(Keepalive {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(100),
    });
    let proxy = start(config);
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 503);
    assert!(proxy.told.record().flags.has(Flags::UC));
    assert_eq!(proxy.metric("envoy_cluster_http2_keepalive_timeout"), 1);
}

#[test]
fn the_clients_version_is_spoken_where_that_is_asked_for() {
    let mut config = config(support::echo());
    config.clusters[0].protocol = Upstream::Downstream;
    let proxy = start(config);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_http2_total"), 0);

    let mut config = to_h2(peer::echo());
    config.clusters[0].protocol = Upstream::Downstream;
    let proxy = start(config);
    let client = Client::connect(proxy.address);
    assert_eq!(client.get("/").unwrap().status, StatusCode::OK);
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_http2_total"), 1);
}

#[test]
fn a_client_that_does_not_read_holds_up_its_endpoint() {
    let sent = Arc::new(AtomicUsize::new(0));
    let up = peer::service(server::Builder::new(), {
        let sent = Arc::clone(&sent);
        move |_, mut respond| {
            let sent = Arc::clone(&sent);
            async move {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                let piece = Bytes::from(vec![b'x'; 16 << 10]);
                while sent.load(Ordering::SeqCst) < 64 << 20 {
                    send.reserve_capacity(piece.len());
                    while send.capacity() < piece.len() {
                        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                        if !matches!(room, Some(Ok(_))) {
                            return;
                        }
                    }
                    if send.send_data(piece.clone(), false).is_err() {
                        return;
                    }
                    sent.fetch_add(piece.len(), Ordering::SeqCst);
                }
            }
        }
    });
    let mut config = to_h2(up);
    config.clusters[0].http2.stream_window = 256 << 10;
    let proxy = start(config);
    let mut builder = client::Builder::new();
    builder.initial_window_size(0);
    let client = Client::with(proxy.address, &builder);
    client.run(async {
        let mut send = client.send.clone().ready().await.unwrap();
        let (answer, _) = send.send_request(get("/"), true).unwrap();
        let answer = answer.await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(answer);
    });
    // The window, and what may be held beyond it: a piece.
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent <= (256 << 10) + (64 << 10), "{sent} bytes were taken");
}

#[test]
fn a_call_that_is_answered_here_is_told_in_grpcs_way() {
    let proxy = start(to_h2(support::nobody()));
    let client = Client::connect(proxy.address);
    let mut request = post("/shop.Cart/Add");
    let value = "application/grpc+proto".parse().unwrap();
    request.headers_mut().insert("content-type", value);
    let answer = client.call(request, &["\0\0\0\0\0"], None).unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.headers["grpc-status"], "14");
    assert_eq!(
        answer.headers["grpc-message"],
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
    );
    assert_eq!(answer.body, "");
    assert!(proxy.told.record().flags.has(Flags::UF));
}

#[test]
fn a_body_that_is_empty_is_a_body() {
    let proxy = start(config(support::echo()));
    let client = Client::connect(proxy.address);
    let answer = client.call(post("/"), &[""], None).unwrap();
    let said = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(said.contains("transfer-encoding: chunked"), "{said}");
    let answer = client.call(post("/"), &[], None).unwrap();
    let said = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(!said.contains("transfer-encoding"), "{said}");
}

#[test]
fn a_request_whose_time_is_over_is_answered_in_full() {
    let mut config = config(support::service(|mut wire| {
        wire.message();
        std::thread::sleep(PATIENCE);
    }));
    support::forward(&mut config).timeout = Some(Duration::from_millis(50));
    let proxy = start(config);
    // Also to a client that takes a few bytes at once.
    for window in [65_535, 5] {
        let mut builder = client::Builder::new();
        builder.initial_window_size(window);
        let answer = Client::with(proxy.address, &builder).get("/").unwrap();
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(answer.headers["content-length"], "24");
        assert_eq!(answer.body, "upstream request timeout");
    }
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let mut config = config(support::echo());
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action =
        meshbed_proxy::config::Action::Respond {
            status: 200,
            body: "hello".to_owned(),
        };
    let proxy = start(config);
    let client = Client::connect(proxy.address);
    let mut request = get("/");
    *request.method_mut() = http::Method::HEAD;
    let answer = client.call(request, &[], None).unwrap();
    assert_eq!(answer.headers["content-length"], "5");
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b""[..]));
}
