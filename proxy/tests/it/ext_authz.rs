//! Services that are asked whether requests may go on. Statuses, headers, flags and details are Envoy 1.40's, measured.

use std::{
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption},
        service::auth::v3::{
            CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            attribute_context::HttpRequest, check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::rpc::Status,
};
use meshbed_proxy::{envoy::read, observe::Flags};
use prost::Message as _;
use tokio::time::Instant;

use super::{
    http2::peer,
    support::{Message, Running, STRICT, Wire, echo, nobody, service, start_file},
};

mod guards;

/// The settings of the filter, and routes besides `/` to the upstream `up`.
fn file(settings: &str, routes: &str, up: SocketAddr, authz: SocketAddr) -> String {
    let cluster = |name: &str, at: SocketAddr, more: &str| {
        format!(
            "  - name: {name}\n    connect_timeout: 1s\n{more}    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: \
             {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}\n",
            at.port()
        )
    };
    let http2 = "    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
                 type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}\n";
    format!(
        r#"static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: authz
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, {settings}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{routes}              - {{match: {{prefix: /}}, route: {{cluster: up}}}}
  clusters:
{}{}{}"#,
        cluster("up", up, ""),
        cluster("authz", authz, ""),
        cluster("calls", authz, http2),
    )
}

const WEB: &str =
    "http_service: {server_uri: {uri: \"http://authz.test\", cluster: authz, timeout: 5s}";
const GRPC: &str = "grpc_service: {envoy_grpc: {cluster_name: calls}, timeout: 5s}";

/// What a route says.
fn per_route(matching: &str, said: &str) -> String {
    format!(
        "              - match: {{{matching}}}\n                route: {{cluster: up}}\n                typed_per_filter_config: {{authz: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, {said}}}}}\n"
    )
}

/// A service of HTTP that answers so, and what it was asked.
fn answering(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let kept = asked.clone();
    let address = service(move |mut wire| {
        kept.connections.fetch_add(1, Ordering::Relaxed);
        while let Some(request) = wire.message() {
            let answer = answer(&request);
            kept.requests.lock().unwrap().push(request);
            if !wire.try_send(answer) {
                return;
            }
        }
    });
    (address, asked)
}

#[derive(Clone, Default)]
struct Asked {
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl Asked {
    fn last(&self) -> Message {
        self.requests.lock().unwrap().pop().unwrap()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn send(running: &Running, request: &str) -> Message {
    let mut wire = running.connect();
    wire.send(request);
    wire.message().unwrap()
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn a_service_of_http_decides() {
    let (authz, asked) = answering(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        match path {
            "/check/denied" => answer(
                "401 No",
                "www-authenticate: Basic\r\nx-why: you\r\nx-hidden: 1\r\ncontent-type: text/html\r\n",
                "go away",
            ),
            "/check/moved" => answer("302 Found", "location: http://login.test/\r\n", ""),
            "/check/broken" => answer("500 Broken", "x-why: us\r\n", "oops"),
            _ => answer(
                "200 OK",
                "x-user: alpha\r\nx-add: 2\r\nx-ok: 1\r\nx-envoy-auth-headers-to-remove: authorization\r\n",
                "",
            ),
        }
    });
    let settings = format!(
        "{WEB}, path_prefix: /check, authorization_request: {{headers_to_add: [{{key: x-from, value: proxy}}]}}, authorization_response: \
         {{allowed_upstream_headers: {{patterns: [{{exact: x-user}}]}}, allowed_upstream_headers_to_append: {{patterns: [{{exact: x-add}}]}}, \
         allowed_client_headers: {{patterns: [{{exact: x-why}}]}}, allowed_client_headers_on_success: {{patterns: [{{exact: x-ok}}]}}}}}}, \
         allowed_headers: {{patterns: [{{prefix: x-t}}]}}"
    );
    let running = start_file(&file(&settings, "", echo(), authz));

    let allowed = send(
        &running,
        "GET /a?b=c HTTP/1.1\r\nhost: shop.test\r\nauthorization: secret\r\nx-user: me\r\nx-add: 1\r\nx-t: 1\r\n\r\n",
    );
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.header("x-ok").as_deref(), Some("1"));
    for line in ["x-user: alpha\r\n", "x-add: 1\r\n", "x-add: 2\r\n"] {
        assert!(allowed.body.contains(line), "{}", allowed.body);
    }
    for line in ["authorization", "x-user: me", "x-ok"] {
        assert!(!allowed.body.contains(line), "{}", allowed.body);
    }
    let question = asked.last().head;
    assert!(
        question.starts_with("GET /check/a?b=c HTTP/1.1\r\n"),
        "{question}"
    );
    for line in [
        "host: shop.test\r\n",
        "authorization: secret\r\n",
        "x-t: 1\r\n",
        "x-from: proxy\r\n",
        "content-length: 0\r\n",
        "x-envoy-internal: true\r\n",
        "x-envoy-expected-rq-timeout-ms: 5000\r\n",
    ] {
        assert!(question.contains(line), "{line}{question}");
    }
    assert!(!question.contains("x-user"), "{question}");
    assert_eq!(running.told.record().flags, Flags::default());

    let denied = send(&running, &post("/denied", "unsent"));
    assert_eq!((denied.status(), denied.body.as_str()), (401, "go away"));
    assert_eq!(denied.header("www-authenticate").as_deref(), Some("Basic"));
    assert_eq!(denied.header("x-why").as_deref(), Some("you"));
    assert_eq!(denied.header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(denied.header("x-hidden"), None);
    let record = running.told.record();
    assert_eq!(
        (record.flags, record.details.as_str()),
        (Flags::UAEX, "ext_authz_denied")
    );
    assert_eq!(
        (record.cluster.as_str(), record.attempts, record.bytes_in),
        ("up", 0, 6)
    );

    let moved = running.get("/moved");
    assert_eq!(moved.status(), 302);
    assert_eq!(
        moved.header("location").as_deref(),
        Some("http://login.test/")
    );
    running.told.record();

    let broken = running.get("/broken");
    assert_eq!((broken.status(), broken.body.as_str()), (403, ""));
    assert_eq!(broken.header("x-why"), None);
    let record = running.told.record();
    assert_eq!(
        (record.flags, record.details.as_str()),
        (Flags::UAEX, "ext_authz_error")
    );

    for (of, name, count) in [
        ("http", "ok", 1),
        ("http", "denied", 2),
        ("http", "error", 1),
        ("cluster", "ok", 1),
        ("cluster", "denied", 2),
        ("cluster", "error", 1),
    ] {
        let name = format!("envoy_{of}_ext_authz_{name}{{");
        assert_eq!(running.metric(&name), count, "{name}");
    }
    assert_eq!(
        running.metric("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"authz\"}"),
        4
    );
    // One after the other, they share a connection.
    assert_eq!(asked.connections.load(Ordering::Relaxed), 1);
}

/// What a call said, and what it is answered.
type Judge = fn(&HttpRequest) -> CheckResponse;

/// A service of gRPC, and the heads and messages of its calls.
fn grpc(
    judge: Judge,
) -> (
    SocketAddr,
    mpsc::Receiver<(http::request::Parts, CheckRequest)>,
) {
    let (tell, told) = mpsc::channel();
    let address = peer::service(h2::server::Builder::new(), move |request, mut respond| {
        let tell = tell.clone();
        async move {
            let (head, mut stream) = request.into_parts();
            let body = peer::whole(&mut stream).await.unwrap();
            let request = CheckRequest::decode(&body[5..]).unwrap();
            let attributes = request.attributes.clone().unwrap();
            let response = judge(&attributes.request.unwrap().http.unwrap()).encode_to_vec();
            let _ = tell.send((head, request));
            let answer = http::Response::builder().header("content-type", "application/grpc");
            let mut send = respond
                .send_response(answer.body(()).unwrap(), false)
                .unwrap();
            let length = u32::try_from(response.len()).unwrap().to_be_bytes();
            let framed = [&[0], &length[..], &response].concat();
            send.send_data(Bytes::from(framed), false).unwrap();
            send.send_trailers(peer::headers(&[("grpc-status", "0")]))
                .unwrap();
        }
    });
    (address, told)
}

fn header(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

fn allow(ok: OkHttpResponse) -> CheckResponse {
    CheckResponse {
        http_response: Some(HttpResponse::OkResponse(ok)),
        ..CheckResponse::default()
    }
}

fn deny(status: i32, body: &str, headers: Vec<HeaderValueOption>) -> CheckResponse {
    CheckResponse {
        status: Some(Status {
            code: 7,
            ..Status::default()
        }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: status }),
            headers,
            body: body.to_owned(),
        })),
        ..CheckResponse::default()
    }
}

#[test]
fn a_service_of_grpc_is_called_and_decides() {
    let (authz, told) = grpc(|request| match request.path.as_str() {
        "/denied" => deny(
            429,
            "slow down",
            vec![
                header("content-type", "text/html"),
                header("x-a", "1"),
                header("x-a", "2"),
            ],
        ),
        _ => allow(OkHttpResponse {
            headers: vec![header("x-user", "alpha")],
            headers_to_remove: vec!["cookie".to_owned()],
            response_headers_to_add: vec![header("x-seen", "yes")],
            ..OkHttpResponse::default()
        }),
    });
    let settings = format!(
        "stat_prefix: waf, {}",
        GRPC.replace(
            "timeout: 5s",
            "timeout: 5s, initial_metadata: [{key: x-asked, value: \"%REQ(x-case)%\"}]"
        )
    );
    let context = per_route(
        "prefix: /told",
        "check_settings: {context_extensions: {shop: books}}",
    );
    let off = per_route("prefix: /off", "disabled: true");
    let running = start_file(&file(&settings, &(context + &off), echo(), authz));

    let allowed = send(
        &running,
        "GET /told HTTP/1.1\r\nhost: shop.test\r\nx-case: one\r\ncookie: a=b\r\n\r\n",
    );
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.header("x-seen").as_deref(), Some("yes"));
    assert!(
        allowed.body.contains("x-user: alpha\r\n"),
        "{}",
        allowed.body
    );
    assert!(!allowed.body.contains("cookie"), "{}", allowed.body);
    let (head, request) = told.recv().unwrap();
    assert_eq!(
        head.uri.path(),
        "/envoy.service.auth.v3.Authorization/Check"
    );
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "5000m"),
        ("x-asked", "one"),
        ("x-envoy-internal", "true"),
    ] {
        assert_eq!(head.headers[name], value);
    }
    let attributes = request.attributes.unwrap();
    assert_eq!(attributes.context_extensions["shop"], "books");
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!(
        (http.host.as_str(), http.protocol.as_str()),
        ("shop.test", "HTTP/1.1")
    );
    assert_eq!(http.headers["cookie"], "a=b");

    let denied = running.get("/denied");
    assert_eq!((denied.status(), denied.body.as_str()), (429, "slow down"));
    assert_eq!(denied.header("content-type").as_deref(), Some("text/html"));
    assert!(
        denied.head.contains("x-a: 1\r\nx-a: 2\r\n"),
        "{}",
        denied.head
    );

    assert_eq!(running.get("/off").status(), 200);
    let (_, last) = told.recv().unwrap();
    let path = |request: CheckRequest| {
        request
            .attributes
            .unwrap()
            .request
            .unwrap()
            .http
            .unwrap()
            .path
    };
    assert_eq!(path(last), "/denied");
    assert!(told.try_recv().is_err());
    let count = |name: &str| {
        running.metric(&format!(
            "envoy_http_ext_authz_{name}{{envoy_ext_authz_prefix=\"waf\",envoy_http_conn_manager_prefix=\"main\"}}"
        ))
    };
    assert_eq!((count("ok"), count("denied")), (1, 1));
}

#[test]
fn where_nobody_decides_requests_are_refused_or_go_on() {
    let silent = || service(|mut wire: Wire| drop(wire.rest()));
    let (broken, _) = answering(|_| answer("503 Broken", "", ""));
    let web = WEB.replace("5s", "0.3s") + "}";
    let calls = GRPC.replace("5s", "0.3s");
    for (settings, authz, slow) in [
        (&web, nobody(), false),
        (&web, silent(), true),
        (&web, broken, false),
        (&calls, nobody(), false),
        (&calls, silent(), true),
    ] {
        let refuses = format!("{settings}, status_on_error: {{code: 503}}");
        let running = start_file(&file(&refuses, "", echo(), authz));
        let begin = Instant::now();
        assert_eq!(running.get("/").status(), 503);
        assert!(!slow || begin.elapsed() >= Duration::from_millis(290));
        let record = running.told.record();
        assert_eq!(
            (record.flags, record.details.as_str()),
            (Flags::UAEX, "ext_authz_error")
        );

        let allows =
            format!("{settings}, failure_mode_allow: true, failure_mode_allow_header_add: true");
        let running = start_file(&file(&allows, "", echo(), authz));
        let answer = send(&running, &post("/", "all of it"));
        assert_eq!(answer.status(), 200);
        assert!(answer.body.ends_with("all of it"), "{}", answer.body);
        assert!(
            answer
                .body
                .contains("x-envoy-auth-failure-mode-allowed: true\r\n")
        );
        assert_eq!(
            running.metric("envoy_http_ext_authz_failure_mode_allowed"),
            1
        );
    }
}

#[test]
fn a_service_is_told_bodies_and_upstreams_get_all_of_them() {
    let (authz, asked) = answering(|_| answer("200 OK", "", ""));
    let whole = format!("{WEB}}}, with_request_body: {{max_request_bytes: 10}}");
    let running = start_file(&file(&whole, "", echo(), authz));
    let answer = send(&running, &post("/", "0123456789"));
    assert!(
        answer.body.ends_with("\r\n\r\n0123456789"),
        "{}",
        answer.body
    );
    let question = asked.last();
    assert_eq!(question.body, "0123456789");
    assert_eq!(
        question.header("x-envoy-auth-partial-body").as_deref(),
        Some("false")
    );
    running.told.record();
    let refused = send(&running, &post("/", "0123456789a"));
    assert_eq!(
        (refused.status(), refused.body.as_str()),
        (413, "Payload Too Large")
    );
    assert_eq!(running.told.record().details, "request_payload_too_large");

    let part = format!(
        "{WEB}}}, with_request_body: {{max_request_bytes: 4, allow_partial_message: true}}"
    );
    let nothing = per_route(
        "prefix: /none",
        "check_settings: {disable_request_body_buffering: true}",
    );
    let running = start_file(&file(&part, &nothing, echo(), authz));
    let chunked = "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut wire = running.connect();
    wire.send(format!("{chunked}3\r\nabc\r\n3\r\ndef\r\n"));
    // The service is asked before the body has ended.
    running.await_metric(
        "envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"authz\"}",
        1,
    );
    let question = asked.last();
    assert_eq!(
        (question.body.as_str(), question.header("content-length")),
        ("abcd", Some("4".to_owned()))
    );
    assert_eq!(
        question.header("x-envoy-auth-partial-body").as_deref(),
        Some("true")
    );
    wire.send("1\r\ng\r\n0\r\n\r\n");
    let answer = wire.message().unwrap();
    assert!(
        answer.body.contains("transfer-encoding: chunked\r\n"),
        "{}",
        answer.body
    );
    assert!(answer.body.ends_with("\r\n\r\nabcdefg"), "{}", answer.body);
    assert_eq!(running.told.record().bytes_in, 7);

    let answer = send(&running, &post("/none", "abcdefg"));
    assert!(answer.body.ends_with("abcdefg"), "{}", answer.body);
    let question = asked.last();
    assert_eq!(
        (
            question.body.as_str(),
            question.header("x-envoy-auth-partial-body")
        ),
        ("", None)
    );
}

#[test]
fn a_body_with_trailers_goes_on_with_them() {
    let (authz, _told) = grpc(|_| CheckResponse::default());
    let settings = format!("{GRPC}, with_request_body: {{max_request_bytes: 100}}");
    let text = file(&settings, "", peer::echo(), authz)
        .replace("cluster: up}", "cluster: up, timeout: 5s}");
    let text = text.replace(
        "  - name: up\n",
        "  - name: up\n    http2_protocol_options: {}\n",
    );
    let running = start_file(&text);
    let client = peer::Client::connect(running.address);
    let trailers = peer::headers(&[("x-after", "1")]);
    let answer = client
        .call(peer::post("/p"), &["ab", "cd"], Some(trailers))
        .unwrap();
    assert!(answer.body.ends_with(b" abcd"), "{answer:?}");
    assert_eq!(answer.trailers.unwrap()["x-after"], "1");
}

#[test]
fn a_client_that_leaves_takes_its_question_back() {
    let (tell, told) = mpsc::channel();
    let authz = service(move |mut wire| {
        wire.message().unwrap();
        tell.send("asked").unwrap();
        // The other side closes, and sends nothing more.
        let mut rest = Vec::new();
        let _ = wire.tcp.read_to_end(&mut rest);
        assert!(rest.is_empty());
        tell.send("closed").unwrap();
    });
    let running = start_file(&file(&format!("{WEB}}}"), "", echo(), authz));
    let mut wire = running.connect();
    wire.send("GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    assert_eq!(told.recv().unwrap(), "asked");
    drop(wire);
    assert_eq!(told.recv().unwrap(), "closed");
    let record = running.told.record();
    assert_eq!((record.flags, record.status), (Flags::DC, None));
    running.await_metric(
        "envoy_cluster_upstream_rq_active{envoy_cluster_name=\"authz\"}",
        0,
    );
}

#[test]
fn a_changed_request_finds_its_route_anew_where_that_is_asked_for() {
    let (authz, _told) = grpc(|_| {
        allow(OkHttpResponse {
            headers: vec![header("x-to", "other")],
            ..OkHttpResponse::default()
        })
    });
    let other = "              - {match: {prefix: /, headers: [{name: x-to, string_match: {exact: other}}]}, direct_response: {status: 202}}\n";
    for (more, status) in [("", 200), (", clear_route_cache: true", 202)] {
        let running = start_file(&file(&format!("{GRPC}{more}"), other, echo(), authz));
        assert_eq!(running.get("/").status(), status, "{more}");
    }
}

#[test]
fn requests_of_which_nobody_is_asked_go_on_or_are_refused() {
    let never = "filter_enabled: {default_value: {numerator: 0}}";
    for (more, status) in [("", 200), (", deny_at_disable: {default_value: true}", 403)] {
        let settings = format!("{WEB}}}, {never}{more}");
        let running = start_file(&file(&settings, "", echo(), nobody()));
        assert_eq!(running.get("/").status(), status);
        assert_eq!(running.metric("envoy_http_ext_authz_disabled"), 1);
    }
}

#[test]
fn what_is_not_honoured_is_refused_by_its_path() {
    let web = format!("{WEB}}}");
    for (settings, expected) in [
        (format!("{web}, shadow_mode: true"), "shadow_mode"),
        (
            format!("{web}, validate_mutations: true"),
            "validate_mutations",
        ),
        (
            format!("{web}, metadata_context_namespaces: [a]"),
            "metadata_context_namespaces[0]",
        ),
        (
            format!(
                "{WEB}, authorization_response: {{dynamic_metadata_from_headers: {{patterns: [{{exact: a}}]}}}}}}"
            ),
            "http_service.authorization_response.dynamic_metadata_from_headers",
        ),
        (
            format!("{WEB}, retry_policy: {{}}}}"),
            "http_service.retry_policy",
        ),
        (
            "grpc_service: {google_grpc: {target_uri: a, stat_prefix: b}}".to_owned(),
            "grpc_service.google_grpc",
        ),
        (
            "stat_prefix: a".to_owned(),
            "a `grpc_service` or an `http_service` is needed",
        ),
        (
            format!("{web}, status_on_error: {{code: 0}}"),
            "the status 0 must be from 200 to 599",
        ),
        (
            format!("{web}, with_request_body: {{}}"),
            "with_request_body.max_request_bytes",
        ),
    ] {
        let text = file(&settings, "", nobody(), nobody());
        let problems = read(&text, STRICT).err().unwrap_or_default();
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = expected.trim_end_matches("[0]");
        assert!(
            told.iter().any(|told| told.contains(expected)),
            "{expected}: {told:?}"
        );
    }
}

#[test]
fn a_routes_time_begins_when_the_request_may_go_on() {
    let (authz, _) = answering(|_| {
        std::thread::sleep(Duration::from_millis(400));
        answer("200 OK", "", "")
    });
    let short = "              - {match: {path: /}, route: {cluster: up, timeout: 0.25s}}\n";
    let running = start_file(&file(&format!("{WEB}}}"), short, echo(), authz));
    let answer = running.get("/");
    assert_eq!(answer.status(), 200);
    let took = answer.header("x-envoy-upstream-service-time").unwrap();
    assert!(took.parse::<u64>().unwrap() < 300, "{took}");
}
