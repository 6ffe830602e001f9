//! Bounds on time that files set, and what an endpoint says before its answer: what Envoy answered to the same.

use std::{net::SocketAddr, thread, time::Duration};

use h2::{Reason, server};
use http::StatusCode;
use tokio::time::Instant;

use super::{
    http2::peer::{self, Client},
    support::{Message, Running, Wire, echo, service, start_file},
};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A proxy whose manager and only route have these fields, in front of a cluster with these.
fn proxy(up: SocketAddr, manager: &str, route: &str, cluster: &str) -> Running {
    let endpoints = format!(
        "[{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]\n{cluster}",
        up.ip(),
        up.port(),
    );
    start_file(&file(manager, route, &endpoints))
}

/// The file of one whose cluster has these endpoints, and fields behind them.
fn file(manager: &str, route: &str, endpoints: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: b{route}}}}}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
{manager}
  clusters:
  - name: b
    load_assignment:
      cluster_name: b
      endpoints: {endpoints}
"#
    )
}

const TO_H2: &str = r#"    typed_extension_protocol_options: {h: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}"#;

/// Answers everything with `answer`, after so many milliseconds.
fn answering(answer: &'static str, after: u64) -> SocketAddr {
    service(move |mut wire| {
        while wire.message().is_some() {
            thread::sleep(MS(after));
            if !wire.try_send(answer) {
                return;
            }
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_route_may_let_streams_be_idle_that_its_manager_does_not() {
    let up = answering(OK, 400);
    for (route, status) in [(", idle_timeout: 0s", 200), ("", 504)] {
        let proxy = proxy(up, "          stream_idle_timeout: 0.1s", route, "");
        let answer = proxy.get("/");
        assert_eq!(answer.status(), status);
        // The request has come in full: its connection goes on.
        assert_eq!(answer.header("connection"), None);
    }
}

#[test]
fn a_requests_time_begins_with_its_head() {
    let proxy = proxy(echo(), "          request_timeout: 0.2s", "", "");
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), &*answer.body), (408, "request timeout"));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let record = proxy.told.record();
    assert!(record.flags.is_empty() && record.details == "request_overall_timeout");
}

#[test]
fn an_exchange_that_lasts_too_long_is_the_clients_while_it_still_sends() {
    let route = ", max_stream_duration: {max_stream_duration: 0.2s}";
    let proxy = proxy(echo(), "", route, "");
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
    let answer = wire.message().unwrap();
    assert_eq!(
        (answer.status(), &*answer.body),
        (408, "downstream duration timeout")
    );
}

#[test]
fn a_call_and_its_upstream_are_told_of_the_deadline() {
    let up = answering(OK, 600);
    let route =
        ", max_stream_duration: {grpc_timeout_header_max: 0.3s, grpc_timeout_header_offset: 0.1s}";
    let proxy = proxy(up, "", route, "");
    let answer = ask(
        &proxy,
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ngrpc-timeout: 9S\r\n\r\n",
    );
    assert_eq!(answer.header("grpc-status").as_deref(), Some("4"));
    let proxy = self::proxy(echo(), "", route, "");
    for (asked, told) in [("9S", "200m"), ("250m", "150m")] {
        let answer = ask(
            &proxy,
            &format!(
                "GET / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ngrpc-timeout: {asked}\r\n\r\n"
            ),
        );
        let told = format!("grpc-timeout: {told}\r\n");
        assert!(answer.body.contains(&told), "{}", answer.body);
    }
}

fn ask(proxy: &Running, request: &str) -> Message {
    let mut wire: Wire = proxy.connect();
    wire.send(request);
    wire.message().unwrap()
}

#[test]
fn an_attempt_may_not_be_idle_within_its_answer_either() {
    let up = service(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab");
        thread::sleep(MS(3_000));
    });
    let route = ", retry_policy: {retry_on: 5xx, per_try_idle_timeout: 0.2s}";
    let proxy = proxy(up, "", route, "");
    let began = Instant::now();
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let rest = String::from_utf8(wire.rest()).unwrap();
    assert!(rest.ends_with("\r\n\r\nab"), "{rest}");
    assert!((MS(150)..MS(2_000)).contains(&began.elapsed()));
    let record = proxy.told.record();
    assert_eq!(
        (record.status, record.complete, &*record.details),
        (Some(200), false, "upstream_per_try_idle_timeout")
    );
}

#[test]
fn an_attempt_that_may_not_be_idle_waits_for_the_request() {
    let route = ", retry_policy: {retry_on: 5xx, per_try_idle_timeout: 0.2s}";
    let proxy = proxy(echo(), "", route, "");
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na");
    thread::sleep(MS(500));
    wire.send("b");
    assert_eq!(wire.message().unwrap().status(), 200);
    assert_eq!(proxy.told.record().attempts, 1);
}

#[test]
fn what_an_endpoint_says_before_its_answer_ends_the_retries() {
    let up = answering(
        "HTTP/1.1 199 X\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
         HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
        0,
    );
    let route = ", retry_policy: {retry_on: 5xx, num_retries: 3}";
    let proxy = proxy(up, "          proxy_100_continue: true", route, "");
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let hint = wire.head().unwrap();
    assert_eq!(hint, "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 503);
    let record = proxy.told.record();
    assert!(record.attempts == 1 && record.flags.is_empty());
}

#[test]
fn a_websockets_handshake_has_the_routes_time_and_no_body() {
    let manager = "          upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: other}]";
    let asked = |proxy: &Running, protocol: &str| {
        ask(
            proxy,
            &format!(
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
            ),
        )
    };
    let slow = proxy(answering(OK, 500), manager, ", timeout: 0.2s", "");
    assert_eq!(asked(&slow, "WebSocket").status(), 504);
    assert_eq!(asked(&slow, "other").status(), 200);
    let quick = proxy(answering(OK, 0), manager, "", "");
    let answer = asked(&quick, "websocket");
    assert_eq!((answer.status(), &*answer.body), (200, ""));
    assert_eq!(answer.header("content-length").as_deref(), Some("0"));
    assert_eq!(asked(&quick, "other").body, "ok");
    let details: Vec<_> = quick.told.records(2);
    assert_eq!(details[0].details, "websocket_handshake_unsuccessful");
    assert_eq!(details[1].details, "via_upstream");
    let refused = "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno";
    let refusing = proxy(answering(refused, 0), manager, "", "");
    assert_eq!(asked(&refusing, "websocket").body, "no");
}

#[test]
fn a_reset_tells_the_client_whose_error_it_was() {
    for (reason, status, flags, text) in [
        (Reason::PROTOCOL_ERROR, 502, "UPE", "protocol error"),
        (
            Reason::CONNECT_ERROR,
            503,
            "UR",
            "remote error with CONNECT request",
        ),
        (Reason::INTERNAL_ERROR, 503, "UR", "remote reset"),
    ] {
        let up = peer::service(server::Builder::new(), move |_, mut respond| async move {
            respond.send_reset(reason);
        });
        let proxy = proxy(up, "", "", TO_H2);
        let answer = proxy.get("/");
        assert_eq!(answer.status(), status);
        assert!(answer.body.ends_with(text), "{}", answer.body);
        assert_eq!(proxy.told.record().flags.to_string(), flags);
    }
}

#[test]
fn an_answer_without_content_ends_with_its_stream() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let up = peer::service(server::Builder::new(), move |_, mut respond| async move {
            let mut answer = http::Response::new(());
            *answer.status_mut() = status;
            answer
                .headers_mut()
                .insert("content-length", http::HeaderValue::from_static("0"));
            let mut body = respond.send_response(answer, false).unwrap();
            body.send_data(bytes::Bytes::new(), true).unwrap();
        });
        let proxy = proxy(up, "", "", TO_H2);
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = wire.head().unwrap();
        let says = head.contains("content-length: ");
        assert_eq!(says, status == StatusCode::NOT_MODIFIED, "{head}");
        let record = proxy.told.record();
        assert!(record.complete && record.flags.is_empty());
        // The same to a client of HTTP/2.
        let answer = Client::connect(proxy.address).get("/").unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers.contains_key("content-length"), says);
    }
}

#[test]
fn connections_that_may_be_idle_shortly_are_not_used_any_longer() {
    let up = echo();
    let proxy = proxy(
        up,
        "",
        "",
        "    common_http_protocol_options: {idle_timeout: 0.1s}",
    );
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status(), 200);
        thread::sleep(MS(200));
    }
    assert_eq!(proxy.metric("envoy_cluster_upstream_cx_total"), 3);
}

#[test]
fn an_idle_connection_is_told_with_its_last_answer() {
    let manager = "          common_http_protocol_options: {idle_timeout: 0.2s}\n          drain_timeout: 0.4s";
    let proxy = proxy(echo(), manager, "", "");
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut wire = proxy.connect();
    wire.send(request);
    assert_eq!(wire.message().unwrap().header("connection"), None);
    thread::sleep(MS(350));
    wire.send(request);
    let answer = wire.message().unwrap();
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(wire.rest(), b"");
    // Where none comes it ends by itself; where none ever came, at once.
    for (asks, least, most) in [(true, 550, 2_000), (false, 150, 450)] {
        let began = Instant::now();
        let mut wire = proxy.connect();
        if asks {
            wire.send(request);
            wire.message().unwrap();
        }
        assert_eq!(wire.rest(), b"");
        let took = began.elapsed();
        assert!((MS(least)..MS(most)).contains(&took), "{took:?}");
    }
}

#[test]
fn a_connection_that_drains_ends_whatever_has_begun_on_it() {
    let manager = "          common_http_protocol_options: {idle_timeout: 0.2s}\n          drain_timeout: 0.4s";
    let proxy = proxy(echo(), manager, "", "");
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.message().unwrap();
    let began = Instant::now();
    wire.send("GET / HT");
    assert_eq!(wire.rest(), b"");
    let took = began.elapsed();
    assert!((MS(550)..MS(2_000)).contains(&took), "{took:?}");
}

#[test]
fn requests_of_http_2_have_no_more_headers_than_they_may() {
    let manager = "          common_http_protocol_options: {max_headers_count: 6}";
    let proxy = proxy(echo(), manager, "", "");
    let client = Client::connect(proxy.address);
    let ask = |count: usize| {
        let mut request = peer::get("/");
        for n in 0..count {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, 1.into());
        }
        client.call(request, &[], None).map(|it| it.status)
    };
    // Four are the request line's.
    assert_eq!(ask(2).unwrap(), StatusCode::OK);
    let error = ask(3).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(ask(0).unwrap(), StatusCode::OK);
    let records = proxy.told.records(3);
    assert_eq!(
        (records[1].status, &*records[1].details),
        (None, "http2.too_many_headers")
    );
    assert_eq!(records[1].flags.to_string(), "DR");
}

#[test]
fn an_endpoint_takes_itself_out_until_its_checks_succeed() {
    let up = service(|mut wire| {
        while let Some(request) = wire.message() {
            let fails = if request.head.contains(" /hc ") {
                thread::sleep(MS(50));
                ""
            } else {
                "x-envoy-immediate-health-check-fail: true\r\n"
            };
            let answer = format!("HTTP/1.1 200 OK\r\n{fails}content-length: 0\r\n\r\n");
            if !wire.try_send(answer) {
                return;
            }
        }
    });
    let cluster = "    common_lb_config: {healthy_panic_threshold: {value: 0}}\n    health_checks: [{timeout: 1s, interval: 0.3s, no_traffic_interval: 0.3s, unhealthy_threshold: 1, healthy_threshold: 2, http_health_check: {path: /hc}}]";
    let proxy = proxy(up, "", "", cluster);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.get("/").status(), 503);
    let began = Instant::now();
    while proxy.get("/").status() == 503 {
        assert!(began.elapsed() < MS(10_000));
        thread::sleep(MS(20));
    }
    // Two checks had to succeed.
    assert!(began.elapsed() > MS(250));
}

#[test]
fn changes_of_health_that_come_soon_after_another_wait_for_the_window() {
    let named = |name: &'static str| {
        service(move |mut wire| {
            while let Some(request) = wire.message() {
                let fails = request.head.contains(" /fail ");
                let status = if fails { "500 No" } else { "200 OK" };
                wire.send(format!(
                    "HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\n{name}"
                ));
            }
        })
    };
    for (window, late) in [("", "two"), ("update_merge_window: 0s, ", "")] {
        let first = named("one");
        let cluster = format!(
            "      - {{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}
    common_lb_config: {{{window}healthy_panic_threshold: {{value: 0}}}}
    outlier_detection: {{consecutive_5xx: 1, base_ejection_time: 30s, max_ejection_percent: 100}}",
            named("two").port()
        );
        let endpoints = format!(
            "\n      - {{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}\n{cluster}",
            first.port()
        );
        let proxy = start_file(&file("", "", &endpoints));
        // The first ejection counts at once.
        let failed = [proxy.get("/fail").body, proxy.get("/fail").body];
        assert_eq!(failed, ["one", "two"]);
        let answer = proxy.get("/");
        if late.is_empty() {
            assert_eq!(answer.status(), 503);
            continue;
        }
        assert_eq!((answer.status(), &*answer.body), (200, late));
        thread::sleep(MS(1_100));
        assert_eq!(proxy.get("/").status(), 503);
    }
}

#[test]
fn streams_are_not_waited_for_where_no_request_is_allowed() {
    let up = peer::service(server::Builder::new(), |_, mut respond| async move {
        tokio::time::sleep(MS(600)).await;
        respond
            .send_response(http::Response::new(()), true)
            .unwrap();
    });
    let limits = "    circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 3, max_requests: 1}]}";
    let proxy = proxy(up, "", "", &format!("{TO_H2}\n{limits}"));
    let mut first = proxy.connect();
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    thread::sleep(MS(150));
    let began = Instant::now();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 503);
    assert!(answer.header("x-envoy-overloaded").is_some() && began.elapsed() < MS(300));
    assert_eq!(first.message().unwrap().status(), 200);
}
