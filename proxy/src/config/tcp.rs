//! Connections that are passed on byte by byte.

use std::time::Duration;

use super::AccessLog;
use crate::policy::fault::tcp as fault;

/// How the connections of a chain are passed on; Envoy's TCP proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: String,
    /// Clusters and their weights; a connection goes to one of them.
    pub clusters: Vec<(String, u32)>,
    /// The name that a TLS client was seen to ask for is that of the cluster, where it asks for one.
    pub cluster_by_server_name: bool,
    /// A connection on which no byte moves for so long is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed when it is so old; `None`: never.
    pub max_duration: Option<Duration>,
    /// How often a connection to an endpoint is tried; above 0.
    pub max_connect_attempts: u32,
    /// Clusters that balance by a hash take the client's address.
    pub hash_source_ip: bool,
    /// What connections suffer.
    pub faults: Vec<fault::Rule>,
    /// A new configuration's faults are those of connections under way, too.
    pub live: bool,
    /// Its connections have the numbers that [`Numbers`](crate::net::numbers::Numbers) say.
    pub numbered: bool,
    /// Where a line is written for each connection, when it has ended.
    pub access_logs: Vec<AccessLog>,
}

impl TcpProxy {
    /// Envoy's default time until an idle connection is closed.
    pub const IDLE_TIMEOUT: Duration = Duration::from_hours(1);

    /// To one cluster, with Envoy's defaults.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            clusters: vec![(cluster.into(), 1)],
            ..Self::default()
        }
    }
}

/// Envoy's defaults; to no cluster yet.
impl Default for TcpProxy {
    fn default() -> Self {
        Self {
            stat_prefix: "tcp".to_owned(),
            clusters: Vec::new(),
            cluster_by_server_name: false,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            max_duration: None,
            max_connect_attempts: 1,
            hash_source_ip: false,
            faults: Vec::new(),
            live: false,
            numbered: false,
            access_logs: Vec::new(),
        }
    }
}
