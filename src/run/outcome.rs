//! What a run came to: the facts of its generator, faults and shadows, and how it ended.

use std::collections::BTreeMap;

use super::mesh;
use crate::{
    event::{Id, Micros, RunState, Scored},
    measure::{Class, Kind, Measured, Subject, Window},
    replay::Totals,
    scenario::Scenario,
    score::{self, Facts, Part, Quality, Score, Verdict},
    shadow::{self, MIN_STRUCTURAL},
    stats::quantile::Quantile,
};

/// What a run came to; with the events, all that a report needs.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run's number, 40 bits, as in its trace ids.
    pub run: u64,
    /// How it ended.
    pub ending: Ending,
    /// Conditions that had to hold before anything was broken; empty where it never came to that.
    pub steady: Vec<SteadyFacts>,
    /// No rule counted by arrival.
    pub deterministic: bool,
    /// Event loops of the proxies.
    pub workers: usize,
    /// The schedule.
    pub schedule: ScheduleFacts,
    /// Captures that were played, each once.
    pub traces: Vec<TraceFacts>,
    /// What the generator did; `None`: it never began, or died.
    pub totals: Option<Totals>,
    /// Faults, in file order.
    pub faults: Vec<FaultFacts>,
    /// Checks, in file order.
    pub checks: Vec<Scored>,
    /// What the checks add up to.
    pub score: Score,
    /// How good the experiment was.
    pub quality: Quality,
    /// All that was measured.
    pub measured: Measured,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It came to its end.
    Finished,
    /// A person or a signal stopped it.
    Interrupted,
    /// A guard stopped it: its condition, and what it saw.
    Guarded(String),
    /// The steady state did not hold: what did not, and what was seen. Nothing was broken.
    Unsteady(String),
    /// The environment failed while it ran.
    Failed(String),
}

impl Ending {
    /// The state in the report.
    pub fn state(&self) -> RunState {
        match self {
            Self::Finished | Self::Unsteady(_) => RunState::Finished,
            Self::Interrupted => RunState::Interrupted,
            Self::Guarded(_) => RunState::Guarded,
            Self::Failed(_) => RunState::Failed,
        }
    }

    /// Whether this one, said before, is not how the run ends when that one is said, too: what fails while requests end
    /// that are under way, has failed in the run.
    pub fn gives_way_to(&self, later: &Self) -> bool {
        *self == Self::Finished && matches!(later, Self::Failed(_))
    }

    /// Why checks were not judged; `None`: they were.
    pub fn not_run(&self) -> Option<&'static str> {
        match self {
            Self::Finished => None,
            Self::Interrupted => Some("the run was interrupted"),
            Self::Guarded(_) => Some("a guard stopped the run"),
            Self::Unsteady(_) => Some("the steady state did not hold"),
            Self::Failed(_) => Some("the environment failed"),
        }
    }
}

/// What a process reports of a run, in the order in which the first that holds counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// A person stopped it.
    Interrupted,
    /// The environment failed, or a fault could not be applied.
    Environment,
    /// A guard stopped it.
    Guarded,
    /// It is not valid as an experiment.
    Invalid,
    /// The verdict is fail, or a fault took no effect.
    Fail,
    /// The verdict depends on what is unknown.
    Inconclusive,
    /// The verdict is pass.
    Pass,
}

impl Outcome {
    /// What a process reports of it.
    pub fn result(&self) -> Result {
        let no_effect = self.faults.iter().any(FaultFacts::took_no_effect);
        match (&self.ending, self.score.verdict) {
            (Ending::Interrupted, _) => Result::Interrupted,
            (Ending::Failed(_), _) => Result::Environment,
            (Ending::Guarded(_), _) => Result::Guarded,
            (Ending::Unsteady(_), _) => Result::Invalid,
            (Ending::Finished, _) if !self.quality.is_valid() => Result::Invalid,
            (Ending::Finished, Verdict::Fail) => Result::Fail,
            (Ending::Finished, _) if no_effect => Result::Fail,
            (Ending::Finished, Verdict::Inconclusive) => Result::Inconclusive,
            (Ending::Finished, Verdict::Pass) => Result::Pass,
        }
    }
}

/// The schedule that was played.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduleFacts {
    /// SHA-256 of its requests and times, in hex.
    pub sha256: String,
    /// Requests in it.
    pub planned: u64,
    /// When the last is due.
    pub span_us: Micros,
}

/// A capture that was played.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TraceFacts {
    /// Its path, as the scenario has it.
    pub path: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Requests taken from it.
    pub exchanges: u64,
    /// What was left out, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// A condition that had to hold before anything was broken, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteadyFacts {
    /// The condition.
    pub check: String,
    /// Whether it held; `None`: too little data.
    pub held: Option<bool>,
    /// What was seen.
    pub value: String,
}

/// What became of a fault's switch, and of its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultFacts {
    /// Its id.
    pub id: Id,
    /// It was on at some time.
    pub on: bool,
    /// It is off, and nothing of it is left.
    pub undone: bool,
    /// Requests that it was done to.
    pub applied: u64,
}

impl FaultFacts {
    /// It was on, and was done to nothing: the run shows nothing about it.
    pub fn took_no_effect(&self) -> bool {
        self.on && self.applied == 0
    }
}

/// What the engine knows at the end, beside what was measured.
#[derive(Debug)]
pub(super) struct End {
    pub(super) run: u64,
    pub(super) ending: Ending,
    pub(super) steady: Vec<SteadyFacts>,
    pub(super) workers: usize,
    /// By fault: whether it was ever on, and whether it is undone.
    pub(super) on: Vec<(bool, bool)>,
    pub(super) schedule: ScheduleFacts,
    pub(super) traces: Vec<TraceFacts>,
    /// `None`: the generator never began, or died.
    pub(super) totals: Option<Totals>,
    pub(super) checks: Vec<Scored>,
}

/// Sums a run up.
pub(super) fn sum_up(scenario: &Scenario, measured: Measured, end: End) -> Outcome {
    let faults: Vec<FaultFacts> = scenario
        .faults
        .iter()
        .zip(measured.faults())
        .zip(&end.on)
        .map(|((fault, faulted), (on, undone))| FaultFacts {
            id: fault.id.clone(),
            on: *on,
            undone: *undone,
            applied: faulted.applied,
        })
        .collect();
    let quality = score::quality(&facts(scenario, &measured, &end, &faults));
    let parts: Vec<Part> = scenario
        .checks
        .iter()
        .zip(&end.checks)
        .map(|(check, scored)| Part {
            id: check.id.to_string(),
            must: check.must,
            weight: check.weight,
            outcome: scored.outcome,
            points: scored.points,
        })
        .collect();
    Outcome {
        run: end.run,
        steady: end.steady,
        deterministic: !scenario
            .faults
            .iter()
            .any(|fault| mesh::counts_arrivals(scenario, fault)),
        workers: end.workers,
        schedule: end.schedule,
        traces: end.traces,
        totals: end.totals,
        faults,
        score: score::total(&parts, scenario.min_score),
        checks: end.checks,
        quality,
        measured,
        ending: end.ending,
    }
}

/// Places where two instances of one build differ in what clients break on, often enough that it is no accident; as far as
/// the control was held against the primary beside a candidate. `None`: it never was.
fn unlike_itself(scenario: &Scenario, measured: &Measured, recorded: &[Window]) -> Option<u64> {
    let mut places = Vec::new();
    let mut paired = false;
    for candidate in &scenario.shadows {
        let Some(control) = scenario.control_of(candidate) else {
            continue;
        };
        if control.id == candidate.id {
            continue;
        }
        let mirrored = measured.shadows().over(&candidate.id, recorded);
        paired |= mirrored.paired > 0;
        for field in measured.differences(&mirrored) {
            let structural =
                shadow::Kind::named(&field.place.kind).is_some_and(shadow::Kind::is_structural);
            let often = field.counts.c + field.counts.both >= MIN_STRUCTURAL;
            let told = field.verdict.class != Class::Ignored;
            if structural && often && told && !places.contains(&field.place) {
                places.push(field.place);
            }
        }
    }
    paired.then_some(places.len() as u64)
}

/// What the quality of the experiment is judged by.
fn facts(scenario: &Scenario, measured: &Measured, end: &End, faults: &[FaultFacts]) -> Facts {
    let recorded = measured.recorded();
    let requests = |service: &Id| {
        let subject = Subject::primary(service);
        measured.over(&subject, &recorded).tally.requests
    };
    let (hops, unscheduled) = measured.identified();
    let sent = end.totals.filter(|totals| totals.stats.sent > 0);
    let of_faults = |wanted: fn(&FaultFacts) -> bool| {
        faults.iter().filter(|fault| wanted(fault)).count() as u64
    };
    Facts {
        planned: end.schedule.planned,
        // A connection that is refused is what a fault does to the load, and no fault of who would have sent it.
        sent: end
            .totals
            .map_or(0, |totals| totals.stats.sent + totals.stats.unopened),
        lateness_p99_us: sent.map(|totals| totals.lateness_us.p99),
        response_p50_us: measured
            .generator(&recorded)
            .latency(Kind::Response)
            .and_then(|histogram| histogram.quantile(Quantile::P50)),
        cpu: end.totals.map(|totals| totals.cpu),
        samples: mesh::driven(scenario)
            .into_iter()
            .map(requests)
            .min()
            .unwrap_or_default(),
        identified: 1.0 - share(unscheduled, hops),
        control_structural: unlike_itself(scenario, measured, &recorded),
        faults: (
            of_faults(|fault| fault.on),
            of_faults(|fault| fault.on && fault.undone),
        ),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event, run::fixture};

    fn scored(outcome: event::Outcome) -> Scored {
        Scored {
            outcome,
            value: None,
            unit: "bool",
            interval: None,
            n: 0,
            points: f64::from(u8::from(outcome == event::Outcome::Pass)),
            why: None,
        }
    }

    #[test]
    fn a_failure_after_the_last_phase_is_not_lost() {
        let failed = || Ending::Failed("no".into());
        assert!(Ending::Finished.gives_way_to(&failed()));
        assert!(!Ending::Finished.gives_way_to(&Ending::Guarded("x".into())));
        for first in [Ending::Interrupted, failed(), Ending::Guarded("x".into())] {
            assert!(!first.gives_way_to(&failed()), "{first:?}");
        }
    }

    /// A run of the fixture with one `must`, a fault that was on, and a generator that was on time.
    fn outcome(ending: Ending, check: event::Outcome, applied: bool, sent: u64) -> Outcome {
        let mut scenario = fixture::scenario();
        scenario.checks.push(crate::scenario::Check {
            id: "one".into(),
            must: true,
            weight: 1.0,
            that: crate::expr::Expr::Literal(1.0, crate::expr::Unit::Bool),
            text: "true".to_owned(),
            graded: None,
            not: None,
            over: Vec::new(),
            from: None,
        });
        let measured = Measured::new(scenario.measuring());
        let mut outcome = sum_up(
            &scenario,
            measured,
            End {
                run: 1,
                ending,
                steady: Vec::new(),
                workers: 1,
                on: vec![(true, true)],
                schedule: ScheduleFacts {
                    sha256: String::new(),
                    planned: 100,
                    span_us: 0,
                },
                traces: Vec::new(),
                totals: Some(Totals {
                    stats: crate::replay::Stats {
                        planned: 100,
                        released: 100,
                        sent,
                        done: sent,
                        overflow: 0,
                        no_response: 0,
                        unopened: 0,
                        in_flight: 0,
                    },
                    lateness_us: crate::replay::Quantiles::default(),
                    blocked_us: crate::replay::Quantiles::default(),
                    drift_us: 0,
                    cpu: 0.0,
                }),
                checks: vec![scored(check)],
            },
        );
        for fault in &mut outcome.faults {
            fault.applied = u64::from(applied);
        }
        outcome
    }

    #[test]
    fn the_first_that_holds_decides() {
        use event::Outcome::{Fail, NoData, Pass};
        let unsteady = || Ending::Unsteady(String::new());
        let rows = [
            ("all well", Ending::Finished, Pass, true, 100, Result::Pass),
            (
                "a must failed",
                Ending::Finished,
                Fail,
                true,
                100,
                Result::Fail,
            ),
            (
                "no effect",
                Ending::Finished,
                Pass,
                false,
                100,
                Result::Fail,
            ),
            (
                "no effect, undecided",
                Ending::Finished,
                NoData,
                false,
                100,
                Result::Fail,
            ),
            (
                "undecided",
                Ending::Finished,
                NoData,
                true,
                100,
                Result::Inconclusive,
            ),
            (
                "half the load, failed",
                Ending::Finished,
                Fail,
                true,
                50,
                Result::Invalid,
            ),
            (
                "never steady, failed",
                unsteady(),
                Fail,
                false,
                100,
                Result::Invalid,
            ),
            (
                "guarded, half the load",
                Ending::Guarded(String::new()),
                Fail,
                true,
                50,
                Result::Guarded,
            ),
            (
                "broken",
                Ending::Failed(String::new()),
                Fail,
                false,
                50,
                Result::Environment,
            ),
            (
                "interrupted",
                Ending::Interrupted,
                Fail,
                false,
                0,
                Result::Interrupted,
            ),
        ];
        for (name, ending, check, applied, sent, expected) in rows {
            assert_eq!(
                outcome(ending, check, applied, sent).result(),
                expected,
                "{name}"
            );
        }
    }
}
