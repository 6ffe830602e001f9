//! The log of one connection. Dropping it is the record, so that there is one however the connection ends.

use std::{net::SocketAddr, rc::Rc};

use tokio::time::Instant;

use crate::{
    cluster::Cluster, error::Error, http::body::Upload, metrics::Tcp as Metrics, observe::Flags,
};

/// What is known of a connection so far.
pub(super) struct Log<'a> {
    /// Its counts.
    pub(super) metrics: &'a Metrics,
    /// When it was accepted.
    pub(super) start: Instant,
    /// Its cluster.
    pub(super) cluster: Option<Rc<Cluster<Upload>>>,
    /// The endpoint that was tried last.
    pub(super) endpoint: Option<SocketAddr>,
    /// Tries to connect to an endpoint.
    pub(super) attempts: u32,
    /// There is a connection to the endpoint.
    pub(super) connected: bool,
    /// Why the last try failed.
    pub(super) failure: Option<Error>,
    /// What went wrong.
    pub(super) flags: Flags,
    /// Bytes read from the client.
    pub(super) received: u64,
    /// Bytes written to the client.
    pub(super) sent: u64,
}

impl<'a> Log<'a> {
    /// Opens the log of a connection that was accepted.
    pub(super) fn open(metrics: &'a Metrics, start: Instant) -> Self {
        Self {
            metrics,
            start,
            cluster: None,
            endpoint: None,
            attempts: 0,
            connected: false,
            failure: None,
            flags: Flags::default(),
            received: 0,
            sent: 0,
        }
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.metrics.bytes_read.add(self.received);
        self.metrics.bytes_written.add(self.sent);
        if let Some(cluster) = self.cluster.as_ref().filter(|_| self.connected) {
            cluster.metrics().connections_active.dec();
        }
    }
}
