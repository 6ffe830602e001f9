//! Where a proxy listens, and how it serves the connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    AccessLog, Filter, Inspect, LocalReplies, Routing, Signature, TcpProxy, VirtualHost, tls,
};
use crate::{
    policy::{
        chain, fault,
        http1::Http1,
        origin::Origin,
        protocol::{Codec, Http2},
    },
    unit::ByteSize,
};

/// A port and what is done with the connections to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name; unique.
    pub name: Arc<str>,
    /// Its address; port 0: one that is free, told by [`crate::app`].
    pub address: SocketAddr,
    /// Further addresses of the same listener.
    pub more_addresses: Vec<SocketAddr>,
    /// The name of its statistics; `None`: its address.
    pub stat_prefix: Option<String>,
    /// Connections that wait to be accepted, at most; `None`: as many as the system allows.
    pub backlog: Option<u32>,
    /// Its address need not be this machine's yet (`IP_FREEBIND`).
    pub freebind: bool,
    /// Which sidecar it belongs to, in the testbed.
    pub place: Option<Place>,
    /// What is looked at before a connection's chain is chosen.
    pub inspect: Inspect,
    /// What is done with its connections, by what is known of them.
    pub chains: Vec<Chain>,
    /// What is done with those that no chain matches; `None`: they are closed.
    pub default_chain: Option<Chain>,
    /// Where its connections are logged when they have ended.
    pub access_logs: Vec<AccessLog>,
}

/// What is done with some of a listener's connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Its name; may be empty.
    pub name: String,
    /// Which connections; not asked for a default chain.
    pub matches: chain::Match,
    /// TLS is ended on them; `None`: they are plain.
    pub tls: Option<tls::Server>,
    /// Handshakes that are spoilt.
    pub spoilt: Vec<fault::tls::Rule>,
    /// Its connections have the numbers that [`Numbers`](crate::net::numbers::Numbers) say, as far as faults of handshakes go.
    pub numbered: bool,
    /// The handshake must be done within this; `None`: no bound.
    pub handshake_timeout: Option<Duration>,
    /// Connections beyond this are closed; `None`: no bound.
    pub limit: Option<ConnectionLimit>,
    /// How they are served.
    pub serve: Serve,
}

/// How many connections a chain has at once, on all event loops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// The name of its statistics.
    pub stat_prefix: String,
    /// At most so many.
    pub most: u64,
    /// One too many is closed after this; `None`: at once.
    pub delay: Option<Duration>,
}

/// How the connections of a chain are served.
#[derive(Debug, Clone, PartialEq)]
pub enum Serve {
    /// Requests are read from them.
    Http(Box<HttpManager>),
    /// They are passed on byte by byte.
    Tcp(Box<TcpProxy>),
}

/// The sidecar that a listener is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who calls.
    pub caller: Arc<str>,
    /// Who is called.
    pub service: Arc<str>,
    /// Whose sidecar it is.
    pub direction: Direction,
}

/// Whose sidecar a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The caller's.
    Outbound,
    /// The callee's.
    Inbound,
}

/// How HTTP connections are served; Envoy's HTTP connection manager.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpManager {
    /// Prefix of its statistics.
    pub stat_prefix: String,
    /// Value of the `server` header of answers; `None`: the upstream's passes through.
    pub server_name: Option<String>,
    /// A request without `x-request-id` is given one.
    pub generate_request_id: bool,
    /// A request's own `x-request-id` is kept, though it enters the mesh here.
    pub preserve_request_id: bool,
    /// Answers carry `x-request-id`.
    pub answer_request_id: bool,
    /// Whom to believe about its clients.
    pub origin: Origin,
    /// Hosts, each with its routes; the most specific host wins.
    pub virtual_hosts: Vec<VirtualHost>,
    /// What is done with hosts and paths before that.
    pub routing: Routing,
    /// What is said of the proxy.
    pub signature: Signature,
    /// A connection without requests is closed after this long; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A stream without any byte moving ends after this long; `None`: never.
    pub stream_idle_timeout: Option<Duration>,
    /// The whole request must have come within this; `None`: no bound.
    pub request_timeout: Option<Duration>,
    /// The request's header must have come within this; `None`: no bound.
    pub request_headers_timeout: Option<Duration>,
    /// Protocols that a request may upgrade to, lower case, such as `websocket`.
    pub upgrades: Vec<String>,
    /// Longest header section of a request.
    pub max_request_headers: ByteSize,
    /// Requests by HTTP/1.0 clients are served; else answered 426 as Envoy does.
    pub accept_http_10: bool,
    /// Which HTTP version its clients speak.
    pub codec: Codec,
    /// How HTTP/1 is spoken.
    pub http1: Http1,
    /// Bounds of HTTP/2 connections.
    pub http2: Http2,
    /// Fault rules of every route that has none of its own.
    pub faults: Vec<fault::Rule>,
    /// Its access logs.
    pub access_logs: Vec<AccessLog>,
    /// What becomes of our own answers.
    pub local_replies: LocalReplies,
    /// What is told of the client's certificate.
    pub client_cert: ClientCert,
    /// A whole exchange ends after this, where its route says nothing else; `None`: never.
    pub max_stream_duration: Option<Duration>,
    /// What requests pass on their way, in this order, where their route says nothing else; the router is not among them.
    pub filters: Vec<Filter>,
}

/// What is told of the client's certificate in `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCert {
    /// What becomes of what the request says.
    pub forward: ForwardClientCert,
    /// The certificate itself is told.
    pub cert: bool,
    /// The certificates that it came with are told.
    pub chain: bool,
    /// Its subject is told.
    pub subject: bool,
    /// Its first identity is told.
    pub uri: bool,
    /// Its host names are told.
    pub dns: bool,
}

/// What becomes of a request's `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardClientCert {
    /// It is taken off.
    #[default]
    Sanitize,
    /// It is passed on where the client has shown a certificate, else taken off.
    ForwardOnly,
    /// As before, and ours comes after it.
    AppendForward,
    /// Ours comes in its place.
    SanitizeSet,
    /// It is passed on, whoever the client is.
    AlwaysForward,
}

impl Listener {
    /// A listener whose connections are all served as HTTP.
    pub fn http(name: impl Into<Arc<str>>, address: SocketAddr, manager: HttpManager) -> Self {
        Self {
            name: name.into(),
            address,
            more_addresses: Vec::new(),
            stat_prefix: None,
            backlog: None,
            freebind: false,
            place: None,
            inspect: Inspect::default(),
            chains: vec![Chain::http(manager)],
            default_chain: None,
            access_logs: Vec::new(),
        }
    }

    /// A listener whose connections are all passed on byte by byte.
    pub fn tcp(name: impl Into<Arc<str>>, address: SocketAddr, proxy: TcpProxy) -> Self {
        Self {
            chains: vec![Chain::tcp(proxy)],
            ..Self::http(name, address, HttpManager::default())
        }
    }

    /// Its chains, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// The HTTP connection manager of its first chain, if it is one.
    pub fn manager(&self) -> Option<&HttpManager> {
        match &self.chains.first()?.serve {
            Serve::Http(manager) => Some(manager),
            Serve::Tcp(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn manager_mut(&mut self) -> Option<&mut HttpManager> {
        match &mut self.chains.first_mut()?.serve {
            Serve::Http(manager) => Some(manager),
            Serve::Tcp(_) => None,
        }
    }
}

impl Chain {
    /// A chain for any connection, served as HTTP.
    pub fn http(manager: HttpManager) -> Self {
        Self {
            name: String::new(),
            matches: chain::Match::default(),
            tls: None,
            spoilt: Vec::new(),
            numbered: false,
            handshake_timeout: None,
            limit: None,
            serve: Serve::Http(Box::new(manager)),
        }
    }

    /// A chain for any connection, passed on byte by byte.
    pub fn tcp(proxy: TcpProxy) -> Self {
        Self {
            name: String::new(),
            matches: chain::Match::default(),
            tls: None,
            spoilt: Vec::new(),
            numbered: false,
            handshake_timeout: None,
            limit: None,
            serve: Serve::Tcp(Box::new(proxy)),
        }
    }
}

impl Default for HttpManager {
    fn default() -> Self {
        Self {
            stat_prefix: "http".to_owned(),
            server_name: Some("meshbed".to_owned()),
            generate_request_id: true,
            preserve_request_id: false,
            answer_request_id: false,
            origin: Origin::default(),
            virtual_hosts: Vec::new(),
            routing: Routing::default(),
            signature: Signature::default(),
            idle_timeout: Some(Duration::from_hours(1)),
            stream_idle_timeout: Some(Duration::from_mins(5)),
            request_timeout: None,
            request_headers_timeout: None,
            upgrades: Vec::new(),
            max_request_headers: ByteSize(60 << 10),
            accept_http_10: false,
            codec: Codec::Auto,
            http1: Http1::default(),
            http2: Http2::default(),
            faults: Vec::new(),
            access_logs: Vec::new(),
            local_replies: LocalReplies::default(),
            client_cert: ClientCert::default(),
            max_stream_duration: None,
            filters: Vec::new(),
        }
    }
}
