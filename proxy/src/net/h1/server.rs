//! The server's end of a connection. The task that serves it polls all of it: heads, bodies, answers, and whether the client
//! is still there.

use std::{
    cell::RefCell,
    fmt, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::{
    behind::{self, Writer},
    framing::{Decoder, Piece},
    head::{self, Limits, Refused, RequestHead},
};
use crate::{
    error::Error,
    net::{
        body::Incoming,
        buffer::{Inbox, Outbox},
        io::Stream,
        waker::remember,
    },
};

/// What a client may send ahead of its turn; then it is not read from until its turn comes.
const AHEAD: usize = 64 << 10;

/// A client's connection.
#[derive(Debug)]
pub struct Conn(RefCell<Inner>);

struct Inner {
    io: Stream,
    inbox: Inbox,
    out: Outbox,
    body: Decoder,
    trailers: bool,
    /// Whoever waits for more of the body.
    reader: Option<Waker>,
    closed: bool,
    /// [`behind`] has still to write.
    put_off: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub enum NoHead {
    /// The client has ended the connection between two requests.
    Closed,
    /// It has done so within one.
    Cut,
    /// What it sent is refused.
    Refused(Refused),
}

/// A request's body as it comes.
pub struct Request {
    conn: Rc<Conn>,
}

impl Conn {
    /// A connection that was accepted.
    pub fn new(io: Stream) -> Self {
        Self(RefCell::new(Inner {
            io,
            inbox: Inbox::default(),
            out: Outbox::default(),
            body: Decoder::default(),
            trailers: false,
            reader: None,
            closed: false,
            put_off: false,
        }))
    }

    /// Its end is a reset, of which the client sees no order: what it was sent may be lost.
    pub fn reset_on_close(&self) {
        if let Some(tcp) = self.0.borrow().io.tcp() {
            let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// The next request's head, and its body as it comes.
    pub fn poll_head(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        limits: &Limits,
    ) -> Poll<Result<(RequestHead, Incoming), NoHead>> {
        let inner = &mut *self.0.borrow_mut();
        let mut worth_a_look = true;
        loop {
            if !inner.inbox.bytes.is_empty() && worth_a_look {
                let head = head::request(&mut inner.inbox.bytes, limits);
                if let Some(mut head) = head.map_err(NoHead::Refused)? {
                    inner.body = std::mem::take(&mut head.body);
                    inner.trailers = limits.trailers;
                    // What asks for another protocol may get one, whose bytes are a body then.
                    let body = if inner.body.is_done() && !head.upgrade {
                        Incoming::empty()
                    } else {
                        Incoming::request(Request {
                            conn: Rc::clone(self),
                        })
                    };
                    return Poll::Ready(Ok((head, body)));
                }
            }
            let before = inner.inbox.bytes.len();
            match ready!(inner.poll_read(cx)) {
                Ok(0) | Err(_) if before == 0 => return Poll::Ready(Err(NoHead::Closed)),
                Ok(0) | Err(_) => return Poll::Ready(Err(NoHead::Cut)),
                Ok(_) => {
                    let new = inner.inbox.bytes.get(before..).unwrap_or_default();
                    // A head is looked at again when it has a line more: byte for byte, each would cost the whole head.
                    worth_a_look = before == 0
                        || new.contains(&b'\n')
                        || inner.inbox.bytes.len() > limits.bytes;
                }
            }
        }
    }

    /// Something of a head has come.
    pub fn has_begun(&self) -> bool {
        !self.0.borrow().inbox.bytes.is_empty()
    }

    /// The request's body has been read.
    pub fn is_read(&self) -> bool {
        self.0.borrow().body.is_done()
    }

    /// Ready when the client is gone. What it sends meanwhile is kept, up to a bound.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            if inner.closed {
                return Poll::Ready(());
            }
            // A body that is being read finds out itself.
            if inner.inbox.bytes.len() >= AHEAD || inner.reader.is_some() {
                return Poll::Pending;
            }
            match ready!(inner.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Where answers are written to, before [`Conn::poll_flush`].
    pub fn with_out<R>(&self, write: impl FnOnce(&mut Outbox) -> R) -> R {
        write(&mut self.0.borrow_mut().out)
    }

    /// Writes until all is out.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.out.poll_flush(cx, &mut inner.io)
    }

    /// Lets what is to be written wait for others' writes, if it is little, or writes it; [`Conn::poll_rest`] looks whether it
    /// went out.
    pub fn poll_put_off(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let short = self.0.borrow().out.is_short();
        if short && behind::put_off(Rc::<Self>::clone(self), cx.waker()) {
            self.0.borrow_mut().put_off = true;
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    /// Writes what could not be written when its time had come.
    pub fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.put_off {
            return Poll::Ready(Ok(()));
        }
        inner.out.poll_flush(cx, &mut inner.io)
    }

    /// Says that no more will come.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_shutdown(cx)
    }

    /// Reads and drops what the client still sends. Ready when it has ended.
    pub fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            inner.inbox.bytes.clear();
            match ready!(inner.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }
}

impl Writer for Conn {
    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let inner = &mut *self.0.borrow_mut();
        let written = inner.out.poll_flush(cx, &mut inner.io).map_err(|_| ());
        inner.put_off = false;
        written
    }
}

impl Inner {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.inbox.poll_read(cx, &mut self.io));
        self.closed |= matches!(read, Ok(0) | Err(_));
        Poll::Ready(read)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>> {
        loop {
            let piece = self.body.decode(&mut self.inbox.bytes);
            match piece.map_err(|_| Error::BadBody)? {
                Piece::More => {}
                Piece::Trailers(_) if !self.trailers => {
                    self.reader = None;
                    return Poll::Ready(Ok(Piece::End));
                }
                piece => {
                    self.reader = None;
                    return Poll::Ready(Ok(piece));
                }
            }
            if self.closed {
                return Poll::Ready(Err(Error::ClientLeft));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Error::ClientLeft)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    remember(&mut self.reader, cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Request {
    /// From here on the client's bytes are another protocol's, until the connection ends.
    pub fn switch(&self) {
        let mut inner = self.conn.0.borrow_mut();
        if inner.body.is_done() {
            inner.body = Decoder::until_close();
        }
    }
}

impl Body for Request {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = ready!(self.conn.0.borrow_mut().poll_piece(cx));
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::More) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.conn.is_read()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.conn.0.borrow().body.left();
        left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Nobody reads it any more.
        self.conn.0.borrow_mut().reader = None;
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("body", &self.body)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}
