//! What `run.json` holds, version by version: the whole outcome of a run as others read it. Times are microseconds from
//! the run's start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Outcome, RunState},
    measure::{Class, Trend},
    score::{Quality, Score},
};

/// The version that is written; a reader refuses greater ones.
pub const SCHEMA: u32 = 1;

/// A run's outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Version of this form.
    pub schema: u32,
    /// The folder's name.
    pub id: String,
    /// How it ended.
    pub state: RunState,
    /// What the command exited with.
    pub exit: u8,
    /// What all choices follow from.
    pub seed: u64,
    /// Every choice is a function of scenario, capture and seed.
    pub deterministic: bool,
    /// Share of the requests seen by sidecars that did not carry one of this run's trace ids.
    pub unidentified: f64,
    /// What was run.
    pub scenario: ScenarioPart,
    /// Captures that were played.
    pub trace: Option<Trace>,
    /// What was to be sent.
    pub schedule: Schedule,
    /// What ran it.
    pub build: Build,
    /// Where it ran.
    pub host: Host,
    /// Its timeline.
    pub phases: Vec<PhasePart>,
    /// How well it was sent.
    pub generator: Generator,
    /// What was broken, and what came of it.
    pub faults: Vec<FaultPart>,
    /// What was mirrored, and what came of it.
    pub shadows: Vec<ShadowPart>,
    /// Percentiles by service, side, phase and kind.
    pub latency: Vec<Latency>,
    /// Counts of the primary by service and phase.
    pub counts: Vec<Counts>,
    /// Differences by shadow.
    pub diffs: BTreeMap<String, Diffs>,
    /// Conditions that had to hold before anything was broken.
    pub steady_state: Vec<SteadyPart>,
    /// What was judged.
    pub checks: Vec<CheckPart>,
    /// What it comes to.
    pub score: Score,
    /// How good the experiment was.
    pub quality: Quality,
    /// Which requests are in the bundle.
    pub requests: RequestsPart,
    /// Which events are in the bundle; `None`: all.
    #[serde(default)]
    pub events: Option<EventsPart>,
    /// What people were told, such as services that ended; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<NotePart>,
}

/// What people were told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotePart {
    /// When.
    pub t_us: u64,
    /// What.
    pub text: String,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioPart {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Its file; empty in older bundles.
    #[serde(default)]
    pub file: String,
    /// Of all its files, in hex.
    pub sha256: String,
    /// All of it, defaults and variables filled in, secrets taken out.
    pub resolved: Value,
}

/// A capture that was played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Where it was.
    pub path: String,
    /// Of its bytes, in hex.
    pub sha256: String,
    /// Exchanges found in it.
    pub exchanges: u64,
    /// What was not, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// What was to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Of all requests with their times, in hex.
    pub sha256: String,
    /// Requests.
    pub planned: u64,
    /// From the first to the last.
    pub span_us: u64,
}

/// What ran it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Version of meshbed.
    pub version: String,
    /// Commit, or empty.
    pub git: String,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Processors.
    pub cores: usize,
    /// Event loops of the proxies.
    pub workers: usize,
    /// Kernel release.
    pub kernel: String,
    /// When the run started, RFC 3339.
    pub started: String,
}

impl Host {
    /// This machine, with so many event loops of proxies. The kernel's release is empty where it does not say.
    pub fn here(workers: usize, started: String) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            workers,
            kernel: kernel.trim().to_owned(),
            started,
        }
    }
}

/// A part of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhasePart {
    /// Its id.
    pub id: String,
    /// First microsecond.
    pub begin_us: u64,
    /// First microsecond after it.
    pub end_us: u64,
    /// Whether it is measured by default.
    pub record: bool,
}

/// How well it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Requests of the schedule.
    pub planned: u64,
    /// Handed to a connection.
    pub sent: u64,
    /// Answered in full.
    pub done: u64,
    /// Waited because `max_in_flight` were under way.
    pub overflow: u64,
    /// Sent, and not answered in full.
    pub no_response: u64,
    /// Its own delay.
    pub lateness_us: Spread,
    /// Waiting for a connection or a place.
    pub blocked_us: Spread,
    /// How much later than the first the last releases were: the median lateness of the last 100 less that of the first.
    pub drift_us: i64,
    /// Share of the processors that its process used.
    pub cpu: Option<f64>,
    /// Share of the processors that other programs used meanwhile; `None`: not known.
    #[serde(default)]
    pub others_cpu: Option<f64>,
    /// Whether the run is valid as an experiment.
    pub valid: bool,
    /// Why not.
    pub why: Vec<String>,
}

/// A distribution in three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Greatest.
    pub max: u64,
}

/// A fault, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPart {
    /// Its id.
    pub id: String,
    /// The service whose calls met it.
    pub target: String,
    /// Only calls by these; empty: by all.
    pub from: Vec<String>,
    /// `request`.
    pub place: String,
    /// From its first window's beginning to its last one's end.
    pub window_us: [u64; 2],
    /// Its windows.
    pub windows_us: Vec<[u64; 2]>,
    /// What it does, in words.
    pub kind: String,
    /// The primary's requests that it was drawn for.
    pub considered: u64,
    /// Those that it chose.
    pub chosen: u64,
    /// Of those: done.
    pub applied: u64,
    /// Of those: ended by an earlier one.
    pub superseded: u64,
    /// Of those: too many were suffering it.
    pub capped: u64,
    /// Of those: the client left before.
    pub abandoned: u64,
    /// What it came to.
    pub effect: Effect,
    /// Whether it is off and its traces gone.
    pub undone: bool,
}

/// What a fault came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was done to at least one request.
    Applied,
    /// It was on, and nothing met it.
    NoEffect,
    /// It never was on.
    NotApplied,
}

impl Effect {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NoEffect => "no_effect",
            Self::NotApplied => "not_applied",
        }
    }
}

/// A shadow, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowPart {
    /// Its id.
    pub id: String,
    /// The service that it shadows.
    pub of: String,
    /// `candidate` or `control`.
    pub role: String,
    /// Requests that the sample chose.
    pub chosen: u64,
    /// Of those: sent.
    pub sent: u64,
    /// Of those: both answers compared.
    pub compared: u64,
    /// Not sent, by reason.
    pub shed: BTreeMap<String, u64>,
    /// Sent, and not answered in full, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Answered, with nothing to compare with, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Shadow minus primary, request by request.
    pub delta_us: Option<Delta>,
}

/// Shadow minus primary, request by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Pairs.
    pub n: u64,
    /// Median.
    pub p50: i64,
    /// 90th percentile.
    pub p90: i64,
    /// 99th percentile.
    pub p99: i64,
}

/// Percentiles of one histogram: nearest rank, greatest equivalent value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The service.
    pub service: String,
    /// `primary` or the shadow's id.
    pub side: String,
    /// The phase.
    pub phase: String,
    /// `response`, `service`, `inbound`, `lateness`, `blocked`.
    pub kind: String,
    /// Its lines in `latency.hlog`.
    pub tag: String,
    /// Samples.
    pub n: u64,
    /// Of those, cut to the greatest value there is.
    pub clipped: u64,
    /// Least.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
}

/// Counts of a service's primary in a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The service.
    pub service: String,
    /// The phase.
    pub phase: String,
    /// Where they were counted: `client` (the generator), `callers` (their sidecars).
    pub place: String,
    /// Requests.
    pub requests: u64,
    /// Requests that reached the service's own sidecar.
    pub attempts: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Errors.
    pub errors: u64,
    /// Bytes of the answers' bodies.
    pub bytes: u64,
    /// Answers by status; `0`: none.
    pub status: BTreeMap<u16, u64>,
    /// Requests by response flag.
    pub flags: BTreeMap<String, u64>,
}

/// How a shadow's answers differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diffs {
    /// The control that noise was learnt from; `None`: without noise control, what differs by itself is told from what the
    /// candidate brought by its form alone.
    #[serde(default)]
    pub control: Option<String>,
    /// Pairs compared.
    pub compared: u64,
    /// Of those, pairs whose control was compared as well; all, where there is no control.
    pub paired: u64,
    /// Pairs that differ, after the ignore rules.
    pub pairs_different: u64,
    /// Distinct (endpoint, path, kind) that are material, distributions included.
    pub material: u64,
    /// Where and how.
    pub fields: Vec<FieldPart>,
    /// Of values that differ in nearly all answers, also between primary and control, how large they are.
    #[serde(default)]
    pub distributions: Vec<DistributionPart>,
}

impl Diffs {
    /// The fields by what they count as, the surest first, and of equals the most frequent.
    pub fn ranked(&self) -> Vec<&FieldPart> {
        let mut fields: Vec<&FieldPart> = self.fields.iter().collect();
        fields.sort_by(|a, b| {
            let q = |field: &FieldPart| field.q.unwrap_or(field.p_adjusted);
            let classes = a.class.cmp(&b.class);
            let chances = classes.then_with(|| q(a).total_cmp(&q(b)));
            chances.then_with(|| (b.b + b.both).cmp(&(a.b + a.both)))
        });
        fields
    }
}

/// How a shadow's answers differ at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldPart {
    /// `GET /cart/{id}`.
    pub endpoint: String,
    /// `$.items[*].tax`.
    pub path: String,
    /// `missing`, `extra`, …
    pub kind: String,
    /// Pairs where only the candidate differs from the primary.
    pub b: u64,
    /// Where only the control does.
    pub c: u64,
    /// Where both do.
    pub both: u64,
    /// Pairs at this endpoint.
    pub total: u64,
    /// Exact one-sided `McNemar`.
    pub p: f64,
    /// Corrected by Holm.
    pub p_adjusted: f64,
    /// Benjamini and Hochberg's, by which differences are ranked; `None`: of an older report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<f64>,
    /// What it counts as.
    pub class: Class,
    /// The rule that ignores it.
    pub rule: Option<String>,
    /// The form of all values that differ there, such as `uuid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
}

/// How the sizes of values at one place are distributed: a two-sample test of candidate and control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistributionPart {
    /// `GET /cart/{id}`.
    pub endpoint: String,
    /// `$.items[*].id`.
    pub path: String,
    /// `number`: its value; `time`: in tens of seconds; `length`: of a text, in bytes.
    pub of: String,
    /// Requests of which all three sizes were kept.
    pub n: u64,
    /// The sizes rise or fall all the time, and that is compared.
    pub trend: Option<Trend>,
    /// How far the candidate's are from the control's, 0 to 1.
    pub d: f64,
    /// How far the primary's are.
    pub floor: f64,
    /// The chance of such a distance if the candidate were a second control.
    pub p: f64,
    /// Corrected by Holm, over the distributions.
    pub p_adjusted: f64,
    /// What it counts as: material from a distance of a quarter beyond the floor.
    pub class: Class,
}

/// A condition that had to hold before anything was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteadyPart {
    /// The condition.
    pub check: String,
    /// Whether it held; `None`: too little data.
    pub held: Option<bool>,
    /// What was seen.
    pub value: String,
}

/// A check, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckPart {
    /// Its id.
    pub id: String,
    /// What was judged.
    pub that: String,
    /// Phases it was judged over, joined by `,`; `None`: all recorded ones.
    pub over: Option<String>,
    /// The moment that `time_to` counts from.
    pub from: Option<String>,
    /// It decides by itself.
    pub must: bool,
    /// Its weight.
    pub weight: f64,
    /// Full points from here on.
    pub pass: Option<f64>,
    /// No points from here on.
    pub fail: Option<f64>,
    /// The verdict that must not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<String>,
    /// Unit of all its numbers.
    pub unit: String,
    /// What was measured.
    pub value: Option<f64>,
    /// 95 % interval of it.
    pub interval: Option<(f64, f64)>,
    /// Samples behind it.
    pub n: u64,
    /// How it stands.
    pub outcome: Outcome,
    /// Share of its weight that it earns.
    pub points: f64,
    /// Why, where that needs saying.
    pub why: Option<String>,
}

/// Which requests are in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsPart {
    /// `all`, `sampled` or `none`.
    pub kept: String,
    /// How many.
    pub written: u64,
    /// Of how many.
    pub of: u64,
}

/// Which events are in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPart {
    /// `all` or `reservoir`: each as likely as any other.
    pub kept: String,
    /// How many.
    pub written: u64,
    /// Of how many.
    pub of: u64,
    /// Those that the disk was too slow for.
    #[serde(default)]
    pub left_out: u64,
}

impl Run {
    /// The windows of the recorded phases.
    pub fn recorded(&self) -> impl Iterator<Item = &PhasePart> {
        self.phases.iter().filter(|phase| phase.record)
    }

    /// Length of the run.
    pub fn length_us(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end_us)
    }

    /// Services that traffic drives: those that have response times.
    pub fn driven(&self) -> Vec<&str> {
        let mut driven: Vec<&str> = self
            .latency
            .iter()
            .filter(|row| row.kind == "response")
            .map(|row| row.service.as_str())
            .collect();
        driven.sort_unstable();
        driven.dedup();
        driven
    }
}
