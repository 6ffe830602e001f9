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
    /// The whole exchange ends after this, from the request's head on; `None`: the manager's bound.
    pub max_duration: Option<Duration>,
    /// A gRPC client's own deadline takes the place of `max_duration`, but for one that is later than this; zero: any.
    pub grpc_timeout_max: Option<Duration>,
    /// The proxy gives up so much before the client does.
    pub grpc_timeout_offset: Duration,
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
            max_duration: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
        }
    }
}
