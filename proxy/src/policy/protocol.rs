//! Which HTTP version is spoken, and the bounds of HTTP/2.

use std::time::Duration;

/// Which HTTP version a listener's clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// As they begin: HTTP/2's preface, or what ALPN has settled; else HTTP/1.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Which HTTP version a cluster's endpoints are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upstream {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// The client's.
    Downstream,
    /// What ALPN settles; HTTP/1.1 where it settles nothing.
    Alpn,
}

/// Whether requests may upgrade to another protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The protocol, lower case, such as `websocket`.
    pub protocol: String,
    /// They may.
    pub allowed: bool,
    /// `CONNECT` ends here: its bytes go to an endpoint without HTTP.
    pub terminates: bool,
}

/// Bounds of HTTP/2 connections. The defaults are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Dynamic table of header compression, in bytes.
    pub hpack_table: u32,
    /// Streams at once.
    pub max_streams: u32,
    /// Bytes a stream may be sent before it is read.
    pub stream_window: u32,
    /// Bytes a connection may be sent before they are read.
    pub connection_window: u32,
    /// Extended `CONNECT` (RFC 8441) is taken.
    pub allow_connect: bool,
    /// A malformed request resets its stream; else it ends the connection.
    pub stream_error: bool,
    /// Frames that answer the peer's (`PING`, `SETTINGS`, `RST_STREAM`), waiting to be written.
    pub max_control_frames: u32,
    /// Frames without content, one after the other.
    pub max_empty_frames: u32,
    /// `PRIORITY` frames a stream.
    pub max_priority_frames: u32,
    /// `WINDOW_UPDATE` frames a `DATA` frame that was sent.
    pub max_window_updates: u32,
    /// Pings that find out whether the peer is there.
    pub keepalive: Option<Keepalive>,
}

/// Pings on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// Between them.
    pub interval: Duration,
    /// The answer must have come within this.
    pub timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            hpack_table: 4_096,
            max_streams: 1_024,
            stream_window: 16 << 20,
            connection_window: 24 << 20,
            allow_connect: false,
            stream_error: false,
            max_control_frames: 1_000,
            max_empty_frames: 1,
            max_priority_frames: 100,
            max_window_updates: 10,
            keepalive: None,
        }
    }
}
