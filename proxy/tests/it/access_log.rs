//! Access logs: one line a request in a real file, whatever became of it.

use std::{fs, path::PathBuf, thread, time::Duration};

use meshbed_proxy::{
    config::{
        AccessLog, Action, Config,
        access_log::{Compare, Comparison, Filter, Line, Target},
    },
    policy::{
        format::Format,
        matcher::{How, Named, Text},
        retry::{On, Policy},
    },
};

use crate::support::{self, Running, Wire, config, echo, nobody, once, start, start_with};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A log of lines in this format.
    fn log(&self, name: &str, format: &str) -> AccessLog {
        AccessLog {
            target: Target::File(self.file(name)),
            line: Line::Text {
                format: Format::compile(format).unwrap(),
                unset: "-",
            },
            filter: None,
        }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(name)).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn logged(mut config: Config, logs: Vec<AccessLog>) -> Running {
    config.listeners[0].manager_mut().unwrap().access_logs = logs;
    start(config)
}

#[test]
fn a_line_tells_of_request_answer_and_upstream() {
    let folder = Folder::new();
    let format = "%REQ(:METHOD)% %REQ(:PATH)% %REQ(x-a?x-b)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% \
                  %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %RESP(x-c)% %REQ(:AUTHORITY)% \
                  %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME% \
                  %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_PROTOCOL% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%\n";
    let up = once("HTTP/1.1 201 Created\r\nx-c: d\r\ncontent-length: 3\r\n\r\nabc");
    let running = logged(config(up), vec![folder.log("log", format)]);
    let mut wire = running.connect();
    wire.send("POST /p?q HTTP/1.1\r\nhost: shop.test\r\nx-b: b\r\ncontent-length: 5\r\n\r\n12345");
    assert_eq!(wire.message().unwrap().status(), 201);
    let address = running.address;
    running.handle.shutdown();
    assert_eq!(
        folder.lines("log"),
        [format!(
            "POST /p?q b HTTP/1.1 201 - via_upstream 5 3 d shop.test {up} up 1 / {address} HTTP/1.1 127.0.0.1"
        )]
    );
}

#[test]
fn what_was_spoken_where_is_told_of_upstreams_that_did_not_answer_too() {
    let folder = Folder::new();
    let format = "%RESPONSE_CODE% %UPSTREAM_PROTOCOL% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOSTS_ATTEMPTED%\n";
    let up = support::service(|mut wire| {
        wire.message();
        thread::sleep(Duration::from_millis(400));
    });
    let mut config = config(up);
    let forward = support::forward(&mut config);
    forward.timeout = Some(Duration::from_millis(250));
    forward.tries.retry = Some(Policy {
        on: On::parse("5xx"),
        retries: 3,
        per_try_timeout: Some(Duration::from_millis(50)),
        ..Policy::default()
    });
    let running = logged(config, vec![folder.log("log", format)]);
    assert_eq!(running.get("/").status(), 504);
    running.handle.shutdown();
    // The endpoint was tried more than once.
    let line = format!("504 HTTP/1.1 127.0.0.1 {up}");
    assert_eq!(folder.lines("log"), [line]);
}

#[test]
fn answers_of_our_own_and_vanished_clients_have_a_line_each() {
    let folder = Folder::new();
    let format = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_HOST%\n";
    let log = || vec![folder.log("log", format)];
    let running = logged(config(nobody()), log());
    assert_eq!(running.get("/refused").status(), 503);
    running.handle.shutdown();

    let mut nowhere = config(nobody());
    nowhere.listeners[0].manager_mut().unwrap().virtual_hosts[0].domains =
        vec!["other.test".to_owned()];
    let running = logged(nowhere, log());
    assert_eq!(running.get("/lost").status(), 404);
    running.handle.shutdown();

    let mut direct = config(nobody());
    direct.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action =
        Action::Respond {
            status: 299,
            body: "hello".to_owned(),
        };
    let running = logged(direct, log());
    assert_eq!(running.get("/direct").status(), 299);
    running.handle.shutdown();

    let up = support::service(|mut wire: Wire| {
        wire.message();
        // Until the proxy has gone.
        wire.rest();
    });
    let running = logged(config(up), log());
    let mut wire = running.connect();
    wire.send("GET /left HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    running.await_metric("envoy_cluster_upstream_rq_total", 1);
    drop(wire);
    running.await_metric("envoy_http_downstream_rq_rx_reset", 1);
    running.handle.shutdown();

    let expected = [
        "/refused 503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} 98 up delayed_connect_error:_Connection_refused ",
        "/lost 404 NR route_not_found 0 - - -",
        "/direct 299 - direct_response 5 - - -",
        "/left 0 DC downstream_remote_disconnect 0 up - ",
    ];
    let lines = folder.lines("log");
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn filters_choose_the_requests_of_each_log() {
    let folder = Folder::new();
    let filtered = |name: &str, filter| AccessLog {
        filter: Some(filter),
        ..folder.log(name, "%REQ(:PATH)%\n")
    };
    let at_least = |value| {
        Filter::Status(Comparison {
            how: Compare::AtLeast,
            value,
        })
    };
    let with_header = |name: &str, value: &str| {
        Filter::Header(Named {
            name: name.to_owned(),
            value: Some(Text {
                how: How::Prefix(value.to_owned()),
                ignore_case: false,
            }),
            invert: false,
            absent_as: None,
        })
    };
    let logs = vec![
        folder.log("all", "%REQ(:PATH)%\n"),
        filtered("failed", at_least(500)),
        filtered("flagged", Filter::Flags(Vec::new())),
        filtered("refused", Filter::Flags(vec!["UF".to_owned()])),
        filtered("path", with_header(":path", "/a")),
        filtered(
            "either",
            Filter::Any(vec![with_header("x-log", "y"), with_header(":path", "/c")]),
        ),
        filtered(
            "both",
            Filter::All(vec![with_header("x-log", "y"), at_least(500)]),
        ),
        filtered("traced", Filter::Traceable),
        filtered("checked", Filter::NotHealthCheck),
        filtered(
            "share",
            Filter::Share {
                numerator: 50,
                denominator: 100,
                independent: false,
            },
        ),
    ];
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0]
        .routes
        .insert(
            0,
            support::route("/b", meshbed_proxy::config::Forward::to("gone")),
        );
    config.clusters.push(support::cluster("gone", &[nobody()]));
    let running = logged(config, logs);
    // 0x31 is 49 and 0x32 is 50: what is left of it by 100 is held against 50.
    for (path, id) in [
        ("/a", "00000031-"),
        ("/b", "00000032-"),
        ("/c", "00000096-"),
    ] {
        let mut wire = running.connect();
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\nx-log: y{path}\r\n\r\n"
        ));
        wire.message().unwrap();
    }
    running.handle.shutdown();
    for (name, expected) in [
        ("all", &["/a", "/b", "/c"][..]),
        ("failed", &["/b"]),
        ("flagged", &["/b"]),
        ("refused", &["/b"]),
        ("path", &["/a"]),
        ("either", &["/a", "/b", "/c"]),
        ("both", &["/b"]),
        ("traced", &[]),
        ("checked", &["/a", "/b", "/c"]),
        // 0x96 is 150.
        ("share", &["/a"]),
    ] {
        assert_eq!(folder.lines(name), expected, "{name}");
    }
}

#[test]
fn all_event_loops_write_one_file_and_no_line_is_lost() {
    let folder = Folder::new();
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().access_logs =
        vec![folder.log("log", "%REQ(:PATH)%\n")];
    let running = start_with(config, 2);
    thread::scope(|scope| {
        for client in 0..8 {
            let running = &running;
            scope.spawn(move || {
                let mut wire = running.connect();
                for request in 0..50 {
                    wire.send(format!(
                        "GET /{client}/{request} HTTP/1.1\r\nhost: a\r\n\r\n"
                    ));
                    wire.message().unwrap();
                }
            });
        }
    });
    running.handle.shutdown();
    let mut lines = folder.lines("log");
    assert_eq!(lines.len(), 400);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 400);
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_configuration() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().access_logs =
        vec![AccessLog::to_file("/nonexistent/log")];
    let error = meshbed_proxy::app::Proxy::start(config, meshbed_proxy::app::Deps::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "listeners[0].chains[0].http.access_logs[0]: `/nonexistent/log` cannot be opened"
        ),
        "{error}"
    );
}

#[test]
fn durations_tell_when_the_request_was_whole_and_the_answer_began() {
    const PAUSE: Duration = Duration::from_millis(200);
    // A busy machine reads late what was sent in time.
    const LEAST: u64 = 50;
    let folder = Folder::new();
    let format = "%REQUEST_DURATION% %RESPONSE_DURATION% %DURATION% %RESPONSE_TX_DURATION%\n";
    let up = support::service(|mut wire: Wire| {
        wire.message();
        thread::sleep(PAUSE);
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na");
        thread::sleep(PAUSE);
        wire.send("b");
    });
    let running = logged(config(up), vec![folder.log("log", format)]);
    let mut wire = running.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1");
    thread::sleep(PAUSE);
    wire.send("2");
    assert_eq!(wire.message().unwrap().body, "ab");
    running.handle.shutdown();
    let lines = folder.lines("log");
    let millis: Vec<u64> = lines[0].split(' ').map(|it| it.parse().unwrap()).collect();
    let [request, answer, all, sent] = millis[..] else {
        panic!("{millis:?}");
    };
    assert!(
        request >= LEAST && answer >= request + LEAST && all >= answer + LEAST,
        "{millis:?}"
    );
    // Each is rounded down.
    assert!(sent.abs_diff(all - answer) <= 1, "{millis:?}");
}
