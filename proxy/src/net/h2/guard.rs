//! What a peer may send so many of that answering or reading them is work for nothing. The bounds are Envoy's. Pure.

use super::frame::{Head, flag, kind};
use crate::policy::protocol::Http2;

/// What a peer has sent.
#[derive(Debug)]
pub(super) struct Guard {
    max_control: u64,
    max_empty: u64,
    max_priority: u64,
    max_updates: u64,
    streams: u64,
    empty: u64,
    priorities: u64,
    updates: u64,
    data_sent: u64,
    /// Frames that ask for one of ours, since all of ours were written last.
    control: u64,
}

/// What a peer sent too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// `PING` and `SETTINGS` frames whose answers wait to be read.
    Control,
    /// Frames without content.
    Empty,
    /// `PRIORITY` frames.
    Priority,
    /// `WINDOW_UPDATE` frames.
    WindowUpdate,
}

impl Guard {
    pub(super) fn new(bounds: &Http2) -> Self {
        Self {
            max_control: bounds.max_control_frames.into(),
            max_empty: bounds.max_empty_frames.into(),
            max_priority: bounds.max_priority_frames.into(),
            max_updates: bounds.max_window_updates.into(),
            streams: 0,
            empty: 0,
            priorities: 0,
            updates: 0,
            data_sent: 0,
            control: 0,
        }
    }

    /// A stream has begun.
    pub(super) fn began(&mut self) {
        self.streams += 1;
    }

    /// A `DATA` frame was sent.
    pub(super) fn sent_data(&mut self) {
        self.data_sent += 1;
    }

    /// All that was sent has gone out.
    pub(super) fn drained(&mut self) {
        self.control = 0;
    }

    /// The peer has sent this. What it is too much of, if it is.
    pub(super) fn came(&mut self, head: Head) -> Option<Violation> {
        match head.kind {
            kind::PRIORITY => {
                self.priorities += 1;
                let most = self.max_priority.saturating_mul(1 + self.streams);
                (self.priorities > most).then_some(Violation::Priority)
            }
            kind::WINDOW_UPDATE => {
                self.updates += 1;
                let data = self.max_updates.saturating_mul(self.data_sent);
                // Envoy's formula: a few at first, and a few a stream.
                let most = 5 + 2 * self.streams.saturating_add(data);
                (self.updates > most).then_some(Violation::WindowUpdate)
            }
            kind::PING | kind::SETTINGS if !head.has(flag::ACK) => {
                self.control += 1;
                (self.control > self.max_control).then_some(Violation::Control)
            }
            kind::DATA | kind::HEADERS | kind::CONTINUATION => {
                if head.length > 0 || head.has(flag::END_STREAM) {
                    self.empty = 0;
                } else {
                    self.empty += 1;
                }
                (self.empty > self.max_empty).then_some(Violation::Empty)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8, length: usize) -> Head {
        Head {
            length,
            kind,
            flags,
            stream: 1,
        }
    }

    /// How many of these may come before the connection is to end, and why it is.
    fn until(guard: &mut Guard, frame: Head) -> (usize, Option<Violation>) {
        for count in 0..10_000 {
            if let Some(violation) = guard.came(frame) {
                return (count, Some(violation));
            }
        }
        (10_000, None)
    }

    #[test]
    fn each_flood_ends_at_its_bound() {
        for (frame, expected) in [
            (head(kind::PING, 0, 8), (1_000, Some(Violation::Control))),
            (
                head(kind::SETTINGS, 0, 0),
                (1_000, Some(Violation::Control)),
            ),
            (head(kind::DATA, 0, 0), (1, Some(Violation::Empty))),
            (head(kind::CONTINUATION, 0, 0), (1, Some(Violation::Empty))),
            (head(kind::PRIORITY, 0, 5), (100, Some(Violation::Priority))),
            (
                head(kind::WINDOW_UPDATE, 0, 4),
                (5, Some(Violation::WindowUpdate)),
            ),
            (head(kind::PING, flag::ACK, 8), (10_000, None)),
            (head(kind::DATA, flag::END_STREAM, 0), (10_000, None)),
            (head(kind::DATA, 0, 1), (10_000, None)),
        ] {
            let mut guard = Guard::new(&Http2::default());
            assert_eq!(until(&mut guard, frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn what_a_connection_does_gives_it_room() {
        let mut guard = Guard::new(&Http2::default());
        let ping = head(kind::PING, 0, 8);
        for _ in 0..5 {
            for _ in 0..1_000 {
                assert_eq!(guard.came(ping), None);
            }
            guard.drained();
        }
        guard.began();
        assert_eq!(until(&mut guard, head(kind::PRIORITY, 0, 5)).0, 200);
        let update = head(kind::WINDOW_UPDATE, 0, 4);
        assert_eq!(until(&mut guard, update).0, 5 + 2);
        guard.sent_data();
        // One more was counted as too many.
        assert_eq!(until(&mut guard, update).0, 2 * 10 - 1);
    }
}
