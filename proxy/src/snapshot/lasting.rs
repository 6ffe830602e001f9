//! What outlives configurations: counts, endpoints and what is known of them, files, contexts of TLS.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{calls::Calls, filters, tcp};
use crate::{
    access_log::sink::Sinks,
    cluster::{self, roster::Roster},
    config::{Direction, Place},
    metrics::Registry,
    net::tls,
    observe::{Observer, Silent},
    policy::fault::{self, Book},
};

/// What outlives configurations.
#[derive(Debug, Default)]
pub struct Lasting {
    /// Where access logs are written.
    pub sinks: Sinks,
    pub(super) rosters: Rosters,
    pub(super) faults: Book,
    pub(super) known: filters::Known,
    arrivals: Mutex<HashMap<Arc<str>, Arc<AtomicU64>>>,
    live: Mutex<HashMap<Arc<str>, tcp::Live>>,
    connections: Mutex<HashMap<String, Arc<AtomicU64>>>,
    calls: Mutex<HashMap<Caller, Arc<Calls>>>,
    ids: AtomicU64,
    /// Contexts of TLS.
    pub tls: tls::Store,
}

/// Who calls whom.
type Caller = (Arc<str>, Arc<str>);

/// The endpoints of clusters, by name, and what is known of them.
pub(super) struct Rosters {
    observer: Arc<dyn Observer>,
    registry: Arc<Registry>,
    known: Mutex<HashMap<Arc<str>, Arc<Roster>>>,
}

impl Lasting {
    /// Nothing yet. The observer is told of endpoints, and their counts go into the registry.
    pub fn new(observer: Arc<dyn Observer>, registry: Arc<Registry>) -> Self {
        Self {
            rosters: Rosters {
                observer,
                registry,
                known: Mutex::default(),
            },
            ..Self::default()
        }
    }

    /// A number that no other caller gets.
    pub fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn arrivals(&self, listener: &Arc<str>) -> Arc<AtomicU64> {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(arrivals.entry(Arc::clone(listener)).or_default())
    }

    /// What connections of a listener suffer; at first this.
    pub(super) fn live(&self, listener: &Arc<str>, faults: &Arc<fault::tcp::Rules>) -> tcp::Live {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let known = live
            .entry(Arc::clone(listener))
            .or_insert_with(|| Arc::new(watch::Sender::new(Arc::clone(faults))));
        Arc::clone(known)
    }

    pub(super) fn connections(&self, limit: &str) -> Arc<AtomicU64> {
        let connections = self.connections.lock();
        let mut connections = connections.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(connections.entry(limit.to_owned()).or_default())
    }

    pub(super) fn calls(&self, place: Option<&Place>) -> Option<Arc<Calls>> {
        let place = place.filter(|place| place.direction == Direction::Outbound)?;
        let key = (Arc::clone(&place.caller), Arc::clone(&place.service));
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(calls.entry(key).or_default()))
    }
}

impl Rosters {
    /// A cluster's endpoints, with what is known of them; the same, where nothing of it has changed.
    pub(super) fn of(&self, settings: &Arc<cluster::Settings>) -> Arc<Roster> {
        let rosters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rosters.get(&settings.name);
        if let Some(same) = before.filter(|before| before.settings() == settings) {
            return Arc::clone(same);
        }
        let metrics = before.map_or_else(
            || self.registry.membership(&settings.name),
            |before| Arc::clone(before.metrics()),
        );
        Arc::new(Roster::new(
            Arc::clone(settings),
            before.map(AsRef::as_ref),
            metrics,
            Arc::clone(&self.observer),
        ))
    }

    pub(super) fn keep(&self, rosters: &[Arc<Roster>]) {
        let mut kept = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for roster in rosters {
            kept.insert(Arc::clone(&roster.settings().name), Arc::clone(roster));
        }
    }
}

impl Default for Rosters {
    fn default() -> Self {
        Self {
            observer: Arc::new(Silent),
            registry: Arc::default(),
            known: Mutex::default(),
        }
    }
}

impl fmt::Debug for Rosters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rosters")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
