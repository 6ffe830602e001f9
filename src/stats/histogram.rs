//! `HdrHistogram`'s buckets at three significant digits, kept sparsely: a second of traffic costs a few hundred bytes, and
//! merging any seconds is exact. Values are microseconds.

use super::quantile::Quantile;

/// Values above this are clipped to it and counted: an hour.
pub const MAX_VALUE: u64 = 3_600_000_000;

/// Buckets of one power of two: 2048 keeps three significant digits.
const SUB_BUCKETS: u64 = 2048;
const HALF: u64 = SUB_BUCKETS / 2;
const HALF_BITS: u32 = 10;

/// Counts by bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Bucket and its count, ascending by bucket, no count 0.
    buckets: Vec<(u16, u32)>,
    total: u64,
    clipped: u64,
}

/// The bucket that a value falls into.
pub fn bucket_of(value: u64) -> u16 {
    let value = value.min(MAX_VALUE);
    let scale = (u64::BITS - (value | (SUB_BUCKETS - 1)).leading_zeros()) - (HALF_BITS + 1);
    let sub = value >> scale;
    // At scale 0 the first half is in use too: sub - HALF may be negative, the sum is not.
    (((u64::from(scale) + 1) << HALF_BITS) + sub - HALF) as u16
}

/// The least and the greatest value that fall into a bucket.
pub fn bounds_of(bucket: u16) -> (u64, u64) {
    let bucket = u64::from(bucket);
    let (scale, sub) = if bucket < SUB_BUCKETS {
        (0, bucket)
    } else {
        ((bucket >> HALF_BITS) - 1, (bucket & (HALF - 1)) + HALF)
    };
    let lowest = sub << scale;
    (lowest, lowest + (1 << scale) - 1)
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.clipped += u64::from(value > MAX_VALUE);
        self.add(bucket_of(value), 1);
    }

    /// Counts a bucket so many times, as when reading a log.
    pub fn add(&mut self, bucket: u16, count: u32) {
        if count == 0 {
            return;
        }
        self.total += u64::from(count);
        match self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(at) => {
                if let Some((_, had)) = self.buckets.get_mut(at) {
                    *had = had.saturating_add(count);
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let mut left = self.buckets.iter().copied().peekable();
        let mut right = other.buckets.iter().copied().peekable();
        loop {
            match (left.peek().copied(), right.peek().copied()) {
                (Some((a, count)), Some((b, more))) if a == b => {
                    merged.push((a, count.saturating_add(more)));
                    left.next();
                    right.next();
                }
                (Some((a, count)), Some((b, _))) if a < b => {
                    merged.push((a, count));
                    left.next();
                }
                (_, Some(entry)) => {
                    merged.push(entry);
                    right.next();
                }
                (Some(entry), None) => {
                    merged.push(entry);
                    left.next();
                }
                (None, None) => break,
            }
        }
        self.buckets = merged;
        self.total += other.total;
        self.clipped += other.clipped;
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// How many values were above [`MAX_VALUE`].
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The buckets in use with their counts, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.buckets.iter().copied()
    }

    /// The bucket of the value at this rank, from 1.
    pub fn bucket_at(&self, rank: u64) -> Option<u16> {
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|(_, count)| {
                seen += u64::from(*count);
                seen >= rank
            })
            .map(|(bucket, _)| *bucket)
    }

    /// The value at this rank, from 1: the greatest that falls into the same bucket.
    pub fn value_at(&self, rank: u64) -> Option<u64> {
        self.bucket_at(rank).map(|bucket| bounds_of(bucket).1)
    }

    /// A quantile by nearest rank, as the greatest value of its bucket; `None`: nothing was counted.
    pub fn quantile(&self, quantile: Quantile) -> Option<u64> {
        self.value_at(quantile.rank(self.total))
    }

    /// The least value: the least of its bucket.
    pub fn min(&self) -> Option<u64> {
        self.buckets.first().map(|(bucket, _)| bounds_of(*bucket).0)
    }

    /// The greatest value: the greatest of its bucket.
    pub fn max(&self) -> Option<u64> {
        self.buckets.last().map(|(bucket, _)| bounds_of(*bucket).1)
    }

    /// Sum of the values, each taken as the middle of its bucket.
    pub fn sum(&self) -> f64 {
        self.buckets
            .iter()
            .map(|(bucket, count)| middle(*bucket) * f64::from(*count))
            .sum()
    }

    /// Mean of the values, each taken as the middle of its bucket, as other readers of `HdrHistogram` do.
    pub fn mean(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum() / self.total as f64)
    }
}

/// `HdrHistogram`'s median equivalent value.
fn middle(bucket: u16) -> f64 {
    let (lowest, highest) = bounds_of(bucket);
    (lowest + (highest - lowest).div_ceil(2)) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_those_of_hdrhistogram() {
        // Highest equivalent values for 1..3.6e9 at three digits, from the Java implementation's definition.
        let rows = [
            (0, 0, 0),
            (1, 1, 1),
            (2047, 2047, 2047),
            (2048, 2048, 2049),
            (2049, 2048, 2049),
            (4095, 4094, 4095),
            (4096, 4096, 4099),
            (10_000, 10_000, 10_007),
            (65_537, 65_536, 65_599),
            (1_000_000, 999_936, 1_000_447),
            (3_599_999_999, 3_598_712_832, 3_600_809_983),
        ];
        for (value, lowest, highest) in rows {
            assert_eq!(bounds_of(bucket_of(value)), (lowest, highest), "{value}");
        }
    }

    #[test]
    fn what_is_too_long_is_clipped_and_counted() {
        let mut histogram = Histogram::default();
        histogram.record(MAX_VALUE + 1);
        histogram.record(5);
        assert_eq!((histogram.count(), histogram.clipped()), (2, 1));
        assert_eq!(histogram.max(), Some(3_600_809_983));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value(value in 0_u64..=MAX_VALUE) {
            let (lowest, highest) = bounds_of(bucket_of(value));
            prop_assert!(lowest <= value && value <= highest);
            prop_assert!(highest - lowest <= value / 1024);
            prop_assert_eq!(bucket_of(lowest), bucket_of(highest));
        }

        #[test]
        fn it_agrees_with_the_crate(values in prop::collection::vec(0_u64..=MAX_VALUE, 1..200)) {
            let mut ours = Histogram::default();
            let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, MAX_VALUE, 3).unwrap();
            for value in &values {
                ours.record(*value);
                theirs.record(*value).unwrap();
            }
            for (text, q) in [("50", 0.5), ("90", 0.9), ("99", 0.99), ("99.9", 0.999)] {
                let quantile = Quantile::parse(text).unwrap();
                prop_assert_eq!(ours.quantile(quantile), Some(theirs.value_at_quantile(q)));
            }
            prop_assert_eq!(ours.min(), Some(theirs.min()));
            prop_assert_eq!(ours.max(), Some(theirs.max()));
            prop_assert!((ours.mean().unwrap() - theirs.mean()).abs() <= 1e-9 * theirs.mean().max(1.0));
        }

        #[test]
        fn merged_is_concatenated(a in prop::collection::vec(0_u64..1 << 33, 0..100), b in prop::collection::vec(0_u64..1 << 33, 0..100)) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                for value in values {
                    histogram.record(*value);
                }
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }
}
