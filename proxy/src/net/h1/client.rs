//! The client's end of a connection: one exchange at a time, carried out by the task that wants its answer. There is no task
//! of the connection's own, so that an idle one is no more than its socket.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::{io::AsyncWrite, task::unconstrained};

use super::{
    behind::{self, Writer},
    encode::{Encoder, Head},
    framing::{Decoder, Piece},
    head::{self, Limits},
    spare,
};
use crate::{
    error::Error,
    net::{
        body::Incoming,
        buffer::{Inbox, Outbox},
        io::Stream,
        onward::Onward,
    },
};

/// What waits to be written is no more than this before more of a body is asked for.
const ENOUGH: usize = 64 << 10;

/// A connection to a server.
#[derive(Debug)]
pub struct Conn(RefCell<Inner>);

struct Inner {
    io: Stream,
    inbox: Inbox,
    out: Outbox,
    limits: Limits,
    /// How the request's body goes out.
    encoder: Encoder,
    /// The request's body that still goes out while the answer comes.
    upload: Option<Pin<Box<dyn Body<Data = Bytes, Error = Error>>>>,
    /// What is left of the answer's body.
    answer: Decoder,
    keep_alive: bool,
    /// What goes over it is no HTTP any more.
    tunnel: Option<Tunnel>,
    phase: Phase,
    /// So many requests it has carried.
    served: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A request is under way.
    Busy,
    /// Nothing more may be sent on it.
    Broken,
}

/// Bytes that are passed on as they are.
#[derive(Debug, Clone, Copy)]
struct Tunnel {
    /// The server's end of it is an orderly one; in one that HTTP has opened it is a break, as with Envoy.
    plain: bool,
    /// The server has been told that no more comes.
    shut: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failed<B> {
    /// What went wrong.
    pub error: Error,
    /// The request, where nothing of it was written.
    pub unsent: Option<Onward<B>>,
}

/// An answer's body as it comes.
pub struct Answer {
    conn: Rc<Conn>,
    left: Option<u64>,
    done: bool,
}

impl Conn {
    /// A connection that was just made.
    pub fn new(io: Stream, limits: Limits) -> Self {
        Self(RefCell::new(Inner {
            io,
            inbox: Inbox::default(),
            out: Outbox::default(),
            limits,
            encoder: Encoder::Nothing,
            upload: None,
            answer: Decoder::default(),
            keep_alive: true,
            tunnel: None,
            phase: Phase::Idle,
            served: 0,
        }))
    }

    /// So many requests it has carried.
    pub fn served(&self) -> u64 {
        self.0.borrow().served
    }

    /// It may be lent once more, as far as is known: asks the event loop, not the kernel. A server that has closed it, or
    /// says what nobody asked for, is found out here.
    pub fn is_open(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        if inner.phase != Phase::Idle || inner.io.is_silent() {
            return inner.phase == Phase::Idle;
        }
        // A task that has had its share of the loop is told "pending" as well, which would be taken for "open".
        let read = poll_fn(|cx| inner.inbox.poll_read(cx, &mut inner.io));
        let mut cx = Context::from_waker(Waker::noop());
        pin!(unconstrained(read)).poll(&mut cx).is_pending()
    }

    /// The last exchange has ended, in a way that another may follow.
    pub fn is_idle(&self) -> bool {
        self.0.borrow().phase == Phase::Idle
    }

    /// Sends a request; the head of its answer, and the body as it comes. Interim answers are skipped, but `go_on` is told of
    /// them. When the answer comes before the request's end, polling its body sends the rest. Dropping the future, or the body before its end, breaks
    /// the connection.
    pub async fn exchange<B>(
        self: &Rc<Self>,
        request: Onward<B>,
        go_on: Option<&dyn Fn(StatusCode, HeaderMap)>,
    ) -> Result<Response<Incoming>, Failed<B>>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        if !self.is_open() {
            self.0.borrow_mut().phase = Phase::Broken;
            return Err(Failed {
                error: Error::Terminated,
                unsent: Some(request),
            });
        }
        let Onward { head, body } = request;
        let upgrades = self.0.borrow_mut().begin(&head, &body);
        let bodiless = head.method == Method::HEAD;
        let connects = head.method == Method::CONNECT;
        spare::give_back(head.headers);
        let mut body = Some(body).filter(|body| !body.is_end_stream());
        let mut put_off = body.is_none();
        let answered = poll_fn(|cx| {
            let put_off = std::mem::take(&mut put_off)
                && behind::put_off(Rc::<Self>::clone(self), cx.waker());
            let sends = Sends {
                put_off,
                upgrades,
                body: &mut body,
            };
            self.0.borrow_mut().poll_head(cx, bodiless, sends, go_on)
        })
        .await;
        let head = match answered {
            Ok(mut head) => {
                if connects && head.parts.status.is_success() {
                    self.0.borrow_mut().tunnel = Some(Tunnel {
                        plain: false,
                        shut: false,
                    });
                    // RFC 9110 §9.3.6: whatever it says of a body, there is none.
                    head.body = Decoder::until_close();
                    head.parts.headers.remove(header::CONTENT_LENGTH);
                    head.parts.headers.remove(header::TRANSFER_ENCODING);
                }
                head
            }
            Err(error) => {
                self.0.borrow_mut().phase = Phase::Broken;
                return Err(Failed {
                    error,
                    unsent: None,
                });
            }
        };
        Ok(self.answered(head, body))
    }

    /// Passes the request's body on as it is, and what comes back as an answer's: the request itself is not sent.
    pub fn tunnel<B>(self: &Rc<Self>, request: Onward<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        let inner = &mut *self.0.borrow_mut();
        inner.phase = Phase::Busy;
        inner.served += 1;
        inner.keep_alive = false;
        inner.encoder = Encoder::Raw;
        inner.answer = Decoder::until_close();
        inner.tunnel = Some(Tunnel {
            plain: true,
            shut: false,
        });
        inner.upload = Some(Box::pin(request.body));
        Response::new(Incoming::answer(Answer {
            conn: Rc::clone(self),
            left: None,
            done: false,
        }))
    }

    fn answered<B>(self: &Rc<Self>, head: head::AnswerHead, body: Option<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        let inner = &mut *self.0.borrow_mut();
        inner.keep_alive = head.keep_alive;
        let switched =
            head.parts.status == StatusCode::SWITCHING_PROTOCOLS || inner.tunnel.is_some();
        inner.keep_alive &= inner.tunnel.is_none();
        match body {
            Some(body) if switched => {
                inner.encoder = Encoder::Raw;
                inner.upload = Some(Box::pin(body));
            }
            // An upgrade that was refused: what the client sends on is for nobody.
            Some(_) if inner.encoder == Encoder::Nothing => inner.keep_alive = false,
            Some(body) => inner.upload = Some(Box::pin(body)),
            None => {}
        }
        let left = head.body.left();
        inner.answer = head.body;
        let body = if inner.answer.is_done() {
            inner.complete();
            Incoming::empty()
        } else {
            Incoming::answer(Answer {
                conn: Rc::clone(self),
                left,
                done: false,
            })
        };
        Response::from_parts(head.parts, body)
    }
}

impl Writer for Conn {
    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.out.poll_flush(cx, &mut inner.io).map_err(|_| ())
    }
}

impl Inner {
    /// Writes the head to the buffer. Whether it asks for another protocol.
    fn begin<B: Body>(&mut self, parts: &http::request::Parts, body: &B) -> bool {
        self.phase = Phase::Busy;
        self.served += 1;
        let spelling = parts.extensions.get();
        let mut out = Head::new(self.out.head(), self.limits.names, spelling);
        let connects = parts.method == Method::CONNECT;
        let host = connects.then(|| parts.headers.get(header::HOST));
        match host.flatten() {
            // The host may have been rewritten; it is what a `CONNECT` asks for.
            Some(host) => out.connect(host.as_bytes()),
            None => out.request(&parts.method, &parts.uri),
        }
        for (name, value) in &parts.headers {
            out.row(name.as_str(), value.as_bytes());
        }
        let ended = body.is_end_stream();
        let upgrades = !ended
            && (parts.headers.contains_key(header::UPGRADE) || parts.method == Method::CONNECT);
        self.encoder = if upgrades {
            Encoder::Nothing
        } else if ended {
            // RFC 9110 §8.6: methods that may have a body say so if they have none.
            if !wants_no_body(&parts.method) && !parts.headers.contains_key(header::CONTENT_LENGTH)
            {
                out.length(0);
            }
            Encoder::Nothing
        } else if let Some(length) = length(&parts.headers) {
            Encoder::Length(length)
        } else if let Some(length) = body.size_hint().exact() {
            out.length(length);
            Encoder::Length(length)
        } else {
            out.row("transfer-encoding", b"chunked");
            Encoder::Chunks
        };
        out.end();
        upgrades
    }

    fn poll_head<B>(
        &mut self,
        cx: &mut Context<'_>,
        bodiless: bool,
        sends: Sends<'_, B>,
        go_on: Option<&dyn Fn(StatusCode, HeaderMap)>,
    ) -> Poll<Result<head::AnswerHead, Error>>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin,
    {
        // A server that closes before it has read all may have answered first: what it said counts.
        let mut sending = Ok(());
        let body = Some(sends.body).filter(|body| body.is_some() && !sends.upgrades);
        if !sends.put_off && (!self.out.is_empty() || body.is_some()) {
            match self.poll_send(cx, body.unwrap_or(&mut None)) {
                Poll::Ready(Err(Sending::Body(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(Sending::Broken)) => sending = Err(Error::Terminated),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if !self.inbox.bytes.is_empty() {
                let head = head::answer(&mut self.inbox.bytes, &self.limits, bodiless);
                match head.map_err(|_| Error::Protocol)? {
                    Some(head) if is_interim(head.parts.status) => {
                        if let Some(go_on) = go_on {
                            go_on(head.parts.status, head.parts.headers);
                        }
                        continue;
                    }
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => {}
                }
            }
            match self.inbox.poll_read(cx, &mut self.io) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Error::Terminated)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    sending?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Sends what is there, and of the body as much as it has. Ready when all is out.
    fn poll_send<B>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Option<B>,
    ) -> Poll<Result<(), Sending>>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin,
    {
        loop {
            let mut waits = false;
            while let Some(from) = body
                && self.out.len() < ENOUGH
            {
                match Pin::new(from).poll_frame(cx) {
                    Poll::Pending => {
                        waits = true;
                        break;
                    }
                    Poll::Ready(Some(Ok(frame))) => {
                        let end = self.take_frame(frame).map_err(Sending::Body)?;
                        if end || body.as_ref().is_none_or(Body::is_end_stream) {
                            if !end {
                                self.end_upload(None).map_err(Sending::Body)?;
                            }
                            *body = None;
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Sending::Body(error))),
                    Poll::Ready(None) => {
                        self.end_upload(None).map_err(Sending::Body)?;
                        *body = None;
                    }
                }
            }
            ready!(self.out.poll_flush(cx, &mut self.io)).map_err(|_| Sending::Broken)?;
            if waits {
                return Poll::Pending;
            }
            if body.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether it was the last.
    fn take_frame(&mut self, frame: Frame<Bytes>) -> Result<bool, Error> {
        match frame.into_data() {
            Ok(data) => {
                let taken = self.encoder.data(&mut self.out, data);
                taken.map_err(|_| Error::BadBody).map(|()| false)
            }
            Err(frame) => {
                self.end_upload(frame.trailers_ref().filter(|_| self.limits.trailers))?;
                Ok(true)
            }
        }
    }

    fn end_upload(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        let ended = self.encoder.end(&mut self.out, trailers);
        ended.map_err(|_| Error::BadBody)
    }

    /// Sends on what the client still sends, while its answer comes already.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let open = self.tunnel.is_some_and(|tunnel| !tunnel.shut);
        if self.upload.is_none() && self.out.is_empty() && !open {
            return Ok(());
        }
        let mut upload = self.upload.take();
        let mut sent = self.poll_send(cx, &mut upload);
        self.upload = upload;
        if let (Poll::Ready(Ok(())), Some(tunnel)) = (&sent, &mut self.tunnel)
            && !tunnel.shut
        {
            // The client sends no more: so does this side, and still reads.
            let shut = Pin::new(&mut self.io).poll_shutdown(cx);
            tunnel.shut = shut.is_ready();
            sent = shut.map(|shut| shut.map_err(|_| Sending::Broken));
        }
        match sent {
            Poll::Ready(Err(Sending::Body(error))) => Err(error),
            Poll::Ready(Err(Sending::Broken)) => {
                // The server reads no more; what it still says counts.
                self.upload = None;
                self.out = Outbox::default();
                self.keep_alive = false;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>> {
        self.poll_upload(cx)?;
        loop {
            let piece = self.answer.decode(&mut self.inbox.bytes);
            match piece.map_err(|_| Error::Protocol)? {
                Piece::More => {}
                Piece::Trailers(_) if !self.limits.trailers => return Poll::Ready(Ok(Piece::End)),
                piece => return Poll::Ready(Ok(piece)),
            }
            match ready!(self.inbox.poll_read(cx, &mut self.io)) {
                Ok(0) if self.tunnel.is_some_and(|tunnel| !tunnel.plain) => {
                    return Poll::Ready(Err(Error::Terminated));
                }
                Ok(0) if self.answer.is_until_close() => return Poll::Ready(Ok(Piece::End)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Error::Terminated)),
                Ok(_) => {}
            }
        }
    }

    /// The answer has been read. What is left over was not asked for; an answer before the request's end leaves a
    /// connection on which nobody knows what the server has read.
    fn complete(&mut self) {
        let clean = self.keep_alive
            && self.upload.is_none()
            && self.out.is_empty()
            && self.inbox.bytes.is_empty();
        self.phase = if clean { Phase::Idle } else { Phase::Broken };
        self.upload = None;
        self.inbox = Inbox::default();
    }
}

/// What of a request is to be sent before its answer's head is read.
struct Sends<'a, B> {
    /// Its head is written by [`behind`].
    put_off: bool,
    /// Its body waits until the server has agreed.
    upgrades: bool,
    body: &'a mut Option<B>,
}

/// Why sending stops.
enum Sending {
    /// The body fails.
    Body(Error),
    /// The server does not take it.
    Broken,
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn wants_no_body(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT
    )
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

impl Answer {
    fn end(&mut self) {
        self.done = true;
        self.conn.0.borrow_mut().complete();
    }

    /// Sends on what the client still sends, while nobody can take more of the answer.
    pub fn poll_upload(&self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        self.conn.0.borrow_mut().poll_upload(cx)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let mut inner = self.conn.0.borrow_mut();
        let piece = ready!(inner.poll_piece(cx));
        let (ended, left) = (inner.answer.is_done(), inner.answer.left());
        drop(inner);
        self.left = left;
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => {
                if ended {
                    self.end();
                }
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::Trailers(trailers)) => {
                self.end();
                Some(Ok(Frame::trailers(trailers)))
            }
            Ok(Piece::End | Piece::More) => {
                self.end();
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
