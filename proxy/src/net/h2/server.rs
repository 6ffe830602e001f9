//! The server's end of a connection.

use std::{
    fmt,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    error::{By, Error, Reason},
    frame,
    guard::Guard,
    link::{Counts, Link, Role},
    stream::{Recv, Sender},
    wire::Wire,
};
use crate::policy::protocol::Http2;

/// A client's connection. The task that polls it reads and writes for all its streams.
pub struct Connection<S>(Wire<S>);

/// A request that has begun.
#[derive(Debug)]
pub struct Request {
    /// Its head. An extended `CONNECT` is an upgrade of HTTP/1.
    pub head: Box<request::Parts>,
    /// Its body, if it has one.
    pub body: Option<Recv>,
    /// Where its answer goes.
    pub answer: Sender,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// One that has begun, or will, with HTTP/2's preface. The heads of requests are no more than so many bytes, and have no
    /// more than so many fields.
    pub fn new(io: S, settings: &Http2, max_headers: usize, max_fields: usize) -> Self {
        let role = Role {
            server: true,
            max_headers,
            max_fields,
            max_streams: settings.max_streams as usize,
            extended: settings.allow_connect,
            lenient: settings.stream_error,
            guard: Guard::new(settings),
        };
        Self(Wire::new(io, Link::new(role, settings), frame::PREFACE))
    }

    /// The next request. `None`: the client has ended the connection, or it was left and all is over. What is to be written
    /// goes out with [`Connection::poll_drain`], which is to be called behind this.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Request, Error>>> {
        self.0.link.state().polled(cx);
        let polled = self.0.poll_frames(cx);
        let link = &self.0.link;
        if polled.is_pending() && link.state().is_over() && link.state().out().is_empty() {
            return Poll::Ready(None);
        }
        polled.map(|new| {
            let new = new.transpose()?;
            Some(new.map(|new| Request {
                head: new.head,
                body: (!new.ended).then(|| Recv::new(link, &new.stream)),
                answer: Sender::new(link, &new.stream),
            }))
        })
    }

    /// Writes what is to be written, as much as the socket takes. Whoever polls the connection waits after this.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) {
        let drained = self.0.poll_drain(cx).is_ready();
        let mut link = self.0.link.state();
        if drained && link.is_over() {
            cx.waker().wake_by_ref();
        }
        link.waits();
    }

    /// The client has said that it speaks HTTP/2.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    /// Requests under way.
    pub fn streams(&self) -> usize {
        self.0.link.state().streams()
    }

    /// Bytes that the client has not taken yet.
    pub fn unsent(&self) -> usize {
        self.0.link.state().out().len()
    }

    /// A request's head is on its way.
    pub fn in_head(&self) -> bool {
        self.0.link.state().in_head()
    }

    /// What happened since this was asked last.
    pub fn take_counts(&self) -> Counts {
        self.0.link.state().take_counts()
    }

    /// Says good-bye: what is under way, and what the client sends until it has read that, is answered.
    pub fn leave(&self) {
        self.0.link.state().say_good_bye();
    }

    /// Ends it, with all that is under way.
    pub fn abort(&self, reason: Reason) {
        self.0.link.state().end(Error::GoAway(reason, By::User));
    }

    /// Closes it within so long. Where it is to linger, the client gets to read what was written last whatever it sends.
    pub async fn close(self, linger: bool, within: Duration) {
        self.0.close(linger, within).await;
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self.0.link.state().streams();
        f.debug_struct("Connection")
            .field("streams", &streams)
            .field("users", &Rc::strong_count(&self.0.link))
            .finish_non_exhaustive()
    }
}
