//! State: a fold over events. Nothing here draws, waits or reads a clock; a frame costs the same however long the run is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map},
    sync::Arc,
};

use hdrhistogram::Histogram;
use serde_json::Value;

use super::{
    again::{Again, Replay, Which},
    browse::Browse,
};
use crate::{
    event::{
        Asked, Changed, Difference, FaultState, Hit, Hop, Id, Micros, Mirror, MirrorOutcome,
        Request, RunEvent, RunState, Scored, Tick,
    },
    measure::{Class, ErrorRule},
    scenario::{Role, Scenario},
    stats::histogram::bounds_of,
};

/// Seconds that the live screen can look back.
pub const SPAN: usize = 240;
/// Seconds that the figures of the service table are over.
pub const TRAIL: u64 = 10;
/// Lines that the event screen keeps.
const LOG: usize = 5_000;
/// Latencies beyond an hour are clipped.
const LONGEST: Micros = 3_600_000_000;
/// Examples kept of each field that differs.
const EXAMPLES: usize = 5;
/// Ordinals kept of each field that differs.
const ORDINALS: usize = 1_000;
/// Answers of a control that are kept for a candidate's that come later.
const CONTROLS: usize = 2_000;
/// Rows of the heat map's finest grid: quarter decades from 10 µs to 100 s.
pub const BINS: usize = 28;

/// What is known before the first event.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Services as a tree: depth, id, whether traffic drives it.
    pub services: Vec<(usize, Id, bool)>,
    /// Phases: id, begin, end, whether it is recorded.
    pub phases: Vec<(Id, Micros, Micros, bool)>,
    /// Faults.
    pub faults: Vec<FaultFacts>,
    /// Shadows: id, the service, its role.
    pub shadows: Vec<(Id, Id, &'static str)>,
    /// Where services and shadows are that run by themselves: `127.0.0.1:9001`.
    pub addresses: BTreeMap<Id, String>,
    /// The scenario's file; empty: there is none.
    pub file: String,
    /// Its traffic is live: it has no schedule from which requests could be had again.
    pub is_live: bool,
    /// Checks.
    pub checks: Vec<CheckFacts>,
    /// The least score that passes.
    pub min_score: f64,
    /// What counts as an error.
    pub errors: ErrorRule,
}

/// What is known of a fault.
#[derive(Debug, Clone)]
pub struct FaultFacts {
    /// Its id.
    pub id: Id,
    /// The service it hits.
    pub target: Id,
    /// When it is active, in ms.
    pub windows: Vec<(u32, u32)>,
    /// What it does, in a few words: `delay 400ms 50%`.
    pub what: String,
}

/// What is known of a check.
#[derive(Debug, Clone)]
pub struct CheckFacts {
    /// Its id.
    pub id: Id,
    /// It decides by itself.
    pub must: bool,
    /// Its weight.
    pub weight: f64,
    /// The expression.
    pub that: String,
    /// What its verdict must not be; `None`: it is none.
    pub not: Option<String>,
    /// The bounds of a graded check: full points, none; and their unit.
    pub bounds: Option<(f64, f64, &'static str)>,
    /// The phases it is judged over.
    pub over: String,
}

impl Facts {
    /// The facts of a scenario.
    pub fn of(scenario: &Scenario) -> Self {
        let services: Vec<(Id, Vec<Id>)> = scenario
            .services
            .iter()
            .map(|service| {
                let calls = service.calls.iter().map(|(peer, _)| peer.clone());
                (service.id.clone(), calls.collect())
            })
            .collect();
        let driven: BTreeSet<Id> = scenario
            .traffic
            .iter()
            .map(|source| source.to.clone())
            .collect();
        Self {
            name: scenario.name.clone(),
            seed: scenario.seed.0,
            services: Self::tree(&services, &driven),
            phases: scenario
                .phases
                .iter()
                .map(|phase| (phase.id.clone(), phase.begin_us, phase.end_us, phase.record))
                .collect(),
            faults: scenario
                .faults
                .iter()
                .map(|fault| FaultFacts {
                    id: fault.id.clone(),
                    target: fault.target.clone(),
                    windows: fault.windows.clone(),
                    what: super::show::fault(fault),
                })
                .collect(),
            shadows: scenario
                .shadows
                .iter()
                .map(|shadow| (shadow.id.clone(), shadow.of.clone(), shadow.role.name()))
                .collect(),
            addresses: addresses(scenario),
            file: scenario.file.display().to_string(),
            is_live: scenario.traffic.is_empty(),
            checks: scenario
                .checks
                .iter()
                .map(|check| CheckFacts {
                    id: check.id.clone(),
                    must: check.must,
                    weight: check.weight,
                    that: check.text.clone(),
                    not: check.not.map(|not| not.name().to_owned()),
                    bounds: check
                        .graded
                        .map(|graded| (graded.pass, graded.fail, check.that.unit().name())),
                    over: if check.over.is_empty() {
                        "all".to_owned()
                    } else {
                        check.over.join(" ")
                    },
                })
                .collect(),
            min_score: scenario.min_score,
            errors: scenario.errors.clone(),
        }
    }

    /// Services with what they call, as a tree from those that traffic drives; each once, and none forgotten.
    pub(super) fn tree(
        services: &[(Id, Vec<Id>)],
        driven: &BTreeSet<Id>,
    ) -> Vec<(usize, Id, bool)> {
        let mut tree = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack: Vec<(usize, Id)> = Vec::new();
        let rest = services.iter().map(|(id, _)| id);
        for root in driven.iter().chain(rest) {
            stack.push((0, root.clone()));
            while let Some((depth, id)) = stack.pop() {
                if !seen.insert(id.clone()) {
                    continue;
                }
                let calls = services.iter().find(|(service, _)| *service == id);
                for peer in calls.into_iter().flat_map(|(_, calls)| calls).rev() {
                    stack.push((depth + 1, peer.clone()));
                }
                tree.push((depth, id.clone(), driven.contains(&id)));
            }
        }
        tree
    }

    /// The shadow that shows the noise.
    pub fn control(&self) -> Option<&Id> {
        let mut shadows = self.shadows.iter();
        let (id, _, _) = shadows.find(|(_, _, role)| *role == Role::Control.name())?;
        Some(id)
    }

    /// Whether traffic drives this service.
    pub fn is_driven(&self, service: &str) -> bool {
        self.services
            .iter()
            .any(|(_, id, driven)| *driven && &**id == service)
    }

    /// The phase of this moment.
    pub fn phase_at(&self, t_us: Micros) -> Option<Id> {
        let mut phases = self.phases.iter();
        let phase = phases.find(|phase| (phase.1..phase.2).contains(&t_us));
        phase.map(|phase| phase.0.clone())
    }

    /// The end of the last phase.
    pub fn length_us(&self) -> Micros {
        self.phases.last().map_or(0, |phase| phase.2)
    }
}

fn addresses(scenario: &Scenario) -> BTreeMap<Id, String> {
    let services = scenario
        .services
        .iter()
        .map(|service| (&service.id, &service.backing));
    let shadows = scenario
        .shadows
        .iter()
        .map(|shadow| (&shadow.id, &shadow.backing));
    services
        .chain(shadows)
        .filter_map(|(id, backing)| Some((id.clone(), backing.addresses().first()?.to_string())))
        // How a mirror's ends are spoken to is in how they were written.
        .chain(super::saved::ends(&scenario.resolved))
        .collect()
}

impl ViewState {
    /// Whether the filter lets a line through.
    pub fn lets(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// What a list's title says of the filter.
    pub fn filtered(&self) -> String {
        match self.filter.as_str() {
            "" => "/: filter".to_owned(),
            filter => format!("/{filter}"),
        }
    }
}

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

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The run as it goes.
    Live,
    /// How answers differ.
    Diffs,
    /// Histograms by phase.
    Histogram,
    /// What happened.
    Events,
    /// The scorecard.
    Score,
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

/// What one service did in one second.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// Requests that were due in it.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Latencies, in µs.
    pub values: Vec<u32>,
    /// Counts by quarter decade from 10 µs.
    pub bins: [u32; BINS],
}

/// What one service did.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// By second of intended time.
    pub seconds: BTreeMap<u64, Second>,
    /// By phase.
    pub phases: BTreeMap<Id, Histogram<u64>>,
    /// Errors by phase.
    pub errors: BTreeMap<Id, u64>,
}

/// Where answers differ, and how: endpoint, path, kind.
pub type Place = (String, String, &'static str);

/// What a difference counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The shadow does otherwise than the primary.
    Differs,
    /// So does a second instance of the primary.
    Noise,
    /// A rule says that it does not count.
    Ignored,
    /// The report does not judge it: it was seen outside the recorded phases only.
    Unjudged,
}

/// What the report says of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What it counts as.
    pub class: Class,
    /// Pairs where only the candidate differs from the primary.
    pub b: u64,
    /// Where only the control does.
    pub c: u64,
    /// Where both do.
    pub both: u64,
    /// Pairs at this endpoint.
    pub total: u64,
    /// How likely it is that noise alone did it.
    pub p: f64,
    /// By which it is ranked.
    pub q: f64,
}

/// A field that differs between a shadow and the primary.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// Answers in which it differed.
    pub count: u64,
    /// The ignore rule that it falls under.
    pub rule: Option<String>,
    /// Some of them: ordinal, method and path, the primary's, the shadow's.
    pub examples: Vec<Example>,
    /// Requests whose answers differ there, as far as they are kept.
    pub ordinals: Vec<u64>,
    /// What the report says of it; `None`: the run is still on.
    pub judged: Option<Judged>,
}

/// One difference, to look at.
#[derive(Debug, Clone, Default)]
pub struct Example {
    /// Ordinal of the request.
    pub ordinal: u64,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Where in these answers: `$.items[3].tax`.
    pub at: String,
    /// The primary's value; `None`: it has none there.
    pub primary: Option<Value>,
    /// The shadow's value.
    pub shadow: Option<Value>,
    /// The control's value.
    pub control: Control,
    /// What the primary and the shadow took, in µs.
    pub us: Option<(Micros, Micros)>,
    /// What was asked.
    pub asked: Option<Arc<Asked>>,
}

/// What the control answered where a candidate differs.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Control {
    /// It was not compared, or not yet.
    #[default]
    Unknown,
    /// This; `None`: it has nothing there.
    Has(Option<Value>),
}

/// What became of a shadow's copies.
#[derive(Debug, Clone, Default)]
pub struct Shadowed {
    /// Compared, shed, failed, skipped.
    pub outcomes: BTreeMap<MirrorOutcome, u64>,
    /// Compared answers by endpoint.
    pub endpoints: BTreeMap<String, u64>,
    /// Fields that differ, by endpoint, path and kind.
    pub fields: BTreeMap<Place, Field>,
    /// Where it differed in the last answers, if it is the control: for candidates whose answers come later.
    recent: VecDeque<Arc<Mirror>>,
}

impl Shadowed {
    /// Fields that differ at an endpoint, in order of place.
    pub fn at(&self, endpoint: &str) -> btree_map::Range<'_, Place, Field> {
        let first = |endpoint: String| (endpoint, String::new(), "");
        // No name stands between one and the same with a zero behind it.
        self.fields
            .range(first(endpoint.to_owned())..first(format!("{endpoint}\0")))
    }
}

/// Whether both are answers to the same request.
fn is_same_call(a: &Mirror, b: &Mirror) -> bool {
    let key = |mirror: &Mirror| (mirror.ordinal, mirror.n);
    key(a) == key(b)
        && a.service == b.service
        && a.caller == b.caller
        && a.method == b.method
        && a.path == b.path
}

/// What the control has where a candidate differs: its own value where it differs too, else the primary's.
fn value_in(noise: &[Difference], at: &str, kind: &str, primary: Option<&Value>) -> Option<Value> {
    noise
        .iter()
        .find(|other| other.at == at && other.kind == kind)
        .map_or_else(|| primary.cloned(), |other| other.shadow.clone())
}

/// A question at the bottom of the screen, with what has been typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Why a path is to be ignored.
    Why {
        /// The path.
        path: String,
        /// The answer so far.
        text: String,
    },
    /// Which other run to compare this one with.
    Compare {
        /// This run's folder.
        report: String,
        /// The other's so far.
        text: String,
    },
    /// Whether to replay these requests.
    Again {
        /// What they are, in words.
        what: String,
        /// Which.
        which: Which,
        /// How many of them cannot be replayed.
        left_out: usize,
        /// Only once the run is over: a second bed beside it would spoil its latencies.
        later: bool,
    },
}

/// A text over the screen, until the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Its title.
    pub title: String,
    /// What it says; long lines are wrapped.
    pub lines: Vec<String>,
    /// Lines above its top.
    pub scroll: usize,
}

impl Overlay {
    /// From its top.
    pub fn new(title: &str, lines: Vec<String>) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            scroll: 0,
        }
    }
}

/// Where a person looks.
#[derive(Debug, Clone)]
pub struct ViewState {
    /// The screen.
    pub screen: Screen,
    /// The panel with the focus on a small live screen; the chosen service, or pane, elsewhere.
    pub focus: usize,
    /// The chosen line.
    pub line: usize,
    /// The chosen example.
    pub example: usize,
    /// What is chosen on the screen of differences.
    pub browse: Browse,
    /// What is being asked; keys go into the answer.
    pub question: Option<Question>,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// Seconds shown on the live screen.
    pub zoom: usize,
    /// Latency axes are logarithmic.
    pub logarithmic: bool,
    /// Sort by name, not by count.
    pub by_name: bool,
    /// Only lines that have this are listed, whatever the case; empty: all.
    pub filter: String,
    /// Keys go into the filter.
    pub typing: bool,
    /// The help is open.
    pub help: bool,
    /// Faults that a person switched off.
    pub switched_off: BTreeSet<Id>,
    /// A person asked the run to stop.
    pub stopping: bool,
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
    /// What a difference of a shadow counts as, as far as is known while the run goes on; the report's test decides.
    pub fn standing(&self, shadow: &str, place: &Place, field: &Field) -> Standing {
        if field.rule.is_some() {
            return Standing::Ignored;
        }
        let is_control = || self.facts.control().is_some_and(|id| **id == *shadow);
        match &field.judged {
            Some(judged) if judged.class == Class::Material => return Standing::Differs,
            Some(judged) if judged.class == Class::Ignored => return Standing::Ignored,
            Some(_) => return Standing::Noise,
            None if self.saved.is_some() && !is_control() => return Standing::Unjudged,
            None => {}
        }
        let controls = || {
            let shadows = self.facts.shadows.iter();
            shadows.filter(|(_, _, role)| *role == Role::Control.name())
        };
        // A control's own differences are what noise is; a candidate's are noise where a control differs half as often.
        let is_noise = controls().any(|(id, _, _)| **id == *shadow)
            || controls()
                .filter_map(|(id, _, _)| self.shadowed.get(id)?.fields.get(place))
                .any(|control| control.count * 2 >= field.count);
        if is_noise {
            Standing::Noise
        } else {
            Standing::Differs
        }
    }

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

    /// Counts so many requests that took so long.
    pub(super) fn serve(
        &mut self,
        service: &Id,
        intended_us: Micros,
        us: Micros,
        failed: bool,
        times: u32,
    ) {
        let phase = self.facts.phase_at(intended_us);
        let served = self.served.entry(service.clone()).or_default();
        let second = served.seconds.entry(intended_us / 1_000_000).or_default();
        let errors = if failed { u64::from(times) } else { 0 };
        second.count += u64::from(times);
        second.errors += errors;
        let value = u32::try_from(us).unwrap_or(u32::MAX);
        second
            .values
            .extend(std::iter::repeat_n(value, times as usize));
        if let Some(bin) = second.bins.get_mut(bin(us)) {
            *bin += times;
        }
        let Some(phase) = phase else { return };
        *served.errors.entry(phase.clone()).or_default() += errors;
        // These bounds are always accepted; the other arm cannot be reached.
        if let (false, Ok(empty)) = (
            served.phases.contains_key(&phase),
            Histogram::new_with_max(LONGEST, 3),
        ) {
            served.phases.insert(phase.clone(), empty);
        }
        if let Some(histogram) = served.phases.get_mut(&phase) {
            histogram.saturating_record_n(us, u64::from(times));
        }
    }

    /// Errors among what was served.
    fn served_errors(&mut self, service: &Id, t_us: Micros, errors: u64) {
        let phase = self.facts.phase_at(t_us);
        let served = self.served.entry(service.clone()).or_default();
        served.seconds.entry(t_us / 1_000_000).or_default().errors += errors;
        if let Some(phase) = phase {
            *served.errors.entry(phase).or_default() += errors;
        }
    }

    fn mirror(&mut self, mirror: &Arc<Mirror>) {
        let shadowed = self.shadowed.entry(mirror.shadow.clone()).or_default();
        *shadowed.outcomes.entry(mirror.outcome).or_default() += 1;
        if mirror.outcome != MirrorOutcome::Compared {
            return;
        }
        *shadowed
            .endpoints
            .entry(mirror.endpoint.clone())
            .or_default() += 1;
        let us = Option::zip(mirror.primary.as_ref(), mirror.answer.as_ref())
            .map(|(primary, answer)| (primary.us, answer.us));
        self.tell_control(mirror);
        let recent = self.recent_of_control(&mirror.shadow);
        let recent = recent.filter(|_| self.wants_examples(mirror));
        let noise = recent.and_then(|recent| {
            let mut latest = recent.iter().rev();
            latest.find(|other| is_same_call(other, mirror)).cloned()
        });
        let Some(shadowed) = self.shadowed.get_mut(&mirror.shadow) else {
            return;
        };
        let mut seen = BTreeSet::new();
        for difference in &mirror.differences {
            let key = (
                mirror.endpoint.clone(),
                difference.path.clone(),
                difference.kind,
            );
            if !seen.insert(key.clone()) {
                continue;
            }
            let field = shadowed.fields.entry(key).or_default();
            field.count += 1;
            field.rule.clone_from(&difference.rule);
            // A request without a trace id of this run has no place in its schedule.
            let has_place = mirror.intended_ms.is_some() || self.facts.is_live;
            if has_place && field.ordinals.len() < ORDINALS {
                field.ordinals.push(mirror.ordinal);
            }
            if field.examples.len() < EXAMPLES {
                let (at, primary) = (&difference.at, difference.primary.as_ref());
                field.examples.push(Example {
                    ordinal: mirror.ordinal,
                    method: mirror.method.clone(),
                    target: mirror.path.clone(),
                    at: at.clone(),
                    primary: primary.cloned(),
                    shadow: difference.shadow.clone(),
                    control: noise.as_ref().map_or(Control::Unknown, |noise| {
                        let noise = &noise.differences;
                        Control::Has(value_in(noise, at, difference.kind, primary))
                    }),
                    us,
                    asked: mirror.asked.clone(),
                });
            }
        }
    }

    /// Whether an answer has a difference of which there are too few examples.
    fn wants_examples(&self, mirror: &Mirror) -> bool {
        let Some(shadowed) = self.shadowed.get(&mirror.shadow) else {
            return false;
        };
        mirror.differences.iter().any(|difference| {
            let place = (
                mirror.endpoint.clone(),
                difference.path.clone(),
                difference.kind,
            );
            let field = shadowed.fields.get(&place);
            field.is_none_or(|field| field.examples.len() < EXAMPLES)
        })
    }

    /// The control's last answers; `None`: there is none, or it is this shadow.
    fn recent_of_control(&self, shadow: &str) -> Option<&VecDeque<Arc<Mirror>>> {
        let control = self.facts.control()?;
        let recent = &self.shadowed.get(control)?.recent;
        (**control != *shadow).then_some(recent)
    }

    /// Keeps an answer of the control's for candidates to come, and tells it to the examples that wait for it.
    fn tell_control(&mut self, mirror: &Arc<Mirror>) {
        let Some(control) = self.facts.control().filter(|id| **id == mirror.shadow) else {
            return;
        };
        for (id, shadowed) in &mut self.shadowed {
            if id == control {
                shadowed.recent.push_back(Arc::clone(mirror));
                if shadowed.recent.len() > CONTROLS {
                    shadowed.recent.pop_front();
                }
                continue;
            }
            let from = (mirror.endpoint.clone(), String::new(), "");
            let here = shadowed.fields.range_mut(from..);
            for ((_, _, kind), field) in here.take_while(|(place, _)| place.0 == mirror.endpoint) {
                let waiting = field.examples.iter_mut().filter(|example| {
                    example.control == Control::Unknown
                        && example.ordinal == mirror.ordinal
                        && example.target == mirror.path
                });
                for example in waiting {
                    let primary = example.primary.as_ref();
                    let value = value_in(&mirror.differences, &example.at, kind, primary);
                    example.control = Control::Has(value);
                }
            }
        }
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

impl Served {
    /// Requests a second, share of errors, and p50 and p99 over the trailing seconds before `now`, as far as known.
    pub fn trailing(&self, now_us: Micros) -> Option<Trailing> {
        let now = now_us / 1_000_000;
        let from = now.saturating_sub(TRAIL);
        let seconds = || {
            self.seconds
                .range(from..now.max(from + 1))
                .map(|(_, second)| second)
        };
        let count: u64 = seconds().map(|second| second.count).sum();
        if count == 0 {
            return None;
        }
        let mut values: Vec<u32> = seconds()
            .flat_map(|second| second.values.iter().copied())
            .collect();
        values.sort_unstable();
        let rank = |q: f64| {
            let index = (q * values.len() as f64).ceil() as usize;
            values.get(index.saturating_sub(1)).copied().map(f64::from)
        };
        let span = now.saturating_sub(from).max(1);
        Some(Trailing {
            count,
            rate: count as f64 / span as f64,
            errors: seconds().map(|second| second.errors).sum::<u64>() as f64 / count as f64,
            p50_us: rank(0.5),
            // Below 100 samples a p99 is only the maximum: it is not shown as one.
            p99_us: (values.len() >= 100).then(|| rank(0.99)).flatten(),
        })
    }
}

/// What a service did over the trailing seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trailing {
    /// Requests.
    pub count: u64,
    /// Requests a second.
    pub rate: f64,
    /// Share of errors.
    pub errors: f64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
}

/// The quarter decade, from 10 µs, that a latency lies in.
pub fn bin(us: Micros) -> usize {
    if us < 10 {
        return 0;
    }
    let quarter = ((us as f64 / 10.0).log10() * 4.0).floor();
    (quarter as usize).min(BINS - 1)
}

/// The lower-case name of an enum that the report writes too.
pub fn name(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
