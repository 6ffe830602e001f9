//! Messages that two parties may read differently, and messages without end: what is refused, how, and that the other side
//! sees nothing of it.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use meshbed_proxy::observe::Flags;

use super::support::{Wire, config, echo, service, start};

/// A service that keeps all bytes that reach it, and answers whatever looks like the end of a request.
fn trap() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&seen);
    let up = service(move |mut wire| {
        while let Some(head) = wire.head() {
            kept.lock().unwrap().extend_from_slice(head.as_bytes());
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let body = wire.exactly(length.unwrap_or(0));
            kept.lock().unwrap().extend_from_slice(&body);
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (up, seen)
}

const CODEC: &str = "http1.codec_error";
const CHARACTER: &str = "http1.invalid_characters";
const ENCODING: &str = "http1.invalid_transfer_encoding";
const BOTH: &str = "http1.content_length_and_chunked_not_allowed";

/// Every request is followed by what would be another, for whoever finds its end elsewhere.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: hidden\r\n\r\n";

/// Refused at their head: nothing is sent on, not even what follows them.
#[test]
fn ambiguous_heads_are_refused_and_nothing_is_sent_on() {
    let (up, seen) = trap();
    let proxy = start(config(up));
    let mut counted = 0;
    let post = |rows: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{rows}\r\n\r\n{body}").into_bytes()
    };
    let get = |line: &str, rows: &str| format!("{line}\r\n{rows}\r\n\r\n").into_bytes();
    for (request, status, details) in [
        // A length and chunks, in either order and case.
        (
            post(
                "content-length: 6\r\ntransfer-encoding: chunked",
                "0\r\n\r\nX",
            ),
            400,
            BOTH,
        ),
        (
            post(
                "transfer-encoding: chunked\r\ncontent-length: 6",
                "0\r\n\r\nX",
            ),
            400,
            BOTH,
        ),
        (
            post(
                "Transfer-Encoding: Chunked\r\nCONTENT-LENGTH: 6",
                "0\r\n\r\nX",
            ),
            400,
            BOTH,
        ),
        (
            post(
                "content-length: 0\r\ntransfer-encoding: chunked",
                "0\r\n\r\n",
            ),
            400,
            BOTH,
        ),
        // Encodings that some take for chunks and some do not.
        (
            post("transfer-encoding: xchunked", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: chunked, identity", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: identity, chunked", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: chunked;a=b", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: \"chunked\"", "0\r\n\r\n"),
            501,
            ENCODING,
        ),
        (post("transfer-encoding: ", "0\r\n\r\n"), 501, ENCODING),
        (
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: identity",
                "0\r\n\r\n",
            ),
            501,
            ENCODING,
        ),
        (
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                "0\r\n\r\n",
            ),
            501,
            ENCODING,
        ),
        (
            post("transfer-encoding: identity\r\ncontent-length: 3", "abc"),
            501,
            ENCODING,
        ),
        (post("transfer-encoding : chunked", "0\r\n\r\n"), 400, CODEC),
        (post(" transfer-encoding: chunked", "0\r\n\r\n"), 400, CODEC),
        (
            post("transfer-encoding\t: chunked", "0\r\n\r\n"),
            400,
            CODEC,
        ),
        (
            post("transfer-encoding: \x0bchunked", "0\r\n\r\n"),
            400,
            CHARACTER,
        ),
        (
            post("transfer-encoding:\r\n chunked", "0\r\n\r\n"),
            400,
            CODEC,
        ),
        (
            post(
                "transfer_encoding: chunked\r\nx: y\r\n z: chunked",
                "0\r\n\r\n",
            ),
            400,
            CODEC,
        ),
        // Lengths that are several, or none.
        (
            post("content-length: 3\r\ncontent-length: 4", "abcd"),
            400,
            CODEC,
        ),
        (
            post("content-length: 3\r\ncontent-length: 3", "abc"),
            400,
            CODEC,
        ),
        (post("content-length: 3, 3", "abc"), 400, CODEC),
        (post("content-length: 3,4", "abc"), 400, CODEC),
        (post("content-length: +3", "abc"), 400, CODEC),
        (post("content-length: -3", "abc"), 400, CODEC),
        (post("content-length: 0x3", "abc"), 400, CODEC),
        (post("content-length: 3 4", "abc"), 400, CODEC),
        (post("content-length: 3;", "abc"), 400, CODEC),
        (post("content-length: ", "abc"), 400, CODEC),
        (post("content-length: \u{663}", "abc"), 400, CODEC),
        (
            post("content-length: 18446744073709551616", "abc"),
            400,
            CODEC,
        ),
        (
            post("content-length: 99999999999999999999999", "abc"),
            400,
            CODEC,
        ),
        (post("content-length : 3", "abc"), 400, CODEC),
        // Ends of lines that are none.
        (b"GET / HTTP/1.1\nhost: a\n\n".to_vec(), 400, CODEC),
        (b"GET / HTTP/1.1\r\nhost: a\n\r\n".to_vec(), 400, CODEC),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nx: y\nz: w\r\n\r\n".to_vec(),
            400,
            CODEC,
        ),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nx: y\rz: w\r\n\r\n".to_vec(),
            400,
            CHARACTER,
        ),
        (
            get("GET / HTTP/1.1", "host: a\r\nx: y\r\n folded"),
            400,
            CODEC,
        ),
        (
            get("GET / HTTP/1.1", "host: a\r\nx: y\r\n\tfolded"),
            400,
            CODEC,
        ),
        (get("GET / HTTP/1.1", " host: a"), 400, CODEC),
        // Names and values.
        (get("GET / HTTP/1.1", "host: a\r\nx : y"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\n: y"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\nx"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\nx(y): z"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\nx\u{e9}: z"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\nx\0y: z"), 400, CODEC),
        (get("GET / HTTP/1.1", "host: a\r\nx: y\0z"), 400, CHARACTER),
        (get("GET / HTTP/1.1", "host: a\r\nx: \x01"), 400, CHARACTER),
        (get("GET / HTTP/1.1", "host: a\r\nx: \x7f"), 400, CHARACTER),
        // Hosts.
        (
            get("GET / HTTP/1.1", "host: a\r\nhost: b"),
            400,
            "http1.many_hosts",
        ),
        (
            get("GET / HTTP/1.1", "host: a b"),
            400,
            "http.invalid_authority",
        ),
        (
            get("GET / HTTP/1.1", "host: a/b"),
            400,
            "http.invalid_authority",
        ),
        (
            get("GET / HTTP/1.1", "host: a\\b"),
            400,
            "http.invalid_authority",
        ),
        (get("GET / HTTP/1.1", "x: y"), 400, "missing_host_header"),
        // Request lines.
        (get("GET  / HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET / a HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET\t/ HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET /\0 HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET a HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET a:80 HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET http://u:p@a/ HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET * HTTP/1.1", "host: a"), 400, "http1.invalid_url"),
        (
            get("GET /a#b HTTP/1.1", "host: a"),
            400,
            "path_normalization_failed",
        ),
        (
            get("GET http://a/b#/../c HTTP/1.1", "host: a"),
            400,
            "path_normalization_failed",
        ),
        (
            get("GET http://a#@b/ HTTP/1.1", "host: a"),
            400,
            "path_normalization_failed",
        ),
        (get("GE(T / HTTP/1.1", "host: a"), 400, CODEC),
        (get("get / HTTP/1.1", "host: a"), 400, CODEC),
        (get("SMUGGLE / HTTP/1.1", "host: a"), 400, CODEC),
        (get("GET / HTTP/1.1 x", "host: a"), 400, CODEC),
        (get("GET / HTTPS/1.1", "host: a"), 400, CODEC),
        (get("GET / HTTP/1.0", "host: a"), 426, "low_version"),
        (get("GET / HTTP/1.2", "host: a"), 426, "low_version"),
        (get("GET / HTTP/0.9", "host: a"), 426, "low_version"),
        (b"GET /\r\n\r\n".to_vec(), 426, "low_version"),
        (
            b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            400,
            CODEC,
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            400,
            CODEC,
        ),
    ] {
        let text = String::from_utf8_lossy(&request).into_owned();
        let mut wire = proxy.connect();
        wire.send([&request, HIDDEN.as_bytes()].concat());
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), status, "{text:?}");
        assert_eq!(
            answer.header("connection").as_deref(),
            Some("close"),
            "{text:?}"
        );
        assert_eq!(wire.message(), None, "{text:?}");
        let record = proxy.told.record();
        assert_eq!(
            (record.status, &*record.details),
            (Some(status), details),
            "{text:?}"
        );
        let ours = ["missing_host_header", "path_normalization_failed"].contains(&details);
        assert_eq!(record.flags.has(Flags::DPE), !ours, "{text:?}");
        assert_eq!(record.attempts, 0, "{text:?}");
        // A host that is missing or many, and a fragment, are found later, on a head that is well-formed.
        let later = [
            "missing_host_header",
            "http1.many_hosts",
            "path_normalization_failed",
        ];
        counted += u64::from(!later.contains(&details));
    }
    assert_eq!(String::from_utf8_lossy(&seen.lock().unwrap()), "");
    proxy.await_metric("envoy_http_downstream_cx_protocol_error", counted);
    assert_eq!(proxy.get("/").status(), 200);
}

/// Refused within their body: the upstream gets an incomplete request, whose connection ends.
#[test]
fn bodies_that_are_no_chunks_are_refused_and_what_follows_is_not_sent_on() {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&seen);
    let proxy = start(config(service(move |mut wire| {
        // Waits for the end of a body that has none.
        let rest = wire.rest();
        kept.lock().unwrap().extend_from_slice(&rest);
    })));
    for body in [
        "zz\r\nabc\r\n",
        "-1\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "\r\nabc",
        ";a\r\nabc",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\nabc",
        "fffffffffffffffff\r\nabc",
        "00000000000000003\r\nabc",
        "0\r\nx y: 1\r\n\r\n",
        "0\r\n: 1\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nx: \0\r\n\r\n",
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{HIDDEN}"
        ));
        let answer = wire.message().unwrap();
        assert_eq!(
            (answer.status(), &*answer.body),
            (400, "Bad Request"),
            "{body:?}"
        );
        assert_eq!(wire.message(), None, "{body:?}");
        let record = proxy.told.record();
        assert!(record.flags.has(Flags::DPE), "{body:?}");
        assert_eq!(record.details, CODEC, "{body:?}");
    }
    proxy.await_metric("envoy_http_downstream_cx_protocol_error", 21);
    proxy.await_metric("envoy_cluster_upstream_cx_active", 0);
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(
        !seen.contains("hidden") && !seen.contains("\r\n0\r\n"),
        "{seen}"
    );
}

#[test]
fn chunk_extensions_are_dropped_and_bounded() {
    let proxy = start(config(echo()));
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut wire = proxy.connect();
    wire.send(format!("{head}3;a=b;c=\"d\"\r\nabc\r\n0;last\r\n\r\n"));
    let answer = wire.message().unwrap();
    assert!(answer.body.ends_with("\r\n\r\nabc"), "{}", answer.body);
    proxy.told.record();
    // One byte of data each, and a kibibyte of nothing.
    let mut wire = proxy.connect();
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(1 << 10));
    wire.try_send(head);
    for _ in 0..1_000 {
        if !wire.try_send(&chunk) {
            break;
        }
    }
    let record = proxy.told.record();
    assert_eq!((record.status, &*record.details), (Some(400), CODEC));
    assert!(record.bytes_in < 17, "{}", record.bytes_in);
}

#[test]
fn trailers_without_end_are_refused() {
    let proxy = start(config(service(|mut wire| {
        wire.rest();
    })));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n");
    let row = format!("x: {}\r\n", "a".repeat(1 << 10));
    for _ in 0..10_000 {
        if !wire.try_send(&row) {
            break;
        }
    }
    let record = proxy.told.record();
    assert_eq!((record.status, &*record.details), (Some(400), CODEC));
}

/// A length or a chunk of any size promises bytes; it does not get memory for them.
#[test]
fn sizes_that_are_only_promised_cost_no_memory() {
    let proxy = start(config(service(|mut wire| {
        wire.rest();
    })));
    let before = resident_kib();
    let mut wires = Vec::new();
    for _ in 0..50 {
        for (framing, body) in [
            ("content-length: 9223372036854775807", "abc"),
            ("content-length: 18446744073709551615", "abc"),
            ("transfer-encoding: chunked", "7fffffffffffffff\r\nabc"),
            ("transfer-encoding: chunked", "ffffffffffffffff\r\nabc"),
        ] {
            let mut wire = proxy.connect();
            wire.send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}"
            ));
            wires.push(wire);
        }
    }
    proxy.await_metric("envoy_http_downstream_rq_active", 200);
    assert!(resident_kib() < before + (64 << 10), "{before} KiB before");
    drop(wires);
    for record in proxy.told.records(200) {
        assert!(record.flags.has(Flags::DC), "{record:?}");
    }
}

#[test]
fn heads_without_end_are_refused_and_cost_bounded_memory() {
    let (up, seen) = trap();
    let proxy = start(config(up));
    let before = resident_kib();
    let endless: [&[u8]; 4] = [
        b"a",
        b"x: y\r\n",
        b"GET /aaaaaaaaaaaaaaa",
        b"x: aaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    for piece in endless {
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n");
        let block = piece.repeat((16 << 10) / piece.len());
        for _ in 0..1_000 {
            if !wire.try_send(&block) {
                break;
            }
        }
        let record = proxy.told.record();
        let status = record.status.unwrap();
        assert!(status == 431 || status == 400, "{status}");
        assert!(record.flags.has(Flags::DPE));
    }
    assert!(resident_kib() < before + (32 << 10), "{before} KiB before");
    assert_eq!(String::from_utf8_lossy(&seen.lock().unwrap()), "");
}

#[test]
fn heads_have_a_most_of_headers_and_of_bytes() {
    let proxy = start(config(echo()));
    for (count, width, status, details) in [
        (90, 1, 200, "via_upstream"),
        (101, 1, 431, "http1.too_many_headers"),
        (20, 1_000, 200, "via_upstream"),
        (70, 1_000, 431, "http1.headers_too_large"),
    ] {
        let mut rows = String::new();
        for n in 0..count {
            rows += &format!("x-{n}: {}\r\n", "a".repeat(width));
        }
        let mut wire = proxy.connect();
        wire.try_send(format!("GET / HTTP/1.1\r\nhost: a\r\n{rows}\r\n"));
        assert_eq!(
            wire.message().unwrap().status(),
            status,
            "{count} of {width}"
        );
        let record = proxy.told.record();
        assert_eq!(record.details, details);
    }
}

#[test]
fn a_head_byte_by_byte_is_read_until_its_time_is_over() {
    let mut config = config(echo());
    let manager = config.listeners[0].manager_mut().unwrap();
    manager.request_headers_timeout = Some(Duration::from_millis(300));
    let proxy = start(config);
    let mut slow = proxy.connect();
    for byte in b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n" {
        slow.send([*byte]);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(slow.message().unwrap().status(), 200);
    proxy.told.record();
    let mut slower = proxy.connect();
    let begin = tokio::time::Instant::now();
    while slower.try_send("x") && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    let record = proxy.told.record();
    assert_eq!(
        (record.status, &*record.details),
        (Some(408), "request_header_timeout")
    );
}

/// What an upstream sends is held to the same: its answers must not become another client's.
#[test]
fn ambiguous_answers_are_not_passed_on_and_their_connection_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx: y\0\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 99 Odd\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/3.0 200 OK\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let proxy = start(config(service(move |mut wire| {
            while wire.message().is_some() && wire.try_send(answer) {}
        })));
        for _ in 0..2 {
            assert_eq!(proxy.get("/").status(), 502, "{answer:?}");
            let record = proxy.told.record();
            assert!(record.flags.has(Flags::UPE), "{answer:?}");
        }
        assert_eq!(
            proxy.metric("envoy_cluster_upstream_cx_total"),
            2,
            "{answer:?}"
        );
    }
}

/// Bytes after an answer were asked for by nobody; the next request must not take them for its own answer.
#[test]
fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let proxy = start(config(service(|mut wire| {
        let mut count = 0;
        while let Some(request) = wire.message() {
            count += 1;
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                path.len()
            );
            if count == 1 {
                answer += "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
            }
            wire.send(answer);
        }
    })));
    let mut wire: Wire = proxy.connect();
    for path in ["/one", "/two", "/three"] {
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(wire.message().unwrap().body, path);
    }
}

/// The client's own headers of the hop must not change how we frame what we send on.
#[test]
fn what_is_sent_on_is_framed_by_us() {
    let (up, seen) = trap();
    let proxy = start(config(up));
    let mut wire = proxy.connect();
    wire.send(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length, x-a\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nabc",
    );
    assert_eq!(wire.message().unwrap().status(), 200);
    let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert_eq!(seen.matches("content-length: 3\r\n").count(), 1, "{seen}");
    assert!(
        !seen.contains("x-a") && seen.ends_with("\r\n\r\nabc"),
        "{seen}"
    );
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
