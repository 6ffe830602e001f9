//! The header mutation filter, beyond headers: parameters of queries, and trailers.

use crate::support::{Running, service, start_file};

const FILE: &str = r#"static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_protocol_options: {enable_trailers: true}
          http_filters:
          - name: mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations:
                request_mutations: [{append: {header: {key: x-m, value: made}}}]
                query_parameter_mutations:
                - append: {record: {key: added, value: "a %REQ(x-m)%"}, action: APPEND_IF_EXISTS_OR_ADD}
                - remove: gone
                request_trailers_mutations:
                - append: {header: {key: x-up, value: "%REQ(:METHOD)%"}}
                - remove: x-drop
                response_trailers_mutations:
                - append: {header: {key: x-down, value: "%RESPONSE_CODE% %REQ(:AUTHORITY)%"}}
                - remove: x-drop
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /own}
                typed_per_filter_config:
                  mutation:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute
                    mutations: {query_parameter_mutations: [{append: {record: {key: added, value: route}, action: OVERWRITE_IF_EXISTS}}]}
                route: {cluster: up}
              - match: {prefix: /}
                route: {cluster: up, prefix_rewrite: /re}
  clusters:
  - name: up
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {enable_trailers: true}}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}
"#;

/// A proxy before a service that answers with what it got, and with trailers.
fn proxy() -> Running {
    proxy_of(FILE)
}

fn proxy_of(file: &str) -> Running {
    let address = service(|mut wire| {
        while let Some(head) = wire.head() {
            let mut text = head.lines().next().unwrap().to_owned();
            if head.contains("chunked") {
                loop {
                    let line = wire.line();
                    text.push('|');
                    text.push_str(line.trim_end());
                    if line == "\r\n" {
                        break;
                    }
                }
            }
            let answer = format!(
                "HTTP/1.1 203 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\nx-drop: 1\r\nx-kept: 2\r\n\r\n",
                text.len()
            );
            if !wire.try_send(answer) {
                return;
            }
        }
    });
    start_file(&file.replace("PORT", &address.port().to_string()))
}

#[test]
fn parameters_of_the_query_are_changed_by_the_filter_then_the_route() {
    let running = proxy();
    for (path, expected) in [
        ("/x?z=1&gone=2", "/rex?added=a%20made&z=1"),
        ("/own?added=0", "/own?added=route"),
    ] {
        let answer = running.get(path);
        assert_eq!(answer.body, format!("GET {expected} HTTP/1.1"));
    }
}

#[test]
fn trailers_that_come_are_changed_both_ways() {
    let running = proxy();
    let mut wire = running.connect();
    wire.send(
        "POST /own HTTP/1.1\r\nhost: shop.test\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-drop: 1\r\nx-kept: 2\r\n\r\n",
    );
    let head = wire.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 203"), "{head}");
    let mut rest = Vec::new();
    while rest.last().is_none_or(|line: &String| line != "\r\n") {
        rest.push(wire.line());
    }
    // Their order is free.
    let mut came: Vec<_> = rest[1].trim_end().split('|').collect();
    came[4..].sort_unstable();
    assert_eq!(
        came,
        [
            "POST /own?added=route HTTP/1.1",
            "2",
            "ok",
            "0",
            "",
            "x-kept: 2",
            "x-up: POST"
        ]
    );
    let mut trailers: Vec<_> = rest[3..].iter().map(|line| line.trim_end()).collect();
    trailers.sort_unstable();
    assert_eq!(trailers, ["", "x-down: 203 shop.test", "x-kept: 2"]);
}

#[test]
fn faults_meet_what_filters_before_them_have_made() {
    const ROUTER: &str = "          - name: router\n";
    let fault = |contains: &str| {
        format!(
            r#"          - name: fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {{http_status: 418, percentage: {{numerator: 100}}}}
              headers: [{{name: ":path", string_match: {{contains: {contains}}}}}]
{ROUTER}"#
        )
    };
    for (contains, status) in [("added", 418), ("gone", 203)] {
        let running = proxy_of(&FILE.replace(ROUTER, &fault(contains)));
        assert_eq!(running.get("/x?gone=2").status(), status, "{contains}");
    }
}
