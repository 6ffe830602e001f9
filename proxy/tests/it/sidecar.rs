//! What sidecars' files ask for beside the common: priorities of requests and of endpoints, a timeout that another sidecar
//! has told, gRPC's statuses. What is expected was measured on Envoy 1.40 with the same file.

use std::{net::SocketAddr, thread, time::Duration};

use meshbed_proxy::app::{Deps, Handle, Proxy};
use tokio::time::Instant;

use super::support::{Wire, nobody, read_file, service};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A service that says its name and the timeout that it was told; what it does otherwise is said by the path.
fn up(name: &'static str) -> SocketAddr {
    service(move |mut wire| {
        while let Some(request) = wire.message() {
            let told = request.header("x-envoy-expected-rq-timeout-ms");
            let path = request
                .head
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            let (status, more) = match path.as_str() {
                "/fail" => (503, ""),
                "/unavailable" => (200, "content-type: application/grpc\r\ngrpc-status: 14\r\n"),
                "/missing" => (200, "content-type: application/grpc\r\ngrpc-status: 5\r\n"),
                _ => (200, ""),
            };
            if path == "/slow" {
                thread::sleep(MS(400));
            }
            let told = told.unwrap_or_default();
            wire.send(format!(
                "HTTP/1.1 {status} X\r\nx-up: {name}\r\nx-told: {told}\r\n{more}content-length: 0\r\n\r\n"
            ));
        }
    })
}

struct Sidecar {
    handle: Handle,
    address: SocketAddr,
}

impl Sidecar {
    /// A listener whose routes and clusters these are; `router`: the router's settings.
    fn start(routes: &str, clusters: &str, router: &str) -> Self {
        let text = format!(
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
          use_remote_address: true
          internal_address_config: {{cidr_ranges: [{{address_prefix: 127.0.0.0, prefix_len: 8}}]}}
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{routes}]}}]}}
          http_filters:
          - {{name: r, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{router}}}}}
  clusters: [{clusters}]
"#
        );
        let handle = Proxy::start(read_file(&text), Deps::default()).unwrap();
        let address = handle.address("in").unwrap();
        Self { handle, address }
    }

    /// Status, `x-up` and `x-told` of an answer, and after how long it came.
    fn get(&self, path: &str, headers: &str) -> (u16, String, String, Duration) {
        let begin = Instant::now();
        let mut wire = Wire::connect(self.address);
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
        let answer = wire.message().unwrap();
        let header = |name| answer.header(name).unwrap_or_default();
        (
            answer.status(),
            header("x-up"),
            header("x-told"),
            begin.elapsed(),
        )
    }

    fn metric(&self, line: &str) -> Option<u64> {
        let metrics = self.handle.metrics();
        let line = metrics.lines().find(|it| it.starts_with(line))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn at(address: SocketAddr, priority: u32) -> String {
    format!(
        "{{priority: {priority}, lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}",
        address.port()
    )
}

fn cluster(name: &str, more: &str, endpoints: &[String]) -> String {
    format!(
        "{{name: {name}, connect_timeout: 1s{more}, load_assignment: {{cluster_name: {name}, endpoints: [{}]}}}}",
        endpoints.join(", ")
    )
}

#[test]
fn a_retry_goes_to_priorities_that_were_not_tried() {
    let retry = |frequency, retries| {
        format!(
            "{{match: {{prefix: /}}, route: {{cluster: up, retry_policy: {{retry_on: 'connect-failure,5xx', num_retries: {retries}, retry_back_off: {{base_interval: 0.001s}}, retry_priority: {{name: p, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: {frequency}}}}}}}}}}}"
        )
    };
    // Nobody is at the first two priorities, and health checks do not say so.
    let ends = || [at(nobody(), 0), at(nobody(), 1), at(up("c"), 2)];
    let each = Sidecar::start(&retry(1, 2), &cluster("up", "", &ends()), "");
    let (status, name, ..) = each.get("/", "");
    assert_eq!((status, name.as_str()), (200, "c"));
    // After every second try only: the third one is at the second priority.
    let second = Sidecar::start(&retry(2, 2), &cluster("up", "", &ends()), "");
    assert_eq!(second.get("/", "").0, 503);
    let second = Sidecar::start(&retry(2, 4), &cluster("up", "", &ends()), "");
    assert_eq!(second.get("/", "").0, 200);
}

#[test]
fn requests_of_high_priority_have_limits_of_their_own() {
    let routes = "{match: {prefix: /urgent/}, route: {cluster: up, priority: HIGH, prefix_rewrite: /}}, {match: {prefix: /}, route: {cluster: up}}";
    let limits = ", circuit_breakers: {thresholds: [{priority: DEFAULT, max_requests: 1}, {priority: HIGH, max_requests: 2}]}";
    let sidecar = Sidecar::start(routes, &cluster("up", limits, &[at(up("a"), 0)]), "");
    let passed = |paths: &[&str]| {
        let statuses: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = paths
                .iter()
                .map(|path| scope.spawn(|| sidecar.get(path, "").0))
                .collect();
            asked.into_iter().map(|it| it.join().unwrap()).collect()
        });
        statuses.iter().filter(|status| **status == 200).count()
    };
    assert_eq!(passed(&["/slow"; 4]), 1);
    assert_eq!(passed(&["/urgent/slow"; 4]), 2);
    assert_eq!(
        passed(&["/urgent/slow", "/urgent/slow", "/slow", "/slow"]),
        3
    );
}

#[test]
fn the_timeout_that_another_sidecar_has_told_is_the_requests() {
    let routes = "{match: {prefix: /}, route: {cluster: up, timeout: 5s}}";
    let clusters = cluster("up", "", &[at(up("a"), 0)]);
    let expected = |ms: &str| format!("x-envoy-expected-rq-timeout-ms: {ms}\r\n");
    let heeds = Sidecar::start(routes, &clusters, ", respect_expected_rq_timeout: true");
    let (status, _, _, took) = heeds.get("/slow", &expected("200"));
    assert_eq!(status, 504);
    assert!((MS(190)..MS(390)).contains(&took), "{took:?}");
    // It comes before what the client asks for, also where it cannot be read.
    let asks = "x-envoy-upstream-rq-timeout-ms: 200\r\n";
    assert_eq!(heeds.get("/slow", &(expected("x") + asks)).2, "5000");
    assert_eq!(heeds.get("/slow", &(expected("900") + asks)).2, "900");
    assert_eq!(heeds.get("/slow", &expected("0")).0, 200);
    assert_eq!(heeds.get("/slow", asks).0, 504);
    // Who is not told to heed it does not.
    let others = Sidecar::start(routes, &clusters, "");
    assert_eq!(others.get("/slow", &expected("200")).2, "5000");
}

#[test]
fn an_endpoint_is_ejected_for_grpc_statuses_that_are_its_fault() {
    let routes = "{match: {prefix: /}, route: {cluster: up}}";
    let outlier = ", outlier_detection: {consecutive_5xx: 3, max_ejection_percent: 100, base_ejection_time: 30s}";
    let sidecar = Sidecar::start(routes, &cluster("up", outlier, &[at(up("a"), 0)]), "");
    let call = "content-type: application/grpc\r\n";
    let ejections = "envoy_cluster_outlier_detection_ejections_active";
    for path in ["/missing", "/missing", "/missing", "/unavailable"] {
        sidecar.get(path, call);
    }
    // To others than callers of gRPC it is a 200.
    for _ in 0..4 {
        sidecar.get("/unavailable", "");
    }
    assert_eq!(sidecar.metric(ejections), Some(0));
    for _ in 0..3 {
        sidecar.get("/unavailable", call);
    }
    assert_eq!(sidecar.metric(ejections), Some(1));
}
