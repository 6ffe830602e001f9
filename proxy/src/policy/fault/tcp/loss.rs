//! Segments are lost, which in TCP shows as delay: each comes as late as its retransmission, and what follows waits for it.

use std::time::Duration;

use super::Piece;
use crate::unit::Share;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["loss: { percent: 2%, rto: 200ms }"];

/// Bytes of a segment on an Ethernet.
const SEGMENT: usize = 1_448;

/// How much is lost, and how long until it is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Of the segments, those sent again included.
    pub share: Share,
    /// Until the first retransmission; each further one takes twice as long.
    pub rto: Duration,
}

/// Retransmissions of one segment, at most.
const MOST: u64 = 6;

#[derive(Debug)]
pub(super) struct Working {
    settings: Loss,
    last: Duration,
}

impl Loss {
    pub(super) fn begin(&self) -> Working {
        Working {
            settings: self.clone(),
            last: Duration::ZERO,
        }
    }
}

impl Working {
    pub(super) fn step(&mut self, piece: Piece, draw: impl Fn(u64) -> f64, out: &mut Vec<Piece>) {
        let mut left = piece.bytes;
        for number in 0.. {
            if left == 0 {
                break;
            }
            let bytes = left.min(SEGMENT);
            left -= bytes;
            let lost = (0..MOST)
                .take_while(|again| draw(number * MOST + again) < self.settings.share.get())
                .count();
            let late = self.settings.rto * ((1_u32 << lost) - 1);
            self.last = self.last.max(piece.at + late);
            out.push(Piece {
                at: self.last,
                bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_segment_is_late_and_what_follows_waits_for_it() {
        let ms = Duration::from_millis;
        let mut loss = Loss {
            share: Share::new(0.5).unwrap(),
            rto: ms(200),
        }
        .begin();
        let mut out = Vec::new();
        let piece = Piece {
            at: ms(1),
            bytes: 3 * SEGMENT + 1,
        };
        // Of the second segment the first two sendings are lost.
        let lost = [6, 7];
        let draw = |which| if lost.contains(&which) { 0.0 } else { 0.9 };
        loss.step(piece, draw, &mut out);
        let times: Vec<_> = out.iter().map(|piece| piece.at).collect();
        assert_eq!(times, [ms(1), ms(601), ms(601), ms(601)]);
        assert_eq!(
            out.iter().map(|piece| piece.bytes).sum::<usize>(),
            3 * SEGMENT + 1
        );
    }
}
