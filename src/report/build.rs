//! Measurements and facts → `run.json`.

use serde_json::Value;

use crate::{
    event::{Id, RunState, Scored},
    measure::{Cell, Class, Kind, Measured, Mirrored, PRIMARY, Window, count_of},
    report::run::{
        Build, CheckPart, Counts, Delta, Diffs, DistributionPart, Effect, EventsPart, FaultPart,
        FieldPart, Generator, Host, Latency, NotePart, PhasePart, RequestsPart, Run, SCHEMA,
        ScenarioPart, Schedule, ShadowPart, Spread, SteadyPart, Trace,
    },
    scenario::{Fault, Place, Scenario},
    score::{Quality, Score},
    stats::{histogram::Histogram, quantile::Quantile},
};

/// What a run says of itself, beside what was measured.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How it ended.
    pub state: RunState,
    /// What the command exits with.
    pub exit: u8,
    /// Every choice is a function of scenario, capture and seed, as far as the run knows; requests that carried none of
    /// its trace ids are found by measuring.
    pub deterministic: bool,
    /// The capture that was played.
    pub trace: Option<Trace>,
    /// What was to be sent.
    pub schedule: Schedule,
    /// Where it ran.
    pub host: Host,
    /// Commit that it was built from, or empty.
    pub git: String,
    /// Requests handed to a connection.
    pub sent: u64,
    /// Requests answered in full.
    pub done: u64,
    /// How the generator's clock ran away by the end.
    pub drift_us: i64,
    /// Share of the processors that the generator's process used.
    pub cpu: Option<f64>,
    /// Faults that were switched on, and whether each is off and its traces gone.
    pub faults_on: Vec<(Id, bool)>,
    /// Conditions that had to hold before anything was broken.
    pub steady_state: Vec<SteadyPart>,
    /// The checks, judged, in the scenario's order.
    pub checks: Vec<Scored>,
    /// What they come to.
    pub score: Score,
    /// How good the experiment was.
    pub quality: Quality,
}

/// The whole outcome of a run.
pub(super) fn run(
    id: &str,
    scenario: &Scenario,
    measured: &Measured,
    facts: &Facts,
    (requests, events): (RequestsPart, EventsPart),
    others_cpu: Option<f64>,
) -> Run {
    let (hops, unscheduled) = measured.identified();
    let whole = [Window {
        begin_us: 0,
        end_us: u64::MAX,
    }];
    let failed = facts
        .quality
        .gates
        .iter()
        .filter(|gate| gate.must && !gate.ok);
    let all = measured.generator(&whole);
    Run {
        schema: SCHEMA,
        id: id.to_owned(),
        state: facts.state,
        exit: facts.exit,
        seed: scenario.seed.0,
        deterministic: facts.deterministic && unscheduled == 0,
        unidentified: if hops == 0 {
            0.0
        } else {
            unscheduled as f64 / hops as f64
        },
        scenario: ScenarioPart {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            file: std::path::absolute(&scenario.file)
                .unwrap_or_else(|_| scenario.file.clone())
                .display()
                .to_string(),
            sha256: scenario.sha256.clone(),
            resolved: redacted(&scenario.resolved, &scenario.report.redact),
        },
        trace: facts.trace.clone(),
        schedule: facts.schedule.clone(),
        build: Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: facts.git.clone(),
        },
        host: facts.host.clone(),
        phases: phases(scenario),
        generator: Generator {
            planned: facts.schedule.planned,
            sent: facts.sent,
            done: facts.done,
            overflow: measured.overflow(&whole),
            no_response: facts.sent.saturating_sub(facts.done),
            lateness_us: spread(all.latency(Kind::Lateness)),
            blocked_us: spread(all.latency(Kind::Blocked)),
            drift_us: facts.drift_us,
            cpu: facts.cpu,
            others_cpu,
            valid: facts.quality.is_valid(),
            why: failed.map(|gate| gate.id.clone()).collect(),
        },
        faults: faults(scenario, measured, &facts.faults_on),
        shadows: shadows(scenario, measured, &whole),
        latency: latency(measured),
        counts: counts(measured),
        diffs: diffs(scenario, measured),
        steady_state: facts.steady_state.clone(),
        checks: checks(scenario, &facts.checks),
        score: facts.score.clone(),
        quality: facts.quality.clone(),
        requests,
        events: Some(events),
        notes: measured
            .notes()
            .iter()
            .map(|(t_us, text)| NotePart {
                t_us: *t_us,
                text: text.clone(),
            })
            .collect(),
    }
}

fn phases(scenario: &Scenario) -> Vec<PhasePart> {
    let part = |phase: &crate::scenario::Phase| PhasePart {
        id: phase.id.to_string(),
        begin_us: phase.begin_us,
        end_us: phase.end_us,
        record: phase.record,
    };
    scenario.phases.iter().map(part).collect()
}

fn faults(scenario: &Scenario, measured: &Measured, on: &[(Id, bool)]) -> Vec<FaultPart> {
    let part = |(fault, faulted): (&Fault, &crate::measure::Faulted)| {
        let switched = on.iter().find(|(id, _)| *id == fault.id);
        let windows: Vec<[u64; 2]> = fault
            .windows
            .iter()
            .map(|(begin, end)| [u64::from(*begin) * 1000, u64::from(*end) * 1000])
            .collect();
        FaultPart {
            id: fault.id.to_string(),
            target: fault.target.to_string(),
            from: fault.from.iter().map(ToString::to_string).collect(),
            place: match fault.place {
                _ if fault.kind.is_of_connections() => "connection".to_owned(),
                Place::Request => "request".to_owned(),
                Place::Attempt => "attempt".to_owned(),
            },
            window_us: [
                windows.first().map_or(0, |[begin, _]| *begin),
                windows.last().map_or(0, |[_, end]| *end),
            ],
            windows_us: windows,
            kind: fault.kind.kind().to_owned(),
            considered: faulted.considered,
            chosen: faulted.chosen,
            applied: faulted.applied,
            superseded: faulted.superseded,
            capped: faulted.capped,
            abandoned: faulted.abandoned,
            effect: match switched {
                _ if faulted.applied > 0 => Effect::Applied,
                Some(_) => Effect::NoEffect,
                None => Effect::NotApplied,
            },
            undone: switched.is_none_or(|(_, undone)| *undone),
        }
    };
    scenario
        .faults
        .iter()
        .zip(measured.faults())
        .map(part)
        .collect()
}

fn shadows(scenario: &Scenario, measured: &Measured, whole: &[Window]) -> Vec<ShadowPart> {
    let part = |shadow: &crate::scenario::Shadow| {
        let mirrored = measured.shadows().over(&shadow.id, whole);
        ShadowPart {
            id: shadow.id.to_string(),
            of: shadow.of.to_string(),
            role: shadow.role.name().to_owned(),
            chosen: mirrored.chosen,
            sent: mirrored.sent(),
            compared: mirrored.compared,
            delta_us: delta(&mirrored),
            shed: mirrored.shed,
            failed: mirrored.failed,
            skipped: mirrored.skipped,
        }
    };
    scenario.shadows.iter().map(part).collect()
}

fn delta(mirrored: &Mirrored) -> Option<Delta> {
    let at = |quantile| mirrored.delta.quantile(quantile);
    Some(Delta {
        n: mirrored.delta.count(),
        p50: at(Quantile::P50)?,
        p90: at(Quantile::P90)?,
        p99: at(Quantile::P99)?,
    })
}

/// All subjects without a filter, with the cells of each phase.
fn by_phase(measured: &Measured) -> Vec<(&crate::measure::Subject, &Id, Cell)> {
    let mut rows = Vec::new();
    for (subject, series) in measured.subjects() {
        if subject.filter != crate::measure::Filter::default() {
            continue;
        }
        for (phase, window, _) in &measured.setup().phases {
            rows.push((subject, phase, series.over(&[*window])));
        }
    }
    rows
}

fn latency(measured: &Measured) -> Vec<Latency> {
    let mut rows = Vec::new();
    for (subject, phase, cell) in by_phase(measured) {
        for kind in Kind::ALL {
            let Some(histogram) = cell.latency(kind).filter(|histogram| !histogram.is_empty())
            else {
                continue;
            };
            let at = |quantile| histogram.quantile(quantile).unwrap_or(0);
            let side = measured.side_name(subject.side);
            rows.push(Latency {
                service: subject.service.to_string(),
                side: side.to_owned(),
                phase: phase.to_string(),
                kind: kind.name().to_owned(),
                tag: format!("{}/{side}/{phase}/{}", subject.service, kind.name()),
                n: histogram.count(),
                clipped: histogram.clipped(),
                min: histogram.min().unwrap_or(0),
                p50: at(Quantile::P50),
                p90: at(Quantile::P90),
                p99: at(Quantile::P99),
                p999: at(Quantile::P999),
                max: histogram.max().unwrap_or(0),
            });
        }
    }
    rows
}

fn counts(measured: &Measured) -> Vec<Counts> {
    let primary = by_phase(measured)
        .into_iter()
        .filter(|(subject, _, _)| subject.side == PRIMARY);
    primary
        .filter(|(_, _, cell)| *cell != Cell::default())
        .map(|(subject, phase, cell)| {
            let tally = cell.tally;
            let driven = measured.is_driven(&subject.service);
            Counts {
                service: subject.service.to_string(),
                phase: phase.to_string(),
                place: if driven { "client" } else { "callers" }.to_owned(),
                requests: tally.requests,
                attempts: tally.attempts,
                retries: tally.retries,
                errors: tally.errors,
                bytes: tally.bytes,
                status: tally.status,
                flags: tally
                    .flags
                    .into_iter()
                    .map(|(flag, count)| (flag.to_owned(), count))
                    .collect(),
            }
        })
        .collect()
}

/// Over the recorded phases, as checks see them by default.
fn diffs(scenario: &Scenario, measured: &Measured) -> std::collections::BTreeMap<String, Diffs> {
    let recorded = measured.recorded();
    let control = scenario.diff.control.as_ref();
    let shadows = scenario
        .shadows
        .iter()
        .filter(|shadow| Some(&shadow.id) != control);
    let part = |shadow: &crate::scenario::Shadow| {
        let mirrored = measured.shadows().over(&shadow.id, &recorded);
        let fields = measured.differences(&mirrored);
        let distributions = measured.distributions(&mirrored);
        let diffs = Diffs {
            control: scenario
                .control_of(shadow)
                .map(|control| control.id.to_string()),
            compared: mirrored.compared,
            paired: mirrored.paired,
            pairs_different: mirrored.different,
            material: count_of(&fields, &distributions, Class::Material),
            fields: fields
                .into_iter()
                .map(|field| FieldPart {
                    endpoint: field.place.endpoint,
                    path: field.place.path,
                    kind: field.place.kind,
                    b: field.counts.b,
                    c: field.counts.c,
                    both: field.counts.both,
                    total: field.total,
                    p: field.verdict.p,
                    p_adjusted: field.verdict.p_adjusted,
                    q: Some(field.verdict.q),
                    class: field.verdict.class,
                    rule: field.place.rule,
                    form: field.form.map(|form| form.to_string()),
                })
                .collect(),
            distributions: distributions
                .into_iter()
                .map(|one| DistributionPart {
                    endpoint: one.place.endpoint,
                    path: one.place.path,
                    of: one.shift.of.name().to_owned(),
                    n: one.shift.n as u64,
                    trend: one.shift.trend,
                    d: one.shift.d,
                    floor: one.shift.floor,
                    p: one.shift.p,
                    p_adjusted: one.p_adjusted,
                    class: one.class,
                })
                .collect(),
        };
        (shadow.id.to_string(), diffs)
    };
    shadows.map(part).collect()
}

fn checks(scenario: &Scenario, scored: &[Scored]) -> Vec<CheckPart> {
    let part = |(check, scored): (&crate::scenario::Check, &Scored)| CheckPart {
        id: check.id.to_string(),
        that: check.text.clone(),
        over: (!check.over.is_empty()).then(|| check.over.join(",")),
        from: check.from.as_ref().map(|moment| moment.text.clone()),
        must: check.must,
        weight: check.weight,
        pass: check.graded.map(|graded| graded.pass),
        fail: check.graded.map(|graded| graded.fail),
        not: check.not.map(|not| not.name().to_owned()),
        unit: scored.unit.to_owned(),
        value: scored.value,
        interval: scored.interval,
        n: scored.n,
        outcome: scored.outcome,
        points: scored.points,
        why: scored.why.clone(),
    };
    scenario.checks.iter().zip(scored).map(part).collect()
}

fn spread(histogram: Option<&Histogram>) -> Spread {
    let Some(histogram) = histogram else {
        return Spread::default();
    };
    Spread {
        p50: histogram.quantile(Quantile::P50).unwrap_or(0),
        p99: histogram.quantile(Quantile::P99).unwrap_or(0),
        max: histogram.max().unwrap_or(0),
    }
}

/// The scenario without the values of headers and cookies that must not be shown.
fn redacted(value: &Value, hidden: &[String]) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let secret =
                    !value.is_object() && hidden.iter().any(|name| name.eq_ignore_ascii_case(key));
                let value = if secret {
                    Value::from("[redacted]")
                } else {
                    redacted(value, hidden)
                };
                (key.clone(), value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(|value| redacted(value, hidden)).collect(),
        _ => value.clone(),
    }
}
