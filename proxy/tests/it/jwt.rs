//! Requests that need tokens. How tokens are judged is tested where that is; here: what becomes of their requests.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

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
          - name: jwt
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                first: {issuer: issuer.test, audiences: [books], local_jwks: {inline_string: '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'}}
              rules:
              - {match: {prefix: /api}, requires: {provider_name: first}}
              requirement_map: {always: {provider_name: first}}
              bypass_cors_preflight: true
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /api/off}
                direct_response: {status: 200}
                typed_per_filter_config:
                  jwt: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, disabled: true}
              - match: {prefix: /always}
                direct_response: {status: 200}
                typed_per_filter_config:
                  jwt: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, requirement_name: always}
              - match: {prefix: /lost}
                direct_response: {status: 200}
                typed_per_filter_config:
                  jwt: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, requirement_name: lost}
              - match: {prefix: /}
                direct_response: {status: 200}
"#;

fn token(claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let text = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let signature = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn ask(running: &Running, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut wire = running.connect();
    wire.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n"
    ));
    let answer = wire.message_to(method).unwrap();
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    (answer.status(), challenge, answer.body)
}

/// Statuses, bodies, challenges, details and counts as Envoy 1.40 has them.
#[test]
fn requests_without_good_tokens_are_refused() {
    let running = start_file(FILE);
    let good = token(r#"{"iss":"issuer.test","aud":"books"}"#);
    let maps = token(r#"{"iss":"issuer.test","aud":"maps"}"#);
    let preflight = "origin: http://a.test\r\naccess-control-request-method: GET\r\n";
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let missing = "Jwt is missing";
    let audience = "Audiences in Jwt are not allowed";
    let lost = "Wrong requirement_name: lost. It should be one of [always]";
    for (method, path, headers, status, error, why) in [
        ("GET", "/api?a=b", String::new(), 401, "", missing),
        ("GET", "/api", bearer(&good), 200, "", ""),
        ("GET", "/api", bearer(&maps), 403, "invalid_token", audience),
        ("OPTIONS", "/api", preflight.to_owned(), 200, "", ""),
        ("GET", "/api/off", String::new(), 200, "", ""),
        ("GET", "/open", bearer("no token"), 200, "", ""),
        ("GET", "/always", String::new(), 401, "", missing),
        ("GET", "/always", bearer(&good), 200, "", ""),
        ("GET", "/lost", bearer(&good), 403, "", lost),
    ] {
        let (told, challenge, body) = ask(&running, method, path, &headers);
        assert_eq!(told, status, "{path}");
        let details = running.told.record().details;
        if why.is_empty() {
            assert_eq!(details, "direct_response");
            continue;
        }
        let why_word = why.replace(' ', "_");
        assert_eq!(details, format!("jwt_authn_access_denied{{{why_word}}}"));
        if why == lost {
            assert_eq!(body, format!("Failed JWT authentication: {why}"));
            assert_eq!(challenge, "");
            continue;
        }
        assert_eq!(body, why);
        let error = match error {
            "" => String::new(),
            error => format!(", error=\"{error}\""),
        };
        let expected = format!("Bearer realm=\"http://shop.test{path}\"{error}");
        assert_eq!(challenge, expected);
    }
    let count = |name: &str| running.metric(&format!("envoy_http_jwt_authn_{name}"));
    assert_eq!((count("allowed"), count("denied")), (5, 4));
    assert_eq!(count("cors_preflight_bypassed"), 1);
}

#[test]
fn a_refusal_may_say_nothing() {
    let file = FILE.replace(
        "bypass_cors_preflight: true",
        "strip_failure_response: true",
    );
    let running = start_file(&file);
    let (status, challenge, body) = ask(&running, "GET", "/api", "");
    assert_eq!((status, challenge.as_str(), body.as_str()), (401, "", ""));
}
