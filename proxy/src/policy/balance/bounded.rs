//! A bound on what a key may bring to one endpoint: where the endpoint that the hash chooses has more requests under way
//! than the bound allows, others are tried in an order that the key shuffles (<https://arxiv.org/abs/1608.01350>,
//! <https://arxiv.org/abs/1908.08762>). Bit by bit as Envoy, so that a key overflows to the same endpoints.

use rand_mt::Mt;

use super::{Ask, Balancer, Candidate, Loads};

/// A policy whose endpoints have at most so much.
pub struct Bounded {
    inner: Box<dyn Balancer>,
    /// In percent of the endpoint's share.
    factor: u32,
    shares: Vec<f64>,
}

impl Bounded {
    /// The least bound: as much as its share.
    pub const LEAST: u32 = 100;

    /// The policy with each of its endpoints bounded to so many percent of its share.
    pub fn new(inner: Box<dyn Balancer>, factor: u32, candidates: &[Candidate<'_>]) -> Self {
        Self {
            inner,
            factor,
            shares: candidates.iter().map(|it| it.share).collect(),
        }
    }

    /// Above 1: the endpoint has more than it may.
    fn overload(&self, index: usize, loads: &dyn Loads) -> f64 {
        let share = self.shares.get(index).copied().unwrap_or(0.0);
        let all = (u64::from(loads.active_in_all()) + 1) * u64::from(self.factor);
        let slots = (all.div_ceil(100) as f64 * share).ceil().max(1.0);
        f64::from(loads.active(index)) / slots
    }
}

impl Balancer for Bounded {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        let key = ask.key.unwrap_or_else(&mut *ask.random);
        let first = self.inner.pick(&mut Ask {
            key: Some(key),
            attempt: ask.attempt,
            loads: ask.loads,
            random: &mut *ask.random,
        })?;
        let mut least = (self.overload(first, ask.loads), first);
        if least.0 <= 1.0 {
            return Some(first);
        }
        let mut order: Vec<usize> = (0..self.shares.len()).collect();
        // The generator takes 32 bits of it.
        let mut random = Mt::new(key as u32);
        for at in 0..order.len() {
            let left = (order.len() - at) as u32;
            order.swap(at, at + below(&mut random, left) as usize);
            let index = order.get(at).copied().filter(|index| *index != first);
            let Some(index) = index else {
                continue;
            };
            let overload = self.overload(index, ask.loads);
            if overload <= 1.0 {
                return Some(index);
            }
            if overload < least.0 {
                least = (overload, index);
            }
        }
        Some(least.1)
    }

    fn turns(&self) -> u64 {
        self.inner.turns()
    }
}

/// A number below `most`, which is not 0.
fn below(random: &mut Mt, most: u32) -> u32 {
    loop {
        let drawn = u64::from(random.next_u32()) / ((1 << 32) / u64::from(most));
        if drawn < u64::from(most) {
            return drawn as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Balance, hash_key, maglev, ring_hash,
            tests::{Fixed, candidates, random},
        },
        *,
    };

    /// The bound counts as if nothing were under way.
    struct Alone<'a>(&'a Fixed);
    impl Loads for Alone<'_> {
        fn active(&self, index: usize) -> u32 {
            self.0.active(index)
        }
        fn active_in_all(&self) -> u32 {
            0
        }
        fn cost(&self, _: usize, _: &super::super::peak_ewma::Settings) -> f64 {
            0.0
        }
        fn healthy_for(&self, _: usize) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }

    fn pick(active: &[u32], key: u64) -> usize {
        let candidates = candidates(&[1; 4]);
        let ring = Balance::RingHash(ring_hash::Settings::default()).over(&candidates, 0);
        let loads = Fixed {
            active: active.to_vec(),
            ..Fixed::default()
        };
        let mut bounded = Bounded::new(ring, 150, &candidates);
        bounded
            .pick(&mut Ask {
                key: Some(key),
                attempt: 0,
                loads: &loads,
                random: &mut random(1),
            })
            .unwrap()
    }

    #[test]
    fn a_key_goes_elsewhere_when_its_endpoint_has_more_than_its_bound() {
        let first = pick(&[0; 4], 42);
        let mut active = [4; 4];
        // 16 under way and one more: ceil(17 * 1.5 / 4) = 7 each.
        active[first] = 7;
        for (at, rest) in (0..4).filter(|at| *at != first).zip([3, 3, 3]) {
            active[at] = rest;
        }
        assert_eq!(pick(&active, 42), first);
        active[first] = 8;
        let second = pick(&active, 42);
        assert_ne!(second, first);
        // The same key overflows to the same endpoint.
        assert_eq!(pick(&active, 42), second);
        let overflow: Vec<_> = (0..200)
            .filter(|key| pick(&[0; 4], *key) == first)
            .map(|key| pick(&active, key))
            .collect();
        // Different keys to different ones.
        for at in (0..4).filter(|at| *at != first) {
            assert!(overflow.contains(&at), "{overflow:?}");
        }
    }

    /// Forty requests of one key that nobody answers, as Envoy 1.40 sends them to four endpoints.
    #[test]
    fn endpoints_are_chosen_as_by_envoy() {
        let candidates = [19121, 19122, 19123, 19124].map(|port| format!("127.0.0.1:{port}"));
        let candidates = candidates.each_ref().map(|key| Candidate {
            weight: 1,
            share: 0.25,
            key,
        });
        for (balance, factor, expected) in [
            (
                Balance::RingHash(ring_hash::Settings::default()),
                100,
                "1133134413441342134213421342134213421342",
            ),
            (
                Balance::Maglev(maglev::Settings::default()),
                150,
                "4443343343431431434314314343143143431431",
            ),
        ] {
            let mut bounded = Bounded::new(balance.over(&candidates, 0), factor, &candidates);
            let mut loads = Fixed {
                active: vec![0; 4],
                ..Fixed::default()
            };
            let mut came = String::new();
            for _ in 0..40 {
                let picked = bounded.pick(&mut Ask {
                    key: Some(hash_key::xx(b"a", 0)),
                    attempt: 0,
                    loads: &loads,
                    random: &mut random(1),
                });
                let picked = picked.unwrap();
                loads.active[picked] += 1;
                came += &(picked + 1).to_string();
            }
            assert_eq!(came, expected, "{balance:?}");
        }
    }

    #[test]
    fn where_all_have_too_much_the_least_overloaded_is_taken() {
        let candidates = candidates(&[1; 4]);
        let loads = Fixed {
            active: vec![30, 29, 31, 32],
            ..Fixed::default()
        };
        let ring = Balance::RingHash(ring_hash::Settings::default()).over(&candidates, 0);
        let mut bounded = Bounded::new(ring, 100, &candidates);
        for key in 0..50 {
            let picked = bounded.pick(&mut Ask {
                key: Some(key),
                attempt: 0,
                loads: &Alone(&loads),
                random: &mut random(1),
            });
            assert_eq!(picked, Some(1));
        }
    }
}
