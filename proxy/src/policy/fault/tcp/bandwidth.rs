//! Bytes come at no more than a rate, a tenth of a second's worth at a time.

use std::time::Duration;

use super::Piece;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["bandwidth: { rate: 64KiB/s }"];

/// Pieces a second.
const PIECES: u64 = 10;

/// How fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes a second, above 0.
    pub bytes_per_second: u64,
}

#[derive(Debug)]
pub(super) struct Working {
    rate: u64,
    /// When all that came before is through.
    free: Duration,
}

impl Bandwidth {
    pub(super) fn begin(&self) -> Working {
        Working {
            rate: self.bytes_per_second.max(1),
            free: Duration::ZERO,
        }
    }
}

impl Working {
    pub(super) fn step(&mut self, piece: Piece, out: &mut Vec<Piece>) {
        let most = usize::try_from(self.rate / PIECES)
            .unwrap_or(usize::MAX)
            .max(1);
        let mut left = piece.bytes;
        self.free = self.free.max(piece.at);
        while left > 0 {
            let bytes = left.min(most);
            left -= bytes;
            let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
            self.free += Duration::from_nanos(nanos as u64);
            out.push(Piece {
                at: self.free,
                bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_take_so_long_however_they_come() {
        for pieces in [1, 7, 100] {
            let mut slow = Bandwidth {
                bytes_per_second: 10_000,
            }
            .begin();
            let mut out = Vec::new();
            for _ in 0..pieces {
                let piece = Piece {
                    at: Duration::ZERO,
                    bytes: 4_900 / pieces,
                };
                slow.step(piece, &mut out);
            }
            let last = out.last().unwrap().at;
            assert_eq!(last.as_millis(), 490, "{pieces}");
            assert!(out.iter().all(|piece| piece.bytes <= 1_000));
        }
    }
}
