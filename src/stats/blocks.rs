//! The moving-block bootstrap: how much a quantile moves when the seconds of a run are drawn again, in blocks, since the
//! requests of a second share its weather.

use super::{
    histogram::{Histogram, bounds_of},
    quantile::Quantile,
};

/// Longest block, in seconds.
const LONGEST: usize = 6;
/// Blocks that a stretch is cut into at least; a short stretch has shorter blocks.
const LEAST_BLOCKS: usize = 8;

/// Stretches of a run, ready to be drawn again.
#[derive(Debug, Clone)]
pub struct Blocks {
    /// Buckets in use, ascending.
    buckets: Vec<u16>,
    stretches: Vec<Stretch>,
}

#[derive(Debug, Clone)]
struct Stretch {
    /// Counts up to each bucket, by the second that the block begins with; blocks wrap around the end.
    cumulative: Vec<Vec<u64>>,
    /// Blocks that make up its length.
    take: usize,
}

/// A run as it might have been.
#[derive(Debug, Clone)]
pub struct Drawn<'a> {
    buckets: &'a [u16],
    blocks: Vec<&'a [u64]>,
}

/// Seconds in a block, for a stretch of so many: an eighth of it, at most six.
pub fn block_length(seconds: usize) -> usize {
    (seconds / LEAST_BLOCKS).clamp(1, LONGEST)
}

impl Blocks {
    /// Stretches of seconds, such as phases; each is drawn on its own, so that what differs between them stays.
    pub fn new(stretches: &[Vec<Histogram>]) -> Self {
        let mut buckets: Vec<u16> = stretches
            .iter()
            .flatten()
            .flat_map(|second| second.buckets().map(|(bucket, _)| bucket))
            .collect();
        buckets.sort_unstable();
        buckets.dedup();
        let stretches = stretches
            .iter()
            .filter(|seconds| !seconds.is_empty())
            .map(|seconds| Stretch::new(seconds, &buckets))
            .collect();
        Self { buckets, stretches }
    }

    /// Blocks in the whole: what the spread of the drawn runs rests on.
    pub fn count(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.take).sum()
    }

    /// Draws a run; `chance` gives numbers in [0, 1).
    pub fn draw(&self, chance: &mut impl FnMut() -> f64) -> Drawn<'_> {
        let mut blocks = Vec::with_capacity(self.count());
        for stretch in &self.stretches {
            for _ in 0..stretch.take {
                let at = (chance() * stretch.cumulative.len() as f64) as usize;
                if let Some(block) = stretch.cumulative.get(at) {
                    blocks.push(block.as_slice());
                }
            }
        }
        Drawn {
            buckets: &self.buckets,
            blocks,
        }
    }
}

impl Stretch {
    fn new(seconds: &[Histogram], buckets: &[u16]) -> Self {
        let length = block_length(seconds.len());
        let cumulative = (0..seconds.len())
            .map(|begin| {
                let mut block = Histogram::default();
                for second in seconds.iter().cycle().skip(begin).take(length) {
                    block.merge(second);
                }
                cumulated(&block, buckets)
            })
            .collect();
        Self {
            cumulative,
            take: seconds.len().div_ceil(length),
        }
    }
}

/// A histogram's counts up to each of these buckets, which are all that it has and ascend.
pub(super) fn cumulated(histogram: &Histogram, buckets: &[u16]) -> Vec<u64> {
    let mut counts = histogram.buckets().peekable();
    let mut sum = 0;
    buckets
        .iter()
        .map(|bucket| {
            if let Some((_, count)) = counts.next_if(|(at, _)| at == bucket) {
                sum += u64::from(count);
            }
            sum
        })
        .collect()
}

impl<'a> Drawn<'a> {
    /// Of blocks' counts up to each of these buckets.
    pub(super) fn new(buckets: &'a [u16], blocks: Vec<&'a [u64]>) -> Self {
        Self { buckets, blocks }
    }

    /// A quantile by nearest rank, as the greatest value of its bucket; `None`: nothing was drawn.
    pub fn quantile(&self, quantile: Quantile) -> Option<u64> {
        let up_to =
            |at: usize| -> u64 { self.blocks.iter().filter_map(|block| block.get(at)).sum() };
        let total = up_to(self.buckets.len().checked_sub(1)?);
        if total == 0 {
            return None;
        }
        let rank = quantile.rank(total);
        let (mut low, mut high) = (0, self.buckets.len() - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if up_to(middle) >= rank {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.buckets.get(low).map(|bucket| bounds_of(*bucket).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    #[test]
    fn blocks_are_an_eighth_and_at_most_six_seconds() {
        for (seconds, length) in [(1, 1), (15, 1), (16, 2), (30, 3), (48, 6), (600, 6)] {
            assert_eq!(block_length(seconds), length, "{seconds}");
        }
    }

    #[test]
    fn a_drawn_run_is_made_of_whole_blocks() {
        // Sixteen seconds in blocks of two: drawing the first block always gives seconds 0 and 1, eight times.
        let seconds: Vec<Histogram> = (0..16).map(|n| second(&[10 + n, 10 + n])).collect();
        let blocks = Blocks::new(&[seconds]);
        assert_eq!(blocks.count(), 8);
        let first = blocks.draw(&mut || 0.0);
        assert_eq!(first.quantile(Quantile::P50), Some(10));
        assert_eq!(first.quantile(Quantile::P99), Some(11));
        // The last block wraps around.
        let last = blocks.draw(&mut || 0.999);
        assert_eq!(
            (last.quantile(Quantile::P50), last.quantile(Quantile::P99)),
            (Some(10), Some(25))
        );
    }

    #[test]
    fn stretches_keep_their_share() {
        let fast = vec![second(&[10; 3]); 8];
        let slow = vec![second(&[1000]); 8];
        let blocks = Blocks::new(&[fast, slow]);
        let drawn = blocks.draw(&mut || 0.5);
        assert_eq!(
            (drawn.quantile(Quantile::P50), drawn.quantile(Quantile::P90)),
            (Some(10), Some(1000))
        );
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(
            Blocks::new(&[]).draw(&mut || 0.0).quantile(Quantile::P50),
            None
        );
        let empty = Blocks::new(&[vec![Histogram::default(); 8]]);
        assert_eq!(empty.draw(&mut || 0.0).quantile(Quantile::P50), None);
    }
}
