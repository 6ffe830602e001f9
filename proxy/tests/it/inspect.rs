//! What is looked at before a connection's chain is chosen: TLS names, HTTP, PROXY headers; and who is not kept waiting.

use std::{
    io::Read,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use meshbed_proxy::{
    config::{
        Action, Chain, Config, ConnectionLimit, Except, Inspect, Inspector, Late, Listener, Serve,
        TcpProxy,
        access_log::{AccessLog, Line, Target},
    },
    policy::format::Format,
};
use tokio::time::Instant;

use crate::support::{PATIENCE, Running, cluster, config, nobody, service, start};

/// One listener `main` with these inspectors and chains, and clusters.
fn listener(
    inspectors: &[Inspector],
    chains: Vec<Chain>,
    default: Option<Chain>,
    clusters: &[(&str, SocketAddr)],
) -> Config {
    let mut config = config(nobody());
    config.listeners[0] = Listener {
        inspect: Inspect {
            filters: inspectors
                .iter()
                .map(|inspector| (*inspector, Except::Never))
                .collect(),
            timeout: Some(Duration::from_secs(10)),
            late: Late::Close,
        },
        chains,
        default_chain: default,
        ..Listener::tcp("main", config.listeners[0].address, TcpProxy::to("up"))
    };
    config.clusters.extend(
        clusters
            .iter()
            .map(|(name, address)| cluster(name, &[*address])),
    );
    config
}

fn to(cluster: &str) -> Chain {
    Chain::tcp(TcpProxy::to(cluster))
}

fn named(names: &[&str], cluster: &str) -> Chain {
    let mut chain = to(cluster);
    chain.matches.server_names = names.iter().map(|&name| name.to_owned()).collect();
    chain
}

fn answers(body: &str) -> Chain {
    let mut config = config(nobody());
    let mut manager = config.listeners[0].manager_mut().cloned().unwrap();
    manager.virtual_hosts[0].routes[0].action = Action::Respond {
        status: 200,
        body: body.to_owned(),
    };
    Chain::http(manager)
}

/// A service that says its name and hangs up.
fn says(name: &'static str) -> SocketAddr {
    service(move |mut wire| wire.send(name))
}

/// A log to this file.
fn log(path: &std::path::Path, format: &str) -> AccessLog {
    AccessLog {
        target: Target::File(path.to_owned()),
        line: Line::Text {
            format: Format::compile(format).unwrap(),
            unset: "-",
        },
        filter: None,
    }
}

const TLS: Inspector = Inspector::Tls {
    most: Inspector::LONGEST_HELLO,
};

/// A TLS server of openssl's with a certificate of this name, until it is dropped.
struct Openssl(std::process::Child, SocketAddr, tempfile::TempDir);

impl Openssl {
    fn serve(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let path = |file: &str| folder.path().join(file);
        std::fs::write(path("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let address = nobody();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept"])
            .arg(address.to_string())
            .arg("-cert")
            .arg(path("cert.pem"))
            .arg("-key")
            .arg(path("key.pem"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "openssl does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child, address, folder)
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The certificate that openssl's client is shown when it asks for this name.
fn shown(proxy: &Running, name: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-servername", name, "-connect"])
        .arg(proxy.address.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text
        .find("-----BEGIN CERTIFICATE-----")
        .unwrap_or(text.len());
    text[begin..]
        .split_inclusive("-----END CERTIFICATE-----")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn tls_is_passed_on_by_the_name_that_its_client_asks_for() {
    let (one, two) = (Openssl::serve("one.test"), Openssl::serve("two.test"));
    let proxy = start(listener(
        &[TLS],
        vec![named(&["one.test"], "one"), named(&["*.two.test"], "two")],
        None,
        &[("one", one.1), ("two", two.1)],
    ));
    let certificate = |server: &Openssl| {
        let pem = std::fs::read_to_string(server.2.path().join("cert.pem")).unwrap();
        pem.trim().replace('\r', "")
    };
    assert_eq!(shown(&proxy, "one.test"), certificate(&one));
    assert_eq!(shown(&proxy, "ONE.test"), certificate(&one));
    assert_eq!(shown(&proxy, "a.two.test"), certificate(&two));
    assert_eq!(shown(&proxy, "a.b.two.test"), certificate(&two));
    assert_eq!(shown(&proxy, "two.test"), "");
    proxy.await_metric("envoy_listener_no_filter_chain_match", 1);
}

#[test]
fn the_name_that_is_asked_for_may_be_that_of_the_cluster() {
    let one = Openssl::serve("one.test");
    let chain = Chain::tcp(TcpProxy {
        cluster_by_server_name: true,
        ..TcpProxy::to("plain")
    });
    let clusters = [("one.test", one.1), ("plain", says("plain"))];
    let proxy = start(listener(&[TLS], vec![chain], None, &clusters));
    let pem = std::fs::read_to_string(one.2.path().join("cert.pem")).unwrap();
    assert_eq!(shown(&proxy, "one.test"), pem.trim().replace('\r', ""));
    assert_eq!(shown(&proxy, "none.test"), "");
    proxy.await_metric("envoy_tcp_downstream_cx_no_route", 1);
    let mut wire = proxy.connect();
    wire.send("no name");
    assert_eq!(wire.rest(), b"plain");
}

#[test]
fn plain_text_goes_its_own_way_beside_tls() {
    let mut plain = to("plain");
    plain.matches.transport_protocol = Some("raw_buffer".to_owned());
    let proxy = start(listener(
        &[TLS],
        vec![named(&["one.test"], "up"), plain],
        None,
        &[("plain", says("plain"))],
    ));
    let mut wire = proxy.connect();
    wire.send("hello");
    assert_eq!(wire.rest(), b"plain");
}

#[test]
fn http_is_told_from_other_protocols_by_its_first_line() {
    let mut http = answers("http");
    http.matches.application_protocols = vec!["http/1.0".to_owned(), "http/1.1".to_owned()];
    let mut h2c = to("h2c");
    h2c.matches.application_protocols = vec!["h2c".to_owned()];
    let proxy = start(listener(
        &[Inspector::Http],
        vec![http, h2c],
        Some(to("other")),
        &[("h2c", says("h2c")), ("other", says("other"))],
    ));
    assert_eq!(proxy.get("/").body, "http");
    for (first, expected) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"),
        ("HELO a\r\n", "other"),
        ("\u{1}\u{2}", "other"),
    ] {
        let mut wire = proxy.connect();
        wire.send(first);
        assert_eq!(wire.rest(), expected.as_bytes(), "{first:?}");
    }
    // In pieces, with pauses: what has come is not lost, and not looked at for ever.
    let mut wire = proxy.connect();
    for piece in ["G", "ET / HT", "TP/1.1\r\nhost: a\r\n", "\r\n"] {
        wire.send(piece);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(wire.message().unwrap().body, "http");
}

#[test]
fn a_server_that_speaks_first_is_kept_waiting_no_longer_than_allowed() {
    let banner = service(|mut wire| {
        wire.send("220 ready\r\n");
        wire.rest();
    });
    let mut config = listener(
        &[TLS, Inspector::Http],
        vec![to("mail")],
        None,
        &[("mail", banner)],
    );
    config.listeners[0].inspect.timeout = Some(Duration::from_millis(200));
    config.listeners[0].inspect.late = Late::Continue;
    let proxy = start(config.clone());
    let begin = Instant::now();
    assert_eq!(proxy.connect().line(), "220 ready\r\n");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    proxy.await_metric("envoy_listener_downstream_pre_cx_timeout", 1);

    // Without leave to go on, it is closed.
    config.listeners[0].inspect.late = Late::Close;
    assert_eq!(start(config.clone()).connect().rest(), b"");

    // At a declared port nothing is looked at, and nothing is waited for.
    for (_, except) in &mut config.listeners[0].inspect.filters {
        *except = Except::Ports(1, 65536);
    }
    config.listeners[0].inspect.timeout = Some(Duration::from_mins(10));
    assert_eq!(start(config).connect().line(), "220 ready\r\n");
}

#[test]
fn whoever_speaks_first_decides_where_a_silent_connection_goes() {
    let attending = |behind: SocketAddr| {
        let mut http = answers("http");
        http.matches.application_protocols = vec!["http/1.1".to_owned()];
        let inspectors = [TLS, Inspector::Http];
        let mut config = listener(&inspectors, vec![http], Some(to("it")), &[("it", behind)]);
        config.listeners[0].inspect.timeout = Some(Duration::from_millis(50));
        config.listeners[0].inspect.late = Late::Attend;
        start(config)
    };
    let pause = || std::thread::sleep(Duration::from_millis(300));

    let slow_to_greet = attending(service(move |mut wire| {
        pause();
        wire.send("220 ready\r\n");
        wire.rest();
    }));
    assert_eq!(slow_to_greet.connect().line(), "220 ready\r\n");
    slow_to_greet.await_metric("envoy_tcp_downstream_cx_total", 1);

    let waits = attending(service(|mut wire| {
        let line = wire.line();
        wire.send(&line);
    }));
    let mut early = waits.connect();
    pause();
    early.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(early.message().unwrap().body, "http");
    waits.await_metric("envoy_tcp_downstream_cx_total", 0);
    let mut other = waits.connect();
    pause();
    other.send("HELO a\r\n");
    assert_eq!(other.rest(), b"HELO a\r\n");
    waits.await_metric("envoy_tcp_downstream_cx_total", 1);

    // Nobody says anything: the server's end is the client's.
    let gone = attending(service(|_| {}));
    assert_eq!(gone.connect().rest(), b"");
    let refusing = attending(nobody());
    assert_eq!(refusing.connect().rest(), b"");
}

/// Before a server that says nothing either, for clients that are looked at for 20 ms.
fn before_silence(inspector: Inspector, change: impl FnOnce(&mut Chain, &mut TcpProxy)) -> Config {
    let silent = service(|mut wire| {
        wire.rest();
    });
    let mut proxy = TcpProxy::to("it");
    let mut chain = to("it");
    change(&mut chain, &mut proxy);
    chain.serve = Serve::Tcp(proxy.into());
    let mut config = listener(&[inspector], vec![], Some(chain), &[("it", silent)]);
    config.listeners[0].inspect.timeout = Some(Duration::from_millis(20));
    config.listeners[0].inspect.late = Late::Attend;
    config
}

#[test]
fn a_silent_connection_ends_as_its_chain_says() {
    let short = Some(Duration::from_millis(100));
    let idle = start(before_silence(Inspector::Http, |_, proxy| {
        proxy.idle_timeout = short;
    }));
    assert_eq!(idle.connect().rest(), b"");
    idle.await_metric("envoy_tcp_idle_timeout", 1);

    let old = start(before_silence(Inspector::Http, |_, proxy| {
        proxy.max_duration = short;
    }));
    assert_eq!(old.connect().rest(), b"");
    old.await_metric("envoy_tcp_max_downstream_connection_duration", 1);
}

#[test]
fn a_silent_connection_counts_under_its_chains_limit() {
    let proxy = start(before_silence(Inspector::Http, |chain, _| {
        chain.limit = Some(ConnectionLimit {
            stat_prefix: "few".to_owned(),
            most: 1,
            delay: None,
        });
    }));
    let first = proxy.connect();
    proxy.await_metric("envoy_connection_limit_active_connections", 1);
    assert_eq!(proxy.connect().rest(), b"");
    proxy.await_metric("envoy_connection_limit_limited_connections", 1);
    drop(first);
    proxy.await_metric("envoy_connection_limit_active_connections", 0);
}

#[test]
fn a_silent_connection_that_is_refused_when_it_speaks_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let proxy = Inspector::Proxy { optional: false };
    let mut config = before_silence(proxy, |_, _| {});
    config.listeners[0].access_logs = vec![log(&path, "%BYTES_RECEIVED%\n")];
    let proxy = start(config);
    let mut wire = proxy.connect();
    std::thread::sleep(Duration::from_millis(60));
    wire.send("no header\r\n");
    assert_eq!(wire.rest(), b"");
    proxy.await_metric("envoy_listener_downstream_listener_filter_error", 1);
    proxy.handle.shutdown();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
}

#[test]
fn a_proxy_header_tells_who_the_client_is_and_is_taken_off() {
    let mut far = to("far");
    far.matches.sources = vec![meshbed_proxy::policy::cidr::Cidr::new(
        "203.0.113.0".parse().unwrap(),
        24,
    )];
    let echo = service(|wire| {
        let mut first = [0; 5];
        (&wire.tcp).read_exact(&mut first).unwrap();
        std::io::Write::write_all(&mut &wire.tcp, &first).unwrap();
    });
    let chains = || vec![far.clone(), to("near")];
    let clusters = [("far", echo), ("near", says("near"))];
    let proxy = Inspector::Proxy { optional: false };
    let running = start(listener(&[proxy], chains(), None, &clusters));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 7, 10, 0, 0, 1, 0x10, 0, 0, 80]);
    let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4096 80\r\n".to_vec();
    for header in [v1, v2] {
        let mut wire = running.connect();
        wire.send([header, b"hello".to_vec()].concat());
        assert_eq!(wire.rest(), b"hello");
    }
    let mut wire = running.connect();
    wire.send("PROXY TCP4 192.0.2.7 10.0.0.1 4096 80\r\n");
    assert_eq!(wire.rest(), b"near");
    for wrong in ["hello, no header", "PROXY TCP4 nonsense\r\n"] {
        let mut wire = running.connect();
        wire.send(wrong);
        assert_eq!(wire.rest(), b"", "{wrong}");
    }
    running.await_metric("envoy_listener_downstream_listener_filter_error", 2);

    let optional = Inspector::Proxy { optional: true };
    let running = start(listener(&[optional], chains(), None, &clusters));
    let mut wire = running.connect();
    wire.send("hello, no header");
    assert_eq!(wire.rest(), b"near");
}

#[test]
fn a_log_tells_the_client_of_a_proxy_header_from_whoever_sent_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut http = answers("http");
    let Serve::Http(manager) = &mut http.serve else {
        panic!("it is served as HTTP");
    };
    let format = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\n";
    manager.access_logs = vec![log(&path, format)];
    let proxy = Inspector::Proxy { optional: false };
    let running = start(listener(&[proxy], vec![http], None, &[]));
    let mut wire = running.connect();
    wire.send("PROXY TCP4 203.0.113.7 10.0.0.1 4096 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.message().unwrap().body, "http");
    running.handle.shutdown();
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "203.0.113.7:4096 127.0.0.1\n"
    );
}

#[test]
fn a_client_that_leaves_while_it_is_looked_at_costs_nothing() {
    let proxy = start(listener(&[TLS], vec![to("up")], None, &[]));
    for first in ["", "\u{16}\u{3}"] {
        let mut wire = proxy.connect();
        wire.send(first);
        wire.tcp.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(wire.rest(), b"", "{first:?}");
    }
    proxy.await_metric("envoy_listener_downstream_listener_filter_remote_close", 2);
    proxy.await_metric("envoy_listener_downstream_cx_active", 0);
}
