//! Quantiles by nearest rank, how many samples they need, and their distribution-free intervals.

use super::proportion::binomial_cdf;

/// Significance of every interval that is shown: 95 % two-sided.
pub const ALPHA: f64 = 0.05;

/// A quantile between 0 and 1, exactly: 99.9 % is 999/1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantile {
    numerator: u64,
    denominator: u64,
}

impl Quantile {
    /// The median.
    pub const P50: Self = Self::percent(50);
    /// 90 %.
    pub const P90: Self = Self::percent(90);
    /// 99 %.
    pub const P99: Self = Self::percent(99);
    /// 99.9 %.
    pub const P999: Self = Self {
        numerator: 999,
        denominator: 1000,
    };

    const fn percent(percent: u64) -> Self {
        Self {
            numerator: percent,
            denominator: 100,
        }
    }

    /// Reads the number after the `p`: `50`, `99`, `99.9`; above 0, below 100, at most four decimals.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 2
            || decimals.len() > 4
            || text.ends_with('.')
            || !digits(whole)
            || !digits(decimals)
        {
            return None;
        }
        let denominator = 100 * 10_u64.pow(decimals.len() as u32);
        let numerator = format!("{whole}{decimals}").parse().ok()?;
        (numerator > 0).then_some(Self {
            numerator,
            denominator,
        })
    }

    /// As a number.
    pub fn get(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Nearest rank among `n` values, from 1: `max(1, ceil(q * n))`, in integers.
    pub fn rank(self, n: u64) -> u64 {
        let exact = u128::from(n) * u128::from(self.numerator);
        (exact.div_ceil(u128::from(self.denominator)) as u64).max(1)
    }

    /// Samples that it takes to call it known: `10 / (1 - q)`, in integers.
    pub fn needs(self) -> u64 {
        (10 * self.denominator).div_ceil(self.denominator - self.numerator)
    }

    /// Ranks of the order statistics that enclose it with 95 %, from 1; `None` where `n` is too small for that side.
    pub fn interval_ranks(self, n: u64) -> (Option<u64>, Option<u64>) {
        let q = self.get();
        // The greatest l with P(Bin(n, q) <= l - 1) <= alpha/2.
        let low = partition_point(n, |rank| binomial_cdf(rank - 1, n, q) <= ALPHA / 2.0);
        // The least u with P(Bin(n, q) >= u) <= alpha/2, that is P(Bin(n, q) <= u - 1) >= 1 - alpha/2.
        let high = partition_point(n, |rank| 1.0 - binomial_cdf(rank - 1, n, q) > ALPHA / 2.0) + 1;
        ((low >= 1).then_some(low), (high <= n).then_some(high))
    }
}

/// How many of the ranks 1 to n satisfy a condition that holds for the lower ones only.
fn partition_point(n: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_nearest_and_exact() {
        let rows = [
            ("50", 1, 1),
            ("50", 2, 1),
            ("50", 3, 2),
            ("99", 100, 99),
            ("99", 101, 100),
            ("99.9", 1000, 999),
            ("99.9", 10_000, 9990),
            ("10", 5, 1),
        ];
        for (text, n, rank) in rows {
            assert_eq!(
                Quantile::parse(text).unwrap().rank(n),
                rank,
                "p{text} of {n}"
            );
        }
    }

    #[test]
    fn a_quantile_needs_ten_beyond_it() {
        for (text, needs) in [
            ("50", 20),
            ("90", 100),
            ("95", 200),
            ("99", 1000),
            ("99.9", 10_000),
        ] {
            assert_eq!(Quantile::parse(text).unwrap().needs(), needs, "p{text}");
        }
    }

    #[test]
    fn what_is_no_quantile_is_refused() {
        for text in [
            "", "0", "00", "100", "x", "9.", ".9", "-5", "99.99999", "0.0",
        ] {
            assert_eq!(Quantile::parse(text), None, "p{text}");
        }
    }

    #[test]
    fn intervals_start_where_they_can() {
        for (text, least) in [
            ("50", 6),
            ("90", 36),
            ("95", 72),
            ("99", 368),
            ("99.9", 3688),
        ] {
            let quantile = Quantile::parse(text).unwrap();
            let whole = |n| matches!(quantile.interval_ranks(n), (Some(_), Some(_)));
            assert!(whole(least) && !whole(least - 1), "p{text}");
        }
    }
}
