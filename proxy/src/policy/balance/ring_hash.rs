//! A ring of hashes, each endpoint at many places by its weight (ketama). The request's hash goes to the next place. The
//! ring is Envoy's, bit by bit: a key has the same endpoint here as there.

use super::{Ask, Balancer, Candidate, hash_key::Hash};

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The ring has at least so many places.
    pub least: u64,
    /// The ring has at most so many places.
    pub most: u64,
    /// What endpoints are hashed by.
    pub hash: Hash,
}

impl Settings {
    /// The largest ring there may be.
    pub const MOST: u64 = 8 * 1024 * 1024;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            least: 1024,
            most: Self::MOST,
            hash: Hash::Xx,
        }
    }
}

/// The ring.
#[derive(Debug, Clone)]
pub struct RingHash {
    /// By hash.
    places: Vec<(u64, u32)>,
}

impl RingHash {
    /// A ring over these.
    pub fn new(settings: &Settings, candidates: &[Candidate<'_>]) -> Self {
        let least = candidates
            .iter()
            .map(|candidate| candidate.share)
            .fold(1.0, f64::min);
        // The lightest endpoint gets a whole number of places.
        let scale = ((least * settings.least as f64).ceil() / least).min(settings.most as f64);
        let mut places = Vec::with_capacity(scale.ceil() as usize);
        let mut target = 0.0;
        let mut text = Vec::new();
        for (index, candidate) in candidates.iter().enumerate() {
            // Running sums: where a share is no whole number, the next endpoint's places begin where these end.
            target += scale * candidate.share;
            let mut place = 0_u64;
            while (places.len() as f64) < target {
                text.clear();
                text.extend_from_slice(candidate.key.as_bytes());
                text.push(b'_');
                text.extend_from_slice(place.to_string().as_bytes());
                places.push((settings.hash.of(&text), index as u32));
                place += 1;
            }
        }
        places.sort_by_key(|(hash, _)| *hash);
        Self { places }
    }
}

impl Balancer for RingHash {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        let key = ask.key.unwrap_or_else(&mut *ask.random);
        let after = self.places.partition_point(|(hash, _)| *hash < key);
        let at = (after + ask.attempt as usize).checked_rem(self.places.len())?;
        self.places.get(at).map(|(_, index)| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Fixed, candidates, random},
        *,
    };

    fn pick(ring: &mut RingHash, key: u64, attempt: u32) -> usize {
        ring.pick(&mut Ask {
            key: Some(key),
            attempt,
            loads: &Fixed::default(),
            random: &mut random(1),
        })
        .unwrap()
    }

    #[test]
    fn weights_are_shares_of_the_ring() {
        let ring = RingHash::new(&Settings::default(), &candidates(&[1, 3]));
        let second = ring.places.iter().filter(|(_, index)| *index == 1).count();
        assert_eq!((ring.places.len(), second), (1024, 768));
    }

    #[test]
    fn a_removed_endpoint_moves_its_own_keys_only() {
        let all = candidates(&[1; 5]);
        let rest: Vec<_> = candidates(&[1; 5])[..4]
            .iter()
            .map(|it| Candidate { share: 0.25, ..*it })
            .collect();
        let settings = Settings {
            least: 5_000,
            ..Settings::default()
        };
        let mut before = RingHash::new(&settings, &all);
        let mut after = RingHash::new(&settings, &rest);
        let mut random = random(9);
        let (mut moved, mut strayed) = (0, 0);
        for _ in 0..10_000 {
            let key = random();
            let (old, new) = (pick(&mut before, key, 0), pick(&mut after, key, 0));
            moved += u32::from(old == 4);
            strayed += u32::from(old != 4 && old != new);
        }
        // A fifth, give or take the unevenness of the ring. The others' places are nearly the same.
        assert!((1_800..2_200).contains(&moved), "{moved}");
        assert!(strayed < 1_500, "{strayed}");
    }

    #[test]
    fn another_attempt_goes_to_the_next_place() {
        let mut ring = RingHash::new(&Settings::default(), &candidates(&[1; 3]));
        let places = ring.places.clone();
        for attempt in 0..4 {
            let expected = places[(100 + attempt) % places.len()].1 as usize;
            assert_eq!(pick(&mut ring, places[100].0, attempt as u32), expected);
        }
        // Beyond the last place the ring begins again.
        assert_eq!(pick(&mut ring, u64::MAX, 0), places[0].1 as usize);
    }
}
