//! What a run tells the world: one linear stream of events, the only thing that measuring, scoring, reports and screens
//! see of a run. Pure data. Times are microseconds since the run's start, on one monotonic clock.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use meshbed_proxy::observe::Flags;

use crate::stats::histogram::Histogram;

/// The id of a service, fault, phase, shadow, source or check: `[a-z][a-z0-9-]*`.
pub type Id = Arc<str>;

/// Microseconds since the run's start.
pub type Micros = u64;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// The run began or ended.
    Run {
        /// When.
        t_us: Micros,
        /// What it is now.
        state: RunState,
    },
    /// A phase began or ended.
    Phase {
        /// When.
        t_us: Micros,
        /// Which.
        id: Id,
        /// `true`: it began.
        begun: bool,
    },
    /// A fault was switched.
    Fault {
        /// When.
        t_us: Micros,
        /// Which.
        id: Id,
        /// What it is now.
        state: FaultState,
        /// Who switched it.
        by: SwitchedBy,
    },
    /// A request of the schedule has ended, or is given up.
    Request(Arc<Request>),
    /// A sidecar has finished with a request.
    Hop(Arc<Hop>),
    /// What a service has served, counted already: live traffic is too much to tell of each request.
    Served(Arc<Served>),
    /// More is known of the faults of a connection.
    Connection(Arc<Connection>),
    /// What became of a request that a shadow's sample chose.
    Mirror(Arc<Mirror>),
    /// A request waited because `max_in_flight` were under way.
    Overflow {
        /// When it was due.
        t_us: Micros,
        /// Which.
        ordinal: u64,
        /// How long it waited.
        waited_us: Micros,
    },
    /// A replica or a breaker of a service has changed.
    Changed(Changed),
    /// A second has passed.
    Tick(Tick),
    /// A guard's condition has held long enough: all faults are off.
    Guard {
        /// When.
        t_us: Micros,
        /// Its condition.
        when: String,
        /// What it saw.
        value: String,
    },
    /// How a check stands for now, or in the end.
    Check {
        /// When.
        t_us: Micros,
        /// Which, by its index in the scenario.
        index: usize,
        /// How it stands.
        scored: Scored,
        /// Whether the run may still change it.
        provisional: bool,
    },
    /// Whether the steady state held.
    Steady {
        /// When it was judged.
        t_us: Micros,
        /// The condition.
        check: String,
        /// Whether it held; `None`: not enough data.
        held: Option<bool>,
        /// What was seen.
        value: String,
    },
    /// A side effect was undone.
    Undo {
        /// When.
        t_us: Micros,
        /// What kind of thing: `process`, `file`, `fault`, …
        what: &'static str,
        /// Which.
        id: String,
        /// Whether it is gone.
        ok: bool,
    },
    /// Something a person should know.
    Note {
        /// When.
        t_us: Micros,
        /// What.
        text: String,
    },
}

/// A replica was ejected, came back, failed its health checks; or a breaker opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// When.
    pub t_us: Micros,
    /// `ejection`, `health` or `breaker`.
    pub kind: &'static str,
    /// The service.
    pub service: Id,
    /// The replica's sidecar; empty: all of the service.
    pub endpoint: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Why.
    pub why: String,
}

impl Changed {
    /// A replica is left out from here on.
    pub fn ejects(&self) -> bool {
        self.kind == "ejection" && self.to == "ejected"
    }

    /// A breaker lets nothing through from here on.
    pub fn opens(&self) -> bool {
        self.kind == "breaker" && self.to == "open"
    }
}

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Services and proxies are coming up.
    Starting,
    /// Requests flow.
    Playing,
    /// The schedule is over; what is under way ends.
    Draining,
    /// It came to its end.
    Finished,
    /// A person or a signal stopped it.
    Interrupted,
    /// A guard stopped it.
    Guarded,
    /// The environment failed.
    Failed,
}

/// What a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultState {
    /// Active.
    On,
    /// Not active.
    Off,
    /// Its effects are undone.
    Undone,
    /// Its time to live is over.
    Expired,
    /// It could not be applied.
    Failed,
}

/// Who switched a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchedBy {
    /// The scenario's timeline.
    Timeline,
    /// A guard.
    Guard,
    /// A person.
    User,
    /// Its time to live.
    Ttl,
}

/// A request of the schedule, as the generator saw it. Clocks as the contract names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its place in the schedule.
    pub ordinal: u64,
    /// The traffic source.
    pub source: Id,
    /// The service that it was for.
    pub service: Id,
    /// The connection that it went by: the recorded one's number, or that of the pool.
    pub connection: u64,
    /// When it was due.
    pub intended_us: Micros,
    /// When the scheduler let it go.
    pub released_us: Micros,
    /// When it was handed to a connection that was ready to write it; `None`: never.
    pub sent_us: Option<Micros>,
    /// When the last byte of the answer had come, or the request was given up.
    pub done_us: Micros,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Status; `None`: no complete header came.
    pub status: Option<u16>,
    /// The whole answer came.
    pub complete: bool,
    /// gRPC status, where there is one.
    pub grpc_status: Option<u32>,
    /// Why there is no complete answer.
    pub why: Option<String>,
    /// Bytes of the request's body.
    pub bytes_out: u64,
    /// Bytes of the answer's body.
    pub bytes_in: u64,
    /// Response flags told by the sidecar, where known.
    pub flags: Flags,
}

impl Request {
    /// What a user waits: from the moment it was due to the last byte.
    pub fn response_us(&self) -> Micros {
        self.done_us.saturating_sub(self.intended_us)
    }

    /// What the server took: from the sending to the last byte.
    pub fn service_us(&self) -> Option<Micros> {
        self.sent_us.map(|sent| self.done_us.saturating_sub(sent))
    }

    /// The generator's own delay.
    pub fn lateness_us(&self) -> Micros {
        self.released_us.saturating_sub(self.intended_us)
    }

    /// How long it waited for a connection or a place.
    pub fn blocked_us(&self) -> Option<Micros> {
        self.sent_us
            .map(|sent| sent.saturating_sub(self.released_us))
    }
}

/// A request as a sidecar saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// Ordinal of the request of the schedule that it serves.
    pub ordinal: u64,
    /// 0: primary; else the shadow's number.
    pub side: u8,
    /// When the schedule's request was due, in ms; `None`: not known (not one of this run's trace ids).
    pub intended_ms: Option<u32>,
    /// The caller's number for equal calls.
    pub n: u32,
    /// The trace id was this run's.
    pub scheduled: bool,
    /// Who called.
    pub caller: Id,
    /// Who was called.
    pub service: Id,
    /// The callee's sidecar (`inbound`), else the caller's.
    pub inbound: bool,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// When it came.
    pub start_us: Micros,
    /// How long it took.
    pub us: Micros,
    /// Status; `None`: no answer.
    pub status: Option<u16>,
    /// The whole answer was handed on.
    pub complete: bool,
    /// Response flags.
    pub flags: Flags,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Fault rules that were drawn for it.
    pub considered: Vec<Id>,
    /// Those that chose it.
    pub hits: Vec<Hit>,
    /// Tries.
    pub attempts: Vec<Attempt>,
}

/// What a service has served since it was told of last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// When.
    pub t_us: Micros,
    /// The service.
    pub service: Id,
    /// Requests that have ended.
    pub requests: u64,
    /// Of those: errors.
    pub errors: u64,
    /// Bytes of the answers' bodies.
    pub bytes: u64,
    /// Answers by status; 0: none came.
    pub status: BTreeMap<u16, u64>,
    /// From the requests' first bytes to the answers' last; of those answered in full.
    pub latency: Histogram,
}

/// The faults of a connection, as far as they are known: each is told once as considered, and once more if it chose the
/// connection, when it has done something or never will.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// When.
    pub t_us: Micros,
    /// 0: primary; else the shadow's number.
    pub side: u8,
    /// Who called.
    pub caller: Id,
    /// Who was called.
    pub service: Id,
    /// The schedule's number of it; the order of its arrival where `numbered` is not set.
    pub number: u64,
    /// How often it had been opened before.
    pub reopenings: u32,
    /// Our generator opened it, so the number is the schedule's.
    pub numbered: bool,
    /// Faults that were drawn for it.
    pub considered: Vec<Id>,
    /// Those that chose it.
    pub hits: Vec<Hit>,
}

/// A fault chose a request, or a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The fault.
    pub fault: Id,
    /// Which try it was drawn for, from 0; 0 where the fault's place is the request.
    pub attempt: u32,
    /// The draw; `None`: the rule counts.
    pub u: Option<f64>,
    /// What it was held against; `None`: the rule counts.
    pub p: Option<f64>,
    /// `applied`, `superseded`, `capped`, `abandoned`.
    pub effect: &'static str,
    /// The delay that was asked for.
    pub asked_us: Option<Micros>,
    /// The delay that was measured.
    pub actual_us: Option<Micros>,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// Why it was not applied.
    pub why: Option<String>,
}

/// One try to send a request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint.
    pub endpoint: Option<String>,
    /// How long it took.
    pub us: Micros,
    /// Status.
    pub status: Option<u16>,
    /// Why there was none.
    pub why: Option<String>,
}

/// What became of a request that a shadow's sample chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// When it was settled.
    pub t_us: Micros,
    /// Ordinal of the request.
    pub ordinal: u64,
    /// When the request was due, in ms.
    pub intended_ms: Option<u32>,
    /// The caller's number for equal calls.
    pub n: u32,
    /// Who called.
    pub caller: Id,
    /// Whose calls are mirrored.
    pub service: Id,
    /// The shadow.
    pub shadow: Id,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Endpoint, as a template: `GET /cart/{id}`.
    pub endpoint: String,
    /// Which side was sent first: `primary` or `shadow`.
    pub first: &'static str,
    /// What became of the copy.
    pub outcome: MirrorOutcome,
    /// Why, where it was not compared.
    pub why: Option<String>,
    /// The primary's answer.
    pub primary: Option<Answered>,
    /// The shadow's.
    pub answer: Option<Answered>,
    /// How they differ, after the rules of `diff:`; empty unless compared.
    pub differences: Vec<Difference>,
    /// The request, where the answers differ and it was kept.
    pub asked: Option<Arc<Asked>>,
}

/// A mirrored request as far as asking it again by hand takes it: secrets and what belongs to a hop taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body's first bytes.
    pub body: Vec<u8>,
    /// Length of the whole body.
    pub length: u64,
}

impl Asked {
    /// Whether the whole body is here.
    pub fn is_whole(&self) -> bool {
        self.body.len() as u64 == self.length
    }
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorOutcome {
    /// Both answered in full.
    Compared,
    /// It was not sent.
    Shed,
    /// It was sent, and got no full answer.
    Failed,
    /// There is nothing to compare it with.
    Skipped,
}

/// An answer's main facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Status.
    pub status: u16,
    /// Time it took.
    pub us: Micros,
    /// SHA-256 of its body as far as it was kept, in hex.
    pub sha256: String,
}

/// One way in which two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, without what varies from answer to answer: `$.items[*].tax`, `status`, `header:location`.
    pub path: String,
    /// Where in this answer: `$.items[3].tax`.
    pub at: String,
    /// `missing`, `extra`, `type`, `value`, `order`, `status`, `header`.
    pub kind: &'static str,
    /// The primary's value, redacted, shortened.
    pub primary: Option<serde_json::Value>,
    /// The shadow's value, redacted, shortened.
    pub shadow: Option<serde_json::Value>,
    /// The ignore rule that it falls under; it does not count then.
    pub rule: Option<String>,
    /// Of two texts or two numbers, what they have in common.
    pub shape: Option<crate::shadow::Shape>,
}

/// A second of the generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// When.
    pub t_us: Micros,
    /// Which second, from 0.
    pub sec: u64,
    /// Requests due so far.
    pub planned: u64,
    /// Requests sent so far.
    pub sent: u64,
    /// Requests done so far.
    pub done: u64,
    /// 99th percentile of the lateness in this second.
    pub late_p99_us: Micros,
    /// Requests under way.
    pub in_flight: u64,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Full points.
    Pass,
    /// Between the bounds.
    Partial,
    /// No points.
    Fail,
    /// Too little data to say.
    NoData,
    /// It never came to be judged.
    NotRun,
    /// It was judged, and stays undecided.
    Inconclusive,
}

/// A check, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// How it stands.
    pub outcome: Outcome,
    /// What was measured, in `unit`.
    pub value: Option<f64>,
    /// Its unit: `us`, `share`, `per_s`, `count`, `bytes`, `ratio`, `bool`, `verdict`.
    pub unit: &'static str,
    /// 95 % interval of the value.
    pub interval: Option<(f64, f64)>,
    /// Samples behind it.
    pub n: u64,
    /// Share of its weight that it earns, 0 to 1.
    pub points: f64,
    /// Why it stands so, where that needs saying.
    pub why: Option<String>,
}
