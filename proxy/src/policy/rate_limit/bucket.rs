//! A bucket of tokens, shared by all event loops: one number, the moment at which it would have been empty.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Left;

/// Times are rounded by less than this, so that a token that is due to the nanosecond is there.
const ROUNDING_S: f64 = 1e-9;

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fill {
    /// Tokens that fit.
    pub most: u64,
    /// Tokens that come in an interval; above 0. They come one by one, as in Envoy.
    pub tokens: u64,
    /// The interval, in seconds; above 0.
    pub interval_s: f64,
}

impl Fill {
    /// Tokens a second.
    pub(super) fn per_second(self) -> f64 {
        self.tokens as f64 / self.interval_s
    }
}

/// A bucket.
#[derive(Debug)]
pub struct Bucket {
    most: u64,
    per_second: f64,
    /// An `f64`, in seconds.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub fn new(fill: Fill) -> Self {
        Self {
            most: fill.most,
            per_second: fill.per_second(),
            empty_at: AtomicU64::new(f64::MIN.to_bits()),
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now_s: f64) -> bool {
        self.empty_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
                let since = f64::from_bits(bits).max(now_s - self.most as f64 / self.per_second);
                let after = since + 1.0 / self.per_second;
                (after <= now_s + ROUNDING_S).then(|| after.to_bits())
            })
            .is_ok()
    }

    /// What is left.
    pub(super) fn left(&self, now_s: f64) -> Left {
        let empty_at = f64::from_bits(self.empty_at.load(Ordering::Acquire));
        let most = self.most as f64;
        let tokens = ((now_s - empty_at) * self.per_second).clamp(0.0, most);
        Left {
            most: self.most,
            // Rounding must not hide a token that is there.
            tokens: (tokens + 1e-9) as u64,
            full_in_s: ((most - tokens) / self.per_second).ceil() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn bucket(most: u64, tokens: u64, interval_s: f64) -> Bucket {
        Bucket::new(Fill {
            most,
            tokens,
            interval_s,
        })
    }

    #[test]
    fn it_begins_full_and_fills_no_further() {
        let bucket = bucket(3, 1, 1.0);
        let taken = |now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(0.0), 3);
        assert_eq!(taken(0.9), 0);
        assert_eq!(taken(1.0), 1);
        assert_eq!(taken(2.5), 1);
        assert_eq!(taken(3.0), 1);
        assert_eq!(taken(1_000.0), 3);
    }

    #[test]
    fn a_full_bucket_has_all_its_tokens_at_any_moment() {
        for step in 1..1_000_u32 {
            let now = f64::from(step) * 0.001_234_567;
            let bucket = bucket(1, 1, 60.0);
            assert!(bucket.take(now) && !bucket.take(now), "{now}");
        }
    }

    #[test]
    fn what_passes_is_the_rate_whatever_the_pace() {
        // 100 a second and 20 at once, asked 1,000 times a second for ten seconds.
        let bucket = bucket(20, 10, 0.1);
        let passed = (0..10_000)
            .filter(|step| bucket.take(f64::from(*step) / 1_000.0))
            .count();
        assert!((1_015..=1_021).contains(&passed), "{passed}");
    }

    #[test]
    fn threads_take_no_token_twice() {
        let bucket = Arc::new(bucket(1_000, 1, 1_000.0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || (0..1_000).filter(|_| bucket.take(5.0)).count())
            })
            .collect();
        let taken: usize = threads.into_iter().map(|it| it.join().unwrap()).sum();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn what_is_left_is_told() {
        let bucket = bucket(4, 4, 60.0);
        assert!(bucket.take(0.0));
        let left = bucket.left(0.0);
        assert_eq!((left.most, left.tokens, left.full_in_s), (4, 3, 15));
        let left = bucket.left(15.0);
        assert_eq!((left.tokens, left.full_in_s), (4, 0));
    }
}
