//! State: a fold over events. Nothing here draws, waits or reads a clock; a frame costs the same however long the run is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    again::{Again, Replay, Which},
    browse::Browse,
};
use crate::{
    event::{Changed, FaultState, Hit, Hop, Id, Micros, Request, RunEvent, RunState, Scored, Tick},
    stats::histogram::bounds_of,
};

mod facts;
mod look;
mod served;
mod shadowed;

pub use facts::{CheckFacts, Facts, FaultFacts};
pub use look::{Overlay, Question, Screen, ViewState};
pub use served::{BINS, Second, Served, TRAIL, Trailing, bin};
pub use shadowed::{Control, Example, Field, Judged, Place, Shadowed, Standing};

/// Seconds that the live screen can look back.
pub const SPAN: usize = 240;
/// Lines that the event screen keeps.
const LOG: usize = 5_000;

/// What a run amounts to, as the scorecard shows it.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// `pass`, `fail`, `inconclusive`, or what stopped it.
    pub verdict: String,
    /// Score: low, value, high; the value is absent where nothing is known.
    pub score: (f64, Option<f64>, f64),
    /// Ids of the `must` checks that failed.
    pub failed_must: Vec<String>,
    /// Grade of the experiment.
    pub grade: String,
    /// Its gates: what, whether it holds.
    pub gates: Vec<(String, bool)>,
    /// Faults: a line on each, whether it took effect.
    pub faults: Vec<(String, bool)>,
    /// The report's folder.
    pub report: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// Requests planned, sent, and answered in full.
    pub requests: (u64, u64, u64),
    /// How long the run took; 0: as far as its events came.
    pub took_us: Micros,
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Not as it should be.
    Bad,
}

/// Everything that the screens show.
#[derive(Debug, Clone)]
pub struct App {
    /// What was known before.
    pub facts: Facts,
    /// Where a person looks.
    pub view: ViewState,
    /// The picture that is frozen; `None`: it moves.
    pub frozen: Option<Box<App>>,
    /// The latest time heard of.
    pub now_us: Micros,
    /// What the run is.
    pub state: RunState,
    /// What services did, as their callers saw it; `client` is not one.
    pub served: BTreeMap<Id, Served>,
    /// What shadows did.
    pub shadowed: BTreeMap<Id, Shadowed>,
    /// How faults stand, and how many requests each chose and hit.
    pub faults: BTreeMap<Id, (FaultState, u64, u64)>,
    /// How checks stand, and whether that may change.
    pub checks: Vec<Option<(Scored, bool)>>,
    /// What happened: when, how urgent, what.
    pub log: VecDeque<(Micros, Level, String)>,
    /// The generator's last second, and the one before.
    pub ticks: (Option<Tick>, Option<Tick>),
    /// Requests that waited for a place.
    pub overflow: u64,
    /// What it all amounts to, at the end.
    pub ending: Option<Ending>,
    /// The generator's seconds, where the run is a saved one, in which a person can go back and forth.
    pub saved: Option<Vec<Tick>>,
    /// The requests that were replayed last because they differ.
    pub replay: Option<Replay>,
    /// What is to be replayed once the run is over.
    pub waiting: Option<Which>,
    /// Commands that were copied, to be printed when the terminal is given back.
    pub copied: Vec<String>,
}

impl App {
    /// A run that has not begun.
    pub fn new(facts: Facts) -> Self {
        Self {
            view: ViewState {
                screen: Screen::Live,
                focus: 0,
                line: 0,
                example: 0,
                browse: Browse::default(),
                question: None,
                overlay: None,
                zoom: 60,
                logarithmic: true,
                filter: String::new(),
                typing: false,
                by_name: false,
                help: false,
                switched_off: BTreeSet::new(),
                stopping: false,
            },
            frozen: None,
            now_us: 0,
            state: RunState::Starting,
            served: BTreeMap::new(),
            shadowed: BTreeMap::new(),
            faults: BTreeMap::new(),
            checks: vec![None; facts.checks.len()],
            log: VecDeque::new(),
            ticks: (None, None),
            overflow: 0,
            ending: None,
            saved: None,
            replay: None,
            waiting: None,
            copied: Vec::new(),
            facts,
        }
    }

    /// What is drawn: the frozen picture, or the moving one.
    pub fn shown(&self) -> &Self {
        self.frozen.as_deref().unwrap_or(self)
    }

    /// Takes an event in.
    pub fn fold(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Run { t_us, state } => {
                self.state = *state;
                let level = match state {
                    RunState::Failed | RunState::Guarded => Level::Bad,
                    RunState::Interrupted => Level::Warning,
                    _ => Level::Plain,
                };
                self.note(*t_us, level, format!("run {}", name(*state)));
            }
            RunEvent::Phase { t_us, id, begun } => {
                let what = if *begun { "begins" } else { "ends" };
                self.note(*t_us, Level::Plain, format!("phase {id} {what}"));
            }
            RunEvent::Fault {
                t_us,
                id,
                state,
                by,
            } => {
                self.faults.entry(id.clone()).or_insert((*state, 0, 0)).0 = *state;
                let level = match state {
                    FaultState::On => Level::Warning,
                    FaultState::Failed => Level::Bad,
                    _ => Level::Plain,
                };
                self.note(
                    *t_us,
                    level,
                    format!("fault {id} {} by {}", name(*state), name(*by)),
                );
            }
            RunEvent::Request(request) => self.request(request),
            RunEvent::Hop(hop) => self.hop(hop),
            RunEvent::Served(served) => {
                for (bucket, count) in served.latency.buckets() {
                    let us = bounds_of(bucket).1;
                    self.serve(&served.service, served.t_us, us, false, count);
                }
                self.served_errors(&served.service, served.t_us, served.errors);
            }
            RunEvent::Connection(connection) => self.hits(connection.side, &connection.hits),
            RunEvent::Mirror(mirror) => self.mirror(mirror),
            RunEvent::Overflow { .. } => self.overflow += 1,
            RunEvent::Tick(tick) => {
                self.now_us = self.now_us.max(tick.t_us);
                self.ticks = (Some(tick.clone()), self.ticks.0.take());
                self.forget();
            }
            RunEvent::Changed(changed) => {
                let level = match changed.to.as_str() {
                    "healthy" | "closed" => Level::Good,
                    _ => Level::Warning,
                };
                let Changed {
                    t_us,
                    kind,
                    service,
                    endpoint,
                    from,
                    to,
                    why,
                } = changed;
                let text = format!("{kind}: {service} {endpoint} {from} -> {to} ({why})");
                self.note(*t_us, level, text);
            }
            RunEvent::Guard { t_us, when, value } => {
                self.note(
                    *t_us,
                    Level::Bad,
                    format!("guard: {when} ({value}): all faults off"),
                );
            }
            RunEvent::Check {
                t_us,
                index,
                scored,
                provisional,
            } => {
                let facts = self.facts.checks.get(*index);
                let before = self
                    .checks
                    .get(*index)
                    .and_then(Option::as_ref)
                    .map(|(scored, _)| scored.outcome);
                if let Some(facts) =
                    facts.filter(|_| before != Some(scored.outcome) && !provisional)
                {
                    let text = format!("check {}: {}", facts.id, name(scored.outcome));
                    self.note(*t_us, Level::Plain, text);
                }
                if let Some(check) = self.checks.get_mut(*index) {
                    *check = Some((scored.clone(), *provisional));
                }
            }
            RunEvent::Steady {
                t_us,
                check,
                held,
                value,
            } => {
                let (level, text) = match held {
                    Some(true) => (Level::Good, "held"),
                    Some(false) => (Level::Bad, "did not hold: nothing is broken"),
                    None => (Level::Bad, "unknown, too little data: nothing is broken"),
                };
                self.note(
                    *t_us,
                    level,
                    format!("steady state {text}: {check} ({value})"),
                );
            }
            RunEvent::Undo { t_us, what, id, ok } => {
                let level = if *ok { Level::Plain } else { Level::Bad };
                let text = if *ok { "undone" } else { "NOT undone" };
                self.note(*t_us, level, format!("{what} {id} {text}"));
            }
            RunEvent::Note { t_us, text } => self.note(*t_us, Level::Warning, text.clone()),
        }
    }

    /// The run is over.
    pub fn end(&mut self, mut ending: Ending) {
        self.now_us = self.now_us.max(ending.took_us);
        if ending.took_us == 0 {
            ending.took_us = self.now_us;
        }
        self.ending = Some(ending);
        self.frozen = None;
        self.view.help = false;
        self.view.screen = Screen::Score;
        self.view.line = 0;
        self.view.focus = 0;
    }

    /// The phase of now, and how far in it the run is.
    pub fn phase(&self) -> Option<&(Id, Micros, Micros, bool)> {
        self.facts
            .phases
            .iter()
            .find(|phase| (phase.1..phase.2).contains(&self.now_us))
    }

    /// It is a saved run: all of it is known, and a person goes back and forth in it.
    pub(super) fn keep(&mut self, ticks: Vec<Tick>) {
        self.saved = Some(ticks);
        self.go_to(self.now_us);
    }

    /// Shows a saved run as it was then.
    pub(super) fn go_to(&mut self, t_us: Micros) {
        let Some(ticks) = &self.saved else { return };
        self.now_us = t_us.min(self.facts.length_us());
        let heard = ticks.partition_point(|tick| tick.t_us <= self.now_us);
        let at = |place: Option<usize>| place.and_then(|place| ticks.get(place)).cloned();
        self.ticks = (at(heard.checked_sub(1)), at(heard.checked_sub(2)));
    }

    /// Whether a fault is active now: by the clock, and in a saved run by its windows.
    pub fn is_on(&self, fault: &str) -> bool {
        if self.saved.is_some() {
            let now_ms = self.now_us / 1_000;
            return self.facts.faults.iter().any(|facts| {
                let within = |(begin, end): &(u32, u32)| {
                    (u64::from(*begin)..u64::from(*end)).contains(&now_ms)
                };
                &*facts.id == fault && facts.windows.iter().any(within)
            });
        }
        self.faults
            .get(fault)
            .is_some_and(|(state, _, _)| *state == FaultState::On)
    }

    pub(super) fn note(&mut self, t_us: Micros, level: Level, text: String) {
        self.now_us = self.now_us.max(t_us);
        if self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back((t_us, level, text));
    }

    fn request(&mut self, request: &Request) {
        let failed =
            self.facts
                .errors
                .is_error(request.status, request.complete, request.grpc_status);
        self.serve(
            &request.service,
            request.intended_us,
            request.response_us(),
            failed,
            1,
        );
    }

    /// Counts are per side: a shadow's onward calls meet the same faults and never move the primary's figures.
    fn hits(&mut self, side: u8, hits: &[Hit]) {
        for hit in hits.iter().filter(|_| side == 0) {
            let fault = self
                .faults
                .entry(hit.fault.clone())
                .or_insert((FaultState::Off, 0, 0));
            fault.1 += 1;
            fault.2 += u64::from(hit.effect == "applied");
        }
    }

    fn hop(&mut self, hop: &Hop) {
        self.hits(hop.side, &hop.hits);
        if hop.inbound || hop.side != 0 || self.facts.is_driven(&hop.service) {
            return;
        }
        let intended = hop
            .intended_ms
            .map_or(hop.start_us, |ms| u64::from(ms) * 1_000);
        let failed = self.facts.errors.is_error(hop.status, hop.complete, None);
        self.serve(&hop.service, intended, hop.us, failed, 1);
    }

    /// What is to be replayed now that the run is over. Whoever stopped it wants to leave.
    pub fn due(&mut self) -> Option<Which> {
        let stopped = self.view.stopping;
        self.waiting.take_if(|_| self.ending.is_some() && !stopped)
    }

    /// A replay of differing requests has begun, is further on, or is over.
    pub fn replayed(&mut self, again: Again) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        let is_over = matches!(again, Again::Over(_));
        replay.fold(again);
        if is_over {
            let lines = self.replay_summary();
            self.view.overlay = Some(Overlay::new("replay", lines));
        }
    }

    /// What came of the last replay, field by field.
    fn replay_summary(&self) -> Vec<String> {
        let Some(replay) = &self.replay else {
            return Vec::new();
        };
        if let Some(Err(why)) = &replay.over {
            return vec![format!("could not be made: {why}")];
        }
        let mut lines = vec![format!(
            "{} requests: {}",
            replay.ordinals.len(),
            replay.what
        )];
        for (shadow, shadowed) in &self.shadowed {
            if Some(shadow) == self.facts.control() {
                continue;
            }
            lines.push(format!(
                "{shadow}: {} compared again",
                replay.compared(shadow)
            ));
            for (place, field) in &shadowed.fields {
                let outcome = replay.of(shadow, place, &field.ordinals);
                let is_asked = outcome != super::again::Outcome::default();
                if is_asked && self.standing(shadow, place, field) == Standing::Differs {
                    let (endpoint, path, kind) = place;
                    lines.push(format!("  {endpoint} {path} {kind}: {}", outcome.words()));
                }
            }
        }
        lines
    }

    /// Drops what no screen can look back to.
    fn forget(&mut self) {
        let now = self.now_us / 1_000_000;
        for served in self.served.values_mut() {
            let oldest = now.saturating_sub(SPAN as u64);
            served.seconds = served.seconds.split_off(&oldest);
            let settled = now.saturating_sub(TRAIL + 5);
            for (_, second) in served.seconds.range_mut(..settled) {
                second.values = Vec::new();
            }
        }
    }
}

/// The lower-case name of an enum that the report writes too.
pub fn name(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
