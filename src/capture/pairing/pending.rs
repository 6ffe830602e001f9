//! A request that waits for its answer, or for its own end.

use std::net::SocketAddr;

use bytes::Bytes;

use super::lane::Begun;
use crate::capture::exchange::{Body, Exchange, Header, Request};
use crate::capture::http1::{Head, Line};

/// The body of a message while it is read.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub bytes: u64,
    pub data: Vec<u8>,
    pub trailers: Vec<Header>,
    pub is_done: bool,
}

impl Message {
    fn take(&mut self) -> (Body, Vec<Header>) {
        let body = Body {
            bytes: self.bytes,
            data: Bytes::from(std::mem::take(&mut self.data)),
        };
        (body, std::mem::take(&mut self.trailers))
    }
}

/// A request that waits for its answer, or for its own end.
#[derive(Debug)]
pub(super) struct Pending {
    pub exchange: Exchange,
    pub request: Message,
    pub response: Message,
    /// The sequence number of its first byte.
    pub seq: u32,
    /// What its client had received of the other half when it asked.
    pub ack: Option<u32>,
    has_upgrade: bool,
}

impl Pending {
    /// A request by its head.
    pub(super) fn new(
        head: Head,
        begun: Begun,
        seq: u32,
        stream: u64,
        client: SocketAddr,
        server: SocketAddr,
    ) -> Self {
        let (method, target) = match head.line {
            Line::Request { method, target } => (method, target),
            Line::Response { .. } => Default::default(),
        };
        Self {
            exchange: Exchange {
                stream,
                h2_stream: None,
                protocol: head.protocol,
                at: begun.at,
                client,
                server,
                request: Request {
                    method,
                    target,
                    authority: head.host,
                    headers: head.headers,
                    body: Body::default(),
                    trailers: Vec::new(),
                    last_byte: begun.at,
                    complete: false,
                },
                interim: Vec::new(),
                response: None,
                grpc_status: None,
                tls: false,
            },
            request: Message::default(),
            response: Message::default(),
            seq,
            ack: begun.ack,
            has_upgrade: head.upgrade.is_some(),
        }
    }

    /// Whether its answer may change the protocol.
    pub(super) fn is_switch(&self) -> bool {
        self.has_upgrade || self.exchange.request.method == "CONNECT"
    }

    /// The request ends here.
    pub(super) fn end_request(&mut self, at: u64, complete: bool) {
        self.request.is_done = true;
        self.exchange.request.last_byte = at;
        self.exchange.request.complete = complete;
    }

    /// The answer ends here, or breaks off. An answer whose end was never seen is none: its client did not get one either.
    pub(super) fn end_response(&mut self, at: u64, is_whole: bool, complete: bool) {
        self.response.is_done = true;
        if !is_whole {
            self.exchange.response = None;
        }
        if let Some(response) = &mut self.exchange.response {
            response.last_byte = at;
            response.complete = complete;
        }
    }

    /// What became of it.
    pub(super) fn exchange(mut self) -> Exchange {
        (self.exchange.request.body, self.exchange.request.trailers) = self.request.take();
        if let Some(response) = &mut self.exchange.response {
            (response.body, response.trailers) = self.response.take();
        }
        self.exchange
    }
}
