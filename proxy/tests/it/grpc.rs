//! gRPC as its real library speaks it, and the tools of nghttp2 and curl, through the proxy.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use meshbed_proxy::{
    config::{Config, Filter, Forward},
    policy::protocol::Upstream,
};
use serde_json::{Value, json};

use super::{
    http2::peer,
    support::{cluster, config, echo, nobody, route, start},
};

/// The interpreter with gRPC's library, which `.ci/install test` makes.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let ours = root.join("target/test/venv/bin/python");
    let given = std::env::var_os("MESHBED_GRPC_PYTHON").map(PathBuf::from);
    let found = given.or_else(|| ours.exists().then_some(ours));
    if found.is_none() {
        missing("gRPC's library for Python");
    }
    found
}

fn missing(what: &str) {
    // Not by the macro, whose output is kept from whoever runs tests that pass.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {what} is missing: run `make deps-test`"
    );
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        missing(tool);
    }
    found
}

fn to_h2(config: &mut Config) {
    for cluster in &mut config.clusters {
        cluster.protocol = Upstream::Http2;
    }
}

#[test]
fn calls_of_all_kinds_pass_with_their_metadata_errors_and_deadlines() {
    let Some(python) = python() else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_calls.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let mut config = config(([127, 0, 0, 1], port).into());
    config.clusters.push(cluster("down", &[nobody()]));
    to_h2(&mut config);
    let routes = &mut config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes;
    routes.insert(0, route("/down.", Forward::to("down")));
    let proxy = start(config);
    writeln!(child.stdin.take().unwrap(), "{}", proxy.address.port()).unwrap();
    let told: HashMap<String, Value> = lines
        .map(|line| {
            let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (told["call"].as_str().unwrap().to_owned(), told)
        })
        .collect();
    assert!(child.wait().unwrap().success());
    for (call, key, expected) in [
        ("unary", "answer", json!("hello")),
        ("unary", "head", json!("m")),
        ("unary", "tail", json!("t")),
        ("list", "said", json!(["a", "b", "c"])),
        ("join", "answer", json!("a+b")),
        ("talk", "said", json!(["A", "B", "C"])),
        ("large", "same", json!(true)),
        ("fail", "code", json!("NOT_FOUND")),
        ("fail", "details", json!("not here: 100 %")),
        ("unknown", "code", json!("UNIMPLEMENTED")),
        ("slow", "code", json!("DEADLINE_EXCEEDED")),
        ("down", "code", json!("UNAVAILABLE")),
        (
            "down",
            "details",
            json!(
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
            ),
        ),
        // The service is told that nobody waits for its answer any more.
        ("cancelled", "seen", json!(true)),
    ] {
        assert_eq!(told[call][key], expected, "{call}: {}", told[call]);
    }
}

#[test]
fn calls_of_grpc_web_go_on_as_calls_of_grpc() {
    let up = peer::service(
        h2::server::Builder::new(),
        |request, mut respond| async move {
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let body = peer::whole(&mut request.into_body()).await.unwrap();
            let mut answer = http::Response::new(());
            let grpc = "application/grpc".parse().unwrap();
            answer.headers_mut().insert("content-type", grpc);
            let mut send = respond.send_response(answer, false).unwrap();
            send.send_data(body, false).unwrap();
            send.send_trailers(peer::headers(&[("grpc-status", "0")]))
                .unwrap();
        },
    );
    let mut config = config(up);
    to_h2(&mut config);
    config.listeners[0].manager_mut().unwrap().filters = vec![Filter::GrpcWeb];
    let proxy = start(config);
    let trailers = "\u{80}\0\0\0\u{f}grpc-status:0\r\n";
    for (content_type, sent, expected) in [
        ("application/grpc-web+proto", "\0\0\0\0\x02hi".to_owned(), {
            format!("\0\0\0\0\x02hi{trailers}")
        }),
        // The same in base64: two messages, each with its padding.
        (
            "application/grpc-web-text+proto",
            "AAAAAAJoaQ==".to_owned(),
            "AAAAAAJoaQ==gAAAAA9ncnBjLXN0YXR1czowDQo=".to_owned(),
        ),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST /e.E/Call HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\naccept: {content_type}\r\ncontent-length: {}\r\n\r\n{sent}",
            sent.len()
        ));
        let head = wire.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains(&format!("content-type: {content_type}\r\n")),
            "{head}"
        );
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(wire.line().trim(), 16).unwrap();
            body.extend(wire.exactly(length));
            wire.line();
            if length == 0 {
                break;
            }
        }
        let expected: Vec<u8> = expected.chars().map(|it| it as u8).collect();
        assert_eq!(body, expected, "{content_type}");
    }
}

#[test]
fn the_tools_of_http_2_are_served() {
    let proxy = start(config(echo()));
    let url = format!("http://{}/x", proxy.address);
    if has("curl") {
        let answer = Command::new("curl")
            .args([
                "-sS",
                "--http2-prior-knowledge",
                "-w",
                " %{http_version} %{http_code}",
                "-d",
                "data",
            ])
            .arg(&url)
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(text.starts_with("POST /x HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("data 2 200"), "{text}");
    }
    if has("nghttp") {
        let answer = Command::new("nghttp").args(["-nv", &url]).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(text.contains(":status: 200"), "{text}");
    }
    if has("h2load") {
        let answer = Command::new("h2load")
            .args(["-n2000", "-c4", "-m20", &url])
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(
            text.contains("2000 succeeded, 0 failed, 0 errored"),
            "{text}"
        );
    }
}
