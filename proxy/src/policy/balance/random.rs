//! By a draw. As in Envoy, weights don't count.

use super::{Ask, Balancer, Candidate};

/// Draws over a set of endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    count: u64,
}

impl Random {
    /// Draws over these.
    pub fn new(candidates: &[Candidate<'_>]) -> Self {
        Self {
            count: candidates.len() as u64,
        }
    }
}

impl Balancer for Random {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        Some((ask.random)().checked_rem(self.count)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Fixed, candidates, shares},
        *,
    };

    #[test]
    fn weights_do_not_count() {
        let mut random = Random::new(&candidates(&[1, 9]));
        let shares = shares(&mut random, &Fixed::default(), 2, 10_000);
        // Three deviations of a binomial with p = 0.5 are 150.
        assert!((4_850..5_150).contains(&shares[0]), "{shares:?}");
    }
}
