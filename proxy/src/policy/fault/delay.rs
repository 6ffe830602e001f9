//! A delay before a request is sent on.

use std::time::Duration;

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
    /// A table of quantiles, linear between them, from `(0, 0)` unless the table says otherwise; ascending.
    Table(Vec<(f64, Duration)>),
}
