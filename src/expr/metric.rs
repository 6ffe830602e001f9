//! The metrics that an expression may name: what each needs, its unit, and how it is read off the measurements.

use crate::{
    event::Id,
    measure::{Filter, Window},
};

/// A metric as an expression names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, as in [`Metric`]'s table: `p99`, `service.p99`, `diffs.material`, `flags.DI`, `error_share`.
    pub name: String,
    /// The service, shadow or, for the generator's own metrics, nothing.
    pub of: Option<Id>,
    /// Only requests like these.
    pub filter: Filter,
    /// The phase named by `@phase`.
    pub phase: Option<Id>,
}

/// What a metric amounts to over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A number that enough data stands behind.
    Known {
        /// In the metric's unit.
        value: f64,
        /// 95 % interval, where the metric has one.
        interval: Option<(f64, f64)>,
        /// Samples behind it.
        n: u64,
    },
    /// Too little data to call it known.
    NoData {
        /// What it would be, by the little there is.
        value: Option<f64>,
        /// Samples there are.
        have: u64,
        /// Samples it needs.
        need: u64,
    },
}

/// Something that metrics can be read off: the measurements of a run, or a table in a test.
pub trait Metrics {
    /// Reads one metric over a window of intended time.
    fn read(&self, metric: &Metric, windows: &[Window]) -> Reading;
}
