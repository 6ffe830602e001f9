//! A stream: what both its sides know of it, and what its users hold of it.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, response};
use http_body::Frame;

use super::{
    error::{By, Error, Reason},
    hpack::Encoder,
    link::Link,
};
use crate::net::waker::remember;

/// Pieces of a body below this are put together while nobody reads them: a piece costs more than its bytes.
const SMALL: usize = 512;

/// They are put together to no more than this.
const TOGETHER: usize = 4 << 10;

/// A stream.
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) state: RefCell<State>,
}

/// How it stands.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Who holds something of it.
    pub(super) users: u8,
    /// Somebody reads the body.
    pub(super) read: bool,
    chunks: VecDeque<Bytes>,
    /// Some of the body has come.
    begun: bool,
    /// Bytes of them.
    pub(super) unread: u32,
    pub(super) answer: Option<response::Parts>,
    /// The answer's head has come; a client's stream has none at first.
    pub(super) answered: bool,
    /// It is the answer to `HEAD`.
    pub(super) bodiless: bool,
    /// It is the answer to `CONNECT`.
    pub(super) tunnel: bool,
    trailers: Option<HeaderMap>,
    /// The peer has sent all.
    pub(super) came: bool,
    /// What `content-length` says, less what has come.
    pub(super) left: Option<u64>,
    /// What the peer may still send, and what it may be told that was taken.
    pub(super) recv_window: i64,
    pub(super) taken: u32,
    /// What it may still be sent.
    pub(super) send_window: i64,
    /// All has been sent.
    pub(super) sent: bool,
    /// It waits for the connection's window, or for room, and it is its turn now.
    pub(super) queued: bool,
    pub(super) turn: bool,
    /// How it ended before its time.
    pub(super) error: Option<Error>,
    /// Who waits for what the peer sends, and for what it may be sent.
    recv_task: Option<Waker>,
    send_task: Option<Waker>,
}

impl Stream {
    pub(super) fn new(id: u32, state: State) -> Rc<Self> {
        let state = RefCell::new(state);
        Rc::new(Self { id, state })
    }
}

impl State {
    /// One whose sides may send so much.
    pub(super) fn new(recv: u32, send: u32) -> Self {
        Self {
            read: true,
            recv_window: recv.into(),
            send_window: send.into(),
            ..Self::default()
        }
    }

    /// Both sides have sent all.
    pub(super) fn is_over(&self) -> bool {
        self.came && self.sent
    }

    /// The peer has sent all, and all of it was read.
    fn is_read(&self) -> bool {
        self.came && self.chunks.is_empty() && self.trailers.is_none()
    }

    /// A piece of the body has come. One without content counts where it is the first: there is a body, if an empty one.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() && self.begun {
            return;
        }
        self.begun = true;
        self.unread += piece.len() as u32;
        if piece.len() < SMALL
            && let Some(last) = self.chunks.back_mut()
            && last.len() + piece.len() <= TOGETHER
        {
            let all = std::mem::take(last);
            let mut all = all.try_into_mut().unwrap_or_else(|all| {
                let mut copy = BytesMut::with_capacity(TOGETHER);
                copy.extend_from_slice(&all);
                copy
            });
            all.extend_from_slice(&piece);
            *last = all.freeze();
            return;
        }
        self.chunks.push_back(piece);
    }

    /// The body's trailers have come.
    pub(super) fn end_with(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        self.came = true;
    }

    /// Nobody reads what is there.
    pub(super) fn forget(&mut self) -> u32 {
        self.chunks = VecDeque::new();
        std::mem::take(&mut self.unread)
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(task) = self.recv_task.take() {
            task.wake();
        }
    }

    /// Whether somebody was woken.
    pub(super) fn wake_writer(&mut self) -> bool {
        self.send_task.take().map(Waker::wake).is_some()
    }

    pub(super) fn end(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.wake_reader();
        self.wake_writer();
    }
}

/// What somebody holds of a stream. When nobody does any more, it is reset unless it is over.
struct Hold {
    link: Rc<Link>,
    stream: Rc<Stream>,
}

impl Hold {
    fn new(link: &Rc<Link>, stream: &Rc<Stream>) -> Self {
        stream.state.borrow_mut().users += 1;
        Self {
            link: Rc::clone(link),
            stream: Rc::clone(stream),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.link.state().leave(&self.stream);
    }
}

/// The body of a peer's message, as it comes. Its window is opened again by what is taken out of it: a reader that is slow
/// is sent no more than the window.
pub struct Recv(Hold);

/// What a peer is sent on a stream: a head, a body, trailers.
pub struct Sender(Hold);

/// The answer to a request, as it comes.
pub struct Answer(Hold);

impl Recv {
    pub(super) fn new(link: &Rc<Link>, stream: &Rc<Stream>) -> Self {
        Self(Hold::new(link, stream))
    }

    /// The next piece, or the trailers.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut stream = self.0.stream.state.borrow_mut();
        while let Some(piece) = stream.chunks.pop_front() {
            if piece.is_empty() {
                continue;
            }
            let count = piece.len() as u32;
            stream.unread -= count;
            self.0.link.state().take(&self.0.stream, &mut stream, count);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = stream.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if stream.came {
            return Poll::Ready(None);
        }
        if let Some(error) = stream.error {
            return Poll::Ready(Some(Err(error)));
        }
        remember(&mut stream.recv_task, cx.waker());
        Poll::Pending
    }

    /// There is nothing more.
    pub fn is_end_stream(&self) -> bool {
        self.0.stream.state.borrow().is_read()
    }

    /// What `content-length` says, less what was read.
    pub fn left(&self) -> Option<u64> {
        let stream = self.0.stream.state.borrow();
        Some(stream.left? + u64::from(stream.unread))
    }
}

impl Drop for Recv {
    fn drop(&mut self) {
        let mut stream = self.0.stream.state.borrow_mut();
        stream.read = false;
        let unread = stream.forget();
        self.0.link.state().taken(unread);
    }
}

impl Sender {
    pub(super) fn new(link: &Rc<Link>, stream: &Rc<Stream>) -> Self {
        Self(Hold::new(link, stream))
    }

    /// Sends the head of an answer.
    pub fn head(&mut self, head: &response::Parts, last: bool) -> Result<(), Error> {
        self.section(last, |encoder, out| {
            encoder.status(out, head.status);
            encoder.headers(out, &head.headers);
        })
    }

    /// Sends as much of the piece as the peer and the connection take, and leaves the rest of it. `Ready`: all was sent; it
    /// was the body's last if `last`.
    pub fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut Bytes,
        last: bool,
    ) -> Poll<Result<(), Error>> {
        let mut stream = self.0.stream.state.borrow_mut();
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        let mut link = self.0.link.state();
        let polled = link.data(&self.0.stream, &mut stream, piece, last);
        if polled.is_pending() {
            remember(&mut stream.send_task, cx.waker());
        }
        drop(stream);
        link.pass_on();
        polled.map(Ok)
    }

    /// Sends trailers, which end the message.
    pub fn trailers(&mut self, trailers: &HeaderMap) -> Result<(), Error> {
        self.section(true, |encoder, out| encoder.headers(out, trailers))
    }

    fn section(
        &mut self,
        last: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), Error> {
        let mut stream = self.0.stream.state.borrow_mut();
        stream.error.map_or(Ok(()), Err)?;
        let mut link = self.0.link.state();
        link.section(self.0.stream.id, last, write);
        stream.sent = last;
        link.close_if_over(&self.0.stream, &stream);
        Ok(())
    }

    /// Resets the stream, unless it has ended.
    pub fn reset(&mut self, reason: Reason) {
        let mut stream = self.0.stream.state.borrow_mut();
        let mut link = self.0.link.state();
        link.reset(&self.0.stream, &mut stream, reason, By::User);
    }

    /// How the stream ended before its time, when it has.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut stream = self.0.stream.state.borrow_mut();
        if let Some(error) = stream.error {
            return Poll::Ready(error);
        }
        remember(&mut stream.send_task, cx.waker());
        Poll::Pending
    }
}

impl Answer {
    pub(super) fn new(link: &Rc<Link>, stream: &Rc<Stream>) -> Self {
        Self(Hold::new(link, stream))
    }
}

impl Future for Answer {
    /// The head, and the body if there is one.
    type Output = Result<(response::Parts, Option<Recv>), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stream = self.0.stream.state.borrow_mut();
        if let Some(head) = stream.answer.take() {
            let ended = stream.is_read();
            drop(stream);
            let body = (!ended).then(|| Recv::new(&self.0.link, &self.0.stream));
            return Poll::Ready(Ok((head, body)));
        }
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        remember(&mut stream.recv_task, cx.waker());
        Poll::Pending
    }
}

macro_rules! debug {
    ($($name:ident)*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0.stream.id).finish()
            }
        })*
    };
}

debug!(Recv Sender Answer);
