//! What became of the requests that shadows' samples chose, and how the answers differ: a request's difference counts
//! for the candidate only where the control's answer to the same request does not differ there too.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    event::{Id, Micros, Mirror, MirrorOutcome},
    measure::{Setup, Signed, Window},
    shadow::{self, Counted, Noise, Verdict},
};

/// Requests that wait for the control's or a candidate's answer; beyond it the oldest is forgotten. Far more than can
/// be under way within a mirror's deadline.
const MAX_PENDING: usize = 100_000;

/// What became of all shadows' requests.
#[derive(Debug, Clone)]
pub struct Shadowed {
    shadows: Vec<(Id, BTreeMap<Micros, Mirrored>)>,
    control: Option<usize>,
    fields: Vec<Place>,
    numbers: HashMap<Place, u32>,
    pending: HashMap<Call, Pending>,
    order: VecDeque<Call>,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Pairs by endpoint.
    endpoints: BTreeMap<String, u64>,
    /// Counts by number of the field.
    fields: BTreeMap<u32, Counts>,
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
    /// Sorted; `None`: it was not compared.
    fields: Option<Vec<u32>>,
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
            fields: Vec::new(),
            numbers: HashMap::new(),
            pending: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, mirror: &Mirror, slice: Micros) {
        let Some(index) = self.shadows.iter().position(|(id, _)| *id == mirror.shadow) else {
            return;
        };
        let why = mirror.why.clone().unwrap_or_else(|| "unknown".into());
        let compared = mirror.outcome == MirrorOutcome::Compared;
        let fields = compared.then(|| self.number(mirror));
        let counts = !mirror
            .differences
            .iter()
            .all(|difference| difference.rule.is_some());
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
                }
            }
            MirrorOutcome::Shed => *cell.shed.entry(why).or_default() += 1,
            MirrorOutcome::Failed => *cell.failed.entry(why).or_default() += 1,
            MirrorOutcome::Skipped => *cell.skipped.entry(why).or_default() += 1,
        }
        let told = Told {
            slice,
            endpoint: mirror.endpoint.clone(),
            fields,
        };
        match self.control {
            Some(control) => self.join(index, control, mirror, told),
            None => self.settle(index, &told, &[]),
        }
    }

    /// Counts in other slices: each cell goes where the beginning of its slice goes.
    pub(super) fn cut(&mut self, slice_of: &dyn Fn(Micros) -> Micros) {
        for (_, cells) in &mut self.shadows {
            for (begin, cell) in std::mem::take(cells) {
                cells.entry(slice_of(begin)).or_default().merge(&cell);
            }
        }
        for told in self.pending.values_mut().flat_map(|one| &mut one.told) {
            if let Some(told) = told {
                told.slice = slice_of(told.slice);
            }
        }
    }

    /// What became of a shadow's requests that were due in these windows.
    pub fn over(&self, shadow: &str, windows: &[Window]) -> Mirrored {
        let mut all = Mirrored::default();
        let Some((_, cells)) = self.shadows.iter().find(|(id, _)| &**id == shadow) else {
            return all;
        };
        for window in windows {
            for (_, cell) in cells.range(window.begin_us..window.end_us.max(window.begin_us)) {
                all.merge(cell);
            }
        }
        all
    }

    /// Where and how a shadow's answers differ, each judged, in order of place.
    pub fn fields(&self, mirrored: &Mirrored, noise: Noise) -> Vec<DiffField> {
        let mut counted: Vec<(Place, Counts, u64)> = mirrored
            .fields
            .iter()
            .filter_map(|(number, counts)| {
                let place = self.fields.get(*number as usize)?.clone();
                let total = mirrored
                    .endpoints
                    .get(&place.endpoint)
                    .copied()
                    .unwrap_or(0);
                Some((place, *counts, total))
            })
            .collect();
        counted.sort_by(|(a, _, _), (b, _, _)| a.cmp(b));
        classify(counted, noise)
    }

    /// Numbers of the places where an answer differs, sorted.
    fn number(&mut self, mirror: &Mirror) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(mirror.differences.len());
        for difference in &mirror.differences {
            let place = Place {
                endpoint: mirror.endpoint.clone(),
                path: difference.path.clone(),
                kind: difference.kind.to_owned(),
                rule: difference.rule.clone(),
            };
            let next = self.fields.len() as u32;
            let number = *self.numbers.entry(place.clone()).or_insert(next);
            if number == next {
                self.fields.push(place);
            }
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
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
        let told_all = pending.told.iter().all(Option::is_some);
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
        if let Some(noise) = noise.and_then(|told| told.fields) {
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
    fn settle(&mut self, index: usize, told: &Told, noise: &[u32]) {
        let Some(fields) = &told.fields else {
            return;
        };
        let Some(cell) = self.cell(index, told.slice) else {
            return;
        };
        cell.paired += 1;
        *cell.endpoints.entry(told.endpoint.clone()).or_default() += 1;
        for field in fields {
            let counts = cell.fields.entry(*field).or_default();
            if noise.binary_search(field).is_ok() {
                counts.both += 1;
            } else {
                counts.b += 1;
            }
        }
        for field in noise {
            if fields.binary_search(field).is_err() {
                cell.fields.entry(*field).or_default().c += 1;
            }
        }
    }
}

/// Says what each place counts as; those under an ignore rule are no part of the family that is corrected for.
fn classify(counted: Vec<(Place, Counts, u64)>, noise: Noise) -> Vec<DiffField> {
    let judged: Vec<Counted> = counted
        .iter()
        .map(|(place, counts, total)| Counted {
            // Every difference has one of the kinds; what is none is no reason to call it structural.
            kind: shadow::Kind::named(&place.kind).unwrap_or(shadow::Kind::Value),
            ignored: place.rule.is_some(),
            b: counts.b,
            c: counts.c,
            both: counts.both,
            total: *total,
        })
        .collect();
    let verdicts = shadow::judge(&judged, noise);
    counted
        .into_iter()
        .zip(verdicts)
        .map(|((place, counts, total), verdict)| DiffField {
            place,
            counts,
            total,
            verdict,
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
        self.delta.merge(&other.delta);
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
