//! Which of a caller's equal calls this is: n of contract's call key, counted across event loops.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use xxhash_rust::xxh3::Xxh3;

/// Counts are kept so long after the request was due, in milliseconds of intended time. Intended times themselves are the
/// clock: what is due now was sent now, so no clock of the run is needed here.
const KEPT_MS: u32 = 60_000;

/// Maps that are locked apart, so that event loops seldom meet.
const SHARDS: usize = 16;

/// Calls that a shard may hold before it looks for old ones.
const SWEEP_AT: usize = 4_096;

/// The counts of one caller's calls to one service.
#[derive(Debug)]
pub struct Calls {
    shards: [Mutex<Shard>; SHARDS],
    latest_ms: AtomicU32,
}

#[derive(Debug)]
struct Shard {
    /// By the 128-bit hash of the call's key: that two of a run's calls share one is not to be expected before 10^15 calls.
    counts: HashMap<u128, Count>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Count {
    next: u32,
    due_ms: u32,
}

/// What is equal in equal calls.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// 0: primary; else the shadow's number.
    pub side: u8,
    /// The schedule's request that it serves.
    pub ordinal: u64,
    /// When that was due.
    pub due_ms: u32,
    /// The call's method.
    pub method: &'a str,
    /// Its path without query.
    pub path: &'a str,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard {
                    counts: HashMap::new(),
                    sweep_at: SWEEP_AT,
                })
            }),
            latest_ms: AtomicU32::new(0),
        }
    }
}

impl Calls {
    /// How many equal calls came before this one.
    pub fn count(&self, call: &Call<'_>) -> u32 {
        let latest = self
            .latest_ms
            .fetch_max(call.due_ms, Ordering::Relaxed)
            .max(call.due_ms);
        let key = call.hash();
        let Some(shard) = self.shards.get(key as usize % SHARDS) else {
            return 0;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.sweep(latest);
        let count = shard.counts.entry(key).or_insert(Count {
            next: 0,
            due_ms: call.due_ms,
        });
        let n = count.next;
        count.next = n.wrapping_add(1);
        n
    }
}

impl Shard {
    fn sweep(&mut self, latest_ms: u32) {
        if self.counts.len() < self.sweep_at {
            return;
        }
        self.counts
            .retain(|_, count| count.due_ms.saturating_add(KEPT_MS) >= latest_ms);
        // Whatever is left is young: the next look pays off when as many have come again.
        self.sweep_at = SWEEP_AT.max(self.counts.len() * 2);
    }
}

impl Call<'_> {
    fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&[self.side]);
        hash.update(&self.ordinal.to_le_bytes());
        hash.update(self.method.as_bytes());
        hash.update(b" ");
        hash.update(self.path.as_bytes());
        hash.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(side: u8, ordinal: u64, due_ms: u32, path: &str) -> Call<'_> {
        Call {
            side,
            ordinal,
            due_ms,
            method: "GET",
            path,
        }
    }

    #[test]
    fn equal_calls_are_counted_apart_by_side_request_and_path() {
        let calls = Calls::default();
        for (call, n) in [
            (call(0, 7, 10, "/a"), 0),
            (call(0, 7, 10, "/a"), 1),
            (call(1, 7, 10, "/a"), 0),
            (call(0, 8, 10, "/a"), 0),
            (call(0, 7, 10, "/b"), 0),
            (call(0, 7, 10, "/a"), 2),
        ] {
            assert_eq!(calls.count(&call), n, "{call:?}");
        }
    }

    #[test]
    fn counts_are_kept_for_a_minute_of_intended_time_and_then_forgotten() {
        let calls = Calls::default();
        for ordinal in 0..200_000 {
            let due_ms = ordinal as u32;
            assert_eq!(calls.count(&call(0, ordinal, due_ms, "/")), 0);
            if let Some(earlier) = ordinal.checked_sub(59_999).filter(|at| at % 10_000 == 0) {
                assert_eq!(calls.count(&call(0, earlier, earlier as u32, "/")), 1);
            }
        }
        let held: usize = calls
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().counts.len())
            .sum();
        assert!(held < 150_000, "{held} calls are held");
    }
}
