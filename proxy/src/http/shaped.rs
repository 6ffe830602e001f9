//! An answer's body as faults want it: slow, or broken off.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::inject::Shaping;
use crate::{
    net::timer::{Sleep, Timer},
    policy::fault::throttle::{Pace, Throttle},
};

/// A body under way.
#[derive(Debug)]
pub struct Shaped {
    shaping: Box<Shaping>,
    timer: Timer,
    pace: Option<Pace>,
    begun: Option<Instant>,
    sleep: Option<Sleep>,
    /// What has come, and may not go on yet.
    held: Bytes,
    sent: u64,
}

/// What of a body may go on.
#[derive(Debug)]
pub enum Step {
    /// This.
    Data(Bytes),
    /// All that has come has gone on.
    Empty,
    /// Nothing more: it breaks off here.
    Cut,
}

impl Shaped {
    /// The shaping of a body; `None`: nothing is done to it.
    pub fn new(shaping: Box<Shaping>, timer: Timer) -> Option<Self> {
        let shape = &shaping.shape;
        if shape.throttle.is_none() && shape.truncate.is_none() {
            return None;
        }
        Some(Self {
            pace: shape.throttle.map(Throttle::begin),
            shaping,
            timer,
            begun: None,
            sleep: None,
            held: Bytes::new(),
            sent: 0,
        })
    }

    /// More of the body has come; only when [`Step::Empty`] was told.
    pub fn hold(&mut self, data: Bytes) {
        self.held = data;
    }

    /// Bytes that have come and may not go on yet.
    pub fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// The next part that may go on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            if self.held.is_empty() {
                return Poll::Ready(Step::Empty);
            }
            let mut allowed = self.held.len();
            if let Some(truncate) = self.shaping.shape.truncate {
                allowed = truncate.allow(self.sent, allowed);
                if allowed == 0 {
                    return Poll::Ready(Step::Cut);
                }
            }
            let begun = *self.begun.get_or_insert_with(Instant::now);
            if let Some(pace) = &mut self.pace {
                allowed = pace.allow(begun.elapsed(), allowed);
                if allowed == 0 {
                    let next = pace.next();
                    ready!(self.poll_until(begun + next, cx));
                    continue;
                }
            }
            self.sent += allowed as u64;
            return Poll::Ready(Step::Data(self.held.split_to(allowed)));
        }
    }

    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = &self.timer;
        let sleep = self.sleep.get_or_insert_with(|| timer.sleep_until(at));
        ready!(Pin::new(sleep).poll(cx));
        self.sleep = None;
        Poll::Ready(())
    }
}
