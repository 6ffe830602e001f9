//! Why a stream or a connection ended.

use std::fmt;

use super::guard::Violation;
use crate::error;

/// A code of HTTP/2 (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// It ended as it should.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something failed here.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// The peer sent more than it might.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// The stream had ended already.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has not the length of its kind.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing was done yet.
    pub const REFUSED_STREAM: Self = Self(7);
    /// It is not wanted any more.
    pub const CANCEL: Self = Self(8);
    /// A header section cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// A tunnel's far connection broke.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer does too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The peer.
    Peer,
    /// We, for what the peer sent.
    Us,
    /// Whoever had the stream.
    User,
}

/// Why a stream or a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The connection broke, or ended.
    Io,
    /// The stream was reset.
    Reset(Reason, By),
    /// The connection was left.
    GoAway(Reason, By),
    /// We have left the connection for what the peer did.
    Flood(Violation),
}

impl Error {
    /// The peer broke the protocol.
    pub(super) const PROTOCOL: Self = Self::GoAway(Reason::PROTOCOL_ERROR, By::Us);

    /// What it means for a request that it ended an endpoint's answer to.
    pub fn of_upstream(self) -> error::Error {
        match self {
            Self::Reset(Reason::PROTOCOL_ERROR, By::Peer) => error::Error::Protocol,
            Self::Reset(Reason::CONNECT_ERROR, By::Peer) => error::Error::ConnectReset,
            Self::Reset(reason, By::Peer) => error::Error::Reset {
                refused: reason == Reason::REFUSED_STREAM,
            },
            // Envoy lets such streams wait for the connection's end, which follows.
            Self::GoAway(Reason::NO_ERROR, By::Peer) => error::Error::Reset { refused: true },
            Self::Io | Self::GoAway(_, By::Peer) => error::Error::Terminated,
            // Reset from here, within the answer: what the client still sent has failed.
            Self::Reset(_, By::User) => error::Error::ClientLeft,
            Self::Reset(..) | Self::GoAway(..) | Self::Flood(_) => error::Error::Protocol,
        }
    }

    /// What it means for a request that it ended.
    pub fn of_client(self) -> error::Error {
        match self {
            Self::Reset(_, By::Us) => error::Error::BadBody,
            _ => error::Error::ClientLeft,
        }
    }

    /// What the peer is told.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Io => Reason::INTERNAL_ERROR,
            Self::Reset(reason, _) | Self::GoAway(reason, _) => reason,
            Self::Flood(_) => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io => f.write_str("the connection ended"),
            Self::Reset(reason, by) => write!(f, "the stream was reset by {by}, code {}", reason.0),
            Self::GoAway(reason, by) => {
                write!(f, "the connection was left by {by}, code {}", reason.0)
            }
            Self::Flood(violation) => write!(f, "the peer was left for a flood ({violation:?})"),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "its peer",
            Self::Us => "us",
            Self::User => "its user",
        })
    }
}
