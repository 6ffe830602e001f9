//! `meshbed run`, by the real binary: what is chosen, how it ends, what it leaves.
#![expect(clippy::indexing_slicing, reason = "a missing field fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use meshbed::journal::process::ProcessId;
use serde_json::{Value, json};

use crate::support::{Bed, Done};

/// The builtin shop, with two kinds of requests at a rate that one connection can bear.
const SHOP: &str = r#"
version: 1
name: run-test
seed: 7
topology:
  entry: shop
  services:
    shop: { builtin: { app: shop, version: v1 }, calls: [catalog, cart, payments] }
    catalog: { builtin: { app: shop, version: v1 } }
    cart: { builtin: { app: shop, version: v1 }, calls: [catalog] }
    payments: { builtin: { app: shop, version: v1 } }
vars:
  rate: { type: rate, default: 40/s }
  connections: { type: int, default: 16 }
  steady: { type: duration, default: 1s }
  fault: { type: duration, default: 4s }
traffic:
  - id: main
    to: shop
    generate: { rate: $(rate), arrival: constant, requests: [ { weight: 3, method: GET, path: "/cart/42?x=1" }, { weight: 1, method: GET, path: "/catalog" } ] }
    connections: $(connections)
phases:
  - { id: steady, for: $(steady) }
  - { id: fault, for: $(fault) }
"#;

fn shop(rest: &str) -> String {
    format!("{SHOP}{rest}")
}

/// Always true, so that only what a test is about decides.
const TRUE: &str = "checks: [ { id: some, that: \"requests[shop] > 0\" } ]\n";

// ---- what is chosen

const CHOOSING: &str = r"
shadow:
  - { id: candidate, of: shop, to: { builtin: { app: shop, version: v2 } }, sample: { percent: 30% } }
  - { id: second, of: catalog, to: { builtin: { app: shop, version: v1 } }, sample: { percent: 50% } }
faults:
  - { id: broken-cart, target: cart, during: fault, percent: 40%, abort: { status: 503 } }
  - { id: slow-catalog, target: catalog, during: fault, percent: 50%, delay: 2ms }
";

/// A chosen call: caller, ordinal, side, n, method, path.
type Call = (String, u64, u64, u64, String, String);

fn call(value: &Value) -> Call {
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    (
        text("caller"),
        number("ord"),
        number("side"),
        number("n"),
        text("method"),
        // A call's key has no query.
        text("path").split('?').next().unwrap().to_owned(),
    )
}

/// What the faults and samples of a run have chosen, by their id.
fn chosen(done: &Done) -> BTreeMap<String, BTreeSet<Call>> {
    let mut all: BTreeMap<String, BTreeSet<Call>> = BTreeMap::new();
    for hit in done.events("hit") {
        let id = hit["fault"].as_str().unwrap().to_owned();
        assert!(
            all.entry(id).or_default().insert(call(&hit)),
            "twice: {hit}"
        );
    }
    for mirror in done.events("mirror") {
        let id = mirror["shadow"].as_str().unwrap().to_owned();
        assert!(
            all.entry(id).or_default().insert(call(&mirror)),
            "twice: {mirror}"
        );
    }
    all
}

/// All calls that callers' sidecars saw.
fn calls(done: &Done) -> Vec<Value> {
    let mut calls = Vec::new();
    for request in done.requests() {
        let hops = request["hops"].as_array().into_iter().flatten();
        let late = request["late"].as_array().into_iter().flatten();
        for hop in hops.chain(late).filter(|hop| hop["inbound"] == false) {
            let mut hop = hop.clone();
            hop["ord"] = request["ord"].clone();
            calls.push(hop);
        }
    }
    calls
}

fn recomputed(seed: u64, calls: &[Value]) -> Value {
    let question = json!({
        "seed": seed,
        "faults": [
            {"id": "broken-cart", "target": "cart", "from": null, "windows_ms": [[1000, 5000]], "percent": 0.4},
            {"id": "slow-catalog", "target": "catalog", "from": null, "windows_ms": [[1000, 5000]], "percent": 0.5},
        ],
        "samples": [
            {"id": "candidate", "of": "shop", "percent": 0.3},
            {"id": "second", "of": "catalog", "percent": 0.5},
        ],
        "calls": calls,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chosen.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(question.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "chosen.py has failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the script chose, as the run's own sets are.
fn scripted(answer: &Value) -> BTreeMap<String, BTreeSet<Call>> {
    let mut all = BTreeMap::new();
    for (id, hits) in answer["faults"].as_object().unwrap() {
        let hits = hits
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| serde_json::from_value(hit.clone()).unwrap());
        all.insert(id.clone(), hits.collect());
    }
    for (id, hits) in answer["samples"].as_object().unwrap() {
        let hits = hits.as_array().unwrap().iter().map(|hit| {
            let (caller, ord, n, method, path) = serde_json::from_value(hit.clone()).unwrap();
            (caller, ord, 0, n, method, path)
        });
        all.insert(id.clone(), hits.collect());
    }
    all
}

/// What only one of the two has, by id.
fn differing(
    one: &BTreeMap<String, BTreeSet<Call>>,
    other: &BTreeMap<String, BTreeSet<Call>>,
) -> Vec<(String, Call)> {
    let ids: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let none = BTreeSet::new();
    ids.into_iter()
        .flat_map(|id| {
            let sets = (one.get(id).unwrap_or(&none), other.get(id).unwrap_or(&none));
            sets.0
                .symmetric_difference(sets.1)
                .map(move |call| (id.clone(), call.clone()))
        })
        .collect()
}

#[test]
fn one_seed_chooses_the_same_whatever_the_workers_and_connections() {
    let bed = Bed::with(&shop(&format!("{CHOOSING}{TRUE}")));
    let one = bed.play("one", &["--workers", "1", "--set", "connections=1"]);
    let many = bed.play("many", &["--workers", "2", "--set", "connections=64"]);
    let again = bed.play("again", &["--workers", "1", "--set", "connections=64"]);
    let other = bed.play("other", &["--seed", "8", "--set", "connections=64"]);

    let first = chosen(&one);
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["broken-cart", "candidate", "second", "slow-catalog"]
    );
    assert_eq!(
        differing(&first, &chosen(&many)),
        [],
        "2 workers, 64 connections"
    );
    assert_eq!(differing(&first, &chosen(&again)), [], "64 connections");
    assert_ne!(differing(&first, &chosen(&other)), [], "another seed");

    for (seed, done) in [(7, &one), (7, &many), (8, &other)] {
        assert_eq!(done.run()["deterministic"], true);
        let answer = recomputed(seed, &calls(done));
        let differing = differing(&chosen(done), &scripted(&answer));
        assert_eq!(differing, [], "{}", done.bundle.display());
        for fault in done.run()["faults"].as_array().unwrap() {
            let id = fault["id"].as_str().unwrap();
            let (n, hit) = (
                fault["considered"].as_f64().unwrap(),
                fault["chosen"].as_f64().unwrap(),
            );
            let p: f64 = if id == "broken-cart" { 0.4 } else { 0.5 };
            let sigma = (n * p * (1.0 - p)).sqrt();
            assert!(hit > 0.0 && (hit - n * p).abs() <= 3.0 * sigma, "{fault}");
        }
    }
}

#[test]
fn first_and_every_count_the_schedules_requests() {
    let bed = Bed::with(&shop(&format!(
        r"
faults:
  - {{ id: first-five, target: shop, during: fault, first: 5, delay: 1ms }}
  - {{ id: every-tenth, target: shop, during: fault, every: 10, delay: 1ms }}
{TRUE}"
    )));
    let a = bed.play("a", &["--workers", "2", "--set", "fault=2s"]);
    assert_eq!(a.run()["deterministic"], true, "{}", a.said);
    let ordinals = |id: &str| -> Vec<u64> {
        let mut all: Vec<u64> = a
            .events("hit")
            .iter()
            .filter(|hit| hit["fault"] == id)
            .map(|hit| hit["ord"].as_u64().unwrap())
            .collect();
        all.sort_unstable();
        all
    };
    // 40 a second: the fault's two seconds begin with the ordinal 40.
    assert_eq!(ordinals("first-five"), [40, 41, 42, 43, 44]);
    assert_eq!(ordinals("every-tenth"), [49, 59, 69, 79, 89, 99, 109, 119]);

    // And a second run is compared with the first.
    let baseline = a.bundle.to_string_lossy().into_owned();
    let b = bed.play("b", &["--set", "fault=2s", "--baseline", &baseline]);
    assert!(
        b.said.contains("out/a") && b.said.contains("out/b"),
        "{}",
        b.said
    );
    let none = bed.play("c", &["--baseline", "no-such-folder"]);
    assert_eq!(none.code, Some(2), "{}", none.said);
    assert!(!bed.reports().contains(&"c".to_owned()));
}

// ---- how it ends

#[test]
fn a_guard_takes_all_faults_away_at_once_and_ends_the_run() {
    let bed = Bed::with(&shop(&format!(
        r#"
faults: [ {{ id: broken, target: shop, during: fault, percent: 100%, abort: {{ status: 500 }} }} ]
guard: [ {{ when: "error_share[shop] > 50%", for: 1s }} ]
{TRUE}"#
    )));
    let done = bed.play("a", &["--set", "fault=30s"]);
    assert_eq!(done.code, Some(4), "{}", done.said);
    let run = done.run();
    assert_eq!(run["state"], "guarded");
    assert_eq!(run["faults"][0]["undone"], true);
    let guard = done.events("guard");
    let at = guard[0]["t_us"].as_u64().unwrap();
    // On from 1 s, more than half of the last second from about 1.5 s, off within 250 ms of that.
    assert!((1_400_000..2_500_000).contains(&at), "{at}");
    let last = done
        .events("hit")
        .iter()
        .map(|hit| hit["t_us"].as_u64().unwrap())
        .max();
    assert!(last.unwrap() <= at + 250_000, "{last:?} after {at}");
    assert_eq!(run["checks"][0]["outcome"], "not-run");
}

#[test]
fn nothing_is_broken_unless_the_steady_state_holds() {
    let bed = Bed::with(&shop(&format!(
        r#"
faults: [ {{ id: broken, target: shop, during: fault, percent: 100%, abort: {{ status: 500 }} }} ]
steady_state: [ {{ check: "p50[shop] < 1us", over: steady }} ]
{TRUE}"#
    )));
    let done = bed.play("a", &[]);
    assert_eq!(done.code, Some(5), "{}", done.said);
    assert!(done.events("hit").is_empty());
    assert_eq!(done.run()["checks"][0]["outcome"], "not-run");
    assert_eq!(done.run()["faults"][0]["effect"], "not_applied");
    assert!(done.said.contains("p50[shop] < 1us"), "{}", done.said);
}

/// All answers take long, so that the generator's lateness on a busy machine is beside the point.
const SLOW: &str = "  - { id: slow-all, target: shop, during: steady, delay: 800ms }
  - { id: slow-all-2, target: shop, during: fault, delay: 800ms }
";

#[test]
fn a_fault_that_hits_nothing_fails_the_run() {
    let never = "  - { id: never, target: shop, during: fault, match: { path: /no-such-path }, abort: { status: 500 } }\n";
    let bed = Bed::with(&shop(&format!("faults:\n{SLOW}{never}{TRUE}")));
    let done = bed.play("a", &["--set", "fault=1s"]);
    assert_eq!(done.code, Some(1), "{}", done.said);
    assert_eq!(done.run()["faults"][2]["effect"], "no_effect");
    assert_eq!(done.run()["score"]["verdict"], "pass");
    drop(bed);

    let bed = Bed::with(&shop(&format!("faults:\n{SLOW}{TRUE}")));
    let done = bed.play("b", &["--set", "fault=1s"]);
    assert_eq!(done.code, Some(0), "{}", done.said);
}

#[test]
fn a_port_in_use_ends_the_run_before_it_begins() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let scenario = shop(TRUE).replace(
        "cart: { builtin: { app: shop, version: v1 }, calls: [catalog] }",
        &format!(
            "cart: {{ builtin: {{ app: shop, version: v1 }}, calls: {{ catalog: \"{port}\" }} }}"
        ),
    );
    let bed = Bed::with(&scenario);
    let done = bed.play("a", &[]);
    assert_eq!(done.code, Some(3), "{}", done.said);
    assert!(done.said.contains(&port.to_string()), "{}", done.said);
    assert_eq!(bed.reports(), Vec::<String>::new());
    assert!(bed.journals().is_empty());
}

/// A scenario whose only service is at an address.
fn at(address: SocketAddr) -> String {
    format!(
        r#"
version: 1
name: at-address
seed: 7
topology: {{ entry: web, services: {{ web: {{ address: ["{address}"] }} }} }}
traffic: [ {{ id: main, to: web, generate: {{ rate: 40/s, arrival: constant, requests: [ {{ method: GET, path: / }} ] }}, connections: 8 }} ]
phases: [ {{ id: all, for: 1s }} ]
checks: [ {{ id: fine, must: true, that: "error_share[web] < 1%" }} ]
"#
    )
}

#[test]
fn a_target_that_is_not_there_ends_the_run_before_it_begins() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let bed = Bed::with(&at(address));
    let done = bed.play("a", &[]);
    assert_eq!(done.code, Some(3), "{}", done.said);
    assert!(
        done.said.contains("web") && done.said.contains(&address.to_string()),
        "{}",
        done.said
    );
    assert_eq!(bed.reports(), Vec::<String>::new());
}

#[test]
fn an_upstream_that_talks_nonsense_is_counted_and_nothing_worse() {
    for say in [
        &b"\x16\x03\x01 certainly no HTTP\r\n\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = stream.write_all(say);
                });
            }
        });
        let bed = Bed::with(&at(address));
        let done = bed.play("a", &[]);
        let run = done.run();
        // 5 where the machine was too busy to be on time.
        assert!(matches!(done.code, Some(1 | 5)), "{}", done.said);
        assert_eq!(run["checks"][0]["outcome"], "fail", "{}", done.said);
        assert_eq!(run["counts"][0]["requests"], 40);
        assert_eq!(run["counts"][0]["errors"], 40);
        assert!(bed.journals().is_empty());
    }
}

// ---- what it leaves

/// Two processes behind the mesh, one of which starts another of its own.
const PROCESSES: &str = r#"
version: 1
name: processes
seed: 7
topology:
  entry: web
  services:
    web: { process: { command: [python3, serve.py, child], ready: { http: /, within: 20s } }, calls: [db] }
    db: { process: { command: [python3, serve.py], replicas: 2, ready: { tcp: true, within: 20s } } }
traffic: [ { id: main, to: web, generate: { rate: 20/s, arrival: constant, requests: [ { method: GET, path: / } ] }, connections: 4 } ]
phases: [ { id: steady, for: 500ms }, { id: fault, for: 1s } ]
faults: [ { id: slow, target: web, during: fault, delay: 10ms } ]
checks: [ { id: some, that: "requests[web] > 0" } ]
"#;

const SERVE: &str = r#"
import http.server, os, subprocess, sys
if "child" in sys.argv:
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Dies of its only request when the phase is over.
const DIES: &str = r#"
version: 1
name: dies
seed: 7
topology: { entry: web, services: { web: { process: { command: [python3, dies.py], ready: { tcp: true, within: 20s } } } } }
traffic: [ { id: main, to: web, generate: { rate: 2/s, arrival: constant, requests: [ { method: GET, path: / } ] } } ]
phases: [ { id: steady, for: 500ms } ]
checks: [ { id: some, that: "requests[web] > 0" } ]
"#;

#[test]
fn a_process_that_dies_while_the_run_drains_is_told_of() {
    let bed = Bed::with(DIES);
    let dies = SERVE.replace(
        "        self.send_response(200)",
        "        import time; time.sleep(2); os._exit(3)",
    );
    fs::write(bed.path().join("dies.py"), dies).unwrap();
    let child = bed.begin("dies", &[]);
    let done = bed.end("dies", child);
    let notes = done.run()["notes"].to_string();
    assert!(
        notes.contains("service `web` has ended"),
        "{notes} {}",
        done.said
    );
}

fn processes() -> Bed {
    let bed = Bed::with(PROCESSES);
    fs::write(bed.path().join("serve.py"), SERVE).unwrap();
    bed
}

/// Processes that some run in this bed has started: their working folder is the bed's, and they bear a mark.
fn started(bed: &Bed) -> Vec<(ProcessId, Option<u16>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let value = |name: &str| {
            environ.split(|byte| *byte == 0).find_map(|pair| {
                let text = std::str::from_utf8(pair).ok()?;
                Some(text.strip_prefix(name)?.strip_prefix('=')?.to_owned())
            })
        };
        let ours =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(bed.path()));
        if ours
            && value("MESHBED_RUN").is_some()
            && let Some(process) = ProcessId::of(pid)
        {
            found.push((process, value("PORT").and_then(|port| port.parse().ok())));
        }
    }
    found
}

/// Nothing of a run is left in its bed.
fn assert_clean(bed: &Bed, seen: &[(ProcessId, Option<u16>)], when: &str) {
    assert_eq!(started(bed), [], "{when}");
    for (process, port) in seen {
        assert!(!process.is_alive(), "{when}: {process:?}");
        if let Some(port) = port {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            assert!(
                TcpStream::connect(address).is_err(),
                "{when}: something listens at {address}"
            );
        }
    }
    assert!(bed.journals().is_empty(), "{when}: {:?}", bed.journals());
    let partial: Vec<_> = bed
        .reports()
        .into_iter()
        .filter(|name| name.ends_with(".partial"))
        .collect();
    assert!(partial.is_empty(), "{when}: {partial:?}");
}

fn interrupt(pid: u32) {
    let done = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn ctrl_c_at_any_moment_rolls_back_and_says_so() {
    let bed = processes();
    // While services come up, before and in the fault; a quick machine is done soon after the last of these.
    for (index, after_ms) in [30, 150, 400, 900, 1300].into_iter().enumerate() {
        let name = format!("run-{index}");
        let child = bed.begin(&name, &[]);
        thread::sleep(Duration::from_millis(after_ms));
        let seen = started(&bed);
        let pid = child.id();
        interrupt(pid);
        let done = bed.end(&name, child);
        let when = format!("after {after_ms} ms: {}", done.said);
        assert_eq!(done.code, Some(130), "{when}");
        assert_eq!(done.run()["state"], "interrupted", "{when}");
        assert_eq!(done.run()["exit"], 130, "{when}");
        assert_clean(&bed, &seen, &when);
    }
}

#[test]
fn what_sigkill_leaves_is_undone_by_the_next_start() {
    let bed = processes();
    let mut killed = 0;
    let mut with_processes = 0;
    for round in 0..20_u64 {
        // Instants of a fixed sequence that looks like chance: the golden ratio's multiples, over two seconds.
        let after_ms = round * 1236 % 2000;
        let name = format!("run-{round}");
        let mut child = bed.begin(&name, &[]);
        thread::sleep(Duration::from_millis(after_ms));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += usize::from(status.code().is_none());
        let seen = started(&bed);
        with_processes += usize::from(!seen.is_empty());
        let when = format!("killed after {after_ms} ms");
        let cleanup = bed.meshbed(&["cleanup"]).output().unwrap();
        assert!(
            cleanup.status.success(),
            "{when}: {}",
            String::from_utf8_lossy(&cleanup.stderr)
        );
        assert_clean(&bed, &seen, &when);
    }
    assert_eq!(killed, 20);
    assert!(
        with_processes >= 10,
        "{with_processes} of 20 were killed with services up"
    );

    // And a run undoes what another has left, before its own.
    let mut child = bed.begin("left", &[]);
    while started(&bed).len() < 3 {
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let seen = started(&bed);
    assert!(seen.len() >= 3);
    let done = bed.play("next", &[]);
    assert!(matches!(done.code, Some(0 | 5)), "{}", done.said);
    assert!(done.said.contains("left by a killed run"), "{}", done.said);
    assert_clean(&bed, &seen, "after the next run");
}
