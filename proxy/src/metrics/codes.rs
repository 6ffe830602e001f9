//! Counts by status code, of which there are few: a small table that is looked through.

use std::sync::atomic::{AtomicU64, Ordering};

/// Slots; statuses beyond that are not counted apart. A multiple of what any service answers with.
const SLOTS: usize = 32;
/// The bits of a slot that hold the count; those above hold the status.
const COUNT_BITS: u32 = 48;

/// Counts by status code, written by one thread.
#[derive(Debug, Default)]
pub struct Codes([AtomicU64; SLOTS]);

impl Codes {
    /// One more with this status.
    pub fn inc(&self, status: u16) {
        let start = usize::from(status) % SLOTS;
        let (before, from) = self.0.split_at(start);
        for slot in from.iter().chain(before) {
            let now = slot.load(Ordering::Relaxed);
            let fresh = u64::from(status) << COUNT_BITS;
            if now == 0 || now >> COUNT_BITS == u64::from(status) {
                slot.store((now | fresh) + 1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// What was counted.
    pub fn get(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().filter_map(|slot| {
            let now = slot.load(Ordering::Relaxed);
            let count = now & ((1 << COUNT_BITS) - 1);
            (now != 0).then_some(((now >> COUNT_BITS) as u16, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_status_has_its_count() {
        let codes = Codes::default();
        // 200 and 232 begin at the same slot.
        for status in [200, 503, 200, 232, 200, 232] {
            codes.inc(status);
        }
        let counts: BTreeMap<_, _> = codes.get().collect();
        assert_eq!(counts, BTreeMap::from([(200, 3), (232, 2), (503, 1)]));
    }

    #[test]
    fn a_full_table_counts_what_it_knows() {
        let codes = Codes::default();
        for status in 100..200 {
            codes.inc(status);
        }
        codes.inc(100);
        assert_eq!(codes.get().count(), SLOTS);
        assert!(codes.get().any(|count| count == (100, 2)));
    }
}
