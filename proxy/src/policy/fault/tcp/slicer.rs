//! Bytes come in small pieces, with a pause after each.

use std::time::Duration;

use super::Piece;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["slicer: { size: 100B, variation: 20B, pause: 1ms }"];

/// How small, and how long the pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slicer {
    /// Bytes of a piece, in the middle; above 0.
    pub size: usize,
    /// Up to so many more or fewer; below the size.
    pub variation: usize,
    /// Before the next piece.
    pub pause: Duration,
}

#[derive(Debug)]
pub(super) struct Working {
    settings: Slicer,
    next: Duration,
}

impl Slicer {
    pub(super) fn begin(&self) -> Working {
        Working {
            settings: self.clone(),
            next: Duration::ZERO,
        }
    }
}

impl Working {
    pub(super) fn step(&mut self, piece: Piece, draw: impl Fn(u64) -> f64, out: &mut Vec<Piece>) {
        let Slicer {
            size,
            variation,
            pause,
        } = self.settings;
        let mut left = piece.bytes;
        for number in 0.. {
            if left == 0 {
                break;
            }
            let more = (draw(number) * (2 * variation + 1) as f64) as usize;
            let bytes = (size - variation + more).max(1).min(left);
            left -= bytes;
            let at = self.next.max(piece.at);
            self.next = at + pause;
            out.push(Piece { at, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_vary_around_their_size_and_add_up() {
        let ms = Duration::from_millis;
        let mut slicer = Slicer {
            size: 100,
            variation: 20,
            pause: ms(1),
        }
        .begin();
        let mut out = Vec::new();
        let piece = Piece {
            at: ms(5),
            bytes: 1_000,
        };
        slicer.step(piece, |number| (number % 10) as f64 / 10.0, &mut out);
        assert_eq!(out.iter().map(|piece| piece.bytes).sum::<usize>(), 1_000);
        let (_, whole) = out.split_last().unwrap();
        assert!(whole.iter().all(|piece| (80..=120).contains(&piece.bytes)));
        assert!(out.iter().zip(5..).all(|(piece, at)| piece.at == ms(at)));
    }
}
