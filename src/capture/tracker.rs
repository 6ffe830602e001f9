//! All connections of a capture: finds the one of a segment, numbers streams, lets go of what is over.
//!
//! Time is capture time throughout. Memory is bounded: beyond [`CONNECTIONS_MAX`] the connection that was idle longest ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::link::Segment;
use super::pairing::{Connection, Sink};

/// How many connections are followed at once. One costs about 1.5 KB while a request waits for its answer: all of them
/// together stay below 32 MB.
const CONNECTIONS_MAX: usize = 16 * 1024;
/// How long a closed connection is remembered, so that a late retransmission is not taken for a new one.
const LINGER: u64 = 30_000_000_000;
/// How long an idle connection is remembered: beyond the idle time-outs of clients, servers, and address translators.
const IDLE: u64 = 3_600_000_000_000;

/// How many bytes of all connections together may wait for what is missing.
const BUFFERED_MAX: usize = 16 << 20;

/// Two ends, in an order that does not depend on the direction.
type Key = (SocketAddr, SocketAddr);

/// All connections of a capture.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    by_ends: HashMap<Key, Entry>,
    /// Every connection once, roughly by age; a number that is no longer current is passed over.
    queue: VecDeque<(Key, u64)>,
    clock: Clock,
    /// What all connections keep until they can read it, in bytes of memory.
    buffered: usize,
    /// The time up to which nothing is due to end.
    swept: u64,
}

/// Capture time as it passes. A packet that is far ahead of the others moves it only if the next one agrees: a single damaged
/// time must not end every connection.
#[derive(Debug, Default)]
struct Clock {
    now: Option<u64>,
    ahead: Option<u64>,
}

impl Clock {
    /// How far ahead a packet may be at once.
    const STEP: u64 = IDLE / 2;

    fn at(&mut self, at: u64) -> u64 {
        let now = *self.now.get_or_insert(at);
        let is_far = at > now.saturating_add(Self::STEP);
        let now = match (is_far, self.ahead) {
            (false, _) => now.max(at),
            (true, Some(before)) => now.max(before.min(at)),
            (true, None) => now,
        };
        self.ahead = is_far.then_some(at);
        self.now = Some(now);
        now
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    connection: Box<Connection>,
}

impl Tracker {
    /// Takes a segment captured at `at`.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, at: u64, sink: &mut Sink) {
        let now = self.clock.at(at);
        self.sweep(now, sink);
        let key = key(segment);
        let is_reopened = self
            .by_ends
            .get(&key)
            .is_some_and(|e| e.connection.is_reopened_by(segment));
        if is_reopened {
            self.end(&key, sink);
        }
        if !self.by_ends.contains_key(&key) {
            self.open(key, segment, now, sink);
        }
        let Some(Entry { connection, .. }) = self.by_ends.get_mut(&key) else {
            return;
        };
        let before = connection.buffered();
        connection.segment(segment, at, now, sink);
        let after = connection.buffered();
        self.buffered = self.buffered + after - before;
        if self.buffered > BUFFERED_MAX && after > before {
            connection.relieve(sink);
            self.buffered = self.buffered + connection.buffered() - after;
        }
    }

    fn open(&mut self, key: Key, segment: &Segment<'_>, now: u64, sink: &mut Sink) {
        if self.by_ends.len() >= CONNECTIONS_MAX {
            self.evict(now, sink);
        }
        if self.queue.len() > 2 * CONNECTIONS_MAX {
            let current = &self.by_ends;
            self.queue
                .retain(|(key, number)| current.get(key).is_some_and(|e| e.number == *number));
        }
        let number = sink.summary.streams;
        sink.summary.streams += 1;
        let connection = Box::new(Connection::new(number, segment));
        self.by_ends.insert(key, Entry { number, connection });
        self.queue.push_back((key, number));
    }

    /// Ends a connection.
    fn end(&mut self, key: &Key, sink: &mut Sink) {
        if let Some(mut entry) = self.by_ends.remove(key) {
            self.buffered -= entry.connection.buffered();
            entry.connection.finish(sink);
        }
    }

    /// Ends connections that are over, looking at most once a second of capture time.
    fn sweep(&mut self, now: u64, sink: &mut Sink) {
        if now < self.swept {
            return;
        }
        self.swept = now.saturating_add(1_000_000_000);
        // Only a part is looked at, so that a capture in which each packet is a second apart is not quadratic.
        for _ in 0..self.queue.len().min(CONNECTIONS_MAX / 8) {
            let Some((key, number)) = self.queue.pop_front() else {
                return;
            };
            let Some(entry) = self.by_ends.get_mut(&key).filter(|e| e.number == number) else {
                continue;
            };
            let rest = if entry.connection.is_closed() {
                LINGER
            } else {
                IDLE
            };
            if entry.connection.last().saturating_add(rest) < now {
                self.end(&key, sink);
            } else {
                self.queue.push_back((key, number));
            }
        }
    }

    /// Ends one connection to make room: the first in the queue that is closed or was silent for a while, else the first.
    fn evict(&mut self, now: u64, sink: &mut Sink) {
        const SILENT: u64 = 10_000_000_000;
        const TRIES: usize = 64;
        for attempt in 0.. {
            let Some((key, number)) = self.queue.pop_front() else {
                return;
            };
            let Some(entry) = self.by_ends.get_mut(&key).filter(|e| e.number == number) else {
                continue;
            };
            let connection = &mut entry.connection;
            let is_over = connection.is_closed();
            if is_over || attempt >= TRIES || connection.last().saturating_add(SILENT) < now {
                self.end(&key, sink);
                if !is_over {
                    sink.skip("too_many_streams");
                }
                return;
            }
            self.queue.push_back((key, number));
        }
    }

    /// Ends every connection, in the order of their numbers.
    pub(super) fn finish(
        &mut self,
        sink: &mut Sink,
        mut done: impl FnMut(&mut Sink) -> Result<(), super::Error>,
    ) -> Result<(), super::Error> {
        let mut rest: Vec<Entry> = self.by_ends.drain().map(|(_, e)| e).collect();
        rest.sort_by_key(|e| e.number);
        for mut entry in rest {
            entry.connection.finish(sink);
            done(sink)?;
        }
        Ok(())
    }
}

fn key(segment: &Segment<'_>) -> Key {
    if segment.source <= segment.target {
        (segment.source, segment.target)
    } else {
        (segment.target, segment.source)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Keep, link,
        write::{Dialogue, ETHERNET},
    };
    use super::*;

    #[test]
    fn what_waits_for_missing_bytes_is_bounded_over_all_connections() {
        let (mut tracker, mut sink) = (
            Tracker::default(),
            Sink {
                keep: Keep::Lines,
                ..Sink::default()
            },
        );
        let mut most = 0;
        for port in 0..60 {
            let client = format!("10.0.0.1:{}", 10_000 + port).parse().unwrap();
            let mut d = Dialogue::open(client, "10.0.0.2:80".parse().unwrap(), 1);
            d.ask(1, b"PUT / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n")
                .ask(1, &vec![b'x'; 900_000]);
            // The head is lost, so all the rest waits.
            d.packets.remove(3);
            for packet in &d.packets {
                let frame = d.frame(packet);
                tracker.segment(
                    &link::segment(ETHERNET, &frame).unwrap(),
                    packet.at,
                    &mut sink,
                );
                most = most.max(tracker.buffered);
            }
        }
        assert!(
            most > BUFFERED_MAX / 2 && most <= BUFFERED_MAX + (1 << 20),
            "{most}"
        );
        assert!(sink.summary.skipped["buffer_limit"] > 0);
        tracker.finish(&mut sink, |_| Ok(())).unwrap();
        let p = sink.summary.payload;
        assert_eq!(
            (p.used + p.duplicate + p.unused, p.total),
            (p.total, 60 * 900_000)
        );
    }

    #[test]
    fn one_packet_from_the_future_does_not_move_the_clock() {
        let mut clock = Clock::default();
        let year = 31_536_000_000_000_000;
        let seen: Vec<u64> = [10, 12, 11, year, 13, year, year + 5, 14]
            .map(|at| clock.at(at))
            .into();
        assert_eq!(seen, [10, 12, 12, 12, 13, 13, year, year]);
    }
}
