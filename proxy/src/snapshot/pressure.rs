//! Filters that let through only so much, by how it went before; compiled. What they know is shared by all event loops and
//! outlives configurations.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;

use super::shelf::Shelf;
use crate::{
    config,
    policy::{
        adaptive::{self, Controller},
        admission::{self, Record},
    },
    unit::Share,
};

/// Bounds what is under way by how long it takes.
#[derive(Debug)]
pub struct Adaptive {
    settings: adaptive::Settings,
    controller: Arc<Mutex<Controller>>,
    /// The answer where the bound is reached.
    pub status: StatusCode,
}

/// Turns requests away while many fail.
#[derive(Debug)]
pub struct Admission {
    /// When.
    pub settings: admission::Settings,
    /// The share of requests that are counted and may be turned away.
    pub enabled: Share,
    record: Arc<Mutex<Record>>,
}

/// What such filters know, by name.
#[derive(Debug, Default)]
pub struct Shelves {
    adaptive: Shelf<adaptive::Settings, Mutex<Controller>>,
    admission: Shelf<admission::Settings, Mutex<Record>>,
}

impl Adaptive {
    pub(super) fn compile(it: &config::Named<adaptive::Settings>, shelves: &Shelves) -> Self {
        let make = |settings: &_| Mutex::new(Controller::new(settings));
        Self {
            controller: shelves.adaptive.get(&it.name, &it.settings, make),
            status: StatusCode::from_u16(it.settings.status)
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            settings: it.settings.clone(),
        }
    }

    /// Whether one more may begin.
    pub fn begin(&self, now: Duration) -> bool {
        lock(&self.controller).begin(now, &self.settings)
    }

    /// One has ended; `None`: it was broken off.
    pub fn end(&self, took: Option<Duration>, now: Duration) {
        lock(&self.controller).end(took, now, &self.settings);
    }
}

impl Admission {
    pub(super) fn compile(
        it: &config::Named<admission::Settings>,
        enabled: Share,
        shelves: &Shelves,
    ) -> Self {
        let make = |_: &_| Mutex::default();
        Self {
            record: shelves.admission.get(&it.name, &it.settings, make),
            settings: it.settings.clone(),
            enabled,
        }
    }

    /// The chance that the next request is turned away.
    pub fn rejects(&self, now: Duration) -> f64 {
        lock(&self.record).rejects(now, &self.settings)
    }

    /// A request has been answered.
    pub fn count(&self, status: StatusCode, now: Duration) {
        let success = self.settings.is_success(status.as_u16());
        lock(&self.record).count(success, now, &self.settings);
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
