//! Few writes for many small frames. `h2` flushes once a frame: what it writes is collected here, and goes out when the
//! connection has been polled, in one write. Large payloads are not copied: they go out at once, behind what waits.
//!
//! A wrapper that drains where it is told to flush would collect nothing, since flushing is what is done once a frame. So
//! a flush is answered and not done; [`Outlet::drain`], called after each poll of the connection, is the one that writes.

use std::{
    cell::RefCell,
    fmt,
    io::{IoSlice, Result},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Watch;

/// Bytes that may wait; beyond them the writer waits for the socket.
const MOST: usize = 64 << 10;

/// Payloads from this length on are not copied.
const LARGE: usize = 8 << 10;

/// Buffers of connections that have nothing to write; an event loop keeps so many.
const SPARES: usize = 4;

thread_local! {
    static SPARE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that are read from a peer that was left.
const LINGERING: usize = 1 << 20;

/// A stream whose writes are collected; for `h2`.
pub struct Coalesce<S>(Rc<RefCell<State<S>>>);

/// Where the collected writes go out.
pub struct Outlet<S>(Rc<RefCell<State<S>>>);

struct State<S> {
    stream: S,
    waiting: Vec<u8>,
    /// So many of them are out.
    out: usize,
    /// Who looks at the frames.
    watch: Option<Watch>,
}

/// Wraps the stream. The watch, if there is one, sees what passes; when the peer may not go on, nothing more is read.
pub fn coalesce<S>(stream: S, watch: Option<Watch>) -> (Coalesce<S>, Outlet<S>) {
    let state = Rc::new(RefCell::new(State {
        stream,
        waiting: Vec::new(),
        out: 0,
        watch,
    }));
    (Coalesce(Rc::clone(&state)), Outlet(state))
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// Asks the watch.
    pub fn watch<T>(&self, ask: impl FnOnce(&mut Watch) -> T) -> Option<T> {
        self.0.borrow_mut().watch.as_mut().map(ask)
    }

    /// Writes what waits. `Pending`: the socket takes no more now, and the task is woken when it does.
    pub fn drain(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.borrow_mut().drain(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Outlet<S> {
    /// Reads, and forgets, what still comes, at most so long and so much; then what was written last can reach the peer.
    pub async fn linger(&self, within: Duration) {
        let mut forgotten = vec![0; LARGE];
        let mut left = LINGERING;
        let _ = tokio::time::timeout(
            within,
            std::future::poll_fn(|cx| {
                let mut state = self.0.borrow_mut();
                loop {
                    let mut buf = ReadBuf::new(&mut forgotten);
                    match Pin::new(&mut state.stream).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) if !buf.filled().is_empty() && left > 0 => {
                            left = left.saturating_sub(buf.filled().len());
                        }
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }),
        )
        .await;
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.out < self.waiting.len() {
            let rest = self.waiting.get(self.out..).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.out += count;
        }
        // What carries the bytes may hold some back, as TLS does.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if let Some(watch) = &mut self.watch {
            watch.drained();
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// The memory of a burst is not kept by a connection that has gone quiet: the next one's begins where it ended.
    fn release(&mut self) {
        self.waiting.clear();
        self.out = 0;
        if self.waiting.capacity() > LARGE {
            let spare = std::mem::take(&mut self.waiting);
            SPARE_BUFFERS.with_borrow_mut(|spares| {
                if spares.len() < SPARES {
                    spares.push(spare);
                }
            });
        }
    }

    /// Room for so much more. What is out gives its place back where it is needed.
    fn reserve(&mut self, length: usize) {
        if self.waiting.len() + length > MOST {
            self.waiting.drain(..self.out);
            self.out = 0;
        }
        if self.waiting.capacity() == 0
            && let Some(spare) = SPARE_BUFFERS.with_borrow_mut(Vec::pop)
        {
            self.waiting = spare;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let count = ready!(self.put(cx, slices))?;
        if let Some(watch) = &mut self.watch {
            let mut left = count;
            for slice in slices {
                let seen = slice.get(..left.min(slice.len())).unwrap_or_default();
                watch.written(seen);
                left -= seen.len();
            }
        }
        Poll::Ready(Ok(count))
    }

    fn put(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length < LARGE && self.waiting.len() - self.out + length <= MOST {
            self.reserve(length);
            for slice in slices {
                self.waiting.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(length));
        }
        if length < LARGE || slices.len() > 7 || !self.stream.is_write_vectored() {
            ready!(self.drain(cx))?;
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let rest = self.waiting.get(self.out..).unwrap_or_default();
        let waiting = rest.len();
        let mut all = [IoSlice::new(rest); 8];
        for (place, slice) in all.iter_mut().skip(1).zip(slices) {
            *place = *slice;
        }
        let used = all.get(..=slices.len()).unwrap_or(&all);
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, used))?;
        self.out += count.min(waiting);
        if count > waiting {
            return Poll::Ready(Ok(count - waiting));
        }
        // Nothing of the payload went out: it waits for the socket.
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesce<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let state = &mut *self.0.borrow_mut();
        if let Some(watch) = &state.watch
            && watch.violation().is_some()
        {
            // Whoever asks the watch ends the connection.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut state.stream).poll_read(cx, buf))?;
        if let Some(watch) = &mut state.watch
            && !watch.read(buf.filled().get(before..).unwrap_or_default())
        {
            // Nothing of it is to be answered.
            buf.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesce<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.0.borrow_mut().write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.0.borrow_mut().write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.drain(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for Coalesce<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Outlet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}
