//! How the connections of a chain are passed on, ready to be asked.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::watch;

use crate::{access_log::Logs, config::Place, draw::Draw, policy::fault::tcp::Rules};

/// A TCP proxy.
#[derive(Debug)]
pub struct Tcp {
    /// The name of its listener.
    pub name: Arc<str>,
    /// The name of its statistics.
    pub stat_prefix: Arc<str>,
    /// Its sidecar.
    pub place: Option<Place>,
    /// Clusters, by their indexes, and their weights; `None`: there is no such cluster.
    pub clusters: Vec<(Option<usize>, u32)>,
    /// See [`config::TcpProxy::cluster_by_server_name`](crate::config::TcpProxy::cluster_by_server_name).
    pub cluster_by_server_name: bool,
    /// What a cluster is drawn with, where there are several.
    pub choice: Draw,
    /// See [`config::TcpProxy::idle_timeout`](crate::config::TcpProxy::idle_timeout).
    pub idle_timeout: Option<Duration>,
    /// See [`config::TcpProxy::max_duration`](crate::config::TcpProxy::max_duration).
    pub max_duration: Option<Duration>,
    /// See [`config::TcpProxy::max_connect_attempts`](crate::config::TcpProxy::max_connect_attempts).
    pub max_connect_attempts: u32,
    /// See [`config::TcpProxy::hash_source_ip`](crate::config::TcpProxy::hash_source_ip).
    pub hash_source_ip: bool,
    /// What connections suffer.
    pub faults: Arc<Rules>,
    /// What connections suffer that are under way, whatever they began with; `None`: what they began with.
    pub live: Option<Live>,
    /// See [`config::TcpProxy::numbered`](crate::config::TcpProxy::numbered).
    pub numbered: bool,
    /// See [`config::TcpProxy::access_logs`](crate::config::TcpProxy::access_logs).
    pub access: Logs,
    /// Where its listener's connections are logged, too.
    pub outer: Option<Arc<Logs>>,
    /// The name of its chain.
    pub chain: Arc<str>,
    /// Counts arrivals: ordinals of connections.
    pub arrivals: Arc<AtomicU64>,
}

/// What connections of a listener suffer now.
pub type Live = Arc<watch::Sender<Arc<Rules>>>;

impl Tcp {
    /// Its faults are those of the connections under way, too.
    pub fn go_live(&self) {
        if let Some(live) = &self.live {
            live.send_if_modified(|now| {
                let other = **now != *self.faults;
                if other {
                    *now = Arc::clone(&self.faults);
                }
                other
            });
        }
    }

    /// The index of the cluster that the connection goes to: a draw by its ordinal where there are several. `None`: there is
    /// no such cluster.
    pub fn cluster(&self, ordinal: u64) -> Option<usize> {
        if let [(only, _)] = self.clusters.as_slice() {
            return *only;
        }
        let total: u64 = self
            .clusters
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum();
        let mut left = (self.choice.unit_of(&ordinal.to_le_bytes()) * total as f64) as u64;
        for (cluster, weight) in &self.clusters {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *cluster,
            }
        }
        None
    }
}
