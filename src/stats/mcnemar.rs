//! McNemar's test, exact and one-sided.

/// The chance that a fair coin shows at least `b` heads in `b + c` throws: P(Bin(b + c, ½) ≥ b). 1 if nothing was
/// thrown.
///
/// With `b` the pairs that only one treatment changed and `c` those that only the other did, a small value says that the
/// first changes more.
pub fn one_sided(b: u64, c: u64) -> f64 {
    if b == 0 {
        return 1.0;
    }
    if b > c {
        tail(b, c)
    } else {
        1.0 - tail(c + 1, b - 1)
    }
}

/// P(Bin(heads + tails, ½) ≥ heads), where heads > tails: terms fall from the first on, so the sum ends soon.
fn tail(heads: u64, tails: u64) -> f64 {
    let n = heads + tails;
    let ways = ln_factorial(n) - ln_factorial(heads) - ln_factorial(tails);
    // Up to a thousand throws neither factor leaves the range of a double.
    let first = if n <= 1_000 {
        ways.exp() * 0.5_f64.powi(n as i32)
    } else {
        (ways - n as f64 * std::f64::consts::LN_2).exp()
    };
    let (mut sum, mut term) = (1.0, 1.0);
    for k in heads..n {
        term *= (n - k) as f64 / (k + 1) as f64;
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    (first * sum).min(1.0)
}

/// ln n!, by Stirling's series with four terms from 16 on (error below 1e-14), multiplied out before.
pub(super) fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|k| k as f64).product::<f64>().ln();
    }
    let x = n as f64 + 1.0;
    let r = 1.0 / (x * x);
    let series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1_260.0 - r / 1_680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() <= 1e-9 * expected,
            "{value} is not {expected}"
        );
    }

    #[test]
    fn small_counts_are_those_of_pascals_triangle() {
        near(one_sided(0, 0), 1.0);
        near(one_sided(0, 7), 1.0);
        near(one_sided(1, 0), 0.5);
        near(one_sided(5, 0), 0.03125);
        near(one_sided(12, 0), 0.000_244_140_625);
        near(one_sided(1, 1), 0.75);
        near(one_sided(2, 1), 0.5);
        near(one_sided(1, 2), 0.875);
        near(one_sided(10, 1), 12.0 / 2048.0);
    }

    #[test]
    fn both_tails_and_the_middle_add_up() {
        for (b, c) in [(3, 9), (250, 250), (40, 41), (1_000, 1_100)] {
            // P(X ≥ b) + P(X ≥ c + 1) = 1, since P(X ≤ b − 1) = P(X ≥ n − b + 1).
            near(one_sided(b, c) + one_sided(c + 1, b - 1), 1.0);
        }
    }

    #[test]
    fn large_counts_stay_exact() {
        // Recomputed with scipy.stats.binom.sf.
        near(one_sided(250, 250), 0.517_832_322_776_674_6);
        near(one_sided(400, 100), 8.298_147_376_087_2e-44);
        near(one_sided(5_200, 5_000), 0.024_393_981_563_411_17);
        assert!((one_sided(500_000, 500_000) - 0.500_398_9).abs() < 1e-6);
    }
}
