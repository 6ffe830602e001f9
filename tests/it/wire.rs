//! `meshbed mirror --tap` and `--intercept` in network namespaces of their own: this machine's packets and rules are not
//! touched. It takes root, `ip` and `nft`; without them the tests say so, loudly, and are not run.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use self::{
    net::{Net, Space},
    peer::{Client, Server, Style},
};
use super::support::Bed;

mod net;
mod peer;

/// The port of the service in its namespace.
const PORT: u16 = 8080;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mirror that runs in a namespace.
struct Mirror {
    child: Child,
    said: mpsc::Receiver<String>,
    heard: String,
}

impl Mirror {
    /// Starts it, and waits until it says that it is at work.
    fn start(bed: &Bed, space: &Space, way: &[&str], shadow: u16) -> Self {
        Self::to(bed, space, way, &format!("127.0.0.1:{shadow}"))
    }

    /// The same with a shadow anywhere.
    fn to(bed: &Bed, space: &Space, way: &[&str], shadow: &str) -> Self {
        let mut arguments = vec!["mirror", "--headless", "--out", "out/mirror"];
        arguments.extend(["--shadow", shadow, "--workers", "1"]);
        arguments.extend(way);
        let mut command = bed.meshbed(&arguments);
        let mut child = space.within(|| command.spawn().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut this = Self {
            child,
            said,
            heard: String::new(),
        };
        this.hear("port 8080");
        this
    }

    /// Waits for a line that contains this.
    fn hear(&mut self, what: &str) {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never said `{what}`:\n{}", self.heard));
            self.heard.push_str(&line);
            self.heard.push('\n');
            if line.contains(what) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end: exit code and all that it said.
    fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        (status.code(), self.heard)
    }

    /// Its own children: the `nft` that waits.
    fn children(&self) -> Vec<String> {
        let pid = self.child.id();
        let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        listed
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
}

fn run(bed: &Bed) -> Value {
    let bytes = std::fs::read(bed.path().join("out/mirror/run.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Clients that ask all the time, on the machine and from outside, each request on a connection of its own or as many on
/// one as the server lets. Every request must be answered.
struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<u64>>,
}

impl Crowd {
    fn start(net: &Net) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        let places = [
            (&net.inner, "127.0.0.1"),
            (&net.inner, "::1"),
            (&net.outer, net::INNER),
        ];
        for (space, host) in places {
            for keeps in [true, false] {
                let stop = Arc::clone(&stop);
                clients.push(space.spawn(move || {
                    let mut client = Client::new(host, PORT);
                    let mut asked = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client.get("/crowd");
                        assert!(answer.ends_with("primary"), "{answer}");
                        if !keeps {
                            client.close();
                        }
                        asked += 1;
                        thread::sleep(Duration::from_millis(3));
                    }
                    asked
                }));
            }
        }
        Self { stop, clients }
    }

    /// How many requests were answered: all.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    }
}

#[test]
fn a_port_is_taken_over_and_given_back_and_no_connection_is_dropped() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let primary = Server::start(&net.inner, "::", PORT, "primary", Style::Plain);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Plain);
    let crowd = Crowd::start(&net);
    // One that is in the middle of its request when the port is taken.
    let mut before = net.outer.within(|| Client::new(net::INNER, PORT));
    net.outer.within(|| before.begin("/before"));
    until("it is at the primary", || primary.connections() > 2);

    let mut mirror = Mirror::start(&bed, &net.inner, &["--intercept", "8080"], shadow.port());
    assert!(net.tables().contains("meshbed_"), "{}", net.tables());
    until("copies come", || shadow.requests() > 20);
    assert!(before.finish().ends_with("primary"));
    let direct = primary.requests_of(before.local());
    assert_eq!(direct, 1, "it went on where it was");
    // Nobody reaches our listener but by way of the port.
    let ours = net.redirected_to();
    let refused = net.outer.within(|| TcpStream::connect((net::INNER, ours)));
    assert!(refused.is_err());
    // One that has asked, and asks again when the port has been given back; one that waits for its answer meanwhile.
    let mut idle = net.outer.within(|| Client::new(net::INNER, PORT));
    assert!(idle.get("/idle").ends_with("primary"));
    let slow = net
        .outer
        .spawn(|| Client::new(net::INNER, PORT).get("/slow"));
    until("it waits", || primary.has_seen("/slow"));

    mirror.signal("-INT");
    mirror.hear("waiting for what is under way");
    until("new connections go to the primary", || {
        !net.rules().contains("redirect")
    });
    assert!(net.tables().contains("meshbed_"), "the chains stay");
    let again = idle.get("/again");
    assert!(
        again.ends_with("primary") && again.contains("connection: close"),
        "{again}"
    );
    assert!(slow.join().unwrap().ends_with("primary"));
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("break now"), "{said}");
    assert_eq!(net.tables(), "");
    assert_eq!(bed.journals(), Vec::<std::path::PathBuf>::new());

    thread::sleep(Duration::from_millis(200));
    let answered = crowd.stop();
    let run = run(&bed);
    let mirrored = run["shadows"][0]["compared"].as_u64().unwrap();
    assert_eq!(run["shadows"][0]["chosen"], mirrored, "{run}");
    assert_eq!(shadow.requests(), mirrored);
    assert_eq!(run["counts"][0]["requests"], mirrored);
    assert_eq!(run["counts"][0]["errors"], 0);
    // Each of the crowd, and those four, once.
    assert_eq!(primary.requests(), answered + 4);
    assert!(
        mirrored > 20 && mirrored < answered,
        "{mirrored} of {answered}"
    );
}

#[test]
fn a_client_that_connects_long_before_it_asks_is_mirrored() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let primary = Server::start(&net.inner, "0.0.0.0", PORT, "primary", Style::Plain);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Plain);
    let mut mirror = Mirror::start(&bed, &net.inner, &["--intercept", "8080"], shadow.port());
    let before = primary.connections();
    let mut early = net.outer.within(|| Client::new(net::INNER, PORT));
    until("the primary is asked whether it speaks first", || {
        primary.connections() > before
    });
    thread::sleep(Duration::from_millis(500));
    for _ in 0..3 {
        assert!(early.get("/early").ends_with("primary"));
    }
    until("copies come", || shadow.requests() == 3);
    // One that asks nothing, and leaves.
    net.outer.within(|| drop(Client::new(net::INNER, PORT)));
    early.close();
    mirror.signal("-INT");
    mirror.hear("waiting");
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("passed on unread"), "{said}");
    assert_eq!(run(&bed)["shadows"][0]["compared"], 3);
    assert_eq!(primary.requests(), 3);
}

#[test]
fn what_is_no_http_is_passed_on_unread() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    // It greets before it is asked, and then says again what it hears.
    let _primary = Server::start(&net.inner, "0.0.0.0", PORT, "hello", Style::Echo);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Plain);
    let way = ["--intercept", "8080", "--leave-within", "1s"];
    let mut mirror = Mirror::start(&bed, &net.inner, &way, shadow.port());
    let talk = |bytes: &'static [u8]| {
        let mut tcp = TcpStream::connect((net::INNER, PORT)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(bytes).unwrap();
        let mut heard = vec![0; 5 + bytes.len()];
        tcp.read_exact(&mut heard).unwrap();
        assert_eq!(&heard[5..], bytes);
        tcp
    };
    // The beginning of a TLS handshake, a line of another protocol, and nothing.
    let tls = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";
    let open: Vec<TcpStream> = [&tls[..], b"EHLO there\n", b""]
        .map(|bytes| net.outer.within(|| talk(bytes)))
        .into();
    mirror.signal("-INT");
    mirror.hear("waiting");
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("passed on unread: 3"), "{said}");
    // They have not ended by themselves within a second.
    assert!(said.contains("break now: 3"), "{said}");
    assert_eq!((shadow.requests(), net.tables()), (0, String::new()));
    drop(open);
}

#[test]
fn a_killed_take_over_is_undone_at_once_and_by_cleanup() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let _primary = Server::start(&net.inner, "127.0.0.1", PORT, "primary", Style::Plain);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Plain);
    let ask = || net.inner.within(|| Client::try_get("127.0.0.1", PORT, "/"));

    // What waits for our death removes the table.
    let mirror = Mirror::start(&bed, &net.inner, &["--intercept", "8080"], shadow.port());
    // What is not reached from outside is not by way of us.
    let from_outside = || Client::try_get(net::INNER, PORT, "/");
    assert_eq!(net.outer.within(from_outside), None);
    assert!(ask().is_some());
    mirror.signal("-KILL");
    mirror.wait();
    until("the table is gone", || net.tables().is_empty());
    assert!(ask().is_some());

    // Where that is killed too, the port is dead until somebody cleans up: here, from outside the namespace.
    let mirror = Mirror::start(&bed, &net.inner, &["--intercept", "8080"], shadow.port());
    let children = mirror.children();
    assert_eq!(children.len(), 1);
    assert!(
        Command::new("kill")
            .arg("-KILL")
            .args(&children)
            .status()
            .unwrap()
            .success()
    );
    mirror.signal("-KILL");
    mirror.wait();
    assert!(net.tables().contains("meshbed_"));
    assert_eq!(ask(), None);
    let mut cleanup = bed.meshbed(&["cleanup"]).spawn().unwrap();
    let mut said = String::new();
    cleanup
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(cleanup.wait().unwrap().success(), "{said}");
    assert!(said.contains("table"), "{said}");
    assert_eq!(net.tables(), "");
    assert!(ask().is_some());
    assert_eq!(bed.journals(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_missing_for_a_take_over_is_named() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let try_it = |prepare: &dyn Fn(&mut Command)| {
        let arguments = ["mirror", "--intercept", "8080", "--shadow", "127.0.0.1:1"];
        let mut command = bed.meshbed(&arguments);
        prepare(command.stdout(Stdio::null()));
        let output = net.inner.within(|| command.output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        said
    };
    assert!(try_it(&|_| {}).contains("nobody listens on port 8080"));
    let nowhere = bed.path().display().to_string();
    let said = try_it(&|command| {
        command.env("PATH", &nowhere);
    });
    assert!(said.contains("install the package `nftables`"), "{said}");
    assert_eq!(net.tables(), "");
}

#[test]
fn what_passes_on_the_wire_is_mirrored_and_the_primary_is_not_touched() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let primary = Server::start(&net.inner, "127.0.0.1", PORT, "primary", Style::Json);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Json);
    let control = Server::start(&net.inner, "127.0.0.1", 0, "primary", Style::Json);
    // Open before anybody listens.
    let mut early = net.inner.within(|| Client::new("127.0.0.1", PORT));
    net.inner.within(|| early.get("/cart/0"));
    let control = format!("127.0.0.1:{}", control.port());
    let way = ["--tap", "lo", "--port", "8080", "--control", &control];
    let mut mirror = Mirror::start(&bed, &net.inner, &way, shadow.port());
    net.inner.within(|| {
        let mut late = Client::new("127.0.0.1", PORT);
        for number in 1..=100 {
            early.get(&format!("/cart/{number}"));
            late.get(&format!("/cart/{number}"));
        }
        late.send("POST", "/cart/7", "card=1");
        late.send("HEAD", "/cart/8", "");
    });
    until("copies come", || shadow.requests() >= 201);
    mirror.signal("-INT");
    mirror.hear("waiting");
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((primary.connections(), primary.requests()), (2, 203));

    let first = std::fs::read_to_string(bed.path().join("out/mirror/events.jsonl")).unwrap();
    assert!(first.contains(r#""first":"primary""#) && !first.contains(r#""first":"shadow""#));
    let run = run(&bed);
    assert_eq!(run["counts"][0]["requests"], 202, "{said}");
    assert_eq!(run["latency"][0]["n"], 202);
    for side in run["shadows"].as_array().unwrap() {
        let is = |what: &str, count: u64| assert_eq!(side[what], count, "{side}");
        is("chosen", 202);
        is("compared", 201);
        // What may change something is not copied.
        assert_eq!(side["skipped"]["unsafe"], 1, "{side}");
    }
    let diffs = &run["diffs"]["candidate"];
    let material: Vec<&str> = diffs["fields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|field| field["class"] == "material")
        .map(|field| field["path"].as_str().unwrap())
        .collect();
    assert_eq!(material, ["$.name"], "{diffs}");
    // What the shadow is asked is what the primary was asked, and nothing of ours.
    assert!(shadow.has_seen("/cart/100") && !shadow.has_seen("x-meshbed"));
    assert!(said.contains("exchanges seen"), "{said}");
}

#[test]
fn a_shadow_of_the_same_port_is_not_taken_for_the_primary() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let primary = Server::start(&net.inner, "127.0.0.1", PORT, "primary", Style::Json);
    let shadow = Server::start(&net.inner, "127.0.0.2", PORT, "shadow", Style::Json);
    let way = ["--tap", "any", "--port", "8080"];
    let mut mirror = Mirror::to(&bed, &net.inner, &way, "127.0.0.2:8080");
    net.inner.within(|| {
        let mut client = Client::new("127.0.0.1", PORT);
        for number in 0..20 {
            client.get(&format!("/cart/{number}"));
        }
    });
    until("copies come", || shadow.requests() >= 20);
    mirror.signal("-INT");
    mirror.hear("waiting");
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((primary.requests(), shadow.requests()), (20, 20));
    assert_eq!(run(&bed)["counts"][0]["requests"], 20);
}

#[test]
fn what_the_tap_cannot_mirror_is_counted_by_reason() {
    let Some(net) = Net::new() else { return };
    let bed = Bed::with("");
    let _primary = Server::start(&net.inner, "127.0.0.1", PORT, "primary", Style::Json);
    let shadow = Server::start(&net.inner, "127.0.0.1", 0, "shadow", Style::Json);
    let way = [
        "--tap",
        "lo",
        "--port",
        "8080",
        "--unsafe",
        "allow",
        "--request-body",
        "1KiB",
    ];
    let mut mirror = Mirror::start(&bed, &net.inner, &way, shadow.port());
    net.inner.within(|| {
        let mut client = Client::new("127.0.0.1", PORT);
        client.send("POST", "/small", "x");
        client.send("POST", "/large", &"x".repeat(2_000));
        client.send("GET", "/broken", "");
        let mut last = Client::new("127.0.0.1", PORT);
        last.get("/last");
    });
    until("copies come", || shadow.has_seen("/last"));
    mirror.signal("-INT");
    mirror.hear("waiting");
    let (code, said) = mirror.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("request_body 1"), "{said}");
    assert!(said.contains("answer_cut 1"), "{said}");
    assert!(shadow.has_seen("/small") && !shadow.has_seen("/large"));
    let run = run(&bed);
    assert_eq!(run["counts"][0]["requests"], 4);
    assert_eq!(run["shadows"][0]["compared"], 2);
}
