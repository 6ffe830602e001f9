//! A scenario in plain data, for tests of the parts.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use meshbed_proxy::{
    draw::Seed,
    policy::{
        fault::delay::Delay,
        matcher::Matcher,
        mirror::{Limits, SampleKey},
    },
    unit::{Rate, Share},
};

use crate::scenario::{
    Arrival, Backing, Connections, Diff, ErrorRule, Fault, FaultKind, Phase, Place, Policy,
    Protocol, ReportSettings, Requests, Rewrite, Role, Scenario, Select, Service, Shadow, Source,
    SourceKind, Standing, Template,
};
use crate::stats::margins::Margins;

fn builtin(version: &str) -> Backing {
    Backing::Builtin {
        app: "shop".to_owned(),
        version: version.to_owned(),
    }
}

fn service(id: &str, calls: &[&str]) -> Service {
    Service {
        protocol: Protocol::Http,
        id: id.into(),
        backing: builtin("v1"),
        calls: calls.iter().map(|peer| ((*peer).into(), None)).collect(),
        policy: Policy {
            timeout: Some(Duration::from_secs(2)),
            ..Policy::default()
        },
    }
}

/// The builtin shop, `client → shop → cart → catalog`, a candidate beside `cart`, a slow `cart` from second 2 to 4 of 5.
pub(crate) fn scenario() -> Scenario {
    let phase = |id: &str, begin_us, end_us| Phase {
        id: id.into(),
        begin_us,
        end_us,
        record: true,
    };
    Scenario {
        name: "fixture".to_owned(),
        description: String::new(),
        file: PathBuf::from("fixture.yaml"),
        standing: Standing::default(),
        sha256: String::new(),
        resolved: serde_json::Value::Null,
        seed: Seed(7),
        errors: ErrorRule::default(),
        workers: 1,
        services: vec![
            service("shop", &["catalog", "cart", "payments"]),
            service("catalog", &[]),
            service("cart", &["catalog"]),
            service("payments", &[]),
        ],
        traffic: vec![Source {
            protocol: Protocol::Http,
            id: "main".into(),
            to: "shop".into(),
            kind: SourceKind::Generate {
                rate: Rate::per_second(50.0).unwrap(),
                arrival: Arrival::Constant,
                requests: vec![Template {
                    weight: 1,
                    method: "GET".to_owned(),
                    path: "/cart/42".to_owned(),
                    headers: Vec::new(),
                    body: Vec::new(),
                }],
            },
            connections: Connections::Pool(4),
            max_in_flight: 100,
            timeout: Duration::from_secs(5),
            rewrite: Rewrite::default(),
        }],
        shadows: vec![Shadow {
            id: "candidate".into(),
            of: "cart".into(),
            role: Role::Candidate,
            backing: builtin("v2"),
            percent: Share::ALL,
            key: SampleKey::Ordinal,
            matcher: Matcher::default(),
            safe_only: false,
            set: Vec::new(),
            remove: Vec::new(),
            limits: Limits::default(),
        }],
        diff: Diff {
            rules: crate::shadow::Rules::default(),
            control: None,
            alpha: 0.01,
            min_effect: Share::NONE,
        },
        phases: vec![
            phase("steady", 0, 2_000_000),
            phase("fault", 2_000_000, 4_000_000),
            phase("recovery", 4_000_000, 5_000_000),
        ],
        faults: vec![Fault {
            place: Place::Request,
            id: "slow-cart".into(),
            target: "cart".into(),
            from: None,
            during: "fault".into(),
            windows: vec![(2_000, 4_000)],
            select: Select::Share(Share::new(0.5).unwrap()),
            matcher: Matcher::default(),
            max_active: None,
            ttl: Duration::from_mins(10),
            kind: FaultKind::Request(meshbed_proxy::policy::fault::Fault::Delay(Delay::Fixed(
                Duration::from_millis(100),
            ))),
        }],
        steady_state: Vec::new(),
        guards: Vec::new(),
        checks: Vec::new(),
        min_score: 100.0,
        margins: Margins::default(),
        report: ReportSettings {
            dir: PathBuf::from("reports"),
            max_events: None,
            requests: Requests::All,
            redact: Vec::new(),
            formats: Vec::new(),
            baseline: None,
        },
    }
}

/// An address for every party.
pub(crate) fn endpoints() -> BTreeMap<String, Vec<std::net::SocketAddr>> {
    ["shop", "catalog", "cart", "payments", "~candidate"]
        .into_iter()
        .zip(9000_u16..)
        .map(|(label, port)| (label.to_owned(), vec![([127, 0, 0, 1], port).into()]))
        .collect()
}
