//! `meshbed inspect` on captures: the shared corpus where it is there, derived variants, and files that are none.
#![expect(
    clippy::indexing_slicing,
    reason = "JSON that lacks a key gives null, and a wrong index should fail a test loudly"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use meshbed::capture::{
    self, Keep, Options,
    write::{Dialogue, ETHERNET, Writer},
};
use serde_json::Value;

/// Tags and names of rows that need what is not read yet: tunnels and odd links.
const LATER_TAGS: [&str; 8] = [
    "vlan", "gre", "vxlan", "mpls", "teredo", "ppp", "geneve", "gtp",
];
const LATER_NAMES: [&str; 3] = ["zeek/tunnels", "decode-chdlc-01", "snap-tcp"];

/// The folder of the shared corpus; `None`, and a word about it, where it is absent.
fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("MESHBED_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        eprintln!("absent: {}", corpus.display());
        return None;
    }
    Some(corpus)
}

fn meshbed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What `inspect --json` finds: the exchanges and the summary.
fn inspect(path: &Path) -> (Vec<Value>, Value, Output) {
    let output = meshbed(&["inspect", "--json", path.to_str().unwrap()]);
    let mut lines: Vec<Value> = String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = lines
        .pop()
        .map_or(Value::Null, |last| last["summary"].clone());
    (lines, summary, output)
}

fn rows(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Method, host, path, status.
fn asked(e: &Value) -> Value {
    serde_json::json!([e["method"], e["authority"], e["path"], e["status"]])
}

fn has_tag(row: &Value, tag: &str) -> bool {
    row["tags"].as_array().unwrap().iter().any(|t| t == tag)
}

/// Whether a row must agree exactly.
fn is_strict(row: &Value) -> bool {
    let name = row["pcap"].as_str().unwrap();
    row["strict"] == true
        && row["h2"] == 0
        && !LATER_TAGS.iter().any(|tag| has_tag(row, tag))
        && !LATER_NAMES.iter().any(|part| name.contains(part))
}

/// What was reviewed: capture → how many finds (or body lengths) its row does not have. The file gives the reason of each.
fn reviewed(kind: &str) -> BTreeMap<String, usize> {
    include_str!("../fixtures/capture/reviewed.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .inspect(|fields| {
            assert!(
                fields.len() == 4 && fields[3].len() > 10,
                "no reason in {fields:?}"
            );
        })
        .filter(|fields| fields[0] == kind)
        .map(|fields| (fields[2].to_string(), fields[1].parse().unwrap()))
        .collect()
}

/// How often each value occurs, less how often it occurs in the other.
fn beyond(
    found: impl IntoIterator<Item = Value>,
    listed: impl IntoIterator<Item = Value>,
) -> Vec<Value> {
    let mut left: HashMap<String, usize> = HashMap::new();
    for value in listed {
        *left.entry(value.to_string()).or_default() += 1;
    }
    found
        .into_iter()
        .filter(|value| match left.get_mut(&value.to_string()) {
            Some(n) if *n > 0 => {
                *n -= 1;
                false
            }
            _ => true,
        })
        .collect()
}

#[test]
fn strict_rows_of_the_corpus_agree_exactly() {
    let Some(corpus) = corpus() else { return };
    let captures = corpus.join("captures");
    let (mut compared, mut wrong) = (0, Vec::new());
    let mut bodies = BTreeMap::new();
    for row in rows(&captures.join("expected.jsonl"))
        .iter()
        .filter(|row| is_strict(row))
    {
        compared += 1;
        let name = row["pcap"].as_str().unwrap();
        let (mut found, _, output) = inspect(&captures.join(name));
        // The rows are in the order in which requests were complete, not in which they began.
        let detail = row["detail"].as_array().unwrap();
        let mut order: Vec<usize> = (0..found.len()).collect();
        if found.len() == detail.len() {
            let mut free: Vec<usize> = order.clone();
            order = detail
                .iter()
                .map(|d| {
                    let at = free
                        .iter()
                        .position(|i| found[*i]["stream"] == d[1])
                        .unwrap_or(0);
                    free.remove(at)
                })
                .collect();
        }
        found = order.into_iter().map(|i| found[i].clone()).collect();
        let got = Value::Array(found.iter().map(asked).collect());
        if got != row["requests"] || !output.status.success() {
            wrong.push(format!("{name}: got {got}, want {}", row["requests"]));
            continue;
        }
        // What the evader's servers sent is broken on purpose: how long it is, is a matter of taste.
        if has_tag(row, "evader") {
            continue;
        }
        for (e, d) in found.iter().zip(detail) {
            // Where a body is compressed, the rows have no length for it, and say 0.
            let differs = |ours: &Value, theirs: &Value| {
                ours != theirs && !(has_tag(row, "content-encoding") && *theirs == 0)
            };
            if differs(&e["request_body_bytes"], &d[4]) || differs(&e["response_body_bytes"], &d[5])
            {
                *bodies.entry(name.to_string()).or_insert(0) += 1;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {compared} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        bodies,
        reviewed("body"),
        "body lengths that differ, against those reviewed"
    );
    assert!(compared > 400, "only {compared} rows were compared");
    eprintln!("{compared} strict rows agree");
}

#[test]
fn on_other_rows_nothing_is_found_that_nobody_lists() {
    let Some(corpus) = corpus() else { return };
    let captures = corpus.join("captures");
    let (mut looked_at, mut unlisted) = (0, BTreeMap::new());
    let mut text = String::new();
    for row in rows(&captures.join("expected.jsonl"))
        .iter()
        .filter(|row| !is_strict(row))
    {
        looked_at += 1;
        let name = row["pcap"].as_str().unwrap();
        let (found, _, output) = inspect(&captures.join(name));
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "{name}: {output:?}"
        );
        // zeek lists method, path, status (as text).
        let also = ["tshark_only", "zeek_only"]
            .iter()
            .filter_map(|key| row.get(*key)?.as_array())
            .flatten()
            .map(|r| (r[0].clone(), r[1].clone()))
            .collect::<Vec<_>>();
        let extra = beyond(
            found.iter().map(asked),
            row["requests"].as_array().unwrap().clone(),
        );
        let extra: Vec<Value> = extra
            .into_iter()
            .filter(|e| !also.contains(&(e[0].clone(), e[2].clone())))
            .collect();
        if !extra.is_empty() {
            text.push_str(&format!("{name}: {extra:?}\n"));
            unlisted.insert(name.to_string(), extra.len());
        }
    }
    assert_eq!(
        unlisted,
        reviewed("find"),
        "finds that no row lists, against those reviewed:\n{text}"
    );
    assert!(looked_at > 100, "only {looked_at} rows were looked at");
}

#[test]
fn captures_of_our_own_equal_the_logs_of_their_servers() {
    let Some(corpus) = corpus() else { return };
    let made = corpus.join("captures/made");
    let rows = rows(&made.join("expected.jsonl"));
    for name in ["h1_small.pcap", "h1_any_linux_sll2.pcap"] {
        let row = rows
            .iter()
            .find(|r| r["pcap"].as_str().unwrap().ends_with(name))
            .unwrap();
        let want = row["requests"].as_array().unwrap();
        let options = Options {
            keep: Keep::Bodies { max_bytes: 1 << 20 },
        };
        let mut reader = capture::open(&made.join(name), &options).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let found: Vec<Value> = reader
            .by_ref()
            .map(|e| {
                let e = e.unwrap();
                let r = e.response.as_ref().unwrap();
                assert!(
                    e.is_complete() && r.body.is_kept_whole() && e.request.body.is_kept_whole()
                );
                let encoded = r
                    .headers
                    .iter()
                    .any(|h| h.name.eq_ignore_ascii_case(b"content-encoding"));
                // As above: no length is listed for a compressed body, and the headers say which are.
                let length = if encoded { 0 } else { r.body.bytes };
                serde_json::json!([
                    "h1",
                    e.stream,
                    null,
                    e.request.method,
                    text(&e.request.authority),
                    text(&e.request.target),
                    r.status,
                    e.request.body.bytes,
                    length,
                    null
                ])
            })
            .collect();
        assert!(found.len() > 100, "{name}");
        assert_eq!(
            beyond(found.clone(), want.clone()),
            Vec::<Value>::new(),
            "{name}: more"
        );
        assert_eq!(
            beyond(want.clone(), found),
            Vec::<Value>::new(),
            "{name}: less"
        );
        let s = reader.summary();
        assert_eq!(
            s.skipped.keys().copied().collect::<Vec<_>>(),
            ["upgraded"],
            "{name}: {s:?}"
        );
    }
    // What is not read yet is counted, and nothing of it is made up.
    for (name, reason) in [("tls_mixed.pcap", "tls"), ("grpc_small.pcap", "http2")] {
        let (found, summary, output) = inspect(&made.join(name));
        assert!(found.is_empty() && output.status.success(), "{name}");
        assert!(
            summary["skipped"][reason].as_u64().unwrap() > 5,
            "{name}: {summary}"
        );
    }
}

/// What an exchange is, whatever the wire did to it: stream, time and endpoints aside.
fn essence(e: &capture::Exchange) -> String {
    let response = e.response.as_ref().map(|r| {
        (
            r.status,
            r.body.clone(),
            r.headers.clone(),
            r.trailers.clone(),
        )
    });
    let r = &e.request;
    format!(
        "{:?}",
        (
            &r.method,
            &r.target,
            &r.authority,
            &r.headers,
            &r.body,
            &r.trailers,
            &e.interim,
            response
        )
    )
}

#[test]
fn whatever_the_wire_did_the_requests_are_the_same() {
    let Some(corpus) = corpus() else { return };
    let base = corpus.join("captures/made/h1_small.pcap");
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("python3")
        .arg(corpus.join("generators/variants.py"))
        .arg(&base)
        .arg(folder.path())
        .status()
        .expect("python3 makes the variants");
    assert!(made.success());
    let read = |path: &Path| {
        let mut reader = capture::open(
            path,
            &Options {
                keep: Keep::Bodies { max_bytes: 1 << 20 },
            },
        )
        .unwrap();
        let found: Vec<capture::Exchange> = reader.by_ref().map(Result::unwrap).collect();
        let p = reader.summary().payload;
        assert_eq!(
            p.used + p.duplicate + p.unused,
            p.total,
            "{}: {p:?}",
            path.display()
        );
        (found, reader.summary().clone())
    };
    let want: Vec<String> = read(&base).0.iter().map(essence).collect();
    let later = reviewed("variant");
    let (mut same, mut lossy, mut not_yet) = (0, 0, 0);
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let name = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .split('.')
            .nth(1)
            .unwrap()
            .to_string();
        let (found, summary) = read(&path);
        let essences: Vec<String> = found.iter().map(essence).collect();
        let text = |all: &[String]| all.iter().cloned().map(Value::String).collect::<Vec<_>>();
        match name.as_str() {
            "portreuse" => {
                let twice = [want.clone(), want.clone()].concat();
                assert!(
                    beyond(text(&essences), text(&twice)).is_empty()
                        && essences.len() == twice.len()
                );
            }
            "gap1" | "gap5" | "midstream" | "cutend" | "snap96" | "oneway" => {
                lossy += 1;
                let whole = found
                    .iter()
                    .filter(|e| e.is_complete())
                    .map(essence)
                    .map(Value::String);
                assert_eq!(
                    beyond(whole, text(&want)),
                    Vec::<Value>::new(),
                    "{name} invents"
                );
                let lines = |e: &capture::Exchange| {
                    Value::String(format!("{} {:?}", e.request.method, e.request.target))
                };
                let known = read(&base).0;
                assert_eq!(
                    beyond(found.iter().map(lines), known.iter().map(lines)),
                    Vec::<Value>::new(),
                    "{name}"
                );
                // A capture that ends early lacks nothing that it knows of.
                assert!(
                    name == "cutend" || !summary.skipped.is_empty(),
                    "{name} explains nothing"
                );
                assert!(
                    name == "snap96" || found.len() > 100,
                    "{name} finds {}",
                    found.len()
                );
            }
            name if later.contains_key(name) => {
                not_yet += 1;
                assert_ne!(essences, want, "{name} works: take it off the list");
            }
            _ => {
                same += 1;
                assert!(
                    beyond(text(&essences), text(&want)).is_empty(),
                    "{name}: more"
                );
                assert!(
                    beyond(text(&want), text(&essences)).is_empty(),
                    "{name}: less"
                );
            }
        }
    }
    assert_eq!((same + not_yet, lossy, not_yet), (33, 6, later.len()));
}

/// A small sound capture: one exchange.
fn sound() -> Vec<u8> {
    let mut d = Dialogue::open(
        "10.0.0.1:4000".parse().unwrap(),
        "10.0.0.2:80".parse().unwrap(),
        1_000_000_000,
    );
    d.ask(1_001_000_000, b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n");
    d.answer(
        1_002_000_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    d.close(1_003_000_000);
    let mut writer = Writer::new(Vec::new(), ETHERNET).unwrap();
    d.write(&d.packets, &mut writer).unwrap();
    writer.into_inner()
}

#[test]
fn what_is_no_sound_capture_is_a_clear_error() {
    let whole = sound();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&whole).unwrap();
    let gz = gz.finish().unwrap();
    let cases: [(&str, Vec<u8>, usize, &str); 6] = [
        (
            "empty",
            vec![],
            0,
            "is empty, a capture has at least a header",
        ),
        (
            "text",
            b"# captures\n".to_vec(),
            0,
            "is no capture: it begins with 23 20 63 61 70 74 75 72 65 73 0a",
        ),
        (
            "header cut",
            whole[..20].to_vec(),
            0,
            "is cut short: the pcap file header at offset 0 needs 24 bytes, 20 are there",
        ),
        (
            "last packet cut",
            whole[..whole.len() - 3].to_vec(),
            1,
            "is cut short: the packet at offset",
        ),
        ("gzip cut", gz[..gz.len() - 12].to_vec(), 0, "cannot read"),
        (
            "damaged",
            [&whole[..24], &[0xff; 64]].concat(),
            0,
            "is damaged at offset 24: a packet of 4294967295 bytes",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, exchanges, message) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = meshbed(&["inspect", "--json", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains(message) && said.contains(name),
            "{name}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        let found = String::from_utf8(output.stdout).unwrap();
        // What stands before the damage is listed all the same.
        assert!(
            found
                .lines()
                .filter(|l| l.starts_with("{\"stream\""))
                .count()
                >= exchanges,
            "{name}: {found}"
        );
    }
    let output = meshbed(&["inspect", "no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot open the capture `no/such/file`: No such file")
    );
}

#[test]
fn a_key_log_is_refused_by_name() {
    let output = meshbed(&["inspect", "--json", "x.pcap", "--keylog", "keys"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: not supported yet: TLS key logs (`--keylog`)\n"
    );
}

#[test]
fn people_get_a_table_and_the_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.pcap");
    fs::write(&path, sound()).unwrap();
    let output = meshbed(&["inspect", path.to_str().unwrap()]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("GET     shop"), "{text}");
    assert!(
        text.contains("8 packets, 1 TCP streams, 1 requests, 1 responses"),
        "{text}"
    );
    assert!(
        text.contains("TCP payload: 74 bytes = 74 used + 0 duplicate + 0 not used; 0 missing"),
        "{text}"
    );
}

/// Whether this process may capture: bit 13 of its effective capabilities is `CAP_NET_RAW`.
#[cfg(feature = "live")]
fn may_capture() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let hex = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .unwrap()
        .trim();
    u64::from_str_radix(hex, 16).unwrap() >> 13 & 1 == 1
}

/// A child that does not outlive its test.
#[cfg(feature = "live")]
struct Child(std::process::Child);

#[cfg(feature = "live")]
impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(feature = "live")]
#[test]
fn what_is_said_on_loopback_is_recorded_until_interrupted() {
    use std::{
        io::{BufRead as _, BufReader, Read as _},
        net::{TcpListener, TcpStream},
        process::Stdio,
    };

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lo.pcap");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let filter = format!("tcp port {}", address.port());
    let child = Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args([
            "record",
            "-i",
            "lo",
            "-f",
            &filter,
            "-w",
            path.to_str().unwrap(),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Child(child);
    let mut said = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    if !may_capture() {
        assert!(
            line.starts_with("error: cannot capture on `lo`; it takes root"),
            "{line}"
        );
        assert_eq!(child.0.wait().unwrap().code(), Some(3));
        return;
    }
    assert!(line.starts_with("recording lo into "), "{line}");
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut asked = [0; 38];
        stream.read_exact(&mut asked).unwrap();
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
    });
    let mut client = TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET /recorded HTTP/1.1\r\nHost: here\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    drop(client);
    serve.join().unwrap();
    // The recorder flushes when the line is quiet; then the answer is in the file.
    let complete = || inspect(&path).0.first().is_some_and(|e| e["status"] == 204);
    let mut tries = 0;
    while !complete() {
        tries += 1;
        assert!(tries < 400, "nothing was recorded in 20 s");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains(" packets, ") && rest.contains("dropped: 0 by the kernel"),
        "{rest}"
    );
    let (found, summary, _) = inspect(&path);
    assert_eq!(
        asked(&found[0]),
        serde_json::json!(["GET", "here", "/recorded", 204])
    );
    assert_eq!(
        (found.len(), &summary["streams"]),
        (1, &serde_json::json!(1))
    );
}

#[cfg(feature = "live")]
#[test]
fn what_cannot_be_recorded_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcap");
    let file = path.to_str().unwrap();
    let output = meshbed(&["record", "-i", "nosuch0", "-w", file]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    if !may_capture() {
        assert!(said.starts_with("error: "), "{said}");
        return;
    }
    assert!(
        said.starts_with("error: there is no interface `nosuch0` (there are: "),
        "{said}"
    );
    let output = meshbed(&["record", "-i", "lo", "-f", "tcp prt 80", "-w", file]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: `tcp prt 80` is no filter of pcap-filter(7): "),
        "{said}"
    );
    let output = meshbed(&["record", "-i", "lo", "-w", "/no/such/folder/x.pcap"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!path.exists(), "a refused recording leaves no file");
}
