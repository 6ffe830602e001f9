//! When generated requests are due: pure functions of the rate and the seed.

use meshbed_proxy::{
    draw::{Draw, Seed},
    unit::Rate,
};

use crate::{event::Micros, scenario::Arrival};

/// The due times of a source, ascending, without end.
#[derive(Debug, Clone)]
pub struct Arrivals {
    rate: f64,
    gaps: Option<Draw>,
    next: u64,
    seconds: f64,
}

impl Arrivals {
    /// `source` names the rule that chance is drawn by: `SOURCE#arrival`.
    pub fn new(arrival: Arrival, rate: Rate, seed: Seed, source: &str) -> Self {
        Self {
            rate: rate.get(),
            gaps: match arrival {
                Arrival::Constant => None,
                Arrival::Poisson => Some(seed.rule(&format!("{source}#arrival"))),
            },
            next: 0,
            seconds: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Micros;

    /// Constant: the first at 0, then each a period later, computed from its number so that nothing adds up. Poisson:
    /// the first after one exponential gap, and each gap by the inverse of the distribution at `u`.
    fn next(&mut self) -> Option<Micros> {
        let number = self.next;
        self.next += 1;
        self.seconds = match self.gaps {
            None => number as f64 / self.rate,
            Some(draw) => {
                let u = draw.unit_of(&number.to_le_bytes());
                self.seconds - (1.0 - u).ln() / self.rate
            }
        };
        Some((self.seconds * 1e6).round() as u64)
    }
}

/// Chooses among templates by weight.
#[derive(Debug, Clone)]
pub struct Chooser {
    draw: Draw,
    /// Sums of the weights up to each.
    sums: Vec<u64>,
}

impl Chooser {
    /// `source` names the rule that chance is drawn by: `SOURCE#template`.
    pub fn new(weights: impl IntoIterator<Item = u32>, seed: Seed, source: &str) -> Self {
        let sums = weights
            .into_iter()
            .scan(0_u64, |sum, weight| {
                *sum += u64::from(weight);
                Some(*sum)
            })
            .collect();
        Self {
            draw: seed.rule(&format!("{source}#template")),
            sums,
        }
    }

    /// Which template the request of this number is made of; `None`: there is none with a weight.
    pub fn choose(&self, number: u64) -> Option<usize> {
        let total = *self.sums.last().filter(|total| **total > 0)?;
        let at = self.draw.unit_of(&number.to_le_bytes()) * total as f64;
        let index = self.sums.partition_point(|sum| *sum as f64 <= at);
        Some(index.min(self.sums.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::per_second(per_second).unwrap()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_do_not_drift() {
        let mut times = Arrivals::new(Arrival::Constant, rate(3.0), Seed(1), "main");
        let first: Vec<u64> = times.by_ref().take(4).collect();
        assert_eq!(first, [0, 333_333, 666_667, 1_000_000]);
        // The 300,000th is due after 100,000 s to the microsecond.
        assert_eq!(times.nth(300_000 - 4), Some(100_000_000_000));
    }

    #[test]
    fn poisson_gaps_are_exponential_and_follow_from_the_seed() {
        let times = |seed| -> Vec<u64> {
            Arrivals::new(Arrival::Poisson, rate(1000.0), Seed(seed), "main")
                .take(20_000)
                .collect()
        };
        let one = times(7);
        assert_eq!(one, times(7));
        assert_ne!(one, times(8));
        assert!(one.is_sorted());
        // Mean gap 1 ms: the 20,000th is due after 20 s, within 4 standard deviations (4 * sqrt(20,000) ms = 0.57 s).
        let last = *one.last().unwrap() as f64 / 1e6;
        assert!((last - 20.0).abs() < 0.57, "{last}");
        // P(gap > 1 ms) = 1/e = 0.3679; standard deviation of the share 0.0034.
        let long = one
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 1000)
            .count() as f64;
        assert!((long / 19_999.0 - 0.3679).abs() < 0.0137, "{long}");
    }

    #[test]
    fn templates_are_chosen_by_weight() {
        let chooser = Chooser::new([3, 0, 1], Seed(7), "main");
        let mut counts = [0_u32; 3];
        for number in 0..10_000 {
            counts[chooser.choose(number).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        // 7,500 expected, standard deviation 43.
        assert!(counts[0].abs_diff(7_500) < 173, "{counts:?}");
        assert_eq!(Chooser::new([], Seed(7), "main").choose(0), None);
        assert_eq!(Chooser::new([0], Seed(7), "main").choose(0), None);
    }
}
