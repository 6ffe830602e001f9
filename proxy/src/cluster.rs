//! A cluster as one event loop sees it: its endpoints, their idle connections, whose turn it is.

use std::{cell::RefCell, fmt, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use crate::{
    metrics::Upstream,
    net::tls,
    policy::{
        balance::{Balance, Balancer},
        protocol, retry,
    },
};

pub mod pool;
mod retrying;

use pool::Pool;
pub use retrying::Retrying;

/// A cluster on one event loop. `B` is the body of the requests sent to it.
pub struct Cluster<B> {
    settings: Arc<Settings>,
    pools: Vec<Rc<Pool<B>>>,
    balancer: RefCell<Box<dyn Balancer>>,
    retrying: retrying::Count,
    metrics: Arc<Upstream>,
}

/// What a cluster is, with its addresses resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints and their weights.
    pub endpoints: Vec<(SocketAddr, u32)>,
    /// How requests are spread.
    pub balance: Balance,
    /// A connection must be made within this.
    pub connect_timeout: Duration,
    /// An idle connection is closed after this.
    pub idle_timeout: Option<Duration>,
    /// How many retries may be under way.
    pub retry_limit: retry::Limit,
    /// Which HTTP version is spoken.
    pub protocol: protocol::Upstream,
    /// Bounds of HTTP/2 connections.
    pub http2: protocol::Http2,
    /// A connection is closed after so many requests.
    pub max_requests: Option<u64>,
    /// TLS is begun on connections.
    pub tls: Option<Arc<tls::Client>>,
}

impl Settings {
    fn pool<B>(&self, address: SocketAddr, metrics: Arc<Upstream>) -> Pool<B> {
        let plain = |metrics| {
            Pool::new(address, self.connect_timeout, self.idle_timeout, metrics)
                .over_tls(self.tls.clone())
        };
        let streams = |metrics| plain(metrics).with_http2(self.http2.clone(), self.max_requests);
        match self.protocol {
            protocol::Upstream::Http2 => streams(metrics),
            protocol::Upstream::Downstream => {
                plain(Arc::clone(&metrics)).with_twin(streams(metrics))
            }
            protocol::Upstream::Http1 | protocol::Upstream::Alpn => plain(metrics),
        }
    }
}

impl<B> Cluster<B> {
    /// The cluster, with the idle connections of its predecessor.
    pub fn new(settings: Arc<Settings>, metrics: Arc<Upstream>, before: Option<&Self>) -> Self {
        let pools = settings
            .endpoints
            .iter()
            .map(|(address, _)| {
                before
                    .and_then(|before| before.pool_of(*address, &settings))
                    .unwrap_or_else(|| Rc::new(settings.pool(*address, Arc::clone(&metrics))))
            })
            .collect();
        let weights: Vec<u32> = settings
            .endpoints
            .iter()
            .map(|(_, weight)| *weight)
            .collect();
        Self {
            balancer: RefCell::new(settings.balance.over(&weights)),
            pools,
            retrying: retrying::Count::default(),
            settings,
            metrics,
        }
    }

    fn pool_of(&self, address: SocketAddr, settings: &Settings) -> Option<Rc<Pool<B>>> {
        let same = self.settings.connect_timeout == settings.connect_timeout
            && self.settings.idle_timeout == settings.idle_timeout
            && self.settings.protocol == settings.protocol
            && self.settings.http2 == settings.http2
            && self.settings.max_requests == settings.max_requests
            && self.settings.tls == settings.tls;
        self.pools
            .iter()
            .find(|pool| same && pool.address() == address)
            .cloned()
    }

    /// What it is.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Its counts.
    pub fn metrics(&self) -> &Arc<Upstream> {
        &self.metrics
    }

    /// The endpoint whose turn it is; `None`: there is none.
    pub fn next(&self) -> Option<&Rc<Pool<B>>> {
        if let [only] = self.pools.as_slice() {
            return Some(only);
        }
        let index = self.balancer.borrow_mut().pick(&|_| true)?;
        self.pools.get(index)
    }

    /// Begins a retry, if the cluster's bound on them lets it.
    pub fn retrying(&self) -> Option<Retrying> {
        let most = match self.settings.retry_limit {
            retry::Limit::Most(most) => u64::from(most),
            retry::Limit::Budget(budget) => budget.most(self.metrics.requests_active.get()),
        };
        self.retrying.enter(most)
    }

    /// Closes connections that were idle too long.
    pub fn sweep(&self) {
        for pool in &self.pools {
            pool.sweep();
        }
    }
}

impl<B> fmt::Debug for Cluster<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
