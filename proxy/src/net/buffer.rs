//! What was read and not yet taken, and what is to be written and not yet out. A connection that is idle owns no memory for
//! either: what is read lands in the event loop's own buffer first, and what is written is put together in spare ones.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Bytes that are read at once at most.
const READ: usize = 64 << 10;

/// From this on, what is read goes into a buffer of its own, that is handed on without a copy.
const BULK: usize = 16 << 10;

/// Pieces up to this are kept in memory that they share, of this size: whoever keeps one keeps all of it.
const PIECE: usize = 2 << 10;
const SHARE: usize = 8 << 10;

/// Bodies' pieces up to this are copied behind their head, so that one plain write takes both.
const COPIED: usize = 8 << 10;

/// From so many bytes on, what is out gives its place back to what is added.
const WRITTEN: usize = 32 << 10;

/// What is no more than this may wait for others' writes, and for the next head.
const SHORT: usize = 16 << 10;

/// Spare buffers that an event loop keeps, and how large they may be.
const SPARES: usize = 128;
const SPARE: usize = 32 << 10;

/// The same for connections that carry many messages at once.
const WIDE_SPARES: usize = 4;
const WIDE_FROM: usize = SPARE + 1;
const WIDE_SPARE: usize = 512 << 10;

/// Pieces that one write takes at most.
const PIECES: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SHARED: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static SPARE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WIDE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What was read and not yet taken.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The bytes.
    pub bytes: Bytes,
    bulk: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Vec<u8>,
    at: usize,
    rest: VecDeque<Bytes>,
    /// What carries the bytes may still hold some, as TLS does where its socket takes no more.
    held: bool,
    /// It is of a connection that carries many messages at once.
    wide: bool,
}

impl Inbox {
    /// Reads once and adds it to what is there. 0: the peer has ended.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() {
            // What is empty may still keep the memory of what it was.
            self.bytes = Bytes::new();
        }
        if self.bulk && self.bytes.is_empty() {
            let mut bulk = BytesMut::with_capacity(READ);
            let count = ready!(pin!(io.read_buf(&mut bulk)).poll(cx))?;
            self.bulk = count >= BULK;
            self.bytes = bulk.freeze();
            return Poll::Ready(Ok(count));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.is_empty() {
                scratch.resize(READ, 0);
            }
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut read))?;
            let read = read.filled();
            self.bulk = read.len() >= BULK;
            if self.bytes.is_empty() {
                self.bytes = keep(read);
            } else {
                let mut all = BytesMut::with_capacity(self.bytes.len() + read.len());
                all.extend_from_slice(&self.bytes);
                all.extend_from_slice(read);
                self.bytes = all.freeze();
            }
            Poll::Ready(Ok(read.len()))
        })
    }
}

/// What was read, in memory that short pieces share: to get some, and to count who has it, costs as much as a copy.
fn keep(read: &[u8]) -> Bytes {
    if read.len() > PIECE {
        return Bytes::copy_from_slice(read);
    }
    SHARED.with_borrow_mut(|shared| {
        if shared.capacity() < read.len() {
            *shared = BytesMut::with_capacity(SHARE);
        }
        shared.extend_from_slice(read);
        shared.split().freeze()
    })
}

/// A piece that is kept for longer than it takes to pass it on: it must not keep what it shares memory with.
pub fn own(piece: &Bytes) -> Bytes {
    if piece.len() > PIECE {
        piece.clone()
    } else {
        Bytes::copy_from_slice(piece)
    }
}

impl Outbox {
    /// One of a connection that carries many messages at once: its buffers are larger.
    pub fn wide() -> Self {
        Self {
            wide: true,
            ..Self::default()
        }
    }

    /// Nothing is left to be written.
    pub fn is_empty(&self) -> bool {
        self.is_taken() && !self.held
    }

    /// What is left is a few heads and small bodies at most, behind which another head may be put.
    pub fn is_short(&self) -> bool {
        self.rest.is_empty() && self.first.len() - self.at <= SHORT
    }

    fn is_taken(&self) -> bool {
        self.at >= self.first.len() && self.rest.is_empty()
    }

    /// So many bytes are left.
    pub fn len(&self) -> usize {
        let rest: usize = self.rest.iter().map(Bytes::len).sum();
        self.first.len() - self.at + rest
    }

    /// The buffer that heads are written to. Must not be used while a body's large pieces wait.
    pub fn head(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.rest.is_empty(), "a head must not overtake a body");
        if self.first.capacity() == 0 {
            let spare = if self.wide {
                WIDE_BUFFERS.with_borrow_mut(Vec::pop)
            } else {
                None
            };
            if let Some(spare) = spare.or_else(|| SPARE_BUFFERS.with_borrow_mut(Vec::pop)) {
                self.first = spare;
            }
        } else if self.at >= WRITTEN && 2 * self.at >= self.first.len() {
            // A peer that is slower than what is added never takes all: what it has taken gives its place back.
            self.first.drain(..self.at);
            self.at = 0;
        }
        &mut self.first
    }

    /// Adds a few bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.rest.is_empty() {
            self.head().extend_from_slice(bytes);
        } else {
            self.rest.push_back(Bytes::copy_from_slice(bytes));
        }
    }

    /// Adds a piece of a body. Where many messages go together, pieces are short, and what keeps them apart costs more than
    /// what a copy does.
    pub fn put_data(&mut self, data: Bytes) {
        if self.rest.is_empty() && (self.wide || data.len() <= COPIED) {
            self.head().extend_from_slice(&data);
        } else if !data.is_empty() {
            self.rest.push_back(data);
        }
    }

    /// Writes until all is out.
    pub fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.is_taken() {
            let count = ready!(self.poll_write(cx, io))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held = true;
            self.advance(count);
        }
        if self.held {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.held = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<usize>> {
        let first = self.first.get(self.at..).unwrap_or_default();
        if self.rest.is_empty() {
            return Pin::new(io).poll_write(cx, first);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let all = std::iter::once(first).chain(self.rest.iter().map(|piece| &**piece));
        let mut count = 0;
        for (piece, bytes) in pieces.iter_mut().zip(all) {
            *piece = IoSlice::new(bytes);
            count += 1;
        }
        let pieces = pieces.get(..count).unwrap_or_default();
        Pin::new(io).poll_write_vectored(cx, pieces)
    }

    fn advance(&mut self, mut count: usize) {
        let of_first = count.min(self.first.len() - self.at);
        self.at += of_first;
        count -= of_first;
        if self.at >= self.first.len() {
            self.release();
        }
        while let Some(next) = self.rest.front_mut().filter(|_| count > 0) {
            let of_next = count.min(next.len());
            bytes::Buf::advance(next, of_next);
            count -= of_next;
            if next.is_empty() {
                self.rest.pop_front();
            }
        }
        if self.rest.is_empty() && self.rest.capacity() > PIECES {
            self.rest = VecDeque::new();
        }
    }

    fn release(&mut self) {
        self.at = 0;
        let mut spare = std::mem::take(&mut self.first);
        spare.clear();
        let (buffers, most) = match spare.capacity() {
            0 => return,
            1..=SPARE => (&SPARE_BUFFERS, SPARES),
            WIDE_FROM..=WIDE_SPARE => (&WIDE_BUFFERS, WIDE_SPARES),
            _ => return,
        };
        buffers.with_borrow_mut(|spares| {
            if spares.len() < most {
                spares.push(spare);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so much at once.
    struct Slow(usize);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = std::mem::take(&mut self.0).min(bytes.len());
            if count == 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_peer_that_is_always_behind_costs_no_more_memory() {
        let mut out = Outbox::wide();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..4_000 {
            while out.len() < 200_000 {
                out.put_data(Bytes::from(vec![1; 4_000]));
            }
            assert!(out.poll_flush(&mut cx, &mut Slow(20_000)).is_pending());
        }
        assert!(out.first.capacity() < 1 << 20, "{}", out.first.capacity());
        assert_eq!(out.len(), 200_000 - 20_000);
    }
}
