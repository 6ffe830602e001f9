//! One direction of a connection: what was read and is not written yet, and the way that bytes take. A short exchange is
//! copied through the event loop's buffer; once a burst fills that, the kernel moves the bytes through a pipe.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{Interest, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::shaped::{Ended, Shaped};
use crate::{
    net::{io::Duplex, pipe::Pipe, stock::Stock, timer::Timer},
    policy::fault::tcp::Line,
};

/// A read of at least this much is a burst: the next one goes through a pipe.
const BURST: usize = 32 << 10;

/// Reads and writes until another connection's turn comes.
const TURNS: usize = 16;

/// One end of a connection.
pub enum Side {
    /// Plain TCP, whose bytes the kernel can move.
    Tcp(TcpStream),
    /// Any other, such as TLS.
    Other(Box<dyn Duplex>),
}

/// Why a direction ended before its time.
#[derive(Debug)]
pub(super) enum Broken {
    /// The side that bytes come from.
    From(io::Error),
    /// The side that bytes go to.
    To(io::Error),
}

/// One direction.
#[derive(Default)]
pub(super) struct Flow {
    /// Bytes read so far.
    pub(super) read: u64,
    /// Bytes written so far.
    pub(super) written: u64,
    held: Held,
    bulk: bool,
    ended: bool,
    done: bool,
    shaped: Option<Box<Shaped>>,
}

/// What was read and is not written yet.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Bytes, and how many of them are written.
    Bytes(Vec<u8>, usize),
    Pipe(Pipe),
}

impl Flow {
    /// A direction whose bytes suffer these faults.
    pub(super) fn suffering(line: Line, begin: Instant, timer: &Timer) -> Self {
        let plain = line.is_plain();
        Self {
            shaped: (!plain).then(|| Box::new(Shaped::new(line, begin, timer.clone()))),
            ..Self::default()
        }
    }

    /// From now on its bytes suffer this. `false`: bytes have vanished that now would not.
    pub(super) fn turn(&mut self, line: Line, begin: Instant, timer: &Timer) -> bool {
        match &mut self.shaped {
            Some(shaped) => return shaped.turn(line),
            None if line.is_plain() || self.ended => {}
            None => self.shaped = Some(Box::new(Shaped::new(line, begin, timer.clone()))),
        }
        true
    }

    /// Passes on what there is; ready when the last byte and the end of the stream have been.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        stock: &Stock,
    ) -> Poll<Result<Ended, Broken>> {
        if self.done {
            return Poll::Ready(Ok(Ended::Whole));
        }
        if self.shaped.is_some() {
            // What was read before there were faults goes first.
            ready!(self.poll_give(cx, to)).map_err(Broken::To)?;
        }
        if let Some(shaped) = self.shaped.as_mut().filter(|_| !self.ended) {
            let ended =
                ready!(shaped.poll(cx, (from, to), stock, (&mut self.read, &mut self.written)))?;
            self.done = true;
            return Poll::Ready(Ok(ended));
        }
        for _ in 0..TURNS {
            ready!(self.poll_give(cx, to)).map_err(Broken::To)?;
            if self.ended {
                ready!(to.poll_end(cx)).map_err(Broken::To)?;
                self.done = true;
                return Poll::Ready(Ok(Ended::Whole));
            }
            match self.poll_take(cx, from, to, stock)? {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    self.rest(stock);
                    let _ = to.poll_flush(cx).map_err(Broken::To)?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held.
    fn poll_give(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<io::Result<()>> {
        loop {
            let count = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes(bytes, at) => {
                    let Some(rest) = bytes.get(*at..).filter(|rest| !rest.is_empty()) else {
                        self.held = Held::Nothing;
                        return Poll::Ready(Ok(()));
                    };
                    let count = ready!(to.poll_write(cx, rest))?;
                    *at += count;
                    count
                }
                Held::Pipe(pipe) if pipe.held() == 0 => return Poll::Ready(Ok(())),
                Held::Pipe(pipe) => {
                    // Only such sides are given a pipe.
                    let Side::Tcp(tcp) = &*to else {
                        return Poll::Ready(Err(ErrorKind::Unsupported.into()));
                    };
                    ready!(poll_io(cx, tcp, Interest::WRITABLE, || pipe.empty(tcp)))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written += count as u64;
        }
    }

    /// Reads what there is; what can be written at once, is.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        stock: &Stock,
    ) -> Result<Poll<()>, Broken> {
        if self.bulk
            && let Some(read) = self.poll_splice(cx, from, to, stock)
        {
            return match read {
                Poll::Ready(Ok(count)) => {
                    self.bulk = count >= BURST;
                    self.took(count);
                    Ok(Poll::Ready(()))
                }
                Poll::Ready(Err(error)) => Err(Broken::From(error)),
                Poll::Pending => Ok(Poll::Pending),
            };
        }
        self.rest(stock);
        let mut buffer = stock.buffer();
        let count = match from.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => return Err(Broken::From(error)),
            Poll::Pending => return Ok(Poll::Pending),
        };
        self.took(count);
        self.bulk = count >= BURST;
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            match to.poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => {
                    self.written += written as u64;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Err(Broken::To(error)),
                Poll::Pending => {
                    self.held = Held::Bytes(rest.to_vec(), 0);
                    return Ok(Poll::Pending);
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn took(&mut self, count: usize) {
        self.read += count as u64;
        self.ended = count == 0;
    }

    /// Fills a pipe; `None`: there is none to be had, or not for these sides.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &Side,
        to: &Side,
        stock: &Stock,
    ) -> Option<Poll<io::Result<usize>>> {
        let (Side::Tcp(from), Side::Tcp(_)) = (from, to) else {
            return None;
        };
        if !matches!(self.held, Held::Pipe(_)) {
            self.held = Held::Pipe(stock.pipes.take()?);
        }
        let Held::Pipe(pipe) = &mut self.held else {
            return None;
        };
        Some(poll_io(cx, from, Interest::READABLE, || pipe.fill(from)))
    }

    /// Nothing more is there to be read: what is not needed meanwhile is given back.
    fn rest(&mut self, stock: &Stock) {
        match std::mem::take(&mut self.held) {
            Held::Pipe(pipe) if pipe.held() == 0 => stock.pipes.give_back(pipe),
            held => self.held = held,
        }
    }
}

impl Side {
    fn stream(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Other(other) => Pin::new(&mut **other),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.stream().poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    /// What was written is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Other(other) => Pin::new(&mut **other).poll_flush(cx),
        }
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    /// Our address.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Other(_) => None,
        }
    }

    /// When this side is dropped, its peer sees a reset and not an end.
    pub(super) fn abort(&self) {
        if let Self::Tcp(tcp) = self {
            // Without it the peer sees an end: nothing better can be done.
            let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl Broken {
    /// The same, seen from the other direction.
    pub(super) fn turned(self) -> Self {
        match self {
            Self::From(error) => Self::To(error),
            Self::To(error) => Self::From(error),
        }
    }

    /// The peer has reset its connection.
    pub(super) fn is_reset(&self) -> bool {
        let (Self::From(error) | Self::To(error)) = self;
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        )
    }
}

/// Does something with a socket when it is ready for it.
fn poll_io<T>(
    cx: &mut Context<'_>,
    tcp: &TcpStream,
    interest: Interest,
    mut act: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        if interest.is_readable() {
            ready!(tcp.poll_read_ready(cx))?;
        } else {
            ready!(tcp.poll_write_ready(cx))?;
        }
        match tcp.try_io(interest, &mut act) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}
