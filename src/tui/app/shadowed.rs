//! How the answers of shadows differ, with examples.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map},
    sync::Arc,
};

use serde_json::Value;

use super::App;
use crate::{
    event::{Asked, Difference, Micros, Mirror, MirrorOutcome},
    measure::Class,
    scenario::Role,
};

/// Examples kept of each field that differs.
const EXAMPLES: usize = 5;
/// Ordinals kept of each field that differs.
const ORDINALS: usize = 1_000;
/// Answers of a control that are kept for a candidate's that come later.
const CONTROLS: usize = 2_000;

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

    pub(super) fn mirror(&mut self, mirror: &Arc<Mirror>) {
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
