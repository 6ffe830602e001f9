//! What a capture says was asked and answered. Plain data: no I/O, no parsing.

use std::net::SocketAddr;

use bytes::Bytes;

/// The protocol of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0, by the version in the request line.
    Http10,
    /// HTTP/1.1, and any other `HTTP/1.x`.
    Http11,
    /// HTTP/2.
    H2,
    /// gRPC over HTTP/2.
    Grpc,
}

impl Protocol {
    /// The name in machine output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::H2 => "h2",
            Self::Grpc => "grpc",
        }
    }
}

/// One header field or trailer, its case and bytes as recorded; white space around the value is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as it was written.
    pub name: Bytes,
    /// The value, without the white space around it.
    pub value: Bytes,
}

/// The body of a message after de-chunking, before any decompression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// How many bytes were seen on the wire, kept or not.
    pub bytes: u64,
    /// The first of them, as many as [`Keep`](super::Keep) allows; all of them exactly if `data.len() == bytes`.
    pub data: Bytes,
}

impl Body {
    /// Whether `data` is the whole of what was seen.
    pub fn is_kept_whole(&self) -> bool {
        self.data.len() as u64 == self.bytes
    }
}

/// What the client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method: any token.
    pub method: String,
    /// The target verbatim: path and query, an absolute form, an authority (CONNECT), or `*`.
    pub target: Bytes,
    /// The host: the first `Host` header, or `:authority`. Empty if there is none.
    pub authority: Bytes,
    /// The headers in their order. Empty unless [`Keep`](super::Keep) asks for them.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// What followed the last chunk. Empty unless [`Keep`](super::Keep) asks for headers.
    pub trailers: Vec<Header>,
    /// Capture time of the last byte that was seen, in nanoseconds since the epoch.
    pub last_byte: u64,
    /// Whether the message was seen from its first byte to its last.
    pub complete: bool,
}

/// What the server answered: the final answer, which may be 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order. Empty unless [`Keep`](super::Keep) asks for them.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// What followed the last chunk. Empty unless [`Keep`](super::Keep) asks for headers.
    pub trailers: Vec<Header>,
    /// Capture time of the first byte, in nanoseconds since the epoch.
    pub first_byte: u64,
    /// Capture time of the last byte that was seen, in nanoseconds since the epoch.
    pub last_byte: u64,
    /// Whether the message was seen from its first byte to its last.
    pub complete: bool,
}

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The TCP stream: streams are numbered from 0 in order of their first packet.
    pub stream: u64,
    /// The HTTP/2 stream.
    pub h2_stream: Option<u32>,
    /// The protocol.
    pub protocol: Protocol,
    /// Capture time of the first byte of the request, in nanoseconds since the epoch.
    pub at: u64,
    /// Who asked.
    pub client: SocketAddr,
    /// Who was asked.
    pub server: SocketAddr,
    /// What was asked.
    pub request: Request,
    /// Interim answers (1xx but 101) in their order.
    pub interim: Vec<u16>,
    /// What was answered. `None`: no final answer was seen.
    pub response: Option<Response>,
    /// The status of a gRPC call.
    pub grpc_status: Option<u32>,
    /// Whether it came out of TLS.
    pub tls: bool,
}

impl Exchange {
    /// Whether request and answer were both seen from the first byte to the last.
    pub fn is_complete(&self) -> bool {
        self.request.complete && self.response.as_ref().is_some_and(|r| r.complete)
    }
}
