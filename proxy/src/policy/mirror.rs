//! Which requests are shadowed, to which cluster, within which limits.

use std::time::Duration;

use super::matcher::Matcher;
use crate::unit::{ByteSize, Share};

/// One shadow of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// Name of the shadow, in records and metrics.
    pub id: String,
    /// Number of its side in trace ids, from 1; 0: the copy keeps the primary's trace id (a stand-alone proxy).
    pub side: u8,
    /// Where the copies go.
    pub cluster: String,
    /// Which requests are looked at.
    pub matcher: Matcher,
    /// Share of them that is copied.
    pub share: Share,
    /// What the draw is keyed by.
    pub key: SampleKey,
    /// Suffix of the copy's host, before the port: Envoy's `-shadow`; empty: none.
    pub host_suffix: String,
    /// Headers set on the copy, in order.
    pub set_headers: Vec<(String, String)>,
    /// Headers removed from the copy.
    pub remove_headers: Vec<String>,
    /// What a copy may cost.
    pub limits: Limits,
    /// Whether both answers are captured and told to the observer in full.
    pub compare: bool,
}

/// What the draw of a sample is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SampleKey {
    /// The request's ordinal.
    #[default]
    Ordinal,
    /// The value of this header; a request without it is drawn by ordinal.
    Header(String),
    /// The value of this cookie; a request without it is drawn by ordinal.
    Cookie(String),
}

/// What the copies of one shadow may cost, per event loop where it is a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Copies under way at once; more wait in the queue.
    pub in_flight: u32,
    /// Copies waiting; more are shed.
    pub queue: u32,
    /// Time from the copy's beginning to the end of its answer.
    pub deadline: Duration,
    /// Longest request body that is copied; a request with a longer one is not mirrored (counted).
    pub request_body: ByteSize,
    /// Bytes of an answer's body that are kept for comparison; beyond it only length and hash count.
    pub response_body: ByteSize,
    /// After a failed connect, copies are shed for this long.
    pub connect_backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 64,
            queue: 256,
            deadline: Duration::from_secs(2),
            request_body: ByteSize(1 << 20),
            response_body: ByteSize(256 << 10),
            connect_backoff: Duration::from_millis(500),
        }
    }
}
