//! Reproducible chance: who is hit is a pure function of the seed, the rule and the request, so any thread count, any
//! interleaving and any machine choose the same requests, and changing one rule leaves the draws of the others alone.
//!
//! `h = xxh3_64(utf8(RULE), seed)`; `u = (xxh3_64(K, h) >> 11) * 2^-53`;
//! `K = le64(ordinal) ‖ le32(n) ‖ le32(attempt) ‖ utf8("METHOD path")`.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The number that every choice of a run follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl Seed {
    /// The draws of one rule; a fault's name is `fault id@caller>service`, a shadow sample's is `sample`.
    pub fn rule(self, name: &str) -> Draw {
        Draw(xxh3_64_with_seed(name.as_bytes(), self.0))
    }
}

/// The source of one rule's draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// A number in [0, 1): the request is hit when it is below the rule's share.
    pub fn unit(self, key: &Key<'_>) -> f64 {
        // A request's key is short: 16 bytes of numbers, a method and a path. Longer paths take the heap.
        let length = 16 + key.method.len() + 1 + key.path.len();
        let mut short = [0_u8; 256];
        let mut long = Vec::new();
        let bytes: &mut [u8] = if let Some(bytes) = short.get_mut(..length) {
            bytes
        } else {
            long.resize(length, 0);
            &mut long
        };
        key.write(bytes);
        self.unit_of(bytes)
    }

    /// A number in [0, 1) for a key of the caller's own, such as the value of the header that a sample goes by.
    pub fn unit_of(self, key: &[u8]) -> f64 {
        (xxh3_64_with_seed(key, self.0) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

/// What a draw is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// Place of the request in the schedule, or of arrival where there is no schedule.
    pub ordinal: u64,
    /// Which of the caller's equal calls this is, from 0.
    pub n: u32,
    /// Which try this is, from 0; always 0 outside the retry loop.
    pub attempt: u32,
    /// The request's method.
    pub method: &'a str,
    /// The request's path without its query.
    pub path: &'a str,
}

impl Key<'_> {
    fn write(&self, mut to: &mut [u8]) {
        let parts: [&[u8]; 6] = [
            &self.ordinal.to_le_bytes(),
            &self.n.to_le_bytes(),
            &self.attempt.to_le_bytes(),
            self.method.as_bytes(),
            b" ",
            self.path.as_bytes(),
        ];
        for part in parts {
            let (here, rest) = to.split_at_mut(part.len());
            here.copy_from_slice(part);
            to = rest;
        }
    }
}
