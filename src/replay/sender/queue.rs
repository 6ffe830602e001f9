//! Requests in line for a connection, or for a pool of them, in order.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use tokio::sync::Notify;

use super::Released;

/// A line that knows how many will come, so that a connection closes after its last.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Released>>,
    to_come: Cell<u64>,
    changed: Notify,
}

impl Queue {
    /// A line for that many requests.
    pub(super) fn of(requests: u64) -> Self {
        Self {
            waiting: RefCell::default(),
            to_come: Cell::new(requests),
            changed: Notify::new(),
        }
    }

    pub(super) fn push(&self, released: Released) {
        self.waiting.borrow_mut().push_back(released);
        self.to_come.set(self.to_come.get().saturating_sub(1));
        if self.to_come.get() == 0 {
            self.changed.notify_waiters();
        } else {
            self.changed.notify_one();
        }
    }

    /// No more will come; what waits is handed back.
    pub(super) fn close(&self) -> VecDeque<Released> {
        self.to_come.set(0);
        self.changed.notify_waiters();
        self.waiting.take()
    }

    /// The next in line; `None`: there is none and none will come. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Option<Released> {
        loop {
            // Nothing else runs between these looks and the first poll of `notified`: no change can be missed.
            if let Some(released) = self.waiting.borrow_mut().pop_front() {
                return Some(released);
            }
            if self.to_come.get() == 0 {
                return None;
            }
            self.changed.notified().await;
        }
    }
}
