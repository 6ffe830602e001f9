//! The log of one connection. Dropping it is the record, so that there is one however the connection ends.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use tokio::time::Instant;

use crate::{
    cluster::{Cluster, Permit, host::Turn},
    error::{self, Error},
    http::{body::Upload, view::wall_clock},
    metrics::Tcp as Metrics,
    net::origin::Origin,
    observe::Flags,
    policy::format::{
        Source,
        field::{Count, Message, Moment, Name, Peer, Point, Text},
    },
    snapshot::tcp::Tcp,
};

/// What is known of a connection so far.
pub(super) struct Log<'a> {
    /// Its counts.
    pub(super) metrics: &'a Metrics,
    settings: &'a Tcp,
    /// Where it comes from.
    pub(super) origin: Rc<Origin>,
    /// When it was accepted.
    pub(super) start: Instant,
    /// Its cluster.
    pub(super) cluster: Option<Rc<Cluster<Upload>>>,
    /// The endpoint that was tried last.
    pub(super) endpoint: Option<SocketAddr>,
    /// Our end of the connection to it.
    pub(super) upstream_local: Option<SocketAddr>,
    /// Tries to connect to an endpoint.
    pub(super) attempts: u32,
    /// There is a connection to the endpoint, which counts there as long as it is open.
    pub(super) turn: Option<(Turn, Permit)>,
    /// Why the last try failed.
    pub(super) failure: Option<Error>,
    /// What went wrong.
    pub(super) flags: Flags,
    /// Bytes read from the client.
    pub(super) received: u64,
    /// Bytes written to the client.
    pub(super) sent: u64,
    /// It is written for the listener.
    outer: bool,
    /// It was none to be passed on: nothing is written of it.
    pub(super) given_back: bool,
}

impl<'a> Log<'a> {
    /// Opens the log of a connection that was accepted.
    pub(super) fn open(
        metrics: &'a Metrics,
        settings: &'a Tcp,
        origin: Rc<Origin>,
        start: Instant,
    ) -> Self {
        Self {
            metrics,
            settings,
            origin,
            start,
            cluster: None,
            endpoint: None,
            upstream_local: None,
            attempts: 0,
            turn: None,
            failure: None,
            flags: Flags::default(),
            received: 0,
            sent: 0,
            outer: false,
            given_back: false,
        }
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.metrics.bytes_read.add(self.received);
        self.metrics.bytes_written.add(self.sent);
        if let Some(cluster) = self.cluster.as_ref().filter(|_| self.turn.is_some()) {
            cluster.metrics().connections_active.dec();
        }
        if self.given_back {
            return;
        }
        self.settings.access.write(self);
        if let Some(outer) = &self.settings.outer {
            self.outer = true;
            outer.write(self);
        }
    }
}

impl Source for Log<'_> {
    fn header(&self, _of: Message, _name: &Name, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn text(&self, of: Text, out: &mut Vec<u8>) -> bool {
        let text = match of {
            Text::AccessLogType if self.outer => "NotSet",
            Text::AccessLogType => "TcpConnectionEnd",
            Text::FilterChain => &self.settings.chain,
            Text::Flags => &as_set(self.flags.names()),
            Text::FlagsLong => &as_set(self.flags.long_names()),
            Text::RequestedServerName => &self.origin.server_name,
            Text::UpstreamCluster => match &self.cluster {
                Some(cluster) => &cluster.settings().name,
                None => "",
            },
            Text::UpstreamHostName => &match self.endpoint {
                Some(endpoint) => endpoint.to_string(),
                None => String::new(),
            },
            Text::UpstreamTransportFailure => match &self.failure {
                Some(Error::Connect(cause)) => {
                    let cause = error::cause_of(cause).replace(' ', "_");
                    &format!("delayed_connect_error:_{cause}")
                }
                _ => "",
            },
            _ => "",
        };
        out.extend_from_slice(text.as_bytes());
        !text.is_empty()
    }

    fn count(&self, of: Count) -> Option<u64> {
        Some(match of {
            Count::Attempts => self.attempts.into(),
            Count::BytesReceived => self.received,
            Count::BytesSent => self.sent,
            _ => 0,
        })
    }

    fn address(&self, of: Peer) -> Option<SocketAddr> {
        match of {
            Peer::DownstreamRemote => Some(self.origin.source),
            Peer::DownstreamDirectRemote => Some(self.origin.direct),
            Peer::DownstreamLocal | Peer::DownstreamDirectLocal => Some(self.origin.destination),
            Peer::UpstreamHost | Peer::UpstreamRemote => self.endpoint,
            Peer::UpstreamLocal => self.upstream_local,
        }
    }

    fn time(&self, of: Moment) -> Option<Duration> {
        match of {
            Moment::Start => Some(wall_clock()?.saturating_sub(self.start.elapsed())),
            Moment::Emitted => wall_clock(),
            _ => None,
        }
    }

    fn reached(&self, point: &Point) -> Option<Duration> {
        match point {
            Point::Start => Some(Duration::ZERO),
            Point::End => Some(self.start.elapsed()),
            _ => None,
        }
    }
}

/// In the order in which they were set: the only two that come together here are those of a connection that could not be
/// made (`UF`), and then was not tried again (`URX`).
fn as_set(names: impl Iterator<Item = &'static str>) -> String {
    let mut names: Vec<_> = names.collect();
    names.reverse();
    if names.is_empty() {
        // Envoy's has this value then, also where a log omits empty ones.
        return "-".to_owned();
    }
    names.join(",")
}
