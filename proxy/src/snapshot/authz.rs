//! A service that is asked whether requests may go on.

use std::sync::Arc;

use http::HeaderValue;

use crate::policy::authz::{Compiled, Route};

/// A service, and what a route says of it.
#[derive(Debug)]
pub struct Authz {
    /// The service.
    pub service: Arc<Compiled>,
    /// The index of its cluster; `None`: there is none.
    pub cluster: Option<usize>,
    /// What the route says.
    pub route: Arc<Route>,
    /// How long an answer may take, in milliseconds, as the service is told.
    pub timeout_ms: Option<HeaderValue>,
}

impl Authz {
    pub(super) fn new(service: Arc<Compiled>, cluster: Option<usize>, route: Arc<Route>) -> Self {
        let timeout = service.settings.timeout;
        Self {
            timeout_ms: timeout
                .and_then(|timeout| HeaderValue::try_from(timeout.as_millis().to_string()).ok()),
            service,
            cluster,
            route,
        }
    }
}
