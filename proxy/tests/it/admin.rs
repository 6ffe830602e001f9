//! The admin port: Envoy's paths, in Envoy's forms.

use std::net::SocketAddr;

use meshbed_proxy::config::Config;
use serde_json::{Value, json};

use crate::support::{Message, Running, Wire, config, echo, start};

struct Admin {
    proxy: Running,
    address: SocketAddr,
}

impl Admin {
    fn start(mut config: Config) -> Self {
        config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let proxy = start(config);
        let address = proxy.handle.address("admin").unwrap();
        Self { proxy, address }
    }

    fn ask(&self, method: &str, path: &str) -> Message {
        let mut wire = Wire::connect(self.address);
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
        wire.message().unwrap()
    }

    fn get(&self, path: &str) -> String {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.body);
        answer.body
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }
}

#[test]
fn numbers_can_be_chosen_and_told_in_three_forms() {
    let admin = Admin::start(config(echo()));
    assert_eq!(admin.proxy.get("/").status(), 200);
    admin.proxy.told.record();
    let used = admin.get("/stats?usedonly&filter=%5Ecluster.up.upstream_rq&type=Counters");
    assert_eq!(
        used,
        "cluster.up.upstream_rq_200: 1\ncluster.up.upstream_rq_2xx: 1\ncluster.up.upstream_rq_completed: 1\n\
         cluster.up.upstream_rq_total: 1\n"
    );
    assert_eq!(
        admin.json("/stats?format=json&filter=up.upstream_rq_total"),
        json!({"stats": [{"name": "cluster.up.upstream_rq_total", "value": 1}]})
    );
    let line =
        "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"up\"} 1\n";
    for path in [
        "/stats/prometheus",
        "/stats?format=prometheus",
        "/stats/prometheus?usedonly&filter=upstream_rq_200",
    ] {
        assert!(admin.get(path).contains(line), "{path}");
    }
    assert!(admin.get("/stats").contains("\nserver.live: 1\n"));
    assert!(
        admin
            .get("/stats?filter=rq_time")
            .contains("cluster.up.upstream_rq_time: P0(")
    );
    assert_eq!(admin.ask("GET", "/stats?filter=(").status(), 400);
    assert_eq!(admin.ask("POST", "/reset_counters").body, "OK\n");
    assert_eq!(
        admin.get("/stats?filter=up.upstream_rq_total"),
        "cluster.up.upstream_rq_total: 0\n"
    );
}

#[test]
fn the_process_tells_what_it_is_and_how_it_is() {
    let admin = Admin::start(config(echo()));
    let info = admin.json("/server_info");
    assert_eq!(info["state"], "LIVE");
    assert_eq!(info["command_line_options"]["concurrency"], 1);
    let bytes: u64 = admin.json("/memory")["total_physical_bytes"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(bytes > 1 << 20);
    assert_eq!(admin.json("/certs"), json!({"certificates": []}));
    let listeners = admin.json("/listeners?format=json");
    let port = &listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"];
    assert_eq!(*port, admin.proxy.address.port());
    assert_eq!(admin.ask("POST", "/healthcheck/fail").body, "OK\n");
    let ready = admin.ask("GET", "/ready");
    assert_eq!((ready.status(), &*ready.body), (503, "DRAINING\n"));
    admin.ask("POST", "/healthcheck/ok");
    assert_eq!(admin.get("/ready"), "LIVE\n");
}

#[test]
fn clusters_are_told_with_their_endpoints_and_limits() {
    let up = echo();
    let admin = Admin::start(config(up));
    let text = admin.get("/clusters");
    for line in [
        "up::default_priority::max_connections::1024\n".to_owned(),
        "up::high_priority::max_retries::3\n".to_owned(),
        format!("up::{up}::health_flags::healthy\n"),
        format!("up::{up}::priority::0\n"),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
    assert_eq!(admin.get("/clusters?filter=^other$"), "");
    let status = &admin.json("/clusters?format=json")["cluster_statuses"][0];
    assert_eq!(status["name"], "up");
    let host = &status["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"]["port_value"], up.port());
    assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
    assert_eq!(
        status["circuit_breakers"]["thresholds"][1]["priority"],
        "HIGH"
    );
}

#[test]
fn what_changes_something_is_not_done_by_a_get() {
    let admin = Admin::start(config(echo()));
    for path in [
        "/drain_listeners",
        "/healthcheck/fail",
        "/logging",
        "/quitquitquit",
        "/reopen_logs",
        "/reset_counters",
    ] {
        let answer = admin.ask("GET", path);
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.body, "Method GET not allowed, POST required.");
    }
    let unknown = admin.ask("GET", "/nothing");
    assert_eq!(unknown.status(), 404);
    assert!(
        unknown
            .body
            .starts_with("invalid path. admin commands are:\n  /: ")
    );
    assert!(admin.get("/help").contains("/quitquitquit (POST)"));
}

#[test]
fn the_dump_has_the_files_resources() {
    let admin = Admin::start(config(echo()));
    admin.proxy.handle.describe(json!({
        "node": {"id": "n1"},
        "static_resources": {"clusters": [{"name": "up"}, {"name": "other"}]},
    }));
    let dump = admin.json("/config_dump");
    assert_eq!(dump["configs"][0]["bootstrap"]["node"]["id"], "n1");
    let one = admin.json("/config_dump?resource=static_clusters&name_regex=^up$");
    assert_eq!(one["configs"][0]["cluster"]["name"], "up");
    assert_eq!(one["configs"].as_array().unwrap().len(), 1);
    assert_eq!(admin.ask("GET", "/config_dump?resource=none").status(), 404);
    assert_eq!(admin.json("/server_info")["node"]["id"], "n1");
}
