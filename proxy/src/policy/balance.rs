//! Which endpoint the next request goes to.

use std::time::Duration;

mod bounded;
pub mod hash_key;
pub mod least_request;
pub mod levels;
pub mod maglev;
pub mod peak_ewma;
pub mod random;
pub mod ring_hash;
pub mod round_robin;
pub mod schedule;
pub mod slow_start;
pub mod subset;

pub use bounded::Bounded;
pub use least_request::LeastRequest;
pub use maglev::Maglev;
pub use peak_ewma::PeakEwma;
pub use random::Random;
pub use ring_hash::RingHash;
pub use round_robin::RoundRobin;
pub use slow_start::SlowStart;

/// How a cluster spreads its requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin(round_robin::Settings),
    /// To the one with the fewest requests under way, of a few that are drawn.
    LeastRequest(least_request::Settings),
    /// By a draw; weights don't count.
    Random,
    /// By a key of the request, on a ring of hashes.
    RingHash(ring_hash::Settings),
    /// By a key of the request, through a table.
    Maglev(maglev::Settings),
    /// To the one that answers soonest, of two that are drawn.
    PeakEwma(peak_ewma::Settings),
}

impl Default for Balance {
    fn default() -> Self {
        Self::RoundRobin(round_robin::Settings::default())
    }
}

/// An endpoint, as a policy sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'a> {
    /// Its weight, above 0.
    pub weight: u32,
    /// Its part of all load, where localities have weights; all parts add up to 1.
    pub share: f64,
    /// What it is hashed by.
    pub key: &'a str,
}

/// One request's question.
pub struct Ask<'a> {
    /// What binds the request to an endpoint; `None`: nothing, a draw takes its place.
    pub key: Option<u64>,
    /// How often this request asked before and did not like the answer.
    pub attempt: u32,
    /// What is going on at the endpoints.
    pub loads: &'a dyn Loads,
    /// 64 random bits.
    pub random: &'a mut dyn FnMut() -> u64,
}

/// What is going on at the endpoints, by index.
pub trait Loads {
    /// Requests under way.
    fn active(&self, index: usize) -> u32;
    /// Requests under way in the whole cluster.
    fn active_in_all(&self) -> u32;
    /// What another request would cost there, in seconds: see [`peak_ewma`].
    fn cost(&self, index: usize, settings: &peak_ewma::Settings) -> f64;
    /// How long it has been healthy.
    fn healthy_for(&self, index: usize) -> Duration;
}

/// The state of a policy on one event loop, over one set of endpoints.
pub trait Balancer {
    /// The index of the endpoint that is next; `None`: there is none.
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize>;

    /// How many turns were taken: another set of endpoints goes on from there.
    fn turns(&self) -> u64 {
        0
    }
}

impl Balance {
    /// The policy over these endpoints, after so many turns.
    pub fn over(&self, candidates: &[Candidate<'_>], turns: u64) -> Box<dyn Balancer> {
        match self {
            Self::RoundRobin(settings) => Box::new(RoundRobin::new(settings, candidates, turns)),
            Self::LeastRequest(settings) => Box::new(LeastRequest::new(settings, candidates)),
            Self::Random => Box::new(Random::new(candidates)),
            Self::RingHash(settings) => Box::new(RingHash::new(settings, candidates)),
            Self::Maglev(settings) => Box::new(Maglev::new(settings, candidates)),
            Self::PeakEwma(settings) => Box::new(PeakEwma::new(settings, candidates)),
        }
    }

    /// The request's key chooses the endpoint.
    pub fn is_keyed(&self) -> bool {
        matches!(self, Self::RingHash(_) | Self::Maglev(_))
    }

    /// The window of its slow start.
    pub fn slow_start(&self) -> Option<&SlowStart> {
        match self {
            Self::RoundRobin(settings) => settings.slow_start.as_ref(),
            Self::LeastRequest(settings) => settings.slow_start.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A few endpoints whose load a test sets.
    #[derive(Debug, Default)]
    pub(crate) struct Fixed {
        pub(crate) active: Vec<u32>,
        pub(crate) cost: Vec<f64>,
        pub(crate) healthy_for: Vec<Duration>,
    }

    impl Loads for Fixed {
        fn active(&self, index: usize) -> u32 {
            self.active.get(index).copied().unwrap_or(0)
        }

        fn active_in_all(&self) -> u32 {
            self.active.iter().sum()
        }

        fn cost(&self, index: usize, _settings: &peak_ewma::Settings) -> f64 {
            self.cost.get(index).copied().unwrap_or(0.0)
        }

        fn healthy_for(&self, index: usize) -> Duration {
            self.healthy_for
                .get(index)
                .copied()
                .unwrap_or(Duration::from_hours(1))
        }
    }

    /// Numbers that look random and are the same in every run (splitmix64).
    pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    pub(crate) fn candidates(weights: &[u32]) -> Vec<Candidate<'static>> {
        const KEYS: [&str; 12] = [
            "10.0.0.1:80",
            "10.0.0.2:80",
            "10.0.0.3:80",
            "10.0.0.4:80",
            "10.0.0.5:80",
            "10.0.0.6:80",
            "10.0.0.7:80",
            "10.0.0.8:80",
            "10.0.0.9:80",
            "10.0.0.10:80",
            "10.0.0.11:80",
            "10.0.0.12:80",
        ];
        let sum: u32 = weights.iter().sum();
        weights
            .iter()
            .zip(KEYS)
            .map(|(weight, key)| Candidate {
                weight: *weight,
                share: f64::from(*weight) / f64::from(sum),
                key,
            })
            .collect()
    }

    /// How often each of `count` endpoints is picked, of `times`.
    pub(crate) fn shares(
        balancer: &mut dyn Balancer,
        loads: &dyn Loads,
        count: usize,
        times: usize,
    ) -> Vec<usize> {
        let mut random = random(7);
        let mut shares = vec![0; count];
        for _ in 0..times {
            let picked = balancer.pick(&mut Ask {
                key: None,
                attempt: 0,
                loads,
                random: &mut random,
            });
            shares[picked.unwrap()] += 1;
        }
        shares
    }

    fn all() -> Vec<Balance> {
        vec![
            Balance::default(),
            Balance::LeastRequest(least_request::Settings::default()),
            Balance::Random,
            Balance::RingHash(ring_hash::Settings::default()),
            Balance::Maglev(maglev::Settings::default()),
            Balance::PeakEwma(peak_ewma::Settings::default()),
        ]
    }

    #[test]
    fn nothing_is_picked_where_there_is_nothing() {
        for balance in all() {
            let picked = balance.over(&[], 0).pick(&mut Ask {
                key: Some(1),
                attempt: 0,
                loads: &Fixed::default(),
                random: &mut random(1),
            });
            assert_eq!(picked, None, "{balance:?}");
        }
    }

    #[test]
    fn the_only_endpoint_gets_everything() {
        for balance in all() {
            let mut balancer = balance.over(&candidates(&[3]), 5);
            assert_eq!(
                shares(&mut *balancer, &Fixed::default(), 1, 20),
                [20],
                "{balance:?}"
            );
        }
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        for balance in all() {
            let mut balancer = balance.over(&candidates(&[1; 4]), 0);
            let shares = shares(&mut *balancer, &Fixed::default(), 4, 8_000);
            // A quarter is 2,000; a binomial's deviation is 39; arcs of a ring differ by some percent more.
            assert!(
                shares.iter().all(|share| (1_700..2_300).contains(share)),
                "{balance:?}: {shares:?}"
            );
        }
    }
}
