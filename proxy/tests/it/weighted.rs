//! What the requests of weighted clusters pass, where these override their route.

use std::net::SocketAddr;

use super::support::{Running, service, start_file};

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
          http_filters:
          - name: mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              most_specific_header_mutations_wins: WINS
              mutations: {response_mutations: [{append: {header: {key: x-m, value: base}}}]}
          - name: fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                typed_per_filter_config:
                  mutation:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute
                    mutations: {response_mutations: [{append: {header: {key: x-m, value: route}}}]}
                route:
                  weighted_clusters:
                    header_name: x-pick
                    clusters:
                    - {name: up, weight: 1}
                    - name: up
                      weight: 1
                      typed_per_filter_config:
                        mutation:
                          "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute
                          mutations: {response_mutations: [{append: {header: {key: x-m, value: weighted}}}]}
                    - name: up
                      weight: 1
                      typed_per_filter_config:
                        fault:
                          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
                          abort: {http_status: 418, percentage: {numerator: 100}}
                    - name: up
                      weight: 1
                      typed_per_filter_config:
                        mutation:
                          "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                          disabled: true
  clusters:
  - name: up
    type: STATIC
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}
"#;

fn proxy(wins: bool) -> Running {
    let address: SocketAddr = service(|mut wire| {
        while wire.message().is_some() {
            if !wire.try_send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") {
                return;
            }
        }
    });
    start_file(
        &FILE
            .replace("PORT", &address.port().to_string())
            .replace("WINS", &wins.to_string()),
    )
}

/// Statuses and mutations as Envoy 1.40 gives them for the same file.
#[test]
fn a_weighted_cluster_overrides_what_its_requests_pass() {
    for (wins, pick, status, expected) in [
        (false, 0, 200, &["base", "route"][..]),
        (false, 1, 200, &["base", "weighted", "route"]),
        (true, 1, 200, &["base", "route", "weighted"]),
        (false, 2, 418, &["base", "route"]),
        (false, 3, 200, &[]),
    ] {
        let running = proxy(wins);
        let mut wire = running.connect();
        wire.send(format!(
            "GET / HTTP/1.1\r\nhost: a.test\r\nx-pick: {pick}\r\n\r\n"
        ));
        let answer = wire.message().unwrap();
        let told: Vec<_> = answer
            .head
            .lines()
            .filter_map(|line| line.strip_prefix("x-m: "))
            .collect();
        assert_eq!(
            (answer.status(), told.as_slice()),
            (status, expected),
            "{pick}"
        );
    }
}
