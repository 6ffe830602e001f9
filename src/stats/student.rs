//! Student's t distribution.

use super::proportion::incomplete_beta;

/// The value that a t-distributed number with `df` degrees of freedom stays below with chance `p`, for 0.5 <= p < 1.
pub fn quantile(p: f64, df: f64) -> f64 {
    let tail = 1.0 - p;
    let (mut low, mut high) = (0.0, 1.0);
    while upper_tail(high, df) > tail && high < 1e12 {
        high *= 2.0;
    }
    // Far more steps than a double has bits.
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if upper_tail(middle, df) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// P(T > t), for t >= 0.
fn upper_tail(t: f64, df: f64) -> f64 {
    0.5 * incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_degree_of_freedom_is_cauchy() {
        // tan(pi * (p - 1/2)).
        for p in [0.75, 0.95, 0.975, 0.999_5] {
            let expected = (std::f64::consts::PI * (p - 0.5)).tan();
            assert!((quantile(p, 1.0) / expected - 1.0).abs() < 1e-9, "{p}");
        }
    }
}
