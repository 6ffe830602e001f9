//! Which changes of a latency matter, as shares of it.

/// The changes from which on a quantile counts as slower or faster; each above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// Of the median.
    pub p50: f64,
    /// Of the 90th percentile.
    pub p90: f64,
    /// Of the 99th percentile, which varies more by itself.
    pub p99: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            p50: 0.05,
            p90: 0.05,
            p99: 0.10,
        }
    }
}
