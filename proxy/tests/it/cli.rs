//! The binary: what it says, how it ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// A file for one listener: everything is delayed by 0.4 s, then answered `hi`.
fn file(port: u16) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: hi}}}}}}]}}
          http_filters:
          - name: faults
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, delay: {{fixed_delay: 0.4s, percentage: {{numerator: 100}}}}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("envoy.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn proxy(path: &std::path::Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshbed-proxy"));
    command.arg("--config").arg(path).args(options);
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A proxy that serves, and its address; killed when dropped.
struct Running(Child);

impl Running {
    fn start(path: &std::path::Path) -> (Self, SocketAddr) {
        let mut child = proxy(path, &["--concurrency", "1", "--seed", "7"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "seed 7");
        let line = lines.next().unwrap().unwrap();
        let address = line
            .strip_prefix("main listens on ")
            .unwrap()
            .parse()
            .unwrap();
        (Self(child), address)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_is_validated_without_touching_anything() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = folder.write(&file(taken.local_addr().unwrap().port()));
    let output = proxy(&path, &["--mode", "validate"]).output().unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(0));
    assert!(
        text.ends_with("envoy.yaml: can be used (listeners: 1, clusters: 0)\n"),
        "{text}"
    );
    let quiet = proxy(&path, &["--mode", "validate", "-q"])
        .output()
        .unwrap();
    assert_eq!(said(&quiet), (Some(0), String::new()));
}

#[test]
fn what_cannot_be_used_is_exit_code_2() {
    let folder = Folder::new();
    for (text, expected) in [
        (
            file(0).replace("stat_prefix", "stat_prefiks"),
            "unrecognized field name 'stat_prefiks' at line 10 column 11",
        ),
        (
            file(0).replace(
                "stat_prefix: main",
                "stat_prefix: main\n          add_user_agent: true",
            ),
            "not supported yet: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.add_user_agent at line 11 column 11",
        ),
    ] {
        let output = proxy(&folder.write(&text), &[]).output().unwrap();
        let (code, text) = said(&output);
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.starts_with("error: ") && text.contains(expected),
            "{text}"
        );
    }
    let output = proxy(&folder.0.path().join("none.yaml"), &[])
        .output()
        .unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(2));
    assert!(text.contains("none.yaml: No such file"), "{text}");
    let output = Command::new(env!("CARGO_BIN_EXE_meshbed-proxy"))
        .arg("--what")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_port_in_use_is_exit_code_3() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = folder.write(&file(taken.local_addr().unwrap().port()));
    let output = proxy(&path, &[]).output().unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("listener `main` cannot listen on 127.0.0.1:"),
        "{text}"
    );
}

#[test]
fn a_signal_lets_what_is_under_way_end_and_takes_no_more() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        let (mut running, address) = Running::start(&folder.write(&file(0)));
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        // The request is in its delay when the signal comes.
        thread::sleep(Duration::from_millis(150));
        running.signal(signal);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"),
            "{answer}"
        );
        assert_eq!(running.0.wait().unwrap().code(), Some(0));
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new();
    let path = folder.write(&file(0).replace("0.4s", "60s"));
    let (mut running, address) = Running::start(&path);
    let mut client = TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(150));
    let begin = Instant::now();
    running.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    assert!(running.0.try_wait().unwrap().is_none(), "it drains");
    running.signal(Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}
