//! What the proxy tells others: exactly one [`Record`] a request, also when the client vanishes, and one [`Mirrored`]
//! for every request that a mirror chose.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

pub use crate::policy::{fault::tcp::Number, flag::Flags};

use crate::config::Place;

/// Who is told. Called on the event loops: it must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request has ended.
    fn request(&self, record: &Record<'_>);

    /// What became of a request that a mirror chose; both answers are in it when it was compared.
    fn mirrored(&self, mirrored: Mirrored) {
        drop(mirrored);
    }

    /// Something is known of the faults of a connection that is passed on byte by byte. Each rule that was drawn for it is
    /// told once, and what became of one that chose it once more.
    fn connection(&self, connection: &Connection<'_>) {
        let _ = connection;
    }

    /// An endpoint or a breaker has changed. Called on any thread.
    fn changed(&self, change: &Change<'_>) {
        let _ = change;
    }
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn request(&self, _record: &Record<'_>) {}
}

/// Which request of the schedule this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its ordinal; the order of arrival where `scheduled` is not set.
    pub ordinal: u64,
    /// 0: primary; else the shadow's number.
    pub side: u8,
    /// When it was due, in milliseconds since the run's start; `None` where `scheduled` is not set.
    pub intended_ms: Option<u32>,
    /// Which of the caller's equal calls this is, from 0.
    pub n: u32,
    /// Its trace id is one of this run's, so the ordinal is the schedule's.
    pub scheduled: bool,
}

/// One request, from its first byte to its end.
#[derive(Debug)]
pub struct Record<'a> {
    /// Name of the listener.
    pub listener: &'a Arc<str>,
    /// Its sidecar, in the testbed.
    pub place: Option<&'a Place>,
    /// Which request of the schedule it is.
    pub identity: Identity,
    /// The client's address.
    pub downstream: SocketAddr,
    /// The request's method.
    pub method: &'a Method,
    /// The path and query as they came.
    pub path: &'a str,
    /// The host asked for; empty where there was none.
    pub authority: &'a str,
    /// Name of the route; empty where none matched.
    pub route: &'a str,
    /// Name of the cluster; empty where none was chosen.
    pub cluster: &'a str,
    /// The answer's status; `None`: the client got none.
    pub status: Option<StatusCode>,
    /// The whole answer was handed to the client's connection.
    pub complete: bool,
    /// What went wrong, or was done, on the way.
    pub flags: Flags,
    /// Why the answer is what it is, as Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'a str,
    /// When its header had been read.
    pub start: Instant,
    /// From then to the end of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Tries to send it on, in order.
    pub attempts: &'a [Attempt],
    /// Ids of the fault rules that were drawn for it, in file order.
    pub considered: &'a [Arc<str>],
    /// The rules of those that chose it, in file order.
    pub hits: &'a [Hit],
}

/// One try to send a request on.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The endpoint; `None`: none could be had.
    pub endpoint: Option<SocketAddr>,
    /// From the try's beginning to the answer's header, or to the failure.
    pub duration: Duration,
    /// The answer's status.
    pub status: Option<StatusCode>,
    /// Why there was none, such as `connection refused`.
    pub why: Option<Arc<str>>,
}

/// The faults of a connection, as far as they are known.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Name of the listener.
    pub listener: &'a Arc<str>,
    /// Its sidecar, in the testbed.
    pub place: Option<&'a Place>,
    /// Which connection.
    pub number: Number,
    /// The number is the one that it was opened with; else it counts arrivals at the listener.
    pub numbered: bool,
    /// Ids of the rules that were drawn for it.
    pub considered: &'a [Arc<str>],
    /// Rules that chose it of which more is known now.
    pub hits: &'a [Hit],
}

/// A fault rule chose a request, or a connection.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The rule's id.
    pub fault: Arc<str>,
    /// Which try it was drawn for, from 0; 0 outside the retry loop.
    pub attempt: u32,
    /// The draw; `NaN` where the rule does not draw (`first`, `every`).
    pub u: f64,
    /// What it was held against.
    pub p: f64,
    /// What became of it.
    pub effect: Effect,
    /// The delay that was asked for.
    pub asked: Option<Duration>,
    /// The delay that was measured.
    pub actual: Option<Duration>,
    /// The status it was answered with.
    pub status: Option<StatusCode>,
    /// Why it was not applied.
    pub why: Option<&'static str>,
}

/// What became of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was done.
    Applied,
    /// An earlier terminal effect ended the request.
    Superseded,
    /// Too many were suffering it.
    Capped,
    /// The client left before it was done.
    Abandoned,
}

impl Effect {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Capped => "capped",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What became of a request that a mirror chose.
#[derive(Debug)]
pub struct Mirrored {
    /// Which request.
    pub identity: Identity,
    /// The sidecar that mirrored it.
    pub place: Option<Place>,
    /// The shadow's id.
    pub shadow: Arc<str>,
    /// The request's method.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// Which side's request was sent first.
    pub first: First,
    /// What became of the copy.
    pub outcome: Outcome,
    /// The primary's answer; `None` where it gave none.
    pub primary: Option<Answer>,
    /// The shadow's answer; `None` where it gave none.
    pub answer: Option<Answer>,
    /// The request, where both answers are wanted and a copy was to be made.
    pub asked: Option<Asked>,
}

/// A mirrored request as it was sent on to the primary, as far as it is kept.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Headers.
    pub headers: Arc<HeaderMap>,
    /// The body's first bytes, at most [`Asked::KEPT`].
    pub body: Bytes,
    /// Length of the whole body.
    pub length: u64,
}

impl Asked {
    /// Bytes kept of a body: enough to ask again by hand, and little beside the answers that are kept.
    pub const KEPT: usize = 4096;
}

/// Which side of a pair was sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum First {
    /// The primary's request; also where no copy was sent.
    #[default]
    Primary,
    /// The copy.
    Shadow,
}

impl First {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Shadow => "shadow",
        }
    }
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both answered in full.
    Compared,
    /// The copy was not sent, and why: `in_flight`, `queue`, `connect_backoff`, `request_body`.
    Shed(&'static str),
    /// The copy was sent, or tried to be, and got no full answer: `connect`, `reset`, `timeout`, `protocol`, `stopped` (by our own
    /// end).
    Failed(&'static str),
    /// The copy was answered, but there is nothing to compare with: `primary_failed`, `client_left`, `upgrade` and
    /// `unsafe` (no copy is made).
    Skipped(&'static str),
}

/// An answer, as far as it is kept.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body's first bytes, up to the mirror's limit.
    pub body: Bytes,
    /// Length of the whole body.
    pub length: u64,
    /// xxh3 of the bytes that are not kept; `None`: all are, or they are not known.
    pub rest: Option<u64>,
    /// Fields after the body; few answers have any.
    pub trailers: Option<Box<HeaderMap>>,
    /// From the request's sending on to the answer's end.
    pub duration: Duration,
}

/// An endpoint or a breaker has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// What kind of change.
    pub what: What,
    /// The cluster.
    pub cluster: &'a Arc<str>,
    /// The endpoint; `None`: the cluster's breaker.
    pub endpoint: Option<SocketAddr>,
    /// It was `healthy`, `unhealthy`, `degraded` or `ejected`; or `closed`, `open` or `half_open`.
    pub from: &'a str,
    /// It is.
    pub to: &'a str,
    /// Why, such as `consecutive_5xx`.
    pub why: &'a str,
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Of a breaker.
    Breaker,
    /// An endpoint was put aside for its answers, or came back.
    Ejection,
    /// A health check's verdict has changed.
    Health,
}

impl What {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Ejection => "ejection",
            Self::Health => "health",
        }
    }
}
