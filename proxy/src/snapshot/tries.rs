//! How often a request is tried, and for how long; compiled.

use std::time::Duration;

use crate::{config, policy::retry};

/// How often the requests of a route are tried, and for how long.
#[derive(Debug)]
pub struct Tries {
    /// Which failures are tried again; where the route has no policy, what a client may ask for.
    pub retry: retry::Compiled,
    /// See [`config::Tries::hedge`].
    pub hedge: bool,
    /// See [`config::Tries::kept_body`].
    pub kept_body: u64,
    /// See [`config::Tries::max_duration`].
    pub max_duration: Option<Duration>,
    /// See [`config::Tries::grpc_timeout_max`].
    pub grpc_timeout_max: Option<Duration>,
    /// See [`config::Tries::grpc_timeout_offset`].
    pub grpc_timeout_offset: Duration,
}

impl Tries {
    /// Compiles them; the error names the condition of a retry that cannot be.
    pub(super) fn compile(tries: &config::Tries) -> Result<Self, String> {
        Ok(Self {
            retry: retry::Compiled::new(tries.retry.clone().unwrap_or_default())?,
            hedge: tries.hedge,
            kept_body: tries.kept_body.unwrap_or(config::Tries::KEPT_BODY).0,
            max_duration: tries.max_duration,
            grpc_timeout_max: tries.grpc_timeout_max,
            grpc_timeout_offset: tries.grpc_timeout_offset,
        })
    }
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            retry: retry::Compiled::default(),
            hedge: false,
            kept_body: config::Tries::KEPT_BODY.0,
            max_duration: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
        }
    }
}
