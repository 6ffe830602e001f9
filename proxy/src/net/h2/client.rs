//! The client's end of a connection.

use std::{
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    error::Error,
    guard::Guard,
    link::{Link, Role},
    stream::{Answer, Sender},
    wire::Wire,
};
use crate::policy::protocol::Http2;

/// A server gets to read what was written last within this.
const CLOSING: Duration = Duration::from_secs(1);

/// A connection to a server. The task that polls it reads and writes for all its streams.
pub struct Connection<S>(Wire<S>);

/// Where requests go in. When it is dropped, the connection ends with what is under way.
pub struct Requests(Rc<Link>);

/// Asks whether the server is there.
pub struct Pings(Rc<Link>);

/// What a request's head is made of.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its host.
    pub authority: Option<&'a HeaderValue>,
    /// Its path; none for `CONNECT`.
    pub path: Option<&'a str>,
    /// Its scheme is `https`.
    pub secure: bool,
    /// What an extended `CONNECT` asks for.
    pub protocol: Option<&'a HeaderValue>,
    /// The others. None may be of HTTP/1's connection.
    pub headers: &'a HeaderMap,
}

/// Begins a connection. The heads of answers are no more than so many bytes.
pub fn connect<S>(io: S, settings: &Http2, max_headers: usize) -> (Requests, Connection<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let role = Role {
        server: false,
        max_headers,
        max_fields: usize::MAX,
        max_streams: 0,
        extended: false,
        // An endpoint's malformed answer is no other request's concern.
        lenient: true,
        guard: Guard::new(settings),
    };
    let link = Link::new(role, settings);
    let wire = Wire::new(io, Rc::clone(&link), b"");
    (Requests(link), Connection(wire))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Carries the connection; `Ready`: it has ended.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.link.state().polled(cx);
        if self.0.poll_frames(cx).is_ready() {
            return Poll::Ready(());
        }
        let drained = self.0.poll_drain(cx).is_ready();
        let mut link = self.0.link.state();
        if drained && link.is_over() {
            return Poll::Ready(());
        }
        link.waits();
        Poll::Pending
    }

    /// Closes it when it has ended.
    pub async fn close(self) {
        self.0.link.state().end(Error::Io);
        self.0.close(false, CLOSING).await;
    }

    /// The server does not read what it is sent.
    pub fn is_behind(&self) -> bool {
        self.0.link.state().is_behind()
    }

    /// What asks whether the server is there.
    pub fn pings(&self) -> Pings {
        Pings(Rc::clone(&self.0.link))
    }
}

impl Requests {
    /// The server takes more requests, as far as is known.
    pub fn takes_more(&self) -> bool {
        self.0.state().takes_more()
    }

    /// The server does not read: more would wait here.
    pub fn is_behind(&self) -> bool {
        self.0.state().is_behind()
    }

    /// How many it takes at once, if it has said.
    pub fn streams(&self) -> Option<u32> {
        self.0.state().peer_streams()
    }

    /// It takes an extended `CONNECT`; `None`: it has not said yet.
    pub fn takes_connect(&self) -> Option<bool> {
        self.0.state().peer_extended()
    }

    /// Sends a request's head. `Err`: nothing was sent.
    pub fn ask(&self, head: &Head<'_>, ends: bool) -> Result<(Sender, Answer), Error> {
        let mut link = self.0.state();
        if !link.takes_more() {
            return Err(link.ended().unwrap_or(Error::Io));
        }
        let stream = link.ask(ends, head.method, |encoder, out| {
            encoder.method(out, head.method);
            if let Some(path) = head.path {
                encoder.scheme(out, head.secure);
                encoder.path(out, path);
            }
            if let Some(authority) = head.authority {
                encoder.authority(out, authority);
            }
            if let Some(protocol) = head.protocol {
                encoder.protocol(out, protocol.as_bytes());
            }
            encoder.headers(out, head.headers);
        });
        drop(link);
        Ok((Sender::new(&self.0, &stream), Answer::new(&self.0, &stream)))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.0.state().unwanted();
    }
}

impl Pings {
    /// Waits for the answer to a ping.
    pub async fn ping(&mut self) {
        let number = self.0.state().ping();
        poll_fn(|cx| self.0.state().poll_pong(cx, number)).await;
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("streams", &self.0.state().streams())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pings").finish_non_exhaustive()
    }
}
