//! Whether a value that always differs is distributed otherwise in the candidate than in the control.
//!
//! Per answered request there are three sizes: the primary's P, the candidate's C and the control's S. Two samples tests
//! (Kolmogorov and Smirnov) ask whether C is spread as S is, and whether C − P is as S − P is; the one that finds more
//! counts, with its p doubled. A counter says nothing by its values, which depend on how long its process runs: of a size
//! that rises (or falls) all the time in primary and control alike, it is compared whether the candidate's does.
//!
//! How far primary and control, two instances of one build, are apart by themselves is the floor: a shift counts by what
//! it has beyond that.

use serde::{Deserialize, Serialize};

use super::{Class, Measure, Noise};
use crate::stats::{holm, ks, mcnemar};

/// The fewest requests that are looked at.
const MIN_SIZES: usize = 20;

/// The least distance of two distribution functions, beyond the floor, that counts: one of two uniform ranges is a third
/// wider, or a quarter of the values lies elsewhere.
const MIN_SHIFT: f64 = 0.25;

/// The least share of answers in which a field must differ between primary and control for its values to say nothing.
const ALWAYS: f64 = 0.9;

/// Of one request, how large the values at one place are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// The request: its ordinal, and the caller's number for equal calls.
    pub request: (u64, u32),
    /// What is measured.
    pub of: Measure,
    /// The primary's.
    pub primary: f64,
    /// The candidate's.
    pub candidate: f64,
    /// The control's.
    pub control: f64,
}

/// How a place's sizes differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// What is measured.
    pub of: Measure,
    /// Requests.
    pub n: usize,
    /// Whether the sizes rise or fall all the time.
    pub trend: Option<Trend>,
    /// How far the candidate is from the control: the largest distance of the distribution functions, or with a trend the
    /// share of steps that the candidate takes the other way.
    pub d: f64,
    /// The same for the primary: what an instance more makes of it.
    pub floor: f64,
    /// The chance of such a distance if the candidate were a second control.
    pub p: f64,
}

/// Where a size goes all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// It rises.
    Up,
    /// It falls.
    Down,
}

/// Whether values differ so often between primary and control that it says nothing of the candidate that its do.
pub fn is_noise_only(control_differs: u64, total: u64) -> bool {
    total > 0 && control_differs as f64 >= ALWAYS * total as f64
}

impl Sizes {
    /// Their place in the one order that does not depend on what arrived first.
    pub fn in_order(&self, other: &Self) -> std::cmp::Ordering {
        let values = |sizes: &Self| [sizes.primary, sizes.candidate, sizes.control];
        let mut by_value = values(self)
            .into_iter()
            .zip(values(other))
            .map(|(a, b)| a.total_cmp(&b));
        self.request.cmp(&other.request).then(
            by_value
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal),
        )
    }
}

/// Tests one place; `None`: too few requests, or they measure different things. `sizes` may come in any order.
pub fn shift(sizes: &[Sizes]) -> Option<Shift> {
    let of = sizes.first()?.of;
    if sizes.len() < MIN_SIZES || sizes.iter().any(|one| one.of != of) {
        return None;
    }
    let mut sizes = sizes.to_vec();
    sizes.sort_by(Sizes::in_order);
    let stepped = (of == Measure::Number).then(|| steps(&sizes)).flatten();
    if let Some((trend, d, floor, p)) = stepped {
        let (n, trend) = (sizes.len(), Some(trend));
        return Some(Shift {
            of,
            n,
            trend,
            d,
            floor,
            p,
        });
    }
    let all = |size: fn(&Sizes) -> f64| sizes.iter().map(size).collect::<Vec<_>>();
    let candidate = all(|one| one.candidate - one.primary);
    let control = all(|one| one.control - one.primary);
    let mirrored = all(|one| one.primary - one.control);
    let relative = ks::equal_sizes(&candidate, &control)?;
    let mut best = (relative, ks::equal_sizes(&control, &mirrored)?.d);
    // A time is that of its answer: only how far it is from the primary's says something.
    let tests = if of == Measure::Time { 1.0 } else { 2.0 };
    if of != Measure::Time {
        let (primary, control) = (all(|one| one.primary), all(|one| one.control));
        let plain = ks::equal_sizes(&all(|one| one.candidate), &control)?;
        if plain.p < relative.p {
            best = (plain, ks::equal_sizes(&primary, &control)?.d);
        }
    }
    Some(Shift {
        of,
        n: sizes.len(),
        trend: None,
        d: best.0.d,
        floor: best.1,
        p: (best.0.p * tests).min(1.0),
    })
}

/// Steps over a quarter of the run, so that requests that overtake each other do not hide a counter.
fn steps(sizes: &[Sizes]) -> Option<(Trend, f64, f64, f64)> {
    let pairs = || sizes.iter().zip(sizes.iter().skip(sizes.len() / 4));
    let count = pairs().count();
    let share = |size: fn(&Sizes) -> f64, trend: Trend| {
        let along = pairs().filter(|(from, to)| trend.goes(size(from), size(to)));
        along.count() as f64 / count as f64
    };
    let always = |trend: Trend| {
        share(|one| one.primary, trend) >= 0.95 && share(|one| one.control, trend) >= 0.95
    };
    let trend = [Trend::Up, Trend::Down]
        .into_iter()
        .find(|trend| always(*trend))?;
    let (mut only_candidate, mut only_control) = (0, 0);
    for (from, to) in pairs() {
        let goes = (
            trend.goes(from.candidate, to.candidate),
            trend.goes(from.control, to.control),
        );
        only_candidate += u64::from(goes == (false, true));
        only_control += u64::from(goes == (true, false));
    }
    let d = only_candidate.saturating_sub(only_control) as f64 / count as f64;
    Some((
        trend,
        d,
        0.0,
        mcnemar::one_sided(only_candidate, only_control),
    ))
}

impl Trend {
    fn goes(self, from: f64, to: f64) -> bool {
        match self {
            Self::Up => to > from,
            Self::Down => to < from,
        }
    }
}

/// The p-values of all shifts of a candidate's run, adjusted together (Holm), and what each counts as.
pub fn judge_shifts(shifts: &[Shift], noise: Noise) -> Vec<(f64, Class)> {
    let adjusted = holm::adjust(&shifts.iter().map(|shift| shift.p).collect::<Vec<_>>());
    let class = |shift: &Shift, p: f64| {
        // A little slack, so that a share of exactly a quarter counts.
        if p <= noise.alpha && shift.d - shift.floor >= MIN_SHIFT - 1e-9 {
            Class::Material
        } else {
            Class::Noise
        }
    };
    shifts
        .iter()
        .zip(adjusted)
        .map(|(shift, p)| (p, class(shift, p)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Other = fn(f64) -> f64;

    /// A number below 1 that looks random.
    fn random(seed: u64, place: u64, side: u64) -> f64 {
        let mut x = (seed << 40) ^ (place << 8) ^ side;
        for _ in 0..2 {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
        }
        (x >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn class_of(of: Measure, n: u64, sizes: impl Fn(u64) -> [f64; 3]) -> Class {
        let sizes: Vec<_> = (0..n)
            .map(|place| {
                let [primary, candidate, control] = sizes(place);
                let request = (place, 0);
                Sizes {
                    request,
                    of,
                    primary,
                    candidate,
                    control,
                }
            })
            .collect();
        let shift = shift(&sizes).unwrap();
        judge_shifts(&[shift], Noise::default())[0].1
    }

    #[test]
    fn random_values_of_one_source_are_noise_whatever_the_seed() {
        for seed in 0..20 {
            let draw = |place, side| random(seed, place, side);
            for n in [20, 300, 2_000] {
                let same = |place| [draw(place, 0), draw(place, 1), draw(place, 2)];
                assert_eq!(
                    class_of(Measure::Number, n, same),
                    Class::Noise,
                    "{seed} {n}"
                );
                // What depends on the request too.
                let above = |place: u64, side| (place % 7) as f64 * 10.0 + draw(place, side);
                let same = |place| [above(place, 0), above(place, 1), above(place, 2)];
                assert_eq!(
                    class_of(Measure::Number, n, same),
                    Class::Noise,
                    "{seed} {n}"
                );
            }
        }
    }

    #[test]
    fn another_range_another_scale_and_a_constant_are_found() {
        for seed in 0..20 {
            let draw = |place, side| random(seed, place, side);
            let others: [(&str, Other); 4] = [
                ("scale", |x| x * 1_000.0),
                ("range", |x| x * 2.0),
                ("offset", |x| x + 0.5),
                ("constant", |_| 0.5),
            ];
            for (why, other) in others {
                let sizes = |place| [draw(place, 0), other(draw(place, 1)), draw(place, 2)];
                assert_eq!(
                    class_of(Measure::Number, 300, sizes),
                    Class::Material,
                    "{why} {seed}"
                );
            }
        }
    }

    #[test]
    fn of_a_counter_only_the_direction_counts() {
        // Requests overtake each other, and every process counts its own.
        let count =
            |place: u64, from: f64, side| from + place as f64 + 5.0 * random(1, place, side);
        let other = |place| {
            [
                count(place, 0.0, 0),
                count(place, 900.0, 1),
                count(place, 40.0, 2),
            ]
        };
        assert_eq!(class_of(Measure::Number, 300, other), Class::Noise);
        let random = |place| {
            [
                count(place, 0.0, 0),
                300.0 * random(1, place, 1),
                count(place, 40.0, 2),
            ]
        };
        assert_eq!(class_of(Measure::Number, 300, random), Class::Material);
        let down = |place| {
            [
                -count(place, 0.0, 0),
                -count(place, 9.0, 1),
                -count(place, 4.0, 2),
            ]
        };
        assert_eq!(class_of(Measure::Number, 300, down), Class::Noise);
    }

    #[test]
    fn a_time_counts_by_its_distance_from_the_primarys() {
        // In units of ten seconds: some fall into the next.
        let at =
            |place: u64, side: u64| (place / 10 + u64::from(random(2, place, side) < 0.01)) as f64;
        let same = |place| [at(place, 0), at(place, 1), at(place, 2)];
        assert_eq!(class_of(Measure::Time, 300, same), Class::Noise);
        let hour = |place| [at(place, 0), at(place, 1) + 360.0, at(place, 2)];
        assert_eq!(class_of(Measure::Time, 300, hour), Class::Material);
        // A control that is an hour off by itself shows nothing.
        let both = |place| [at(place, 0), at(place, 1) - 360.0, at(place, 2) + 360.0];
        assert_eq!(class_of(Measure::Time, 300, both), Class::Noise);
    }

    #[test]
    fn a_gauge_that_every_instance_has_another_level_of_is_noise() {
        let level = |place, level: f64, side| level + random(3, place, side);
        let own = |place| {
            [
                level(place, 1.0, 0),
                level(place, 2.5, 1),
                level(place, 4.0, 2),
            ]
        };
        assert_eq!(class_of(Measure::Number, 300, own), Class::Noise);
    }

    #[test]
    fn few_or_unlike_sizes_say_nothing() {
        let size = |of, place| Sizes {
            request: (place, 0),
            of,
            primary: 1.0,
            candidate: 2.0,
            control: 3.0,
        };
        let few: Vec<_> = (0..19).map(|place| size(Measure::Number, place)).collect();
        assert_eq!(shift(&few), None);
        let mut mixed: Vec<_> = (0..30).map(|place| size(Measure::Number, place)).collect();
        mixed.push(size(Measure::Time, 30));
        assert_eq!(shift(&mixed), None);
        assert_eq!(shift(&[]), None);
    }
}
