//! How often a request is tried, and for how long; compiled.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

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
    /// See [`config::Tries::fallback`].
    pub fallback: Option<Fallback>,
    /// See [`config::Tries::max_duration`].
    pub max_duration: Option<Duration>,
    /// See [`config::Tries::grpc_timeout_max`].
    pub grpc_timeout_max: Option<Duration>,
    /// See [`config::Tries::grpc_timeout_offset`].
    pub grpc_timeout_offset: Duration,
}

/// What is done in place of a cluster that takes nothing.
#[derive(Debug)]
pub enum Fallback {
    /// It is answered so.
    Respond(StatusCode, Bytes),
    /// It is sent to the cluster of this index.
    Cluster(usize),
}

impl Fallback {
    fn compile(
        it: &config::Fallback,
        cluster: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        Ok(match it {
            config::Fallback::Respond { status, body } => Self::Respond(
                StatusCode::from_u16(*status)
                    .ok()
                    .filter(|status| !status.is_informational())
                    .ok_or_else(|| format!("{status} is not a status from 200 to 999"))?,
                Bytes::copy_from_slice(body.as_bytes()),
            ),
            config::Fallback::Cluster(name) => {
                Self::Cluster(cluster(name).ok_or_else(|| format!("there is no cluster `{name}`"))?)
            }
        })
    }
}

impl Tries {
    /// Compiles them; the error names what cannot be: a condition of a retry, a cluster that there is not.
    pub(super) fn compile(
        tries: &config::Tries,
        cluster: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        let fallback = tries.fallback.as_ref();
        Ok(Self {
            fallback: fallback
                .map(|it| Fallback::compile(it, cluster))
                .transpose()?,
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
            fallback: None,
            kept_body: config::Tries::KEPT_BODY.0,
            max_duration: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
        }
    }
}
