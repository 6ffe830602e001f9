//! A saved run in the same screens: its bundle folded into an [`App`], once, when it is opened.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    App, Ending, Facts,
    app::{CheckFacts, Control, Example, FaultFacts, Judged, Level, name},
};
use crate::{
    event::{Asked, Changed, Id, Micros, MirrorOutcome, Outcome, RunEvent, RunState, Scored, Tick},
    measure::{ErrorRule, Kind},
    report::{
        Error, Report,
        run::{Effect, Run},
    },
};

/// Of more requests than these the log by seconds is read instead of each: a few seconds of reading, no more.
const READ: u64 = 200_000;

/// Reads a bundle into screens. They open on the scorecard.
pub fn open(report: &Report) -> Result<App, Error> {
    let mut app = App::new(facts(&report.run));
    let mut ticks = Vec::new();
    for line in report.events()? {
        if let Some(tick) = event(&mut app, &line?) {
            ticks.push(tick);
        }
    }
    if report.run.requests.kept == "all" && report.run.requests.written <= READ {
        for line in report.requests()? {
            request(&mut app, &line?);
        }
    } else {
        intervals(&mut app, report);
    }
    errors(&mut app, &report.run);
    for line in report.diffs()? {
        example(&mut app, &line?);
    }
    judged(&mut app, &report.run);
    for (place, check) in report.run.checks.iter().enumerate() {
        if let Some(slot) = app.checks.get_mut(place) {
            let scored = Scored {
                outcome: check.outcome,
                value: check.value,
                unit: known(&UNITS, &check.unit),
                interval: check.interval,
                n: check.n,
                points: check.points,
                why: check.why.clone(),
            };
            *slot = Some((scored, false));
        }
    }
    for fault in &report.run.faults {
        if let Some(stand) = app.faults.get_mut(&*fault.id) {
            (stand.1, stand.2) = (fault.chosen, fault.applied);
        }
    }
    app.state = report.run.state;
    app.overflow = report.run.generator.overflow;
    app.end(ending(report));
    app.keep(ticks);
    Ok(app)
}

const UNITS: [&str; 8] = [
    "us", "share", "per_s", "count", "bytes", "ratio", "bool", "verdict",
];
const KINDS: [&str; 7] = [
    "missing", "extra", "type", "value", "order", "status", "header",
];

/// The one of these texts that equals it; empty if a newer meshbed wrote another.
fn known(texts: &[&'static str], text: &str) -> &'static str {
    texts
        .iter()
        .find(|known| **known == text)
        .copied()
        .unwrap_or("")
}

fn facts(run: &Run) -> Facts {
    let resolved = &run.scenario.resolved;
    let described = resolved.pointer("/topology/services");
    let services: Vec<(Id, Vec<Id>)> = if let Some(services) = described.and_then(Value::as_object)
    {
        let service =
            |(id, service): (&String, &Value)| (Id::from(id.as_str()), calls(&service["calls"]));
        services.iter().map(service).collect()
    } else {
        let mut ids: Vec<&str> = run.counts.iter().map(|row| row.service.as_str()).collect();
        ids.dedup();
        ids.into_iter().map(|id| (id.into(), Vec::new())).collect()
    };
    let driven = run.driven().into_iter().map(Id::from).collect();
    Facts {
        name: run.scenario.name.clone(),
        seed: run.seed,
        services: Facts::tree(&services, &driven),
        phases: run
            .phases
            .iter()
            .map(|phase| {
                let id = Id::from(phase.id.as_str());
                (id, phase.begin_us, phase.end_us, phase.record)
            })
            .collect(),
        faults: run
            .faults
            .iter()
            .map(|fault| FaultFacts {
                id: fault.id.as_str().into(),
                target: fault.target.as_str().into(),
                windows: fault
                    .windows_us
                    .iter()
                    .map(|[begin, end]| ((begin / 1000) as u32, (end / 1000) as u32))
                    .collect(),
                what: what(resolved, &fault.id).unwrap_or_else(|| fault.kind.clone()),
            })
            .collect(),
        shadows: run
            .shadows
            .iter()
            .map(|shadow| {
                let role = known(&["candidate", "control"], &shadow.role);
                (shadow.id.as_str().into(), shadow.of.as_str().into(), role)
            })
            .collect(),
        addresses: addresses(resolved),
        file: run.scenario.file.clone(),
        is_live: resolved.get("mirror").is_some(),
        checks: run
            .checks
            .iter()
            .map(|check| CheckFacts {
                id: check.id.as_str().into(),
                must: check.must,
                weight: check.weight,
                that: check.that.clone(),
                not: check.not.clone(),
                bounds: Option::zip(check.pass, check.fail)
                    .map(|(pass, fail)| (pass, fail, known(&UNITS, &check.unit))),
                over: check.over.as_deref().unwrap_or("all").replace(',', " "),
            })
            .collect(),
        min_score: run.score.min,
        // Only of hops, and only by second: what the scenario calls an error is counted by phase in the bundle.
        errors: ErrorRule::default(),
    }
}

/// Where services and shadows are that ran by themselves.
fn addresses(resolved: &Value) -> BTreeMap<Id, String> {
    let first = |value: &Value| {
        let address = value["address"]
            .as_str()
            .or_else(|| value.pointer("/address/0")?.as_str())?;
        Some(address.to_owned())
    };
    let services = resolved.pointer("/topology/services");
    let services = services.and_then(Value::as_object).into_iter().flatten();
    let services =
        services.filter_map(|(id, service)| Some((Id::from(id.as_str()), first(service)?)));
    let shadows = resolved["shadow"].as_array().into_iter().flatten();
    let shadows = shadows.filter_map(|shadow| {
        let id = Id::from(shadow["id"].as_str()?);
        Some((id, first(&shadow["to"])?))
    });
    services.chain(shadows).chain(ends(resolved)).collect()
}

/// The ends of a mirror, as they were written.
pub(super) fn ends(resolved: &Value) -> impl Iterator<Item = (Id, String)> {
    let mirror = &resolved["mirror"];
    let live = mirror["to"]
        .as_str()
        .map(|to| (Id::from(LIVE), to.to_owned()));
    let copies = mirror["shadow"].as_array().into_iter().flatten();
    let copies = copies.filter_map(|shadow| {
        let id = Id::from(shadow["id"].as_str()?);
        Some((id, shadow["to"].as_str()?.to_owned()))
    });
    live.into_iter().chain(copies)
}

/// What a mirror calls its primary.
const LIVE: &str = "live";

/// `[catalog, cart]`, or `{ payments: "127.0.0.1:7001" }`.
fn calls(value: &Value) -> Vec<Id> {
    match value {
        Value::Array(peers) => peers
            .iter()
            .filter_map(Value::as_str)
            .map(Id::from)
            .collect(),
        Value::Object(peers) => peers.keys().map(|peer| Id::from(peer.as_str())).collect(),
        _ => Vec::new(),
    }
}

/// What a fault does, in the scenario's own words.
fn what(resolved: &Value, id: &str) -> Option<String> {
    let faults = resolved["faults"].as_array()?;
    let fault = faults.iter().find(|fault| fault["id"] == id)?;
    let kind = match (&fault["delay"], fault.pointer("/abort/status")) {
        (Value::String(delay), _) => format!("delay {delay}"),
        (Value::Object(_), _) => "delay".to_owned(),
        (_, Some(status)) => format!("abort {status}"),
        _ => return None,
    };
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let select = [("percent", ""), ("first", "first "), ("every", "every ")]
        .iter()
        .find_map(|(key, word)| Some(format!("{word}{}", plain(&fault[*key])?)));
    Some(format!("{kind} {}", select.as_deref().unwrap_or("100%")))
}

/// Folds a line of `events.jsonl`; a second of the generator is handed back.
fn event(app: &mut App, line: &Value) -> Option<Tick> {
    let t_us = line["t_us"].as_u64().unwrap_or(0);
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let id = || Id::from(line["id"].as_str().unwrap_or_default());
    let event = match line["kind"].as_str()? {
        "run" => RunEvent::Run {
            t_us,
            state: read(&line["state"])?,
        },
        "phase" => RunEvent::Phase {
            t_us,
            id: id(),
            begun: line["state"] == "on",
        },
        "fault" => RunEvent::Fault {
            t_us,
            id: id(),
            state: read(&line["state"])?,
            by: read(&line["by"])?,
        },
        kind @ ("ejection" | "health" | "breaker") => RunEvent::Changed(Changed {
            t_us,
            kind: match kind {
                "ejection" => "ejection",
                "health" => "health",
                _ => "breaker",
            },
            service: Id::from(line["service"].as_str().unwrap_or_default()),
            endpoint: text("endpoint"),
            from: text("from"),
            to: text("to"),
            why: text("why"),
        }),
        "guard" => RunEvent::Guard {
            t_us,
            when: text("when"),
            value: text("value"),
        },
        "steady" => RunEvent::Steady {
            t_us,
            check: text("check"),
            held: line["held"].as_bool(),
            value: text("value"),
        },
        "note" => RunEvent::Note {
            t_us,
            text: text("text"),
        },
        "undo" => {
            let ok = line["ok"] == true;
            let (level, how) = if ok {
                (Level::Plain, "undone")
            } else {
                (Level::Bad, "NOT undone")
            };
            app.note(t_us, level, format!("{} {} {how}", text("what"), id()));
            return None;
        }
        "check" => {
            if line["provisional"] == false {
                let outcome: Outcome = read(&line["outcome"])?;
                let text = format!("check {}: {}", id(), name(outcome));
                app.note(t_us, Level::Plain, text);
            }
            return None;
        }
        "mirror" => {
            mirror(app, line);
            return None;
        }
        "tick" => return read(line),
        _ => return None,
    };
    app.fold(&event);
    None
}

fn mirror(app: &mut App, line: &Value) -> Option<()> {
    let is_live = app.facts.is_live;
    let shadowed = app
        .shadowed
        .entry(line["shadow"].as_str()?.into())
        .or_default();
    let outcome: MirrorOutcome = read(&line["outcome"])?;
    *shadowed.outcomes.entry(outcome).or_default() += 1;
    if outcome != MirrorOutcome::Compared {
        return None;
    }
    let has_place = is_live || line["intended_ms"].is_u64();
    let endpoint = line["endpoint"].as_str()?;
    *shadowed.endpoints.entry(endpoint.to_owned()).or_default() += 1;
    let mut seen = std::collections::BTreeSet::new();
    for differs in line["differs"].as_array()? {
        let key = (
            endpoint.to_owned(),
            differs[0].as_str()?.to_owned(),
            known(&KINDS, differs[1].as_str()?),
        );
        if seen.insert(key.clone()) {
            let field = shadowed.fields.entry(key).or_default();
            field.count += 1;
            field.rule = differs[2].as_str().map(str::to_owned);
            // Without a trace id of the run, `ord` is the order of arrival: no place in its schedule.
            field
                .ordinals
                .extend(line["ord"].as_u64().filter(|_| has_place));
        }
    }
    None
}

fn example(app: &mut App, line: &Value) -> Option<()> {
    let key = (
        line["endpoint"].as_str()?.to_owned(),
        line["template"].as_str()?.to_owned(),
        known(&KINDS, line["kind"].as_str()?),
    );
    let shadowed = app.shadowed.get_mut(line["shadow"].as_str()?)?;
    // A JSON null as a value and none at all are both `null` in the line: its kind tells.
    let kind = key.2;
    let value = |side: &str, lacks: &str| {
        let value = &line[side];
        (!value.is_null() || kind != lacks).then(|| value.clone())
    };
    let target = line["target"].as_str().or(line["request"].as_str())?;
    shadowed.fields.get_mut(&key)?.examples.push(Example {
        ordinal: line["ord"].as_u64()?,
        method: line["method"].as_str()?.to_owned(),
        target: target.to_owned(),
        at: line["path"].as_str().unwrap_or_default().to_owned(),
        primary: value("primary", "extra"),
        shadow: value("candidate", "missing"),
        control: match &line["control"] {
            // Not known, or nothing there: the writer does not tell them apart.
            Value::Null => Control::Unknown,
            value => Control::Has(Some(value.clone())),
        },
        us: read(&line["us"]),
        asked: asked(&line["asked"]).map(Arc::new),
    });
    Some(())
}

/// The request of an example.
fn asked(value: &Value) -> Option<Asked> {
    let body = match value["body_base64"].as_str() {
        Some(coded) => STANDARD.decode(coded).ok()?,
        None => value["body"].as_str()?.as_bytes().to_vec(),
    };
    Some(Asked {
        headers: read(&value["headers"])?,
        body,
        length: value["body_bytes"].as_u64()?,
    })
}

/// What the report says of each field.
fn judged(app: &mut App, run: &Run) {
    for (shadow, diffs) in &run.diffs {
        let Some(shadowed) = app.shadowed.get_mut(shadow.as_str()) else {
            continue;
        };
        for field in diffs.fields.iter().filter(|field| field.rule.is_none()) {
            let key = (
                field.endpoint.clone(),
                field.path.clone(),
                known(&KINDS, &field.kind),
            );
            if let Some(known) = shadowed.fields.get_mut(&key) {
                known.judged = Some(Judged {
                    class: field.class,
                    b: field.b,
                    c: field.c,
                    both: field.both,
                    total: field.total,
                    p: field.p_adjusted,
                    q: field.q.unwrap_or(field.p_adjusted),
                });
            }
        }
    }
}

/// Folds a line of `requests.jsonl`: the request, and the calls that it caused.
fn request(app: &mut App, line: &Value) -> Option<()> {
    if let Some(service) = line["service"].as_str() {
        let intended = line["intended_us"].as_u64()?;
        let us = line["done_us"].as_u64()?.saturating_sub(intended);
        app.serve(&service.into(), intended, us, line["error"] == true, 1);
    }
    let hops = line["hops"].as_array().or(line["late"].as_array())?;
    for hop in hops {
        let service: Id = hop["service"].as_str()?.into();
        if hop["inbound"] == true || hop["side"] != 0 || app.facts.is_driven(&service) {
            continue;
        }
        let status = hop["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let failed = app
            .facts
            .errors
            .is_error(status, hop["complete"] == true, None);
        let intended: Micros = match hop["intended_ms"].as_u64() {
            Some(ms) => ms * 1000,
            None => hop["start_us"].as_u64()?,
        };
        app.serve(&service, intended, hop["us"].as_u64()?, failed, 1);
    }
    None
}

/// Without all requests: latencies by second from the log. Which of them failed is not in it.
fn intervals(app: &mut App, report: &Report) {
    for interval in &report.intervals {
        let service = Id::from(interval.tag.service.as_str());
        let kind = if app.facts.is_driven(&service) {
            Kind::Response
        } else {
            Kind::Service
        };
        if interval.tag.kind != kind || interval.tag.side != "primary" {
            continue;
        }
        for (bucket, count) in interval.histogram.buckets() {
            let (_, us) = crate::stats::histogram::bounds_of(bucket);
            app.serve(&service, interval.begin_us, us, false, count);
        }
    }
}

/// Errors by phase as they were counted, whatever was read of single requests.
fn errors(app: &mut App, run: &Run) {
    for row in &run.counts {
        if let Some(served) = app.served.get_mut(&*row.service) {
            served
                .errors
                .insert(Arc::from(row.phase.as_str()), row.errors);
        }
    }
}

fn ending(report: &Report) -> Ending {
    let run = &report.run;
    Ending {
        verdict: match run.state {
            RunState::Finished => run.score.verdict.name().to_owned(),
            RunState::Guarded => "stopped by a guard".to_owned(),
            state => name(state),
        },
        score: (run.score.low, run.score.value, run.score.high),
        failed_must: run.score.failed_must.clone(),
        grade: run.quality.grade.letter().to_string(),
        gates: run.quality.gates.iter().map(super::show::gate).collect(),
        faults: run
            .faults
            .iter()
            .map(|fault| {
                let how = match fault.effect {
                    Effect::NotApplied => "never on".to_owned(),
                    Effect::NoEffect => "took no effect".to_owned(),
                    Effect::Applied => format!("hit {} requests", fault.applied),
                };
                let undone = if fault.undone { "" } else { ", NOT undone" };
                let good = fault.effect == Effect::Applied && fault.undone;
                (format!("{}: {how}{undone}", fault.id), good)
            })
            .collect(),
        report: Some(report.dir.display().to_string()),
        exit: run.exit,
        requests: (
            run.generator.planned,
            run.generator.sent,
            run.generator.done,
        ),
        took_us: match run.state {
            RunState::Finished => run.length_us(),
            _ => 0,
        },
    }
}

/// A value in its own words; `None` if a newer meshbed wrote another.
fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        event::{FaultState, SwitchedBy},
        measure::{
            Measured,
            fixture::{hit, hop, mirror, request},
        },
        report::{self, Writer, run::Host},
        scenario::{self, Overrides, Scenario},
        score,
    };

    const SCENARIO: &str = r#"
version: 1
name: Small shop
seed: 7
topology:
  entry: shop
  services:
    shop: { builtin: { app: shop, version: v1 }, calls: [pay] }
    pay: { builtin: { app: payments, version: v1 } }
traffic:
  - id: main
    to: shop
    generate: { rate: 20/s, arrival: constant, requests: [ { method: GET, path: /cart/1 } ] }
shadow:
  - { id: candidate, of: shop, role: candidate, to: { builtin: { app: shop, version: v2 } }, sample: { percent: 100% } }
phases:
  - { id: steady, for: 3s }
  - { id: fault, for: 2s }
faults:
  - { id: slow, target: pay, during: fault, at: +1s, percent: 50%, delay: 400ms }
checks:
  - { id: quick, must: true, that: "p50[shop] < 250ms", over: steady }
"#;

    fn scenario(dir: &Path, requests: &str) -> Arc<Scenario> {
        let file = dir.join(format!("{requests}.yaml"));
        let reports = dir.join("reports");
        let report = format!(
            "report: {{ dir: {}, requests: {requests} }}\n",
            reports.display()
        );
        std::fs::write(&file, format!("{SCENARIO}{report}")).unwrap();
        match scenario::load(&file, &Overrides::default()) {
            Ok((scenario, _)) => Arc::new(scenario),
            Err(problems) => panic!("{problems}"),
        }
    }

    fn events() -> Vec<RunEvent> {
        let mut events = vec![
            RunEvent::Run {
                t_us: 0,
                state: RunState::Playing,
            },
            request(0, 500_000, 1_000, 200),
            hop("client", "shop", 0, |_| {}),
            hop("shop", "pay", 0, |hop| {
                hop.hits = vec![hit("slow", "applied")];
            }),
            request(1, 3_200_000, 900, 503),
            RunEvent::Fault {
                t_us: 4_000_000,
                id: "slow".into(),
                state: FaultState::On,
                by: SwitchedBy::Timeline,
            },
            RunEvent::Undo {
                t_us: 5_000_000,
                what: "process",
                id: "12".to_owned(),
                ok: true,
            },
        ];
        for sec in 0..5 {
            events.push(RunEvent::Tick(Tick {
                t_us: (sec + 1) * 1_000_000,
                sec,
                planned: sec * 20,
                sent: sec * 20,
                done: sec * 20,
                late_p99_us: 40 + sec,
                in_flight: 0,
            }));
        }
        for ordinal in 0..12 {
            events.push(mirror("candidate", ordinal, &[("$.tax", "missing")]));
        }
        events
    }

    fn facts() -> report::Facts {
        report::Facts {
            state: RunState::Finished,
            exit: 0,
            deterministic: true,
            trace: None,
            schedule: report::run::Schedule {
                sha256: String::new(),
                planned: 2,
                span_us: 3_200_000,
            },
            host: Host {
                cores: 2,
                workers: 1,
                kernel: String::new(),
                started: "2026-03-02T10:00:00Z".to_owned(),
            },
            git: String::new(),
            sent: 2,
            done: 2,
            drift_us: 0,
            cpu: None,
            faults_on: vec![("slow".into(), true)],
            steady_state: Vec::new(),
            checks: vec![Scored {
                outcome: Outcome::Pass,
                value: Some(1_000.0),
                unit: "us",
                interval: None,
                n: 20,
                points: 1.0,
                why: None,
            }],
            score: score::total(&[], 100.0),
            quality: score::quality(&score::Facts::default()),
        }
    }

    /// The same events, as they were shown and as they are read back.
    fn both(dir: &Path, requests: &str) -> (App, App) {
        let scenario = scenario(dir, requests);
        let mut live = App::new(Facts::of(&scenario));
        let writer = Writer::create(&scenario, None).unwrap();
        let mut measured = Measured::new(scenario.measuring());
        for event in events() {
            live.fold(&event);
            writer.event(&event);
            measured.add(&event);
        }
        let dir = writer.finish(&measured, &facts()).unwrap();
        (live, open(&report::read(&dir).unwrap()).unwrap())
    }

    fn served(app: &App) -> Vec<(String, u64, u64, u64, Vec<u64>)> {
        let rows = app.served.iter().flat_map(|(id, served)| {
            served.seconds.iter().map(|(sec, second)| {
                let bins = second.bins.iter().map(|bin| u64::from(*bin)).collect();
                (id.to_string(), *sec, second.count, second.errors, bins)
            })
        });
        rows.collect()
    }

    #[test]
    fn a_saved_run_shows_what_the_live_one_did() {
        let dir = tempfile::tempdir().unwrap();
        let (live, saved) = both(dir.path(), "all");
        assert_eq!(
            format!("{:?}", live.facts.services),
            format!("{:?}", saved.facts.services)
        );
        assert_eq!(live.facts.faults[0].what, saved.facts.faults[0].what);
        assert_eq!(live.facts.faults[0].windows, saved.facts.faults[0].windows);
        assert_eq!(served(&live), served(&saved));
        assert_eq!(served(&saved).len(), 3, "shop in two seconds, pay in one");
        let (live, saved_diffs) = (&live.shadowed["candidate"], &saved.shadowed["candidate"]);
        assert_eq!(live.outcomes, saved_diffs.outcomes);
        assert_eq!(live.endpoints, saved_diffs.endpoints);
        let counts = |shadowed: &super::super::app::Shadowed| -> Vec<_> {
            let fields = shadowed.fields.iter();
            fields
                .map(|(key, field)| (key.clone(), field.count))
                .collect()
        };
        assert_eq!(counts(live), counts(saved_diffs));
        let field = saved_diffs.fields.values().next().unwrap();
        assert_eq!(field.examples.len(), 12);
        assert_eq!(saved.faults["slow"].1, 1);
        assert!(
            saved
                .log
                .iter()
                .any(|(_, _, text)| text == "process 12 undone")
        );
        assert_eq!(saved.checks[0].as_ref().unwrap().0.outcome, Outcome::Pass);
        assert_eq!(
            saved.ending.as_ref().unwrap().faults[0].0,
            "slow: hit 1 requests"
        );
    }

    #[test]
    fn without_requests_the_log_by_seconds_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        let (_, saved) = both(dir.path(), "none");
        let rows = served(&saved);
        let counts: Vec<(&str, u64, u64)> = rows
            .iter()
            .map(|(id, sec, count, ..)| (id.as_str(), *sec, *count))
            .collect();
        assert_eq!(counts.iter().filter(|(id, ..)| *id == "shop").count(), 2);
        assert_eq!(
            saved.served["shop"].errors["fault"], 1,
            "from the counts by phase"
        );
    }

    #[test]
    fn a_person_goes_back_and_forth_in_a_saved_run() {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut saved) = both(dir.path(), "all");
        assert_eq!(saved.now_us, 5_000_000);
        assert!(!saved.is_on("slow"));
        saved.go_to(4_000_000);
        assert!(saved.is_on("slow"), "its window is 4 s to 5 s");
        let late = |app: &App| app.ticks.0.as_ref().map(|tick| tick.late_p99_us);
        assert_eq!(
            late(&saved),
            Some(43),
            "the tick at 4 s is that of second 3"
        );
        saved.go_to(500_000);
        assert_eq!(late(&saved), None);
        saved.go_to(60_000_000);
        assert_eq!(saved.now_us, 5_000_000, "not beyond its end");
    }
}
