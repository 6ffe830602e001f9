//! Earliest deadline first, for weights that change: an endpoint's next deadline lies `1 / weight` after its last, by the
//! weight that it has at that moment.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Turns by weight.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<Entry>>,
    now: f64,
    inserted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: f64,
    /// Of equal deadlines the older entry is first.
    order: u64,
    index: usize,
}

impl Schedule {
    /// Turns over things with these weights; those that are not above 0 have none.
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut schedule = Self::default();
        for (index, weight) in weights.into_iter().enumerate() {
            schedule.insert(index, weight);
        }
        schedule
    }

    /// Whose turn it is; from now on it has this weight.
    pub fn next(&mut self, weight: impl FnOnce(usize) -> f64) -> Option<usize> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.deadline;
        self.insert(entry.index, weight(entry.index));
        Some(entry.index)
    }

    /// Nothing has a turn.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn insert(&mut self, index: usize, weight: f64) {
        if weight > 0.0 {
            self.heap.push(Reverse(Entry {
                deadline: self.now + 1.0 / weight,
                order: self.inserted,
                index,
            }));
            self.inserted += 1;
        }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.deadline
            .total_cmp(&other.deadline)
            .then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_changes_counts_from_the_next_turn_on() {
        let mut schedule = Schedule::new([1.0, 3.0]);
        let mut taken = [0; 2];
        for _ in 0..400 {
            taken[schedule.next(|index| [1.0, 3.0][index]).unwrap()] += 1;
        }
        assert!((98..=102).contains(&taken[0]), "{taken:?}");
        let mut taken = [0; 2];
        for _ in 0..400 {
            taken[schedule.next(|_| 1.0).unwrap()] += 1;
        }
        assert!((197..=203).contains(&taken[0]), "{taken:?}");
    }

    #[test]
    fn what_has_no_weight_has_no_turn() {
        let mut schedule = Schedule::new([0.0, 0.5, f64::NAN]);
        assert_eq!(schedule.next(|_| 0.5), Some(1));
        assert!(Schedule::new([0.0]).is_empty());
    }
}
