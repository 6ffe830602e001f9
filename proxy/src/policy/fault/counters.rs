//! What rules count: arrivals for `first` and `every`, requests under way for `max_active`. Shared by all event loops, and
//! kept by a rule's name when the configuration is swapped.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use super::Rules;

/// The counts of all rules of a proxy, by name. It outlives configurations.
#[derive(Debug, Default)]
pub struct Book(Mutex<HashMap<String, Arc<Counter>>>);

/// The counts of one set of rules, in their order.
#[derive(Debug, Default)]
pub struct Counters(pub(super) Vec<Arc<Counter>>);

/// The counts of one rule.
#[derive(Debug)]
pub struct Counter {
    /// By side: a shadow's onward calls never move the primary's count.
    arrivals: [AtomicU64; 256],
    active: AtomicU32,
}

/// A place under a rule's `max_active`; given back when dropped.
#[derive(Debug)]
pub struct Active(Arc<Counter>);

impl Counters {
    /// The counts of these rules, going on from where rules of the same name were.
    pub fn new(rules: &Rules, book: &Book) -> Self {
        let mut book = book.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(
            rules
                .rules
                .iter()
                .map(|rule| {
                    let name = rule.group.as_ref().unwrap_or(&rule.name);
                    Arc::clone(book.entry(name.clone()).or_default())
                })
                .collect(),
        )
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            arrivals: [const { AtomicU64::new(0) }; 256],
            active: AtomicU32::new(0),
        }
    }
}

impl Counter {
    /// How many came before this one.
    pub(super) fn arrive(&self, side: u8) -> u64 {
        self.arrivals
            .get(usize::from(side))
            .map_or(0, |count| count.fetch_add(1, Ordering::Relaxed))
    }

    /// A place, if fewer than `most` are taken.
    pub(super) fn enter(counter: &Arc<Self>, most: u32) -> Option<Active> {
        counter
            .active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |active| {
                (active < most).then(|| active + 1)
            })
            .ok()
            .map(|_| Active(Arc::clone(counter)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}
