//! What a run came to: the facts of its generator, faults and shadows, and how it ended.

use std::collections::BTreeMap;

use crate::event::{Id, Micros, RunState, Scored};

/// What a run came to; with the events, all that a report needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The run's number, 40 bits, as in its trace ids.
    pub run: u64,
    /// How it ended.
    pub state: RunState,
    /// Why it did not come to its end, or why it says nothing.
    pub why: Option<String>,
    /// Whether the steady state held; `None`: there is none, or it never came to be judged.
    pub steady: Option<bool>,
    /// Every request carried the schedule's ordinal to every sidecar, and no rule counted by arrival.
    pub deterministic: bool,
    /// Share of the requests at sidecars whose ordinal is that of arrival.
    pub unscheduled: f64,
    /// Event loops of the proxies.
    pub workers: usize,
    /// The schedule.
    pub schedule: ScheduleFacts,
    /// Captures that were played, one a source that plays one.
    pub traces: Vec<TraceFacts>,
    /// The generator's own health.
    pub generator: GeneratorFacts,
    /// Faults, in file order.
    pub faults: Vec<FaultFacts>,
    /// Shadows, in file order.
    pub shadows: Vec<ShadowFacts>,
    /// Checks, in file order.
    pub checks: Vec<Scored>,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// The generator's own health.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeneratorFacts {
    /// Requests of the schedule.
    pub planned: u64,
    /// Those sent.
    pub sent: u64,
    /// Those answered in full.
    pub done: u64,
    /// Those that waited because `max_in_flight` were under way.
    pub overflow: u64,
    /// Those without a complete answer.
    pub no_response: u64,
    /// How late the scheduler let them go.
    pub lateness_us: Spread,
    /// How long they waited for a connection or a place.
    pub blocked_us: Spread,
    /// How far the schedule's last request was late.
    pub drift_us: Micros,
    /// CPU time of the generator per second of the run.
    pub cpu: f64,
    /// The load was what the scenario asks for.
    pub valid: bool,
    /// Why it was not.
    pub why: Vec<String>,
}

/// How a time was spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// Median.
    pub p50: Micros,
    /// 99th percentile.
    pub p99: Micros,
    /// Longest.
    pub max: Micros,
}

/// What became of a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultFacts {
    /// Its id.
    pub id: Id,
    /// The service whose calls meet it.
    pub target: Id,
    /// Callers.
    pub from: Vec<Id>,
    /// From its first window's begin to its last one's end, in intended time.
    pub window_us: (Micros, Micros),
    /// Requests of the primary side that it was drawn for.
    pub considered: u64,
    /// Those that it chose.
    pub chosen: u64,
    /// Those that it was done to.
    pub applied: u64,
    /// Those that an earlier fault had ended.
    pub superseded: u64,
    /// Those spared because `max_active` were suffering it.
    pub capped: u64,
    /// Whether it took effect.
    pub effect: FaultEffect,
    /// It is off, and nothing of it is left.
    pub undone: bool,
}

/// Whether a fault took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEffect {
    /// It was done to at least one request.
    Applied,
    /// It was on, and was done to none.
    NoEffect,
    /// It was never on: the run ended before, or the steady state did not hold.
    NotApplied,
}

impl FaultEffect {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NoEffect => "no_effect",
            Self::NotApplied => "not_applied",
        }
    }
}

/// What became of a shadow's copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowFacts {
    /// Its id.
    pub id: Id,
    /// `candidate` or `control`.
    pub role: &'static str,
    /// Requests that the sample chose.
    pub chosen: u64,
    /// Copies sent.
    pub sent: u64,
    /// Copies whose answer was compared.
    pub compared: u64,
    /// Copies not sent, by reason.
    pub shed: BTreeMap<String, u64>,
    /// Copies without a full answer, by reason.
    pub failed: BTreeMap<String, u64>,
}
