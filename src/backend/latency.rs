//! How long a builtin takes over a request: a log-normal share of real work, drawn from the request itself.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A log-normal distribution, the shape service times have: a median and a tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogNormal {
    /// Half of all requests take less.
    pub(super) median: Duration,
    /// Standard deviation of the logarithm; 0.5 puts p99 at 3.2 times the median.
    pub(super) sigma: f64,
}

/// No draw lies further out, in standard deviations: one request in a million would, and a demo must not hang on it.
const CUT: f64 = 4.0;

impl LogNormal {
    pub(super) const fn from_micros(median_us: u64, sigma: f64) -> Self {
        Self {
            median: Duration::from_micros(median_us),
            sigma,
        }
    }

    /// The quantile at `u` in [0, 1).
    pub(super) fn at(self, u: f64) -> Duration {
        let z = probit(u.clamp(1e-9, 1.0 - 1e-9)).clamp(-CUT, CUT);
        self.median.mul_f64((self.sigma * z).exp())
    }
}

/// A number in [0, 1) that depends on all of the arguments and nothing else.
pub(super) fn draw(seed: u64, service: &str, operation: &str, ordinal: u64) -> f64 {
    let rule = xxh3_64_with_seed(service.as_bytes(), seed);
    let rule = xxh3_64_with_seed(operation.as_bytes(), rule);
    (xxh3_64_with_seed(&ordinal.to_le_bytes(), rule) >> 11) as f64 * 2f64.powi(-53)
}

/// The quantile function of the standard normal distribution, by P. J. Acklam's rational approximation (relative error
/// below 1.15e-9).
fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.02425;
    let polynomial = |coefficients: &[f64], x: f64| {
        coefficients
            .iter()
            .fold(0.0_f64, |sum, c| sum.mul_add(x, *c))
    };
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    } else if p > 1.0 - TAIL {
        let q = (-2.0 * (1.0 - p).ln()).sqrt();
        -polynomial(&C, q) / polynomial(&D, q)
    } else {
        let q = p - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / polynomial(&B, r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probit_is_the_normal_quantile() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_985),
            (0.01, -2.326_347_874),
            (0.999, 3.090_232_306),
        ] {
            assert!((probit(p) - z).abs() < 1e-8, "{p}: {}", probit(p));
        }
    }

    #[test]
    fn quantiles_are_those_of_a_log_normal() {
        let latency = LogNormal::from_micros(2_000, 0.5);
        assert_eq!(latency.at(0.5), Duration::from_millis(2));
        // exp(0.5 * 2.3263) = 3.2000
        let p99 = latency.at(0.99).as_secs_f64();
        assert!((p99 - 0.006_400).abs() < 0.000_005, "{p99}");
        assert!(latency.at(0.0) > Duration::ZERO);
        assert!(latency.at(0.999_999_999) < Duration::from_millis(15));
    }

    #[test]
    fn a_draw_depends_on_every_argument() {
        let base = draw(1, "cart", "get", 7);
        assert!((0.0..1.0).contains(&base));
        let others = [
            draw(2, "cart", "get", 7),
            draw(1, "shop", "get", 7),
            draw(1, "cart", "put", 7),
            draw(1, "cart", "get", 8),
        ];
        assert!(
            others
                .iter()
                .all(|other| (other - base).abs() > f64::EPSILON)
        );
        assert!((draw(1, "cart", "get", 7) - base).abs() < f64::EPSILON);
    }
}
