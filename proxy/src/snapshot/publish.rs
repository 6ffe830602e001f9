//! Swaps snapshots by one pointer.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Snapshot;

/// Swaps snapshots.
#[derive(Debug)]
pub struct Publisher(Arc<ArcSwap<Snapshot>>);

/// Loads the current snapshot; a comparison, as long as it has not been swapped.
#[derive(Debug, Clone)]
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Publisher {
    /// Begins with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// From now on it is this one.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.0.store(Arc::clone(&snapshot));
        for tcp in &snapshot.tcp {
            tcp.go_live();
        }
    }

    /// The current one.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// For an event loop.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.0)))
    }
}

impl Reader {
    /// The current one.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}
