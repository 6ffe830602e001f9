//! The hashes of Envoy's hash policies: XXH64, and `MurmurHash2` as in libstdc++'s `std::hash`.

use xxhash_rust::xxh64;

/// libstdc++'s seed.
const MURMUR_SEED: u64 = 0xc70f_6907;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hash {
    /// XXH64.
    #[default]
    Xx,
    /// 64 bits of `MurmurHash2`.
    Murmur2,
}

impl Hash {
    /// The hash of these bytes.
    pub fn of(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Xx => xx(bytes, 0),
            Self::Murmur2 => murmur2(bytes, MURMUR_SEED),
        }
    }
}

/// XXH64.
pub fn xx(bytes: &[u8], seed: u64) -> u64 {
    xxh64::xxh64(bytes, seed)
}

/// `MurmurHash64A`.
fn murmur2(bytes: &[u8], seed: u64) -> u64 {
    const MUL: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |value: u64| value ^ (value >> 47);
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(MUL);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let data = mix(u64::from_le_bytes(*word).wrapping_mul(MUL)).wrapping_mul(MUL);
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    if !rest.is_empty() {
        let mut data = 0;
        for (at, byte) in rest.iter().enumerate() {
            data |= u64::from(*byte) << (8 * at);
        }
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    mix(mix(hash).wrapping_mul(MUL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_reference() {
        // XXH64's of "" and "a" from its specification's tests; the others are what GCC's `std::hash` gives.
        assert_eq!(Hash::Xx.of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(Hash::Xx.of(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(Hash::Murmur2.of(b"hello"), 2_762_169_579_135_187_400);
        assert_eq!(Hash::Murmur2.of(b""), 6_142_509_188_972_423_790);
        assert_eq!(
            Hash::Murmur2.of(b"a long key of more than eight bytes"),
            16_833_679_535_295_913_044
        );
    }
}
