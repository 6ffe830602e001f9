//! Whom a source tells: pairs go on to be compared; the primary's requests are counted here, on the source's own thread.
//! An event for each would cost more than copying it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use meshbed_proxy::observe::{Change, Mirrored, Observer, Record};

use super::LIVE;
use crate::{
    event::{Micros, Served},
    measure::ErrorRule,
    run::collect::Collector,
    shadow::Rules,
};

/// What is told of live traffic.
#[derive(Debug)]
pub struct Live {
    pairs: Collector,
    errors: ErrorRule,
    counted: Mutex<Served>,
}

impl Live {
    pub(super) fn new(pairs: Collector, errors: ErrorRule) -> Self {
        Self {
            pairs,
            errors,
            counted: Mutex::new(none()),
        }
    }

    /// A request of the primary has ended: its status, if an answer began; whether that is whole; what it took, from the
    /// request's first byte to the answer's last; bytes of the answer's body.
    pub fn served(&self, status: Option<u16>, complete: bool, took: Duration, bytes: u64) {
        let error = self.errors.is_error(status, complete, None);
        // It is held for a few instructions at a time: here, and once a second where it is taken.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.requests += 1;
        counted.errors += u64::from(error);
        counted.bytes += bytes;
        *counted.status.entry(status.unwrap_or(0)).or_default() += 1;
        if complete && status.is_some() {
            counted.latency.record(took.as_micros() as u64);
        }
    }

    pub(super) fn compare_by(&self, rules: Rules) {
        self.pairs.compare_by(rules);
    }

    pub(super) fn end(&self) {
        self.pairs.end();
    }

    /// What was served since the last time; `None`: nothing.
    pub(super) fn take(&self, t_us: Micros) -> Option<Served> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.requests == 0 {
            return None;
        }
        let served = std::mem::replace(&mut *counted, none());
        drop(counted);
        Some(Served { t_us, ..served })
    }
}

impl Observer for Live {
    fn request(&self, record: &Record<'_>) {
        let status = record.status.map(|status| status.as_u16());
        self.served(status, record.complete, record.duration, record.bytes_out);
    }

    fn mirrored(&self, mirrored: Mirrored) {
        self.pairs.mirrored(mirrored);
    }

    fn changed(&self, change: &Change<'_>) {
        self.pairs.changed(change);
    }
}

fn none() -> Served {
    Served {
        t_us: 0,
        service: LIVE.into(),
        requests: 0,
        errors: 0,
        bytes: 0,
        status: std::collections::BTreeMap::new(),
        latency: crate::stats::histogram::Histogram::default(),
    }
}
