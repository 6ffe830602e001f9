//! Examples of differences: of each place (shadow, endpoint, path, kind) a fixed number, drawn evenly from all, the same
//! whatever the order of arrival: those with the least hash are kept.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use meshbed_proxy::draw::Seed;
use serde_json::{Value, json};

use crate::{
    event::{Asked, Difference, Id, Micros, Mirror, MirrorOutcome},
    report::{
        lines::{self, without_query},
        run::Run,
    },
};

/// Examples kept of each place.
const PER_PLACE: usize = 20;
/// Places of which examples are kept; more are counted in `run.json` all the same.
const PLACES: usize = 2_000;
/// Answers of the control that wait for a candidate's.
const WAITING: usize = 20_000;

/// Examples so far.
#[derive(Debug)]
pub(super) struct Samples {
    draw: meshbed_proxy::draw::Draw,
    control: Option<Id>,
    places: BTreeMap<Place, Vec<Sample>>,
    recent: HashMap<Call, Vec<Difference>>,
    order: VecDeque<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    shadow: Id,
    endpoint: String,
    path: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    caller: Id,
    service: Id,
    ordinal: u64,
    n: u32,
    method: String,
    path: String,
}

#[derive(Debug)]
struct Sample {
    rank: f64,
    call: Call,
    difference: Difference,
    /// Path and query.
    target: String,
    asked: Option<Arc<Asked>>,
    /// What the primary and the shadow took.
    us: Option<(Micros, Micros)>,
    /// The control's answer to the same call is known.
    told: bool,
    /// What that has there.
    control: Option<Value>,
}

impl Call {
    fn of(mirror: &Mirror) -> Self {
        Self {
            caller: mirror.caller.clone(),
            service: mirror.service.clone(),
            ordinal: mirror.ordinal,
            n: mirror.n,
            method: mirror.method.clone(),
            path: without_query(&mirror.path).to_owned(),
        }
    }
}

impl Samples {
    pub(super) fn new(seed: Seed, control: Option<Id>) -> Self {
        Self {
            draw: seed.rule("diffs.jsonl"),
            control,
            places: BTreeMap::new(),
            recent: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, mirror: &Mirror) {
        if mirror.outcome != MirrorOutcome::Compared {
            return;
        }
        let call = Call::of(mirror);
        if self.control.as_ref() == Some(&mirror.shadow) {
            self.add_control(call.clone(), &mirror.differences);
        }
        for difference in &mirror.differences {
            self.keep(mirror, &call, difference);
        }
    }

    fn keep(&mut self, mirror: &Mirror, call: &Call, difference: &Difference) {
        let place = Place {
            shadow: mirror.shadow.clone(),
            endpoint: mirror.endpoint.clone(),
            path: difference.path.clone(),
            kind: difference.kind,
        };
        if self.places.len() >= PLACES && !self.places.contains_key(&place) {
            return;
        }
        let key = format!(
            "{} {} {} {} {} {}",
            call.ordinal, call.n, call.method, call.path, difference.at, difference.kind
        );
        let rank = self.draw.unit_of(key.as_bytes());
        let kept = self.places.entry(place).or_default();
        let at = kept.partition_point(|sample| sample.rank < rank);
        if at >= PER_PLACE {
            return;
        }
        let noise = self.recent.get(call);
        kept.insert(
            at,
            Sample {
                rank,
                call: call.clone(),
                difference: difference.clone(),
                target: mirror.path.clone(),
                asked: mirror.asked.clone(),
                us: Option::zip(mirror.primary.as_ref(), mirror.answer.as_ref())
                    .map(|(primary, answer)| (primary.us, answer.us)),
                told: noise.is_some(),
                control: noise.and_then(|noise| value_in(noise, difference)),
            },
        );
        kept.truncate(PER_PLACE);
    }

    /// What the control answered to a call: kept for candidates to come, filled in where they were first.
    fn add_control(&mut self, call: Call, differences: &[Difference]) {
        for sample in self.places.values_mut().flatten() {
            if !sample.told && sample.call == call {
                sample.told = true;
                sample.control = value_in(differences, &sample.difference);
            }
        }
        self.recent.insert(call.clone(), differences.to_vec());
        self.order.push_back(call);
        while self.order.len() > WAITING {
            if let Some(oldest) = self.order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }

    /// The lines of `diffs.jsonl`, by place; classes are those of the run.
    pub(super) fn lines(&self, run: &Run) -> impl Iterator<Item = Value> {
        self.places.iter().flat_map(|(place, samples)| {
            let class = run.diffs.get(&*place.shadow).and_then(|diffs| {
                let same = |field: &&crate::report::run::FieldPart| {
                    field.endpoint == place.endpoint && field.path == place.path && field.kind == place.kind
                };
                diffs.fields.iter().find(same).map(|field| field.class)
            });
            samples.iter().map(move |sample| {
                json!({
                    "ord": sample.call.ordinal, "n": sample.call.n, "shadow": &*place.shadow,
                    "service": &*sample.call.service, "method": sample.call.method, "request": sample.call.path,
                    "endpoint": place.endpoint, "path": sample.difference.at, "template": place.path,
                    "kind": place.kind, "primary": sample.difference.primary, "candidate": sample.difference.shadow,
                    "control": sample.control, "class": class, "rule": sample.difference.rule,
                    "target": sample.target, "us": sample.us, "asked": sample.asked.as_deref().map(lines::of_asked),
                })
            })
        })
    }
}

/// What the control has where the candidate differs: its own value where it differs too, else the primary's.
fn value_in(noise: &[Difference], difference: &Difference) -> Option<Value> {
    noise
        .iter()
        .find(|other| other.at == difference.at && other.kind == difference.kind)
        .map_or_else(|| difference.primary.clone(), |other| other.shadow.clone())
}
