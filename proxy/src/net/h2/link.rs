//! A connection, whichever end of it is ours: what frames mean, what is sent, and what there is room for. It knows no
//! socket: the task that has it reads and writes, and the tasks of its streams leave here what they have for it.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::request;

use super::{
    error::{Error, Reason},
    frame::{self, kind, setting},
    guard::Guard,
    hpack::{Decoder, Encoder, TABLE},
    stream::Stream,
};
use crate::{
    net::{buffer::Outbox, waker::remember},
    policy::protocol::Http2,
};

mod received;
mod sent;

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
    /// Fields that it has at most.
    pub(super) max_fields: usize,
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
    /// Requests whose header sections have too many fields, are too large, or are none.
    pub heads_too_many: u64,
    /// See there.
    pub heads_too_large: u64,
    /// See there.
    pub heads_malformed: u64,
}

/// A request that has begun.
pub(super) struct New {
    pub(super) head: Box<request::Parts>,
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
