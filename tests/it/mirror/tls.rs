//! `meshbed mirror` where its ends speak TLS, and shadows with shares of their own.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, process::Command};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy},
    config::{
        Address, Cluster, Config, Endpoint, Listener, TcpProxy,
        tls::{Certificate, Common, Server, Source},
    },
    draw::Seed,
    net::tls::authority::Authority,
};

use super::{bed::Mirror, peer::Peer, shop, shop_without_id, without_tax};

/// An authority, and its certificate for this machine; in files.
struct Trust {
    certificate: Certificate,
    folder: tempfile::TempDir,
}

impl Trust {
    fn new() -> Self {
        let authority = Authority::new("a test").unwrap();
        let here = [[127, 0, 0, 1].into()];
        let certificate = authority.issue("localhost", &here).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, source: &Source| {
            let Source::Inline(bytes) = source else {
                panic!("{name} is in a file already");
            };
            fs::write(folder.path().join(name), bytes).unwrap();
        };
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        write("cert.pem", &certificate.chain);
        write("key.pem", &certificate.key);
        Self {
            certificate,
            folder,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What ends TLS in front of a peer.
    fn before(&self, peer: &Peer) -> (Handle, SocketAddr) {
        let mut listener = Listener::tcp("tls", ([127, 0, 0, 1], 0).into(), TcpProxy::to("peer"));
        for chain in &mut listener.chains {
            chain.tls = Some(Server {
                common: Common {
                    certificates: vec![self.certificate.clone()],
                    ..Common::default()
                },
                ..Server::default()
            });
        }
        let config = Config {
            listeners: vec![listener],
            clusters: vec![Cluster {
                name: "peer".into(),
                endpoints: vec![Endpoint::at(Address::Socket(peer.address))],
                ..Cluster::default()
            }],
            seed: Seed(1),
            run: None,
            admin: None,
        };
        let proxy = Proxy::start(config, Deps::default()).unwrap();
        let address = proxy.address("tls").unwrap();
        (proxy, address)
    }
}

/// Asks for carts 0 to `most`, over TLS; the protocol of each answer, each once.
fn ask(ca: &str, at: SocketAddr, most: u32) -> String {
    let url = format!("https://{at}/cart/[0-{most}]");
    let format = "%{http_version} %{http_code}\n";
    let done = Command::new("curl")
        .args(["-sS", "--cacert", ca, "-o", "/dev/null", "-w", format, &url])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let lines: BTreeSet<String> = String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.into_iter().collect::<Vec<_>>().join(", ")
}

#[test]
fn every_end_may_speak_tls_and_every_shadow_has_its_own_share() {
    let trust = Trust::new();
    let (primary, half, tenth) = (Peer::new(shop), Peer::new(without_tax), Peer::new(shop));
    let control = Peer::new(shop);
    let (_first, before_primary) = trust.before(&primary);
    let (_second, before_half) = trust.before(&half);
    let (_third, before_control) = trust.before(&control);
    let mirror = Mirror::at(&format!("https://localhost:{}", before_primary.port()))
        .with(&[
            "--shadow",
            &format!("half=https://{before_half},percent=50%"),
        ])
        .with(&["--shadow", &format!("tenth={},percent=10%", tenth.address)])
        .with(&["--control", &format!("https://{before_control}")])
        .with(&[
            "--percent",
            "50%",
            "--seed",
            "7",
            "--ca",
            &trust.path("ca.pem"),
        ])
        .with(&["--tls-cert", &trust.path("cert.pem")])
        .with(&["--tls-key", &trust.path("key.pem")])
        .start("tls");
    assert_eq!(ask(&trust.path("ca.pem"), mirror.address, 199), "2 200");
    let done = mirror.stop();
    assert_eq!(done.code, Some(0), "{}", done.said);
    let run = done.run();
    assert_eq!(run["counts"][0]["status"]["200"], 200, "{}", done.said);
    let side = |index: usize| &run["shadows"][index];
    for (index, peer) in [&half, &tenth, &control].into_iter().enumerate() {
        let chosen = side(index)["chosen"].as_u64().unwrap();
        assert_eq!(side(index)["compared"], chosen, "{}", side(index));
        assert_eq!(peer.seen().len() as u64, chosen);
    }
    let (of_half, of_tenth) = (half.paths(), tenth.paths());
    // Four standard deviations.
    assert!((71..=129).contains(&of_half.len()), "{}", of_half.len());
    assert!((3..=37).contains(&of_tenth.len()), "{}", of_tenth.len());
    assert!(of_tenth.is_subset(&of_half));
    assert_eq!(control.paths(), of_half);
    assert_eq!(run["diffs"]["half"]["material"], 1, "{}", run["diffs"]);
    assert_eq!(run["diffs"]["tenth"]["material"], 0, "{}", run["diffs"]);
    let asked = &run["scenario"]["resolved"]["mirror"]["shadow"][1];
    assert_eq!(asked["percent"], "10%", "{asked}");
    let seen = &half.seen()[0];
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_certificate_that_is_not_believed_is_a_counted_reason() {
    let (trust, other) = (Trust::new(), Trust::new());
    let (primary, shadow) = (Peer::new(shop_without_id), Peer::new(shop_without_id));
    let (_front, front) = trust.before(&shadow);
    let play = |ca: &[&str], target: String| {
        let mirror = Mirror::to(&primary)
            .with(&["--shadow", &target])
            .with(ca)
            .start("believed");
        let mut client = super::Client::connect(mirror.address);
        for number in 0..5 {
            let answer = client.get(&format!("/cart/{number}"));
            assert_eq!(answer.status(), 200);
        }
        let done = mirror.stop();
        done.run()["shadows"][0].clone()
    };
    let reasons = |side: &serde_json::Value| {
        let all = ["failed", "shed"].map(|kind| side[kind].as_object().cloned().unwrap());
        let all = all.into_iter().flatten();
        let (why, count): (Vec<_>, Vec<_>) = all.map(|(why, n)| (why, n.as_u64().unwrap())).unzip();
        (why, count.iter().sum::<u64>())
    };
    let unreached = |side: &serde_json::Value| {
        let (why, lost) = reasons(side);
        let expected = why.iter().all(|why| why.starts_with("connect"));
        assert!(expected && lost == 5 && side["compared"] == 0, "{side}");
    };
    let (right, wrong) = (trust.path("ca.pem"), other.path("ca.pem"));
    let there = || format!("https://{front}");
    let side = play(&["--ca", &right], there());
    assert_eq!(side["compared"], 5, "{side}");
    let side = play(&["--insecure"], there());
    assert_eq!(side["compared"], 5, "{side}");
    unreached(&play(&["--ca", &wrong], there()));
    // What speaks no TLS, and waits for the end of a line; and what speaks it where we do not.
    let short = ["--insecure", "--deadline", "300ms"];
    let side = play(&short, format!("https://{}", shadow.address));
    assert_eq!(reasons(&side), (vec!["timeout".to_owned()], 5), "{side}");
    let side = play(&[], format!("http://{front}"));
    assert_eq!(
        (reasons(&side).1, &side["compared"]),
        (5, &0.into()),
        "{side}"
    );
}

#[test]
fn what_is_wrong_with_tls_is_named_before_anything_starts() {
    let trust = Trust::new();
    let said = |arguments: &[&str]| {
        let mut wanted: Vec<&str> = vec!["mirror", "--headless", "--shadow", "127.0.0.1:1"];
        wanted.extend(arguments);
        let done = Command::new(env!("CARGO_BIN_EXE_meshbed"))
            .args(&wanted)
            .current_dir(trust.folder.path())
            .env("XDG_STATE_HOME", trust.folder.path().join("state"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!Path::new(&trust.path("reports")).exists(), "{said}");
        (done.status.code(), said)
    };
    let listen = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"];
    let with = |more: &[&str]| said(&[&listen, more].concat());
    fs::write(trust.path("bad.pem"), [0xff, 0, 0xfe]).unwrap();
    for (arguments, code, expected) in [
        (
            &["--ca", "nothing.pem", "--control", "https://127.0.0.1:1"][..],
            2,
            "--control: --ca: cannot read nothing.pem",
        ),
        (&["--tls-cert", "cert.pem"], 2, "--tls-key"),
        (
            &["--tls-cert", "none.pem", "--tls-key", "key.pem"],
            2,
            "--tls-cert: cannot read none.pem",
        ),
        (
            &["--tls-cert", "bad.pem", "--tls-key", "key.pem"],
            3,
            "bad.pem",
        ),
        (
            &["--ca", "bad.pem", "--control", "https://127.0.0.1:1"],
            3,
            "bad.pem",
        ),
        (
            &["--control", "127.0.0.1:1,share=5%"],
            2,
            "accepted: percent=P",
        ),
    ] {
        let (found, said) = with(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
