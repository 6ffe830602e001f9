//! A connection that counts its bytes, whatever carries them.

use std::{
    fmt,
    io::{ErrorKind, IoSlice, Result},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// Bytes both ways: what a connection may be made of besides TCP, such as TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A connection, counted.
#[derive(Debug)]
pub struct Stream {
    carrier: Carrier,
    traffic: Arc<Traffic>,
}

/// What carries the bytes. Plain TCP is not behind a pointer: it is what most connections are.
enum Carrier {
    Tcp(TcpStream),
    /// With our end of the connection that is below it.
    Other(Box<dyn Duplex>, Option<SocketAddr>),
}

/// Bytes that went over a connection, and what they were. One thread writes them, so plain loads and stores do.
#[derive(Debug, Default)]
pub struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
    spoken: AtomicU8,
}

/// What a client has said on a connection, if it has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something that could not be understood.
    Nonsense,
}

impl Stream {
    /// A TCP connection, counted in `traffic`.
    pub fn new(tcp: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self {
            carrier: Carrier::Tcp(tcp),
            traffic,
        }
    }

    /// Another connection, counted in `traffic`.
    pub fn over(other: Box<dyn Duplex>, traffic: Arc<Traffic>) -> Self {
        Self {
            carrier: Carrier::Other(other, None),
            traffic,
        }
    }

    /// What carries it is a connection with this end of ours.
    #[must_use]
    pub fn at(mut self, local: Option<SocketAddr>) -> Self {
        if let Carrier::Other(_, known) = &mut self.carrier {
            *known = local;
        }
        self
    }

    /// The TCP connection, where nothing else carries the bytes.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.carrier {
            Carrier::Tcp(tcp) => Some(tcp),
            Carrier::Other(..) => None,
        }
    }

    /// The event loop knows of nothing that could be read.
    pub fn is_silent(&self) -> bool {
        let readable = |tcp: &TcpStream| tcp.try_io(Interest::READABLE, || Ok(()));
        self.tcp().is_some_and(|tcp| readable(tcp).is_err())
    }

    /// Our end of it; `None`: not TCP, or it is gone.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.local_addr().ok(),
            Carrier::Other(_, local) => *local,
        }
    }

    /// The bytes that went over it.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

impl Traffic {
    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// What the client speaks; it is HTTP/1 until something else is heard.
    pub fn spoken(&self) -> Spoken {
        match self.spoken.load(Ordering::Relaxed) {
            0 => Spoken::Http1,
            1 => Spoken::Http2,
            _ => Spoken::Nonsense,
        }
    }

    /// This is what the client speaks.
    pub fn speaks(&self, spoken: Spoken) {
        self.spoken.store(spoken as u8, Ordering::Relaxed);
    }
}

impl Carrier {
    fn pin(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Other(other, _) => Pin::new(&mut **other),
        }
    }
}

/// Reads once, as [`TcpStream`] does; but by a system call of its own, since the C library's looks whether its thread is to
/// be cancelled, before and after. All that is known of the socket comes by this thread's event loop: nothing new is known
/// between the read and what is concluded from it.
fn poll_recv(tcp: &TcpStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let room = buf.initialize_unfilled();
        let size = room.len();
        let read = tcp.try_io(Interest::READABLE, || {
            Ok(rustix::net::recv(tcp, room, RecvFlags::empty())?.0)
        });
        match read {
            Ok(count) => {
                if (1..size).contains(&count) {
                    is_done(tcp, Interest::READABLE);
                }
                buf.advance(count);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// The same for a write.
fn poll_send(tcp: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        let sent = tcp.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => {
                if sent.as_ref().is_ok_and(|count| *count < bytes.len()) {
                    is_done(tcp, Interest::WRITABLE);
                }
                return Poll::Ready(sent);
            }
        }
    }
}

/// There is no more for now: to be told so would cost another call.
fn is_done(tcp: &TcpStream, what: Interest) {
    let _ = tcp.try_io(what, || Err::<(), _>(ErrorKind::WouldBlock.into()));
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.carrier {
            // To clear a large buffer would cost more than what is saved.
            Carrier::Tcp(tcp) if buf.initialized().len() == buf.capacity() =>
                poll_recv(tcp, cx, buf),
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Other(other, _) => Pin::new(other).poll_read(cx, buf),
        })?;
        add(&self.traffic.read, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let count = ready!(match &mut self.carrier {
            Carrier::Tcp(tcp) => poll_send(tcp, cx, buf),
            Carrier::Other(other, _) => Pin::new(other).poll_write(cx, buf),
        })?;
        add(&self.traffic.written, count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let count = ready!(self.carrier.pin().poll_write_vectored(cx, bufs))?;
        add(&self.traffic.written, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.is_write_vectored(),
            Carrier::Other(other, _) => other.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.carrier.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.carrier.pin().poll_shutdown(cx)
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => tcp.fmt(f),
            Self::Other(..) => f.debug_struct("Other").finish_non_exhaustive(),
        }
    }
}

fn add(count: &AtomicU64, bytes: usize) {
    let now = count.load(Ordering::Relaxed);
    count.store(now + bytes as u64, Ordering::Relaxed);
}
