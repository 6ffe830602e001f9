//! Shares: their interval, and the binomial distribution behind them.

/// 97.5 % quantile of the normal distribution.
pub const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of a share of `hits` in `n`; (0, 1) when there is nothing.
pub fn wilson(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (x, n) = (hits as f64, n as f64);
    let p = x / n;
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let low = if hits == 0 { 0.0 } else { centre - half };
    let high = if x >= n { 1.0 } else { centre + half };
    (low.max(0.0), high.min(1.0))
}

/// Newcombe's 95 % interval (hybrid score) of the second share less the first; each share is hits of a number.
pub fn newcombe(first: (u64, u64), second: (u64, u64)) -> (f64, f64) {
    let share = |(hits, n): (u64, u64)| if n == 0 { 0.0 } else { hits as f64 / n as f64 };
    let (p1, p2) = (share(first), share(second));
    let ((low1, high1), (low2, high2)) = (wilson(first.0, first.1), wilson(second.0, second.1));
    let difference = p2 - p1;
    (
        difference - (p2 - low2).hypot(high1 - p1),
        difference + (high2 - p2).hypot(p1 - low1),
    )
}

/// P(Bin(n, p) <= k).
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    // P(X <= k) = I_{1-p}(n - k, k + 1).
    incomplete_beta((n - k) as f64, (k + 1) as f64, 1.0 - p)
}

/// The regularised incomplete beta function, by Lentz's continued fraction.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast below the mean; above it, use the symmetry.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    /// Enough for a + b = 1e8: the fraction takes O(sqrt(max(a, b))) steps.
    const STEPS: u32 = 100_000;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut numerator = 1.0;
    let mut denominator = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = denominator;
    for step in 1..STEPS {
        let step = f64::from(step);
        let at = a + 2.0 * step;
        let even = step * (b - step) * x / ((at - 1.0) * at);
        denominator = 1.0 / guard(1.0 + even * denominator);
        numerator = guard(1.0 + even / numerator);
        fraction *= denominator * numerator;
        let odd = -(a + step) * (a + b + step) * x / (at * (at + 1.0));
        denominator = 1.0 / guard(1.0 + odd * denominator);
        numerator = guard(1.0 + odd / numerator);
        let change = denominator * numerator;
        fraction *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for x > 0: Stirling's series, after shifting x above 10.
pub fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut x = x;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0
        - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y * (1.0 / 1188.0)))))
        / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * b.abs().max(1e-300)
    }

    #[test]
    fn gamma_is_the_factorial() {
        // 0! = 1, 4! = 24, 19! = 121645100408832000.
        assert!(ln_gamma(1.0).abs() < 1e-12);
        assert!(close(ln_gamma(5.0), 24_f64.ln(), 1e-13));
        assert!(close(
            ln_gamma(20.0),
            121_645_100_408_832_000_f64.ln(),
            1e-13
        ));
    }

    #[test]
    fn the_binomial_of_coins_is_counted_by_hand() {
        // 3 coins: 1, 3, 3, 1 of 8.
        for (k, of_eight) in [(0, 1.0), (1, 4.0), (2, 7.0), (3, 8.0)] {
            assert!(close(binomial_cdf(k, 3, 0.5), of_eight / 8.0, 1e-12), "{k}");
        }
    }

    #[test]
    fn a_share_of_nothing_seen_has_an_upper_bound() {
        let (low, high) = wilson(0, 1000);
        assert!(low == 0.0 && close(high, 0.003_826_758_485_555, 1e-12));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
