//! What a capture held, and what of it was not turned into exchanges, by reason. Plain data.
//!
//! | reason | what was left out |
//! |---|---|
//! | `link_type` `not_ip` `not_tcp` `ip_fragment` `malformed_packet` | a packet, which is no TCP segment that is read |
//! | `tls` `http2` `upgraded` `not_http` | bytes of another protocol, or in which no message was found |
//! | `tcp_gap` | bytes that were sent and not captured |
//! | `cut_by_gap` `cut_by_limit` | a head that such a gap cut, or that memory could not hold |
//! | `incomplete_request` `incomplete_response` | a message whose end, or a part of whose body, was not captured |
//! | `response_without_request` | an answer whose request was not captured, or cannot be told |
//! | `malformed_request_line` `malformed_status_line` `malformed_chunk` `head_too_long` | bytes that are no message |
//! | `too_many_streams` `buffer_limit` `out_of_window` | a connection that ended early, or bytes given up, to bound memory |

use std::collections::BTreeMap;

/// Which half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the client sent.
    Client,
    /// What the server sent.
    Server,
}

impl Direction {
    /// The name in machine output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Bytes of a stream that gave no exchange.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The TCP stream.
    pub stream: u64,
    /// Which half of it.
    pub direction: Direction,
    /// Where the bytes begin, from the first byte of that half that the capture shows or implies.
    pub offset: u64,
    /// Why; also a key of [`Summary::skipped`].
    pub reason: &'static str,
    /// How many bytes.
    pub bytes: u64,
}

/// What a capture held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Packets read, of any kind.
    pub packets: u64,
    /// TCP streams seen.
    pub streams: u64,
    /// Exchanges given.
    pub requests: u64,
    /// Exchanges given that have an answer.
    pub responses: u64,
    /// How often something was left out, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// The bytes left out, by stream and offset. At most [`LOST_MAX`] of them; `skipped` counts all.
    pub lost: Vec<Lost>,
    /// TCP payload, in bytes: `used + duplicate + unused` is all that the packets carried.
    pub payload: Payload,
}

/// How many losses are listed one by one: enough to explain a damaged capture, small enough (5 MB) for any.
pub const LOST_MAX: usize = 100_000;

/// What became of the TCP payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Payload {
    /// Bytes in the captured packets.
    pub total: u64,
    /// Given to an exchange.
    pub used: u64,
    /// Seen before: retransmissions, overlaps, keep-alive probes.
    pub duplicate: u64,
    /// Delivered in order, but no part of an exchange.
    pub unused: u64,
    /// Never captured, though the sequence numbers say that they were sent.
    pub missing: u64,
}
