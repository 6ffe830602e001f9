//! Exactly so many bytes come, then the connection ends.

use super::{After, Piece};

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["limit_data: { bytes: 10KiB }"];

/// How many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitData {
    /// So many.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Working {
    left: u64,
}

impl LimitData {
    pub(super) fn begin(&self) -> Working {
        Working { left: self.bytes }
    }
}

impl Working {
    pub(super) fn step(&mut self, piece: Piece, out: &mut Vec<Piece>) -> After {
        let bytes = piece
            .bytes
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes as u64;
        out.push(Piece { bytes, ..piece });
        if self.left == 0 {
            After::Cut
        } else {
            After::More
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_exact_prefix_comes_however_it_is_cut() {
        for pieces in [1, 3, 50] {
            let mut limit = LimitData { bytes: 100 }.begin();
            let mut out = Vec::new();
            for _ in 0..300 / pieces {
                let piece = Piece {
                    at: Duration::ZERO,
                    bytes: pieces,
                };
                if limit.step(piece, &mut out) == After::Cut {
                    break;
                }
            }
            assert_eq!(out.iter().map(|piece| piece.bytes).sum::<usize>(), 100);
        }
    }
}
