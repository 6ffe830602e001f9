//! A delay before a request is sent on. How long is the inverse of the distribution at the rule's second draw, so it is as
//! reproducible as the choice itself.

use std::time::Duration;

use crate::unit::show_duration;

/// How it is written in a scenario: one line a distribution.
pub const EXAMPLES: &[&str] = &[
    "delay: 400ms",
    "delay: { uniform: 10ms..50ms }",
    "delay: { normal: { mean: 40ms, sd: 10ms } }",
    "delay: { exponential: { mean: 20ms } }",
    "delay: { pareto: { scale: 5ms, shape: 1.5 } }",
    "delay: { table: { p50: 5ms, p99: 80ms } }",
];

/// Longest delay of one draw. It bounds the tails of distributions without a mean; far above any client's patience.
pub const LONGEST: Duration = Duration::from_hours(1);

/// How long a chosen request waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Delay {
    /// Always this long.
    Fixed(Duration),
    /// Evenly between two bounds.
    Uniform {
        /// Least.
        low: Duration,
        /// Most.
        high: Duration,
    },
    /// A bell around a mean, cut at 0.
    Normal {
        /// Mean.
        mean: Duration,
        /// Standard deviation.
        sd: Duration,
    },
    /// Memoryless.
    Exponential {
        /// Mean.
        mean: Duration,
    },
    /// A heavy tail: never below `scale`.
    Pareto {
        /// Least value.
        scale: Duration,
        /// Tail index, above 0; below 1 the mean is infinite.
        shape: f64,
    },
    /// A table of quantiles, linear between them, from `(0, 0)` unless the table says otherwise; ascending in both. Above
    /// the last quantile its value stands.
    Table(Vec<(f64, Duration)>),
}

impl Delay {
    /// The delay at `u` in [0, 1): the inverse of the distribution, cut at 0 and at [`LONGEST`].
    pub fn sample(&self, u: f64) -> Duration {
        match self {
            Self::Fixed(delay) => (*delay).min(LONGEST),
            Self::Uniform { low, high } => cut(between(*low, *high, u)),
            Self::Normal { mean, sd } => cut(nanos(*mean) + nanos(*sd) * normal_quantile(u)),
            Self::Exponential { mean } => cut(-nanos(*mean) * (-u).ln_1p()),
            Self::Pareto { scale, shape } => cut(nanos(*scale) * (1.0 - u).powf(-1.0 / shape)),
            Self::Table(points) => cut(interpolate(points, u)),
        }
    }

    /// What is wrong with the settings, if something is.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Uniform { low, high } if low > high => Err(format!(
                "the lower bound {} of a uniform delay must not be above the upper bound {}",
                show_duration(*low),
                show_duration(*high)
            )),
            Self::Pareto { scale, shape }
                if !(*shape > 0.0 && shape.is_finite()) || scale.is_zero() =>
            {
                Err(format!(
                    "a pareto delay needs a scale and a shape above 0, not {} and {shape}",
                    show_duration(*scale)
                ))
            }
            Self::Table(points) => check_table(points),
            _ => Ok(()),
        }
    }
}

fn check_table(points: &[(f64, Duration)]) -> Result<(), String> {
    if points.is_empty() {
        return Err("a table of delays needs at least one quantile, such as `p50: 5ms`".to_owned());
    }
    if let Some((q, _)) = points.iter().find(|(q, _)| !(0.0..=1.0).contains(q)) {
        return Err(format!(
            "the quantile {q} of a table of delays must be from 0 to 1"
        ));
    }
    for (a, b) in points.iter().zip(points.iter().skip(1)) {
        if a.0 >= b.0 || a.1 > b.1 {
            return Err(format!(
                "a table of delays must ascend, but {} at {} is followed by {} at {}",
                show_duration(a.1),
                a.0,
                show_duration(b.1),
                b.0
            ));
        }
    }
    Ok(())
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

fn between(low: Duration, high: Duration, share: f64) -> f64 {
    nanos(low) + (nanos(high) - nanos(low)) * share
}

fn cut(nanos: f64) -> Duration {
    // `as` cuts a negative number and NaN at 0.
    Duration::from_nanos(nanos.round() as u64).min(LONGEST)
}

fn interpolate(points: &[(f64, Duration)], u: f64) -> f64 {
    let mut before = (0.0, Duration::ZERO);
    for &(q, value) in points {
        if u < q {
            return between(before.1, value, (u - before.0) / (q - before.0));
        }
        before = (q, value);
    }
    nanos(before.1)
}

/// The standard normal's inverse distribution function: Wichura's AS 241 (PPND16, 1988), relative error about 1e-16.
/// Python's `statistics.NormalDist.inv_cdf` is the same.
fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE, 0.180_625 - q * q);
    }
    let tail = (-p.min(1.0 - p).ln()).sqrt();
    let size = if tail <= 5.0 {
        ratio(&TAIL, tail - 1.6)
    } else {
        ratio(&FAR, tail - 5.0)
    };
    size.copysign(q)
}

fn ratio([numerator, denominator]: &[[f64; 8]; 2], r: f64) -> f64 {
    let horner = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, c| sum * r + c);
    horner(numerator) / horner(denominator)
}

/// Numerator and denominator for |p − ½| ≤ 0.425, highest power first.
const CENTRE: [[f64; 8]; 2] = [
    [
        2_509.080_928_730_122_7,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5,
    ],
    [
        5_226.495_278_852_854,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0,
    ],
];
/// Numerator and denominator for √(−ln p) ≤ 5, highest power first.
const TAIL: [[f64; 8]; 2] = [
    [
        0.000_774_545_014_278_341_4,
        0.022_723_844_989_269_184,
        0.241_780_725_177_450_6,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9,
        0.000_547_593_808_499_534_5,
        0.015_198_666_563_616_457,
        0.148_103_976_427_480_08,
        0.689_767_334_985_1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
];
/// Numerator and denominator for beyond, highest power first.
const FAR: [[f64; 8]; 2] = [
    [
        2.010_334_399_292_288_1e-7,
        2.711_555_568_743_487_6e-5,
        0.001_242_660_947_388_078_4,
        0.026_532_189_526_576_124,
        0.296_560_571_828_504_87,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_7e-15,
        1.421_511_758_316_446e-7,
        1.846_318_317_510_054_8e-5,
        0.000_786_869_131_145_613_3,
        0.014_875_361_290_850_615,
        0.136_929_880_922_735_8,
        0.599_832_206_555_888,
        1.0,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn every_distribution() -> Vec<Delay> {
        vec![
            Delay::Fixed(MS(400)),
            Delay::Uniform {
                low: MS(10),
                high: MS(50),
            },
            Delay::Normal {
                mean: MS(40),
                sd: MS(10),
            },
            Delay::Exponential { mean: MS(20) },
            Delay::Pareto {
                scale: MS(5),
                shape: 1.5,
            },
            Delay::Table(vec![(0.5, MS(5)), (0.99, MS(80))]),
        ]
    }

    #[test]
    fn every_distribution_is_written_in_an_example() {
        assert_eq!(EXAMPLES.len(), every_distribution().len());
        assert!(
            EXAMPLES
                .iter()
                .all(|example| example.starts_with("delay: "))
        );
    }

    #[test]
    fn samples_are_the_inverse_of_the_distribution_function() {
        // (delay, u, milliseconds by the closed form)
        let rows = [
            (Delay::Fixed(MS(400)), 0.3, 400.0),
            (
                Delay::Uniform {
                    low: MS(10),
                    high: MS(50),
                },
                0.25,
                20.0,
            ),
            (
                Delay::Normal {
                    mean: MS(40),
                    sd: MS(10),
                },
                0.5,
                40.0,
            ),
            // z = 1.959963984540054 and -2.326347874040841, from tables of the normal distribution.
            (
                Delay::Normal {
                    mean: MS(40),
                    sd: MS(10),
                },
                0.975,
                59.599_639_845,
            ),
            (
                Delay::Normal {
                    mean: MS(40),
                    sd: MS(10),
                },
                0.01,
                16.736_521_260,
            ),
            // -ln(1/2) and -ln(0.01)
            (Delay::Exponential { mean: MS(20) }, 0.5, 13.862_943_611),
            (Delay::Exponential { mean: MS(20) }, 0.99, 92.103_403_720),
            // 5 / 0.25^(1/1.5) = 5 * 4^(2/3)
            (
                Delay::Pareto {
                    scale: MS(5),
                    shape: 1.5,
                },
                0.75,
                12.599_210_499,
            ),
            (Delay::Table(vec![(0.5, MS(5)), (0.99, MS(80))]), 0.25, 2.5),
            (
                Delay::Table(vec![(0.5, MS(5)), (0.99, MS(80))]),
                0.745,
                42.5,
            ),
            (
                Delay::Table(vec![(0.5, MS(5)), (0.99, MS(80))]),
                0.999,
                80.0,
            ),
            (Delay::Table(vec![(0.0, MS(4)), (1.0, MS(8))]), 0.5, 6.0),
        ];
        for (delay, u, expected) in rows {
            let sampled = delay.sample(u).as_secs_f64() * 1e3;
            assert!(
                (sampled - expected).abs() < 1e-6,
                "{delay:?} at {u}: {sampled}, not {expected}"
            );
        }
    }

    #[test]
    fn every_distribution_keeps_its_familys_promises() {
        let steps = 100_000_u32;
        for delay in every_distribution() {
            assert_eq!(delay.check(), Ok(()), "{delay:?}");
            let samples: Vec<Duration> = (0..steps)
                .map(|step| delay.sample(f64::from(step) / f64::from(steps)))
                .collect();
            assert!(samples.is_sorted(), "{delay:?} is not ascending in u");
            // The least and the greatest number that a draw can be.
            for u in [0.0, 1.0 - f64::EPSILON / 2.0] {
                assert!(delay.sample(u) <= LONGEST, "{delay:?} at {u}");
            }
        }
    }

    #[test]
    fn means_are_those_of_the_distributions() {
        let steps = 1_000_000_u32;
        for (delay, mean) in [
            (
                Delay::Uniform {
                    low: MS(10),
                    high: MS(50),
                },
                30.0,
            ),
            (
                Delay::Normal {
                    mean: MS(40),
                    sd: MS(10),
                },
                40.0,
            ),
            (Delay::Exponential { mean: MS(20) }, 20.0),
            (
                Delay::Pareto {
                    scale: MS(5),
                    shape: 3.0,
                },
                7.5,
            ),
        ] {
            let sum: f64 = (0..steps)
                .map(|step| {
                    delay
                        .sample((f64::from(step) + 0.5) / f64::from(steps))
                        .as_secs_f64()
                })
                .sum();
            let got = sum / f64::from(steps) * 1e3;
            assert!(
                (got - mean).abs() < mean * 1e-3,
                "{delay:?}: {got}, not {mean}"
            );
        }
    }

    #[test]
    fn negative_and_endless_delays_are_cut() {
        assert_eq!(
            Delay::Normal {
                mean: MS(1),
                sd: MS(10)
            }
            .sample(0.01),
            Duration::ZERO
        );
        assert_eq!(
            Delay::Normal {
                mean: MS(1),
                sd: MS(10)
            }
            .sample(0.0),
            Duration::ZERO
        );
        assert_eq!(
            Delay::Pareto {
                scale: MS(1),
                shape: 0.01
            }
            .sample(0.999),
            LONGEST
        );
    }

    #[test]
    fn the_normal_quantile_is_exact_where_tables_are() {
        for (p, z) in [
            (0.5, 0.0),
            (0.841_344_746_068_542_9, 1.0),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_813_5),
            (1e-9, -5.997_807_015_007_686_8),
            (1e-12, -7.034_483_825_301_132),
            (1e-20, -9.262_340_089_798_408),
        ] {
            assert!(
                (normal_quantile(p) - z).abs() < 2e-14,
                "{p}: {}",
                normal_quantile(p)
            );
        }
    }

    #[test]
    fn settings_that_make_no_sense_say_so() {
        for (delay, message) in [
            (
                Delay::Uniform {
                    low: MS(50),
                    high: MS(10),
                },
                "the lower bound 50ms of a uniform delay must not be above the upper bound 10ms",
            ),
            (
                Delay::Pareto {
                    scale: MS(5),
                    shape: 0.0,
                },
                "a pareto delay needs a scale and a shape above 0, not 5ms and 0",
            ),
            (
                Delay::Table(vec![]),
                "a table of delays needs at least one quantile, such as `p50: 5ms`",
            ),
            (
                Delay::Table(vec![(1.5, MS(1))]),
                "the quantile 1.5 of a table of delays must be from 0 to 1",
            ),
            (
                Delay::Table(vec![(0.5, MS(9)), (0.9, MS(5))]),
                "a table of delays must ascend, but 9ms at 0.5 is followed by 5ms at 0.9",
            ),
        ] {
            assert_eq!(delay.check(), Err(message.to_owned()));
        }
    }
}
