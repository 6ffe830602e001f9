//! Bytes come late, by an even draw around a delay, and never before those that came before them.

use std::time::Duration;

use super::Piece;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["latency: { delay: 100ms, jitter: 20ms }"];

/// How late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// In the middle.
    pub delay: Duration,
    /// Up to so much more or less.
    pub jitter: Duration,
}

#[derive(Debug)]
pub(super) struct Working {
    settings: Latency,
    last: Duration,
}

impl Latency {
    pub(super) fn begin(&self) -> Working {
        Working {
            settings: self.clone(),
            last: Duration::ZERO,
        }
    }
}

impl Working {
    pub(super) fn step(&mut self, piece: Piece, u: f64) -> Piece {
        let Latency { delay, jitter } = self.settings;
        let late = (delay + jitter.mul_f64(2.0 * u)).saturating_sub(jitter);
        self.last = self.last.max(piece.at + late);
        Piece {
            at: self.last,
            ..piece
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_late_within_its_jitter_and_never_overtakes() {
        let ms = Duration::from_millis;
        let mut late = Latency {
            delay: ms(100),
            jitter: ms(20),
        }
        .begin();
        let piece = |at| Piece {
            at: ms(at),
            bytes: 1,
        };
        assert_eq!(late.step(piece(0), 0.5).at, ms(100));
        assert_eq!(late.step(piece(0), 1.0).at, ms(120));
        assert_eq!(late.step(piece(10), 0.0).at, ms(120));
        assert_eq!(late.step(piece(200), 0.0).at, ms(280));
    }
}
