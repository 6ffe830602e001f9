//! What neither a client nor a service that is asked can get by.

use envoy_types::pb::envoy::service::auth::v3::OkHttpResponse;
use meshbed_proxy::{
    config::Filter,
    envoy::{Options, read},
    observe::Flags,
};

use super::{
    super::support::{STRICT, echo, nobody, read_file, start, start_file},
    GRPC, WEB, allow, answer, answering, deny, file, grpc, header, per_route, post, send,
};

const TYPE: &str = "type.googleapis.com/envoy";
/// Requests that the service has given the tenant b.
const OF_B: &str = "prefix: /, headers: [{name: x-tenant, string_match: {exact: b}}]";

/// A service that gives all requests the tenant b, after whose filter all requests are refused.
fn refusing(routes: &str) -> String {
    let (authz, _) = answering(|_| answer("200 OK", "x-tenant: b\r\n", ""));
    let settings = format!(
        "{WEB}, authorization_response: {{allowed_upstream_headers: {{patterns: [{{exact: x-tenant}}]}}}}}}, clear_route_cache: true"
    );
    let rules = "rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}";
    file(&settings, routes, echo(), authz).replace(
        "          - name: router\n",
        &format!(
            "          - name: rbac\n            typed_config: {{\"@type\": {TYPE}.extensions.filters.http.rbac.v3.RBAC, {rules}}}\n          - name: router\n"
        ),
    )
}

/// A route that says this of a filter.
fn saying(matching: &str, filter: &str, said: &str) -> String {
    format!(
        "              - match: {{{matching}}}\n                route: {{cluster: up}}\n                typed_per_filter_config: {{{filter}: {{\"@type\": {TYPE}.{said}}}}}\n"
    )
}

/// The file is refused for this, however it is read.
fn refused(settings: &str, routes: &str, expected: &str) {
    let text = file(settings, routes, nobody(), nobody());
    for lenient in [false, true] {
        let options = Options { lenient, ..STRICT };
        let problems = read(&text, options).err().unwrap_or_default();
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            told.iter().any(|told| told.contains(expected)),
            "{expected}: {told:?}"
        );
    }
}

#[test]
fn another_route_cannot_lead_around_later_filters() {
    let off = saying(
        OF_B,
        "authz",
        "config.route.v3.FilterConfig, disabled: true",
    );
    let by_type = per_route(OF_B, "disabled: true");
    let on = per_route("prefix: /on", "check_settings: {}");
    let plain = format!("              - {{match: {{{OF_B}}}, route: {{cluster: up}}}}\n");
    let other = saying(
        OF_B,
        "rbac",
        "extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}",
    );
    for (of_b, disabled) in [
        (&off, false),
        (&by_type, false),
        (&plain, true),
        (&other, true),
        (&off, true),
    ] {
        let mut text = refusing(&format!("{of_b}{on}"));
        if disabled {
            text = text.replace(
                "- name: authz\n            typed_config",
                "- name: authz\n            disabled: true\n            typed_config",
            );
        }
        let running = start_file(&text);
        assert_eq!(running.get("/on").status(), 403, "{of_b}{disabled}");
        assert_eq!(
            running.told.record().details.split('[').next(),
            Some("rbac_access_denied_matched_policy")
        );
    }
}

#[test]
fn the_rest_of_the_way_is_the_new_routes() {
    let off = saying(OF_B, "rbac", "config.route.v3.FilterConfig, disabled: true");
    let running = start_file(&refusing(&off));
    assert_eq!(running.get("/").status(), 200);
    let running = start_file(&refusing(&saying(
        "prefix: /, headers: [{name: x-tenant, present_match: true, invert_match: true}]",
        "rbac",
        "config.route.v3.FilterConfig, disabled: true",
    )));
    assert_eq!(running.get("/").status(), 403);
}

#[test]
fn a_list_that_does_not_have_the_filter_ends_the_request() {
    let off = saying(
        OF_B,
        "authz",
        "config.route.v3.FilterConfig, disabled: true",
    );
    let mut config = read_file(&refusing(&off));
    let manager = config.listeners[0].manager_mut().unwrap();
    for route in &mut manager.virtual_hosts[0].routes {
        if let Some(filters) = &mut route.filters {
            filters.retain(|filter| !matches!(filter, Filter::Authz(..)));
        }
    }
    let running = start(config);
    assert_eq!(running.get("/").status(), 500);
    let record = running.told.record();
    assert_eq!(
        (record.flags, record.details.as_str()),
        (Flags::UAEX, "ext_authz_error")
    );
}

#[test]
fn what_cannot_be_asked_is_refused_though_errors_are_allowed() {
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        "a".repeat(65_529)
    );
    let quoted = format!(
        "GET /{} HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        "\"".repeat(22_000)
    );
    let connect = "CONNECT shop.test:443 HTTP/1.1\r\nhost: shop.test:443\r\n\r\n";
    let routes = "              - {match: {connect_matcher: {}}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT}]}}\n";
    for status in [403, 503] {
        let (authz, asked) = answering(|_| answer("200 OK", "", ""));
        let settings = format!(
            "{WEB}, path_prefix: /check}}, failure_mode_allow: true, status_on_error: {{code: {status}}}"
        );
        let text = file(&settings, routes, echo(), authz).replace(
            "          http_filters:\n",
            "          max_request_headers_kb: 96\n          http_filters:\n",
        );
        let running = start_file(&text);
        for request in [&long, &quoted, connect] {
            let answer = send(&running, request);
            assert_eq!(answer.status(), status, "{request:.60}");
            let record = running.told.record();
            assert_eq!(
                (record.flags, record.details.as_str()),
                (Flags::UAEX, "ext_authz_error")
            );
        }
        assert!(asked.requests.lock().unwrap().is_empty());
        for (of, errors) in [("http", 3), ("cluster", 3)] {
            assert_eq!(
                running.metric(&format!("envoy_{of}_ext_authz_error{{")),
                errors
            );
            assert_eq!(
                running.metric(&format!("envoy_{of}_ext_authz_failure_mode_allowed{{")),
                0
            );
        }
    }
}

#[test]
fn services_say_nothing_of_lengths_and_connections() {
    const FRAMING: [(&str, &str); 6] = [
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "close"),
        ("upgrade", "other"),
    ];
    let (authz, _told) = grpc(|request| {
        let headers = || FRAMING.map(|(name, value)| header(name, value)).to_vec();
        match request.path.as_str() {
            "/denied" => deny(403, "go away", headers()),
            "/bare" => allow(OkHttpResponse {
                headers_to_remove: FRAMING.map(|(name, _)| name.to_owned()).to_vec(),
                ..OkHttpResponse::default()
            }),
            _ => allow(OkHttpResponse {
                headers: headers(),
                response_headers_to_add: headers(),
                ..OkHttpResponse::default()
            }),
        }
    });
    let running = start_file(&file(GRPC, "", echo(), authz));
    let mut wire = running.connect();
    let chunked = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    // The next request by the connection finds nothing that the one before has left.
    for (path, in_chunks) in [
        ("/", false),
        ("/bare", false),
        ("/bare", true),
        ("/denied", false),
        ("/", true),
        ("/denied", true),
        ("/", false),
    ] {
        let request = if in_chunks {
            chunked(path, "all of it")
        } else {
            post(path, "all of it")
        };
        wire.send(request);
        let answer = wire.message().unwrap();
        for line in ["keep-alive:", "proxy-connection:", "upgrade:"] {
            assert!(!answer.head.contains(line), "{path} {}", answer.head);
        }
        assert!(
            !answer.head.contains("transfer-encoding"),
            "{}",
            answer.head
        );
        assert!(!answer.head.contains("close"), "{}", answer.head);
        if path == "/denied" {
            assert_eq!((answer.status(), answer.body.as_str()), (403, "go away"));
            continue;
        }
        assert_eq!(answer.status(), 200);
        assert!(
            answer.body.ends_with("\r\n\r\nall of it"),
            "{}",
            answer.body
        );
        for (name, value) in FRAMING {
            let own = in_chunks && name == "transfer-encoding";
            assert!(
                own || !answer.body.contains(&format!("{name}: {value}\r\n")),
                "{}",
                answer.body
            );
        }
    }
}

#[test]
fn a_route_has_no_filter_of_its_own() {
    let whole = saying(
        "prefix: /whole",
        "authz",
        &format!("extensions.filters.http.ext_authz.v3.ExtAuthz, {WEB}}}"),
    );
    refused(
        &format!("{WEB}}}"),
        &whole,
        "an `ExtAuthzPerRoute` is needed",
    );
}

#[test]
fn values_that_a_file_leaves_out_do_not_switch_the_filter_off() {
    for flag in ["filter_enabled", "deny_at_disable"] {
        let settings = format!("{WEB}}}, {flag}: {{runtime_key: a}}");
        refused(
            &settings,
            "",
            &format!("{flag}.default_value: it is needed"),
        );
    }
}

#[test]
fn a_service_that_cannot_be_called_does_not_leave_the_filter_out() {
    let settings = "grpc_service: {google_grpc: {target_uri: a, stat_prefix: b}}";
    refused(settings, "", "google_grpc: an `envoy_grpc` is needed");
}

#[test]
fn only_the_proxy_says_that_nobody_has_decided() {
    const SAID: &str = "x-envoy-auth-failure-mode-allowed";
    let (authz, asked) = answering(|request| {
        let fails = request.head.contains("/fails");
        answer(if fails { "503 No" } else { "200 OK" }, "", "")
    });
    let settings = format!(
        "{WEB}}}, failure_mode_allow: true, failure_mode_allow_header_add: true, allowed_headers: {{patterns: [{{prefix: x-}}]}}"
    );
    let running = start_file(&file(&settings, "", echo(), authz));
    for (path, said) in [("/fails", 1), ("/", 0)] {
        let answer = send(
            &running,
            &format!(
                "GET {path} HTTP/1.1\r\nhost: shop.test\r\n{SAID}: false\r\n{SAID}: no\r\n\r\n"
            ),
        );
        assert_eq!(answer.body.matches(SAID).count(), said, "{}", answer.body);
        assert_eq!(
            answer.body.matches(&format!("{SAID}: true\r\n")).count(),
            said
        );
        assert_eq!(asked.last().header(SAID), None);
    }
}

#[test]
fn a_route_switches_on_what_is_off_elsewhere() {
    let (authz, asked) = answering(|_| answer("403 No", "", ""));
    let on = per_route("prefix: /on", "disabled: false");
    let text = file(&format!("{WEB}}}"), &on, echo(), authz).replace(
        "- name: authz\n            typed_config",
        "- name: authz\n            disabled: true\n            typed_config",
    );
    let running = start_file(&text);
    assert_eq!(running.get("/on").status(), 403);
    assert_eq!(running.get("/").status(), 200);
    assert_eq!(asked.requests.lock().unwrap().len(), 1);
}

#[test]
fn statuses_that_end_nothing_do_not_refuse() {
    let (authz, _told) = grpc(|_| deny(100, "go away", Vec::new()));
    let running = start_file(&file(GRPC, "", echo(), authz));
    let answer = running.get("/");
    assert_eq!((answer.status(), answer.body.as_str()), (403, "go away"));
}

#[test]
fn settings_of_another_filter_do_not_replace_one() {
    let off = "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true";
    let text = refusing(&saying("prefix: /w", "rbac", off));
    let problems = read(&text, STRICT).err().unwrap_or_default();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let expected = "these are no settings of `rbac`";
    assert!(told.iter().any(|told| told.contains(expected)), "{told:?}");
}

#[test]
fn more_headers_than_a_message_holds_are_no_answer() {
    let (authz, _told) = grpc(|request| {
        let many = (0..40_000).map(|index| header(&format!("x-{index}"), ""));
        match request.path.as_str() {
            "/denied" => deny(403, "go away", many.collect()),
            "/answer" => allow(OkHttpResponse {
                response_headers_to_add: many.collect(),
                ..OkHttpResponse::default()
            }),
            "/request" => allow(OkHttpResponse {
                headers: many.collect(),
                ..OkHttpResponse::default()
            }),
            _ => allow(OkHttpResponse::default()),
        }
    });
    let running = start_file(&file(GRPC, "", echo(), authz));
    for path in ["/denied", "/answer", "/request"] {
        let answer = running.get(path);
        let told = running.told.record().details;
        if path == "/denied" {
            assert_eq!((answer.status(), told.as_str()), (403, "ext_authz_denied"));
            assert_eq!(answer.body, "go away");
            assert_eq!(answer.head.matches("\r\nx-").count(), 1_000);
        } else {
            assert_eq!((answer.status(), told.as_str()), (403, "ext_authz_error"));
        }
    }
}
