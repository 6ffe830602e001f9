//! A connection, whichever end of it is ours: what frames mean, what is sent, and what there is room for. It knows no
//! socket: the task that has it reads and writes, and the tasks of its streams leave here what they have for it.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::{Method, StatusCode, request};

use super::{
    error::{By, Error, Reason},
    frame::{self, Head, MOST, flag, kind, setting},
    guard::Guard,
    head::{self, Section},
    hpack::{Decoder, Encoder, TABLE},
    stream::{self, Stream},
};
use crate::{
    net::{buffer::Outbox, waker::remember},
    policy::protocol::Http2,
};

/// A window until something else is said (RFC 9113 §6.9.2), and the largest (§6.9.1).
const WINDOW: u32 = (64 << 10) - 1;
const LARGEST: i64 = (1 << 31) - 1;

/// What waits to be written is no more than this before more of a body is taken.
const ROOM: usize = 256 << 10;

/// Bytes of bodies that nobody has read yet, of which each piece may keep the buffer that it was read in.
const HELD: i64 = 256 << 10;

/// Streams that were reset here: what their peer has sent meanwhile is no error of its.
const REMEMBERED: usize = 512;

/// What the ping carries whose answer tells that a good-bye was read.
const GOOD_BYE: [u8; 8] = *b"good bye";

/// A connection, for those that have something of it.
pub(super) struct Link(RefCell<State>);

/// Which end is ours, and what it takes.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) server: bool,
    /// Bytes that a header section has at most.
    pub(super) max_headers: usize,
    pub(super) max_streams: usize,
    /// An extended `CONNECT` is taken.
    pub(super) extended: bool,
    /// A malformed message resets its stream; else it ends the connection.
    pub(super) lenient: bool,
    pub(super) guard: Guard,
}

/// How it stands.
pub(super) struct State {
    role: Role,
    out: Outbox,
    encoder: Encoder,
    decoder: Decoder,
    /// Those under way, by their numbers.
    streams: Vec<(u32, Rc<Stream>)>,
    /// The highest number of the peer's streams, and the next of ours.
    last: u32,
    next: u32,
    /// The highest that came too late.
    ignored: u32,
    /// A header section on its way.
    section: Option<Partial>,
    send_window: i64,
    recv_window: i64,
    /// What was taken, and the peer was not told yet.
    taken: u32,
    window: u32,
    stream_window: u32,
    peer: Peer,
    /// The peer has taken our settings.
    settled: bool,
    counts: Counts,
    reset: VecDeque<u32>,
    /// Streams that wait for the connection's window or for room, in turns.
    waiting: VecDeque<Rc<Stream>>,
    /// The task that reads and writes, and whether it knows that there is something to do.
    task: Option<Waker>,
    awake: bool,
    leaving: Leaving,
    /// The peer takes no more streams.
    gone: bool,
    /// Nobody will begin a stream any more.
    unwanted: bool,
    ended: Option<Error>,
    ping: Ping,
}

/// What the peer has said of itself.
#[derive(Debug)]
struct Peer {
    /// It has said something: what comes first is nothing else (RFC 9113 §3.4).
    begun: bool,
    window: u32,
    streams: Option<u32>,
    extended: bool,
}

/// A header section of several frames.
#[derive(Debug)]
struct Partial {
    stream: u32,
    ends: bool,
    block: Vec<u8>,
}

/// How far a good-bye has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// It was said; what the peer sends until it has read it is taken.
    Said,
    /// Streams after the last are not taken.
    Done,
}

/// A ping that asks whether the peer is there.
#[derive(Debug, Default)]
struct Ping {
    sent: u64,
    answered: u64,
    task: Option<Waker>,
}

/// What happened since this was taken last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Streams that the peer has reset.
    pub resets_received: u64,
    /// Streams that were reset here.
    pub resets_sent: u64,
    /// Requests that were not taken.
    pub refused: u64,
    /// Messages that are none.
    pub malformed: u64,
    /// Header sections that are too large.
    pub too_large: u64,
}

/// A request that has begun.
pub(super) struct New {
    pub(super) head: request::Parts,
    pub(super) stream: Rc<Stream>,
    /// It has no body.
    pub(super) ended: bool,
}

impl Link {
    /// A connection's end, that tells its settings first.
    pub(super) fn new(role: Role, settings: &Http2) -> Rc<Self> {
        let mut state = State {
            out: Outbox::wide(),
            encoder: Encoder::default(),
            decoder: Decoder::new(settings.hpack_table as usize),
            streams: Vec::new(),
            last: 0,
            next: 1,
            ignored: 0,
            section: None,
            send_window: WINDOW.into(),
            recv_window: WINDOW.into(),
            taken: 0,
            window: settings.connection_window.max(WINDOW),
            stream_window: settings.stream_window,
            peer: Peer {
                begun: false,
                window: WINDOW,
                streams: None,
                extended: false,
            },
            settled: false,
            counts: Counts::default(),
            reset: VecDeque::new(),
            waiting: VecDeque::new(),
            task: None,
            awake: false,
            leaving: Leaving::No,
            gone: false,
            unwanted: false,
            ended: None,
            ping: Ping::default(),
            role,
        };
        state.introduce(settings);
        Rc::new(Self(RefCell::new(state)))
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl State {
    fn introduce(&mut self, settings: &Http2) {
        if !self.role.server {
            self.out.put(frame::PREFACE);
        }
        let mut rows = vec![
            (setting::INITIAL_WINDOW_SIZE, settings.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, self.role.max_headers as u32),
        ];
        if settings.hpack_table as usize != TABLE {
            rows.push((setting::HEADER_TABLE_SIZE, settings.hpack_table));
        }
        if self.role.server {
            rows.push((setting::MAX_CONCURRENT_STREAMS, settings.max_streams));
            if self.role.extended {
                rows.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
            }
        } else {
            rows.push((setting::ENABLE_PUSH, 0));
        }
        let mut payload = Vec::with_capacity(6 * rows.len());
        for (name, value) in rows {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.put(kind::SETTINGS, 0, 0, &payload);
        let more = i64::from(self.window) - self.recv_window;
        if more > 0 {
            self.put(kind::WINDOW_UPDATE, 0, 0, &(more as u32).to_be_bytes());
            self.recv_window += more;
        }
    }

    /// A frame of a few bytes.
    fn put(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.touch();
        frame::write(self.out.head(), kind, flags, stream, payload);
    }

    /// There is something to be done for the task that reads and writes.
    fn touch(&mut self) {
        if !self.awake {
            self.awake = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// The task is polled, and does what there is to do before it waits.
    pub(super) fn polled(&mut self, cx: &Context<'_>) {
        self.awake = true;
        remember(&mut self.task, cx.waker());
    }

    /// The task waits.
    pub(super) fn waits(&mut self) {
        self.awake = false;
    }

    /// What is to be written, to be written.
    pub(super) fn out(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// A client reads less than it makes us write: it is not read from. What a server makes us write is bounded by the guard
    /// alone, so that two connections of ours never wait for each other.
    pub(super) fn is_full(&self) -> bool {
        self.role.server && self.out.len() > 2 * ROOM
    }

    /// The peer does not read: more than bodies waits for it.
    pub(super) fn is_behind(&self) -> bool {
        self.out.len() > 4 * ROOM
    }

    /// All of it was.
    pub(super) fn drained(&mut self) {
        self.role.guard.drained();
    }

    /// Why the connection ended, if it has.
    pub(super) fn ended(&self) -> Option<Error> {
        self.ended
    }

    /// It has been left, and all that was under way is over.
    pub(super) fn is_over(&self) -> bool {
        self.streams.is_empty() && (self.leaving == Leaving::Done || self.unwanted || self.gone)
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// A header section is on its way.
    pub(super) fn in_head(&self) -> bool {
        self.section.is_some()
    }

    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    // What the peer sends.

    /// Takes a frame. `Err`: the connection is to end.
    pub(super) fn frame(&mut self, head: Head, payload: &Bytes) -> Result<Option<New>, Error> {
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

    fn remove(&mut self, id: u32) {
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
        let mut section = Section::new(self.role.max_headers);
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
    fn begin(&mut self, id: u32) -> Rc<Stream> {
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

    // What the peer is sent.

    /// Sends a header section.
    pub(super) fn section(
        &mut self,
        stream: u32,
        ends: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        self.touch();
        let out = self.out.head();
        let begin = out.len();
        let mut head = Head {
            length: 0,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream,
        };
        if ends {
            head.flags |= flag::END_STREAM;
        }
        out.extend_from_slice(&head.write());
        self.encoder.begin(out);
        write(&mut self.encoder, out);
        head.length = out.len() - begin - frame::HEAD;
        if head.length > MOST {
            split(out, begin, head);
        } else if let Some(place) = out.get_mut(begin..begin + frame::HEAD) {
            place.copy_from_slice(&head.write());
        }
    }

    /// Begins a request: its stream, and what tells its head.
    pub(super) fn ask(
        &mut self,
        ends: bool,
        method: &Method,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Rc<Stream> {
        let id = self.next;
        self.next += 2;
        let stream = self.begin(id);
        let mut state = stream.state.borrow_mut();
        state.sent = ends;
        state.bodiless = *method == Method::HEAD;
        state.tunnel = *method == Method::CONNECT;
        drop(state);
        self.role.guard.began();
        self.section(id, ends, write);
        stream
    }

    /// Sends as much of a body's piece as there is a window and room for.
    pub(super) fn data(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        piece: &mut Bytes,
        last: bool,
    ) -> Poll<()> {
        let mut room = ROOM.saturating_sub(self.out.len());
        // Whoever waits comes first.
        let turn = std::mem::take(&mut stream.turn) || self.waiting.is_empty();
        loop {
            let most = self.send_window.min(stream.send_window).min(MOST as i64);
            let count = piece.len().min(usize::try_from(most).unwrap_or_default());
            if !piece.is_empty() && (count == 0 || room == 0 || !turn) {
                // A stream that has a window waits for what all share.
                if stream.send_window > 0 && !stream.queued {
                    stream.queued = true;
                    self.waiting.push_back(Rc::clone(found));
                }
                return Poll::Pending;
            }
            let part = piece.split_to(count);
            let ends = last && piece.is_empty();
            if count > 0 || ends {
                let flags = if ends { flag::END_STREAM } else { 0 };
                self.touch();
                let head = Head {
                    length: count,
                    kind: kind::DATA,
                    flags,
                    stream: found.id,
                };
                self.out.put(&head.write());
                self.out.put_data(part);
                room = room.saturating_sub(frame::HEAD + count);
                self.send_window -= count as i64;
                stream.send_window -= count as i64;
                self.role.guard.sent_data();
            }
            if piece.is_empty() {
                stream.sent |= ends;
                self.close_if_over(found, stream);
                return Poll::Ready(());
            }
        }
    }

    /// Wakes the stream that waits longest, if it can send now. When it has, it is the next one's turn. No stream may be
    /// borrowed.
    pub(super) fn pass_on(&mut self) {
        while self.send_window > 0
            && !self.waiting.is_empty()
            && self.out.len() < ROOM
            && let Some(next) = self.waiting.pop_front()
        {
            let mut stream = next.state.borrow_mut();
            stream.queued = false;
            stream.turn = true;
            if stream.wake_writer() {
                return;
            }
        }
    }

    /// So much of a stream's body was taken: the peer may send as much again.
    pub(super) fn take(&mut self, found: &Rc<Stream>, stream: &mut stream::State, count: u32) {
        self.taken(count);
        stream.taken += count;
        if !stream.came && stream.error.is_none() && stream.taken >= (self.stream_window / 2).max(1)
        {
            let more = std::mem::take(&mut stream.taken);
            stream.recv_window += i64::from(more);
            self.put(kind::WINDOW_UPDATE, 0, found.id, &more.to_be_bytes());
        }
    }

    /// The same for the connection alone.
    pub(super) fn taken(&mut self, count: u32) {
        self.taken += count;
        if self.taken >= self.window / 2 && self.ended.is_none() {
            let more = std::mem::take(&mut self.taken);
            self.recv_window += i64::from(more);
            self.put(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Resets a stream, unless it has ended.
    pub(super) fn reset(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        reason: Reason,
        by: By,
    ) {
        if stream.is_over() || stream.error.is_some() {
            return;
        }
        stream.end(Error::Reset(reason, by));
        self.remove(found.id);
        self.reset_id(found.id, reason);
    }

    fn reset_id(&mut self, id: u32, reason: Reason) {
        self.counts.resets_sent += 1;
        if self.reset.len() == REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
        self.put(kind::RST_STREAM, 0, id, &reason.0.to_be_bytes());
    }

    pub(super) fn close_if_over(&mut self, found: &Rc<Stream>, stream: &stream::State) {
        if stream.is_over() {
            self.remove(found.id);
        }
    }

    /// Somebody does not hold the stream any more.
    pub(super) fn leave(&mut self, found: &Rc<Stream>) {
        let mut stream = found.state.borrow_mut();
        stream.users -= 1;
        if stream.users > 0 {
            return;
        }
        let unread = stream.forget();
        self.taken(unread);
        // RFC 9113 §8.1: a server that has answered in full wants no more of the request.
        let answered = self.role.server && stream.sent;
        let reason = if answered {
            Reason::NO_ERROR
        } else {
            Reason::CANCEL
        };
        self.reset(found, &mut stream, reason, By::User);
        drop(stream);
        self.pass_on();
    }

    // How it ends.

    fn go_away(&mut self, last: u32, reason: Reason) {
        let [l0, l1, l2, l3] = last.to_be_bytes();
        let [r0, r1, r2, r3] = reason.0.to_be_bytes();
        self.put(kind::GOAWAY, 0, 0, &[l0, l1, l2, l3, r0, r1, r2, r3]);
    }

    /// Says good-bye (RFC 9113 §6.8): what the peer sends until it has read that is taken.
    pub(super) fn say_good_bye(&mut self) {
        if self.leaving == Leaving::No && self.ended.is_none() {
            self.leaving = Leaving::Said;
            self.go_away(u32::MAX >> 1, Reason::NO_ERROR);
            self.put(kind::PING, 0, 0, &GOOD_BYE);
        }
    }

    /// Nobody will begin a stream any more.
    pub(super) fn unwanted(&mut self) {
        self.unwanted = true;
        self.touch();
    }

    /// Ends it, and all that is under way.
    pub(super) fn end(&mut self, error: Error) {
        if self.ended.is_some() {
            return;
        }
        if error != Error::Io {
            self.go_away(self.last, error.reason());
        }
        self.ended = Some(error);
        for (_, stream) in self.streams.drain(..) {
            stream.state.borrow_mut().end(error);
        }
        self.waiting.clear();
        if let Some(task) = self.ping.task.take() {
            task.wake();
        }
    }

    // What a client asks.

    /// The peer takes another stream, as far as is known.
    pub(super) fn takes_more(&self) -> bool {
        let spent = self.next > u32::MAX >> 1;
        self.ended.is_none() && !self.gone && !self.unwanted && !spent
    }

    /// Streams that the peer takes at once; `None`: it has not said anything yet.
    pub(super) fn peer_streams(&self) -> Option<u32> {
        self.peer
            .begun
            .then(|| self.peer.streams.unwrap_or(u32::MAX))
    }

    /// The peer takes an extended `CONNECT`; `None`: it has not said anything yet.
    pub(super) fn peer_extended(&self) -> Option<bool> {
        self.peer.begun.then_some(self.peer.extended)
    }

    /// Sends a ping; its number.
    pub(super) fn ping(&mut self) -> u64 {
        self.ping.sent += 1;
        let number = self.ping.sent;
        self.put(kind::PING, 0, 0, &number.to_be_bytes());
        number
    }

    /// Whether the ping was answered; the connection's end is no answer.
    pub(super) fn poll_pong(&mut self, cx: &Context<'_>, number: u64) -> Poll<()> {
        if self.ping.answered >= number {
            return Poll::Ready(());
        }
        self.ping.task = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Makes frames of a section that is too long for one (RFC 9113 §4.3).
fn split(out: &mut Vec<u8>, begin: usize, first: Head) {
    let block = out.split_off(begin + frame::HEAD);
    out.truncate(begin);
    let mut pieces = block.chunks(MOST).peekable();
    let (mut kind, mut flags) = (first.kind, first.flags & !flag::END_HEADERS);
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        frame::write(out, kind, flags, first.stream, piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}
