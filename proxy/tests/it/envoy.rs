//! Envoy's files: what is read, and what is said about what cannot be.

use std::{net::SocketAddr, time::Duration};

use meshbed_proxy::{
    config::{Action, Address, Config, Forward, Serve, Target, TcpProxy},
    draw::Seed,
    envoy::{Loaded, Options, read},
    policy::{
        fault::{Fault, Select, abort::Abort, delay::Delay},
        headers::{Addition, Append, Mutation},
        matcher::{How, Named, Text},
        rewrite::{HostRewrite, PathRewrite},
    },
    unit::{ByteSize, Share},
};

use crate::support::{STRICT, read_file};

/// A bootstrap with everything that a proxy needs; `{manager}`, `{route}` and the like are places to add to.
const FILE: &str = r#"admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
node: {id: one, cluster: some, metadata: {a: {b: 1}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: shop}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: shop
    connect_timeout: 1s
    type: STATIC
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}
"#;

/// The file with the first `what` replaced.
fn with(what: &str, by: &str) -> String {
    assert!(FILE.contains(what), "the file has no {what:?}");
    FILE.replacen(what, by, 1)
}

fn problems(text: &str) -> Vec<String> {
    match read(text, STRICT) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The only route's action in a file whose route is this.
fn route(yaml: &str) -> meshbed_proxy::config::Route {
    let text = with(
        "- match: {prefix: /}\n                route: {cluster: shop}",
        &format!("- {yaml}"),
    );
    let mut config = read_file(&text);
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0]
        .routes
        .remove(0)
}

fn forward(yaml: &str) -> Forward {
    match route(&format!("{{match: {{prefix: /}}, route: {yaml}}}")).action {
        Action::Forward(forward) => forward,
        _ => panic!("a route forwards"),
    }
}

#[test]
fn the_plain_file_is_read() {
    let config = read_file(FILE);
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(config.seed, Seed(7));
    assert_eq!(config.admin, Some(address("127.0.0.1:9901")));
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener");
    };
    assert_eq!(
        (&*listener.name, listener.address),
        ("main", address("127.0.0.1:8080"))
    );
    assert_eq!(listener.manager().unwrap().stat_prefix, "ingress");
    assert!(
        listener.manager().unwrap().generate_request_id
            && !listener.manager().unwrap().origin.use_remote_address
    );
    assert_eq!(
        listener.manager().unwrap().idle_timeout,
        Some(Duration::from_hours(1))
    );
    assert_eq!(
        listener.manager().unwrap().stream_idle_timeout,
        Some(Duration::from_mins(5))
    );
    let [cluster] = config.clusters.as_slice() else {
        panic!("one cluster");
    };
    assert_eq!(&*cluster.name, "shop");
    assert_eq!(cluster.connect_timeout, Duration::from_secs(1));
    assert_eq!(cluster.idle_timeout, Some(Duration::from_hours(1)));
    assert_eq!(
        cluster.endpoints[0].address,
        Address::Socket(address("127.0.0.1:9000"))
    );
    assert_eq!(cluster.endpoints[0].weight, 1);
}

#[test]
fn json_is_read_like_yaml() {
    let value: serde_json::Value = serde_yaml_ng::from_str(FILE).unwrap();
    assert_eq!(read_file(&value.to_string()), read_file(FILE));
}

#[test]
fn the_manager_takes_its_settings() {
    let http = |yaml: &str| {
        read_file(&with("codec_type: AUTO", yaml)).listeners[0]
            .manager()
            .cloned()
            .unwrap()
    };
    assert_eq!(
        http("server_name: mine").server_name.as_deref(),
        Some("mine")
    );
    assert_eq!(
        http("server_header_transformation: PASS_THROUGH").server_name,
        None
    );
    assert!(!http("generate_request_id: false").generate_request_id);
    assert!(http("use_remote_address: true").origin.use_remote_address);
    assert_eq!(
        http("stream_idle_timeout: 0.25s").stream_idle_timeout,
        Some(Duration::from_millis(250))
    );
    assert_eq!(http("stream_idle_timeout: 0s").stream_idle_timeout, None);
    assert_eq!(
        http("request_timeout: 2s").request_timeout,
        Some(Duration::from_secs(2))
    );
    assert_eq!(
        http("request_headers_timeout: 3s").request_headers_timeout,
        Some(Duration::from_secs(3))
    );
    assert_eq!(
        http("common_http_protocol_options: {idle_timeout: 9s}").idle_timeout,
        Some(Duration::from_secs(9))
    );
    assert_eq!(
        http("max_request_headers_kb: 90").max_request_headers,
        ByteSize(90 << 10)
    );
    assert!(http("http_protocol_options: {accept_http_10: true}").accept_http_10);
    let upgrades =
        "upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: x, enabled: false}]";
    assert_eq!(http(upgrades).upgrades, ["websocket"]);
    assert_eq!(http("codec_type: HTTP1").upgrades, [""; 0]);
}

#[test]
fn routes_match_as_they_say() {
    let text = |how, ignore_case| Some(Text { how, ignore_case });
    for (yaml, path) in [
        ("{prefix: /a}", text(How::Prefix("/a".to_owned()), false)),
        (
            "{path: /a, case_sensitive: false}",
            text(How::Exact("/a".to_owned()), true),
        ),
        (
            "{path_separated_prefix: /a}",
            text(How::PathPrefix("/a".to_owned()), false),
        ),
        (
            "{safe_regex: {regex: '/a[0-9]+'}}",
            text(How::Regex("/a[0-9]+".to_owned()), false),
        ),
    ] {
        let route = route(&format!("{{match: {yaml}, route: {{cluster: shop}}}}"));
        assert_eq!(route.matcher.path, path, "{yaml}");
    }
    let named = |name: &str, how: Option<How>| Named {
        name: name.to_owned(),
        value: how.map(|how| Text {
            how,
            ignore_case: false,
        }),
        invert: false,
        absent_as: None,
    };
    for (yaml, expected) in [
        ("{name: X-A}", named("x-a", None)),
        ("{name: x-a, present_match: true}", named("x-a", None)),
        (
            "{name: x-a, present_match: false}",
            Named {
                invert: true,
                ..named("x-a", None)
            },
        ),
        (
            "{name: x-a, string_match: {exact: '1'}, invert_match: true, treat_missing_header_as_empty: true}",
            Named {
                invert: true,
                absent_as: Some(String::new()),
                ..named("x-a", Some(How::Exact("1".to_owned())))
            },
        ),
        (
            "{name: x-a, exact_match: v}",
            named("x-a", Some(How::Exact("v".to_owned()))),
        ),
        (
            "{name: x-a, prefix_match: v}",
            named("x-a", Some(How::Prefix("v".to_owned()))),
        ),
        (
            "{name: x-a, suffix_match: v}",
            named("x-a", Some(How::Suffix("v".to_owned()))),
        ),
        (
            "{name: x-a, contains_match: v}",
            named("x-a", Some(How::Contains("v".to_owned()))),
        ),
        (
            "{name: x-a, safe_regex_match: {regex: v}}",
            named("x-a", Some(How::Regex("v".to_owned()))),
        ),
        (
            "{name: x-a, range_match: {start: 1, end: 9}}",
            named("x-a", Some(How::Range(1, 9))),
        ),
    ] {
        let route = route(&format!(
            "{{match: {{prefix: /, headers: [{yaml}]}}, route: {{cluster: shop}}}}"
        ));
        assert_eq!(route.matcher.headers, [expected], "{yaml}");
    }
    let route = route(
        "{match: {prefix: /, query_parameters: [{name: q, string_match: {contains: v}}, {name: p, present_match: true}]}, route: {cluster: shop}}",
    );
    assert_eq!(
        route.matcher.query,
        [
            named("q", Some(How::Contains("v".to_owned()))),
            named("p", None)
        ]
    );
}

#[test]
fn routes_do_what_they_say() {
    assert_eq!(forward("{cluster: shop}"), Forward::to("shop"));
    assert_eq!(forward("{cluster: shop, timeout: 0s}").timeout, None);
    let rewritten = forward(
        "{cluster: shop, timeout: 0.6s, idle_timeout: 2s, prefix_rewrite: /in, host_rewrite_literal: in.test}",
    );
    assert_eq!(rewritten.timeout, Some(Duration::from_millis(600)));
    assert_eq!(rewritten.idle_timeout, Some(Duration::from_secs(2)));
    assert_eq!(
        rewritten.path_rewrite,
        Some(PathRewrite::Prefix("/in".to_owned()))
    );
    assert_eq!(
        rewritten.host_rewrite,
        Some(HostRewrite::Literal("in.test".to_owned()))
    );
    let weighted = forward(
        "{weighted_clusters: {clusters: [{name: shop, weight: 3}, {name: shop, weight: 1}]}}",
    );
    assert_eq!(
        weighted.clusters,
        [Target::new("shop", 3), Target::new("shop", 1)]
    );
    let direct =
        route("{match: {prefix: /}, direct_response: {status: 299, body: {inline_string: hi}}}");
    assert_eq!(
        direct.action,
        Action::Respond {
            status: 299,
            body: "hi".to_owned()
        }
    );
}

#[test]
fn mirrors_are_as_envoys() {
    let mirrors = forward(
        "{cluster: shop, request_mirror_policies: [{cluster: shop}, {cluster: shop, \
         runtime_fraction: {default_value: {numerator: 5, denominator: TEN_THOUSAND}}, disable_shadow_host_suffix_append: true, \
         request_headers_mutations: [{remove: Cookie}, {append: {header: {key: X-Copy, value: 100%%}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}]}",
    )
    .mirrors;
    assert_eq!(
        (mirrors[0].share, mirrors[0].host_suffix.as_str()),
        (Share::ALL, "-shadow")
    );
    assert_eq!(mirrors[0].limits.deadline, Forward::TIMEOUT);
    assert_eq!(mirrors[1].share, Share::new(0.0005).unwrap());
    assert_eq!(mirrors[1].host_suffix, "");
    assert!(mirrors[1].internal);
    let copy = Addition {
        name: "x-copy".to_owned(),
        value: "100%%".to_owned(),
        how: Append::Overwrite,
        keep_empty: false,
    };
    assert_eq!(
        mirrors[1].mutations,
        [Mutation::Remove("cookie".to_owned()), Mutation::Add(copy)]
    );
}

/// A fault filter before the router, and a route.
fn with_faults(filter: &str, route: &str) -> Config {
    let text = with(
        "http_filters:\n",
        &format!(
            "http_filters:\n          - name: broken\n            typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, {filter}}}\n"
        ),
    );
    read_file(&text.replacen(
        "- match: {prefix: /}\n                route: {cluster: shop}",
        &format!("- {{match: {{prefix: /}}, route: {{cluster: shop}}{route}}}"),
        1,
    ))
}

#[test]
fn a_fault_filter_is_a_rule_for_its_delay_and_one_for_its_abort() {
    let config = with_faults(
        "delay: {fixed_delay: 0.4s, percentage: {numerator: 25}}, abort: {http_status: 418, percentage: {numerator: 2000000, denominator: MILLION}}, headers: [{name: x-a}]",
        "",
    );
    let http = config.listeners[0].manager().unwrap();
    let [delay, abort] = http.faults.as_slice() else {
        panic!("two rules");
    };
    assert_eq!(
        (&*delay.id, delay.name.as_str()),
        ("broken.delay", "broken.delay@main>*")
    );
    assert_eq!(
        delay.kind,
        Fault::Delay(Delay::Fixed(Duration::from_millis(400)))
    );
    assert_eq!(delay.select, Select::Share(Share::new(0.25).unwrap()));
    assert_eq!(delay.matcher.headers[0].name, "x-a");
    assert_eq!(&*abort.id, "broken.abort");
    assert_eq!(
        abort.kind,
        Fault::Abort(Abort::Status {
            status: 418,
            body: None
        })
    );
    assert_eq!(abort.select, Select::Share(Share::ALL));
    assert_eq!(http.virtual_hosts[0].routes[0].faults, None);
}

#[test]
fn a_percentage_that_is_not_given_is_never() {
    let config = with_faults("delay: {fixed_delay: 1s}", "");
    assert_eq!(
        config.listeners[0].manager().unwrap().faults[0].select,
        Select::Share(Share::NONE)
    );
}

#[test]
fn a_route_replaces_or_switches_off_its_faults() {
    let fault = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let all = "abort: {http_status: 429, percentage: {numerator: 100}}";
    let of_route = |config: &Config| {
        config.listeners[0].manager().unwrap().virtual_hosts[0].routes[0]
            .faults
            .clone()
    };
    let replaced = with_faults(
        all,
        &format!(
            ", typed_per_filter_config: {{broken: {{{fault}, abort: {{http_status: 503, percentage: {{numerator: 1}}}}}}}}"
        ),
    );
    let rules = of_route(&replaced).unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].name, "broken.abort@main>all/0");
    assert_eq!(
        rules[0].kind,
        Fault::Abort(Abort::Status {
            status: 503,
            body: None
        })
    );
    let off = with_faults(
        all,
        ", typed_per_filter_config: {broken: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}",
    );
    assert_eq!(of_route(&off), Some(Vec::new()));
    let other = with_faults(&format!("{all}, upstream_cluster: elsewhere"), "");
    assert_eq!(of_route(&other), Some(Vec::new()));
    assert_eq!(other.listeners[0].manager().unwrap().faults, []);
    let ours = with_faults(&format!("{all}, upstream_cluster: shop"), "");
    assert_eq!(of_route(&ours).unwrap().len(), 1);
}

#[test]
fn clusters_take_their_settings() {
    let weighted = with(
        "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}",
        "- {endpoint: {address: {socket_address: {address: \"::1\", port_value: 9000}}}, load_balancing_weight: 3}",
    );
    let endpoint = read_file(&weighted).clusters[0].endpoints[0].clone();
    assert_eq!(endpoint.weight, 3);
    assert_eq!(
        endpoint.address,
        Address::Socket("[::1]:9000".parse().unwrap())
    );
    let idle = with(
        "type: STATIC",
        "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {idle_timeout: 4s}}}",
    );
    assert_eq!(
        read_file(&idle).clusters[0].idle_timeout,
        Some(Duration::from_secs(4))
    );
    let default = with("    connect_timeout: 1s\n", "");
    assert_eq!(
        read_file(&default).clusters[0].connect_timeout,
        Duration::from_secs(5)
    );
}

#[test]
fn a_wrong_file_is_told_with_path_and_place() {
    let manager = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let first = format!("{manager}.route_config.virtual_hosts[0].routes[0]");
    let rows = [
        (
            with("    connect_timeout", "    conect_timeout"),
            "static_resources.clusters[0]: unrecognized field name 'conect_timeout' at line 27 column 5".to_owned(),
        ),
        (
            with("stat_prefix: ingress", "no_such_field: true"),
            format!("{manager}: unrecognized field name 'no_such_field' at line 12 column 11"),
        ),
        (
            with("port_value: 8080", "port_value: many"),
            "static_resources.listeners[0].address.socket_address.port_value".to_owned(),
        ),
        (
            with("address: 127.0.0.1, port_value: 8080", "address: localhost, port_value: 8080"),
            "static_resources.listeners[0].address.socket_address.address: `localhost` is not an IP address such as `127.0.0.1` at line 6 column 32".to_owned(),
        ),
        (
            with("port_value: 8080", "port_value: 80800"),
            "static_resources.listeners[0].address.socket_address.port_value: a port is at most 65535 at line 6 column 52".to_owned(),
        ),
        (
            with("route: {cluster: shop}", "route: {cluster: nowhere}"),
            format!("{first}.route: there is no cluster `nowhere`; there are `shop` at line 20 column 17"),
        ),
        (
            with("{cluster: shop}", "{cluster: shop, host_rewrite_literal: \"a\\u0001\"}"),
            format!("{first}.route.host_rewrite_literal: `a\\u{{1}}` is not a value that a header can have at line 20 column 40"),
        ),
        (
            with("match: {prefix: /}", "match: {safe_regex: {regex: '['}}"),
            format!("{first}.match: `[` is not a regular expression: unclosed character class at line 19 column 17"),
        ),
        (
            with("match: {prefix: /}", "match: {headers: []}"),
            format!("{first}.match: one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`, `path_match_policy`, `connect_matcher` is needed at line 19 column 17"),
        ),
        (
            with("route: {cluster: shop}", "route: {}"),
            format!("{first}.route: a `cluster`, `cluster_header` or `weighted_clusters` is needed at line 20 column 17"),
        ),
        (
            with("envoy.extensions.filters.http.router.v3.Router", "envoy.extensions.filters.http.router.v3.Rooter"),
            "envoy.extensions.filters.http.router.v3.Rooter".to_owned(),
        ),
        (
            with("name: shop\n    connect", "name: shop\n    connect_timeout: 2s\n    connect"),
            "the mapping has this key twice at line 28 column 5".to_owned(),
        ),
        ("static_resources: {listeners: [\n".to_owned(), "line 2 column 1".to_owned()),
        (String::new(), "static_resources".to_owned()),
    ];
    for (text, expected) in rows {
        let told = problems(&text);
        assert_eq!(told.len(), 1, "{expected}: {told:#?}");
        assert!(told[0].contains(&expected), "{expected}\n{}", told[0]);
    }
}

#[test]
fn what_is_known_and_not_honoured_is_told_by_its_path() {
    let manager = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let rows = [
        (
            format!("{FILE}layered_runtime: {{}}\n"),
            "not supported yet: layered_runtime at line 35 column 1".to_owned(),
        ),
        (
            with("codec_type: AUTO", "codec_type: HTTP3"),
            format!("not supported yet: {manager}.codec_type: `HTTP3` at line 13 column 11"),
        ),
        (
            with("codec_type: AUTO", "tracing: {}"),
            format!("not supported yet: {manager}.tracing at line 13 column 11"),
        ),
        (
            with("type: STATIC", "type: EDS"),
            "not supported yet: static_resources.clusters[0].type: `EDS` at line 28 column 5".to_owned(),
        ),
        (
            with("lb_policy: ROUND_ROBIN", "lb_policy: CLUSTER_PROVIDED"),
            "not supported yet: static_resources.clusters[0].lb_policy: `CLUSTER_PROVIDED` at line 29 column 5".to_owned(),
        ),
        (
            with(
                "http_filters:\n",
                "http_filters:\n          - {name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}\n",
            ),
            format!("not supported yet: {manager}.http_filters[0].typed_config: `envoy.extensions.filters.http.lua.v3.Lua` at line 22 column 23"),
        ),
        (
            with(
                "http_filters:\n",
                "http_filters:\n          - {name: a, typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: meshbed/tcp, value: {a: 1}}}\n",
            ),
            format!("not supported yet: {manager}.http_filters[0].typed_config: `meshbed/tcp` at line 22 column 23"),
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(problems(&text), [expected]);
        let lenient = Options {
            lenient: true,
            ..STRICT
        };
        let Loaded {
            warnings, config, ..
        } = read(&text, lenient).unwrap();
        assert_eq!(warnings.len(), 1);
        assert_eq!(config.listeners.len(), 1);
    }
}

#[test]
fn a_connect_ends_here_where_the_route_says_how() {
    let to = |upgrade: &str| {
        forward(&format!(
            "{{cluster: shop, upgrade_configs: [{{{upgrade}}}]}}"
        ))
    };
    let here = to("upgrade_type: CONNECT, connect_config: {}");
    assert!(here.upgrades[0].terminates);
    assert_eq!(here.upgrades[0].protocol, "connect");
    let on = to("upgrade_type: CONNECT");
    assert!(!on.upgrades[0].terminates && on.upgrades[0].allowed);
    let at = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config\
              .virtual_hosts[0].routes[0].route.upgrade_configs[0].connect_config";
    for (upgrade, expected) in [
        (
            "upgrade_type: CONNECT, connect_config: {allow_post: true}",
            format!("not supported yet: {at}.allow_post "),
        ),
        (
            "upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {version: V1}}",
            format!("not supported yet: {at}.proxy_protocol_config "),
        ),
        (
            "upgrade_type: websocket, connect_config: {}",
            format!("{at}: `websocket` is not the upgrade type `CONNECT`"),
        ),
    ] {
        let text = with(
            "route: {cluster: shop}",
            &format!("route: {{cluster: shop, upgrade_configs: [{{{upgrade}}}]}}"),
        );
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(&expected), "{problems:?}");
    }
}

/// A second listener with this network filter.
fn with_network_filter(name: &str, settings: &str) -> String {
    with(
        "envoy.extensions.filters.http.router.v3.Router\n  clusters",
        &format!(
            "envoy.extensions.filters.http.router.v3.Router\n  - {{name: raw, address: {{socket_address: {{address: 127.0.0.1, port_value: 8081}}}}, filter_chains: [{{filters: [{{name: one, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.{name}, {settings}}}}}]}}]}}\n  clusters"
        ),
    )
}

#[test]
fn a_listener_of_another_protocol_is_left_out_leniently() {
    let text = with_network_filter("echo.v3.Echo", "");
    assert_eq!(
        problems(&text),
        [
            "not supported yet: static_resources.listeners[1].filter_chains[0].filters[0].typed_config: `envoy.extensions.filters.network.echo.v3.Echo` at line 25 column 123"
        ]
    );
    let lenient = Options {
        lenient: true,
        ..STRICT
    };
    assert_eq!(read(&text, lenient).unwrap().config.listeners.len(), 1);
}

#[test]
fn a_tcp_proxy_takes_its_settings() {
    let proxy = |settings: &str| {
        let text = with_network_filter("tcp_proxy.v3.TcpProxy", settings);
        match &read_file(&text).listeners[1].chains[0].serve {
            Serve::Tcp(proxy) => (**proxy).clone(),
            Serve::Http(_) => panic!("the chain passes bytes on"),
        }
    };
    assert_eq!(
        proxy("stat_prefix: a, cluster: shop"),
        TcpProxy {
            stat_prefix: "a".to_owned(),
            clusters: vec![("shop".to_owned(), 1)],
            idle_timeout: Some(Duration::from_hours(1)),
            cluster_by_server_name: false,
            max_duration: None,
            max_connect_attempts: 1,
            hash_source_ip: false,
            faults: Vec::new(),
            live: false,
            numbered: false,
            access_logs: Vec::new(),
        }
    );
    assert_eq!(
        proxy(
            "stat_prefix: a, weighted_clusters: {clusters: [{name: shop, weight: 3}, {name: other, weight: 1}]}, idle_timeout: 0s, max_downstream_connection_duration: 2s, max_connect_attempts: 4, hash_policy: [{source_ip: {}}]"
        ),
        TcpProxy {
            stat_prefix: "a".to_owned(),
            clusters: vec![("shop".to_owned(), 3), ("other".to_owned(), 1)],
            idle_timeout: None,
            cluster_by_server_name: false,
            max_duration: Some(Duration::from_secs(2)),
            max_connect_attempts: 4,
            hash_source_ip: true,
            faults: Vec::new(),
            live: false,
            numbered: false,
            access_logs: Vec::new(),
        }
    );
    let told = problems(&with_network_filter(
        "tcp_proxy.v3.TcpProxy",
        "stat_prefix: a",
    ));
    assert!(
        told[0].contains("a `cluster` or `weighted_clusters` is needed"),
        "{told:?}"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_files_order() {
    let text = with("codec_type: AUTO", "add_user_agent: true")
        .replace("type: STATIC", "type: EDS")
        .replace(
            "address: 127.0.0.1, port_value: 8080",
            "address: here, port_value: 99999",
        );
    let told = problems(&text);
    assert_eq!(told.len(), 4, "{told:#?}");
    let lines: Vec<_> = told
        .iter()
        .map(|told| {
            told.rsplit_once(" at line ")
                .unwrap()
                .1
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(lines, ["6", "6", "13", "28"]);
}

/// The only access log of a file whose log has this filter and this configuration.
fn access_log(yaml: &str) -> String {
    with(
        "codec_type: AUTO",
        &format!("access_log: [{{name: envoy.access_loggers.file, {yaml}}}]"),
    )
}

#[test]
fn access_logs_are_read_in_all_their_forms() {
    use meshbed_proxy::{
        config::access_log::{Compare, Comparison, Filter, Line, Target},
        policy::format::{
            Format,
            json::{Json, Style},
        },
    };
    const TREE: &str = "{c: true, a: {b: [1, \"%PROTOCOL%\"]}}";
    const FILE: &str = "\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /tmp/x";
    const STDOUT: &str =
        "\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
    let text = |format: &str, unset| Line::Text {
        format: Format::compile(format).unwrap(),
        unset,
    };
    let json = |typed, omit_empty| Line::Json {
        format: Json::compile(&serde_json::json!({"a": {"b": [1, "%PROTOCOL%"]}, "c": true}))
            .unwrap(),
        style: Style { typed, omit_empty },
    };
    for (typed, target, line) in [
        (
            format!("{STDOUT}, log_format: {{omit_empty_values: true, json_format: {TREE}}}"),
            Target::Stdout,
            json(true, true),
        ),
        (
            format!("{FILE}, json_format: {TREE}"),
            Target::File("/tmp/x".into()),
            // Measured on Envoy 1.40: numbers stay numbers in the older form, too.
            json(true, false),
        ),
        (
            format!("{FILE}, typed_json_format: {TREE}"),
            Target::File("/tmp/x".into()),
            json(true, false),
        ),
        (
            FILE.to_owned(),
            Target::File("/tmp/x".into()),
            Line::default(),
        ),
        (STDOUT.to_owned(), Target::Stdout, Line::default()),
        (
            format!("{FILE}, format: \"%PROTOCOL%\""),
            Target::File("/tmp/x".into()),
            text("%PROTOCOL%", "-"),
        ),
        (
            format!("{FILE}, log_format: {{text_format: \"%%\"}}"),
            Target::File("/tmp/x".into()),
            text("%%", "-"),
        ),
        (
            format!(
                "{STDOUT}, log_format: {{omit_empty_values: true, text_format_source: {{inline_string: \"a\\n\"}}}}"
            ),
            Target::Stdout,
            text("a\n", ""),
        ),
    ] {
        let config = read_file(&access_log(&format!("typed_config: {{{typed}}}")));
        let log = &config.listeners[0].manager().unwrap().access_logs[0];
        assert_eq!((&log.target, &log.line), (&target, &line), "{typed}");
        assert_eq!(log.filter, None);
    }
    let compare = "comparison: {op: GE, value: {default_value: 400, runtime_key: x}}";
    let file = read_file(&access_log(&format!(
        "filter: {{or_filter: {{filters: [{{status_code_filter: {{{compare}}}}}, {{and_filter: {{filters: [{{duration_filter: {{{compare}}}}}, \
         {{response_flag_filter: {{flags: [UF]}}}}]}}}}, {{runtime_filter: {{runtime_key: k, percent_sampled: {{numerator: 5}}}}}}, \
         {{grpc_status_filter: {{statuses: [OK], exclude: true}}}}, {{not_health_check_filter: {{}}}}, {{traceable_filter: {{}}}}, \
         {{header_filter: {{header: {{name: X-A, present_match: true}}}}}}]}}}}, typed_config: {{{FILE}}}"
    )));
    let comparison = Comparison {
        how: Compare::AtLeast,
        value: 400,
    };
    assert_eq!(
        file.listeners[0].manager().unwrap().access_logs[0].filter,
        Some(Filter::Any(vec![
            Filter::Status(comparison),
            Filter::All(vec![
                Filter::Duration(comparison),
                Filter::Flags(vec!["UF".to_owned()])
            ]),
            Filter::Share {
                numerator: 5,
                denominator: 100,
                independent: false
            },
            Filter::GrpcStatus {
                statuses: vec![0],
                exclude: true
            },
            Filter::NotHealthCheck,
            Filter::Traceable,
            Filter::Header(Named {
                name: "x-a".to_owned(),
                value: None,
                invert: false,
                absent_as: None,
            }),
        ]))
    );
}

#[test]
fn an_access_log_that_cannot_be_is_told_with_its_path() {
    const LOG: &str =
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log[0]";
    const FILE: &str =
        "\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    for (yaml, expected) in [
        (
            format!("typed_config: {{{FILE}, path: x, format: \"%NOPE%\"}}"),
            format!("{LOG}.typed_config.format: there is no operator `%NOPE%` (at position 0)"),
        ),
        (
            format!("typed_config: {{{FILE}, path: x, format: \"a%TRACE_ID%\"}}"),
            format!(
                "not supported yet: {LOG}.typed_config.format: the operator `%TRACE_ID%` (at position 1)"
            ),
        ),
        (
            format!("typed_config: {{{FILE}}}"),
            format!("{LOG}.typed_config.path: it must not be empty"),
        ),
        (
            format!(
                "filter: {{response_flag_filter: {{flags: [XX]}}}}, typed_config: {{{FILE}, path: x}}"
            ),
            format!("{LOG}.filter.response_flag_filter.flags[0]: `XX` is not a flag such as `UH`"),
        ),
        (
            format!("filter: {{metadata_filter: {{}}}}, typed_config: {{{FILE}, path: x}}"),
            format!("not supported yet: {LOG}.filter.metadata_filter"),
        ),
    ] {
        let told = problems(&access_log(&yaml));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&expected), "{}\n{expected}", told[0]);
    }
}
