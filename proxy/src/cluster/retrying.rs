//! Retries under way: a policy of the cluster bounds them.

use std::{cell::Cell, rc::Rc};

/// The count of a cluster's retries under way.
#[derive(Debug, Default)]
pub(super) struct Count(Rc<Cell<u32>>);

/// A retry that is under way, from its backoff to its end; it is over when this is dropped.
#[derive(Debug)]
pub struct Retrying(Rc<Cell<u32>>);

impl Count {
    /// A retry, if fewer than `most` are under way.
    pub(super) fn enter(&self, most: u64) -> Option<Retrying> {
        let count = self.0.get();
        (u64::from(count) < most).then(|| {
            self.0.set(count + 1);
            Retrying(Rc::clone(&self.0))
        })
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
