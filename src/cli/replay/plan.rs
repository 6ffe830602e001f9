//! What the command line asks for, as a schedule and as the scenario that the report tells of.

use std::time::Duration;

use meshbed_proxy::{
    draw::Seed,
    policy::matcher::Matcher,
    unit::{Share, show_duration},
};

use super::Args;
use crate::{
    event::Id,
    measure::ErrorRule,
    replay::{Schedule, schedule},
    scenario::{
        Backing, Connections, Diff, Phase, Policy, Protocol, ReportSettings, Requests, Rewrite,
        Scenario, Service, Source, SourceKind, Standing,
    },
    shadow::Rules,
    stats::margins::Margins,
};

/// Requests that may be under way at once, as a scenario's default: far more than a server that keeps up ever has.
pub(super) const MAX_IN_FLIGHT: u32 = 2000;

/// Longest that an answer may take, as a scenario's default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The service that everything goes to.
pub(super) fn target() -> Id {
    "target".into()
}

/// The requests of the capture and their times.
pub(super) fn schedule(args: &Args) -> Result<Schedule, schedule::Error> {
    let schedule = schedule::from_sources(&[source(args)], Seed(0), u64::MAX)?;
    Ok(match args.rate {
        Some(rate) => schedule.at_rate(rate),
        None => schedule,
    })
}

fn source(args: &Args) -> Source {
    Source {
        id: "replay".into(),
        to: target(),
        protocol: Protocol::Http,
        kind: SourceKind::Trace {
            file: args.capture.clone(),
            speed: args.speed,
            window: None,
            loops: args.loops,
            filter: Matcher::default(),
        },
        connections: Connections::Recorded,
        max_in_flight: MAX_IN_FLIGHT,
        timeout: TIMEOUT,
        rewrite: Rewrite {
            host: Some(args.to.authority.clone()),
            path: if args.to.prefix.is_empty() {
                Vec::new()
            } else {
                vec![("^".to_owned(), args.to.prefix.replace('$', "$$"))]
            },
            ..Rewrite::default()
        },
    }
}

/// One service, one source, one phase of whole seconds, and nothing to break or to check.
pub(super) fn scenario(args: &Args, schedule: &Schedule) -> Scenario {
    let second = 1_000_000;
    let length_us = (schedule.span_us / second + 1) * second;
    let name = args.capture.file_stem().unwrap_or_default();
    Scenario {
        name: format!("replay {}", name.to_string_lossy()),
        description: format!("{} played to {}", args.capture.display(), args.to.authority),
        file: args.capture.clone(),
        standing: Standing::default(),
        sha256: schedule.sha256.clone(),
        resolved: serde_json::json!({
            "replay": {
                "capture": args.capture.display().to_string(),
                "to": format!("http://{}{}", args.to.authority, args.to.prefix),
                "speed": args.speed,
                "rate": args.rate.map(|rate| rate.to_string()),
                "loop": args.loops,
                "max_in_flight": MAX_IN_FLIGHT,
                "timeout": show_duration(TIMEOUT),
            }
        }),
        seed: Seed(0),
        errors: ErrorRule::default(),
        workers: 0,
        services: vec![Service {
            id: target(),
            backing: Backing::Address(Vec::new()),
            protocol: Protocol::Http,
            calls: Vec::new(),
            policy: Policy::default(),
        }],
        traffic: vec![source(args)],
        shadows: Vec::new(),
        diff: Diff {
            rules: Rules::default(),
            control: None,
            alpha: 0.01,
            min_effect: Share::NONE,
        },
        phases: vec![Phase::alone("replay", length_us)],
        faults: Vec::new(),
        steady_state: Vec::new(),
        guards: Vec::new(),
        checks: Vec::new(),
        min_score: 0.0,
        margins: Margins::default(),
        report: ReportSettings {
            dir: "reports".into(),
            requests: Requests::All,
            max_events: None,
            redact: ["authorization", "cookie"].map(str::to_owned).to_vec(),
            formats: ["md", "junit", "html"].map(str::to_owned).to_vec(),
            baseline: None,
        },
    }
}
