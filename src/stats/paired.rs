//! Two sides measured in pairs of blocks, a few seconds each: is the candidate slower, faster, the same, or is that open?
//!
//! The unit is a block, never a request: requests of a block share its weather. The chance that so much is nothing comes from
//! swapping the sides of blocks in every way; how large it is, from the blocks' log ratios (Student's t). A change counts from
//! a margin on, which is no smaller than what a control, the baseline's equal, shows by itself.

use super::{
    blocks::{Drawn, cumulated},
    histogram::{Histogram, bounds_of, bucket_of},
    holm,
    margins::Margins,
    quantile::{ALPHA, Quantile},
    student,
};

/// Blocks at most: `2^12` ways to swap them are enough for fifty quantiles, and are gone through in a few milliseconds.
pub const MOST_BLOCKS: usize = 12;

/// Samples a side that a quantile needs to be judged.
pub const LEAST_SAMPLES: u64 = 1_000;

/// A quantile that is judged: name, quantile, and the change that matters.
type Gate = (&'static str, Quantile, fn(&Margins) -> f64);

/// What is judged. The tail is left to longer comparisons: its bursts, of
/// which a dozen blocks have a handful, are what would have to be counted.
pub const GATES: [Gate; 2] = [
    ("p50", Quantile::P50, |margins| margins.p50),
    ("p90", Quantile::P90, |margins| margins.p90),
];

/// A change by less is none, in µs.
const FLOOR_US: u64 = 200;

/// Share of real changes that a detectable one is called in.
const POWER: f64 = 0.8;

/// A block: what both sides took over the same seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The baseline, or primary.
    pub baseline: Histogram,
    /// The candidate.
    pub candidate: Histogram,
}

/// What a comparison calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Called {
    /// Faster, by enough to matter.
    Improved,
    /// Any change is too small to matter.
    Same,
    /// Slower, by enough to matter.
    Regressed,
}

impl Pair {
    /// Pairs of answers in it.
    pub fn count(&self) -> u64 {
        self.baseline.count().min(self.candidate.count())
    }

    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        self.baseline.merge(&other.baseline);
        self.candidate.merge(&other.candidate);
    }
}

impl Called {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Improved, Self::Same, Self::Regressed];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::Same => "same",
            Self::Regressed => "regressed",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|called| called.name() == name)
    }

    /// As the number of a metric: -1, 0 and 1.
    pub fn number(self) -> f64 {
        match self {
            Self::Improved => -1.0,
            Self::Same => 0.0,
            Self::Regressed => 1.0,
        }
    }
}

/// A quantile on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// `p50`.
    pub name: &'static str,
    /// Of all blocks together, in µs: baseline, candidate.
    pub us: (u64, u64),
    /// Candidate over baseline, less 1.
    pub change: f64,
    /// 95 % interval of it, from the blocks.
    pub interval: (f64, f64),
    /// Holm over what is judged together.
    pub p_adjusted: f64,
    /// What change matters here: the margin, or what the control shows by itself.
    pub matters: f64,
    /// The least change that four comparisons in five would have called.
    pub detectable: f64,
    /// Blocks that would decide it, where it is open.
    pub blocks: usize,
    /// What it comes to; `None`: it is open.
    pub called: Option<Called>,
}

/// The fewest pairs in which so many quantiles can be called at all: the smallest chance there is, `2/2^m`, must stay
/// below the level of the first of them.
pub fn least_blocks(family: usize) -> usize {
    (2.0 * family as f64 / ALPHA).log2().ceil().max(1.0) as usize
}

/// Judges a candidate's quantiles together. `control`: the same blocks of a second baseline, if there is one. `None`: too
/// few blocks or samples.
pub fn judge(pairs: &[Pair], control: Option<&[Pair]>, margins: &Margins) -> Option<Vec<Change>> {
    let sides = Sides::new(pairs);
    if pairs.len() < least_blocks(GATES.len()) || sides.samples() < LEAST_SAMPLES {
        return None;
    }
    let quantiles = GATES.iter().map(|(_, quantile, _)| *quantile);
    let p: Vec<f64> = quantiles
        .map(|quantile| sign_flip(pairs.len(), |swapped| sides.apart(quantile, swapped).abs()))
        .collect();
    let adjusted = holm::adjust(&p);
    let change = |((name, quantile, margin), p_adjusted): (&Gate, f64)| {
        let floor = control.map_or(0.0, |control| {
            let spread = Spread::of(&log_ratios(control, *quantile));
            spread.mean.abs() + spread.half
        });
        let us = sides.quantiles(*quantile, 0)?;
        let estimate = log_ratio(us);
        let spread = Spread::of(&log_ratios(pairs, *quantile));
        let interval = (spread.mean - spread.half, spread.mean + spread.half);
        let delta = margin(margins).ln_1p().max(floor);
        let least = FLOOR_US.max(2 * width(us.0));
        let apart = us.0.abs_diff(us.1) >= least;
        let called = called(
            p_adjusted <= ALPHA && apart,
            estimate,
            interval,
            delta,
            delta.max((least as f64 / us.0.max(1) as f64).ln_1p()),
        );
        let enough = ((spread.power() / delta) * spread.deviation).powi(2).ceil();
        Some(Change {
            name,
            us,
            change: estimate.exp_m1(),
            interval: (interval.0.exp_m1(), interval.1.exp_m1()),
            p_adjusted,
            matters: delta.exp_m1(),
            detectable: (spread.power() * spread.error()).exp_m1(),
            blocks: (enough as usize).max(pairs.len() + 1),
            called,
        })
    };
    GATES.iter().zip(adjusted).map(change).collect()
}

/// What several quantiles come to: slower if one is; open if one is; faster if one is.
pub fn overall(changes: &[Change]) -> Option<Called> {
    let called = |what| changes.iter().any(|change| change.called == Some(what));
    if called(Called::Regressed) {
        Some(Called::Regressed)
    } else if changes.is_empty() || changes.iter().any(|change| change.called.is_none()) {
        None
    } else if called(Called::Improved) {
        Some(Called::Improved)
    } else {
        Some(Called::Same)
    }
}

/// What one quantile comes to, in logarithms; `within` is what is too little to matter.
fn called(
    sure: bool,
    estimate: f64,
    (low, high): (f64, f64),
    delta: f64,
    within: f64,
) -> Option<Called> {
    if sure && estimate >= delta {
        Some(Called::Regressed)
    } else if sure && estimate <= -delta {
        Some(Called::Improved)
    } else if low >= -within && high <= within {
        Some(Called::Same)
    } else {
        None
    }
}

/// The share of all ways to swap the sides of so many pairs in which the statistic is at least as large as it is. Bit `i`
/// says that pair `i` is swapped; the statistic is the same when all are, so that half of the ways suffice.
fn sign_flip(pairs: usize, statistic: impl Fn(u32) -> f64) -> f64 {
    let observed = statistic(0) - 1e-12;
    let ways = 1_u32 << pairs.saturating_sub(1).min(30);
    let hits = (0..ways).filter(|swapped| statistic(*swapped) >= observed);
    hits.count() as f64 / f64::from(ways)
}

/// Blocks of both sides, ready to be swapped.
struct Sides {
    buckets: Vec<u16>,
    /// Counts up to each bucket: baseline, candidate.
    pairs: Vec<(Vec<u64>, Vec<u64>)>,
}

impl Sides {
    fn new(pairs: &[Pair]) -> Self {
        let sides = pairs
            .iter()
            .flat_map(|pair| [&pair.baseline, &pair.candidate]);
        let mut buckets: Vec<u16> = sides
            .flat_map(|side| side.buckets().map(|(bucket, _)| bucket))
            .collect();
        buckets.sort_unstable();
        buckets.dedup();
        let both = |pair: &Pair| {
            (
                cumulated(&pair.baseline, &buckets),
                cumulated(&pair.candidate, &buckets),
            )
        };
        let pairs = pairs.iter().map(both).collect();
        Self { buckets, pairs }
    }

    /// Samples of the side that has fewer.
    fn samples(&self) -> u64 {
        let counts = self.pairs.iter();
        let (baseline, candidate) = counts.fold((0, 0), |(baseline, candidate), pair| {
            let all = |counts: &[u64]| counts.last().copied().unwrap_or(0);
            (baseline + all(&pair.0), candidate + all(&pair.1))
        });
        baseline.min(candidate)
    }

    /// A quantile of both sides with these blocks swapped.
    fn quantiles(&self, quantile: Quantile, swapped: u32) -> Option<(u64, u64)> {
        let side = |other: bool| {
            let pairs = self.pairs.iter().enumerate();
            let counts = pairs.map(|(number, (baseline, candidate))| {
                if ((swapped >> number) & 1 == 1) == other {
                    baseline.as_slice()
                } else {
                    candidate.as_slice()
                }
            });
            Drawn::new(&self.buckets, counts.collect()).quantile(quantile)
        };
        side(false).zip(side(true))
    }

    fn apart(&self, quantile: Quantile, swapped: u32) -> f64 {
        self.quantiles(quantile, swapped).map_or(0.0, log_ratio)
    }
}

fn log_ratio((baseline, candidate): (u64, u64)) -> f64 {
    (candidate.max(1) as f64 / baseline.max(1) as f64).ln()
}

/// The log ratio of each block that has something on both sides.
fn log_ratios(pairs: &[Pair], quantile: Quantile) -> Vec<f64> {
    let ratio = |pair: &Pair| {
        let baseline = pair.baseline.quantile(quantile)?;
        Some(log_ratio((baseline, pair.candidate.quantile(quantile)?)))
    };
    pairs.iter().filter_map(ratio).collect()
}

/// How wide the bucket of a value is.
fn width(us: u64) -> u64 {
    let (low, high) = bounds_of(bucket_of(us));
    high - low + 1
}

/// How the blocks' log ratios are spread.
#[derive(Debug)]
struct Spread {
    n: usize,
    mean: f64,
    /// Standard deviation.
    deviation: f64,
    /// Half of the 95 % interval of the mean.
    half: f64,
}

impl Spread {
    fn of(ratios: &[f64]) -> Self {
        let n = ratios.len();
        let mean = ratios.iter().sum::<f64>() / n.max(1) as f64;
        let squares = ratios.iter().map(|ratio| (ratio - mean).powi(2));
        let degrees = n.saturating_sub(1) as f64;
        let mut spread = Self {
            n,
            mean,
            deviation: (squares.sum::<f64>() / degrees.max(1.0)).sqrt(),
            half: 0.0,
        };
        if n > 1 {
            spread.half = student::quantile(1.0 - ALPHA / 2.0, degrees) * spread.error();
        }
        spread
    }

    /// Standard error of the mean.
    fn error(&self) -> f64 {
        self.deviation / (self.n.max(1) as f64).sqrt()
    }

    /// Standard errors that a change must be off nothing to be called four times in five.
    fn power(&self) -> f64 {
        let degrees = self.n.saturating_sub(1).max(1) as f64;
        student::quantile(1.0 - ALPHA / 2.0, degrees) + student::quantile(POWER, degrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(value);
        }
        histogram
    }

    /// Blocks of 200 requests between 10 and 30 ms that share a block's weather; the candidate takes `factor` as long.
    fn blocks(count: u64, factor: f64) -> Vec<Pair> {
        let block = |number: u64| {
            let weather = 1.0 + 0.1 * (number % 3) as f64;
            let take = |factor: f64, n: u64| {
                let us = (10_000 + 100 * n) as f64 * weather * factor;
                us as u64 + (n * 7919 + number * 104_729) % 200
            };
            Pair {
                baseline: histogram((0..200).map(|n| take(1.0, n))),
                candidate: histogram((0..200).map(|n| take(factor, n + number % 2))),
            }
        };
        (0..count).map(block).collect()
    }

    fn verdict(pairs: &[Pair], control: Option<&[Pair]>) -> Option<Called> {
        overall(&judge(pairs, control, &Margins::default()).unwrap())
    }

    #[test]
    fn a_change_is_called_from_its_margin_on() {
        for (factor, expected) in [
            (1.0, Some(Called::Same)),
            (1.02, Some(Called::Same)),
            (1.2, Some(Called::Regressed)),
            (0.8, Some(Called::Improved)),
        ] {
            assert_eq!(verdict(&blocks(10, factor), None), expected, "{factor}");
        }
        let changes = judge(&blocks(10, 1.2), None, &Margins::default()).unwrap();
        assert!((changes[0].change - 0.2).abs() < 0.02, "{changes:?}");
        // Both of two quantiles at the least chance that ten blocks have.
        assert!(
            (changes[0].p_adjusted - 4.0 / 1024.0).abs() < 1e-12,
            "{changes:?}"
        );
        assert!(changes[0].interval.0 > 0.18 && changes[0].detectable < 0.05);
    }

    #[test]
    fn fewer_blocks_than_could_call_anything_call_nothing() {
        assert_eq!(
            (least_blocks(1), least_blocks(2), least_blocks(8)),
            (6, 7, 9)
        );
        assert!(judge(&blocks(6, 2.0), None, &Margins::default()).is_none());
        assert!(judge(&blocks(7, 2.0), None, &Margins::default()).is_some());
        let few: Vec<Pair> = (0..10)
            .map(|_| Pair {
                baseline: histogram(0..99),
                candidate: histogram(0..99),
            })
            .collect();
        assert!(
            judge(&few, None, &Margins::default()).is_none(),
            "990 samples a side"
        );
    }

    #[test]
    fn what_the_control_shows_by_itself_is_no_regression() {
        let control = blocks(10, 1.15);
        assert_eq!(verdict(&blocks(10, 1.1), None), Some(Called::Regressed));
        assert_eq!(
            verdict(&blocks(10, 1.1), Some(&control)),
            Some(Called::Same)
        );
        assert_eq!(
            verdict(&blocks(10, 1.4), Some(&control)),
            Some(Called::Regressed)
        );
    }

    #[test]
    fn microseconds_do_not_matter() {
        let pair = |number: u64| Pair {
            baseline: histogram((0..200).map(|n| 300 + n % 20 + number)),
            candidate: histogram((0..200).map(|n| 360 + n % 20 + number)),
        };
        let pairs: Vec<Pair> = (0..10).map(pair).collect();
        assert_eq!(verdict(&pairs, None), Some(Called::Same), "20 %, but 60 µs");
    }

    #[test]
    fn blocks_that_disagree_leave_it_open() {
        let mut pairs = blocks(5, 1.5);
        pairs.extend(blocks(5, 0.7));
        let changes = judge(&pairs, None, &Margins::default()).unwrap();
        assert_eq!(overall(&changes), None, "{changes:?}");
        assert!(changes[0].blocks > 10, "{changes:?}");
    }

    #[test]
    fn what_matters_is_as_large_as_it_is_said_to_be() {
        let called = |factor: f64, share: f64| {
            let margins = Margins {
                p50: share,
                p90: share,
                ..Margins::default()
            };
            overall(&judge(&blocks(10, factor), None, &margins).unwrap())
        };
        assert_eq!(called(1.2, 0.1), Some(Called::Regressed));
        assert_eq!(called(1.2, 0.3), Some(Called::Same));
        assert_eq!(called(0.8, 0.3), Some(Called::Same));
        assert_ne!(called(1.02, 0.01), Some(Called::Same));
    }

    #[test]
    fn one_slower_quantile_decides_and_an_open_one_leaves_it_open() {
        use Called::{Improved, Regressed, Same};
        let change = |called| Change {
            called,
            ..judge(&blocks(8, 1.0), None, &Margins::default()).unwrap()[0]
        };
        let of = |list: &[Option<Called>]| {
            overall(
                &list
                    .iter()
                    .map(|called| change(*called))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[Some(Regressed), None]), Some(Regressed));
        assert_eq!(of(&[Some(Same), None]), None);
        assert_eq!(of(&[Some(Improved), Some(Same)]), Some(Improved));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn verdicts_agree_with_the_vectors() {
        for case in crate::stats::vectors::group("verdict_rule")
            .into_iter()
            .flatten()
        {
            let number = |name: &str| case[name].as_f64().unwrap();
            let interval = crate::stats::vectors::numbers(&case["log_ci"]);
            let interval = (interval[0], interval[1]);
            let sure = interval.0 > 0.0 || interval.1 < 0.0;
            let delta = number("delta");
            let found = called(sure, number("estimate"), interval, delta, delta);
            let expected = Called::named(case["verdict"].as_str().unwrap());
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn swaps_agree_with_the_vectors() {
        let Some(vectors) = crate::stats::vectors::all() else {
            return;
        };
        let group = &vectors["sign_flip"];
        let numbers = crate::stats::vectors::numbers;
        for (d, case) in [
            (
                numbers(&vectors["paired_blocks"]["log_ratio"]),
                &group["mean_log_ratio_paired_blocks"],
            ),
            (numbers(&group["mixed"]["d"]), &group["mixed"]),
        ] {
            let mean = |swapped: u32| {
                let signed = d.iter().enumerate();
                let signed = signed.map(|(i, d)| if (swapped >> i) & 1 == 1 { -d } else { *d });
                (signed.sum::<f64>() / d.len() as f64).abs()
            };
            let p = sign_flip(d.len(), mean);
            assert!(
                (p - case["p"].as_f64().unwrap()).abs() < 1e-12,
                "{case}: {p}"
            );
        }
        let side = |name: &str| -> Vec<Histogram> {
            let blocks = group["histograms"][name].as_array().unwrap().iter();
            let block = |block: &serde_json::Value| {
                let counts = block.as_object().unwrap().iter();
                let values = counts.flat_map(|(value, count)| {
                    let count = count.as_u64().unwrap() as usize;
                    std::iter::repeat_n(value.parse::<u64>().unwrap(), count)
                });
                histogram(values)
            };
            blocks.map(block).collect()
        };
        let pairs: Vec<Pair> = side("baseline_blocks")
            .into_iter()
            .zip(side("candidate_blocks"))
            .map(|(baseline, candidate)| Pair {
                baseline,
                candidate,
            })
            .collect();
        let sides = Sides::new(&pairs);
        let p95 = Quantile::parse("95").unwrap();
        let expected = &group["histograms"]["log_ratio_p95"];
        let observed = sides.apart(p95, 0);
        assert!((observed - expected["observed"].as_f64().unwrap()).abs() < 1e-12);
        let p = sign_flip(pairs.len(), |swapped| sides.apart(p95, swapped).abs());
        assert!((p - expected["p"].as_f64().unwrap()).abs() < 1e-12, "{p}");
    }

    #[test]
    fn spreads_agree_with_the_vectors() {
        let Some(vectors) = crate::stats::vectors::all() else {
            return;
        };
        let expected = &vectors["paired_blocks"];
        let spread = Spread::of(&crate::stats::vectors::numbers(&expected["log_ratio"]));
        let near = |found: f64, name: &str| {
            let wanted = expected[name].as_f64().unwrap();
            assert!((found / wanted - 1.0).abs() < 1e-9, "{name}: {found}");
        };
        near(spread.mean, "mean");
        near(spread.deviation, "sd");
        near(spread.error(), "se");
        near(
            (spread.power() * spread.error()).exp(),
            "minimum_detectable_ratio_80pct_power",
        );
        let low = expected["log_ci95"][0].as_f64().unwrap();
        assert!((spread.mean - spread.half - low).abs() < 1e-9);
    }
}
