//! Where a connection comes from and what for, as far as is known before anything of it is read.

use std::net::SocketAddr;

use crate::policy::chain::Seen;

/// Where a connection comes from and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address: as a PROXY header tells, else [`Origin::direct`].
    pub source: SocketAddr,
    /// The address of whoever opened the connection.
    pub direct: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
    /// The name that it asks for in TLS, lower case; empty: none, or it was not looked at.
    pub server_name: Box<str>,
    /// `tls`, or `raw_buffer`.
    pub transport: &'static str,
    /// Protocols that it offers in TLS, or the HTTP version that was seen.
    pub protocols: Vec<String>,
}

impl Origin {
    /// A connection of which only the addresses are known.
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            source: peer,
            direct: peer,
            destination: local,
            server_name: "".into(),
            transport: "raw_buffer",
            protocols: Vec::new(),
        }
    }

    /// What its chain is chosen by.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            destination: (self.destination.ip(), self.destination.port()),
            source: (self.source.ip(), self.source.port()),
            direct_source: self.direct.ip(),
            server_name: &self.server_name,
            transport_protocol: self.transport,
            application_protocols: &self.protocols,
        }
    }
}
