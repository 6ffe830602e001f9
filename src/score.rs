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
    /// Whether anything can be said by it.
    pub standing: Standing,
    /// Why not, or what else needs saying.
    pub why: Option<String>,
}

/// Whether a check's expression says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is enough data to call the value known.
    Known,
    /// There is not.
    NoData,
    /// There would be, and it is undecided all the same.
    Open,
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
        _ if evidence.standing == Standing::NoData => (Outcome::NoData, 0.0),
        _ if evidence.standing == Standing::Open => (Outcome::Inconclusive, 0.0),
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

/// Takes away the binary remainder (seven parts of seven must come to 100, not 99.99999999999999) and the sign of zero
/// (the sum of nothing is -0).
fn tidy(score: f64) -> f64 {
    ((score * 1e9).round() / 1e9).clamp(0.0, 100.0) + 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(outcome: Outcome, must: bool, weight: f64, points: f64) -> Part {
        Part {
            id: "a".into(),
            must,
            weight,
            outcome,
            points,
        }
    }

    #[test]
    fn a_score_of_nothing_known_is_0_without_a_sign() {
        let part = Part {
            id: "a".to_owned(),
            must: false,
            weight: 1.0,
            outcome: Outcome::NotRun,
            points: 0.0,
        };
        assert!(total(&[part], 100.0).low.is_sign_positive());
    }

    #[test]
    fn verdicts_follow_the_rule() {
        use Outcome::{Fail, Inconclusive, NoData, NotRun, Partial, Pass};
        let rows: &[(&str, &[Part], f64, Verdict)] = &[
            (
                "all in full",
                &[part(Pass, true, 3.0, 1.0), part(Pass, false, 2.0, 1.0)],
                100.0,
                Verdict::Pass,
            ),
            (
                "a must failed, the rest is enough",
                &[part(Fail, true, 1.0, 0.0), part(Pass, false, 99.0, 1.0)],
                80.0,
                Verdict::Fail,
            ),
            (
                "a must is unknown",
                &[part(NoData, true, 1.0, 0.0), part(Pass, false, 99.0, 1.0)],
                80.0,
                Verdict::Inconclusive,
            ),
            (
                "a must is unknown, another failed",
                &[part(NotRun, true, 1.0, 0.0), part(Fail, true, 1.0, 0.0)],
                0.0,
                Verdict::Fail,
            ),
            (
                "too few whatever comes",
                &[
                    part(Fail, false, 3.0, 0.0),
                    part(Inconclusive, false, 1.0, 0.0),
                ],
                80.0,
                Verdict::Fail,
            ),
            (
                "enough whatever comes",
                &[part(Pass, false, 9.0, 1.0), part(NoData, false, 1.0, 0.0)],
                80.0,
                Verdict::Pass,
            ),
            (
                "it depends",
                &[part(Pass, false, 3.0, 1.0), part(NoData, false, 2.0, 0.0)],
                80.0,
                Verdict::Inconclusive,
            ),
            (
                "a partial must is no failure",
                &[part(Partial, true, 1.0, 0.5)],
                50.0,
                Verdict::Pass,
            ),
            ("no checks", &[], 0.0, Verdict::Inconclusive),
        ];
        for (why, parts, min, verdict) in rows {
            assert_eq!(total(parts, *min).verdict, *verdict, "{why}");
        }
    }

    #[test]
    fn the_sum_is_that_of_the_manual() {
        // 14.57 of 18 points.
        let points = [
            (3.0, 1.0),
            (3.0, 0.9889),
            (2.0, 0.8),
            (3.0, 1.0),
            (2.0, 1.0),
            (2.0, 1.0),
            (3.0, 0.0),
        ];
        let parts: Vec<Part> = points
            .iter()
            .map(|(weight, points)| {
                let outcome = if *points > 0.0 {
                    Outcome::Partial
                } else {
                    Outcome::Fail
                };
                part(outcome, false, *weight, *points)
            })
            .collect();
        let score = total(&parts, 80.0);
        assert!((score.value.unwrap() - 80.926).abs() < 1e-3, "{score:?}");
        assert_eq!((score.low, Some(score.high)), (score.high, score.value));
    }

    #[test]
    fn graded_checks_are_partial_between_their_bounds() {
        let rows = [
            (
                610.0,
                600.0,
                1500.0,
                Outcome::Partial,
                0.988_888_888_888_888_9,
            ),
            (600.0, 600.0, 1500.0, Outcome::Pass, 1.0),
            (1500.0, 600.0, 1500.0, Outcome::Fail, 0.0),
            (9000.0, 600.0, 1500.0, Outcome::Fail, 0.0),
            (0.95, 1.0, 0.9, Outcome::Partial, 0.5),
            (0.2, 1.0, 0.9, Outcome::Fail, 0.0),
        ];
        for (value, pass, fail, outcome, points) in rows {
            let (got, earned) = graded(value, Bounds { pass, fail });
            assert_eq!(got, outcome, "{value}");
            assert!((earned - points).abs() < 1e-12, "{value}: {earned}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_data_whatever_its_value() {
        let evidence = Evidence {
            value: Some(1.0),
            unit: "us",
            interval: None,
            n: 3,
            holds: Some(true),
            standing: Standing::NoData,
            why: Some("p99 has 3 of 1000 samples".into()),
        };
        assert_eq!(judge(&evidence, None).outcome, Outcome::NoData);
        assert_eq!(
            judge(
                &evidence,
                Some(Bounds {
                    pass: 2.0,
                    fail: 3.0
                })
            )
            .outcome,
            Outcome::NoData
        );
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let outcome = prop_oneof![
            Just((Outcome::Pass, 1.0)),
            (0.001_f64..0.999).prop_map(|points| (Outcome::Partial, points)),
            Just((Outcome::Fail, 0.0)),
            Just((Outcome::NoData, 0.0)),
            Just((Outcome::NotRun, 0.0)),
            Just((Outcome::Inconclusive, 0.0)),
        ];
        let one = (outcome, any::<bool>(), 0.1_f64..20.0);
        let one =
            one.prop_map(|((outcome, points), must, weight)| part(outcome, must, weight, points));
        prop::collection::vec(one, 1..8)
    }

    const CLOSE: f64 = 1e-6;

    proptest! {
        #[test]
        fn low_score_and_high_are_in_order(parts in parts()) {
            let score = total(&parts, 80.0);
            prop_assert!(0.0 <= score.low && score.low <= score.high + CLOSE && score.high <= 100.0);
            if let Some(value) = score.value {
                prop_assert!(score.low <= value + CLOSE && value <= score.high + CLOSE);
            }
        }

        #[test]
        fn neither_order_nor_scale_matters(parts in parts(), factor in 0.1_f64..10.0) {
            let score = total(&parts, 80.0);
            let mut other: Vec<Part> = parts.iter().rev().cloned().collect();
            for part in &mut other {
                part.weight *= factor;
            }
            let other = total(&other, 80.0);
            prop_assert!((score.low - other.low).abs() < CLOSE && (score.high - other.high).abs() < CLOSE);
            prop_assert_eq!(score.value.is_some(), other.value.is_some());
            prop_assert!((score.value.unwrap_or(0.0) - other.value.unwrap_or(0.0)).abs() < CLOSE);
        }

        #[test]
        fn a_better_check_never_lowers_the_score(parts in parts(), at in any::<prop::sample::Index>(), gain in 0.0_f64..1.0) {
            let mut better = parts.clone();
            let part = &mut better[at.index(parts.len())];
            prop_assume!(is_known(part.outcome));
            part.points += (1.0 - part.points) * gain;
            part.outcome = if part.points >= 1.0 { Outcome::Pass } else if part.points > 0.0 { Outcome::Partial } else { Outcome::Fail };
            let (before, after) = (total(&parts, 80.0), total(&better, 80.0));
            prop_assert!(after.low >= before.low - CLOSE && after.high >= before.high - CLOSE);
            prop_assert!(after.value.unwrap_or(0.0) >= before.value.unwrap_or(0.0) - CLOSE);
        }

        #[test]
        fn an_added_pass_never_lowers_and_lost_data_never_raises(parts in parts(), at in any::<prop::sample::Index>(), weight in 0.1_f64..20.0) {
            let before = total(&parts, 80.0);
            let mut more = parts.clone();
            more.push(part(Outcome::Pass, false, weight, 1.0));
            let more = total(&more, 80.0);
            prop_assert!(more.value.unwrap_or(0.0) >= before.value.unwrap_or(0.0) - CLOSE);
            prop_assert!(more.low >= before.low - CLOSE);
            let mut less = parts.clone();
            let lost = &mut less[at.index(parts.len())];
            (lost.outcome, lost.points) = (Outcome::NoData, 0.0);
            let less = total(&less, 80.0);
            prop_assert!(less.low <= before.low + CLOSE && less.high >= before.high - CLOSE);
        }
    }
}
