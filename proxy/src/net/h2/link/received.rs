//! What the peer sends: frames, and what they mean.

use std::rc::Rc;

use bytes::{Buf, Bytes};
use http::StatusCode;

use super::{
    super::{
        error::{By, Error, Reason},
        frame::{self, Head, MOST, flag, kind, setting},
        head::{self, Section},
        stream::{self, Stream},
    },
    GOOD_BYE, HELD, LARGEST, Leaving, New, Partial, State, WINDOW,
};

impl State {
    /// Takes a frame. `Err`: the connection is to end.
    pub(in crate::net::h2) fn frame(
        &mut self,
        head: Head,
        payload: &Bytes,
    ) -> Result<Option<New>, Error> {
        if !self.peer.begun && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Error::PROTOCOL);
        }
        if let Some(section) = &self.section
            && (head.kind != kind::CONTINUATION || head.stream != section.stream)
        {
            return Err(Error::PROTOCOL);
        }
        if !head.has_its_length() {
            return Err(Error::GoAway(Reason::FRAME_SIZE_ERROR, By::Us));
        }
        if let Some(violation) = self.role.guard.came(head) {
            return Err(Error::Flood(violation));
        }
        let of_stream = matches!(
            head.kind,
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION
        );
        let of_connection = matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        if (of_stream && head.stream == 0) || (of_connection && head.stream != 0) {
            return Err(Error::PROTOCOL);
        }
        match head.kind {
            kind::DATA => self.came(head, payload)?,
            kind::HEADERS => return self.headers(head, payload),
            kind::CONTINUATION => return self.continuation(head, payload),
            kind::RST_STREAM => self.was_reset(head.stream, Reason(frame::number(payload)))?,
            kind::SETTINGS => self.settings(head, payload)?,
            // Promises are not taken, and none is made.
            kind::PUSH_PROMISE => return Err(Error::PROTOCOL),
            kind::PING if head.has(flag::ACK) => self.pong(payload),
            kind::PING => self.put(kind::PING, flag::ACK, 0, payload),
            kind::GOAWAY => self.good_bye(payload),
            kind::WINDOW_UPDATE => self.window_update(head.stream, frame::number(payload))?,
            // RFC 9113 §5.5: what is not known is ignored.
            _ => {}
        }
        Ok(None)
    }

    fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let at = self.streams.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.streams.get(at).map(|(_, stream)| Rc::clone(stream))
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Ok(at) = self.streams.binary_search_by_key(&id, |(id, _)| *id) {
            self.streams.remove(at);
            if !self.waiting.is_empty() {
                self.waiting.retain(|stream| stream.id != id);
            }
            if self.streams.is_empty() {
                // Whoever has it may have waited for this.
                self.touch();
            }
        }
    }

    /// No stream of that number has begun.
    fn is_idle(&self, id: u32) -> bool {
        if (id % 2 == 1) == self.role.server {
            return id > self.last.max(self.ignored);
        }
        id >= self.next || id.is_multiple_of(2)
    }

    /// A piece of a body.
    fn came(&mut self, head: Head, payload: &Bytes) -> Result<(), Error> {
        let flow = head.length as i64;
        if flow > self.recv_window {
            return Err(Error::GoAway(Reason::FLOW_CONTROL_ERROR, By::Us));
        }
        self.recv_window -= flow;
        let data = frame::unpadded(head, payload).ok_or(Error::PROTOCOL)?;
        let Some(found) = self.find(head.stream) else {
            if self.is_idle(head.stream) {
                return Err(Error::PROTOCOL);
            }
            // It has ended, of which the peer may not know yet.
            self.taken(flow as u32);
            return Ok(());
        };
        let mut stream = found.state.borrow_mut();
        let reason = if stream.came {
            Some(Reason::STREAM_CLOSED)
        } else if flow > stream.recv_window {
            Some(Reason::FLOW_CONTROL_ERROR)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.taken(flow as u32);
            self.reset(&found, &mut stream, reason, By::Us);
            return Ok(());
        }
        stream.recv_window -= flow;
        let ends = head.has(flag::END_STREAM);
        let length = data.len() as u64;
        let short = stream.left.is_some_and(|left| left < length);
        stream.left = stream.left.map(|left| left.saturating_sub(length));
        if !stream.answered || short || (ends && stream.left.is_some_and(|left| left > 0)) {
            self.taken(flow as u32);
            return self.malformed(&found, &mut stream);
        }
        stream.came = ends;
        // Nobody takes the padding.
        let mut nobodys = flow as u32 - length as u32;
        if stream.read {
            // What waits for slow readers should not keep all that it was read with.
            let held = i64::from(self.window) - self.recv_window - i64::from(self.taken);
            stream.push(if held > HELD {
                Bytes::copy_from_slice(data)
            } else {
                payload.slice_ref(data)
            });
        } else {
            nobodys = flow as u32;
        }
        self.take(&found, &mut stream, nobodys);
        stream.wake_reader();
        self.close_if_over(&found, &stream);
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &Bytes) -> Result<Option<New>, Error> {
        let mut block = frame::unpadded(head, payload).ok_or(Error::PROTOCOL)?;
        let mut itself = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_at_checked(5).ok_or(Error::PROTOCOL)?;
            itself = frame::number(priority) & (u32::MAX >> 1) == head.stream;
            block = rest;
        }
        let ends = head.has(flag::END_STREAM);
        if !head.has(flag::END_HEADERS) {
            self.section = Some(Partial {
                stream: head.stream,
                ends,
                block: block.to_vec(),
            });
            return Ok(None);
        }
        let new = self.section_came(head.stream, ends, block)?;
        // RFC 9113 §5.3.1 has no priorities any more, RFC 7540 §5.3.1 refused a stream that depends on itself.
        if let Some(New { stream, .. }) = new.as_ref().filter(|_| itself) {
            let mut state = stream.state.borrow_mut();
            self.counts.refused += 1;
            return self.malformed(stream, &mut state).map(|()| None);
        }
        Ok(new)
    }

    fn continuation(&mut self, head: Head, payload: &Bytes) -> Result<Option<New>, Error> {
        let mut section = self.section.take().ok_or(Error::PROTOCOL)?;
        section.block.extend_from_slice(payload);
        if section.block.len() > 2 * self.role.max_headers + MOST {
            return Err(Error::GoAway(Reason::ENHANCE_YOUR_CALM, By::Us));
        }
        if !head.has(flag::END_HEADERS) {
            self.section = Some(section);
            return Ok(None);
        }
        self.section_came(section.stream, section.ends, &section.block)
    }

    /// A header section has come in full. It is read whatever becomes of it: the table is every section's.
    fn section_came(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<Option<New>, Error> {
        let mut section = Section::new(self.role.max_headers, self.role.max_fields);
        self.decoder
            .decode(block, |field| section.take(field))
            .map_err(|_| Error::GoAway(Reason::COMPRESSION_ERROR, By::Us))?;
        if let Some(found) = self.find(id) {
            let mut stream = found.state.borrow_mut();
            if stream.came {
                self.reset(&found, &mut stream, Reason::STREAM_CLOSED, By::Us);
            } else if section.is_too_large() {
                self.too_large(&found, &mut stream);
            } else if stream.answered {
                self.trailers(&found, &mut stream, ends, section)?;
            } else {
                self.answer(&found, &mut stream, ends, section)?;
            }
            return Ok(None);
        }
        if !self.role.server {
            // The answer to what was reset meanwhile.
            let idle = self.is_idle(id);
            return if idle { Err(Error::PROTOCOL) } else { Ok(None) };
        }
        if id.is_multiple_of(2) {
            return Err(Error::PROTOCOL);
        }
        if id <= self.last {
            let late = self.reset.contains(&id);
            let closed = Error::GoAway(Reason::STREAM_CLOSED, By::Us);
            return if late { Ok(None) } else { Err(closed) };
        }
        if self.leaving == Leaving::Done {
            self.ignored = self.ignored.max(id);
            return Ok(None);
        }
        self.last = id;
        self.role.guard.began();
        self.request(id, ends, section)
    }

    fn request(&mut self, id: u32, ends: bool, section: Section) -> Result<Option<New>, Error> {
        if section.is_too_large() {
            self.counts.too_large += 1;
            if section.has_too_many() {
                self.counts.heads_too_many += 1;
            } else {
                self.counts.heads_too_large += 1;
            }
            self.reset_id(id, Reason::INTERNAL_ERROR);
            return Ok(None);
        }
        if self.streams.len() >= self.role.max_streams {
            self.counts.refused += 1;
            self.reset_id(id, Reason::REFUSED_STREAM);
            return Ok(None);
        }
        let head = section.request(self.role.extended);
        let head = head.and_then(|head| Ok((head::length(&head.headers)?, head)));
        let Some((left, head)) = head
            .ok()
            .filter(|(left, _)| !ends || left.unwrap_or_default() == 0)
        else {
            self.counts.refused += 1;
            self.counts.malformed += 1;
            self.counts.heads_malformed += 1;
            self.reset_id(id, Reason::PROTOCOL_ERROR);
            return if self.role.lenient {
                Ok(None)
            } else {
                Err(Error::PROTOCOL)
            };
        };
        let stream = self.begin(id);
        let mut state = stream.state.borrow_mut();
        (state.answered, state.came, state.left) = (true, ends, left);
        drop(state);
        Ok(Some(New {
            head,
            stream,
            ended: ends,
        }))
    }

    /// A stream that begins. Numbers ascend.
    pub(super) fn begin(&mut self, id: u32) -> Rc<Stream> {
        // Until the peer has taken our settings, it may send what is usual.
        let least = if self.settled { 0 } else { WINDOW };
        let recv = self.stream_window.max(least);
        let stream = Stream::new(id, stream::State::new(recv, self.peer.window));
        self.streams.push((id, Rc::clone(&stream)));
        stream
    }

    fn trailers(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        ends: bool,
        section: Section,
    ) -> Result<(), Error> {
        match section.trailers() {
            Ok(trailers) if ends && stream.left.unwrap_or_default() == 0 => {
                stream.end_with(trailers);
                stream.wake_reader();
                self.close_if_over(found, stream);
                Ok(())
            }
            _ => self.malformed(found, stream),
        }
    }

    fn answer(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        ends: bool,
        section: Section,
    ) -> Result<(), Error> {
        let Ok(head) = section.answer() else {
            return self.malformed(found, stream);
        };
        if head.status.is_informational() {
            // Only HTTP/1 switches protocols (RFC 9113 §8.6); others are of no use to whoever waits for the answer.
            if ends || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return self.malformed(found, stream);
            }
            return Ok(());
        }
        let Ok(length) = head::length(&head.headers) else {
            return self.malformed(found, stream);
        };
        // RFC 9110 §8.6: it is not a body's that follows, but what one would have had.
        let none = [StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT].contains(&head.status);
        let tunnel = stream.tunnel && head.status.is_success();
        stream.left = length.filter(|_| !(stream.bodiless || none || tunnel));
        if ends && stream.left.unwrap_or_default() > 0 {
            return self.malformed(found, stream);
        }
        (stream.answer, stream.answered, stream.came) = (Some(head), true, ends);
        stream.wake_reader();
        self.close_if_over(found, stream);
        Ok(())
    }

    fn too_large(&mut self, found: &Rc<Stream>, stream: &mut stream::State) {
        self.counts.too_large += 1;
        let reason = if self.role.server {
            Reason::INTERNAL_ERROR
        } else {
            Reason::PROTOCOL_ERROR
        };
        self.reset(found, stream, reason, By::Us);
    }

    /// RFC 9113 §8.1.1: a message that is none ends its stream at least.
    fn malformed(&mut self, found: &Rc<Stream>, stream: &mut stream::State) -> Result<(), Error> {
        self.counts.malformed += 1;
        self.reset(found, stream, Reason::PROTOCOL_ERROR, By::Us);
        if self.role.lenient {
            Ok(())
        } else {
            Err(Error::PROTOCOL)
        }
    }

    fn was_reset(&mut self, id: u32, reason: Reason) -> Result<(), Error> {
        if self.is_idle(id) {
            return Err(Error::PROTOCOL);
        }
        self.counts.resets_received += 1;
        if let Some(stream) = self.find(id) {
            stream
                .state
                .borrow_mut()
                .end(Error::Reset(reason, By::Peer));
            self.remove(id);
            self.pass_on();
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, mut payload: &[u8]) -> Result<(), Error> {
        if head.has(flag::ACK) {
            self.settled = true;
            return Ok(());
        }
        let mut window = self.peer.window;
        while payload.remaining() >= 6 {
            let (name, value) = (payload.get_u16(), payload.get_u32());
            match name {
                setting::HEADER_TABLE_SIZE => self.encoder.bound(value as usize),
                // RFC 9113 §6.5.2: a server says nothing but 0.
                setting::ENABLE_PUSH if value > u32::from(self.role.server) => {
                    return Err(Error::PROTOCOL);
                }
                setting::MAX_CONCURRENT_STREAMS => self.peer.streams = Some(value),
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > LARGEST => {
                    return Err(Error::GoAway(Reason::FLOW_CONTROL_ERROR, By::Us));
                }
                // The last one counts: each is work for all streams.
                setting::INITIAL_WINDOW_SIZE => window = value,
                setting::MAX_FRAME_SIZE if !(MOST as u32..1 << 24).contains(&value) => {
                    return Err(Error::PROTOCOL);
                }
                setting::ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(Error::PROTOCOL),
                setting::ENABLE_CONNECT_PROTOCOL => self.peer.extended = value == 1,
                _ => {}
            }
        }
        self.initial_window(window)?;
        self.peer.begun = true;
        self.put(kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    /// RFC 9113 §6.9.2: what was said before counts from the new beginning.
    fn initial_window(&mut self, window: u32) -> Result<(), Error> {
        let more = i64::from(window) - i64::from(self.peer.window);
        if more == 0 {
            return Ok(());
        }
        self.peer.window = window;
        for (_, stream) in &self.streams {
            let mut stream = stream.state.borrow_mut();
            stream.send_window += more;
            if stream.send_window > LARGEST {
                return Err(Error::GoAway(Reason::FLOW_CONTROL_ERROR, By::Us));
            }
            if more > 0 && !stream.queued {
                stream.wake_writer();
            }
        }
        Ok(())
    }

    fn window_update(&mut self, id: u32, more: u32) -> Result<(), Error> {
        let more = i64::from(more & (u32::MAX >> 1));
        if id == 0 {
            if more == 0 {
                return Err(Error::PROTOCOL);
            }
            self.send_window += more;
            if self.send_window > LARGEST {
                return Err(Error::GoAway(Reason::FLOW_CONTROL_ERROR, By::Us));
            }
            self.pass_on();
            return Ok(());
        }
        let Some(found) = self.find(id) else {
            let idle = self.is_idle(id);
            return if idle { Err(Error::PROTOCOL) } else { Ok(()) };
        };
        let mut stream = found.state.borrow_mut();
        stream.send_window += more;
        if more == 0 {
            self.reset(&found, &mut stream, Reason::PROTOCOL_ERROR, By::Us);
        } else if stream.send_window > LARGEST {
            self.reset(&found, &mut stream, Reason::FLOW_CONTROL_ERROR, By::Us);
        } else if stream.send_window > 0 && !stream.queued {
            stream.wake_writer();
        }
        Ok(())
    }

    fn pong(&mut self, payload: &[u8]) {
        if payload == GOOD_BYE && self.leaving == Leaving::Said {
            self.leaving = Leaving::Done;
            self.go_away(self.last, Reason::NO_ERROR);
            return;
        }
        if payload == self.ping.sent.to_be_bytes() {
            self.ping.answered = self.ping.sent;
            if let Some(task) = self.ping.task.take() {
                task.wake();
            }
        }
    }

    /// RFC 9113 §6.8: the peer leaves; what it has not begun it will not.
    fn good_bye(&mut self, payload: &[u8]) {
        self.gone = true;
        if self.role.server {
            return;
        }
        let last = frame::number(payload) & (u32::MAX >> 1);
        let reason = Reason(frame::number(payload.get(4..).unwrap_or_default()));
        let over = self.streams.partition_point(|(id, _)| *id <= last);
        for (_, stream) in self.streams.drain(over..) {
            stream
                .state
                .borrow_mut()
                .end(Error::GoAway(reason, By::Peer));
        }
        self.pass_on();
    }
}
