//! What a cluster has under way, over all event loops. Each loop counts in a slot of its own, so that counting is a plain
//! load and store; whoever holds the sum against a limit reads all slots.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::policy::breaker::{Kind, Limits, Priority};

/// Below this a limit is held against the sum of all loops; from here on only once a loop has an eighth of it itself, so
/// that loops don't read each other's counts for every request. Envoy's default limit is the first that counts as large.
const LARGE: u32 = 1024;

/// What a cluster has under way.
#[derive(Debug, Default)]
pub struct Usage(ArcSwap<Vec<Arc<Slot>>>);

/// What it has under way on one event loop. A line of the cache of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Slot([[AtomicU32; 4]; 2]);

/// The usage, as one event loop counts in it.
#[derive(Debug)]
pub struct Local {
    usage: Arc<Usage>,
    own: Arc<Slot>,
}

/// One more is under way, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    local: Rc<Local>,
    kind: Kind,
    priority: Priority,
    kept: bool,
}

impl Usage {
    /// For one more event loop.
    pub fn local(self: &Arc<Self>) -> Rc<Local> {
        let own = Arc::<Slot>::default();
        self.0.rcu(|slots| {
            let mut slots = Vec::clone(slots);
            slots.push(Arc::clone(&own));
            slots
        });
        Rc::new(Local {
            usage: Arc::clone(self),
            own,
        })
    }

    /// How much there is, over all loops.
    pub fn total(&self, kind: Kind, priority: Priority) -> u32 {
        let slots = self.0.load();
        slots.iter().map(|slot| slot.get(kind, priority)).sum()
    }
}

impl Slot {
    fn cell(&self, kind: Kind, priority: Priority) -> &AtomicU32 {
        let [default, high] = &self.0;
        let [connections, pending, requests, retries] = match priority {
            Priority::Default => default,
            Priority::High => high,
        };
        match kind {
            Kind::Connections => connections,
            Kind::Pending => pending,
            Kind::Requests => requests,
            Kind::Retries => retries,
        }
    }

    fn get(&self, kind: Kind, priority: Priority) -> u32 {
        self.cell(kind, priority).load(Ordering::Relaxed)
    }

    fn set(&self, kind: Kind, priority: Priority, count: u32) {
        self.cell(kind, priority).store(count, Ordering::Relaxed);
    }
}

impl Local {
    /// Over all loops.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// One more, where the limit allows it.
    pub fn admit(
        self: &Rc<Self>,
        kind: Kind,
        priority: Priority,
        limits: &Limits,
    ) -> Option<Permit> {
        let limit = limits.of(priority).limit(kind, || {
            self.usage.total(Kind::Requests, priority) + self.usage.total(Kind::Pending, priority)
        });
        let own = self.own.get(kind, priority);
        let far = limit >= LARGE && own < limit / 8;
        (far || self.usage.total(kind, priority) < limit).then(|| self.force(kind, priority))
    }

    /// One more, whatever the limit.
    pub fn force(self: &Rc<Self>, kind: Kind, priority: Priority) -> Permit {
        self.own
            .set(kind, priority, self.own.get(kind, priority) + 1);
        Permit {
            local: Rc::clone(self),
            kind,
            priority,
            kept: false,
        }
    }

    /// One less.
    pub(super) fn release(&self, kind: Kind, priority: Priority) {
        let count = self.own.get(kind, priority);
        self.own.set(kind, priority, count.saturating_sub(1));
    }
}

impl Permit {
    /// Whoever was given it calls [`Local::release`] in its place.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.kept {
            self.local.release(self.kind, self.priority);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::breaker::Thresholds;

    #[test]
    fn a_small_limit_holds_over_all_event_loops() {
        let usage = Arc::<Usage>::default();
        let (one, two) = (usage.local(), usage.local());
        let limits = Limits {
            default: Thresholds {
                requests: 3,
                ..Thresholds::default()
            },
            ..Limits::default()
        };
        let admit = |local: &Rc<Local>| local.admit(Kind::Requests, Priority::Default, &limits);
        let held = [admit(&one), admit(&one), admit(&two)];
        assert!(held.iter().all(Option::is_some));
        assert!(admit(&one).is_none() && admit(&two).is_none());
        drop(held);
        assert_eq!(usage.total(Kind::Requests, Priority::Default), 0);
        // Priorities have limits of their own.
        let _all: Vec<_> = (0..3).map(|_| admit(&one)).collect();
        assert!(one.admit(Kind::Requests, Priority::High, &limits).is_some());
    }

    #[test]
    fn a_large_limit_holds_on_one_event_loop() {
        let usage = Arc::<Usage>::default();
        let local = usage.local();
        let admit = || local.admit(Kind::Requests, Priority::Default, &Limits::default());
        let held: Vec<_> = (0..1_024).map(|_| admit()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(admit().is_none());
    }
}
