//! A `meshbed mirror` of its own, and a shadow that can be stopped.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::peer::{PATIENCE, Peer};
use crate::support::alone;

/// What is to be started.
pub(super) struct Wanted {
    arguments: Vec<String>,
}

/// A running mirror.
pub(super) struct Mirror {
    pub(super) address: SocketAddr,
    child: Owned,
    folder: TempDir,
    bundle: PathBuf,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: thread::JoinHandle<()>,
    _alone: MutexGuard<'static, ()>,
}

/// What a mirror has left.
pub(super) struct Done {
    pub(super) code: Option<i32>,
    pub(super) said: String,
    pub(super) bundle: PathBuf,
    /// Journals that are left.
    pub(super) journals: usize,
    _folder: TempDir,
}

impl Mirror {
    pub(super) fn to(primary: &Peer) -> Wanted {
        Self::at(&primary.address.to_string())
    }

    /// The same for a primary that is anywhere.
    pub(super) fn at(primary: &str) -> Wanted {
        let arguments = ["mirror", "--headless", "--listen", "127.0.0.1:0", "--to"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(primary.to_owned());
        Wanted { arguments }
    }

    /// All that it has said so far.
    pub(super) fn said(&self) -> String {
        self.lines.0.lock().unwrap().join("\n")
    }

    /// Waits until it says this.
    pub(super) fn await_line(&self, text: &str) {
        self.await_count(text, 1);
    }

    /// Waits until so many lines say this.
    pub(super) fn await_count(&self, text: &str, count: usize) {
        let (lines, more) = &*self.lines;
        let (lines, timeout) = more
            .wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| {
                lines.iter().filter(|line| line.contains(text)).count() < count
            })
            .unwrap();
        assert!(!timeout.timed_out(), "never said `{text}`: {lines:?}");
    }

    /// Pairs compared so far, as its last line says.
    pub(super) fn compared(&self) -> u64 {
        let said = self.said();
        let last = said.lines().rev().find(|line| line.contains(" compared"));
        let before = last.unwrap().split(" compared").next().unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(super) fn signal(&self, signal: &str) {
        self.child.signal(signal);
    }

    pub(super) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Stops it politely.
    pub(super) fn stop(self) -> Done {
        self.signal("TERM");
        self.end()
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> Done {
        let code = self.child.0.wait().unwrap().code();
        self.reader.join().unwrap();
        let said = self.lines.0.lock().unwrap().join("\n");
        assert!(!said.contains("panicked"), "{said}");
        let journals = fs::read_dir(self.folder.path().join("state/meshbed"));
        Done {
            code,
            said,
            bundle: self.bundle,
            journals: journals.into_iter().flatten().count(),
            _folder: self.folder,
        }
    }
}

impl Wanted {
    pub(super) fn shadow(self, id: &str, address: SocketAddr) -> Self {
        self.with(&["--shadow", &format!("{id}={address}")])
    }

    pub(super) fn control(self, address: SocketAddr) -> Self {
        self.with(&["--control", &address.to_string()])
    }

    pub(super) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|one| (*one).to_owned()));
        self
    }

    /// Starts it, and waits until it listens.
    pub(super) fn start(self, name: &str) -> Mirror {
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("out").join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshbed"))
            .args(&self.arguments)
            .arg("--out")
            .arg(&bundle)
            .current_dir(folder.path())
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .env("SHADOW_TOKEN", "secret-token")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    lines.0.lock().unwrap().push(line);
                    lines.1.notify_all();
                }
            }
        });
        let mut mirror = Mirror {
            address: "127.0.0.1:0".parse().unwrap(),
            child: Owned(child),
            folder,
            bundle,
            lines,
            reader,
            _alone: alone,
        };
        mirror.await_line("listening at ");
        let said = mirror.said();
        let at = said.split("listening at ").nth(1).unwrap();
        mirror.address = at.split_whitespace().next().unwrap().parse().unwrap();
        mirror
    }
}

impl Done {
    /// `run.json`.
    pub(super) fn run(&self) -> Value {
        let text = fs::read(self.bundle.join("run.json"));
        let text = text.unwrap_or_else(|error| panic!("no run.json ({error}):\n{}", self.said));
        serde_json::from_slice(&text).unwrap()
    }

    /// The events of a kind.
    pub(super) fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.bundle.join("events.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["kind"] == kind)
            .collect()
    }
}

/// A process that does not outlive the test that started it, however that ends.
struct Owned(Child);

impl Owned {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // What was waited for already is left alone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shadow that is a process of its own.
pub(super) struct Shadow {
    pub(super) address: SocketAddr,
    child: Owned,
    _folder: TempDir,
}

/// A proxy that answers by itself.
pub(super) fn shadow_process() -> Shadow {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shadow.yaml");
    fs::write(
        &file,
        format!(
            "static_resources:
  listeners:
  - name: shadow
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: shadow
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              - match: {{ prefix: / }}
                direct_response: {{ status: 200, body: {{ inline_string: '{{\"path\":\"/cart/1\"}}' }} }}
          http_filters:
          - name: router
            typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"
        ),
    )
    .unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(["proxy", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    while std::net::TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    Shadow {
        address,
        child: Owned(child),
        _folder: folder,
    }
}

impl Shadow {
    pub(super) fn signal(&self, signal: &str) {
        self.child.signal(signal);
    }
}

/// The value at this percentile; sorts.
pub(super) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

#[test]
fn a_mirror_that_its_test_has_left_is_gone() {
    let primary = Peer::new(|_| super::peer::json("{}"));
    let mirror = Mirror::to(&primary)
        .shadow("v2", primary.address)
        .start("left");
    let process = format!("/proc/{}", mirror.child.0.id());
    drop(mirror);
    assert!(!std::path::Path::new(&process).exists());
}
