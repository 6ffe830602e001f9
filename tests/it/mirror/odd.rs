//! Answers that no sane version gives: each is compared, and named for what it is.

use std::{collections::BTreeMap, fs, io::Write as _};

use super::{
    bed::Mirror,
    peer::{Client, Peer, Request},
    shop_without_id,
};

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn of_type(kind: &str, body: &[u8]) -> Vec<u8> {
    answer(&format!("content-type: {kind}\r\n"), body)
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("content-type: application/json\r\ncontent-encoding: {coding}\r\n");
    answer(&headers, body)
}

/// By the last part of the path: what is answered, and what is found.
fn odd(kind: &str) -> (Vec<u8>, &'static [&'static str]) {
    const JSON: &str = "application/json";
    match kind {
        "deep" => (of_type(JSON, &vec![b'['; 200_000]), &["body:too_deep"]),
        "huge" => {
            let body = format!("{{\"a\":\"{}\"}}", "x".repeat(3_000_000));
            (of_type(JSON, body.as_bytes()), &["body:truncated"])
        }
        "bytes" => (of_type(JSON, b"{\"a\":\"\xff\xfe\"}"), &["body:not_utf8"]),
        "page" => (of_type(JSON, b"<html>"), &["body:not_json"]),
        "nan" => (of_type(JSON, b"{\"path\":NaN}"), &["body:not_json"]),
        "garbage" => (coded("gzip", b"no gzip"), &["body:coding"]),
        "unknown" => (coded("rot13", b"{}"), &["body:coding"]),
        "bomb" => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            for _ in 0..100 {
                gzip.write_all(&vec![b'0'; 1_000_000]).unwrap();
            }
            (coded("gzip", &gzip.finish().unwrap()), &["body:too_large"])
        }
        "escape" => (
            of_type(JSON, br#"{"\u001b[31m\nred":1}"#),
            &["$.path", r"$['\u001b[31m\nred']"],
        ),
        "utf16" => (of_type(JSON, b"\xff\xfe{\0}\0"), &["body:not_utf8"]),
        "frames" => (
            of_type("application/grpc", b"\0\xff\xff\xff\xff\x08"),
            &["body:grpc_frames", "header:content-type"],
        ),
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 11] = [
    "deep", "huge", "bytes", "page", "nan", "garbage", "unknown", "bomb", "escape", "utf16",
    "frames",
];

fn kind(request: &Request) -> &str {
    request.path().rsplit('/').next().unwrap()
}

#[test]
fn what_a_shadow_answers_is_named_however_odd_it_is() {
    let primary = Peer::new(shop_without_id);
    let shadow = Peer::new(|request| odd(kind(request)).0);
    let mirror = Mirror::to(&primary)
        .shadow("candidate", shadow.address)
        .with(&["--deadline", "20s"])
        .start("odd");
    let mut client = Client::connect(mirror.address);
    for kind in KINDS {
        let path = format!("/odd/{kind}");
        let answer = client.get(&path);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body(), format!(r#"{{"path":"{path}"}}"#));
    }
    let memory = mirror.memory_kib();
    let done = mirror.stop();
    assert_eq!(done.code, Some(0), "{}", done.said);
    let run = done.run();
    assert_eq!(run["shadows"][0]["compared"], KINDS.len(), "{run}");
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for field in run["diffs"]["candidate"]["fields"].as_array().unwrap() {
        let endpoint = field["endpoint"].as_str().unwrap();
        let endpoint = endpoint.trim_start_matches("GET /odd/");
        found
            .entry(endpoint)
            .or_default()
            .push(field["path"].as_str().unwrap());
    }
    for kind in KINDS {
        let mut paths = found.remove(kind).unwrap_or_default();
        paths.sort_unstable();
        assert_eq!(paths, odd(kind).1, "{kind}");
    }
    assert!(memory < 150 << 10, "{memory} KiB");
    // What a service calls its fields is not for a terminal to obey.
    let summary = fs::read_to_string(done.bundle.join("summary.md")).unwrap();
    for text in [&summary, &done.said] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
