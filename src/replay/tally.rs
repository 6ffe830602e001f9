//! What the generator counts of itself: how much it did, and how late it was.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    event::Micros,
    stats::{histogram::Histogram, quantile::Quantile},
};

/// Releases at each end of a run that the drift is taken from: enough that one late wake-up does not move a median.
const DRIFT_SAMPLE: usize = 100;

/// How much the generator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests due so far.
    pub planned: u64,
    /// Requests let go.
    pub released: u64,
    /// Requests handed to a connection.
    pub sent: u64,
    /// Requests answered in full.
    pub done: u64,
    /// Requests that waited because `max_in_flight` were under way.
    pub overflow: u64,
    /// Requests given up, or without a whole answer.
    pub no_response: u64,
    /// Requests of these whose connection could not be had, so that nothing of them was sent.
    pub unopened: u64,
    /// Requests under way: let go, not waiting for a place, and not ended.
    pub in_flight: u64,
}

/// What the generator amounts to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// How much it did.
    pub stats: Stats,
    /// `released - intended` of all that were let go.
    pub lateness_us: Quantiles,
    /// `sent - released` of all that were sent.
    pub blocked_us: Quantiles,
    /// How much later than the first the last releases were: the medians of 100 at each end.
    pub drift_us: Micros,
    /// Processor time that it used, in cores.
    pub cpu: f64,
}

/// Quantiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    /// Median.
    pub p50: Micros,
    /// 99th percentile.
    pub p99: Micros,
    /// Maximum.
    pub max: Micros,
}

/// Counted by the scheduler's and the I/O thread, read by others.
#[derive(Debug, Default)]
pub(super) struct Tally {
    released: AtomicU64,
    sent: AtomicU64,
    done: AtomicU64,
    overflow: AtomicU64,
    no_response: AtomicU64,
    unopened: AtomicU64,
    in_flight: AtomicU64,
    lateness: Mutex<Lateness>,
    blocked: Mutex<Histogram>,
}

#[derive(Debug, Default)]
struct Lateness {
    all: Histogram,
    since_tick: Histogram,
    first: Vec<Micros>,
    last: VecDeque<Micros>,
}

impl Tally {
    pub(super) fn released(&self, late_us: Micros) {
        self.released.fetch_add(1, Ordering::Relaxed);
        let mut lateness = lock(&self.lateness);
        lateness.all.record(late_us);
        lateness.since_tick.record(late_us);
        if lateness.first.len() < DRIFT_SAMPLE {
            lateness.first.push(late_us);
        }
        if lateness.last.len() == DRIFT_SAMPLE {
            lateness.last.pop_front();
        }
        lateness.last.push_back(late_us);
    }

    pub(super) fn overflowed(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn admitted(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, blocked_us: Micros) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        lock(&self.blocked).record(blocked_us);
    }

    /// The connection of a request could not be had.
    pub(super) fn unopened(&self) {
        self.unopened.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted as sent was not written after all.
    pub(super) fn unsent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, complete: bool) {
        let counter = if complete {
            &self.done
        } else {
            &self.no_response
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, planned: u64) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            planned,
            released: read(&self.released),
            sent: read(&self.sent),
            done: read(&self.done),
            overflow: read(&self.overflow),
            no_response: read(&self.no_response),
            unopened: read(&self.unopened),
            in_flight: read(&self.in_flight),
        }
    }

    /// 99th percentile of the lateness since the last call; 0 if nothing was let go.
    pub(super) fn take_late_p99(&self) -> Micros {
        let mut lateness = lock(&self.lateness);
        Quantiles::of(&std::mem::take(&mut lateness.since_tick)).p99
    }

    pub(super) fn totals(&self, stats: Stats, cpu: f64) -> Totals {
        let lateness = lock(&self.lateness);
        Totals {
            stats,
            lateness_us: Quantiles::of(&lateness.all),
            blocked_us: Quantiles::of(&lock(&self.blocked)),
            drift_us: median(lateness.last.iter()).saturating_sub(median(lateness.first.iter())),
            cpu,
        }
    }
}

impl Quantiles {
    fn of(times: &Histogram) -> Self {
        let at = |quantile| times.quantile(quantile).unwrap_or(0);
        Self {
            p50: at(Quantile::P50),
            p99: at(Quantile::P99),
            max: times.max().unwrap_or(0),
        }
    }
}

fn median<'a>(times: impl Iterator<Item = &'a Micros>) -> Micros {
    let mut times: Vec<Micros> = times.copied().collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Counters stay true whoever panicked while holding them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_how_much_later_the_end_is_than_the_beginning() {
        let tally = Tally::default();
        for index in 0..1000_u64 {
            // Each is 3 us later than the one before; now and then one is very late.
            tally.released(40 + 3 * index + if index % 50 == 49 { 5_000 } else { 0 });
        }
        // The medians lie 900 releases apart.
        assert_eq!(tally.totals(Stats::default(), 0.0).drift_us, 2_700);
    }

    #[test]
    fn a_tick_tells_the_lateness_since_the_last() {
        let tally = Tally::default();
        assert_eq!(tally.take_late_p99(), 0);
        tally.released(500);
        assert_eq!(tally.take_late_p99(), 500);
        tally.released(20);
        assert_eq!(tally.take_late_p99(), 20);
        assert_eq!(tally.totals(Stats::default(), 0.0).lateness_us.max, 500);
    }
}
