//! Two JSON values, walked side by side.

use std::borrow::Cow;
use std::collections::HashMap;

use super::diff::{MAX_DIFFERENCES, TEXT};
use super::json::Node;
use super::path::{Step, written};
use super::sift::Sifted;
use super::{Arrays, Difference, Kind, Rules, Shape, array};

/// Compares two values that lie at `root`.
pub(super) fn differences<'a>(
    root: &'static str,
    primary: &'a Node<'a>,
    candidate: &'a Node<'a>,
    rules: &Rules,
) -> Vec<Difference> {
    let mut walk = Walk {
        rules,
        root,
        trail: Vec::new(),
        probing: false,
        differs: false,
        found: Vec::new(),
        work: 0,
        places: None,
    };
    walk.value(primary, candidate);
    walk.found
}

/// Compares two texts. Lines that a rule covers wherever they are, are told only where one side has more of them.
pub(super) fn texts<'a>(
    primary: &'a Node<'a>,
    candidate: &'a Node<'a>,
    rules: &Rules,
) -> Vec<Difference> {
    let sifted = || Some((Sifted::of(primary, rules)?, Sifted::of(candidate, rules)?));
    let Some((first, second)) = rules.has_anywhere().then(sifted).flatten() else {
        return differences(TEXT, primary, candidate, rules);
    };
    let mut walk = Walk {
        rules,
        root: TEXT,
        trail: Vec::new(),
        probing: false,
        differs: false,
        found: Vec::new(),
        work: 0,
        places: Some([&first.places, &second.places]),
    };
    walk.value(&first.kept, &second.kept);
    walk.places = None;
    for place in first.surplus(&second) {
        walk.only(Step::Index(place), primary.item(place), None);
    }
    for place in second.surplus(&first) {
        walk.only(Step::Index(place), None, candidate.item(place));
    }
    walk.found
}

/// Two values on the way down, and what was found so far.
pub(super) struct Walk<'r, 'a> {
    pub(super) rules: &'r Rules,
    pub(super) root: &'static str,
    pub(super) trail: Vec<Step<'a>>,
    /// Only whether there is a difference is asked; the walk ends at the first.
    probing: bool,
    differs: bool,
    found: Vec<Difference>,
    /// Values looked at.
    work: usize,
    /// Where the lines of the two sides are in the texts that they were taken from.
    places: Option<[&'a [usize]; 2]>,
}

/// Values that one comparison looks at before it stops looking for what goes with what in arrays: then each is looked at
/// once more at most. Far more than documents have that are no attack.
const MAX_WORK: usize = 1 << 20;

impl<'r, 'a> Walk<'r, 'a> {
    pub(super) fn value(&mut self, primary: &'a Node<'a>, candidate: &'a Node<'a>) {
        self.work += 1;
        match (primary, candidate) {
            (Node::Map(of_primary), Node::Map(of_candidate)) => self.map(of_primary, of_candidate),
            (Node::List(of_primary), Node::List(of_candidate)) => {
                array::walk(self, of_primary, of_candidate, (primary, candidate));
            }
            (Node::Null, Node::Null) => {}
            (Node::Bool(a), Node::Bool(b)) if a == b => {}
            (Node::Text(a), Node::Text(b)) => {
                if a != b && !self.both_fit(a, b) {
                    self.note(Kind::Value, Some(primary), Some(candidate));
                }
            }
            (Node::Number(a), Node::Number(b)) => {
                if a != b && !self.close(a, b) && !self.both_fit(a, b) {
                    self.note(Kind::Value, Some(primary), Some(candidate));
                }
            }
            (Node::Bool(_), Node::Bool(_)) => {
                self.note(Kind::Value, Some(primary), Some(candidate));
            }
            _ => self.note(Kind::Type, Some(primary), Some(candidate)),
        }
    }

    /// The step to the primary's element at this place.
    pub(super) fn to_primary(&self, place: usize) -> Step<'a> {
        let places = self.places.map(|[primary, _]| primary);
        Step::Index(
            places
                .and_then(|it| it.get(place).copied())
                .unwrap_or(place),
        )
    }

    /// The step to the candidate's element at this place.
    pub(super) fn to_candidate(&self, place: usize) -> Step<'a> {
        let places = self.places.map(|[_, candidate]| candidate);
        Step::Index(
            places
                .and_then(|it| it.get(place).copied())
                .unwrap_or(place),
        )
    }

    /// How the elements of the array here find each other. Rules for JSON say nothing of lines.
    pub(super) fn arrays(&self) -> Option<&'r Arrays> {
        let rules = self.rules;
        (self.root != TEXT)
            .then(|| rules.arrays(&self.trail))
            .flatten()
    }

    /// Goes one step down.
    pub(super) fn step(&mut self, step: Step<'a>, primary: &'a Node<'a>, candidate: &'a Node<'a>) {
        self.trail.push(step);
        self.value(primary, candidate);
        self.trail.pop();
    }

    /// Notes that only one side has what is one step down.
    pub(super) fn only(
        &mut self,
        step: Step<'a>,
        primary: Option<&Node<'a>>,
        candidate: Option<&Node<'a>>,
    ) {
        self.trail.push(step);
        self.note(
            if primary.is_some() {
                Kind::Missing
            } else {
                Kind::Extra
            },
            primary,
            candidate,
        );
        self.trail.pop();
    }

    /// Whether two values one step down count as equal under the rules.
    pub(super) fn same(
        &mut self,
        step: Step<'a>,
        primary: &'a Node<'a>,
        candidate: &'a Node<'a>,
    ) -> bool {
        let outer = (self.probing, self.differs);
        (self.probing, self.differs) = (true, false);
        self.step(step, primary, candidate);
        let same = !self.differs;
        (self.probing, self.differs) = outer;
        same
    }

    /// Whether only the answer counts, not where the differences are.
    pub(super) fn is_probing(&self) -> bool {
        self.probing
    }

    /// Whether it has cost too much to look for what goes with what.
    pub(super) fn is_tired(&self) -> bool {
        self.work > MAX_WORK
    }

    /// Whether nothing more can be learnt.
    pub(super) fn is_over(&self) -> bool {
        (self.probing && self.differs) || self.found.len() >= MAX_DIFFERENCES
    }

    /// Notes a difference where the walk is.
    pub(super) fn note(
        &mut self,
        kind: Kind,
        primary: Option<&Node<'a>>,
        candidate: Option<&Node<'a>>,
    ) {
        let ignored_by = if self.root == TEXT {
            let sides = [primary, candidate].map(|side| side.and_then(Node::text));
            self.rules.ignored_line(&self.trail, sides)
        } else {
            self.rules.ignored_by(&self.trail)
        };
        if self.probing {
            self.differs |= ignored_by.is_none();
        } else if !self.is_over() {
            let (path, template) = written(self.root, &self.trail);
            self.found.push(Difference {
                path,
                template,
                kind,
                primary: primary.map(Node::shown),
                candidate: candidate.map(Node::shown),
                shape: primary
                    .zip(candidate)
                    .filter(|_| kind == Kind::Value)
                    .and_then(|(primary, candidate)| Shape::of(primary, candidate)),
                ignored_by: ignored_by.map(str::to_owned),
            });
        }
    }

    fn map(
        &mut self,
        primary: &'a [(Cow<'a, str>, Node<'a>)],
        candidate: &'a [(Cow<'a, str>, Node<'a>)],
    ) {
        // Two versions of a service mostly write their fields in the same order, so the next one is tried first.
        let (mut expected, mut met) = (0, 0);
        let mut others = Fields::of(candidate);
        for (name, value) in primary {
            if self.is_over() {
                return;
            }
            let place = others.find(name, expected);
            match place.and_then(|place| candidate.get(place)) {
                Some((_, other)) => {
                    expected = place.map_or(0, |place| place + 1);
                    met += 1;
                    self.step(Step::Key(name), value, other);
                }
                None => self.only(Step::Key(name), Some(value), None),
            }
        }
        if met == candidate.len() {
            return;
        }
        let mut known = Fields::of(primary);
        for (place, (name, value)) in candidate.iter().enumerate() {
            if self.is_over() {
                return;
            }
            if known.find(name, place).is_none() {
                self.only(Step::Key(name), None, Some(value));
            }
        }
    }

    fn both_fit(&self, a: &str, b: &str) -> bool {
        self.root != TEXT
            && self
                .rules
                .format(&self.trail)
                .is_some_and(|format| format.fits(a) && format.fits(b))
    }

    /// Whether two numbers of different text are equal, or within the tolerance.
    fn close(&self, a: &str, b: &str) -> bool {
        let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else {
            return false;
        };
        let distance = (x - y).abs();
        let whole = |text: &str| !text.contains(['.', 'e', 'E']);
        // Different texts of integers are different integers, also beyond 2^53 (but for -0).
        let equal = distance <= 0.0 && (x.abs() <= 0.0 || !(whole(a) && whole(b)));
        let tolerance = || self.rules.tolerance(&self.trail);
        equal || tolerance().is_some_and(|tolerance| tolerance.allows(x, y))
    }
}

/// The fields of an object, found by name.
struct Fields<'a> {
    all: &'a [(Cow<'a, str>, Node<'a>)],
    /// Made when a large object is first asked for a field out of order.
    places: Option<HashMap<&'a str, usize>>,
}

/// Up to so many fields, looking through them beats hashing them.
const FEW_FIELDS: usize = 32;

impl<'a> Fields<'a> {
    fn of(all: &'a [(Cow<'a, str>, Node<'a>)]) -> Self {
        Self { all, places: None }
    }

    /// Where the field is; `expected` is tried first.
    fn find(&mut self, name: &str, expected: usize) -> Option<usize> {
        if self
            .all
            .get(expected)
            .is_some_and(|(other, _)| other == name)
        {
            return Some(expected);
        }
        if self.all.len() <= FEW_FIELDS {
            return self.all.iter().position(|(other, _)| other == name);
        }
        let places = self.places.get_or_insert_with(|| {
            let named = self.all.iter().enumerate();
            named
                .map(|(place, (name, _))| (name.as_ref(), place))
                .collect()
        });
        places.get(name).copied()
    }
}
