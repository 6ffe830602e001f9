//! One direction whose bytes suffer faults: what has come waits for its time.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::flow::{Broken, Side};
use crate::{
    net::{
        stock::Stock,
        timer::{Sleep, Timer},
    },
    policy::fault::tcp::{After, Line},
};

/// Bytes that wait, at most; then no more are read.
const MOST: usize = 16 << 20;

/// A direction under faults.
pub(super) struct Shaped {
    line: Line,
    begin: Instant,
    timer: Timer,
    sleep: Option<Sleep>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// No more is read.
    ended: bool,
    /// The connection ends when all that waits is out.
    cut: bool,
    /// When the end of the stream goes on; `None`: not known, or never.
    end_at: Option<Duration>,
}

struct Waiting {
    at: Duration,
    bytes: Vec<u8>,
    written: usize,
}

/// How far a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its end has been passed on.
    Whole,
    /// The whole connection ends with it.
    Cut,
}

impl Shaped {
    pub(super) fn new(line: Line, begin: Instant, timer: Timer) -> Self {
        Self {
            line,
            begin,
            timer,
            sleep: None,
            waiting: VecDeque::new(),
            bytes: 0,
            ended: false,
            cut: false,
            end_at: None,
        }
    }

    /// From now on its bytes suffer this; without any fault what waits goes on at once. `false`: bytes have vanished that
    /// now would not.
    pub(super) fn turn(&mut self, line: Line) -> bool {
        let now = self.begin.elapsed();
        let before = std::mem::replace(&mut self.line, line);
        if self.line.is_plain() {
            for waiting in &mut self.waiting {
                waiting.at = now;
            }
        }
        if before.has_swallowed() && !self.line.stays_silent(now) {
            return false;
        }
        if self.ended && !self.cut {
            self.end_at = self.line.end(now);
        }
        true
    }

    /// Passes on what is due; ready at the end. `moved`: bytes read and written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut Side, &mut Side),
        stock: &Stock,
        (read, written): (&mut u64, &mut u64),
    ) -> Poll<Result<Ended, Broken>> {
        loop {
            let took = self.poll_take(cx, from, stock, read)?;
            let now = self.begin.elapsed();
            while let Some(first) = self.waiting.front_mut().filter(|first| first.at <= now) {
                let rest = first.bytes.get(first.written..).unwrap_or_default();
                if rest.is_empty() {
                    self.bytes -= first.bytes.len();
                    self.waiting.pop_front();
                    continue;
                }
                match to.poll_write(cx, rest) {
                    Poll::Ready(Ok(count)) => {
                        first.written += count;
                        *written += count as u64;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::To(error))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let next = match self.waiting.front() {
                Some(first) => Some(first.at),
                None if self.cut => {
                    let _ = to.poll_end(cx).map_err(Broken::To)?;
                    return Poll::Ready(Ok(Ended::Cut));
                }
                None => match self.end_at {
                    Some(at) if at <= now => {
                        return to
                            .poll_end(cx)
                            .map_err(Broken::To)
                            .map_ok(|()| Ended::Whole);
                    }
                    at => at,
                },
            };
            let _ = to.poll_flush(cx).map_err(Broken::To)?;
            if let Some(at) = next
                && self.poll_sleep(cx, at).is_ready()
            {
                continue;
            }
            if took.is_pending() || self.ended || self.bytes >= MOST {
                return Poll::Pending;
            }
        }
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        stock: &Stock,
        read: &mut u64,
    ) -> Result<Poll<()>, Broken> {
        if self.ended || self.bytes >= MOST {
            return Ok(Poll::Pending);
        }
        let mut buffer = stock.buffer();
        let count = match from.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => return Err(Broken::From(error)),
            Poll::Pending => return Ok(Poll::Pending),
        };
        let now = self.begin.elapsed();
        *read += count as u64;
        if count == 0 {
            self.ended = true;
            self.end_at = self.line.end(now);
            return Ok(Poll::Ready(()));
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        let (pieces, after) = self.line.pass(now, count);
        for piece in pieces {
            let (bytes, later) = rest.split_at_checked(piece.bytes).unwrap_or((rest, &[]));
            rest = later;
            self.bytes += bytes.len();
            self.waiting.push_back(Waiting {
                at: piece.at,
                bytes: bytes.to_vec(),
                written: 0,
            });
        }
        if after == After::Cut {
            self.cut = true;
            self.ended = true;
        }
        Ok(Poll::Ready(()))
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, at: Duration) -> Poll<()> {
        let mut sleep = self.timer.sleep_until(self.begin + at);
        let polled = Pin::new(&mut sleep).poll(cx);
        self.sleep = Some(sleep);
        polled
    }
}
