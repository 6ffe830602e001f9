//! TLS on both sides of a proxy: raw clients, `openssl s_client` and `curl`.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::config::{
    Action, ClientCert, Config, ForwardClientCert,
    tls::{
        Certificate, Client, Common, Name, NameKind, SecretFile, Server, Source, Validation,
        Version,
    },
};
use meshbed_proxy::{
    envoy::read,
    observe::Flags,
    policy::{
        fault,
        headers::{Addition, Edits},
        matcher::{How, Text},
        protocol::{self, Upstream},
    },
    unit::Share,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use super::support::{PATIENCE, Running, STRICT, config, echo, service, start, start_with};

/// An authority, and a folder of certificates that it issued.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pem(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes `NAME.pem` and `NAME.key`, by moving them there.
    fn issue(&self, name: &str, names: &[&str]) -> Certificate {
        self.issue_with(name, names, |_| ())
    }

    fn issue_with(
        &self,
        name: &str,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for text in names {
            let value = (*text).try_into().unwrap();
            params.subject_alt_names.push(if text.contains("://") {
                SanType::URI(value)
            } else {
                SanType::DnsName(value)
            });
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        self.put(&format!("{name}.key"), &key.serialize_pem());
        self.put(&format!("{name}.pem"), &leaf.pem());
        Certificate {
            chain: Source::File(self.path(&format!("{name}.pem"))),
            key: Source::File(self.path(&format!("{name}.key"))),
            ..Certificate::default()
        }
    }

    fn put(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn trusted(&self) -> Validation {
        Validation {
            trusted_ca: Some(Source::File(self.path("ca.pem"))),
            ..Validation::default()
        }
    }

    /// A client that believes us, with a certificate if it is named.
    fn client(&self, certificate: Option<&str>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
                builder
                    .with_client_auth_cert(vec![chain.unwrap()], key.unwrap())
                    .unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, client: &Arc<ClientConfig>) -> Tls {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("shop.test").unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::clone(client), name).unwrap(),
        tcp,
    )
}

/// The answer to one request; the error is why there is none.
fn get(tls: &mut Tls, headers: &str) -> Result<String, std::io::Error> {
    write!(tls, "GET /x HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = tls.read(&mut piece)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Ok(text.into_owned());
            }
        }
    }
}

fn server(certificates: Vec<Certificate>) -> Server {
    Server {
        common: Common {
            certificates,
            ..Common::default()
        },
        ..Server::default()
    }
}

/// A proxy to `up` whose only listener ends TLS.
fn over_tls(up: SocketAddr, tls: Server) -> Config {
    let mut config = config(up);
    config.listeners[0].chains[0].tls = Some(tls);
    config
}

fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What `openssl s_client` says of a handshake.
fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let address = address.to_string();
    let mut all = vec!["s_client", "-connect", &address];
    all.extend(arguments);
    run("openssl", &all, "")
}

fn line<'a>(text: &'a str, begins: &str) -> &'a str {
    text.lines()
        .map(str::trim)
        .find(|line| line.starts_with(begins))
        .unwrap_or_else(|| panic!("no line begins with {begins:?} in:\n{text}"))
}

#[test]
fn openssl_is_shown_the_certificate_it_asks_for_by_either_version() {
    let ca = Ca::new();
    let tls = server(vec![
        ca.issue("shop", &["shop.test"]),
        ca.issue("wild", &["*.wild.test"]),
    ]);
    let running = start(over_tls(echo(), tls));
    for (version, says) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for (name, subject) in [
            ("shop.test", "shop"),
            ("a.wild.test", "wild"),
            ("x.test", "shop"),
        ] {
            let said = s_client(running.address, &[version, "-servername", name]);
            assert_eq!(line(&said, "subject="), format!("subject=CN = {subject}"));
            assert!(line(&said, "New,").contains(says), "{said}");
        }
    }
    let refused = s_client(
        running.address,
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
    );
    assert!(refused.contains("Cipher is (NONE)"), "{refused}");
}

#[test]
fn openssl_agrees_on_a_protocol() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    tls.common.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let running = start(over_tls(echo(), tls));
    for (offered, chosen) in [
        ("http/1.1", "ALPN protocol: http/1.1"),
        ("http/1.1,h2", "ALPN protocol: h2"),
        ("mqtt", "No ALPN negotiated"),
    ] {
        let said = s_client(running.address, &["-alpn", offered]);
        assert!(said.contains(chosen), "{offered}: {said}");
    }
}

#[test]
fn openssl_resumes_its_session() {
    let ca = Ca::new();
    let running = start(over_tls(
        echo(),
        server(vec![ca.issue("shop", &["shop.test"])]),
    ));
    for version in ["-tls1_2", "-tls1_3"] {
        let session = ca.pem("session");
        let request = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
        let address = running.address.to_string();
        // TLS 1.3 has no session before the server has sent a ticket: an answer is waited for.
        let base = ["s_client", "-connect", &address, version, "-ign_eof"];
        let first = run(
            "openssl",
            &[&base[..], &["-sess_out", &session]].concat(),
            request,
        );
        assert!(first.contains("\nNew, "), "{first}");
        let second = run(
            "openssl",
            &[&base[..], &["-sess_in", &session]].concat(),
            request,
        );
        assert!(second.contains("\nReused, "), "{version}: {second}");
    }
    running.await_metric("envoy_listener_ssl_session_reused", 2);
    running.await_metric("envoy_listener_ssl_handshake", 4);
}

#[test]
fn a_long_answer_reaches_a_client_that_reads_late_to_its_end() {
    const LONG: usize = 16 << 20;
    let ca = Ca::new();
    let mut config = over_tls(echo(), server(vec![ca.issue("server", &["shop.test"])]));
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action =
        Action::Respond {
            status: 200,
            body: "x".repeat(LONG),
        };
    let proxy = start(config);
    let mut tls = connect(proxy.address, &ca.client(None, &[]));
    write!(tls, "GET /x HTTP/1.1\r\nhost: shop.test\r\n\r\n").unwrap();
    let (mut left, mut piece) = (LONG, vec![0; 256 << 10]);
    while left > 0 {
        // The socket is full again and again meanwhile.
        thread::sleep(Duration::from_millis(2));
        let count = tls.read(&mut piece).unwrap();
        let body = piece[..count].iter().filter(|byte| **byte == b'x');
        left = left.saturating_sub(body.count());
    }
}

#[test]
fn curl_is_served_and_its_certificate_told() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test", "spiffe://t/sa/shop"])]);
    tls.common.validation = Some(ca.trusted());
    let mut config = over_tls(echo(), tls);
    config.listeners[0].manager_mut().unwrap().client_cert = ClientCert {
        forward: ForwardClientCert::SanitizeSet,
        subject: true,
        uri: true,
        ..ClientCert::default()
    };
    let running = start(config);
    ca.issue("cart", &["spiffe://t/sa/cart"]);
    let port = running.address.port();
    let (roots, resolve) = (ca.pem("ca.pem"), format!("shop.test:{port}:127.0.0.1"));
    let url = format!("https://shop.test:{port}/x");
    let base = [
        "-sS",
        "--http1.1",
        "--cacert",
        &roots,
        "--resolve",
        &resolve,
        "-H",
        "x-forwarded-client-cert: By=nobody",
        &url,
    ];
    let (certificate, key) = (ca.pem("cart.pem"), ca.pem("cart.key"));
    let with = ["--cert", &certificate, "--key", &key];
    let said = run("curl", &[&base[..], &with[..]].concat(), "");
    let told = line(&said, "x-forwarded-client-cert:");
    assert!(
        told.starts_with("x-forwarded-client-cert: By=spiffe://t/sa/shop;Hash="),
        "{said}"
    );
    assert!(
        told.ends_with(";Subject=\"CN=cart\";URI=spiffe://t/sa/cart"),
        "{said}"
    );
    assert_eq!(
        line(&said, "x-forwarded-proto:"),
        "x-forwarded-proto: https"
    );
    let without = run("curl", &base, "");
    assert!(without.starts_with("GET /x HTTP/1.1"), "{without}");
    assert!(!without.contains("x-forwarded-client-cert"), "{without}");
}

#[test]
fn strangers_are_refused_and_counted() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    let mut validation = ca.trusted();
    validation.names = vec![Name {
        kind: NameKind::Uri,
        text: Text {
            how: How::Prefix("spiffe://t/".to_owned()),
            ignore_case: false,
        },
    }];
    tls.common.validation = Some(validation);
    tls.require_client_certificate = true;
    let running = start(over_tls(echo(), tls));
    ca.issue("cart", &["spiffe://t/sa/cart"]);
    ca.issue("other", &["spiffe://u/sa/cart"]);
    ca.issue_with("old", &["spiffe://t/sa/cart"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let answer = get(
        &mut connect(running.address, &ca.client(Some("cart"), &[])),
        "",
    );
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
    for (certificate, count) in [
        (None, "envoy_listener_ssl_fail_verify_no_cert"),
        (Some("other"), "envoy_listener_ssl_fail_verify_san"),
        (Some("old"), "envoy_listener_ssl_fail_verify_error"),
    ] {
        let client = ca.client(certificate, &[]);
        let refused = get(&mut connect(running.address, &client), "");
        assert!(refused.is_err(), "{certificate:?}: {refused:?}");
        running.await_metric(count, 1);
    }
    let mut plain = TcpStream::connect(running.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    running.await_metric("envoy_listener_ssl_connection_error", 1);
    running.await_metric("envoy_listener_ssl_handshake", 1);
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let ca = Ca::new();
    let mut config = over_tls(echo(), server(vec![ca.issue("shop", &["shop.test"])]));
    config.listeners[0].chains[0].handshake_timeout = Some(Duration::from_millis(200));
    let running = start(config);
    let mut tcp = TcpStream::connect(running.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(tcp.read(&mut [0]).unwrap(), 0);
    running.await_metric("envoy_listener_downstream_cx_active", 0);
}

#[test]
fn faults_spoil_the_handshakes_that_they_choose() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    ca.put("ca.key", &ca.issuer.key().serialize_pem());
    tls.issuer = Some(Certificate {
        chain: Source::File(ca.path("ca.pem")),
        key: Source::File(ca.path("ca.key")),
        ..Certificate::default()
    });
    let rules = vec![fault::tls::Rule {
        id: "old".into(),
        name: "old@client>shop".to_owned(),
        select: fault::tcp::Select::Share(Share::new(0.5).unwrap()),
        kind: fault::tls::Tls::Expired,
    }];
    let mut config = over_tls(echo(), tls);
    config.listeners[0].chains[0].spoilt = rules.clone();
    let seed = config.seed;
    let running = start(config);
    let client = ca.client(None, &[]);
    // Connections are numbered as they arrive: which are hit follows from the seed.
    let expected: Vec<bool> = (0..20)
        .map(|connection| {
            let number = fault::tcp::Number {
                connection,
                reopenings: 0,
            };
            let drawn = fault::tls::Rules::new(&rules, seed).draw(number);
            drawn.kind().is_some()
        })
        .collect();
    let failed: Vec<bool> = (0..20)
        .map(|_| {
            let answer = get(&mut connect(running.address, &client), "");
            let expired = answer
                .as_ref()
                .is_err_and(|error| error.to_string().contains("certificate expired"));
            assert!(expired || answer.is_ok(), "{answer:?}");
            expired
        })
        .collect();
    assert_eq!(failed, expected);
    let count = failed.iter().filter(|failed| **failed).count() as u64;
    assert!((1..20).contains(&count));
    running.await_metric("envoy_listener_ssl_faults_injected", count);
    running.await_metric("envoy_listener_ssl_handshake", 20 - count);
}

/// A service behind a proxy of its own that ends TLS.
fn behind_tls(tls: Server) -> Running {
    start(over_tls(echo(), tls))
}

fn upstream(ca: &Ca) -> Client {
    Client {
        common: Common {
            validation: Some(ca.trusted()),
            ..Common::default()
        },
        sni: "shop.test".to_owned(),
        ..Client::default()
    }
}

#[test]
fn endpoints_are_spoken_to_over_tls() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    tls.common.validation = Some(ca.trusted());
    tls.require_client_certificate = true;
    let behind = behind_tls(tls);
    let mut settings = upstream(&ca);
    settings.common.certificates = vec![ca.issue("cart", &["spiffe://t/sa/cart"])];
    let mut config = config(behind.address);
    config.clusters[0].tls = Some(settings);
    let running = start(config);
    for _ in 0..3 {
        assert_eq!(running.get("/x").status(), 200);
    }
    running.await_metric("envoy_cluster_ssl_handshake", 1);
    assert_eq!(running.metric("envoy_cluster_ssl_versions_TLSv1_2"), 1);
}

#[test]
fn an_endpoint_may_have_a_socket_of_its_own() {
    let ca = Ca::new();
    let behind = behind_tls(server(vec![ca.issue("shop", &["shop.test"])]));
    let plain = echo();
    let mut config = config(behind.address);
    let cluster = &mut config.clusters[0];
    cluster.sockets = vec![None, Some(upstream(&ca))];
    let mut second = cluster.endpoints[0].clone();
    second.address = meshbed_proxy::config::Address::Socket(plain);
    cluster.endpoints[0].socket = Some(1);
    second.socket = Some(0);
    cluster.endpoints.push(second);
    let running = start(config);
    for _ in 0..4 {
        assert_eq!(running.get("/x").status(), 200);
    }
    assert_eq!(running.metric("envoy_cluster_upstream_cx_connect_fail"), 0);
    assert_eq!(running.metric("envoy_cluster_upstream_cx_total"), 2);
}

#[test]
fn an_endpoint_chooses_the_version_that_it_is_spoken_to_in() {
    let ca = Ca::new();
    for (theirs, offered, http2) in [
        (&["h2", "http/1.1"][..], Upstream::Alpn, true),
        (&["http/1.1"], Upstream::Alpn, false),
        (&[], Upstream::Alpn, false),
        (&["h2", "http/1.1"], Upstream::Http2, true),
        (&["h2", "http/1.1"], Upstream::Http1, false),
    ] {
        let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
        tls.common.alpn = theirs.iter().map(ToString::to_string).collect();
        let behind = behind_tls(tls);
        let mut config = config(behind.address);
        config.clusters[0].tls = Some(upstream(&ca));
        config.clusters[0].protocol = offered;
        let running = start(config);
        for _ in 0..3 {
            assert_eq!(running.get("/x").status(), 200, "{theirs:?} {offered:?}");
        }
        let case = format!("{theirs:?} {offered:?}");
        let made = running.metric("envoy_cluster_upstream_cx_total");
        let spoken = running.metric("envoy_cluster_upstream_cx_http2_total");
        assert_eq!((made, spoken), (1, u64::from(http2)), "{case}");
        let taken = behind.metric("envoy_http_downstream_cx_http2_total");
        assert_eq!(taken, u64::from(http2), "{case}");
    }
}

#[test]
fn an_endpoint_is_asked_for_by_its_own_name() {
    let ca = Ca::new();
    let behind = behind_tls(server(vec![ca.issue("shop", &["own.test"])]));
    let mut settings = upstream(&ca);
    settings.auto_san_validation = true;
    for (own, name, status) in [
        (true, "own.test", 200),
        (true, "", 503),
        (false, "own.test", 503),
    ] {
        settings.auto_host_sni = own;
        let mut config = config(behind.address);
        config.clusters[0].tls = Some(settings.clone());
        config.clusters[0].endpoints[0].hostname = name.into();
        // Without a name of its own, or where that does not matter, it is that of the settings: `shop.test`.
        assert_eq!(start(config).get("/x").status(), status, "{own} `{name}`");
    }
}

#[test]
fn our_end_of_a_connection_is_known_whatever_is_spoken_on_it() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    tls.common.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let behind = behind_tls(tls);
    for protocol in [Upstream::Http1, Upstream::Http2] {
        let mut config = config(behind.address);
        config.clusters[0].tls = Some(upstream(&ca));
        config.clusters[0].protocol = protocol;
        let from = Addition {
            name: "x-from".to_owned(),
            value: "%UPSTREAM_LOCAL_ADDRESS%".to_owned(),
            ..Addition::default()
        };
        let mut edits = Edits::default();
        edits.response.add.push(from);
        config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].edits =
            vec![Arc::new(edits)];
        let answer = start(config).get("/x");
        let from = answer.header("x-from").unwrap();
        let from: SocketAddr = from.parse().unwrap();
        assert!(from.ip().is_loopback() && from.port() > 0, "{protocol:?}");
    }
}

#[test]
fn endpoints_that_are_not_believed_are_told_apart() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let certificate = |name: &str| ca.issue(name, &["shop.test"]);
    let old = ca.issue_with("old", &["shop.test"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let mut mutual = server(vec![certificate("mutual")]);
    mutual.common.validation = Some(ca.trusted());
    mutual.require_client_certificate = true;
    let rows: Vec<(&str, SocketAddr, &str)> = vec![
        (
            "another name",
            behind_tls(server(vec![ca.issue("other", &["other.test"])])).leak(),
            "CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher",
        ),
        (
            "another authority",
            behind_tls(server(vec![stranger.issue("shop", &["shop.test"])])).leak(),
            "CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:",
        ),
        (
            "an old certificate",
            behind_tls(server(vec![old])).leak(),
            "certificate_has_expired",
        ),
        (
            "none of ours",
            behind_tls(mutual).leak(),
            "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        ),
        (
            "no TLS",
            service(|mut wire| {
                wire.try_send("HTTP/1.1 400 Bad Request\r\n\r\n");
                wire.rest();
            }),
            "WRONG_VERSION_NUMBER",
        ),
    ];
    for (row, address, expected) in rows {
        let mut settings = upstream(&ca);
        settings.auto_san_validation = true;
        let mut config = config(address);
        config.clusters[0].tls = Some(settings);
        let running = start(config);
        let answer = running.get("/x");
        assert_eq!(answer.status(), 503, "{row}");
        assert_eq!(
            answer.body,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "{row}"
        );
        let record = running.told.record();
        assert!(record.flags.has(Flags::UF), "{row}");
        assert!(
            record.details.contains(expected),
            "{row}: {}",
            record.details
        );
        assert_eq!(
            running.metric("envoy_cluster_upstream_cx_connect_fail"),
            1,
            "{row}"
        );
    }
}

#[test]
fn a_silent_endpoint_is_given_up_on_within_the_connect_timeout() {
    let ca = Ca::new();
    let silent = service(|mut wire| {
        wire.rest();
    });
    let mut config = config(silent);
    config.clusters[0].tls = Some(upstream(&ca));
    config.clusters[0].connect_timeout = Duration::from_millis(200);
    let running = start(config);
    assert_eq!(running.get("/x").status(), 503);
    let details = running.told.record().details;
    assert_eq!(
        details,
        "upstream_reset_before_response_started{connection_timeout}"
    );
}

#[test]
fn the_endpoint_chooses_the_version() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    for (offered, http2) in [(&["h2", "http/1.1"][..], 1), (&["http/1.1"], 0), (&[], 0)] {
        tls.common.alpn = offered.iter().map(ToString::to_string).collect();
        let behind = behind_tls(tls.clone());
        let mut config = config(behind.address);
        config.clusters[0].tls = Some(upstream(&ca));
        config.clusters[0].protocol = protocol::Upstream::Alpn;
        let running = start(config);
        for _ in 0..3 {
            assert_eq!(running.get("/x").status(), 200, "{offered:?}");
        }
        let name = "envoy_cluster_upstream_cx_http2_total";
        assert_eq!(running.metric(name), http2, "{offered:?}");
        assert_eq!(running.metric("envoy_cluster_upstream_cx_total"), 1);
        let name = "envoy_http_downstream_cx_http2_total";
        assert_eq!(behind.metric(name), http2, "{offered:?}");
    }
}

#[test]
fn endpoints_are_asked_for_the_name_that_the_client_asked_for() {
    let ca = Ca::new();
    let behind = behind_tls(server(vec![
        ca.issue("one", &["one.test"]),
        ca.issue("two", &["two.test"]),
    ]));
    let mut settings = upstream(&ca);
    settings.sni_header = Some("host".to_owned());
    settings.auto_san_validation = true;
    let mut config = config(behind.address);
    config.clusters[0].tls = Some(settings);
    let running = start(config);
    let ask = |host: &str| {
        let mut wire = running.connect();
        wire.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        wire.message().unwrap().status()
    };
    for _ in 0..2 {
        assert_eq!(ask("one.test"), 200);
        assert_eq!(ask("two.test:8443"), 200);
        assert_eq!(ask("three.test"), 503);
    }
    // One connection a name that is known, one each time for the other.
    assert_eq!(running.metric("envoy_cluster_upstream_cx_total"), 4);
    assert_eq!(running.metric("envoy_cluster_ssl_fail_verify_san"), 2);
}

#[test]
fn curl_speaks_http2_over_tls() {
    let ca = Ca::new();
    let mut tls = server(vec![ca.issue("shop", &["shop.test"])]);
    tls.common.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let running = start(over_tls(echo(), tls));
    let port = running.address.port();
    let (roots, resolve) = (ca.pem("ca.pem"), format!("shop.test:{port}:127.0.0.1"));
    let url = format!("https://shop.test:{port}/x");
    for (flag, version) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK")] {
        let arguments = [
            "-sSi",
            flag,
            "--cacert",
            &roots,
            "--resolve",
            &resolve,
            &url,
        ];
        let said = run("curl", &arguments, "");
        assert!(said.starts_with(version), "{said}");
        assert!(said.contains("x-forwarded-proto: https"), "{said}");
    }
}

/// The CN of what a new connection is shown.
fn shown(running: &Running) -> String {
    let said = s_client(running.address, &["-servername", "shop.test"]);
    line(&said, "subject=").to_owned()
}

#[test]
fn certificates_are_read_again_under_load_without_a_failed_request() {
    let ca = Ca::new();
    let names = ["shop.test"];
    let tls = server(vec![ca.issue("live", &names)]);
    let running = start_with(over_tls(echo(), tls), 2);
    let address = running.address;
    let client = ca.client(None, &[]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = AtomicU64::new(0);
    let count = |answer: Result<String, std::io::Error>| {
        let good = answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
        if good { &done } else { &failed }.fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        // One that keeps its connection through all of it, one that makes a new one for each request.
        scope.spawn(|| {
            let mut tls = connect(address, &client);
            while !stop.load(Ordering::Relaxed) {
                count(get(&mut tls, ""));
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                count(get(&mut connect(address, &client), ""));
            }
        });
        for round in 1..=3 {
            ca.issue_with("live", &names, |params| {
                params
                    .distinguished_name
                    .push(DnType::CommonName, format!("round {round}"));
            });
            running.await_metric("meshbed_certificates_reloads", round);
            assert_eq!(shown(&running), format!("subject=CN = round {round}"));
        }
        // What cannot be used changes nothing, and is counted.
        ca.put("live.pem", "no certificate");
        running.await_metric("meshbed_certificates_reload_failures", 1);
        assert_eq!(shown(&running), "subject=CN = round 3");
        ca.issue("live", &names);
        running.await_metric("meshbed_certificates_reloads", 4);
        assert_eq!(shown(&running), "subject=CN = live");
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(done.load(Ordering::Relaxed) > 50);
}

#[test]
fn a_watched_folder_is_what_counts() {
    let ca = Ca::new();
    // As a mounted secret: the files are links into a folder that is swapped by a link.
    let (one, two) = (ca.path("one"), ca.path("two"));
    for (folder, name) in [(&one, "first"), (&two, "second")] {
        fs::create_dir(folder).unwrap();
        ca.issue(name, &["shop.test"]);
        fs::copy(ca.path(&format!("{name}.pem")), folder.join("tls.crt")).unwrap();
        fs::copy(ca.path(&format!("{name}.key")), folder.join("tls.key")).unwrap();
    }
    let mount = ca.path("mount");
    fs::create_dir(&mount).unwrap();
    let point = |to: &Path| {
        let new = mount.join("..new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(new, mount.join("..data")).unwrap();
    };
    point(&one);
    let tls = server(vec![Certificate {
        chain: Source::File(mount.join("..data/tls.crt")),
        key: Source::File(mount.join("..data/tls.key")),
        watched: Some(mount.clone()),
        ..Certificate::default()
    }]);
    let running = start(over_tls(echo(), tls));
    assert_eq!(shown(&running), "subject=CN = first");
    point(&two);
    running.await_metric("meshbed_certificates_reloads", 1);
    assert_eq!(shown(&running), "subject=CN = second");
}

trait Leak {
    /// Its address; it runs until the process ends.
    fn leak(self) -> SocketAddr;
}

impl Leak for Running {
    fn leak(self) -> SocketAddr {
        let address = self.address;
        std::mem::forget(self);
        address
    }
}

#[test]
fn a_file_of_secrets_is_read_again_when_it_changes() {
    let ca = Ca::new();
    for name in ["first", "second"] {
        ca.issue(name, &["shop.test"]);
    }
    let file = |name: &str| {
        format!(
            r#"version_info: "1"
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: roots
  validation_context: {{trusted_ca: {{filename: "{0}"}}}}
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: shown
  tls_certificate:
    certificate_chain: {{filename: "{1}"}}
    private_key: {{filename: "{2}"}}
"#,
            ca.pem("ca.pem"),
            ca.pem(&format!("{name}.pem")),
            ca.pem(&format!("{name}.key"))
        )
    };
    ca.put("sds.yaml", &file("first"));
    let secret = |name: &str| SecretFile {
        path: ca.path("sds.yaml"),
        name: name.to_owned(),
    };
    let mut tls = server(vec![Certificate {
        secret: Some(secret("shown")),
        ..Certificate::default()
    }]);
    tls.common.validation = Some(Validation {
        secret: Some(secret("roots")),
        ..Validation::default()
    });
    let running = start(over_tls(echo(), tls));
    assert_eq!(shown(&running), "subject=CN = first");
    // Its roots are those of the file, too.
    let stranger = Ca::new();
    stranger.issue("cart", &["spiffe://t/sa/cart"]);
    let mut client = Arc::unwrap_or_clone(ca.client(None, &[]));
    let theirs = stranger.client(Some("cart"), &[]);
    client.client_auth_cert_resolver = Arc::clone(&theirs.client_auth_cert_resolver);
    assert!(get(&mut connect(running.address, &Arc::new(client)), "").is_err());
    ca.put("sds.yaml", &file("second"));
    running.await_metric("meshbed_certificates_reloads", 1);
    assert_eq!(shown(&running), "subject=CN = second");
    ca.put("sds.yaml", "resources: []");
    running.await_metric("meshbed_certificates_reload_failures", 1);
    assert_eq!(shown(&running), "subject=CN = second");
}

/// A bootstrap whose only listener has this TLS context, and whose only cluster has that.
fn file(downstream: &str, upstream: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 8080}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {downstream}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: shop}}}}]}}]}}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  secrets:
  - name: cart
    tls_certificate: {{certificate_chain: {{inline_string: chain}}, private_key: {{inline_string: key}}}}
  - name: roots
    validation_context: {{trusted_ca: {{inline_string: roots}}}}
  clusters:
  - name: shop
    transport_socket:
      name: tls
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {upstream}}}
    load_assignment:
      cluster_name: shop
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9000}}}}}}}}]}}]
"#
    )
}

const OURS: &str = "common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: a}, private_key: {inline_string: b}}]";

fn read_file(downstream: &str, upstream: &str) -> Result<Config, String> {
    match read(&file(downstream, upstream), STRICT) {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => Err(problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

#[test]
fn a_file_says_what_is_shown_and_believed() {
    let config = read_file(
        "require_client_certificate: true, common_tls_context: {tls_certificate_sds_secret_configs: [{name: cart}], alpn_protocols: [h2, http/1.1], \
         tls_params: {tls_minimum_protocol_version: TLSv1_3}, combined_validation_context: {default_validation_context: \
         {match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: 'spiffe://t/'}}]}, validation_context_sds_secret_config: {name: roots}}}",
        "sni: shop.test, auto_sni_san_validation: true, max_session_keys: 0, common_tls_context: {validation_context: {trusted_ca: {filename: /ca.pem}, \
         verify_certificate_hash: ['00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00112233445566778899aabbccddeeff']}}",
    )
    .unwrap();
    let inline = |text: &str| Source::Inline(text.as_bytes().into());
    let server = config.listeners[0].chains[0].tls.as_ref().unwrap();
    assert!(server.require_client_certificate);
    assert_eq!(server.common.alpn, ["h2", "http/1.1"]);
    assert_eq!(server.common.params.min, Some(Version::Tls13));
    assert_eq!(
        server.common.certificates,
        [Certificate {
            chain: inline("chain"),
            key: inline("key"),
            ..Certificate::default()
        }]
    );
    let believed = server.common.validation.as_ref().unwrap();
    assert_eq!(believed.trusted_ca, Some(inline("roots")));
    assert_eq!(believed.names.len(), 1);
    let client = config.clusters[0].tls.as_ref().unwrap();
    assert_eq!(client.sni, "shop.test");
    assert!(client.auto_san_validation && client.enforce_rsa_key_usage);
    assert_eq!(client.max_session_keys, Some(0));
    let believed = client.common.validation.as_ref().unwrap();
    assert_eq!(believed.hashes[0][..4], [0, 0x11, 0x22, 0x33]);
    // What is written in a configuration may be a private key, and is not shown.
    assert!(!format!("{config:?}").contains("[107, 101, 121]"));
}

#[test]
fn a_file_is_refused_by_its_field() {
    let rows = [
        (
            "common_tls_context: {}".to_owned(),
            "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context: a certificate is needed",
        ),
        (
            format!("{OURS}, tls_params: {{ecdh_curves: [P-256, P-512]}}}}"),
            "common_tls_context.tls_params.ecdh_curves[1]: `P-512`; there are X25519, P-256",
        ),
        (
            format!(
                "{OURS}, tls_params: {{cipher_suites: ['[ECDHE-ECDSA-AES128-GCM-SHA256|AES128-SHA]']}}}}"
            ),
            "common_tls_context.tls_params.cipher_suites[0]: `AES128-SHA`; there are",
        ),
        (
            format!("{OURS}, tls_params: {{tls_minimum_protocol_version: TLSv1_0}}}}"),
            "not supported yet: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.tls_minimum_protocol_version: `TLSv1_0`",
        ),
        (
            format!(
                "{OURS}, validation_context: {{match_typed_subject_alt_names: [{{san_type: URI, matcher: {{exact: x}}}}]}}}}"
            ),
            "validation_context.match_typed_subject_alt_names: it means nothing without a `trusted_ca`",
        ),
        (
            format!("{OURS}, validation_context: {{verify_certificate_spki: [eA==]}}}}"),
            "validation_context.verify_certificate_spki[0]: `eA==` is not a SHA-256",
        ),
        (
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: card}]}".to_owned(),
            "tls_certificate_sds_secret_configs[0].name: there is no secret `card`",
        ),
        (
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: roots}]}".to_owned(),
            "tls_certificate_sds_secret_configs[0]: the secret `roots` is no certificate",
        ),
        (
            format!("{OURS}, key_log: {{path: /x}}}}"),
            "not supported yet: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.key_log",
        ),
        (
            format!("{OURS}}}, require_sni: true"),
            "not supported yet: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.require_sni",
        ),
    ];
    for (downstream, expected) in rows {
        let said = read_file(&downstream, "sni: x.test").unwrap_err();
        assert!(said.contains(expected), "{downstream}\n{said}");
        assert!(said.contains(" at line "), "{said}");
    }
}
