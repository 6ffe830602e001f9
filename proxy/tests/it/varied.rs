//! Settings in combinations: what Envoy 1.40 was seen to answer to the same file and the same requests.

use std::net::SocketAddr;

use meshbed_proxy::app::{Deps, Handle, Proxy};

use super::support::{Message, Wire, nobody, read_file, service};

/// A service that answers with what it was asked: the first line, and the headers that begin with `x-` and some others.
fn up() -> SocketAddr {
    service(|mut wire| {
        while let Some(request) = wire.message() {
            let head = &request.head;
            let rows = head.lines().filter(|row| {
                let name = row.split(':').next().unwrap_or_default();
                name.starts_with("GET ") || name.starts_with("x-") || name == "accept"
            });
            let body = rows.collect::<Vec<_>>().join("|");
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nvary: a\r\nvary: b\r\nx-up: 1\r\nx-up: 2\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

struct Varied {
    _handle: Handle,
    address: SocketAddr,
}

impl Varied {
    /// `of_config`, `filters` and `manager`: fields, each with a comma before or after it as they stand there.
    fn start(routes: &str, of_config: &str, filters: &str, manager: &str) -> Self {
        Self::run(&Self::text(routes, of_config, filters, manager))
    }

    fn text(routes: &str, of_config: &str, filters: &str, manager: &str) -> String {
        let cluster = |name: &str, address: SocketAddr| {
            format!(
                "{{name: {name}, connect_timeout: 1s, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}",
                address.port()
            )
        };
        format!(
            r#"
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          {manager}
          route_config: {{{of_config} virtual_hosts: [{{name: all, domains: ["*"], routes: [{routes}]}}]}}
          http_filters:
          {filters}
          - {{name: r, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}
  clusters:
  - {up}
  - {down}
"#,
            up = cluster("up", up()),
            down = cluster("down", nobody()),
        )
    }

    fn run(text: &str) -> Self {
        let handle = Proxy::start(read_file(text), Deps::default()).unwrap();
        let address = handle.address("in").unwrap();
        Self {
            _handle: handle,
            address,
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Message {
        let mut wire = Wire::connect(self.address);
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n"
        ));
        wire.message_to(method).unwrap()
    }

    fn get(&self, path: &str, headers: &str) -> Message {
        self.ask("GET", path, headers)
    }
}

#[test]
fn rows_of_a_known_header_are_one() {
    let routes = "{match: {prefix: /}, route: {cluster: up}, request_headers_to_add: [{header: {key: accept, value: c}}, {header: {key: x-own, value: c}}], response_headers_to_add: [{header: {key: vary, value: c}}, {header: {key: x-up, value: '3'}}]}";
    let answer = Varied::start(routes, "", "", "")
        .get("/", "accept: a\r\naccept: b\r\nx-own: a\r\nx-own: b\r\n");
    let rows: Vec<_> = answer.body.split('|').collect();
    assert!(rows.contains(&"accept: a,b,c"), "{rows:?}");
    assert_eq!(
        rows.iter().filter(|row| row.starts_with("x-own: ")).count(),
        3
    );
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("vary: a,b,c\r\n"), "{head}");
    assert_eq!(head.matches("\r\nx-up: ").count(), 3);
}

#[test]
fn a_weighted_cluster_comes_first_whoever_wins() {
    let add = |value: &str| {
        format!(
            "request_headers_to_add: [{{header: {{key: x-who, value: {value}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]"
        )
    };
    let routes = format!(
        "{{match: {{prefix: /}}, {}, route: {{weighted_clusters: {{clusters: [{{name: up, weight: 1, {}}}]}}}}}}",
        add("route"),
        add("cluster")
    );
    for (wins, who) in [(true, "route"), (false, "config")] {
        let config = format!(
            "most_specific_header_mutations_wins: {wins}, {},",
            add("config")
        );
        let answer = Varied::start(&routes, &config, "", "").get("/", "");
        assert!(
            answer.body.contains(&format!("x-who: {who}")),
            "{wins}: {answer:?}"
        );
    }
}

#[test]
fn a_redirect_knows_where_it_leads() {
    let routes = "{match: {prefix: /}, redirect: {host_redirect: b.test}, response_headers_to_add: [{header: {key: x-to, value: '%RESP(location)%'}}]}";
    let answer = Varied::start(routes, "", "", "").get("/a", "");
    assert_eq!(answer.header("x-to").unwrap(), "http://b.test/a");
}

#[test]
fn a_connection_ends_with_a_400_of_ours() {
    let routes = "{match: {prefix: /bad}, direct_response: {status: 400}}, {match: {prefix: /}, direct_response: {status: 404}}";
    let proxy = Varied::start(routes, "", "", "");
    assert_eq!(
        proxy.get("/bad", "").header("connection").as_deref(),
        Some("close")
    );
    assert_eq!(proxy.get("/", "").header("connection"), None);
}

#[test]
fn a_path_with_a_fragment_is_refused_and_odd_characters_are_escaped() {
    let routes = "{match: {prefix: /}, route: {cluster: up}}";
    let proxy = Varied::start(routes, "", "", "");
    assert_eq!(proxy.get("/a#b", "").status(), 400);
    let answer = proxy.get("/a<b>?`c`", "");
    assert!(answer.body.starts_with("GET /a%3Cb%3E?`c` "), "{answer:?}");
}

#[test]
fn what_is_no_http_is_not_flagged_in_its_answer() {
    let manager = "local_reply_config: {body_format: {text_format_source: {inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS%'}}}";
    let routes = "{match: {prefix: /}, route: {cluster: down}}";
    let proxy = Varied::start(routes, "", "", manager);
    assert_eq!(proxy.get("/", "bad row\r\n").body, "400 -");
    assert_eq!(proxy.get("/", "").body, "503 UF");
}

#[test]
fn values_of_a_request_on_its_way_are_of_its_first_try() {
    let routes = "{match: {prefix: /}, route: {cluster: up}, request_headers_to_add: [{header: {key: x-try, value: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%'}}, {header: {key: x-env, value: '%ENVIRONMENT(MESHBED_NOT_SET)%'}}]}";
    let answer = Varied::start(routes, "", "", "").get("/", "");
    assert!(answer.body.contains("x-try: 1"), "{answer:?}");
    assert!(answer.body.contains("x-env: -"), "{answer:?}");
}

#[test]
fn cors_is_for_routes_that_send_on_and_takes_from_the_host_what_they_leave_open() {
    let filter = "- {name: c, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}";
    let policy = |fields: &str| {
        format!(
            "typed_per_filter_config: {{c: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, {fields}}}}}"
        )
    };
    let routes = format!(
        "{{match: {{prefix: /here}}, direct_response: {{status: 200}}, {}}}, {{match: {{prefix: /}}, route: {{cluster: up}}, {}}}",
        policy("allow_origin_string_match: [{exact: '*'}]"),
        policy("allow_origin_string_match: [{exact: '*'}]")
    );
    let config = format!("{},", policy("allow_methods: 'GET,PUT', max_age: '9'"));
    let proxy = Varied::start(&routes, &config, filter, "");
    let asked = "origin: https://b.test\r\naccess-control-request-method: PUT\r\n";
    let answer = proxy.ask("OPTIONS", "/", asked);
    let header = |name| answer.header(name).unwrap_or_default();
    assert_eq!(
        (
            header("access-control-allow-origin").as_str(),
            header("access-control-allow-methods").as_str(),
            header("access-control-max-age").as_str()
        ),
        ("https://b.test", "GET,PUT", "9")
    );
    let answer = proxy.ask("OPTIONS", "/here", asked);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn a_quiet_proxy_tells_the_upstream_nothing_of_itself() {
    let routes = "{match: {prefix: /}, route: {cluster: up, host_rewrite_literal: b.test, prefix_rewrite: /z}}";
    let loud = Varied::start(routes, "", "", "").get("/a", "");
    for name in [
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-original-host",
        "x-envoy-original-path",
    ] {
        assert!(loud.body.contains(name), "{name}: {loud:?}");
    }
    let text = Varied::text(routes, "", "", "").replace(
        "http.router.v3.Router}",
        "http.router.v3.Router, suppress_envoy_headers: true}",
    );
    let quiet = Varied::run(&text).get("/a", "");
    assert!(!quiet.body.contains("x-envoy"), "{quiet:?}");
}

#[test]
fn who_is_to_be_traced_is_told_the_id() {
    let manager = "use_remote_address: true\n          internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    let routes = "{match: {prefix: /}, route: {cluster: up}}";
    let proxy = Varied::start(routes, "", "", manager);
    assert_eq!(proxy.get("/", "").header("x-request-id"), None);
    let traced = proxy.get("/", "x-envoy-force-trace: 1\r\n");
    assert!(traced.header("x-request-id").is_some(), "{traced:?}");
}

#[test]
fn a_header_that_an_upstream_spells_stays_so() {
    let routes = "{match: {prefix: /}, route: {cluster: spelt}}";
    let spelt = service(|mut wire| {
        while wire.message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\nX-Own-ETag: 1\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let cluster = format!(
        "clusters:\n  - {{name: spelt, connect_timeout: 1s, typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{http_protocol_options: {{header_key_format: {{stateful_formatter: {{name: p, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}}}}}}}}}}}, load_assignment: {{cluster_name: spelt, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}",
        spelt.port()
    );
    // The listener would write names in its own way.
    for manager in [
        "",
        "http_protocol_options: {header_key_format: {proper_case_words: {}}}",
    ] {
        let text = Varied::text(routes, "", "", manager).replace("clusters:", &cluster);
        let answer = Varied::run(&text).get("/", "");
        assert!(answer.head.contains("\r\nX-Own-ETag: 1\r\n"), "{answer:?}");
        assert!(
            answer.head.contains("\r\ncontent-length: 0\r\n"),
            "{answer:?}"
        );
    }
}

#[test]
fn filters_see_the_status_that_was_meant() {
    let filter = "- {name: m, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {response_mutations: [{append: {header: {key: x-meant, value: '%RESPONSE_CODE%'}}}]}}}";
    let routes = "{match: {prefix: /}, route: {cluster: down}}";
    let proxy = Varied::start(routes, "", filter, "");
    let answer = proxy.get("/", "content-type: application/grpc\r\n");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-meant").as_deref(), Some("503"));
}
