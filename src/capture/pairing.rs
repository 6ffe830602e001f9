//! A connection: its two halves put in order, read as HTTP, and each answer paired with its request. Sans-io.
//!
//! ```text
//!  segment ──► Half ──► Lane ──► Parser ──► Pending … Pending ──► Exchange
//!              order    mode     messages   requests that wait for their answers
//! ```
//!
//! The halves are read independently; a lane stops and holds what follows only where it must know the other: an answer whose
//! request was not seen yet though the server had it (packets recorded out of order), and what follows CONNECT or Upgrade.
//! Answers are paired in order. Once bytes are missing, the acknowledgement numbers decide: an answer is neither older than what
//! its client had received when it asked, nor older than the arrival of the question; where they leave a choice, nothing is
//! paired.

mod lane;
mod messages;
mod pending;
mod pick;
mod reading;

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Keep;
use super::exchange::Exchange;
use super::link::Segment;
use super::stream::{Accepted, Half};
use super::summary::{Direction, LOST_MAX, Lost, Summary};
use lane::{Bit, Input, Lane, Mode};
use pending::Pending;

/// How many bytes a lane holds while it waits for the other.
const HELD_MAX: usize = 256 * 1024;
/// How long (in capture time) an answer waits for its request.
const PATIENCE: u64 = 1_000_000_000;
/// How many requests wait for answers in one connection; deeper pipelines are not paired.
const PENDING_MAX: usize = 4096;
/// The same where no answer was ever seen: a capture of one direction.
const PENDING_MAX_ONE_WAY: usize = 16;
/// How far into a stream that is not known to carry HTTP a beginning is looked for, in bytes of one half.
const SEARCH_MAX: u64 = 64 * 1024;

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Something for each side.
#[derive(Debug, Default)]
struct Both<T> {
    first: T,
    second: T,
}

impl<T> Both<T> {
    fn get(&self, side: Side) -> &T {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        }
    }
}

/// Where a connection puts what it finds.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub keep: Keep,
    /// What bodies of open exchanges may take together, in bytes; `None`: no bound.
    pub bodies_max: Option<usize>,
    /// What they take.
    pub bodies: usize,
    /// Exchanges of a connection that is over are given at once, not when it is forgotten.
    pub eager: bool,
    pub exchanges: Vec<Exchange>,
    pub summary: Summary,
}

impl Sink {
    /// Counts a reason once.
    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.summary.skipped.entry(reason).or_default() += 1;
    }

    fn lose(&mut self, lost: Lost) {
        self.skip(lost.reason);
        if self.summary.lost.len() < LOST_MAX {
            self.summary.lost.push(lost);
        }
    }
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    ends: Both<SocketAddr>,
    halves: Both<Half>,
    lanes: Both<Lane>,
    /// Who sends requests, once that is known.
    client: Option<Side>,
    /// Who sent the SYN.
    opener: Option<Side>,
    /// Requests from the oldest that is not finished, in order.
    /// Boxed, since most connections of a capture have one or none, and a queue has room for four.
    queue: VecDeque<Box<Pending>>,
    /// The ordinal of the queue's front.
    front: u64,
    /// The ordinal of the next request to be answered.
    unanswered: u64,
    /// Whether messages may be missing, so that order alone does not pair.
    is_disrupted: bool,
    /// Capture time of the last packet.
    last: u64,
    /// Sides whose lanes no longer wait for the other.
    forced: Both<bool>,
    reset: bool,
}

impl Connection {
    /// A connection by its first segment.
    pub(super) fn new(number: u64, first: &Segment<'_>) -> Self {
        Self {
            number,
            ends: Both {
                first: first.source,
                second: first.target,
            },
            halves: Both::default(),
            lanes: Both::default(),
            client: None,
            opener: None,
            queue: VecDeque::new(),
            front: 0,
            unanswered: 0,
            is_disrupted: false,
            last: 0,
            forced: Both::default(),
            reset: false,
        }
    }

    /// Capture time of the last packet.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// What is kept until it can be read, in bytes of memory.
    pub(super) fn buffered(&self) -> usize {
        self.halves.first.buffered()
            + self.halves.second.buffered()
            + self.lanes.first.buffered()
            + self.lanes.second.buffered()
    }

    /// Gives up everything that is kept until it can be read, because memory is short.
    pub(super) fn relieve(&mut self, sink: &mut Sink) {
        sink.skip("buffer_limit");
        let client = self.client.unwrap_or(Side::First);
        for side in [client, client.other()] {
            while self.halves.get(side).has_early() {
                self.skip_hole(side, sink);
            }
        }
        self.forced = Both {
            first: true,
            second: true,
        };
        self.pump(sink);
        self.forced = Both::default();
        for side in [Side::First, Side::Second] {
            if self.lanes.get(side).buffered() > 0 {
                let next = self.halves.get(side).next();
                self.abandon_message(side, "cut_by_limit", next, sink);
            }
        }
    }

    /// Whether nothing is due to follow.
    pub(super) fn is_closed(&self) -> bool {
        self.reset || (self.halves.first.has_ended() && self.halves.second.has_ended())
    }

    /// Whether the segment opens another connection between the same ends.
    pub(super) fn is_reopened_by(&self, segment: &Segment<'_>) -> bool {
        if !segment.syn {
            return false;
        }
        let side = self.side(segment);
        let half = self.halves.get(side);
        let Some(base) = half.base() else {
            return false;
        };
        let same = base == segment.seq.wrapping_add(1);
        if segment.ack.is_none() {
            // A SYN that repeats the first one is a retransmission, unless the connection is over.
            return !same || (self.is_closed() && half.next() > 0);
        }
        // A second SYN-ACK with another number is a new connection only if the old one was in use.
        !same && half.next() > 0
    }

    fn side(&self, segment: &Segment<'_>) -> Side {
        if segment.source == self.ends.first {
            Side::First
        } else {
            Side::Second
        }
    }

    /// Takes a segment captured at `at`; `now` is that too, but never runs away or back.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, at: u64, now: u64, sink: &mut Sink) {
        let side = self.side(segment);
        self.last = self.last.max(now);
        let mut seq = segment.seq;
        if segment.syn {
            if segment.ack.is_none() {
                self.opener = Some(side);
            } else {
                self.opener = self.opener.or(Some(side.other()));
            }
            if self.halves.get(side).next() == 0 && !self.halves.get(side).has_early() {
                self.halves.get_mut(side).open(segment.seq);
            }
            seq = seq.wrapping_add(1);
        }
        self.reset |= segment.rst;
        if let Some(ack) = segment.ack {
            self.halves.get_mut(side.other()).acknowledge(ack, now);
        }
        // What an RST carries is a message for people (RFC 9293 §3.10.7), no part of the stream.
        if segment.rst {
            sink.summary.payload.total += segment.payload.len() as u64;
            sink.summary.payload.unused += segment.payload.len() as u64;
        } else {
            self.payload(side, seq, segment, at, sink);
        }
        for side in [Side::First, Side::Second] {
            while self.halves.get(side).is_hole_lost(now) {
                self.skip_hole(side, sink);
            }
            let half = self.halves.get(side);
            if half.has_ended() && !self.lanes.get(side).has_ended {
                self.lanes.get_mut(side).has_ended = true;
                self.deliver(side, Input::End { at }, sink);
            }
        }
        for side in [Side::First, Side::Second] {
            if self.lanes.get(side).has_many_losses() {
                let direction = self.direction(side);
                self.lanes
                    .get_mut(side)
                    .report(self.number, direction, sink);
            }
        }
        if !self.lanes.first.held.is_empty() || !self.lanes.second.held.is_empty() {
            self.pump(sink);
        }
        if sink.eager && self.is_closed() && self.buffered() == 0 {
            while !self.queue.is_empty() {
                self.give_front(sink);
            }
        }
    }

    fn payload(&mut self, side: Side, seq: u32, segment: &Segment<'_>, at: u64, sink: &mut Sink) {
        let payload = &mut sink.summary.payload;
        let half = self.halves.get_mut(side);
        if let Mode::Opaque(_) = self.lanes.get(side).mode {
            let new = half.pass(seq, segment.payload, segment.sent, segment.fin, payload);
            if new > 0 {
                let offset = half.next() - new.min(half.next());
                self.lanes.get_mut(side).pass(offset, new);
                payload.unused += new;
            }
            return;
        }
        let accepted = half.accept(
            seq,
            segment.payload,
            segment.sent,
            segment.fin,
            (at, segment.ack),
            payload,
        );
        if let Accepted::Next { offset, data } = accepted {
            let bit = Bit {
                offset,
                at,
                ack: segment.ack,
                data,
            };
            self.deliver_data(side, bit, sink);
            self.deliver_due(side, sink);
        }
    }

    fn deliver_due(&mut self, side: Side, sink: &mut Sink) {
        let mut any = false;
        while let Some(piece) = self.halves.get_mut(side).take_due() {
            self.lanes.get_mut(side).hold(Input::Data(piece));
            any = true;
        }
        if any {
            self.pump(sink);
        }
    }

    fn skip_hole(&mut self, side: Side, sink: &mut Sink) {
        if let Some((offset, length)) = self.halves.get_mut(side).skip_hole() {
            // Not pumped before what follows is there too: the other lane may be waiting for that.
            self.lanes.get_mut(side).hold(Input::Gap { offset, length });
        }
        self.deliver_due(side, sink);
    }

    /// Gives a lane bytes that are not held yet; the common case, in which they need not be copied.
    fn deliver_data(&mut self, side: Side, bit: Bit<'_>, sink: &mut Sink) {
        if self.lanes.get(side).held.is_empty() {
            let Err(used) = self.data(side, bit, sink) else {
                return;
            };
            self.lanes
                .get_mut(side)
                .hold(Input::Data(bit.after(used).piece()));
        } else {
            self.lanes.get_mut(side).hold(Input::Data(bit.piece()));
            self.pump(sink);
        }
    }

    fn deliver(&mut self, side: Side, input: Input, sink: &mut Sink) {
        self.lanes.get_mut(side).hold(input);
        self.pump(sink);
    }

    /// Ends the connection: everything that waits is read as far as it goes, and what is unfinished is given as it is.
    pub(super) fn finish(&mut self, sink: &mut Sink) {
        let client = self.client.or(self.opener).unwrap_or(Side::First);
        let order = [client, client.other()];
        for side in order {
            let dropped = self.halves.get_mut(side).drop_far();
            if dropped > 0 {
                sink.skip("out_of_window");
                sink.summary.payload.unused += dropped;
            }
            while self.halves.get(side).has_early() {
                self.skip_hole(side, sink);
            }
            if let (false, Some((offset, length))) = (
                matches!(self.lanes.get(side).mode, Mode::Opaque(_)),
                self.halves.get_mut(side).skip_tail(),
            ) {
                self.deliver(side, Input::Gap { offset, length }, sink);
            }
            if self.halves.get(side).has_ended() && !self.lanes.get(side).has_ended {
                self.lanes.get_mut(side).has_ended = true;
                let at = self.last;
                self.deliver(side, Input::End { at }, sink);
            }
        }
        for side in [client.other(), client] {
            *self.forced.get_mut(side) = true;
            self.pump(sink);
        }
        for side in order {
            self.close_lane(side, sink);
        }
        while !self.queue.is_empty() {
            self.give_front(sink);
        }
        for side in order {
            let direction = self.direction(side);
            self.lanes
                .get_mut(side)
                .report(self.number, direction, sink);
        }
    }

    /// Which half a side sends: the client's is who asks, else who opened, else who was seen first.
    fn direction(&self, side: Side) -> Direction {
        let client = self.client.or(self.opener).unwrap_or(Side::First);
        if side == client {
            Direction::Client
        } else {
            Direction::Server
        }
    }
}
