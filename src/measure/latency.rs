//! Kinds of latency, and latencies that have a sign.

use crate::stats::{
    histogram::{Histogram, bounds_of},
    quantile::Quantile,
};

/// What a latency is the time of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// From when it was due to the last byte: what a user waits.
    Response,
    /// From the sending to the last byte.
    Service,
    /// At the callee's own sidecar.
    Inbound,
    /// The generator's own delay.
    Lateness,
    /// Waiting for a connection or a place.
    Blocked,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Response,
        Self::Service,
        Self::Inbound,
        Self::Lateness,
        Self::Blocked,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::Inbound => "inbound",
            Self::Lateness => "lateness",
            Self::Blocked => "blocked",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A histogram of differences of times, to three significant digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    below: Histogram,
    above: Histogram,
}

impl Signed {
    /// Counts a difference.
    pub fn record(&mut self, value: i64) {
        if value < 0 {
            self.below.record(value.unsigned_abs());
        } else {
            self.above.record(value.unsigned_abs());
        }
    }

    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        self.below.merge(&other.below);
        self.above.merge(&other.above);
    }

    /// How many differences.
    pub fn count(&self) -> u64 {
        self.below.count() + self.above.count()
    }

    /// The value at this rank, from 1: the greatest that falls into the same bucket.
    pub fn value_at(&self, rank: u64) -> Option<i64> {
        let below = self.below.count();
        if rank > below {
            return self.above.value_at(rank - below).map(u64::cast_signed);
        }
        // Among the negative ones the order is that of the magnitudes, reversed.
        let bucket = self.below.bucket_at(below + 1 - rank)?;
        Some(-bounds_of(bucket).0.cast_signed())
    }

    /// A quantile by nearest rank.
    pub fn quantile(&self, quantile: Quantile) -> Option<i64> {
        self.value_at(quantile.rank(self.count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_run_from_the_most_negative_up() {
        let mut signed = Signed::default();
        for value in [30, -20, 0, -500, 7] {
            signed.record(value);
        }
        let ranked: Vec<_> = (1..=5).map(|rank| signed.value_at(rank).unwrap()).collect();
        assert_eq!(ranked, [-500, -20, 0, 7, 30]);
        assert_eq!(signed.quantile(Quantile::P50), Some(0));
    }
}
