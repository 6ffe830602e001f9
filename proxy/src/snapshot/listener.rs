//! A listener's filter chains, ready to be asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    access_log::Logs,
    config::{self, Inspect},
    net::{origin::Origin, tls::Server},
    policy::{
        chain::{self, Match},
        fault::tls::Rules,
    },
};

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// The name of its statistics.
    pub stat_prefix: Arc<str>,
    /// What is looked at before a connection's chain is chosen.
    pub inspect: Inspect,
    /// Where connections are logged.
    pub access: Option<Arc<Logs>>,
    chains: Vec<Chain>,
    default: Option<Chain>,
    any: bool,
}

/// A chain: which connections, and what is done with them.
#[derive(Debug)]
pub struct Chain {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// Which connections; without effect for a default chain.
    pub matches: Match,
    /// TLS is ended on them.
    pub tls: Option<Arc<Server>>,
    /// Some of their handshakes are spoilt.
    pub spoiling: Option<Spoiling>,
    /// The handshake must be done within this.
    pub handshake_timeout: Option<Duration>,
    /// How many there may be.
    pub limit: Option<Limit>,
    /// How they are served.
    pub serve: Serve,
}

/// Faults of handshakes.
#[derive(Debug)]
pub struct Spoiling {
    /// Which, and how.
    pub rules: Rules,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// Its sidecar.
    pub place: Option<config::Place>,
    /// See [`config::Chain::numbered`].
    pub numbered: bool,
    /// Counts arrivals: numbers of connections that nobody else numbers.
    pub arrivals: Arc<AtomicU64>,
}

/// How many connections a chain has at once, counted on all event loops and through all configurations.
#[derive(Debug)]
pub struct Limit {
    /// The name of its statistics.
    pub stat_prefix: Arc<str>,
    /// At most so many.
    pub most: u64,
    /// One too many is closed after this.
    pub delay: Option<Duration>,
    /// How many there are.
    pub active: Arc<AtomicU64>,
}

/// A connection under a [`Limit`], until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU64>);

/// How the connections of a chain are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// Requests are read from them; an index into [`Snapshot::http`](super::Snapshot::http).
    Http(usize),
    /// They are passed on byte by byte, an index into [`Snapshot::tcp`](super::Snapshot::tcp).
    Tcp(usize),
}

impl Limit {
    /// One more; `None`: there are as many as there may be.
    pub fn enter(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.active));
        let before = self.active.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// A listener with these chains, and one for those connections that none of them matches.
    pub fn new(
        stat_prefix: Arc<str>,
        inspect: Inspect,
        access: Option<Arc<Logs>>,
        chains: Vec<Chain>,
        default: Option<Chain>,
    ) -> Self {
        let any = match (chains.as_slice(), &default) {
            ([only], _) => only.matches.is_any(),
            ([], default) => default.is_some(),
            _ => false,
        };
        Self {
            stat_prefix,
            inspect,
            access,
            chains,
            default,
            any,
        }
    }

    /// The chain of a connection; `None`: it is closed.
    pub fn chain(&self, origin: &Origin) -> Option<&Chain> {
        if self.any {
            // Whatever is known of it.
            return self.all_chains().next();
        }
        let matches = self.chains.iter().map(|chain| &chain.matches);
        chain::find(matches, &origin.seen())
            .and_then(|index| self.chains.get(index))
            .or(self.default.as_ref())
    }

    /// Its chains, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().chain(&self.default)
    }

    /// The chain that is in the place of another configuration's chain: it matches the same connections.
    pub fn same(&self, chain: &Chain) -> Option<&Chain> {
        self.all_chains().find(|ours| ours.matches == chain.matches)
    }
}
