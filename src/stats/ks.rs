//! The two-sample test of Kolmogorov and Smirnov, exact for samples of one size.

use super::mcnemar::ln_factorial;

/// How far two samples of one size are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Apart {
    /// The largest distance of their distribution functions, 0 to 1.
    pub d: f64,
    /// The chance of such a distance, or a larger one, between samples of one source. With ties it is less than that: the
    /// test errs on the quiet side.
    pub p: f64,
}

/// Compares two samples; `None` where they are empty, of two sizes, or hold what is no number.
pub fn equal_sizes(first: &[f64], second: &[f64]) -> Option<Apart> {
    let n = first.len();
    let all = || first.iter().chain(second);
    if n == 0 || n != second.len() || all().any(|value| value.is_nan()) {
        return None;
    }
    let sorted = |sample: &[f64]| {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (first, second) = (sorted(first), sorted(second));
    let (mut at, mut widest) = ((0, 0), 0_usize);
    while let (Some(a), Some(b)) = (first.get(at.0), second.get(at.1)) {
        let value = a.min(*b);
        while first.get(at.0).is_some_and(|next| *next <= value) {
            at.0 += 1;
        }
        while second.get(at.1).is_some_and(|next| *next <= value) {
            at.1 += 1;
        }
        widest = widest.max(at.0.abs_diff(at.1));
    }
    Some(Apart {
        d: widest as f64 / n as f64,
        p: chance(n, widest),
    })
}

/// P(D ≥ k/n) for two samples of n: 2 Σ (−1)^(j−1) C(2n, n−jk) / C(2n, n), by reflection (Gnedenko and Koroljuk, 1951).
fn chance(n: usize, k: usize) -> f64 {
    if k == 0 {
        return 1.0;
    }
    let n = n as u64;
    let ways = |off: u64| ln_factorial(2 * n) - ln_factorial(n - off) - ln_factorial(n + off);
    let whole = ways(0);
    let mut sum = 0.0;
    for (place, off) in (1..)
        .map(|j| j * k as u64)
        .take_while(|off| *off <= n)
        .enumerate()
    {
        let term = (ways(off) - whole).exp();
        sum += if place % 2 == 0 { term } else { -term };
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() <= 1e-9 * expected,
            "{value} is not {expected}"
        );
    }

    #[test]
    fn the_chance_is_that_of_counted_paths() {
        // Of C(4,2) = 6 orders of two and two, 2 have D = 1 and all have D ≥ ½.
        close(chance(2, 2), 2.0 / 6.0);
        close(chance(2, 1), 1.0);
        // 2 (C(24,8) − C(24,4) + C(24,0)) / C(24,12)
        close(
            chance(12, 4),
            2.0 * (735_471.0 - 10_626.0 + 1.0) / 2_704_156.0,
        );
        close(chance(5, 5), 2.0 / 252.0);
        close(chance(7, 0), 1.0);
    }

    #[test]
    fn the_distance_is_the_widest_gap() {
        let apart = |first: &[f64], second: &[f64]| equal_sizes(first, second).unwrap().d;
        close(apart(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
        close(apart(&[2.0, 1.0], &[4.0, 3.0]), 1.0);
        assert_eq!(
            equal_sizes(&[1.0, 1.0], &[1.0, 1.0]),
            Some(Apart { d: 0.0, p: 1.0 })
        );
        assert_eq!(equal_sizes(&[], &[]), None);
        assert_eq!(equal_sizes(&[1.0], &[]), None);
        assert_eq!(equal_sizes(&[f64::NAN], &[1.0]), None);
    }
}
