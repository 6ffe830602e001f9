//! A table that the endpoints fill in turn, each by a permutation of its own, until it is full (Maglev). The request's
//! hash is an index. The table is Envoy's, bit by bit: a key has the same endpoint here as there.

use super::{Ask, Balancer, Candidate, hash_key};

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long the table is: a prime.
    pub size: u64,
}

impl Settings {
    /// The longest table there may be.
    pub const MOST: u64 = 5_000_011;
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 65_537 }
    }
}

/// The table.
#[derive(Debug, Clone)]
pub struct Maglev {
    table: Vec<u32>,
}

/// An endpoint while the table is filled.
struct Filling {
    index: u32,
    offset: u64,
    skip: u64,
    next: u64,
    share: f64,
    target: f64,
}

impl Maglev {
    /// A table over these.
    pub fn new(settings: &Settings, candidates: &[Candidate<'_>]) -> Self {
        const FREE: u32 = u32::MAX;
        let size = settings.size;
        let most = candidates
            .iter()
            .map(|candidate| candidate.share)
            .fold(0.0, f64::max);
        if most <= 0.0 || size < 3 {
            return Self { table: Vec::new() };
        }
        // Order counts: a table must not depend on that of the file.
        let mut sorted: Vec<_> = candidates.iter().enumerate().collect();
        sorted.sort_by_key(|(_, candidate)| candidate.key);
        let mut filling: Vec<_> = sorted
            .into_iter()
            .map(|(index, candidate)| Filling {
                index: index as u32,
                offset: hash_key::xx(candidate.key.as_bytes(), 0) % size,
                skip: hash_key::xx(candidate.key.as_bytes(), 1) % (size - 1) + 1,
                next: 0,
                share: candidate.share,
                target: 0.0,
            })
            .collect();
        let mut table = vec![FREE; size as usize];
        let mut filled = 0;
        let mut round = 1.0;
        while filled < size {
            for one in &mut filling {
                if filled == size {
                    break;
                }
                // One of a third of the largest share has a turn in every third round.
                if round * one.share < one.target {
                    continue;
                }
                one.target += most;
                loop {
                    let place = (one.offset + one.skip * one.next) % size;
                    one.next += 1;
                    if let Some(place) = table.get_mut(place as usize)
                        && *place == FREE
                    {
                        *place = one.index;
                        break;
                    }
                }
                filled += 1;
            }
            round += 1.0;
        }
        Self { table }
    }
}

impl Balancer for Maglev {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        let mut key = ask.key.unwrap_or_else(&mut *ask.random);
        if ask.attempt > 0 {
            // As Envoy: another attempt flips most bits.
            key ^= u64::MAX - u64::from(ask.attempt) + 1;
        }
        let at = key.checked_rem(self.table.len() as u64)?;
        self.table.get(at as usize).map(|index| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::candidates, *};

    fn counts(maglev: &Maglev, of: usize) -> Vec<usize> {
        let mut counts = vec![0; of];
        for index in &maglev.table {
            counts[*index as usize] += 1;
        }
        counts
    }

    #[test]
    fn the_table_is_full_and_shares_are_exact() {
        let even = Maglev::new(&Settings::default(), &candidates(&[1; 5]));
        let counts_even = counts(&even, 5);
        assert!(
            counts_even
                .iter()
                .all(|count| (13_107..=13_108).contains(count)),
            "{counts_even:?}"
        );
        let weighted = Maglev::new(&Settings::default(), &candidates(&[1, 3]));
        let counts = counts(&weighted, 2);
        assert!((16_380..16_390).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_removed_endpoint_moves_little_more_than_its_own_share() {
        let five = candidates(&[1; 5]);
        let four: Vec<_> = five[..4]
            .iter()
            .map(|it| Candidate { share: 0.25, ..*it })
            .collect();
        let before = Maglev::new(&Settings::default(), &five);
        let after = Maglev::new(&Settings::default(), &four);
        let moved = before
            .table
            .iter()
            .zip(&after.table)
            .filter(|(old, new)| old != new)
            .count();
        let share = moved as f64 / before.table.len() as f64;
        assert!((0.2..0.26).contains(&share), "{share}");
    }

    #[test]
    fn the_order_of_the_file_does_not_count() {
        let mut candidates = candidates(&[1, 2, 3]);
        let one = Maglev::new(&Settings::default(), &candidates);
        candidates.reverse();
        let other = Maglev::new(&Settings::default(), &candidates);
        assert!(one.table.iter().zip(&other.table).all(|(a, b)| a + b == 2));
    }
}
