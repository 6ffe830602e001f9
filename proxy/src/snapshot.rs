//! A configuration, compiled: immutable, swapped by one pointer, loaded once per request. What must outlive a swap
//! (counts of arrivals, of equal calls, of faults) is in [`Lasting`].

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use crate::{
    cluster::{self, roster::Roster},
    config::{Config, Problem},
};

pub mod authz;
pub mod calls;
mod compile;
pub mod filters;
pub mod headers;
pub mod hosts;
mod lasting;
pub mod listener;
mod manager;
pub mod pressure;
mod publish;
pub mod rate_limit;
pub mod replies;
mod route;
mod shelf;
pub mod target;
pub mod tcp;
pub mod tries;

pub use lasting::Lasting;
pub use manager::{Http, Manager, StripPort};
pub use publish::{Publisher, Reader};
pub use route::{Action, Faults, Forward, Mirror, Passed, Route};

use compile::Compiler;
use listener::{Listener, Serve};
use tcp::Tcp;

/// A compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// What it was compiled from.
    pub config: Config,
    /// The run whose trace ids count.
    pub run: Option<u64>,
    /// Listeners, in the order in which they were first bound.
    pub listeners: Vec<Listener>,
    /// What is done with requests, for every chain that reads some.
    pub http: Vec<Http>,
    /// How connections are passed on, for every chain that does so.
    pub tcp: Vec<Tcp>,
    /// Clusters.
    pub clusters: Vec<Arc<cluster::Settings>>,
    /// Their endpoints, in the same order.
    pub rosters: Vec<Arc<Roster>>,
    /// All mirrors of all routes: their index is what an event loop's state is kept by.
    pub mirrors: Vec<Arc<Mirror>>,
    names: HashMap<Arc<str>, usize>,
}

impl Snapshot {
    /// Compiles a configuration; `bound` says where its listeners are. All problems at once.
    pub fn compile(
        config: Config,
        bound: &[(Arc<str>, SocketAddr)],
        lasting: &Lasting,
    ) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler {
            config: &config,
            bound,
            lasting,
            clusters: BTreeMap::new(),
            http: Vec::new(),
            tcp: Vec::new(),
            mirrors: Vec::new(),
            cache: headers::Cache::default(),
            problems: config.check(),
        };
        let clusters = compiler.clusters();
        let listeners = compiler.listeners();
        let Compiler {
            http,
            tcp,
            mirrors,
            problems,
            ..
        } = compiler;
        if !problems.is_empty() {
            return Err(problems);
        }
        let rosters: Vec<_> = clusters
            .iter()
            .map(|settings| lasting.rosters.of(settings))
            .collect();
        lasting.rosters.keep(&rosters);
        // Where nothing has changed, what the roster has is what others hold.
        let clusters: Vec<Arc<cluster::Settings>> = rosters
            .iter()
            .map(|roster| Arc::clone(roster.settings()))
            .collect();
        Ok(Self {
            run: config.run,
            names: clusters
                .iter()
                .enumerate()
                .map(|(index, cluster)| (Arc::clone(&cluster.name), index))
                .collect(),
            config,
            listeners,
            http,
            tcp,
            clusters,
            rosters,
            mirrors,
        })
    }

    /// For each of our [`Snapshot::http`], what is in its place in another snapshot: the same chain of the same listener,
    /// where there still is one.
    pub fn successors(&self, next: &Self) -> Vec<Option<usize>> {
        let mut successors = vec![None; self.http.len()];
        for (before, after) in self.listeners.iter().zip(&next.listeners) {
            for chain in before.all_chains() {
                if let Serve::Http(index) = chain.serve
                    && let Some(successor) = successors.get_mut(index)
                    && let Some(Serve::Http(next)) = after.same(chain).map(|chain| chain.serve)
                {
                    *successor = Some(next);
                }
            }
        }
        successors
    }

    /// The index of the cluster with this name.
    pub fn cluster_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }
}
