//! In turn, by weight, as Envoy: equal weights go round in order; else the endpoint with the earliest deadline is next, and
//! its new deadline lies `1 / weight` later (earliest deadline first), so a heavy endpoint's turns are spread, not bunched.
//! Deadlines are fractions, compared exactly: sums of `1 / 3` drift, and turns would with them. Envoy begins at a random
//! turn; we begin at the first.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Balancer;

/// The turns of a set of endpoints.
#[derive(Debug, Clone)]
pub struct RoundRobin(Turns);

#[derive(Debug, Clone)]
enum Turns {
    Equal { count: usize, next: usize },
    Weighted(Schedule),
}

#[derive(Debug, Clone)]
struct Schedule {
    heap: BinaryHeap<Reverse<Entry>>,
    /// Counts insertions: of equal deadlines the older entry is first.
    inserted: u64,
    /// The deadline that was met last.
    now: Deadline,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: Deadline,
    order: u64,
    index: usize,
}

/// `turns / weight`, for an endpoint of this weight.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    turns: u64,
    weight: u32,
}

impl RoundRobin {
    /// Turns over endpoints with these weights; one of weight 0 counts as 1.
    pub fn new(weights: &[u32]) -> Self {
        let equal = weights
            .iter()
            .zip(weights.iter().skip(1))
            .all(|(a, b)| a == b);
        Self(if equal {
            Turns::Equal {
                count: weights.len(),
                next: 0,
            }
        } else {
            let mut schedule = Schedule {
                heap: BinaryHeap::with_capacity(weights.len()),
                inserted: 0,
                now: Deadline {
                    turns: 0,
                    weight: 1,
                },
            };
            for (index, weight) in weights.iter().enumerate() {
                schedule.insert(index, (*weight).max(1));
            }
            Turns::Weighted(schedule)
        })
    }
}

impl Balancer for RoundRobin {
    fn pick(&mut self, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        match &mut self.0 {
            Turns::Equal { count, next } => {
                let found = (0..*count)
                    .map(|step| (*next + step) % *count)
                    .find(|index| usable(*index))?;
                *next = (found + 1) % *count;
                Some(found)
            }
            Turns::Weighted(schedule) => schedule.pick(usable),
        }
    }
}

impl Schedule {
    /// The endpoint's next deadline is its first that lies after now.
    fn insert(&mut self, index: usize, weight: u32) {
        let done = u128::from(self.now.turns) * u128::from(weight) / u128::from(self.now.weight);
        self.heap.push(Reverse(Entry {
            deadline: Deadline {
                turns: done as u64 + 1,
                weight,
            },
            order: self.inserted,
            index,
        }));
        self.inserted += 1;
    }

    /// Endpoints that cannot be used lose their turn: when they can again, they do not catch up.
    fn pick(&mut self, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        let mut skipped = Vec::new();
        let mut found = None;
        while let Some(Reverse(entry)) = self.heap.pop() {
            if usable(entry.index) {
                found = Some(entry);
                break;
            }
            skipped.push(entry);
        }
        if let Some(entry) = found {
            self.now = entry.deadline;
            self.insert(entry.index, entry.deadline.weight);
        }
        for entry in skipped {
            self.insert(entry.index, entry.deadline.weight);
        }
        found.map(|entry| entry.index)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a, b) = (self.deadline, other.deadline);
        (u128::from(a.turns) * u128::from(b.weight))
            .cmp(&(u128::from(b.turns) * u128::from(a.weight)))
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
    use proptest::prelude::*;

    use super::*;

    fn turns(weights: &[u32], count: usize) -> Vec<usize> {
        let mut balancer = RoundRobin::new(weights);
        (0..count)
            .map(|_| balancer.pick(&|_| true).unwrap())
            .collect()
    }

    #[test]
    fn equal_weights_go_round_in_order() {
        assert_eq!(turns(&[1, 1, 1], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(&[5, 5], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn a_heavier_endpoint_is_spread_over_the_round() {
        // Deadlines by hand: b at 1/3, 2/3, 1, …; a at 1, which ties with b's third and was inserted earlier. Envoy 1.40 takes
        // these turns, from another beginning.
        for (weights, round) in [
            (&[1, 3][..], &[1, 1, 0, 1][..]),
            (&[1, 4], &[1, 1, 1, 0, 1]),
            (&[1, 2, 5], &[2, 2, 1, 2, 2, 0, 1, 2]),
        ] {
            let taken = turns(weights, 3 * round.len());
            assert_eq!(taken, round.repeat(3), "{weights:?}");
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_is_passed_over_and_does_not_catch_up() {
        for weights in [[1, 1, 1], [1, 2, 1]] {
            let mut balancer = RoundRobin::new(&weights);
            for _ in 0..100 {
                assert_ne!(balancer.pick(&|index| index != 1), Some(1));
            }
            let after: Vec<_> = (0..8).map(|_| balancer.pick(&|_| true).unwrap()).collect();
            let back = after.iter().filter(|index| **index == 1).count();
            assert!((2..=5).contains(&back), "{weights:?}: {after:?}");
        }
    }

    #[test]
    fn nothing_is_picked_where_nothing_can_be() {
        for weights in [&[][..], &[1, 1], &[1, 2]] {
            assert_eq!(
                RoundRobin::new(weights).pick(&|_| false),
                None,
                "{weights:?}"
            );
        }
    }

    proptest! {
        /// As many turns as the weights add up to: each endpoint has as many as its weight.
        #[test]
        fn shares_are_exact_over_whole_rounds(weights in prop::collection::vec(1_u32..20, 1..8)) {
            let round = weights.iter().sum::<u32>() as usize;
            let taken = turns(&weights, 3 * round);
            for (index, weight) in weights.iter().enumerate() {
                let count = taken.iter().filter(|taken| **taken == index).count();
                prop_assert_eq!(count, 3 * *weight as usize);
            }
        }
    }
}
