//! How often a request is tried, and for how long.

use std::time::Duration;

use crate::{policy::retry, unit::ByteSize};

/// How often the requests of a route are tried, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Tries {
    /// Which failures are tried again; `None`: none.
    pub retry: Option<retry::Policy>,
    /// An attempt whose time is over goes on beside the next one, and the first good answer is taken.
    pub hedge: bool,
    /// A request with a longer body is tried once: the body is kept for the next try up to this. `None`: up to what the
    /// listener buffers of a connection.
    pub kept_body: Option<ByteSize>,
    /// What is done where the cluster's breaker is open or its limits are reached; `None`: the client is told.
    pub fallback: Option<Fallback>,
    /// The whole exchange ends after this, from the request's head on; `None`: the manager's bound.
    pub max_duration: Option<Duration>,
    /// A gRPC client's own deadline takes the place of `max_duration`, but for one that is later than this; zero: any.
    pub grpc_timeout_max: Option<Duration>,
    /// The proxy gives up so much before the client does.
    pub grpc_timeout_offset: Duration,
}

/// What is done in place of a cluster that takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// It is answered here.
    Respond {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// It is sent to this cluster.
    Cluster(String),
}

impl Tries {
    /// Envoy's default bound of the buffers of a connection.
    pub const KEPT_BODY: ByteSize = ByteSize(1 << 20);
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            retry: None,
            hedge: false,
            kept_body: None,
            fallback: None,
            max_duration: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
        }
    }
}
