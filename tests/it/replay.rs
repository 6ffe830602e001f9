//! The generator against servers that misbehave, over real sockets: order, counts and bounds, never exact durations.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::HOST};
use meshbed::{
    event::{Request, RunEvent},
    replay::{self, Drive, Driving, Lane, Planned, Prepared, Schedule, Totals},
    scenario::{Connections, Protocol, Rewrite, Source, SourceKind},
};
use meshbed_proxy::{draw::Seed, policy::matcher::Matcher};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// What a server does with a request.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer,
    AnswerAfter(Duration),
    AnswerAndClose,
    Hang,
    Close,
    Garbage,
    HalfAnAnswer,
}

/// A server that notes what it reads.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    most_at_once: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
struct Seen {
    /// The client's port, which names the connection.
    port: u16,
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Server {
    /// `act` is asked with the number of the request on its connection and its path.
    async fn start(act: impl Fn(usize, &str) -> Act + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            most_at_once: Arc::default(),
        };
        let (seen, most) = (Arc::clone(&server.seen), Arc::clone(&server.most_at_once));
        let now = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (seen, most, now) = (Arc::clone(&seen), Arc::clone(&most), Arc::clone(&now));
                tokio::spawn(serve(stream, peer.port(), act.clone(), seen, now, most));
            }
        });
        server
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    port: u16,
    act: impl Fn(usize, &str) -> Act,
    seen: Arc<Mutex<Vec<Seen>>>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
) {
    for number in 0.. {
        let Some(request) = read(&mut stream, port).await else {
            return;
        };
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let act = act(number, request.path());
        seen.lock().unwrap().push(request);
        let answer: &[u8] = match act {
            Act::Answer | Act::AnswerAfter(_) => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Act::AnswerAndClose => {
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
            }
            Act::Hang | Act::Close => b"",
            Act::Garbage => b"SSH-2.0-OpenSSH_9.9\r\n",
            Act::HalfAnAnswer => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        };
        match act {
            Act::AnswerAfter(wait) => tokio::time::sleep(wait).await,
            Act::Hang => tokio::time::sleep(Duration::from_mins(1)).await,
            _ => {}
        }
        now.fetch_sub(1, Ordering::SeqCst);
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if !matches!(act, Act::Answer | Act::AnswerAfter(_)) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, port: u16) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut request = Seen {
        port,
        body: bytes.split_off(end),
        head: String::from_utf8(bytes).unwrap(),
    };
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while request.body.len() < length {
        stream.read_buf(&mut request.body).await.ok()?;
    }
    Some(request)
}

fn prepared(method: Method, path: &str, body: &'static str) -> Arc<Prepared> {
    Arc::new(Prepared {
        method,
        uri: path.parse().unwrap(),
        headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("shop"))]),
        body: Bytes::from_static(body.as_bytes()),
    })
}

fn lane(connections: Connections) -> Lane {
    Lane {
        protocol: Protocol::Http,
        id: "main".into(),
        service: "shop".into(),
        connections,
        max_in_flight: 1000,
        timeout: Duration::from_secs(10),
        trace: None,
    }
}

/// A schedule of GETs: when each is due, by which connection, for `/ordinal`.
fn schedule(lane: Lane, due: impl IntoIterator<Item = (u64, u64)>) -> Schedule {
    let planned: Vec<Planned> = due
        .into_iter()
        .zip(0..)
        .map(|((due_us, connection), ordinal)| Planned {
            ordinal,
            source: 0,
            due_us,
            connection,
            request: prepared(Method::GET, &format!("/{ordinal}"), ""),
        })
        .collect();
    Schedule {
        span_us: planned.last().map_or(0, |planned| planned.due_us),
        planned,
        sources: vec![lane],
        sha256: String::new(),
    }
}

const RUN: u64 = 0x12_3456_789a;

type Events = Arc<Mutex<Vec<RunEvent>>>;

fn start(schedule: Schedule, target: SocketAddr) -> (Driving, Events) {
    let events = Events::default();
    let drive = Drive {
        targets: BTreeMap::from([("shop".into(), target)]),
        run: RUN,
        origin: Instant::now() + Duration::from_millis(50),
        tls: BTreeMap::new(),
        numbers: None,
    };
    let sink = {
        let events = Arc::clone(&events);
        move |event| events.lock().unwrap().push(event)
    };
    let driving = replay::start(Arc::new(schedule), &drive, sink).unwrap();
    (driving, events)
}

/// Plays a schedule to its end; the requests come by ordinal.
async fn play(schedule: Schedule, target: SocketAddr) -> (Vec<Request>, Totals) {
    let planned = schedule.planned.len();
    let (driving, events) = start(schedule, target);
    // A run that does not end is a failure too.
    let totals = tokio::time::timeout(Duration::from_secs(30), driving.join())
        .await
        .unwrap()
        .unwrap();
    let requests = requests(&events);
    let ordinals: Vec<u64> = requests.iter().map(|request| request.ordinal).collect();
    assert_eq!(
        ordinals,
        (0..planned as u64).collect::<Vec<_>>(),
        "each ends exactly once"
    );
    for request in &requests {
        assert!(request.released_us >= request.intended_us, "never early");
        if let Some(sent) = request.sent_us {
            assert!(sent >= request.released_us && request.done_us >= sent);
        }
        assert_eq!(request.complete, request.why.is_none());
    }
    (requests, totals)
}

fn requests(events: &Events) -> Vec<Request> {
    let mut requests: Vec<Request> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            RunEvent::Request(request) => Some((**request).clone()),
            _ => None,
        })
        .collect();
    requests.sort_by_key(|request| request.ordinal);
    requests
}

/// Every 10 ms one, by the same connection or pool.
fn each_10_ms(count: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..count).map(|index| (index * 10_000, 0))
}

#[tokio::test]
async fn a_slow_answer_does_not_shift_later_sends() {
    let server = Server::start(|_, path| match path {
        "/0" => Act::AnswerAfter(Duration::from_millis(600)),
        _ => Act::Answer,
    })
    .await;
    let (requests, totals) = play(
        schedule(lane(Connections::Pool(4)), each_10_ms(30)),
        server.address,
    )
    .await;
    assert!(requests[0].response_us() >= 600_000);
    for request in &requests[1..] {
        // Long before the first was answered.
        let sent = request.sent_us.unwrap();
        assert!(sent < request.intended_us + 250_000, "{request:?}");
    }
    assert_eq!(totals.stats.done, 30);
    assert_eq!(totals.stats.in_flight, 0);
}

#[tokio::test]
async fn response_time_includes_the_wait_for_a_busy_connection() {
    let server = Server::start(|_, _| Act::AnswerAfter(Duration::from_millis(30))).await;
    let (requests, totals) = play(
        schedule(lane(Connections::Recorded), each_10_ms(20)),
        server.address,
    )
    .await;
    for request in &requests {
        let service = request.service_us().unwrap();
        let parts = request.lateness_us() + request.blocked_us().unwrap() + service;
        assert_eq!(request.response_us(), parts);
        assert!(service >= 30_000);
    }
    // The 20th is due at 190 ms, and goes when 19 others have taken 30 ms each: 380 ms of waiting.
    let last = &requests[19];
    assert!(last.blocked_us().unwrap() >= 370_000, "{last:?}");
    assert!(last.service_us().unwrap() < 300_000, "{last:?}");
    // The waiting is the server's, not the generator's.
    assert!(totals.lateness_us.p50 < 20_000, "{totals:?}");
    assert!(totals.blocked_us.max >= 370_000);
}

#[tokio::test]
async fn recorded_connections_keep_their_requests_in_order() {
    let server = Server::start(|_, path| {
        let odd = path.ends_with(['1', '3', '5', '7', '9']);
        Act::AnswerAfter(Duration::from_millis(if odd { 7 } else { 1 }))
    })
    .await;
    // 60 requests at once, by three connections in turn.
    let due = (0..60).map(|index| (0, index % 3));
    let (requests, _) = play(schedule(lane(Connections::Recorded), due), server.address).await;
    assert!(
        requests
            .iter()
            .all(|request| request.connection == request.ordinal % 3)
    );
    let mut by_port: HashMap<u16, Vec<u64>> = HashMap::new();
    for seen in server.seen() {
        let ordinal = seen.path()[1..].parse().unwrap();
        by_port.entry(seen.port).or_default().push(ordinal);
    }
    assert_eq!(by_port.len(), 3, "as many connections as recorded");
    for ordinals in by_port.values() {
        let expected: Vec<u64> = (ordinals[0]..60).step_by(3).collect();
        assert_eq!(ordinals, &expected);
    }
}

#[tokio::test]
async fn a_request_beyond_max_in_flight_waits_and_is_counted() {
    let server = Server::start(|_, _| Act::AnswerAfter(Duration::from_millis(20))).await;
    let lane = Lane {
        max_in_flight: 2,
        ..lane(Connections::Pool(8))
    };
    let schedule = schedule(lane, (0..10).map(|_| (0, 0)));
    let (driving, events) = start(schedule, server.address);
    let totals = driving.join().await.unwrap();
    assert_eq!(totals.stats.overflow, 8);
    assert_eq!(totals.stats.done, 10);
    let mut waited: Vec<u64> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            RunEvent::Overflow {
                ordinal, waited_us, ..
            } => {
                assert!(*waited_us >= 20_000);
                Some(*ordinal)
            }
            _ => None,
        })
        .collect();
    waited.sort_unstable();
    assert_eq!(waited, (2..10).collect::<Vec<_>>());
    assert!(server.most_at_once.load(Ordering::SeqCst) <= 2);
    // Four turns of two before the last: its wait is in its response time.
    assert!(requests(&events)[9].response_us() >= 100_000);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_given_up() {
    let server = Server::start(|_, path| match path {
        "/0" => Act::Hang,
        _ => Act::Answer,
    })
    .await;
    let lane = Lane {
        timeout: Duration::from_millis(100),
        ..lane(Connections::Recorded)
    };
    let (requests, totals) = play(schedule(lane, each_10_ms(3)), server.address).await;
    assert_eq!(
        requests[0].why.as_deref(),
        Some("no whole answer within the timeout")
    );
    assert!(requests[0].service_us().unwrap() >= 100_000);
    // The next ones go by a new connection.
    assert!(requests[1].complete && requests[2].complete);
    assert_eq!((totals.stats.done, totals.stats.no_response), (2, 1));
}

#[tokio::test]
async fn a_broken_answer_gives_no_response_with_a_reason() {
    for (act, status, why) in [
        (
            Act::Close,
            None,
            "connection closed before the whole answer",
        ),
        (Act::Garbage, None, "the answer is not HTTP/1.1"),
        (
            Act::HalfAnAnswer,
            Some(200),
            "connection closed before the whole answer",
        ),
    ] {
        let server = Server::start(move |_, _| act).await;
        for connections in [Connections::Recorded, Connections::Pool(3)] {
            let (requests, totals) =
                play(schedule(lane(connections), each_10_ms(5)), server.address).await;
            for request in requests {
                assert_eq!(request.why.as_deref(), Some(why), "{act:?}");
                assert_eq!(request.status, status, "{act:?}");
                assert!(request.sent_us.is_some());
            }
            assert_eq!((totals.stats.sent, totals.stats.no_response), (5, 5));
        }
    }
}

#[tokio::test]
async fn a_refused_connection_gives_no_response_with_a_reason() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let (requests, totals) = play(
        schedule(lane(Connections::Recorded), each_10_ms(3)),
        address,
    )
    .await;
    for request in requests {
        let why = format!("connection to {address} refused");
        assert_eq!(request.why, Some(why));
        assert_eq!(request.sent_us, None);
    }
    assert_eq!((totals.stats.sent, totals.stats.no_response), (0, 3));
    assert_eq!(totals.stats.unopened, 3);
}

#[tokio::test]
async fn a_closed_connection_is_opened_again() {
    for (act, name) in [(Act::AnswerAndClose, "announced"), (Act::Answer, "kept")] {
        let server = Server::start(move |_, _| act).await;
        let (requests, _) = play(
            schedule(lane(Connections::Recorded), each_10_ms(10)),
            server.address,
        )
        .await;
        assert!(requests.iter().all(|request| request.complete), "{name}");
        let ports: std::collections::BTreeSet<u16> =
            server.seen().iter().map(|seen| seen.port).collect();
        let expected = if matches!(act, Act::Answer) { 1 } else { 10 };
        assert_eq!(ports.len(), expected, "{name}");
    }
}

#[tokio::test]
async fn requests_carry_their_identity_and_their_body() {
    let server = Server::start(|_, _| Act::Answer).await;
    let mut schedule = schedule(
        lane(Connections::Recorded),
        [(0, 0), (2_500, 0), (2_500, 0)],
    );
    schedule.planned[1].request = prepared(Method::POST, "/pay?x=1", "{\"a\":1}");
    schedule.planned[2].request = prepared(Method::POST, "/empty", "");
    let (requests, _) = play(schedule, server.address).await;
    let seen = server.seen();
    assert_eq!(
        seen[1].header("traceparent"),
        Some("00-123456789a0000000002000000000001-0000000000000002-01")
    );
    assert_eq!(
        seen[1].header("x-request-id"),
        Some("12345678-9a00-0000-0002-000000000001")
    );
    assert_eq!(seen[1].header("host"), Some("shop"));
    assert_eq!(seen[1].body, b"{\"a\":1}");
    assert_eq!(seen[2].header("content-length"), Some("0"));
    assert_eq!(seen[0].header("content-length"), None);
    assert_eq!((requests[1].bytes_out, requests[1].bytes_in), (7, 2));
    assert_eq!(requests[1].path, "/pay?x=1");
}

#[tokio::test]
async fn a_stop_releases_nothing_more_and_gives_the_rest_its_time() {
    let server = Server::start(|_, _| Act::AnswerAfter(Duration::from_millis(200))).await;
    // One under way, two in line for its connection, one an hour away.
    let due = [(0, 0), (0, 0), (0, 0), (3_600_000_000, 0)];
    let (driving, events) = start(schedule(lane(Connections::Recorded), due), server.address);
    while server.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    driving.stop(Duration::from_secs(10));
    let totals = driving.join().await.unwrap();
    let requests = requests(&events);
    let whys: Vec<Option<&str>> = requests.iter().map(|r| r.why.as_deref()).collect();
    let stopped = Some("the generator was stopped");
    assert_eq!(whys, [None, stopped, stopped]);
    assert_eq!(totals.stats.released, 3);
    assert_eq!(totals.stats.in_flight, 0);
}

#[tokio::test]
async fn a_stop_without_grace_ends_what_is_under_way() {
    let server = Server::start(|_, _| Act::Hang).await;
    let (driving, events) = start(
        schedule(lane(Connections::Pool(2)), [(0, 0), (0, 0)]),
        server.address,
    );
    while server.seen().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The second stop shortens the grace of the first.
    driving.stop(Duration::from_mins(1));
    driving.stop(Duration::ZERO);
    let totals = driving.join().await.unwrap();
    assert_eq!(totals.stats.no_response, 2);
    assert!(
        requests(&events)
            .iter()
            .all(|r| r.sent_us.is_some() && !r.complete)
    );
}

#[tokio::test]
async fn a_source_without_an_address_is_refused() {
    let schedule = schedule(lane(Connections::Recorded), [(0, 0)]);
    let drive = Drive {
        targets: BTreeMap::new(),
        run: RUN,
        origin: Instant::now(),
        tls: BTreeMap::new(),
        numbers: None,
    };
    let error = replay::start(Arc::new(schedule), &drive, |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "traffic `main` goes to `shop`, which has no address"
    );
}

/// A recording whose server's log is known: every request but the upgrade is in the schedule, by its connection, in order.
#[test]
fn the_schedule_of_a_recording_has_its_requests_by_their_connections() {
    let Some((capture, row)) = recording() else {
        return;
    };
    let schedule = schedule_of(&capture);
    let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut upgrades = 0;
    for request in row["requests"].as_array().unwrap() {
        if request[6] == 101 {
            upgrades += 1;
            continue;
        }
        let stream = request[1].as_u64().unwrap();
        let (method, path) = (request[3].as_str().unwrap(), request[5].as_str().unwrap());
        expected
            .entry(stream)
            .or_default()
            .push(format!("{method} {path}"));
    }
    let mut planned: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for one in &schedule.planned {
        let request = &one.request;
        planned.entry(one.connection).or_default().push(format!(
            "{} {}",
            request.method,
            request.path()
        ));
    }
    // Connections are numbered by their first request, streams by their first packet.
    let sorted = |map: BTreeMap<u64, Vec<String>>| {
        let mut lists: Vec<Vec<String>> = map.into_values().collect();
        lists.sort();
        lists
    };
    assert_eq!(upgrades, 1);
    assert_eq!(schedule.planned.len(), 177);
    assert_eq!(sorted(planned), sorted(expected));
    assert_eq!(
        schedule.sources[0].trace.as_ref().unwrap().skipped["upgrade"],
        1
    );
    assert_eq!(schedule.sha256, schedule_of(&capture).sha256);
}

#[tokio::test]
async fn the_command_plays_a_recording_and_sums_up() {
    let Some((capture, _)) = recording() else {
        return;
    };
    let server = Server::start(|_, _| Act::Answer).await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("one");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(["replay", &capture, "--speed", "4", "--to"])
        .arg(format!("http://{}/v2", server.address))
        .arg("--out")
        .arg(&out)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("177 of 177 requests sent, 177 answered in full; 30 connections"),
        "{told}"
    );
    assert!(told.contains("status  200: 177"), "{told}");
    for kind in ["response", "service", "blocked", "lateness"] {
        assert!(told.contains(&format!("\n{kind} ")), "{told}");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 177);
    let host = server.address.to_string();
    let rewritten = |seen: &Seen| seen.path().starts_with("/v2/") || seen.path() == "*";
    assert!(seen.iter().all(rewritten));
    assert!(seen.iter().all(|seen| seen.header("host") == Some(&host)));
    let report = meshbed::report::read(&out).unwrap();
    let generator = &report.run.generator;
    assert_eq!(
        (generator.planned, generator.sent, generator.done),
        (177, 177, 177)
    );
    assert_eq!(report.run.trace.unwrap().skipped["upgrade"], 1);
    assert_eq!(report.run.counts[0].status[&200], 177);
    assert!(
        told.contains(&format!("report: {}", out.display())),
        "{told}"
    );
}

#[tokio::test]
async fn an_interrupted_replay_says_so_and_exits_130() {
    let Some((capture, _)) = recording() else {
        return;
    };
    let server = Server::start(|_, _| Act::Answer).await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cut");
    // At one request a second it would take three minutes.
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(["replay", &capture, "--rate", "1/s", "--to"])
        .arg(format!("http://{}", server.address))
        .arg("--out")
        .arg(&out)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while server.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report = meshbed::report::read(&out).unwrap();
    assert_eq!(report.run.state, meshbed::event::RunState::Interrupted);
    assert!((1..5).contains(&report.run.generator.sent));
}

#[tokio::test]
async fn a_target_that_refuses_leaves_no_report() {
    let Some((capture, _)) = recording() else {
        return;
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(["replay", &capture, "--to", &format!("http://{address}")])
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("cannot connect to 127.0.0.1"), "{told}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn the_command_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.pcap");
    std::fs::write(&garbage, "no capture").unwrap();
    let garbage = garbage.to_str().unwrap();
    for (arguments, code, says) in [
        (
            vec!["/nowhere.pcap", "--to", "http://127.0.0.1:9"],
            2,
            "/nowhere.pcap",
        ),
        (
            vec![garbage, "--to", "http://127.0.0.1:9"],
            2,
            "garbage.pcap",
        ),
        (
            vec![garbage, "--to", "https://shop"],
            2,
            "not supported yet: https",
        ),
        (vec![garbage], 2, "--to"),
        (
            vec![garbage, "--to", "http://a", "--speed", "0"],
            2,
            "above 0",
        ),
        (vec![garbage, "--to", "http://a", "--rate", "5"], 2, "400/s"),
    ] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_meshbed"))
            .arg("replay")
            .args(&arguments)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
}

/// `made/h1_small.pcap` of the shared corpus and its row, if the corpus is there.
fn recording() -> Option<(String, serde_json::Value)> {
    let shared = std::env::var("MESHBED_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").to_owned());
    let made = format!("{shared}/corpus/captures/made");
    let Ok(rows) = std::fs::read_to_string(format!("{made}/expected.jsonl")) else {
        eprintln!("absent: {made}/expected.jsonl");
        return None;
    };
    let row = rows
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|row| row["pcap"] == "made/h1_small.pcap")
        .unwrap();
    Some((format!("{made}/h1_small.pcap"), row))
}

fn schedule_of(capture: &str) -> Schedule {
    let source = Source {
        protocol: Protocol::Http,
        id: "main".into(),
        to: "shop".into(),
        kind: SourceKind::Trace {
            file: capture.into(),
            speed: 1.0,
            window: None,
            loops: 1,
            filter: Matcher::default(),
        },
        connections: Connections::Recorded,
        max_in_flight: 2000,
        timeout: Duration::from_secs(30),
        rewrite: Rewrite::default(),
    };
    replay::schedule::from_sources(&[source], Seed(7), u64::MAX).unwrap()
}

/// An HTTP/2 server that holds each answer until `together` requests are under way, and ends it with a trailer.
async fn h2_server(together: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let barrier = Arc::new(tokio::sync::Barrier::new(together));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let barrier = Arc::clone(&barrier);
                    tokio::spawn(async move {
                        assert_eq!(request.uri().authority().unwrap(), "shop");
                        assert!(request.headers().contains_key("traceparent"));
                        barrier.wait().await;
                        let answer = http::Response::new(());
                        let mut body = respond.send_response(answer, false).unwrap();
                        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static("7"));
                        body.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn http2_requests_go_side_by_side_on_one_connection() {
    let (target, connections) = h2_server(5).await;
    let lane = Lane {
        protocol: Protocol::Grpc,
        ..lane(Connections::Pool(1))
    };
    let due = (0..10).map(|number| (number * 1000, 0));
    let (requests, _) = play(schedule(lane, due), target).await;
    for request in &requests {
        assert_eq!((request.status, request.why.as_deref()), (Some(200), None));
        assert_eq!((request.grpc_status, request.bytes_in), (Some(7), 5));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}
