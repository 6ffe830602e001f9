//! A listener's access log: one line a connection when it has ended, however far it came. The expected lines are those that
//! Envoy 1.40 writes for the same file, but for the length of its name in answers.

use std::{fs, net::SocketAddr};

use crate::support::{nobody, once, start_file};

const FILE: &str = r#"static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    access_log:
    - name: log
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
        path: <log>
        log_format:
          text_format_source:
            inline_string: "%ACCESS_LOG_TYPE% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %FILTER_CHAIN_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"
    filter_chains:
    - name: chain
      <chain>
      filters:
      - name: last
        typed_config: <last>
  clusters:
  - name: up
    connect_timeout: 1s
    type: STATIC
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <port>}}}
"#;

const TCP: &str = r#"{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: up}"#;

const HTTP: &str = r#"{"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, server_name: envoy, route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: up}}]}]}, http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}"#;

/// No connection of a test is to this port.
const ELSEWHERE: &str = "filter_chain_match: {destination_port: 1}";

/// What is logged of a connection on which this is said; and how many bytes came back.
fn logged(chain: &str, last: &str, up: SocketAddr, say: &str) -> (String, usize) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let text = FILE
        .replace("<log>", log.to_str().unwrap())
        .replace("<chain>", chain)
        .replace("<last>", last)
        .replace("<port>", &up.port().to_string());
    let running = start_file(&text);
    let mut wire = running.connect();
    wire.try_send(say);
    let came = wire.rest().len();
    running.handle.shutdown();
    (fs::read_to_string(log).unwrap(), came)
}

const ASK: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

#[test]
fn a_line_tells_of_a_connection_however_far_it_came() {
    let up = once(ANSWER);
    let (line, came) = logged("", HTTP, up, ASK);
    assert_eq!(
        line,
        format!("NotSet HTTP/1.1 0 - - {} {came} - chain 0 - -\n", ASK.len())
    );

    let (line, came) = logged("", HTTP, up, "GAR BAGE\r\n\r\n");
    assert_eq!(line, format!("NotSet - 0 DPE - 12 {came} - chain 0 - -\n"));

    let (line, came) = logged("", TCP, up, ASK);
    assert_eq!(
        line,
        format!("NotSet - 0 - - {} {came} up chain 1 - -\n", ASK.len())
    );

    let (line, _) = logged("", TCP, nobody(), "");
    assert_eq!(
        line,
        "NotSet - 0 UF,URX - 0 0 up chain 1 delayed_connect_error:_Connection_refused -\n"
    );

    let (line, _) = logged(ELSEWHERE, TCP, up, "");
    assert_eq!(line, "NotSet - 0 NR filter_chain_not_found 0 0 - - 0 - -\n");
}
