//! Requests that are replayed because their answers differed: what came of each the second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::app::{Example, Place};
use crate::{
    event::{Asked, Id, Mirror, MirrorOutcome},
    shadow::REDACTED,
};

/// Requests that are replayed at once; the first by ordinal.
pub const MOST: usize = 1_000;

/// A request that is kept whole, to be asked as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its ordinal.
    pub ordinal: u64,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its headers and its body.
    pub asked: Arc<Asked>,
}

impl Known {
    /// The request of an example; `None`: it may change something, or is not kept whole with all its secrets.
    pub fn of(example: &Example) -> Option<Self> {
        let asked = example.asked.as_ref().filter(|asked| asked.is_whole())?;
        let is_safe = ["GET", "HEAD", "OPTIONS"].contains(&example.method.as_str());
        let hidden = |value: &str| value == REDACTED;
        let is_hidden = asked.headers.iter().any(|(_, value)| hidden(value))
            || asked
                .body
                .windows(REDACTED.len())
                .any(|it| it == REDACTED.as_bytes());
        (is_safe && !is_hidden).then(|| Self {
            ordinal: example.ordinal,
            method: example.method.clone(),
            target: example.target.clone(),
            asked: Arc::clone(asked),
        })
    }
}

/// Which requests are to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of the schedule with these ordinals.
    Scheduled(Vec<u64>),
    /// These; live traffic has no schedule.
    Known(Vec<Known>),
}

impl Which {
    /// Their ordinals.
    pub fn ordinals(&self) -> Vec<u64> {
        match self {
            Self::Scheduled(ordinals) => ordinals.clone(),
            Self::Known(known) => known.iter().map(|known| known.ordinal).collect(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Scheduled(ordinals) => ordinals.len(),
            Self::Known(known) => known.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is told of a replay while it lasts.
#[derive(Debug, Clone)]
pub enum Again {
    /// It has begun, or is further on.
    Step(String),
    /// A shadow has answered, or has not.
    Answer(Arc<Mirror>),
    /// It is over; `Err`: it could not be made, and why.
    Over(Result<(), String>),
}

/// A replay, as far as it has come.
#[derive(Debug, Clone)]
pub struct Replay {
    /// What was chosen, in words.
    pub what: String,
    /// The requests.
    pub ordinals: BTreeSet<u64>,
    /// How far it is.
    pub step: String,
    /// `None`: it lasts.
    pub over: Option<Result<(), String>>,
    /// Places where the answers differ now; `Err`: they were not compared, and why.
    answers: BTreeMap<(Id, u64), Result<BTreeSet<Place>, String>>,
}

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Answers that differ there again.
    pub still: u64,
    /// Answers that do not any more.
    pub gone: u64,
    /// Requests of which no answers were compared.
    pub lost: u64,
}

impl Replay {
    /// One that has been asked for.
    pub fn new(what: String, ordinals: impl IntoIterator<Item = u64>) -> Self {
        Self {
            what,
            ordinals: ordinals.into_iter().collect(),
            step: "starting".to_owned(),
            over: None,
            answers: BTreeMap::new(),
        }
    }

    /// Takes in what is told of it.
    pub fn fold(&mut self, again: Again) {
        match again {
            Again::Step(step) => self.step = step,
            Again::Over(how) => self.over = Some(how),
            Again::Answer(mirror) => {
                if !self.ordinals.contains(&mirror.ordinal) {
                    return;
                }
                let answer = match mirror.outcome {
                    MirrorOutcome::Compared => Ok(mirror
                        .differences
                        .iter()
                        .map(|difference| {
                            let (path, kind) = (difference.path.clone(), difference.kind);
                            (mirror.endpoint.clone(), path, kind)
                        })
                        .collect()),
                    _ => Err(mirror.why.clone().unwrap_or_else(|| "unknown".to_owned())),
                };
                let key = (mirror.shadow.clone(), mirror.ordinal);
                match (self.answers.get_mut(&key), answer) {
                    // A request may reach the shadow's service several times.
                    (Some(Ok(known)), Ok(more)) => known.extend(more),
                    (Some(_), Err(_)) => {}
                    (_, answer) => drop(self.answers.insert(key, answer)),
                }
            }
        }
    }

    /// Answers of a shadow that were compared.
    pub fn compared(&self, shadow: &str) -> usize {
        let answers = self.answers.iter();
        answers
            .filter(|((id, _), answer)| **id == *shadow && answer.is_ok())
            .count()
    }

    /// What became of a field that differed in these requests.
    pub fn of(&self, shadow: &Id, place: &Place, ordinals: &[u64]) -> Outcome {
        let mut outcome = Outcome::default();
        for ordinal in ordinals.iter().filter(|it| self.ordinals.contains(it)) {
            match self.answers.get(&(shadow.clone(), *ordinal)) {
                Some(Ok(places)) if places.contains(place) => outcome.still += 1,
                Some(Ok(_)) => outcome.gone += 1,
                Some(Err(_)) | None => outcome.lost += 1,
            }
        }
        outcome
    }

    /// What became of one request at a field; `None`: nothing was heard of it.
    pub fn one(&self, shadow: &Id, place: &Place, ordinal: u64) -> Option<Result<bool, &str>> {
        match self.answers.get(&(shadow.clone(), ordinal))? {
            Ok(places) => Some(Ok(places.contains(place))),
            Err(why) => Some(Err(why)),
        }
    }
}

impl Outcome {
    /// In words: `still in 3, gone in 9`.
    pub fn words(self) -> String {
        let mut text = format!("still in {}, gone in {}", self.still, self.gone);
        if self.lost > 0 {
            text += &format!(", {} not compared", self.lost);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_and_kept_whole_is_asked_as_it_was() {
        let example = |method: &str, cookie: &str, body: &[u8], length: u64| Example {
            ordinal: 7,
            method: method.to_owned(),
            target: "/x".to_owned(),
            asked: Some(Arc::new(Asked {
                headers: vec![("cookie".to_owned(), cookie.to_owned())],
                body: body.to_vec(),
                length,
            })),
            ..Example::default()
        };
        assert!(Known::of(&example("GET", "a=1", b"", 0)).is_some());
        assert_eq!(Known::of(&example("POST", "a=1", b"", 0)), None);
        assert_eq!(Known::of(&example("GET", REDACTED, b"", 0)), None);
        assert_eq!(Known::of(&example("GET", "a=1", b"cut", 9)), None);
        let secret = br#"{"card":"[redacted]"}"#;
        assert_eq!(Known::of(&example("GET", "a=1", secret, 21)), None);
    }
    use crate::{event::RunEvent, measure::fixture};

    fn answer(ordinal: u64, differences: &[(&str, &'static str)]) -> Again {
        match fixture::mirror("candidate", ordinal, differences) {
            RunEvent::Mirror(mirror) => Again::Answer(mirror),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_field_is_gone_where_the_same_request_differs_there_no_more() {
        let tax: Place = ("GET /cart/{id}".into(), "$.tax".into(), "missing");
        let id: Id = "candidate".into();
        let mut replay = Replay::new("tax".to_owned(), [3, 5, 8, 9]);
        replay.fold(answer(3, &[("$.tax", "missing")]));
        replay.fold(answer(5, &[("$.tax", "value")]));
        let Again::Answer(shed) = answer(8, &[]) else {
            unreachable!()
        };
        let mut shed = (*shed).clone();
        shed.outcome = MirrorOutcome::Shed;
        shed.why = Some("in_flight".to_owned());
        replay.fold(Again::Answer(Arc::new(shed)));
        replay.fold(answer(77, &[("$.tax", "missing")]));
        let outcome = replay.of(&id, &tax, &[3, 5, 8, 9, 77]);
        let expected = Outcome {
            still: 1,
            gone: 1,
            lost: 2,
        };
        assert_eq!(outcome, expected, "9 was not heard of, 77 not asked for");
        assert_eq!(outcome.words(), "still in 1, gone in 1, 2 not compared");
        assert_eq!(replay.compared("candidate"), 2);
        assert_eq!(replay.one(&id, &tax, 8), Some(Err("in_flight")));
        assert_eq!(replay.one(&id, &tax, 9), None);
    }
}
