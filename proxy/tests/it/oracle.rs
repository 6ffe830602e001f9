//! The same file and the same requests as Envoy. What Envoy 1.40 answers is written down here, so the table holds us to it
//! everywhere; where Envoy is installed (`envoy` in PATH, or its path in `ENVOY`), the table itself is held against it.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Proxy},
    observe::{Observer, Record},
};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::support::read_file;

mod differences;

/// A request, and what Envoy makes of it.
struct Row {
    name: &'static str,
    request: String,
    /// First line of the answer without its protocol, or the bytes that came where it ends early.
    status: u16,
    body: &'static str,
    flags: &'static str,
    details: &'static str,
    /// Lines that the answer's header must have.
    header: &'static [&'static str],
    /// Least time until the answer; what is asked is 150 ms, and Envoy's timers fire up to a millisecond early.
    least: Duration,
}

/// What a row came to: what Envoy's answer and ours, in this order, are compared by.
const FIELDS: [&str; 4] = ["status", "body", "flags", "details"];

/// A row that is not as it should be.
struct Wrong {
    row: &'static str,
    /// Which of [`FIELDS`] differ; others, such as a header or a time, are not in it.
    fields: Vec<&'static str>,
    /// What came: the four of them.
    got: [String; 4],
    said: String,
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
}

fn cors(method: &str, origin: &str) -> String {
    let asked = format!("\r\norigin: {origin}\r\naccess-control-request-method: PUT\r\n\r\n");
    let request = get("/cors").replace("GET", method);
    request.replace("\r\n\r\n", &asked)
}

fn rows() -> Vec<Row> {
    let row = |name, request, status, body, flags, details| Row {
        name,
        request,
        status,
        body,
        flags,
        details,
        header: &[],
        least: Duration::ZERO,
    };
    let told = |row, header| Row { header, ..row };
    let late = |row| Row {
        least: Duration::from_millis(149),
        ..row
    };
    vec![
        row("forwarded", get("/ok"), 200, "ok", "-", "via_upstream"),
        row(
            "no route",
            get("/nowhere/"),
            404,
            "",
            "NR",
            "route_not_found",
        ),
        row(
            "no host",
            "GET /ok HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n".to_owned(),
            404,
            "",
            "NR",
            "route_not_found",
        ),
        row(
            "direct answer",
            get("/direct"),
            299,
            "here",
            "-",
            "direct_response",
        ),
        row(
            "abort",
            get("/abort"),
            503,
            "fault filter abort",
            "FI",
            "fault_filter_abort",
        ),
        late(row(
            "delay longer than the route's timeout",
            get("/late"),
            200,
            "ok",
            "DI",
            "via_upstream",
        )),
        late(row(
            "delay and abort",
            get("/both"),
            418,
            "fault filter abort",
            "DI,FI",
            "fault_filter_abort",
        )),
        row(
            "a fault for other headers",
            get("/picky"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        row(
            "a fault for these headers",
            get("/picky").replace("\r\n\r\n", "\r\nx-break: 1\r\n\r\n"),
            429,
            "fault filter abort",
            "FI",
            "fault_filter_abort",
        ),
        late(row(
            "route timeout",
            get("/hang"),
            504,
            "upstream request timeout",
            "UT",
            "response_timeout",
        )),
        row(
            "upstream closes before the header",
            get("/close"),
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
        ),
        row(
            "connection refused",
            get("/refused"),
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ),
        row(
            "no endpoints",
            get("/empty"),
            503,
            "no healthy upstream",
            "UH",
            "no_healthy_upstream",
        ),
        row(
            "header too large",
            get("/ok").replace(
                "\r\n\r\n",
                &format!("\r\nx-large: {}\r\n\r\n", "a".repeat(70_000)),
            ),
            431,
            "Request Header Fields Too Large",
            "DPE",
            "http1.headers_too_large",
        ),
        told(
            row(
                "redirect",
                get("/moved/a?q=1"),
                308,
                "",
                "-",
                "direct_response",
            ),
            &["location: https://new.test/np/a?q=1"],
        ),
        told(
            row(
                "redirect by an expression",
                get("/regex/x/y"),
                301,
                "",
                "-",
                "direct_response",
            ),
            &["location: http://shop.test/y-x"],
        ),
        told(
            row(
                "a direct answer that redirects",
                get("/made"),
                201,
                "",
                "-",
                "direct_response",
            ),
            &["location: http://shop.test/made"],
        ),
        row(
            "unknown cluster",
            get("/unknown"),
            503,
            "",
            "NC",
            "cluster_not_found",
        ),
        row(
            "unknown cluster, told as 404",
            get("/unknown404"),
            404,
            "",
            "NC",
            "cluster_not_found",
        ),
        row(
            "no cluster's header",
            get("/named"),
            503,
            "",
            "NC",
            "cluster_not_found",
        ),
        row(
            "a cluster's header",
            get("/named").replace("\r\n\r\n", "\r\nx-cluster: up\r\n\r\n"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        row(
            "nothing to do",
            get("/nothing"),
            503,
            "",
            "NC",
            "cluster_not_found",
        ),
        row(
            "dots in the path",
            get("/x/%2e./direct"),
            299,
            "here",
            "-",
            "direct_response",
        ),
        row(
            "a path that nobody may ask for",
            get("/a%00"),
            400,
            "",
            "-",
            "path_normalization_failed",
        ),
        row(
            "slashes in the path",
            get("//direct"),
            299,
            "here",
            "-",
            "direct_response",
        ),
        row(
            "a path that is none",
            get("*").replace("GET", "OPTIONS"),
            404,
            "",
            "-",
            "absolute_path_rejected",
        ),
        told(
            row(
                "header operations",
                get("/headers"),
                200,
                "ok",
                "-",
                "via_upstream",
            ),
            &[
                "x-level: config",
                "x-last: config",
                "x-code: 200",
                "x-asked: /headers",
                "x-from: up",
                "x-flags: -",
            ],
        ),
        told(
            row(
                "header operations of an answer of ours",
                get("/refused"),
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
                "UF",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            ),
            &["x-level: config", "x-code: 0"],
        ),
        told(
            row(
                "preflight",
                cors("OPTIONS", "https://a.test"),
                200,
                "",
                "-",
                "cors_response",
            ),
            &[
                "access-control-allow-origin: https://a.test",
                "access-control-allow-methods: PUT",
                "access-control-expose-headers: x-seen",
            ],
        ),
        row(
            "preflight of another origin",
            cors("OPTIONS", "https://b.test"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        told(
            row(
                "request of an origin",
                cors("GET", "https://a.test"),
                200,
                "ok",
                "-",
                "via_upstream",
            ),
            &[
                "access-control-allow-origin: https://a.test",
                "access-control-expose-headers: x-seen",
            ],
        ),
        row(
            "template",
            get("/t/1/x/2/3"),
            200,
            "/2/3/1",
            "-",
            "via_upstream",
        ),
        row(
            "cookie",
            get("/cookie").replace("\r\n\r\n", "\r\ncookie: a=b; c=v\r\n\r\n"),
            202,
            "",
            "-",
            "direct_response",
        ),
        row(
            "another cookie",
            get("/cookie"),
            203,
            "",
            "-",
            "direct_response",
        ),
        row(
            "a bare line feed after a header",
            get("/ok").replace("test\r\nconn", "test\nconn"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        row(
            "a folded header",
            get("/ok").replace("\r\n\r\n", "\r\nx-folded: a\r\n b\r\n\r\n"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        row(
            "two hosts",
            get("/ok").replace("\r\n\r\n", "\r\nhost: shop.test\r\n\r\n"),
            404,
            "",
            "NR",
            "route_not_found",
        ),
        row(
            "two spaces in the request line",
            get("/ok").replace("GET /", "GET  /"),
            200,
            "ok",
            "-",
            "via_upstream",
        ),
        row(
            "length and chunks",
            "POST /ok HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_owned(),
            400,
            "Bad Request",
            "DPE",
            "http1.content_length_and_chunked_not_allowed",
        ),
        told(
            row(
                "from the address that the cluster is bound to",
                get("/bound"),
                200,
                "ok",
                "-",
                "via_upstream",
            ),
            &["x-local: 127.0.0.3"],
        ),
        row(
            "an endpoint is asked for by its own name in TLS",
            get("/named-endpoint"),
            200,
            "own.test",
            "-",
            "via_upstream",
        ),
        row(
            "an endpoint without a name is asked for by that of the context",
            get("/nameless-endpoint"),
            200,
            "context.test",
            "-",
            "via_upstream",
        ),
        row(
            "upstream dies in the body",
            get("/half"),
            200,
            "half",
            "UPE",
            "upstream_reset_after_response_started{protocol_error}",
        ),
    ]
}

fn file(port: u16, (upstream, secure, refused): (u16, u16, u16), log: &str) -> String {
    let fault = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let all = "percentage: {numerator: 100}";
    let faulty = |path: &str, timeout: &str, settings: &str| {
        format!(
            "              - {{match: {{path: {path}}}, route: {{cluster: up{timeout}}}, typed_per_filter_config: {{faults: {{{fault}, {settings}}}}}}}\n"
        )
    };
    let mut routes = String::new();
    routes += &faulty("/abort", "", &format!("abort: {{http_status: 503, {all}}}"));
    routes += &faulty(
        "/late",
        ", timeout: 0.1s",
        &format!("delay: {{fixed_delay: 0.15s, {all}}}"),
    );
    routes += &faulty(
        "/both",
        "",
        &format!("delay: {{fixed_delay: 0.15s, {all}}}, abort: {{http_status: 418, {all}}}"),
    );
    routes += &faulty(
        "/picky",
        "",
        &format!(
            "headers: [{{name: x-break, string_match: {{exact: \"1\"}}}}], abort: {{http_status: 429, {all}}}"
        ),
    );
    for (path, route) in [
        (
            "/direct",
            "direct_response: {status: 299, body: {inline_string: here}}",
        ),
        ("/hang", "route: {cluster: up, timeout: 0.15s}"),
        ("/refused", "route: {cluster: refused}"),
        ("/empty", "route: {cluster: empty}"),
        ("/ok", "route: {cluster: up}"),
        ("/close", "route: {cluster: up}"),
        ("/half", "route: {cluster: up}"),
        ("/unknown", "route: {cluster: nowhere}"),
        (
            "/unknown404",
            "route: {cluster: nowhere, cluster_not_found_response_code: NOT_FOUND}",
        ),
        ("/named", "route: {cluster_header: x-cluster}"),
        ("/nothing", "non_forwarding_action: {}"),
        ("/made", "direct_response: {status: 201}"),
        (
            "/headers",
            "route: {cluster: up}, response_headers_to_add: [{header: {key: x-last, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-asked, value: '%REQ(:PATH)%'}}, {header: {key: x-from, value: '%UPSTREAM_CLUSTER%'}}, {header: {key: x-flags, value: '%RESPONSE_FLAGS%'}}]",
        ),
        (
            "/bound",
            "route: {cluster: bound}, response_headers_to_add: [{header: {key: x-local, value: '%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%'}}]",
        ),
        ("/named-endpoint", "route: {cluster: named-endpoint}"),
        ("/nameless-endpoint", "route: {cluster: nameless-endpoint}"),
        (
            "/cors",
            "route: {cluster: up}, typed_per_filter_config: {cors: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: 'https://a.test'}], allow_methods: PUT, expose_headers: x-seen}}",
        ),
    ] {
        let _ = writeln!(
            routes,
            "              - {{match: {{path: {path}}}, {route}}}"
        );
    }
    for route in [
        "match: {prefix: /moved/}, redirect: {https_redirect: true, host_redirect: new.test, prefix_rewrite: /np/, response_code: PERMANENT_REDIRECT}",
        "match: {prefix: /regex/}, redirect: {regex_rewrite: {pattern: {regex: '^/regex/(.)/(.)$'}, substitution: '/\\2-\\1'}}",
        "match: {path_match_policy: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/t/{a}/x/{b=**}'}}}, route: {cluster: up, path_rewrite_policy: {name: r, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: '/{b}/{a}'}}}",
        "match: {path: /cookie, cookies: [{name: c, string_match: {exact: v}}]}, direct_response: {status: 202}",
        "match: {path: /cookie}, direct_response: {status: 203}",
    ] {
        let _ = writeln!(routes, "              - {{{route}}}");
    }
    let endpoint = |port: u16| {
        format!(
            "[{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]"
        )
    };
    let mut clusters = String::new();
    let named = endpoint(secure).replace("endpoint: {", "endpoint: {hostname: own.test, ");
    let tls = "transport_socket: {name: tls, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, auto_host_sni: true, sni: context.test}}, ";
    for (name, settings, endpoints) in [
        ("up", "", endpoint(upstream)),
        (
            "bound",
            "upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}, ",
            endpoint(upstream),
        ),
        ("named-endpoint", tls, named),
        ("nameless-endpoint", tls, endpoint(secure)),
        ("refused", "", endpoint(refused)),
        ("empty", "", "[]".to_owned()),
    ] {
        let _ = writeln!(
            clusters,
            "  - {{name: {name}, connect_timeout: 1s, {settings}load_assignment: {{cluster_name: {name}, endpoints: {endpoints}}}}}"
        );
    }
    format!(
        r#"static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {log}
              log_format: {{text_format_source: {{inline_string: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"}}}}
          normalize_path: true
          merge_slashes: true
          route_config:
            validate_clusters: false
            response_headers_to_add:
            - {{header: {{key: x-level, value: config}}}}
            - {{header: {{key: x-last, value: config}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
            - {{header: {{key: x-code, value: "%RESPONSE_CODE%"}}}}
            virtual_hosts:
            - name: shop
              domains: [shop.test]
              routes:
{routes}          http_filters:
          - name: cors
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}
          - name: faults
            typed_config: {{{fault}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{clusters}"#
    )
}

/// An upstream that behaves by the path.
async fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let answer = match head.split(' ').nth(1) {
                    Some("/close") => "",
                    Some("/half") => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
                    Some("/hang") => {
                        sleep(Duration::from_secs(2)).await;
                        ""
                    }
                    Some("/2/3/1") => {
                        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n/2/3/1"
                    }
                    _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                // What was written arrives before the end does.
                sleep(Duration::from_millis(30)).await;
            });
        }
    });
    port
}

/// An upstream that speaks TLS, and answers with the name that it was asked for.
async fn secure() -> u16 {
    let made = rcgen::generate_simple_self_signed(["up.test".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut bytes = vec![0; 4096];
                let _ = stream.read(&mut bytes).await;
                let name = stream
                    .get_ref()
                    .1
                    .server_name()
                    .unwrap_or("none")
                    .to_owned();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}",
                    name.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                sleep(Duration::from_millis(30)).await;
            });
        }
    });
    port
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// What came back: status, header, body, and after how long.
async fn send(to: SocketAddr, request: &str) -> (u16, String, String, Duration) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The rest of a header that is too large may meet a closed connection.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
    let elapsed = begin.elapsed();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (status, head.to_owned(), body.to_owned(), elapsed)
}

/// `FLAGS DETAILS` of each request, in order.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn request(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{} {}", record.flags, record.details));
    }
}

/// Sends every row and compares it; `log` gives the lines so far. What differs.
async fn compare(to: SocketAddr, log: impl Fn() -> Vec<String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for row in rows() {
        let before = log().len();
        let (status, head, body, elapsed) = send(to, &row.request).await;
        let mut told = None;
        // A log may be written a little after the answer.
        for _ in 0..50 {
            told = log().get(before).cloned();
            if told.is_some() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let told = told.unwrap_or_default();
        let (flags, details) = told.split_once(' ').unwrap_or((&told, ""));
        let got = [
            status.to_string(),
            body,
            flags.to_owned(),
            details.to_owned(),
        ];
        let expected = [
            row.status.to_string(),
            row.body.to_owned(),
            row.flags.to_owned(),
            row.details.to_owned(),
        ];
        let differ = |at: &usize| got[*at] != expected[*at];
        let fields: Vec<_> = (0..4).filter(differ).map(|at| FIELDS[at]).collect();
        let mut said = Vec::new();
        if !fields.is_empty() {
            said.push(format!("expected {expected:?}, got {got:?}"));
        }
        for line in row.header {
            if !head.lines().any(|got| got.eq_ignore_ascii_case(line)) {
                said.push(format!("no `{line}` in {head}"));
            }
        }
        if elapsed < row.least {
            said.push(format!("after {elapsed:?}, not {:?}", row.least));
        }
        if !said.is_empty() {
            wrong.push(Wrong {
                row: row.name,
                fields,
                got,
                said: format!("{}: {}", row.name, said.join("; ")),
            });
        }
    }
    wrong
}

#[tokio::test]
async fn the_table_holds_for_us() {
    let ports = (upstream().await, secure().await, free_port().await);
    let text = file(0, ports, "/dev/null");
    let log = Arc::new(Log::default());
    let observer: Arc<dyn Observer> = Arc::<Log>::clone(&log);
    let handle = Proxy::start(
        read_file(&text),
        Deps {
            observer,
            ..Deps::default()
        },
    )
    .unwrap();
    let wrong = compare(handle.address("in").unwrap(), || {
        log.0.lock().unwrap().clone()
    })
    .await;
    let listed = differences::read();
    let mut told = Vec::new();
    for wrong in &wrong {
        let known = listed
            .iter()
            .find(|it| it.row.as_deref() == Some(wrong.row));
        match known {
            // What is listed is what differs, in these fields, in this way; headers and times are never listed.
            Some(known) if known.ours == wrong.got && known.fields == wrong.fields => {}
            Some(_) => told.push(format!("it differs in another way: {}", wrong.said)),
            None => told.push(format!("it is not listed: {}", wrong.said)),
        }
    }
    for row in listed.iter().filter_map(|it| it.row.as_deref()) {
        if !rows().iter().any(|it| it.name == row) {
            told.push(format!("there is no row `{row}`"));
        } else if !wrong.iter().any(|it| it.row == row) {
            told.push(format!("`{row}` is listed, and no longer differs"));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test]
async fn the_table_holds_for_envoy() {
    let Some(envoy) = find_envoy() else {
        // Not `eprintln!`, which the harness keeps to itself when a test passes.
        let _ = std::io::stderr().write_all(
            b"\nABSENT: no Envoy in PATH or in $ENVOY; the table was not held against it\n",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("envoy.yaml"), folder.path().join("log"));
    let port = free_port().await;
    let ports = (upstream().await, secure().await, free_port().await);
    let text = file(port, ports, &log.to_string_lossy());
    fs::write(&path, text).unwrap();
    let mut child = tokio::process::Command::new(envoy)
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "error",
            "--file-flush-interval-msec",
            "20",
            "-c",
        ])
        .arg(&path)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let up = async {
        while TcpStream::connect(to).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), up).await.unwrap();
    let lines = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let wrong = compare(to, lines).await;
    child.kill().await.unwrap();
    let said: Vec<_> = wrong.iter().map(|it| &it.said).collect();
    assert!(said.is_empty(), "{said:#?}");
}

fn find_envoy() -> Option<PathBuf> {
    env::var_os("ENVOY").map(PathBuf::from).or_else(|| {
        env::split_paths(&env::var_os("PATH")?)
            .map(|folder| folder.join("envoy"))
            .find(|file| file.is_file())
    })
}
