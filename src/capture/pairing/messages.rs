//! Messages as they are read: a request waits for its answer, an answer finds its request, and each ends somewhere.

use super::lane::{Bit, Mode};
use super::pending::{Message, Pending};
use super::pick::Pick;
use super::{Connection, PENDING_MAX, PENDING_MAX_ONE_WAY, Side, Sink};
use crate::capture::Keep;
use crate::capture::exchange::{Body, Response};
use crate::capture::http1::{AfterGap, Event, Framing, HTTP2, Head, Length, Line};

impl Connection {
    /// Lets the parser of a lane take one step. How many bytes were used, and whether to call again; `Err` to wait.
    pub(super) fn message(
        &mut self,
        side: Side,
        bit: Bit<'_>,
        sink: &mut Sink,
    ) -> Result<(usize, bool), ()> {
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
                self.body(side, body, sink);
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

    /// A request's head is complete.
    pub(super) fn asked(&mut self, side: Side, head: Head, sink: &mut Sink) {
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
        self.queue.push_back(Box::new(pending));
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
    pub(super) fn answered(&mut self, side: Side, head: Head, sink: &mut Sink) {
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
                    body: Body::default(),
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
    pub(super) fn switch(&mut self, side: Side, mode: &Mode) {
        for side in [side, side.other()] {
            let lane = self.lanes.get_mut(side);
            lane.awaits = None;
            lane.mode = mode.again();
        }
    }

    pub(super) fn body(&mut self, side: Side, bytes: &[u8], sink: &mut Sink) {
        if let Some(message) = self.current(side) {
            message.bytes += bytes.len() as u64;
            if let Keep::Bodies { max_bytes } = sink.keep {
                let left = sink
                    .bodies_max
                    .map_or(usize::MAX, |max| max.saturating_sub(sink.bodies));
                let room = max_bytes
                    .saturating_sub(message.data.len())
                    .min(bytes.len())
                    .min(left);
                sink.bodies += room;
                message
                    .data
                    .extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
        }
    }

    /// The message that a lane is in.
    pub(super) fn current(&mut self, side: Side) -> Option<&mut Message> {
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
    pub(super) fn finish_message(&mut self, side: Side, is_whole: bool, sink: &mut Sink) {
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
    pub(super) fn abandon_message(
        &mut self,
        side: Side,
        reason: &'static str,
        until: u64,
        sink: &mut Sink,
    ) {
        let lane = self.lanes.get_mut(side);
        if let Some(begun) = lane.begun.take() {
            // In a head, which gives no exchange.
            let seen = std::mem::take(&mut lane.seen);
            lane.lose(begun.offset, seen, reason);
            sink.summary.payload.unused += seen;
            lane.current = None;
        } else {
            sink.skip(reason);
            self.finish_message(side, false, sink);
        }
        self.lose_place(side, until);
    }

    /// Messages may have been missed before this offset.
    pub(super) fn lose_place(&mut self, side: Side, until: u64) {
        self.is_disrupted = true;
        let lane = self.lanes.get_mut(side);
        lane.disrupted_at = Some(until);
        lane.mode = Mode::Search;
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self, side: Side, offset: u64, length: u64, sink: &mut Sink) {
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
    pub(super) fn end(&mut self, side: Side, at: u64, sink: &mut Sink) {
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
    pub(super) fn emit(&mut self, sink: &mut Sink) {
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

    pub(super) fn give_front(&mut self, sink: &mut Sink) {
        let Some(pending) = self.queue.pop_front() else {
            return;
        };
        self.front += 1;
        self.unanswered = self.unanswered.max(self.front);
        sink.bodies -= pending.request.data.len() + pending.response.data.len();
        let exchange = pending.exchange();
        sink.summary.requests += 1;
        sink.summary.responses += u64::from(exchange.response.is_some());
        sink.exchanges.push(exchange);
    }

    /// Ends a lane inside whatever it is in.
    pub(super) fn close_lane(&mut self, side: Side, sink: &mut Sink) {
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
