//! Reads and writes a connection.

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    error::{By, Error, Reason},
    frame::{self, Head},
    link::{Link, New},
};
use crate::net::buffer::Inbox;

/// Bytes that are read from a peer that was left.
const LINGERING: usize = 1 << 20;

/// A socket, and the connection that is on it.
pub(super) struct Wire<S> {
    io: S,
    inbox: Inbox,
    /// What is to come before the first frame.
    preface: &'static [u8],
    /// Nothing is read until what is to be written has gone out.
    full: bool,
    pub(super) link: Rc<Link>,
    alive: Alive,
}

/// When nobody reads and writes any more, whoever waits for the connection is told.
struct Alive(Rc<Link>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.state().end(Error::Io);
    }
}

/// What has come.
enum Next {
    /// A frame that begins no request.
    Frame,
    /// A request.
    Request(New),
    /// Not all of a frame.
    Later,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S, link: Rc<Link>, preface: &'static [u8]) -> Self {
        Self {
            io,
            inbox: Inbox::default(),
            preface,
            full: false,
            alive: Alive(Rc::clone(&link)),
            link,
        }
    }

    /// The peer has said that it speaks HTTP/2.
    pub(super) fn has_begun(&self) -> bool {
        self.preface.is_empty()
    }

    /// Takes what has come, up to the next request. `None`: the connection has ended, or is over. An error has been told to
    /// all whom it concerns, and to the peer if it reads.
    pub(super) fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<New>, Error>> {
        loop {
            if let Some(error) = self.link.state().ended() {
                return Poll::Ready(match error {
                    Error::Io => Ok(None),
                    error => Err(error),
                });
            }
            self.full = self.link.state().is_full();
            if self.full {
                return Poll::Pending;
            }
            match self.next() {
                Ok(Next::Request(new)) => return Poll::Ready(Ok(Some(new))),
                Ok(Next::Frame) => continue,
                Ok(Next::Later) => {}
                Err(error) => {
                    self.link.state().end(error);
                    continue;
                }
            }
            let read = ready!(self.inbox.poll_read(cx, &mut self.io));
            if read.is_ok_and(|count| count > 0) {
                continue;
            }
            self.link.state().end(Error::Io);
        }
    }

    /// Takes the next frame, if it is here.
    fn next(&mut self) -> Result<Next, Error> {
        let bytes = &mut self.inbox.bytes;
        if !self.preface.is_empty() {
            let count = self.preface.len().min(bytes.len());
            let (expected, rest) = self.preface.split_at_checked(count).unwrap_or_default();
            if bytes.get(..count) != Some(expected) {
                return Err(Error::PROTOCOL);
            }
            bytes.advance(count);
            self.preface = rest;
            if !rest.is_empty() {
                return Ok(Next::Later);
            }
        }
        let Some(head) = Head::read(bytes) else {
            return Ok(Next::Later);
        };
        if head.length > frame::MOST {
            return Err(Error::GoAway(Reason::FRAME_SIZE_ERROR, By::Us));
        }
        let length = frame::HEAD + head.length;
        if bytes.len() < length {
            return Ok(Next::Later);
        }
        let mut payload = bytes.split_to(length);
        payload.advance(frame::HEAD);
        let new = self.link.state().frame(head, &payload)?;
        Ok(new.map_or(Next::Frame, Next::Request))
    }

    /// Writes what is to be written. `Pending`: the socket takes no more now.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut link = self.link.state();
        let polled = link.out().poll_flush(cx, &mut self.io);
        match polled {
            Poll::Ready(Ok(())) => {
                link.drained();
                if self.full {
                    cx.waker().wake_by_ref();
                }
            }
            // The task is polled once more, and finds the end.
            Poll::Ready(Err(_)) => {
                link.end(Error::Io);
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        link.pass_on();
        polled.map(drop)
    }

    /// Closes it within so long: what is to be written goes out. Where it is to linger, what still comes is read and
    /// forgotten, so that it does not reset what was written last before the peer has it.
    pub(super) async fn close(self, linger: bool, within: Duration) {
        let Self {
            mut io,
            link,
            alive,
            ..
        } = self;
        let closing = async {
            poll_fn(|cx| link.state().out().poll_flush(cx, &mut io)).await?;
            io.shutdown().await?;
            if !linger {
                return Ok(());
            }
            let (mut forgotten, mut left) = ([0; 1 << 10], LINGERING);
            loop {
                let count = io.read(&mut forgotten).await?;
                left = left.saturating_sub(count);
                if count == 0 || left == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        // Whatever comes of it, it is over.
        let _ = tokio::time::timeout(within, Box::pin(closing)).await;
        drop(alive);
    }
}
