//! In turn, by weight, as Envoy: equal weights go round in order; else the endpoint with the earliest deadline is next, and
//! its new deadline lies `1 / weight` later (earliest deadline first), so a heavy endpoint's turns are spread, not bunched.
//! Deadlines are fractions, compared exactly: sums of `1 / 3` drift, and turns would with them. Envoy begins at a random
//! turn; we begin at the first.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Ask, Balancer, Candidate, SlowStart, schedule};

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Settings {
    /// New endpoints begin slowly.
    pub slow_start: Option<SlowStart>,
}

/// The turns of a set of endpoints.
#[derive(Debug, Clone)]
pub struct RoundRobin(Turns);

#[derive(Debug, Clone)]
enum Turns {
    Equal {
        count: u64,
        taken: u64,
    },
    Weighted(Schedule),
    Growing {
        start: SlowStart,
        weights: Vec<f64>,
        schedule: schedule::Schedule,
    },
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
    /// Turns over these; where all weigh the same, after so many turns over others.
    pub fn new(settings: &Settings, candidates: &[Candidate<'_>], turns: u64) -> Self {
        let weights = candidates.iter().map(|it| it.weight.max(1));
        if let Some(start) = settings.slow_start {
            let weights: Vec<_> = weights.map(f64::from).collect();
            return Self(Turns::Growing {
                schedule: schedule::Schedule::new(weights.iter().copied()),
                start,
                weights,
            });
        }
        let equal = weights
            .clone()
            .zip(weights.clone().skip(1))
            .all(|(a, b)| a == b);
        Self(if equal {
            Turns::Equal {
                count: candidates.len() as u64,
                taken: turns,
            }
        } else {
            let mut schedule = Schedule {
                heap: BinaryHeap::with_capacity(candidates.len()),
                inserted: 0,
                now: Deadline {
                    turns: 0,
                    weight: 1,
                },
            };
            for (index, weight) in weights.enumerate() {
                schedule.insert(index, weight);
            }
            Turns::Weighted(schedule)
        })
    }
}

impl Balancer for RoundRobin {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        match &mut self.0 {
            Turns::Equal { count, taken } => {
                let index = taken.checked_rem(*count)?;
                *taken = taken.wrapping_add(1);
                Some(index as usize)
            }
            Turns::Weighted(schedule) => schedule.pick(),
            Turns::Growing {
                start,
                weights,
                schedule,
            } => schedule.next(|index| {
                let weight = weights.get(index).copied().unwrap_or(1.0);
                weight * start.factor(ask.loads.healthy_for(index))
            }),
        }
    }

    fn turns(&self) -> u64 {
        match &self.0 {
            Turns::Equal { taken, .. } => *taken,
            Turns::Weighted(_) | Turns::Growing { .. } => 0,
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

    fn pick(&mut self) -> Option<usize> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.deadline;
        self.insert(entry.index, entry.deadline.weight);
        Some(entry.index)
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

    use std::time::Duration;

    use super::{
        super::tests::{Fixed, candidates, random, shares},
        *,
    };

    fn turns_after(weights: &[u32], count: usize, before: u64) -> Vec<usize> {
        let mut balancer = RoundRobin::new(&Settings::default(), &candidates(weights), before);
        let mut random = random(1);
        let mut pick = || {
            balancer.pick(&mut Ask {
                key: None,
                attempt: 0,
                loads: &Fixed::default(),
                random: &mut random,
            })
        };
        (0..count).map(|_| pick().unwrap()).collect()
    }

    fn turns(weights: &[u32], count: usize) -> Vec<usize> {
        turns_after(weights, count, 0)
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
    fn turns_go_on_where_the_endpoints_change() {
        assert_eq!(turns_after(&[1, 1], 3, 7), [1, 0, 1]);
    }

    #[test]
    fn an_endpoint_in_slow_start_gets_a_part_of_its_share() {
        let settings = Settings {
            slow_start: Some(SlowStart {
                window: Duration::from_secs(100),
                ..SlowStart::default()
            }),
        };
        let loads = Fixed {
            healthy_for: vec![Duration::from_hours(1), Duration::from_secs(25)],
            ..Fixed::default()
        };
        let mut balancer = RoundRobin::new(&settings, &candidates(&[1, 1]), 0);
        // A weight of 0.25 beside one of 1: a fifth.
        let shares = shares(&mut balancer, &loads, 2, 1_000);
        assert!((195..=205).contains(&shares[1]), "{shares:?}");
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
