//! What services did, second by second and phase by phase.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::App;
use crate::event::{Id, Micros};

/// Seconds that the figures of the service table are over.
pub const TRAIL: u64 = 10;
/// Latencies beyond an hour are clipped.
const LONGEST: Micros = 3_600_000_000;
/// Rows of the heat map's finest grid: quarter decades from 10 µs to 100 s.
pub const BINS: usize = 28;

/// What one service did in one second.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// Requests that were due in it.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Latencies, in µs.
    pub values: Vec<u32>,
    /// Counts by quarter decade from 10 µs.
    pub bins: [u32; BINS],
}

/// What one service did.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// By second of intended time.
    pub seconds: BTreeMap<u64, Second>,
    /// By phase.
    pub phases: BTreeMap<Id, Histogram<u64>>,
    /// Errors by phase.
    pub errors: BTreeMap<Id, u64>,
}

impl App {
    /// Counts so many requests that took so long.
    pub(in crate::tui) fn serve(
        &mut self,
        service: &Id,
        intended_us: Micros,
        us: Micros,
        failed: bool,
        times: u32,
    ) {
        let phase = self.facts.phase_at(intended_us);
        let served = self.served.entry(service.clone()).or_default();
        let second = served.seconds.entry(intended_us / 1_000_000).or_default();
        let errors = if failed { u64::from(times) } else { 0 };
        second.count += u64::from(times);
        second.errors += errors;
        let value = u32::try_from(us).unwrap_or(u32::MAX);
        second
            .values
            .extend(std::iter::repeat_n(value, times as usize));
        if let Some(bin) = second.bins.get_mut(bin(us)) {
            *bin += times;
        }
        let Some(phase) = phase else { return };
        *served.errors.entry(phase.clone()).or_default() += errors;
        // These bounds are always accepted; the other arm cannot be reached.
        if let (false, Ok(empty)) = (
            served.phases.contains_key(&phase),
            Histogram::new_with_max(LONGEST, 3),
        ) {
            served.phases.insert(phase.clone(), empty);
        }
        if let Some(histogram) = served.phases.get_mut(&phase) {
            histogram.saturating_record_n(us, u64::from(times));
        }
    }

    /// Errors among what was served.
    pub(super) fn served_errors(&mut self, service: &Id, t_us: Micros, errors: u64) {
        let phase = self.facts.phase_at(t_us);
        let served = self.served.entry(service.clone()).or_default();
        served.seconds.entry(t_us / 1_000_000).or_default().errors += errors;
        if let Some(phase) = phase {
            *served.errors.entry(phase).or_default() += errors;
        }
    }
}

impl Served {
    /// Requests a second, share of errors, and p50 and p99 over the trailing seconds before `now`, as far as known.
    pub fn trailing(&self, now_us: Micros) -> Option<Trailing> {
        let now = now_us / 1_000_000;
        let from = now.saturating_sub(TRAIL);
        let seconds = || {
            self.seconds
                .range(from..now.max(from + 1))
                .map(|(_, second)| second)
        };
        let count: u64 = seconds().map(|second| second.count).sum();
        if count == 0 {
            return None;
        }
        let mut values: Vec<u32> = seconds()
            .flat_map(|second| second.values.iter().copied())
            .collect();
        values.sort_unstable();
        let rank = |q: f64| {
            let index = (q * values.len() as f64).ceil() as usize;
            values.get(index.saturating_sub(1)).copied().map(f64::from)
        };
        let span = now.saturating_sub(from).max(1);
        Some(Trailing {
            count,
            rate: count as f64 / span as f64,
            errors: seconds().map(|second| second.errors).sum::<u64>() as f64 / count as f64,
            p50_us: rank(0.5),
            // Below 100 samples a p99 is only the maximum: it is not shown as one.
            p99_us: (values.len() >= 100).then(|| rank(0.99)).flatten(),
        })
    }
}

/// What a service did over the trailing seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trailing {
    /// Requests.
    pub count: u64,
    /// Requests a second.
    pub rate: f64,
    /// Share of errors.
    pub errors: f64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
}

/// The quarter decade, from 10 µs, that a latency lies in.
pub fn bin(us: Micros) -> usize {
    if us < 10 {
        return 0;
    }
    let quarter = ((us as f64 / 10.0).log10() * 4.0).floor();
    (quarter as usize).min(BINS - 1)
}
