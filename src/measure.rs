//! What a run amounts to: a fold over its events. Constant cost per event, memory that grows with seconds, not requests.

use std::collections::{BTreeMap, HashMap};

use crate::{
    event::{Changed, Hop, Id, Micros, Mirror, Request, RunEvent, Served},
    shadow::Noise,
    stats::margins::Margins,
};

mod faults;
#[cfg(test)]
pub(crate) mod fixture;
mod latency;
mod series;
mod shadows;
pub mod speed;
mod tally;

pub use crate::shadow::{Class, Trend};
pub use faults::Faulted;
pub use latency::{Kind, Signed};
pub use series::{Cell, Series};
pub use shadows::{Counts, DiffField, Distribution, Mirrored, Place, Shadowed, count_of};
pub use tally::Tally;

/// The generator, as a caller's name.
pub const CLIENT: &str = "client";

/// The side of the primary.
pub const PRIMARY: u8 = 0;

/// A half-open window of intended time, in microseconds since the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First microsecond.
    pub begin_us: u64,
    /// First microsecond after it.
    pub end_us: u64,
}

impl Window {
    /// How long it is.
    pub fn length_us(&self) -> u64 {
        self.end_us.saturating_sub(self.begin_us)
    }
}

/// Which requests a metric is about; the default is all. Known before the run, so that each filter gets its own tallies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Filter {
    /// A status such as 404, or a class: 5 is 5xx.
    pub status: Option<u16>,
    /// Method.
    pub method: Option<String>,
    /// Path without query; `*` is any run of characters.
    pub path: Option<String>,
}

/// What must be known before the first event.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Phases in order: id, window, whether it is recorded.
    pub phases: Vec<(Id, Window, bool)>,
    /// Services that traffic drives: measured at the generator.
    pub driven: Vec<Id>,
    /// Services that speak bytes: sidecars see no requests of theirs.
    pub opaque: Vec<Id>,
    /// All services.
    pub services: Vec<Id>,
    /// Faults, in file order.
    pub faults: Vec<Id>,
    /// Shadows, in file order; the number of a shadow's side is its index + 1.
    pub shadows: Vec<Id>,
    /// The shadow that is the control, whose differences are noise.
    pub control: Option<Id>,
    /// Shadows of services that the control is none of: their differences are judged without one.
    pub uncontrolled: Vec<Id>,
    /// What shadows and their primaries took is kept, for verdicts on speed.
    pub timed: bool,
    /// Changes of a latency that matter, in verdicts on speed.
    pub margins: Margins,
    /// Significance that a field's difference needs.
    pub alpha: f64,
    /// Share of answers that must differ for a field's difference to be material.
    pub min_effect: f64,
    /// Filters that metrics will ask for, with the service.
    pub filters: Vec<(Id, Filter)>,
    /// What counts as an error.
    pub errors: ErrorRule,
}

/// What counts as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRule {
    /// No complete response counts.
    pub no_response: bool,
    /// Status classes that count: `5` is 5xx.
    pub classes: Vec<u16>,
    /// Statuses that count.
    pub statuses: Vec<u16>,
    /// A gRPC status other than 0 counts.
    pub grpc_nonzero: bool,
}

impl Default for ErrorRule {
    fn default() -> Self {
        Self {
            no_response: true,
            classes: vec![5],
            statuses: Vec::new(),
            grpc_nonzero: true,
        }
    }
}

impl ErrorRule {
    /// Whether an answer is an error.
    pub fn is_error(&self, status: Option<u16>, complete: bool, grpc_status: Option<u32>) -> bool {
        let Some(status) = status.filter(|_| complete) else {
            return self.no_response;
        };
        self.classes.contains(&(status / 100))
            || self.statuses.contains(&status)
            || (self.grpc_nonzero && grpc_status.is_some_and(|grpc| grpc != 0))
    }
}

/// What is measured together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// The service.
    pub service: Id,
    /// 0: primary; else the shadow's number.
    pub side: u8,
    /// Only requests like these; the default is all.
    pub filter: Filter,
}

impl Subject {
    /// All requests of a service's primary.
    pub fn primary(service: &Id) -> Self {
        Self {
            service: service.clone(),
            side: PRIMARY,
            filter: Filter::default(),
        }
    }
}

/// What a run amounts to so far.
#[derive(Debug, Clone)]
pub struct Measured {
    setup: Setup,
    slice_us: Micros,
    subjects: BTreeMap<Subject, Series>,
    filters: HashMap<Id, Vec<Filter>>,
    faults: Vec<Faulted>,
    shadows: Shadowed,
    overflow: BTreeMap<Micros, u64>,
    /// Of replicas and breakers.
    changes: Vec<Changed>,
    /// What people were told, and when.
    notes: Vec<(Micros, String)>,
    unscheduled: u64,
    hops: u64,
}

/// Slices at most; where a run without end has more, they are joined two by two. Two hours of seconds.
const MAX_SLICES: usize = 7_200;

/// Runs up to this long are cut in slices of a tenth of a second; longer ones of a second, to bound the memory.
const FINE_UNTIL_US: Micros = 600_000_000;

/// Notes that are kept: a run has a handful, and a mirror may go on for months.
const MAX_NOTES: usize = 100;

impl Measured {
    /// Nothing yet.
    pub fn new(setup: Setup) -> Self {
        let length = setup
            .phases
            .last()
            .map_or(0, |(_, window, _)| window.end_us);
        let mut filters: HashMap<Id, Vec<Filter>> = HashMap::new();
        for (service, filter) in &setup.filters {
            let of = filters.entry(service.clone()).or_default();
            if *filter != Filter::default() && !of.contains(filter) {
                of.push(filter.clone());
            }
        }
        Self {
            slice_us: if length <= FINE_UNTIL_US {
                100_000
            } else {
                1_000_000
            },
            subjects: BTreeMap::new(),
            filters,
            faults: setup.faults.iter().map(Faulted::new).collect(),
            shadows: Shadowed::new(&setup),
            overflow: BTreeMap::new(),
            changes: Vec::new(),
            notes: Vec::new(),
            unscheduled: 0,
            hops: 0,
            setup,
        }
    }

    /// Takes one event in.
    pub fn add(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Request(request) => self.add_request(request),
            RunEvent::Hop(hop) => self.add_hop(hop),
            RunEvent::Served(served) => self.add_served(served),
            RunEvent::Connection(connection) => {
                let own = connection.side == 0;
                for fault in self.faults.iter_mut().filter(|_| own) {
                    fault.add_connection(connection);
                }
            }
            RunEvent::Mirror(mirror) => self.add_mirror(mirror),
            RunEvent::Overflow { t_us, .. } => {
                let slice = self.slice_of(*t_us);
                *self.overflow.entry(slice).or_default() += 1;
            }
            RunEvent::Changed(changed) => self.changes.push(changed.clone()),
            RunEvent::Tick(tick) => {
                if tick.t_us / self.slice_us > MAX_SLICES as Micros {
                    self.coarsen();
                }
            }
            RunEvent::Run { .. }
            | RunEvent::Phase { .. }
            | RunEvent::Fault { .. }
            | RunEvent::Guard { .. }
            | RunEvent::Check { .. }
            | RunEvent::Steady { .. }
            | RunEvent::Undo { .. } => {}
            RunEvent::Note { t_us, text } => {
                if self.notes.len() < MAX_NOTES {
                    self.notes.push((*t_us, text.clone()));
                }
            }
        }
    }

    /// What people were told, the first hundred times.
    pub fn notes(&self) -> &[(Micros, String)] {
        &self.notes
    }

    /// How long a slice is.
    pub fn slice_us(&self) -> Micros {
        self.slice_us
    }

    /// Makes slices twice as long, so that a run without end has a memory that is bounded.
    fn coarsen(&mut self) {
        self.slice_us *= 2;
        for series in std::mem::take(&mut self.subjects) {
            let (subject, series) = series;
            let series = series.cut(&|begin| self.slice_of(begin));
            self.subjects.insert(subject, series);
        }
        let mut shadows = std::mem::replace(&mut self.shadows, Shadowed::new(&self.setup));
        shadows.cut(&|begin| self.slice_of(begin));
        self.shadows = shadows;
        for (begin, count) in std::mem::take(&mut self.overflow) {
            let slice = self.slice_of(begin);
            *self.overflow.entry(slice).or_default() += count;
        }
    }

    /// What it was told before the first event.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Whether traffic drives this service: it is measured at the generator.
    pub fn is_driven(&self, service: &str) -> bool {
        self.setup.driven.iter().any(|driven| &**driven == service)
    }

    /// Nobody sees requests to it.
    pub fn is_unseen(&self, service: &str) -> bool {
        let opaque = self.setup.opaque.iter().any(|opaque| &**opaque == service);
        opaque && !self.is_driven(service)
    }

    /// The windows of all recorded phases.
    pub fn recorded(&self) -> Vec<Window> {
        self.setup
            .phases
            .iter()
            .filter(|(_, _, record)| *record)
            .map(|(_, window, _)| *window)
            .collect()
    }

    /// The window of a phase.
    pub fn phase(&self, id: &str) -> Option<Window> {
        self.setup
            .phases
            .iter()
            .find(|(phase, _, _)| &**phase == id)
            .map(|(_, window, _)| *window)
    }

    /// All that was measured together, in order.
    pub fn subjects(&self) -> impl Iterator<Item = (&Subject, &Series)> {
        self.subjects.iter()
    }

    /// The name of a side: `primary` or the shadow's id.
    pub fn side_name(&self, side: u8) -> &str {
        match side {
            PRIMARY => "primary",
            shadow => self
                .setup
                .shadows
                .get(usize::from(shadow) - 1)
                .map_or("unknown", |id| id),
        }
    }

    /// All of a subject that was due in these windows, as one.
    pub fn over(&self, subject: &Subject, windows: &[Window]) -> Cell {
        self.subjects
            .get(subject)
            .map(|series| series.over(windows))
            .unwrap_or_default()
    }

    /// The generator's lateness over these windows, all driven services together.
    pub fn generator(&self, windows: &[Window]) -> Cell {
        let mut all = Cell::default();
        for service in &self.setup.driven {
            all.merge(&self.over(&Subject::primary(service), windows));
        }
        all
    }

    /// Requests that waited for a place, due in these windows.
    pub fn overflow(&self, windows: &[Window]) -> u64 {
        windows
            .iter()
            .flat_map(|window| self.overflow.range(window.begin_us..window.end_us))
            .map(|(_, count)| count)
            .sum()
    }

    /// How many changes of this kind a service saw in these windows.
    pub fn changes(&self, service: &str, windows: &[Window], kind: fn(&Changed) -> bool) -> u64 {
        let inside = |t_us: Micros| {
            windows
                .iter()
                .any(|window| (window.begin_us..window.end_us).contains(&t_us))
        };
        self.changes
            .iter()
            .filter(|change| &*change.service == service && inside(change.t_us) && kind(change))
            .count() as u64
    }

    /// What became of each fault's choices, in file order.
    pub fn faults(&self) -> &[Faulted] {
        &self.faults
    }

    /// What became of what the shadows' samples chose.
    pub fn shadows(&self) -> &Shadowed {
        &self.shadows
    }

    /// Where and how a shadow's answers differ, each with its class; in order of place.
    pub fn differences(&self, mirrored: &Mirrored) -> Vec<DiffField> {
        self.shadows.fields(mirrored, self.noise())
    }

    /// Changes when a difference is material.
    pub fn judge_by(&mut self, alpha: f64, min_effect: f64) {
        (self.setup.alpha, self.setup.min_effect) = (alpha, min_effect);
    }

    /// How the sizes of values that differ in nearly all answers are distributed; in order of place.
    pub fn distributions(&self, mirrored: &Mirrored) -> Vec<Distribution> {
        self.shadows.distributions(mirrored, self.noise())
    }

    /// When a difference is material.
    fn noise(&self) -> Noise {
        Noise {
            alpha: self.setup.alpha,
            min_effect: self.setup.min_effect,
        }
    }

    /// How many places of a class there are where a shadow's answers differ, or are distributed otherwise.
    pub fn classified(&self, mirrored: &Mirrored, class: Class) -> u64 {
        // What is spread alike is no difference at all: only the field itself is noise.
        let distributions = match class {
            Class::Material => self.distributions(mirrored),
            Class::Noise | Class::Ignored => Vec::new(),
        };
        count_of(&self.differences(mirrored), &distributions, class)
    }

    /// Requests that sidecars saw, and how many of them did not carry one of this run's trace ids.
    pub fn identified(&self) -> (u64, u64) {
        (self.hops, self.unscheduled)
    }

    fn add_request(&mut self, request: &Request) {
        let (subjects, place) = self.find(
            &request.service,
            PRIMARY,
            request.intended_us,
            Kept {
                status: request.status,
                method: &request.method,
                path: &request.path,
            },
        );
        let error =
            self.setup
                .errors
                .is_error(request.status, request.complete, request.grpc_status);
        for subject in subjects {
            let cell = self.subjects.entry(subject).or_default().cell(place);
            cell.tally.add_request(request, error);
            cell.record(Kind::Lateness, request.lateness_us());
            if let Some(blocked) = request.blocked_us() {
                cell.record(Kind::Blocked, blocked);
            }
            if request.complete {
                cell.record(Kind::Response, request.response_us());
                if let Some(service) = request.service_us() {
                    cell.record(Kind::Service, service);
                }
            }
        }
    }

    fn add_hop(&mut self, hop: &Hop) {
        self.hops += 1;
        self.unscheduled += u64::from(!hop.scheduled);
        let due = due_us(hop.intended_ms, hop.start_us);
        let (subjects, place) = self.find(
            &hop.service,
            hop.side,
            due,
            Kept {
                status: hop.status,
                method: &hop.method,
                path: &hop.path,
            },
        );
        let error = self.setup.errors.is_error(hop.status, hop.complete, None);
        let driven = self.is_driven(&hop.service) && hop.side == PRIMARY;
        let by_client = &*hop.caller == CLIENT;
        let answered = hop.complete && hop.status.is_some();
        for subject in subjects {
            let cell = self.subjects.entry(subject).or_default().cell(place);
            if hop.inbound {
                cell.tally.attempts += 1;
                if answered {
                    cell.record(Kind::Inbound, hop.us);
                }
            } else if driven {
                // Measured at the generator; only what its sidecar alone knows is taken from here.
                if by_client {
                    cell.tally.add_flags(hop);
                }
            } else {
                cell.tally.add_hop(hop, error);
                if answered {
                    cell.record(Kind::Service, hop.us);
                }
            }
        }
        if hop.side == PRIMARY && !hop.inbound {
            for faulted in &mut self.faults {
                faulted.add(hop);
            }
        }
    }

    fn add_served(&mut self, served: &Served) {
        let place = self.slice_of(served.t_us);
        let subject = Subject::primary(&served.service);
        let cell = self.subjects.entry(subject).or_default().cell(place);
        cell.tally.add_served(served);
        cell.merge_latency(Kind::Service, &served.latency);
    }

    fn add_mirror(&mut self, mirror: &Mirror) {
        let due = due_us(mirror.intended_ms, mirror.t_us);
        let place = self.slice_of(due);
        self.shadows.add(mirror, place);
    }

    /// Which subjects a request belongs to, and the slice it was due in.
    fn find(
        &self,
        service: &Id,
        side: u8,
        due_us: Micros,
        kept: Kept<'_>,
    ) -> (Vec<Subject>, Micros) {
        let all = Subject {
            service: service.clone(),
            side,
            filter: Filter::default(),
        };
        let mut subjects = Vec::new();
        for filter in self.filters.get(service).into_iter().flatten() {
            if filter.keeps(kept) {
                subjects.push(Subject {
                    filter: filter.clone(),
                    ..all.clone()
                });
            }
        }
        subjects.push(all);
        (subjects, self.slice_of(due_us))
    }

    /// Where the slice begins that this moment belongs to: slices are cut where phases are.
    fn slice_of(&self, due_us: Micros) -> Micros {
        let slice = due_us - due_us % self.slice_us;
        self.setup
            .phases
            .iter()
            .flat_map(|(_, window, _)| [window.begin_us, window.end_us])
            .filter(|cut| (slice..=due_us).contains(cut))
            .fold(slice, Micros::max)
    }
}

/// When a request that a sidecar saw was due; where it does not know, when it came.
fn due_us(intended_ms: Option<u32>, came_us: Micros) -> Micros {
    intended_ms.map_or(came_us, |ms| Micros::from(ms) * 1000)
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    status: Option<u16>,
    method: &'a str,
    path: &'a str,
}

impl Filter {
    fn keeps(&self, request: Kept<'_>) -> bool {
        let path = request.path.split('?').next().unwrap_or_default();
        self.status.is_none_or(|wanted| {
            request
                .status
                .is_some_and(|status| status == wanted || status / 100 == wanted)
        }) && self
            .method
            .as_ref()
            .is_none_or(|method| method.eq_ignore_ascii_case(request.method))
            && self.path.as_ref().is_none_or(|glob| globs(glob, path))
    }
}

/// Whether a text matches a pattern in which `*` is any run of characters.
fn globs(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{fixture::*, *};
    use crate::stats::quantile::Quantile;
    use crate::{event::Flags, stats::histogram::Histogram};

    fn steady() -> Window {
        Window {
            begin_us: 1_000_000,
            end_us: 3_000_000,
        }
    }

    #[test]
    fn a_request_belongs_to_the_phase_it_was_due_in() {
        let mut measured = Measured::new(setup());
        // Due in the last microsecond of `steady`, done in `fault`.
        measured.add(&request(0, 2_999_999, 700_000, 200));
        measured.add(&request(1, 3_000_000, 10, 200));
        let shop = Subject::primary(&"shop".into());
        let response = |phase: &str| {
            let cell = measured.over(&shop, &[measured.phase(phase).unwrap()]);
            cell.latency(Kind::Response).and_then(Histogram::max)
        };
        assert_eq!(response("steady"), Some(700_415), "700_000 in its bucket");
        assert_eq!(response("fault"), Some(10));
        assert_eq!(response("warmup"), None);
    }

    #[test]
    fn a_driven_service_is_measured_at_the_generator() {
        let mut measured = Measured::new(setup());
        measured.add(&request(0, 1_000_000, 900, 200));
        measured.add(&hop("client", "shop", 0, |hop| hop.flags = Flags::DI));
        measured.add(&hop("pay", "shop", 0, |_| {}));
        measured.add(&hop("client", "shop", 0, |hop| hop.inbound = true));
        let cell = measured.over(&Subject::primary(&"shop".into()), &[steady()]);
        assert_eq!((cell.tally.requests, cell.tally.attempts), (1, 1));
        assert_eq!(cell.tally.flags, BTreeMap::from([("DI", 1)]));
        assert_eq!(cell.latency(Kind::Service).map(Histogram::count), Some(1));
        assert_eq!(cell.latency(Kind::Inbound).map(Histogram::count), Some(1));
    }

    #[test]
    fn a_shadows_calls_never_move_the_primarys() {
        let mut measured = Measured::new(setup());
        measured.add(&hop("shop", "pay", 0, |hop| {
            hop.considered = vec!["slow".into()];
            hop.hits = vec![hit("slow", "applied")];
        }));
        let before = measured.clone();
        measured.add(&hop("shop", "pay", 1, |hop| {
            hop.considered = vec!["slow".into()];
            hop.hits = vec![hit("slow", "applied")];
            hop.status = Some(500);
        }));
        let pay = Subject::primary(&"pay".into());
        assert_eq!(
            measured.over(&pay, &[steady()]),
            before.over(&pay, &[steady()])
        );
        assert_eq!(measured.faults(), before.faults());
        let candidate = Subject { side: 1, ..pay };
        assert_eq!(measured.over(&candidate, &[steady()]).tally.errors, 1);
        assert_eq!(measured.side_name(1), "candidate");
    }

    #[test]
    fn a_filter_has_tallies_of_its_own() {
        let mut measured = Measured::new(setup());
        for (ordinal, path, status) in [
            (0, "/cart/1?x=/a", 503),
            (1, "/cart/2", 200),
            (2, "/item/cart/", 503),
        ] {
            measured.add(&request_to(ordinal, path, 1_000_000, 900, status));
        }
        let (service, filter) = setup().filters.remove(0);
        let subject = Subject {
            service,
            side: PRIMARY,
            filter,
        };
        assert_eq!(measured.over(&subject, &[steady()]).tally.requests, 1);
        let all = Subject {
            filter: Filter::default(),
            ..subject
        };
        assert_eq!(measured.over(&all, &[steady()]).tally.requests, 3);
    }

    #[test]
    fn globs_match_any_run_of_characters() {
        let rows = [
            ("/cart/*", "/cart/1", true),
            ("/cart/*", "/cart", false),
            ("*", "", true),
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/*/x/*", "/1/x/2", true),
            ("/*/x", "/1/x/x", true),
            ("*b*", "abc", true),
            ("*b*d", "abc", false),
        ];
        for (pattern, text, matches) in rows {
            assert_eq!(globs(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn what_has_no_answer_is_an_error_without_a_latency() {
        let mut measured = Measured::new(setup());
        measured.add(&request_with(0, 1_000_000, 5_000, |request| {
            request.status = None;
            request.complete = false;
        }));
        let cell = measured.over(&Subject::primary(&"shop".into()), &[steady()]);
        assert_eq!(
            (cell.tally.errors, cell.tally.status.get(&0)),
            (1, Some(&1))
        );
        assert_eq!(cell.latency(Kind::Response), None);
        assert_eq!(cell.latency(Kind::Lateness).map(Histogram::count), Some(1));
    }

    #[test]
    fn faults_are_counted_by_what_became_of_them() {
        let mut measured = Measured::new(setup());
        for effect in ["applied", "applied", "superseded", "capped", "abandoned"] {
            measured.add(&hop("shop", "pay", 0, |hop| {
                hop.considered = vec!["slow".into()];
                hop.hits = vec![hit("slow", effect)];
            }));
        }
        measured.add(&hop("shop", "pay", 0, |hop| {
            hop.considered = vec!["slow".into()];
        }));
        let slow = &measured.faults()[0];
        assert_eq!((slow.considered, slow.chosen), (6, 5));
        assert_eq!(
            (slow.applied, slow.superseded, slow.capped, slow.abandoned),
            (2, 1, 1, 1)
        );
    }

    #[test]
    fn a_difference_that_the_control_shows_too_is_not_the_candidates() {
        let mut measured = Measured::new(setup());
        for ordinal in 0..20 {
            // Every pair lacks the tax; the id differs for the control as well; whichever of the two comes first.
            let candidate = mirror(
                "candidate",
                ordinal,
                &[("$.tax", "missing"), ("$.id", "value")],
            );
            let control = mirror("control", ordinal, &[("$.id", "value")]);
            let order = if ordinal % 2 == 0 {
                [candidate, control]
            } else {
                [control, candidate]
            };
            for event in &order {
                measured.add(event);
            }
        }
        // A pair whose control never answered says nothing.
        measured.add(&mirror("candidate", 20, &[("$.id", "value")]));
        let mirrored = measured.shadows().over("candidate", &[steady()]);
        assert_eq!(
            (mirrored.compared, mirrored.paired, mirrored.different),
            (21, 20, 21)
        );
        let found: Vec<_> = measured
            .differences(&mirrored)
            .into_iter()
            .map(|field| {
                (
                    field.place.path,
                    field.counts,
                    field.total,
                    field.verdict.class,
                )
            })
            .collect();
        let counts = |b, both| Counts { b, c: 0, both };
        assert_eq!(
            found,
            [
                ("$.id".to_owned(), counts(0, 20), 20, Class::Noise),
                ("$.tax".to_owned(), counts(20, 0), 20, Class::Material),
            ]
        );
    }

    #[test]
    fn a_run_without_end_is_cut_in_ever_longer_slices_and_loses_nothing() {
        let mut setup = setup();
        setup.phases = vec![(
            "mirror".into(),
            Window {
                begin_us: 0,
                end_us: u64::MAX,
            },
            true,
        )];
        let mut measured = Measured::new(setup);
        let seconds = 5 * MAX_SLICES as u64;
        for second in 0..seconds {
            let mut latency = Histogram::default();
            latency.record(100 + second);
            measured.add(&RunEvent::Served(std::sync::Arc::new(Served {
                t_us: second * 1_000_000,
                service: "shop".into(),
                requests: 1,
                errors: second % 2,
                bytes: 3,
                status: [(200, 1)].into(),
                latency,
            })));
            if let RunEvent::Mirror(mut pair) = mirror("candidate", second, &[]) {
                std::sync::Arc::make_mut(&mut pair).intended_ms = Some(second as u32 * 1_000);
                measured.add(&RunEvent::Mirror(pair));
            }
            measured.add(&RunEvent::Tick(crate::event::Tick {
                t_us: (second + 1) * 1_000_000,
                sec: second,
                planned: 0,
                sent: 0,
                done: 0,
                late_p99_us: 0,
                in_flight: 0,
            }));
        }
        let shop = Subject::primary(&"shop".into());
        let slices = measured.subjects[&shop].cells().count();
        assert!(slices <= MAX_SLICES + 1, "{slices}");
        let cell = measured.over(&shop, &measured.recorded());
        assert_eq!(
            (cell.tally.requests, cell.tally.errors),
            (seconds, seconds / 2)
        );
        assert_eq!(cell.latency(Kind::Service).unwrap().count(), seconds);
        let copies = measured.shadows().over("candidate", &measured.recorded());
        assert_eq!(copies.compared, seconds);
    }

    #[test]
    fn one_control_serves_every_candidate_of_its_service() {
        let mut setup = setup();
        setup.shadows.extend(["second".into(), "elsewhere".into()]);
        setup.uncontrolled.push("elsewhere".into());
        let mut measured = Measured::new(setup);
        for ordinal in 0..20 {
            let told = [
                ("candidate", "$.id"),
                ("second", "$.id"),
                ("control", "$.id"),
            ];
            for place in 0..3 {
                let (shadow, path) = told[(place + ordinal as usize) % 3];
                measured.add(&mirror(shadow, ordinal, &[(path, "value")]));
            }
            measured.add(&mirror("elsewhere", ordinal, &[("$.id", "value")]));
        }
        for (shadow, class) in [
            ("candidate", Class::Noise),
            ("second", Class::Noise),
            ("elsewhere", Class::Material),
        ] {
            let mirrored = measured.shadows().over(shadow, &[steady()]);
            assert_eq!(mirrored.paired, 20, "{shadow}");
            let fields = measured.differences(&mirrored);
            assert_eq!(fields[0].verdict.class, class, "{shadow}");
        }
    }

    #[test]
    fn the_delta_is_that_of_each_pair() {
        let mut measured = Measured::new(setup());
        for ordinal in 0..3 {
            measured.add(&mirror("candidate", ordinal, &[]));
        }
        let delta = measured.shadows().over("candidate", &[steady()]).delta;
        assert_eq!(
            (delta.count(), delta.quantile(Quantile::P50)),
            (3, Some(150))
        );
    }
}
