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
mod pending;

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Keep;
use super::exchange::{Exchange, Response};
use super::http1::{
    AfterGap, Event, Framing, Guess, HTTP2, Head, Length, Line, Parser, Role, guess,
};
use super::link::Segment;
use super::stream::{Accepted, Half, Piece};
use super::summary::{Direction, LOST_MAX, Lost, Summary};
use lane::{Begun, Bit, Input, Lane, Mode};
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

/// Whether and to what the bytes at hand are the answer.
enum Pick {
    /// To the request of this ordinal.
    Answer(u64),
    /// To none that was seen.
    Orphan,
    /// Not known yet.
    Wait,
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
    queue: VecDeque<Pending>,
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

    /// Lets both lanes go on with what they hold, until neither can.
    fn pump(&mut self, sink: &mut Sink) {
        loop {
            let first = self.pump_lane(Side::First, sink);
            let second = self.pump_lane(Side::Second, sink);
            if !first && !second {
                return;
            }
        }
    }

    /// Whether anything was done.
    fn pump_lane(&mut self, side: Side, sink: &mut Sink) -> bool {
        let mut moved = false;
        loop {
            if matches!(self.lanes.get(side).mode, Mode::Sniff) {
                let forced = *self.forced.get(side);
                let Some((bytes, is_all)) = self.lanes.get(side).held_beginning() else {
                    return moved;
                };
                let found = self.sniffed(side, &bytes, !is_all || forced, sink);
                if !found {
                    return moved;
                }
            }
            let Some(input) = self.lanes.get_mut(side).release() else {
                return moved;
            };
            match input {
                Input::Data(piece) => {
                    if let Err(used) = self.data(side, Bit::of(&piece), sink) {
                        let rest = Bit::of(&piece).after(used).piece();
                        let lane = self.lanes.get_mut(side);
                        lane.hold_again(Input::Data(rest));
                        if matches!(lane.mode, Mode::Sniff) {
                            moved |= used > 0;
                            continue;
                        }
                        return moved || used > 0;
                    }
                }
                Input::Gap { offset, length } => self.gap(side, offset, length, sink),
                Input::End { at } => self.end(side, at, sink),
            }
            moved = true;
        }
    }

    /// Decides what a lane carries that begins with these bytes. `forced`: no more will come. Whether it could decide.
    fn sniffed(&mut self, side: Side, bytes: &[u8], forced: bool, sink: &mut Sink) -> bool {
        let mode = match guess(bytes) {
            Guess::Unclear if !forced => return false,
            Guess::Request if self.client != Some(side.other()) => {
                self.client = Some(side);
                Mode::Http(Box::new(Parser::new(
                    Role::Request,
                    sink.keep != Keep::Lines,
                )))
            }
            Guess::Response if self.client != Some(side) => {
                self.client = Some(side.other());
                Mode::Http(Box::new(Parser::new(
                    Role::Response,
                    sink.keep != Keep::Lines,
                )))
            }
            Guess::Tls => Mode::Opaque("tls"),
            Guess::Http2 => Mode::Opaque(HTTP2),
            Guess::Request | Guess::Response | Guess::Unclear | Guess::Other => Mode::Search,
        };
        if let Mode::Opaque(reason) = mode {
            // The other half speaks the same, though its first bytes may not tell.
            let other = self.lanes.get_mut(side.other());
            if matches!(other.mode, Mode::Sniff | Mode::Search) {
                other.mode = Mode::Opaque(reason);
                other.blame("not_http", reason);
            }
        }
        if matches!(mode, Mode::Search) && !self.halves.get(side).from_start {
            self.is_disrupted = true;
        }
        self.lanes.get_mut(side).mode = mode;
        true
    }

    /// Reads bytes. `Err` says after how many of them the lane has to wait.
    fn data(&mut self, side: Side, bit: Bit<'_>, sink: &mut Sink) -> Result<(), usize> {
        let mut used = 0;
        loop {
            let rest = bit.after(used);
            match &self.lanes.get(side).mode {
                Mode::Http(_) => {
                    let (n, go_on) = self.message(side, rest, sink).map_err(|()| used)?;
                    used += n;
                    if !go_on {
                        return Ok(());
                    }
                }
                Mode::Opaque(_) => {
                    self.lanes
                        .get_mut(side)
                        .pass(rest.offset, rest.data.len() as u64);
                    sink.summary.payload.unused += rest.data.len() as u64;
                    return Ok(());
                }
                Mode::Sniff => {
                    if rest.data.is_empty() {
                        return Ok(());
                    }
                    if !self.sniffed(side, rest.data, false, sink) {
                        return Err(used);
                    }
                }
                Mode::Search => {
                    if rest.data.is_empty() {
                        return Ok(());
                    }
                    // Messages begin where segments begin, or else the place is lost anyway.
                    let is_known = self.client.is_some();
                    let lane = self.lanes.get_mut(side);
                    if used == 0 && !lane.is_rejected(rest.offset) {
                        let role = match guess(rest.data) {
                            Guess::Request => Some(Role::Request),
                            Guess::Response => Some(Role::Response),
                            Guess::Unclear if lane.is_worth_sniffing(rest.data) => {
                                lane.reject(rest.offset);
                                lane.mode = Mode::Sniff;
                                return Err(0);
                            }
                            _ => None,
                        };
                        let fits = match role {
                            Some(Role::Request) => self.client != Some(side.other()),
                            Some(Role::Response) => self.client != Some(side),
                            None => false,
                        };
                        if fits && self.sniffed(side, rest.data, false, sink) {
                            continue;
                        }
                    }
                    let lane = self.lanes.get_mut(side);
                    lane.lose(rest.offset, rest.data.len() as u64, "not_http");
                    lane.searched += rest.data.len() as u64;
                    sink.summary.payload.unused += rest.data.len() as u64;
                    if !is_known && lane.searched > SEARCH_MAX {
                        lane.mode = Mode::Opaque("not_http");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Lets the parser of a lane take one step. How many bytes were used, and whether to call again; `Err` to wait.
    fn message(&mut self, side: Side, bit: Bit<'_>, sink: &mut Sink) -> Result<(usize, bool), ()> {
        let is_client = self.client == Some(side);
        let lane = self.lanes.get(side);
        let Mode::Http(parser) = &lane.mode else {
            return Ok((0, false));
        };
        if parser.is_between() {
            if bit.data.is_empty() {
                return Ok((0, false));
            }
            if is_client {
                self.check_may_ask(side)?;
                self.lanes.get_mut(side).begin(bit);
            } else {
                let to = match self.pick(side, bit) {
                    Pick::Answer(ordinal) => Some(ordinal),
                    Pick::Orphan => None,
                    Pick::Wait => return Err(()),
                };
                let lane = self.lanes.get_mut(side);
                lane.begin(bit);
                lane.current = to;
            }
        }
        let lane = self.lanes.get_mut(side);
        let Mode::Http(parser) = &mut lane.mode else {
            return Ok((0, false));
        };
        let (used, event) = parser.feed(bit.data);
        lane.seen += used as u64;
        lane.last = bit.at;
        match event {
            Event::More => {
                let more = used < bit.data.len();
                return Ok((used, more));
            }
            Event::Head(head) if is_client => self.asked(side, *head, sink),
            Event::Head(head) => self.answered(side, *head, sink),
            Event::Body(n) => {
                let body = bit.data.get(used - n..used).unwrap_or_default();
                self.body(side, body, sink.keep);
            }
            Event::End(trailers) => {
                if let Some(message) = self.current(side) {
                    message.trailers = trailers;
                }
                self.finish_message(side, true, sink);
            }
            Event::Bad(reason) => {
                self.abandon_message(side, reason, bit.offset + used as u64, sink);
                if reason == HTTP2 {
                    self.switch(side, &Mode::Opaque(HTTP2));
                }
            }
        }
        Ok((used, true))
    }

    /// After CONNECT and Upgrade the answer says what the next bytes are.
    fn check_may_ask(&mut self, side: Side) -> Result<(), ()> {
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

    fn pick(&self, side: Side, bit: Bit<'_>) -> Pick {
        let client = self.halves.get(side.other());
        let lane = self.lanes.get(side);
        let may_wait = !self.forced.get(side)
            && lane.held_cost < HELD_MAX
            && self.last.saturating_sub(bit.at) < PATIENCE
            && client.owes(bit.ack);
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
            let is_ambiguous =
                together > 0 || lost(side.other()).is_some_and(|gap| is_before(asked.seq, gap));
            if is_hidden && is_ambiguous {
                return Pick::Orphan;
            }
            return Pick::Answer(ordinal);
        }
        Pick::Orphan
    }

    fn pending(&self, ordinal: u64) -> Option<&Pending> {
        self.queue
            .get(usize::try_from(ordinal.checked_sub(self.front)?).ok()?)
    }

    fn pending_mut(&mut self, ordinal: u64) -> Option<&mut Pending> {
        self.queue
            .get_mut(usize::try_from(ordinal.checked_sub(self.front)?).ok()?)
    }

    /// A request's head is complete.
    fn asked(&mut self, side: Side, head: Head, sink: &mut Sink) {
        let lane = self.lanes.get_mut(side);
        let begun = lane.begun.take().unwrap_or_default();
        let framing = request_framing(&head);
        let ordinal = self.front + self.queue.len() as u64;
        lane.current = Some(ordinal);
        lane.message = begun.offset;
        if let Mode::Http(parser) = &mut lane.mode {
            parser.body(framing);
        }
        let seq = self.halves.get(side).seq(begun.offset).unwrap_or(0);
        let pending = Pending::new(
            head,
            begun,
            seq,
            self.number,
            *self.ends.get(side),
            *self.ends.get(side.other()),
        );
        if pending.is_switch() {
            self.lanes.get_mut(side).awaits = Some(ordinal);
        }
        self.queue.push_back(pending);
        let has_answers = self.halves.get(side.other()).next() > 0;
        let most = if has_answers {
            PENDING_MAX
        } else {
            PENDING_MAX_ONE_WAY
        };
        if self.queue.len() > most && self.unanswered == self.front {
            self.unanswered += 1;
            self.emit(sink);
        }
    }

    /// An answer's head is complete.
    fn answered(&mut self, side: Side, head: Head, sink: &mut Sink) {
        let lane = self.lanes.get_mut(side);
        let begun = lane.begun.take().unwrap_or_default();
        lane.message = begun.offset;
        let to = lane.current;
        let Line::Response { status } = head.line else {
            return;
        };
        let is_interim = (100..200).contains(&status) && status != 101;
        let mut framing = response_framing(&head);
        let mut switch = None;
        if let Some(pending) = to.and_then(|o| self.pending_mut(o)) {
            if is_interim {
                pending.exchange.interim.push(status);
            } else {
                let method = pending.exchange.request.method.as_str();
                if method == "HEAD" {
                    framing = Framing::Empty;
                }
                if status == 101 {
                    switch = Some(upgraded(&head));
                } else if method == "CONNECT" && (200..300).contains(&status) {
                    framing = Framing::Empty;
                    switch = Some(Mode::Sniff);
                }
                pending.exchange.response = Some(Response {
                    status,
                    headers: head.headers,
                    body: super::Body::default(),
                    trailers: Vec::new(),
                    first_byte: begun.at,
                    last_byte: begun.at,
                    complete: false,
                });
            }
        }
        let lane = self.lanes.get_mut(side);
        lane.is_interim = is_interim;
        if let Mode::Http(parser) = &mut lane.mode {
            parser.body(if is_interim { Framing::Empty } else { framing });
        }
        if let (Some(ordinal), false) = (to, is_interim) {
            self.unanswered = ordinal + 1;
        }
        if let Some(mode) = switch {
            self.finish_message(side, true, sink);
            self.switch(side, &mode);
        }
        self.emit(sink);
    }

    /// What follows the answer is another protocol, both ways.
    fn switch(&mut self, side: Side, mode: &Mode) {
        for side in [side, side.other()] {
            let lane = self.lanes.get_mut(side);
            lane.awaits = None;
            lane.mode = mode.again();
        }
    }

    fn body(&mut self, side: Side, bytes: &[u8], keep: Keep) {
        if let Some(message) = self.current(side) {
            message.bytes += bytes.len() as u64;
            if let Keep::Bodies { max_bytes } = keep {
                let room = max_bytes
                    .saturating_sub(message.data.len())
                    .min(bytes.len());
                message
                    .data
                    .extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
        }
    }

    /// The message that a lane is in.
    fn current(&mut self, side: Side) -> Option<&mut pending::Message> {
        let is_client = self.client == Some(side);
        let lane = self.lanes.get(side);
        let is_interim = lane.is_interim;
        let pending = lane.current.and_then(|o| self.pending_mut(o))?;
        if is_client {
            Some(&mut pending.request)
        } else {
            (!is_interim).then_some(&mut pending.response)
        }
    }

    /// The message that a lane is in ends here.
    fn finish_message(&mut self, side: Side, is_whole: bool, sink: &mut Sink) {
        let is_client = self.client == Some(side);
        let lane = self.lanes.get_mut(side);
        let (at, from, seen) = (lane.last, lane.message, std::mem::take(&mut lane.seen));
        let is_damaged = std::mem::take(&mut lane.is_damaged);
        let is_interim = std::mem::take(&mut lane.is_interim);
        let current = lane.current.take();
        let is_complete = is_whole && !is_damaged;
        let payload = &mut sink.summary.payload;
        *(if current.is_some() {
            &mut payload.used
        } else {
            &mut payload.unused
        }) += seen;
        let reason = match (current, is_client) {
            (None, _) => Some("response_without_request"),
            (Some(_), true) if !is_complete => Some("incomplete_request"),
            (Some(_), false) if !is_complete => Some("incomplete_response"),
            _ => None,
        };
        if let Some(reason) = reason {
            lane.lose(from, seen, reason);
        }
        let Some(pending) = current.and_then(|o| self.pending_mut(o)) else {
            return;
        };
        if is_interim {
            return;
        }
        if is_client {
            pending.end_request(at, is_complete);
        } else {
            pending.end_response(at, is_whole, is_complete);
        }
        self.emit(sink);
    }

    /// The message that a lane is in makes no sense; a new beginning must be found.
    fn abandon_message(&mut self, side: Side, reason: &'static str, until: u64, sink: &mut Sink) {
        let lane = self.lanes.get_mut(side);
        match lane.begun.take() {
            // In a head, which gives no exchange.
            Some(begun) => {
                let seen = std::mem::take(&mut lane.seen);
                lane.lose(begun.offset, seen, reason);
                sink.summary.payload.unused += seen;
                lane.current = None;
            }
            None => {
                sink.skip(reason);
                self.finish_message(side, false, sink);
            }
        }
        self.lose_place(side, until);
    }

    /// Messages may have been missed before this offset.
    fn lose_place(&mut self, side: Side, until: u64) {
        self.is_disrupted = true;
        let lane = self.lanes.get_mut(side);
        lane.disrupted_at = Some(until);
        lane.mode = Mode::Search;
    }

    /// Bytes are missing.
    fn gap(&mut self, side: Side, offset: u64, length: u64, sink: &mut Sink) {
        sink.summary.payload.missing += length;
        let lane = self.lanes.get_mut(side);
        lane.lose(offset, length, "tcp_gap");
        match &mut lane.mode {
            Mode::Http(parser) => match parser.gap(length) {
                AfterGap::InBody => lane.is_damaged = true,
                AfterGap::AtEnd => {
                    lane.is_damaged = true;
                    self.finish_message(side, true, sink);
                    if let Mode::Http(parser) = &mut self.lanes.get_mut(side).mode {
                        parser.feed(&[]);
                    }
                }
                AfterGap::BeyondEnd => {
                    lane.is_damaged = true;
                    self.finish_message(side, true, sink);
                    self.lose_place(side, offset + length);
                }
                AfterGap::Lost => {
                    if parser.is_between() {
                        self.lose_place(side, offset + length);
                    } else {
                        self.abandon_message(side, "cut_by_gap", offset + length, sink);
                    }
                }
            },
            Mode::Sniff | Mode::Search => {
                lane.mode = Mode::Search;
                lane.disrupted_at = Some(offset + length);
                self.is_disrupted = true;
            }
            Mode::Opaque(_) => {}
        }
    }

    /// The sender has sent everything.
    fn end(&mut self, side: Side, at: u64, sink: &mut Sink) {
        let lane = self.lanes.get_mut(side);
        lane.last = lane.last.max(at);
        let Mode::Http(parser) = &mut lane.mode else {
            return;
        };
        if let Some(trailers) = parser.close() {
            if let Some(message) = self.current(side) {
                message.trailers = trailers;
            }
            self.finish_message(side, true, sink);
            self.lanes.get_mut(side).mode = Mode::Search;
        }
    }

    /// Gives the exchanges at the front that are finished.
    fn emit(&mut self, sink: &mut Sink) {
        while let Some(front) = self.queue.front() {
            let is_passed = self.front < self.unanswered;
            if !front.request.is_done
                || !is_passed
                || (front.exchange.response.is_some() && !front.response.is_done)
            {
                return;
            }
            self.give_front(sink);
        }
    }

    fn give_front(&mut self, sink: &mut Sink) {
        let Some(pending) = self.queue.pop_front() else {
            return;
        };
        self.front += 1;
        self.unanswered = self.unanswered.max(self.front);
        let exchange = pending.exchange();
        sink.summary.requests += 1;
        sink.summary.responses += u64::from(exchange.response.is_some());
        sink.exchanges.push(exchange);
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

    /// Ends a lane inside whatever it is in.
    fn close_lane(&mut self, side: Side, sink: &mut Sink) {
        let is_client = self.client == Some(side);
        let lane = self.lanes.get_mut(side);
        let Mode::Http(parser) = &lane.mode else {
            return;
        };
        if parser.is_between() {
            // Empty lines at most.
            sink.summary.payload.unused += std::mem::take(&mut lane.seen);
            return;
        }
        if parser.waiting() > 0 && lane.begun.is_some() {
            let reason = if is_client {
                "incomplete_request"
            } else {
                "incomplete_response"
            };
            let end = self.halves.get(side).next();
            self.abandon_message(side, reason, end, sink);
        } else {
            self.finish_message(side, false, sink);
        }
    }
}

/// Whether one sequence number lies before another.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn request_framing(head: &Head) -> Framing {
    match (head.chunked, head.length) {
        (true, _) => Framing::Chunked,
        (false, Length::Bytes(n)) => Framing::Sized(n),
        // A request without a usable length has no body (RFC 9112 §6.3).
        (false, Length::Absent | Length::Unusable) => Framing::Empty,
    }
}

fn response_framing(head: &Head) -> Framing {
    match head.line {
        Line::Response {
            status: 100..200 | 204 | 304,
        } => Framing::Empty,
        _ => match (head.chunked, head.length) {
            (true, _) => Framing::Chunked,
            (false, Length::Bytes(n)) => Framing::Sized(n),
            (false, Length::Absent | Length::Unusable) => Framing::UntilClose,
        },
    }
}

fn upgraded(head: &Head) -> Mode {
    let to = head.upgrade.as_deref().unwrap_or_default();
    Mode::Opaque(if to.eq_ignore_ascii_case(b"h2c") {
        HTTP2
    } else {
        "upgraded"
    })
}

impl Begun {
    fn of(bit: Bit<'_>) -> Self {
        Self {
            offset: bit.offset,
            at: bit.at,
            ack: bit.ack,
        }
    }
}

impl<'a> Bit<'a> {
    fn of(piece: &'a Piece) -> Self {
        Self {
            offset: piece.offset,
            at: piece.at,
            ack: piece.ack,
            data: &piece.data,
        }
    }
}
