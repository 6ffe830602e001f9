//! What became of the requests that shadows' samples chose, and how the answers differ: a request's difference counts
//! for the candidate only where the control's answer to the same request does not differ there too.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    event::{Id, Micros, Mirror, MirrorOutcome},
    measure::{Setup, Signed, Window},
    shadow::{self, Class, Counted, Forms, Kind, Noise, Shape, Shift, Sizes, Verdict},
    stats::paired::Pair,
};

/// Requests that wait for the control's or a candidate's answer; beyond it the oldest is forgotten. Far more than can
/// be under way within a mirror's deadline.
const MAX_PENDING: usize = 100_000;

/// Sizes that are kept of each field in each slice: those of the first ordinals.
const SIZES_PER_SLICE: usize = 16;

/// Sizes that are kept of each field of a shadow in all, for runs that go on for hours; from then on none are added.
const MAX_SIZES: usize = 20_000;

/// What became of all shadows' requests.
#[derive(Debug, Clone)]
pub struct Shadowed {
    shadows: Vec<(Id, BTreeMap<Micros, Mirrored>)>,
    control: Option<usize>,
    /// Of each shadow, whether the control is one of its service.
    controlled: Vec<bool>,
    /// What both sides took is kept.
    timed: bool,
    fields: Vec<Place>,
    numbers: HashMap<Place, u32>,
    pending: HashMap<Call, Pending>,
    order: VecDeque<Call>,
    /// Sizes kept so far, by shadow and field.
    sizes: HashMap<(usize, u32), usize>,
}

/// Where answers differ, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// `GET /cart/{id}`.
    pub endpoint: String,
    /// `$.items[*].tax`.
    pub path: String,
    /// `missing`, `extra`, …
    pub kind: String,
    /// The rule that ignores it.
    pub rule: Option<String>,
}

/// What became of one shadow's requests in one slice, or in several together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mirrored {
    /// Requests that the sample chose.
    pub chosen: u64,
    /// Of those: both answers were compared.
    pub compared: u64,
    /// Of those: not sent, by reason.
    pub shed: BTreeMap<String, u64>,
    /// Of those: sent, but not answered in full, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Of those: nothing to compare with, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Compared answers that differ, after the ignore rules.
    pub different: u64,
    /// Compared answers whose control was compared as well; all compared ones where there is no control.
    pub paired: u64,
    /// Shadow minus primary, request by request.
    pub delta: Signed,
    /// What both took, where a verdict on speed is asked for.
    pub times: Pair,
    /// Some were held against a control's.
    controlled: bool,
    /// Pairs by endpoint.
    endpoints: BTreeMap<String, u64>,
    /// Counts by number of the field.
    fields: BTreeMap<u32, Counts>,
    /// What values that differ look like, by number of the field.
    shapes: BTreeMap<u32, Shapes>,
}

/// What the values that differ at a place look like.
#[derive(Debug, Clone, PartialEq)]
struct Shapes {
    /// Forms that all of them have.
    forms: Forms,
    /// How large they are, where the control's differ too.
    sizes: Vec<Sizes>,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            forms: Forms::ALL,
            sizes: Vec::new(),
        }
    }
}

/// How many pairs differ at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Only the candidate differs from the primary.
    pub b: u64,
    /// Only the control does.
    pub c: u64,
    /// Both do.
    pub both: u64,
}

/// How the answers of a shadow differ at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffField {
    /// Where and how.
    pub place: Place,
    /// How often.
    pub counts: Counts,
    /// Of how many pairs at this endpoint.
    pub total: u64,
    /// What that amounts to.
    pub verdict: Verdict,
    /// The form that all values have that differ there, on every side.
    pub form: Option<shadow::Format>,
}

/// How the sizes of values that always differ are distributed at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Where.
    pub place: Place,
    /// What the test says.
    pub shift: Shift,
    /// Holm over all distributions of the candidate.
    pub p_adjusted: f64,
    /// What it counts as.
    pub class: Class,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    service: Id,
    caller: Id,
    ordinal: u64,
    n: u32,
    method: String,
    path: String,
}

/// Answers to one call that were told so far, by shadow.
#[derive(Debug, Clone)]
struct Pending {
    told: Vec<Option<Told>>,
}

#[derive(Debug, Clone)]
struct Told {
    slice: Micros,
    endpoint: String,
    request: (u64, u32),
    /// `None`: it was not compared.
    differing: Option<Differing>,
}

/// Where an answer differs.
#[derive(Debug, Clone, Default)]
struct Differing {
    /// Sorted.
    fields: Vec<u32>,
    /// Of values, what they look like; of several at one place what all have in common, and the first one's sizes.
    shapes: Vec<(u32, Option<Shape>)>,
}

impl Shadowed {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            shadows: setup
                .shadows
                .iter()
                .map(|id| (id.clone(), BTreeMap::new()))
                .collect(),
            control: setup
                .control
                .as_ref()
                .and_then(|control| setup.shadows.iter().position(|id| id == control)),
            timed: setup.timed,
            controlled: setup
                .shadows
                .iter()
                .map(|id| setup.control.is_some() && !setup.uncontrolled.contains(id))
                .collect(),
            fields: Vec::new(),
            numbers: HashMap::new(),
            pending: HashMap::new(),
            order: VecDeque::new(),
            sizes: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, mirror: &Mirror, slice: Micros) {
        let Some(index) = self.shadows.iter().position(|(id, _)| *id == mirror.shadow) else {
            return;
        };
        let why = mirror.why.clone().unwrap_or_else(|| "unknown".into());
        let compared = mirror.outcome == MirrorOutcome::Compared;
        let differing = compared.then(|| self.differing(mirror));
        let counts = !mirror
            .differences
            .iter()
            .all(|difference| difference.rule.is_some());
        let timed = self.timed;
        let Some(cell) = self.cell(index, slice) else {
            return;
        };
        cell.chosen += 1;
        match mirror.outcome {
            MirrorOutcome::Compared => {
                cell.compared += 1;
                cell.different += u64::from(counts);
                if let (Some(primary), Some(answer)) = (&mirror.primary, &mirror.answer) {
                    cell.delta
                        .record(answer.us.cast_signed() - primary.us.cast_signed());
                    if timed {
                        cell.times.baseline.record(primary.us);
                        cell.times.candidate.record(answer.us);
                    }
                }
            }
            MirrorOutcome::Shed => *cell.shed.entry(why).or_default() += 1,
            MirrorOutcome::Failed => *cell.failed.entry(why).or_default() += 1,
            MirrorOutcome::Skipped => *cell.skipped.entry(why).or_default() += 1,
        }
        let told = Told {
            slice,
            endpoint: mirror.endpoint.clone(),
            request: (mirror.ordinal, mirror.n),
            differing,
        };
        let is_controlled = self.controlled.get(index).copied().unwrap_or_default();
        match self.control.filter(|_| is_controlled) {
            Some(control) => self.join(index, control, mirror, told),
            None => self.settle(index, &told, &Differing::default()),
        }
    }

    /// Counts in other slices: each cell goes where the beginning of its slice goes.
    pub(super) fn cut(&mut self, slice_of: &dyn Fn(Micros) -> Micros) {
        for (_, cells) in &mut self.shadows {
            for (begin, cell) in std::mem::take(cells) {
                cells.entry(slice_of(begin)).or_default().merge(&cell);
            }
        }
        let pending = self.pending.values_mut();
        for told in pending.flat_map(|one| &mut one.told).flatten() {
            told.slice = slice_of(told.slice);
        }
    }

    /// What became of a shadow's requests that were due in these windows.
    pub fn over(&self, shadow: &str, windows: &[Window]) -> Mirrored {
        let mut all = Mirrored::default();
        let cells = windows
            .iter()
            .flat_map(|window| self.cells(shadow, *window));
        for cell in cells {
            all.merge(cell);
        }
        all
    }

    /// What a shadow and its primary took for the requests of a window.
    pub fn times(&self, shadow: &str, window: Window) -> Pair {
        let mut times = Pair::default();
        for cell in self.cells(shadow, window) {
            times.merge(&cell.times);
        }
        times
    }

    /// Pairs of answers that took some time, of requests due in these windows.
    pub fn pairs(&self, shadow: &str, windows: &[Window]) -> u64 {
        let cells = windows
            .iter()
            .flat_map(|window| self.cells(shadow, *window));
        cells.map(|cell| cell.times.count()).sum()
    }

    /// The control of a shadow's service; `None`: there is none, or it is this shadow.
    pub fn control_of(&self, shadow: &str) -> Option<&Id> {
        let index = self.shadows.iter().position(|(id, _)| &**id == shadow)?;
        let is_controlled = self.controlled.get(index).copied().unwrap_or_default();
        let control = self
            .control
            .filter(|control| is_controlled && *control != index)?;
        self.shadows.get(control).map(|(id, _)| id)
    }

    fn cells(&self, shadow: &str, window: Window) -> impl Iterator<Item = &Mirrored> {
        let cells = self.shadows.iter().find(|(id, _)| &**id == shadow);
        let range = window.begin_us..window.end_us.max(window.begin_us);
        let cells = cells.map(|(_, cells)| cells.range(range));
        cells.into_iter().flatten().map(|(_, cell)| cell)
    }

    /// Where and how a shadow's answers differ, each judged, in order of place.
    pub fn fields(&self, mirrored: &Mirrored, noise: Noise) -> Vec<DiffField> {
        let mut counted: Vec<Row> = mirrored
            .fields
            .iter()
            .filter_map(|(number, counts)| self.row(mirrored, *number, *counts))
            .collect();
        counted.sort_by(|a, b| a.place.cmp(&b.place));
        classify(counted, noise)
    }

    /// How the sizes of values that differ in nearly all answers are distributed, in order of place.
    pub fn distributions(&self, mirrored: &Mirrored, noise: Noise) -> Vec<Distribution> {
        let shift = |(number, shapes): (&u32, &Shapes)| {
            let place = self.fields.get(*number as usize)?;
            let counts = mirrored.fields.get(number)?;
            let total = mirrored.pairs_at(&place.endpoint);
            let tested =
                place.rule.is_none() && shadow::is_noise_only(counts.c + counts.both, total);
            let shift = tested.then(|| shadow::shift(&shapes.sizes)).flatten()?;
            Some((place.clone(), shift))
        };
        let mut shifts: Vec<_> = mirrored.shapes.iter().filter_map(shift).collect();
        shifts.sort_by(|(a, _), (b, _)| a.cmp(b));
        let tests: Vec<_> = shifts.iter().map(|(_, shift)| *shift).collect();
        let judged = shadow::judge_shifts(&tests, noise);
        let distribution = |((place, shift), (p_adjusted, class))| Distribution {
            place,
            shift,
            p_adjusted,
            class,
        };
        shifts.into_iter().zip(judged).map(distribution).collect()
    }

    /// A field's counts; `None`: nothing to tell. That values have another form is told where the control's values differ,
    /// so that it says more than that they do.
    fn row(&self, mirrored: &Mirrored, number: u32, counts: Counts) -> Option<Row> {
        let place = self.fields.get(number as usize)?.clone();
        if place.kind == Kind::Shape.name() {
            let value = Place {
                kind: Kind::Value.name().to_owned(),
                ..place.clone()
            };
            let values = mirrored.fields.get(self.numbers.get(&value)?)?;
            if values.c + values.both == 0 {
                return None;
            }
        }
        let total = mirrored.pairs_at(&place.endpoint);
        let shapes = mirrored.shapes.get(&number);
        let made = shapes.is_some_and(|shapes| shapes.forms.are_of_one_answer());
        let always = total > 1 && shadow::is_noise_only(counts.b, total);
        Some(Row {
            place,
            counts,
            total,
            form: shapes.and_then(|shapes| shapes.forms.best()),
            learnt: !mirrored.controlled && made && always,
        })
    }

    /// The places where an answer differs, by number.
    fn differing(&mut self, mirror: &Mirror) -> Differing {
        let mut differing = Differing::default();
        for difference in &mirror.differences {
            let place = Place {
                endpoint: mirror.endpoint.clone(),
                path: difference.path.clone(),
                kind: difference.kind.to_owned(),
                rule: difference.rule.clone(),
            };
            let is_value = difference.kind == Kind::Value.name();
            if difference.shape.is_some_and(|shape| !shape.same) {
                let number = self.number(Place {
                    kind: Kind::Shape.name().to_owned(),
                    ..place.clone()
                });
                differing.fields.push(number);
            }
            let number = self.number(place);
            differing.fields.push(number);
            if is_value {
                differing.look_at(number, difference.shape);
            }
        }
        differing.fields.sort_unstable();
        differing.fields.dedup();
        differing
    }

    /// The number of a place.
    fn number(&mut self, place: Place) -> u32 {
        let next = self.fields.len() as u32;
        let number = *self.numbers.entry(place.clone()).or_insert(next);
        if number == next {
            self.fields.push(place);
        }
        number
    }

    fn cell(&mut self, index: usize, slice: Micros) -> Option<&mut Mirrored> {
        let (_, cells) = self.shadows.get_mut(index)?;
        Some(cells.entry(slice).or_default())
    }

    /// Counts a shadow's answer once the control's answer to the same call is known, and the other way round.
    fn join(&mut self, index: usize, control: usize, mirror: &Mirror, told: Told) {
        let call = Call {
            service: mirror.service.clone(),
            caller: mirror.caller.clone(),
            ordinal: mirror.ordinal,
            n: mirror.n,
            method: mirror.method.clone(),
            path: mirror.path.split('?').next().unwrap_or_default().to_owned(),
        };
        let shadows = self.shadows.len();
        let pending = self.pending.entry(call.clone()).or_insert_with(|| {
            self.order.push_back(call.clone());
            Pending {
                told: vec![None; shadows],
            }
        });
        if let Some(place) = pending.told.get_mut(index) {
            *place = Some(told.clone());
        }
        let noise = pending.told.get(control).cloned().flatten();
        let mut told_all = pending.told.iter().zip(&self.controlled);
        let told_all = told_all.all(|(told, controlled)| told.is_some() || !controlled);
        let others: Vec<(usize, Told)> = if index == control {
            let told = pending.told.iter().enumerate();
            told.filter(|(other, _)| *other != control)
                .filter_map(|(other, told)| Some((other, told.clone()?)))
                .collect()
        } else {
            vec![(index, told)]
        };
        if told_all {
            self.pending.remove(&call);
        }
        if let Some(noise) = noise.and_then(|told| told.differing) {
            for (other, told) in others {
                self.settle(other, &told, &noise);
            }
        }
        while self.order.len() > MAX_PENDING {
            if let Some(oldest) = self.order.pop_front() {
                self.pending.remove(&oldest);
            }
        }
    }

    /// Counts one pair: where the shadow's answer differs, and where the control's does.
    fn settle(&mut self, index: usize, told: &Told, noise: &Differing) {
        let Some(differing) = &told.differing else {
            return;
        };
        let Some((_, cells)) = self.shadows.get_mut(index) else {
            return;
        };
        let cell = cells.entry(told.slice).or_default();
        cell.paired += 1;
        cell.controlled |= self.controlled.get(index).copied().unwrap_or_default();
        *cell.endpoints.entry(told.endpoint.clone()).or_default() += 1;
        for field in &differing.fields {
            let counts = cell.fields.entry(*field).or_default();
            if noise.fields.binary_search(field).is_ok() {
                counts.both += 1;
            } else {
                counts.b += 1;
            }
        }
        for field in &noise.fields {
            if differing.fields.binary_search(field).is_err() {
                cell.fields.entry(*field).or_default().c += 1;
            }
        }
        for (field, shape) in differing.shapes.iter().chain(&noise.shapes) {
            let shapes = cell.shapes.entry(*field).or_default();
            shapes.forms = shapes
                .forms
                .both(shape.map_or(Forms::default(), |shape| shape.forms));
        }
        for (field, shape) in &differing.shapes {
            let of_control = noise.shapes.iter().find(|(other, _)| other == field);
            let shapes = shape.zip(of_control.and_then(|(_, shape)| *shape));
            let sizes = shapes.and_then(|(shape, control)| sizes(told.request, shape, control));
            let Some(sizes) = sizes else { continue };
            let kept = self.sizes.entry((index, *field)).or_default();
            let all = &mut cell.shapes.entry(*field).or_default().sizes;
            let at = all.partition_point(|other| other.in_order(&sizes).is_lt());
            if at >= SIZES_PER_SLICE || *kept >= MAX_SIZES {
                continue;
            }
            all.insert(at, sizes);
            *kept += 1;
            if all.len() > SIZES_PER_SLICE {
                all.truncate(SIZES_PER_SLICE);
                *kept -= 1;
            }
        }
    }
}

impl Differing {
    /// Takes in what a value that differs looks like.
    fn look_at(&mut self, field: u32, shape: Option<Shape>) {
        let known = self.shapes.iter_mut().find(|(other, _)| *other == field);
        match known {
            None => self.shapes.push((field, shape)),
            Some((_, known)) => {
                *known = known.zip(shape).map(|(known, shape)| Shape {
                    forms: known.forms.both(shape.forms),
                    ..known
                });
            }
        }
    }
}

/// A field on its way to be judged.
struct Row {
    place: Place,
    counts: Counts,
    total: u64,
    form: Option<shadow::Format>,
    learnt: bool,
}

/// The sizes of one place's values in one request's three answers.
fn sizes(request: (u64, u32), shape: Shape, control: Shape) -> Option<Sizes> {
    let (primary, candidate) = shape.sizes?;
    let (as_well, control_size) = control.sizes?;
    let one = shape.of == control.of && primary.total_cmp(&as_well).is_eq();
    one.then_some(Sizes {
        request,
        of: shape.of,
        primary,
        candidate,
        control: control_size,
    })
}

/// How many of these places are of a class.
pub fn count_of(fields: &[DiffField], distributions: &[Distribution], class: Class) -> u64 {
    let fields = fields.iter().filter(|field| field.verdict.class == class);
    let distributions = distributions.iter().filter(|one| one.class == class);
    (fields.count() + distributions.count()) as u64
}

/// Says what each place counts as; those under an ignore rule are no part of the family that is corrected for.
fn classify(rows: Vec<Row>, noise: Noise) -> Vec<DiffField> {
    let judged: Vec<Counted> = rows
        .iter()
        .map(|row| Counted {
            // Every difference has one of the kinds; what is none is no reason to call it structural.
            kind: Kind::named(&row.place.kind).unwrap_or(Kind::Value),
            ignored: row.place.rule.is_some(),
            learnt: row.learnt,
            b: row.counts.b,
            c: row.counts.c,
            both: row.counts.both,
            total: row.total,
        })
        .collect();
    let verdicts = shadow::judge(&judged, noise);
    rows.into_iter()
        .zip(verdicts)
        .map(|(row, verdict)| DiffField {
            place: row.place,
            counts: row.counts,
            total: row.total,
            verdict,
            form: row.form,
        })
        .collect()
}

impl Mirrored {
    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.compared += other.compared;
        self.different += other.different;
        self.paired += other.paired;
        self.controlled |= other.controlled;
        self.delta.merge(&other.delta);
        self.times.merge(&other.times);
        for (to, from) in [
            (&mut self.shed, &other.shed),
            (&mut self.failed, &other.failed),
            (&mut self.skipped, &other.skipped),
            (&mut self.endpoints, &other.endpoints),
        ] {
            for (why, count) in from {
                *to.entry(why.clone()).or_default() += count;
            }
        }
        for (field, counts) in &other.fields {
            let all = self.fields.entry(*field).or_default();
            all.b += counts.b;
            all.c += counts.c;
            all.both += counts.both;
        }
        for (field, shapes) in &other.shapes {
            let all = self.shapes.entry(*field).or_default();
            all.forms = all.forms.both(shapes.forms);
            all.sizes.extend_from_slice(&shapes.sizes);
        }
    }

    /// Pairs at an endpoint.
    fn pairs_at(&self, endpoint: &str) -> u64 {
        self.endpoints.get(endpoint).copied().unwrap_or_default()
    }

    /// Copies that were sent.
    pub fn sent(&self) -> u64 {
        // Of these no copy is made.
        const NONE: [&str; 2] = ["upgrade", "unsafe"];
        let skipped = self.skipped.iter();
        let skipped = skipped.filter(|(why, _)| !NONE.contains(&why.as_str()));
        self.compared
            + self.failed.values().sum::<u64>()
            + skipped.map(|(_, count)| count).sum::<u64>()
    }

    /// Pairs by endpoint.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, u64)> {
        self.endpoints
            .iter()
            .map(|(endpoint, count)| (endpoint.as_str(), *count))
    }
}
