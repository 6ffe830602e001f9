//! What clients of HTTP/2 may send that is wrong or meant to hurt: refused with the right code, within bounds, counted.

use std::time::Duration;

use meshbed_proxy::config::Config;

use super::{
    http2::raw::{
        CONTINUATION, DATA, END, END_HEADERS, GOAWAY, HEADERS, Outcome, PADDED, PING, PRIORITY,
        PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, frame,
        request,
    },
    support::{Running, config, echo, service, start},
};

const PROTOCOL: u32 = 1;
const INTERNAL: u32 = 2;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

/// The echo, where a malformed request resets its stream.
fn lenient() -> Config {
    let mut config = config(echo());
    config.listeners[0]
        .manager_mut()
        .unwrap()
        .http2
        .stream_error = true;
    config
}

/// What is sent, and what may become of it.
type Row = (&'static str, Vec<Vec<u8>>, &'static [Outcome]);

/// What becomes of a connection that is sent these, and of its stream 1.
fn outcome(proxy: &Running, frames: &[Vec<u8>]) -> Outcome {
    let mut raw = Raw::connect(proxy.address, &[]);
    raw.wire.try_send(frames.concat());
    raw.outcome(1)
}

/// Whether the proxy still serves.
fn serves(proxy: &Running) -> bool {
    outcome(proxy, &[request(1, END, &[])]) == Outcome::Answered
}

#[test]
fn frames_that_break_the_rules_are_refused_with_the_right_code() {
    let proxy = start(lenient());
    let open = || request(1, 0, &[]);
    let whole = || request(1, END, &[]);
    let rows: Vec<Row> = vec![
        ("a request is answered", vec![whole()], &[Outcome::Answered]),
        // RFC 9113 §4.2
        (
            "a frame beyond the largest",
            vec![open(), frame(DATA, 0, 1, &vec![0; 16_385])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        (
            "settings of no whole number",
            vec![frame(SETTINGS, 0, 0, &[0; 5])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        (
            "a ping that is too short",
            vec![frame(PING, 0, 0, &[0; 6])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        (
            "a reset that is too long",
            vec![open(), frame(RST_STREAM, 0, 1, &[0; 5])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        (
            "a window update that is too short",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0; 3])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        // §4.3
        (
            "a header section that cannot be decoded",
            vec![frame(
                HEADERS,
                END | END_HEADERS,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            )],
            &[Outcome::GoAway(COMPRESSION)],
        ),
        (
            "an index that is in no table",
            vec![frame(HEADERS, END | END_HEADERS, 1, &[0xbe])],
            &[Outcome::GoAway(COMPRESSION)],
        ),
        (
            "another frame within a header section",
            vec![
                frame(HEADERS, END, 1, &block(&[(":method", "GET")])),
                frame(PING, 0, 0, &[0; 8]),
            ],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "an unknown frame within a header section",
            vec![
                frame(HEADERS, END, 1, &block(&[(":method", "GET")])),
                frame(0xbb, 0, 1, &[0; 8]),
            ],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "the section of another stream within one",
            vec![
                frame(HEADERS, END, 1, &block(&[(":method", "GET")])),
                request(3, END, &[]),
            ],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §5.1
        (
            "data on an idle stream",
            vec![frame(DATA, 0, 1, b"x")],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a reset of an idle stream",
            vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a window for an idle stream",
            vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a continuation of nothing",
            vec![frame(
                CONTINUATION,
                END_HEADERS,
                1,
                &block(&[(":method", "GET")]),
            )],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "data after the end",
            vec![whole(), frame(DATA, END, 1, b"x")],
            &[
                Outcome::Reset(STREAM_CLOSED),
                Outcome::GoAway(STREAM_CLOSED),
            ],
        ),
        (
            "a header section after the end",
            vec![whole(), request(1, END, &[])],
            &[
                Outcome::Reset(STREAM_CLOSED),
                Outcome::GoAway(STREAM_CLOSED),
            ],
        ),
        // §5.1.1
        (
            "a stream with the server's number",
            vec![request(2, END, &[])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a number that is lower than an earlier one",
            vec![request(5, END, &[]), request(3, END, &[])],
            &[Outcome::GoAway(STREAM_CLOSED)],
        ),
        // §5.5
        (
            "a frame of an unknown kind is ignored",
            vec![frame(0xbb, 0xff, 0, &[7; 20]), whole()],
            &[Outcome::Answered],
        ),
        (
            "unknown flags are ignored",
            vec![frame(PING, 0xfe, 0, &[0; 8]), whole()],
            &[Outcome::Answered],
        ),
        // §6.1
        (
            "data of no stream",
            vec![frame(DATA, 0, 0, b"x")],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "padding that is longer than its frame",
            vec![open(), frame(DATA, PADDED, 1, &[9, 0, 0])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.2
        (
            "a header section of no stream",
            vec![request(0, END, &[])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a padded header section that is all padding",
            vec![frame(HEADERS, END | END_HEADERS | PADDED, 1, &[9, 0, 0])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a priority within a header section is ignored",
            vec![
                [&frame(
                    HEADERS,
                    END | END_HEADERS | WITH_PRIORITY,
                    1,
                    &[
                        vec![0, 0, 0, 3, 16],
                        block(&[
                            (":method", "GET"),
                            (":scheme", "http"),
                            (":path", "/"),
                            (":authority", "a"),
                        ]),
                    ]
                    .concat(),
                )[..]]
                .concat(),
            ],
            &[Outcome::Answered],
        ),
        // §6.3
        (
            "a priority of no stream",
            vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 16])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.4
        (
            "a reset of no stream",
            vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.5
        (
            "an answer to settings with content",
            vec![frame(SETTINGS, END, 0, &[0; 6])],
            &[Outcome::GoAway(FRAME_SIZE)],
        ),
        (
            "settings of a stream",
            vec![frame(SETTINGS, 0, 1, &[])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "push that is neither on nor off",
            vec![frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a window that is too large",
            vec![frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])],
            &[Outcome::GoAway(FLOW_CONTROL)],
        ),
        (
            "a largest frame that is too small",
            vec![frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a largest frame that is too large",
            vec![frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "an unknown setting is ignored",
            vec![frame(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]), whole()],
            &[Outcome::Answered],
        ),
        // §6.6
        (
            "a promise by a client",
            vec![open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.7
        (
            "a ping of a stream",
            vec![frame(PING, 0, 1, &[0; 8])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.8
        (
            "a good-bye of a stream",
            vec![frame(GOAWAY, 0, 1, &[0; 8])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        // §6.9
        (
            "a window of nothing for a stream",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            &[Outcome::Reset(PROTOCOL)],
        ),
        (
            "a window of nothing for the connection",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
            &[Outcome::GoAway(PROTOCOL)],
        ),
        (
            "a stream's window beyond the largest",
            vec![
                open(),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ],
            &[Outcome::Reset(FLOW_CONTROL)],
        ),
        (
            "a connection's window beyond the largest",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            &[Outcome::GoAway(FLOW_CONTROL)],
        ),
        // §8.1
        (
            "a second header section that does not end the request",
            vec![open(), request(1, 0, &[])],
            &[Outcome::Reset(PROTOCOL)],
        ),
        (
            "trailers with a pseudo header",
            vec![
                open(),
                frame(HEADERS, END | END_HEADERS, 1, &block(&[(":path", "/x")])),
            ],
            &[Outcome::Reset(PROTOCOL)],
        ),
        (
            "more than the length",
            vec![
                request(1, 0, &[("content-length", "1")]),
                frame(DATA, END, 1, b"xyz"),
            ],
            &[Outcome::Reset(PROTOCOL)],
        ),
        (
            "less than the length",
            vec![
                request(1, 0, &[("content-length", "5")]),
                frame(DATA, END, 1, b"xyz"),
            ],
            &[Outcome::Reset(PROTOCOL)],
        ),
        (
            "a length and no body",
            vec![request(1, END, &[("content-length", "5")])],
            &[Outcome::Reset(PROTOCOL)],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, frames, accepted) in rows {
        let outcome = outcome(&proxy, &frames);
        if !accepted.contains(&outcome) {
            wrong.push(format!("{name}: {outcome:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(serves(&proxy));
}

#[test]
fn a_request_that_is_malformed_resets_its_stream_or_ends_its_connection() {
    let base = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
    let without = |name: &str| {
        let rows = base.iter().filter(|(known, _)| *known != name);
        rows.copied().collect::<Vec<_>>()
    };
    let rows = [
        ("an upper case name", with(&[("X-Upper", "1")])),
        ("a connection header", with(&[("connection", "close")])),
        (
            "a transfer encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("a keep-alive header", with(&[("keep-alive", "1")])),
        (
            "a proxy-connection header",
            with(&[("proxy-connection", "close")]),
        ),
        ("an upgrade", with(&[("upgrade", "websocket")])),
        ("other encodings than trailers", with(&[("te", "gzip")])),
        (
            "a pseudo header after another",
            with(&[("x", "1"), (":path", "/y")]),
        ),
        (
            "a pseudo header that is unknown",
            with(&[(":unknown", "1")]),
        ),
        ("an answer's pseudo header", with(&[(":status", "200")])),
        ("a pseudo header twice", with(&[(":method", "PUT")])),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        (
            "an empty path",
            vec![
                (":method", "GET"),
                (":scheme", "http"),
                (":path", ""),
                (":authority", "a"),
            ],
        ),
        ("an extended connect that is not allowed", {
            let mut rows = base.to_vec();
            rows[0] = (":method", "CONNECT");
            rows.push((":protocol", "websocket"));
            rows
        }),
    ];
    let (lax, strict) = (start(lenient()), start(config(echo())));
    let mut wrong = Vec::new();
    for (name, rows) in rows {
        let head = frame(HEADERS, END | END_HEADERS, 1, &block(&rows));
        let one = outcome(&lax, std::slice::from_ref(&head));
        if one != Outcome::Reset(PROTOCOL) {
            wrong.push(format!("{name}: {one:?}"));
        }
        let mut raw = Raw::connect(strict.address, &[]);
        raw.wire.try_send(head);
        let mut outcome = raw.outcome(1);
        if outcome == Outcome::Reset(PROTOCOL) {
            outcome = raw.outcome(1);
        }
        if outcome != Outcome::GoAway(PROTOCOL) {
            wrong.push(format!("{name}, strictly: {outcome:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(serves(&lax) && serves(&strict));
    assert_eq!(strict.metric("envoy_http_http2_rx_messaging_error"), 16);
    assert_eq!(strict.metric("envoy_http_downstream_cx_protocol_error"), 16);
    assert_eq!(lax.metric("envoy_http_http2_tx_reset"), 16);
}

#[test]
fn streams_beyond_the_bound_are_refused() {
    let mut config = config(service(|mut wire| {
        wire.message();
        std::thread::sleep(Duration::from_secs(2));
    }));
    config.listeners[0].manager_mut().unwrap().http2.max_streams = 3;
    let proxy = start(config);
    let mut raw = Raw::connect(proxy.address, &[]);
    // The bound counts once it has been acknowledged.
    raw.wire.send(frame(SETTINGS, END, 0, &[]));
    for stream in [1, 3, 5, 7] {
        raw.wire.send(request(stream, END, &[]));
    }
    assert_eq!(raw.outcome(7), Outcome::Reset(REFUSED));
}

#[test]
fn floods_end_the_connection_and_are_counted() {
    let proxy = start(config(echo()));
    let many = |frame: Vec<u8>, count: usize| vec![frame.repeat(count)];
    let rows = [
        (
            "outbound_control_flood",
            many(frame(PING, 0, 0, &[0; 8]), 20_000),
        ),
        (
            "outbound_control_flood",
            many(frame(SETTINGS, 0, 0, &[]), 20_000),
        ),
        (
            "inbound_empty_frames_flood",
            vec![request(1, 0, &[]), frame(DATA, 0, 1, &[]).repeat(1_000)],
        ),
        (
            "inbound_priority_frames_flood",
            many(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]), 1_000),
        ),
        (
            "inbound_window_update_frames_flood",
            many(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1_000),
        ),
    ];
    let mut counted = std::collections::BTreeMap::<_, u64>::new();
    for (name, frames) in rows {
        let mut raw = Raw::connect(proxy.address, &[]);
        raw.wire.try_send(frames.concat());
        // What was read before the flood may have been answered; then the connection ends.
        let mut last = raw.outcome(u32::MAX);
        if last == Outcome::GoAway(CALM) {
            last = raw.outcome(u32::MAX);
        }
        assert_eq!(last, Outcome::Closed, "{name}");
        *counted.entry(name).or_default() += 1;
        proxy.await_metric(&format!("envoy_http_http2_{name}"), counted[name]);
    }
    assert!(serves(&proxy));
}

#[test]
fn streams_that_are_reset_as_soon_as_they_begin_end_the_connection() {
    let proxy = start(config(service(|mut wire| {
        wire.message();
        std::thread::sleep(Duration::from_secs(5));
    })));
    // All at once: most are reset before they are looked at.
    let mut raw = Raw::connect(proxy.address, &[]);
    for at in 0..2_000 {
        let stream = 2 * at + 1;
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        raw.wire
            .try_send([request(stream, END, &[]), reset].concat());
    }
    assert!(matches!(
        raw.outcome(u32::MAX),
        Outcome::GoAway(CALM) | Outcome::Closed
    ));
    // The same, with what has the proxy reset them (CVE-2025-8671).
    let mut raw = Raw::connect(proxy.address, &[]);
    for at in 0..2_000 {
        let stream = 2 * at + 1;
        let nothing = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
        raw.wire
            .try_send([request(stream, END, &[]), nothing].concat());
    }
    assert!(matches!(
        raw.outcome(u32::MAX),
        Outcome::GoAway(CALM) | Outcome::Closed
    ));
    // Slowly: each is begun, and sent on, before it is reset.
    let mut raw = Raw::connect(proxy.address, &[]);
    let mut served = 0;
    for at in 0..3_000 {
        let stream = 2 * at + 1;
        if !raw.wire.try_send(request(stream, END, &[])) {
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
        raw.wire
            .try_send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        served = at;
    }
    assert!(served > 500, "{served}");
    assert!(matches!(
        raw.outcome(u32::MAX),
        Outcome::GoAway(CALM) | Outcome::Closed
    ));
    proxy.await_metric("envoy_http_downstream_rq_active", 0);
    assert!(
        proxy.metric("envoy_http_downstream_rq_too_many_premature_resets")
            + proxy.metric("envoy_http_downstream_cx_protocol_error")
            >= 3
    );
    assert!(proxy.metric("envoy_http_downstream_rq_total") <= 3 * 700);
}

#[test]
fn header_sections_without_end_are_refused() {
    let proxy = start(config(echo()));
    let mut raw = Raw::connect(proxy.address, &[]);
    raw.wire
        .try_send(frame(HEADERS, END, 1, &block(&[(":method", "GET")])));
    let more = block(&[("x-much", &"y".repeat(8_000))]);
    let mut sent = 0;
    while sent < 10_000 && raw.wire.try_send(frame(CONTINUATION, 0, 1, &more)) {
        sent += 1;
    }
    assert!(sent < 10_000, "80 MB of headers were taken");
    assert!(matches!(
        raw.outcome(1),
        Outcome::GoAway(_) | Outcome::Closed
    ));
    proxy.await_metric("envoy_http_downstream_cx_protocol_error", 1);
    assert!(serves(&proxy));
}

#[test]
fn a_header_section_that_does_not_end_in_time_ends_the_connection() {
    let mut config = config(echo());
    config.listeners[0]
        .manager_mut()
        .unwrap()
        .request_headers_timeout = Some(Duration::from_millis(200));
    let proxy = start(config);
    let mut raw = Raw::connect(proxy.address, &[]);
    raw.wire
        .send(frame(HEADERS, END, 1, &block(&[(":method", "GET")])));
    assert_eq!(raw.outcome(1), Outcome::GoAway(CALM));
    assert_eq!(proxy.metric("envoy_http_downstream_rq_timeout"), 1);
}

#[test]
fn headers_that_are_too_large_are_refused_however_small_they_are_sent() {
    let proxy = start(config(echo()));
    let large = "z".repeat(70_000);
    let head = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("x-large", &large),
    ]);
    let mut frames = Vec::new();
    let mut pieces = head.chunks(16_000).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let mut flags = if kind == HEADERS { END } else { 0 };
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        frames.push(frame(kind, flags, 1, piece));
        kind = CONTINUATION;
    }
    assert!(matches!(outcome(&proxy, &frames), Outcome::Reset(INTERNAL)));
    // A table entry of 4,000 bytes, named 16,000 times by a byte each: 64 MB of headers in 16 KB.
    let mut bomb = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ]);
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend("b".repeat(4_000).as_bytes());
    bomb.extend(vec![0xbe; 12_000]);
    assert!(matches!(
        outcome(&proxy, &[frame(HEADERS, END | END_HEADERS, 1, &bomb)]),
        Outcome::Reset(INTERNAL)
    ));
    // Nothing of either was sent on.
    assert_eq!(proxy.metric("envoy_cluster_upstream_rq_total"), 0);
    assert_eq!(proxy.metric("envoy_http_http2_header_overflow"), 2);
    assert!(serves(&proxy));
}
