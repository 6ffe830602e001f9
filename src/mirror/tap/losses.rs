//! What was not mirrored, and why.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Counts by reason.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_reason: BTreeMap<&'static str, u64>,
    /// What was told last.
    told: BTreeMap<&'static str, u64>,
}

impl Losses {
    /// More of one reason.
    pub(super) fn add(&self, reason: &'static str, count: u64) {
        if count > 0 {
            *self.counts().by_reason.entry(reason).or_default() += count;
        }
    }

    /// All of one reason.
    pub(super) fn set(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.counts().by_reason.insert(reason, count);
        }
    }

    /// All that was left out on the way from packets to exchanges.
    pub(super) fn skipped(&self, skipped: &BTreeMap<&'static str, u64>) {
        self.counts().by_reason.extend(skipped);
    }

    /// Whether anything was lost since it was told last.
    pub(super) fn has_news(&self) -> bool {
        let counts = self.counts();
        counts.by_reason != counts.told
    }

    /// All of it, for people; `None`: nothing was lost.
    pub(super) fn told(&self) -> Option<String> {
        let mut counts = self.counts();
        counts.told = counts.by_reason.clone();
        let parts: Vec<String> = counts
            .by_reason
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_by_reason_and_once() {
        let losses = Losses::default();
        assert_eq!((losses.told(), losses.has_news()), (None, false));
        losses.add("no_answer", 2);
        losses.add("no_answer", 1);
        losses.set("dropped_by_kernel", 0);
        losses.skipped(&BTreeMap::from([("tcp_gap", 4)]));
        losses.skipped(&BTreeMap::from([("tcp_gap", 5)]));
        assert!(losses.has_news());
        assert_eq!(losses.told().as_deref(), Some("no_answer 3, tcp_gap 5"));
        assert!(!losses.has_news());
    }
}
