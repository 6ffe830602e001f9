//! Huffman's code for strings (RFC 7541 §5.2 and Appendix B).

use std::sync::LazyLock;

/// Bits of each byte's code. The code is canonical: its words ascend with their lengths, then with the bytes, so that the
/// lengths say all.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Bits of the words that a table of their own finds: those of all that is common.
const SHORT: u32 = 8;

/// The longest word's bits.
const LONGEST: u32 = 30;

static WORDS: LazyLock<Words> = LazyLock::new(Words::new);

/// How bits become bytes.
struct Words {
    /// By the next eight bits: a byte and its word's bits; 0: it is longer.
    short: [(u8, u8); 1 << SHORT],
    /// The longer ones by length.
    long: Vec<Length>,
}

/// Words of one length.
struct Length {
    bits: u32,
    /// The first, and what comes behind the last, at the top of 32 bits.
    first: u32,
    end: u64,
    bytes: Vec<u8>,
}

impl Words {
    fn new() -> Self {
        let mut words = Self {
            short: [(0, 0); 1 << SHORT],
            long: Vec::new(),
        };
        // The next word, at the top of 32 bits.
        let mut next = 0_u64;
        for bits in 1..=LONGEST {
            let bytes = (0..=u8::MAX).filter(|byte| u32::from(length(*byte)) == bits);
            let bytes: Vec<u8> = bytes.collect();
            let first = next as u32;
            for byte in &bytes {
                if bits <= SHORT {
                    let places = words.short.iter_mut().skip((next >> (32 - SHORT)) as usize);
                    for place in places.take(1 << (SHORT - bits)) {
                        *place = (*byte, bits as u8);
                    }
                }
                next += 1 << (32 - bits);
            }
            if bits > SHORT && !bytes.is_empty() {
                words.long.push(Length {
                    bits,
                    first,
                    end: next,
                    bytes,
                });
            }
        }
        words
    }

    /// The byte whose word these bits begin with, and the word's bits. The 30 ones that stand for no byte are `None`.
    fn longer(&self, bits: u32) -> Option<(u8, u32)> {
        let length = self
            .long
            .iter()
            .find(|length| u64::from(bits) < length.end)?;
        let at = (bits - length.first) >> (32 - length.bits);
        Some((*length.bytes.get(at as usize)?, length.bits))
    }
}

fn length(byte: u8) -> u8 {
    LENGTHS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Appends what the string stands for; `None`: it is none.
pub(super) fn decode(packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let words = &*WORDS;
    out.reserve(packed.len() * 8 / 5 + 1);
    // The bits that are next, from the top, and how many of them there are.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut packed = packed.iter();
    loop {
        while count <= 56
            && let Some(byte) = packed.next()
        {
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return Some(());
        }
        let (byte, length) = match words.short.get((bits >> (64 - SHORT)) as usize) {
            Some((byte, length)) if *length > 0 => (*byte, u32::from(*length)),
            // What fills up the last byte are ones, which no short word consists of.
            _ if count < 8 => return (bits == !0 << (64 - count)).then_some(()),
            _ => words.longer((bits >> 32) as u32)?,
        };
        if length > count {
            // The zeros behind the last bit have made it a word.
            return (count < 8 && bits == !0 << (64 - count)).then_some(());
        }
        out.push(byte);
        bits <<= length;
        count -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(bytes: &[u8]) -> Vec<u8> {
        let mut words = std::collections::BTreeMap::new();
        let mut order: Vec<u8> = (0..=u8::MAX).collect();
        order.sort_by_key(|byte| (length(*byte), *byte));
        let (mut word, mut before) = (0_u64, 0);
        for byte in order {
            word <<= length(byte) - before;
            before = length(byte);
            words.insert(byte, (word, before));
            word += 1;
        }
        let mut bits = Vec::new();
        for byte in bytes {
            let (word, length) = words[byte];
            bits.extend((0..length).rev().map(|at| word >> at & 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(1);
        }
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | *bit as u8))
            .collect()
    }

    fn decoded(packed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(packed, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7541 Appendix C.4 and C.6.
        for (packed, expected) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29ad171863c78f0b97c8e9ae82ae43d3",
                "https://www.example.com",
            ),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ] {
            let packed: Vec<u8> = (0..packed.len() / 2)
                .map(|at| u8::from_str_radix(&packed[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(decoded(&packed).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn each_byte_is_read_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for before in 0..9 {
                let text = [&vec![b'0'; before][..], &[byte, b'a', byte]].concat();
                assert_eq!(decoded(&encode(&text)), Some(text));
            }
        }
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    #[test]
    fn padding_that_is_too_long_or_not_of_ones_is_refused() {
        // RFC 7541 §5.2: `0` is five zeros.
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
        for wrong in [
            &[0b0000_0110][..],
            &[0b0000_0000],
            &[0b0000_0111, 0xff],
            &[0xff],
            &[0xff; 4],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decoded(wrong), None, "{wrong:?}");
        }
    }
}
