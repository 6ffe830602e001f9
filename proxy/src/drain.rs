//! Graceful shutdown: whoever is busy holds a [`Hold`]; a drain is over when the last one is dropped.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// What the proxy is doing, as its event loops see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes connections.
    Serving,
    /// It takes them still, and each answer is its connection's last: clients leave, and none is cut off.
    Leaving,
    /// It takes none, and ends those it has when their request is done.
    Draining,
    /// It ends at once.
    Stopped,
}

/// The one who starts a drain and waits for its end.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    holds: Arc<Holds>,
}

/// What event loops are given: the phase, and holds.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Where the phase is told.
    pub phase: watch::Receiver<Phase>,
    holds: Arc<Holds>,
}

/// Somebody is busy as long as this is not dropped.
#[derive(Debug)]
pub struct Hold(Arc<Holds>);

#[derive(Debug, Default)]
struct Holds {
    count: Mutex<usize>,
    none: Condvar,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            holds: Arc::default(),
        }
    }
}

impl Drain {
    /// What an event loop is given.
    pub fn watch(&self) -> Watch {
        Watch {
            phase: self.phase.subscribe(),
            holds: Arc::clone(&self.holds),
        }
    }

    /// Tells the event loops; a phase never goes back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Waits until nobody is busy, at most so long. Blocks the thread. Whether nobody is busy.
    pub fn wait(&self, within: Duration) -> bool {
        let count = self.holds.lock();
        let (count, _) = self
            .holds
            .none
            .wait_timeout_while(count, within, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

impl Watch {
    /// Somebody is busy.
    pub fn hold(&self) -> Hold {
        *self.holds.lock() += 1;
        Hold(Arc::clone(&self.holds))
    }
}

impl Holds {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_over_when_the_last_hold_is_dropped() {
        let drain = Drain::default();
        let watch = drain.watch();
        let (first, second) = (watch.hold(), watch.hold());
        drop(first);
        assert!(!drain.wait(Duration::from_millis(1)));
        let thread = std::thread::spawn(move || drop(second));
        assert!(drain.wait(Duration::from_secs(10)));
        thread.join().unwrap();
    }

    #[test]
    fn a_stopped_proxy_does_not_go_back_to_draining() {
        let drain = Drain::default();
        drain.enter(Phase::Stopped);
        drain.enter(Phase::Draining);
        assert_eq!(*drain.watch().phase.borrow(), Phase::Stopped);
    }
}
