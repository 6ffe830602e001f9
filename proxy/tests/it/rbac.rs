//! Who may ask for what.

use crate::support::{Running, start_file};

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
          - name: rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  b: {permissions: [{any: true}], principals: [{header: {name: x-role, string_match: {exact: admin}}}]}
              shadow_rules:
                action: DENY
                policies:
                  a: {permissions: [{header: {name: ":method", string_match: {exact: PUT}}}], principals: [{any: true}]}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /open}
                direct_response: {status: 200}
                typed_per_filter_config:
                  rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}
              - match: {prefix: /denied}
                direct_response: {status: 200}
                typed_per_filter_config:
                  rbac:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute
                    rbac:
                      rules:
                        action: DENY
                        policies:
                          "no go": {permissions: [{url_path: {path: {suffix: /there}}}], principals: [{not_id: {authenticated: {}}}]}
              - match: {prefix: /}
                direct_response: {status: 200}
"#;

fn ask(running: &Running, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut wire = running.connect();
    wire.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n"
    ));
    let answer = wire.message_to(method).unwrap();
    (answer.status(), answer.body)
}

/// Statuses, bodies, details and counts as Envoy 1.40 has them.
#[test]
fn requests_that_no_policy_allows_are_refused() {
    let running = start_file(FILE);
    for (method, path, headers, details) in [
        ("GET", "/", "", "rbac_access_denied_matched_policy[none]"),
        ("PUT", "/", "x-role: admin\r\n", "direct_response"),
        ("GET", "/open", "", "direct_response"),
        ("GET", "/denied/here", "", "direct_response"),
        (
            "GET",
            "/denied/there?q",
            "",
            "rbac_access_denied_matched_policy[no_go]",
        ),
    ] {
        let (status, body) = ask(&running, method, path, headers);
        if details == "direct_response" {
            assert_eq!(status, 200, "{path}");
        } else {
            assert_eq!((status, body.as_str()), (403, "RBAC: access denied"));
        }
        assert_eq!(running.told.record().details, details);
    }
    let count = |name: &str| running.metric(&format!("envoy_http_rbac_{name}"));
    assert_eq!((count("allowed"), count("denied")), (2, 2));
    assert_eq!((count("shadow_allowed"), count("shadow_denied")), (1, 1));
}

/// What is asked of a parameter holds for the path that filters before have made.
#[test]
fn policies_see_what_filters_before_them_have_left() {
    const MUTATION: &str = r#"          http_filters:
          - name: mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations:
                query_parameter_mutations:
                - append: {record: {key: role, value: made}, action: APPEND_IF_EXISTS_OR_ADD}
                - remove: token
"#;
    let file = FILE
        .replace("          http_filters:\n", MUTATION)
        .replace(
            "{name: x-role, string_match: {exact: admin}}",
            "{name: \":path\", string_match: {suffix: \"?role=made\"}}",
        )
        .replace(
            "{name: \":method\", string_match: {exact: PUT}}",
            "{name: \":path\", string_match: {contains: token}}",
        );
    let running = start_file(&file);
    assert_eq!(ask(&running, "GET", "/?token=1", "").0, 200);
    assert_eq!(running.metric("envoy_http_rbac_shadow_denied"), 0);
}
