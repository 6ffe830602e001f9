//! Outcomes, points, interval, verdict, quality grade. Pure.
//!
//! A check that is not known (no data, not run, inconclusive) earns nothing in the low score and everything in the high
//! one, so a number can never hide what was not seen; a failed `must` decides before any number.

use serde::{Deserialize, Serialize};

use crate::event::{Outcome, Scored};

mod quality;

pub use quality::{Facts, Gate, Grade, Quality, quality};

/// What working out a check's expression has given.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What was measured, in `unit`; for a condition the left side of its comparison.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// 95 % interval of the value.
    pub interval: Option<(f64, f64)>,
    /// Samples behind it.
    pub n: u64,
    /// Whether the condition holds; `None`: not known, or not a condition.
    pub holds: Option<bool>,
    /// Whether there is enough data to call the value known.
    pub known: bool,
    /// Why not, or what else needs saying.
    pub why: Option<String>,
}

/// The two bounds of a graded check: full points at or beyond `pass`, none at or beyond `fail`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Full points from here on.
    pub pass: f64,
    /// No points from here on.
    pub fail: f64,
}

/// A check's part in the score.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its id.
    pub id: String,
    /// It decides by itself.
    pub must: bool,
    /// Its weight; above 0.
    pub weight: f64,
    /// How it stands.
    pub outcome: Outcome,
    /// Share of its weight that it earns, 0 to 1.
    pub points: f64,
}

/// What a run is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// If all that is unknown had failed.
    pub low: f64,
    /// Of what is known; `None`: nothing is.
    pub value: Option<f64>,
    /// If all that is unknown had passed.
    pub high: f64,
    /// The least that passes.
    pub min: f64,
    /// What it comes to.
    pub verdict: Verdict,
    /// Checks that decide by themselves, and failed.
    pub failed_must: Vec<String>,
}

/// What a run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Enough points whatever the unknown would have been, and every `must` is known not to have failed.
    Pass,
    /// A `must` failed, or too few points whatever the unknown would have been.
    Fail,
    /// It depends on what is unknown.
    Inconclusive,
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Whether an outcome says anything about what was checked.
pub fn is_known(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Pass | Outcome::Partial | Outcome::Fail)
}

/// Judges a check by what was measured; without bounds, by whether its condition holds.
pub fn judge(evidence: &Evidence, bounds: Option<Bounds>) -> Scored {
    let (outcome, points) = match (bounds, evidence.value, evidence.holds) {
        _ if !evidence.known => (Outcome::NoData, 0.0),
        (Some(bounds), Some(value), _) if value.is_finite() => graded(value, bounds),
        (None, _, Some(true)) => (Outcome::Pass, 1.0),
        (None, _, Some(false)) => (Outcome::Fail, 0.0),
        _ => (Outcome::NoData, 0.0),
    };
    Scored {
        outcome,
        value: evidence.value,
        unit: evidence.unit,
        interval: evidence.interval,
        n: evidence.n,
        points,
        why: evidence.why.clone(),
    }
}

/// A check that never came to be judged, and why.
pub fn not_run(unit: &'static str, why: &str) -> Scored {
    Scored {
        outcome: Outcome::NotRun,
        value: None,
        unit,
        interval: None,
        n: 0,
        points: 0.0,
        why: Some(why.to_owned()),
    }
}

/// Adds the parts up. An empty list is a mistake of the scenario, refused before a run; here it is inconclusive.
pub fn total(parts: &[Part], min: f64) -> Score {
    let all: f64 = parts.iter().map(|part| part.weight).sum();
    let known: f64 = parts
        .iter()
        .filter(|part| is_known(part.outcome))
        .map(|part| part.weight)
        .sum();
    let earned: f64 = parts
        .iter()
        .filter(|part| is_known(part.outcome))
        .map(|part| part.weight * part.points)
        .sum();
    let unknown: f64 = parts
        .iter()
        .filter(|part| !is_known(part.outcome))
        .map(|part| part.weight)
        .sum();
    let of = |points: f64, weight: f64| (weight > 0.0).then(|| tidy(100.0 * points / weight));
    let low = of(earned, all).unwrap_or(0.0);
    let high = of(earned + unknown, all).unwrap_or(100.0);
    let failed_must: Vec<String> = parts
        .iter()
        .filter(|part| part.must && part.outcome == Outcome::Fail)
        .map(|part| part.id.clone())
        .collect();
    let must_unknown = parts
        .iter()
        .any(|part| part.must && !is_known(part.outcome));
    let verdict = if !failed_must.is_empty() {
        Verdict::Fail
    } else if must_unknown || parts.is_empty() {
        Verdict::Inconclusive
    } else if high < min {
        Verdict::Fail
    } else if low >= min {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    Score {
        low,
        value: of(earned, known),
        high,
        min,
        verdict,
        failed_must,
    }
}

/// Outcome and points between two bounds, whichever way they run.
fn graded(value: f64, bounds: Bounds) -> (Outcome, f64) {
    let Bounds { pass, fail } = bounds;
    let points = if (pass - fail).abs() > 0.0 {
        ((fail - value) / (fail - pass)).clamp(0.0, 1.0)
    } else {
        f64::from(u8::from(value <= pass))
    };
    let outcome = if points >= 1.0 {
        Outcome::Pass
    } else if points <= 0.0 {
        Outcome::Fail
    } else {
        Outcome::Partial
    };
    (outcome, points)
}

/// Takes away the binary remainder: seven parts of seven must come to 100, not 99.99999999999999.
fn tidy(score: f64) -> f64 {
    ((score * 1e9).round() / 1e9).clamp(0.0, 100.0)
}
