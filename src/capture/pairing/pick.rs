//! Which request the answer at hand belongs to.

use super::lane::Bit;
use super::pending::Pending;
use super::{Connection, HELD_MAX, PATIENCE, Side};

/// Whether and to what the bytes at hand are the answer.
pub(super) enum Pick {
    /// To the request of this ordinal.
    Answer(u64),
    /// To none that was seen.
    Orphan,
    /// Not known yet.
    Wait,
}

impl Connection {
    /// After CONNECT and Upgrade the answer says what the next bytes are.
    pub(super) fn check_may_ask(&mut self, side: Side) -> Result<(), ()> {
        let lane = self.lanes.get_mut(side);
        let Some(ordinal) = lane.awaits else {
            return Ok(());
        };
        if self.unanswered <= ordinal && !self.forced.get(side) && lane.held_cost < HELD_MAX {
            return Err(());
        }
        lane.awaits = None;
        Ok(())
    }

    /// Which request these bytes begin to answer.
    pub(super) fn pick(&self, side: Side, bit: Bit<'_>) -> Pick {
        let client = self.halves.get(side.other());
        let lane = self.lanes.get(side);
        let may_wait = !self.forced.get(side)
            && lane.held_cost < HELD_MAX
            && self.last.saturating_sub(bit.at) < PATIENCE
            && (client.owes(bit.ack) || self.lanes.get(side.other()).is_about_to_read());
        if !self.is_disrupted {
            return match self.pending(self.unanswered) {
                Some(_) => Pick::Answer(self.unanswered),
                None if may_wait => Pick::Wait,
                None => Pick::Orphan,
            };
        }
        if may_wait {
            return Pick::Wait;
        }
        let Some(begin) = self.halves.get(side).seq(bit.offset) else {
            return Pick::Orphan;
        };
        let mut ordinal = self.unanswered;
        while let Some(asked) = self.pending(ordinal) {
            // It had not arrived when the answer was sent, or its client had the answer already.
            if bit.ack.is_some_and(|ack| !is_before(asked.seq, ack))
                || asked.ack.is_some_and(|a| is_before(begin, a))
            {
                return Pick::Orphan;
            }
            let Some(had) = asked.ack else {
                return Pick::Answer(ordinal);
            };
            let mut later = (ordinal + 1..).map_while(|o| self.pending(o));
            let together = later.by_ref().take_while(|p| p.ack == Some(had)).count();
            // A later question was asked with this one answered.
            let next = (ordinal + 1 + together as u64..)
                .map_while(|o| self.pending(o))
                .next();
            let is_answered = next.is_some_and(|p| p.ack.is_some_and(|a| !is_before(begin, a)));
            if is_answered {
                ordinal += 1 + together as u64;
                continue;
            }
            // Where answers may be missing, this one may belong to any that was asked at once, or to one that is missing too.
            let lost = |s: Side| {
                self.lanes
                    .get(s)
                    .disrupted_at
                    .and_then(|o| self.halves.get(s).seq(o))
            };
            let is_hidden = lost(side).is_some_and(|gap| is_before(had, gap));
            let is_ambiguous = together > 0
                || client.owes(bit.ack)
                || lost(side.other()).is_some_and(|gap| is_before(asked.seq, gap));
            if is_hidden && is_ambiguous {
                return Pick::Orphan;
            }
            return Pick::Answer(ordinal);
        }
        Pick::Orphan
    }

    pub(super) fn pending(&self, ordinal: u64) -> Option<&Pending> {
        self.queue
            .get(usize::try_from(ordinal.checked_sub(self.front)?).ok()?)
            .map(Box::as_ref)
    }

    pub(super) fn pending_mut(&mut self, ordinal: u64) -> Option<&mut Pending> {
        self.queue
            .get_mut(usize::try_from(ordinal.checked_sub(self.front)?).ok()?)
            .map(Box::as_mut)
    }
}

/// Whether one sequence number lies before another.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
