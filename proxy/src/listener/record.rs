//! What a listener's access logs tell of a connection, however far it came; [`crate::tcp`] tells of those that it passed on.
//! Dropping the record writes it.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::Instant};

use crate::{
    access_log::Logs,
    http::view::{self, wall_clock},
    net::{
        io::{Spoken, Traffic},
        origin::Origin,
        tls::{Failure, Session},
    },
    observe::Flags,
    policy::format::{
        Source,
        field::{Count, Message, Moment, Name, Peer, Point, Text},
    },
    snapshot::listener::{Chain, Listener},
};

/// A connection to a listener that has access logs.
pub(super) struct Record {
    /// `None`: somebody else tells of it.
    access: Option<Arc<Logs>>,
    start: Instant,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    origin: Option<Rc<Origin>>,
    chain: Found,
    failure: String,
    session: Option<Rc<Session>>,
    traffic: Option<Arc<Traffic>>,
}

/// The chain that serves a connection.
enum Found {
    /// It has not come so far.
    NotYet,
    /// The one of this name.
    Chain(Arc<str>),
    /// None.
    Nothing,
}

impl Record {
    /// Opens the record of a connection that was accepted; `None`: nobody wants one.
    pub(super) fn open(
        listener: &Listener,
        socket: &TcpStream,
        peer: SocketAddr,
    ) -> Option<Box<Self>> {
        let access = listener.access.as_ref()?;
        Some(Box::new(Self {
            access: Some(Arc::clone(access)),
            start: Instant::now(),
            peer,
            local: socket.local_addr().ok(),
            origin: None,
            chain: Found::NotYet,
            failure: String::new(),
            session: None,
            traffic: None,
        }))
    }

    /// What is known of it before its chain is chosen.
    pub(super) fn known(&mut self, origin: &Rc<Origin>) {
        self.origin = Some(Rc::clone(origin));
    }

    /// Its chain, if it has one.
    pub(super) fn chosen(&mut self, chain: Option<&Chain>) {
        self.chain = match chain {
            Some(chain) => Found::Chain(Arc::clone(&chain.name)),
            None => Found::Nothing,
        };
    }

    /// There was no handshake.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.failure = failure.to_string();
    }

    /// It is served as HTTP.
    pub(super) fn served(&mut self, traffic: &Arc<Traffic>, session: Option<&Rc<Session>>) {
        self.traffic = Some(Arc::clone(traffic));
        self.session = session.cloned();
    }

    /// Somebody else tells of it.
    pub(super) fn leave(mut self) {
        self.access = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(access) = self.access.take() {
            access.write(self);
        }
    }
}

impl Record {
    fn flags(&self) -> Flags {
        let spoken = self.traffic.as_ref().map(|traffic| traffic.spoken());
        if matches!(self.chain, Found::Nothing) {
            Flags::NR
        } else if spoken == Some(Spoken::Nonsense) {
            Flags::DPE
        } else {
            Flags::default()
        }
    }
}

impl Source for Record {
    fn header(&self, _of: Message, _name: &Name, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn text(&self, of: Text, out: &mut Vec<u8>) -> bool {
        let flags = self.flags();
        let text = match of {
            Text::AccessLogType => "NotSet",
            Text::Details if matches!(self.chain, Found::Nothing) => "filter_chain_not_found",
            // None is told as `-` also where empty values are omitted.
            Text::Flags => &flags.to_string(),
            Text::FlagsLong => &flags.long(),
            Text::FilterChain => match &self.chain {
                Found::Chain(name) => name,
                _ => "",
            },
            Text::Protocol => match &self.traffic {
                Some(traffic) if traffic.read() > 0 => match traffic.spoken() {
                    Spoken::Http1 => "HTTP/1.1",
                    Spoken::Http2 => "HTTP/2",
                    Spoken::Nonsense => "",
                },
                _ => "",
            },
            Text::RequestedServerName => match &self.origin {
                Some(origin) => &origin.server_name,
                None => "",
            },
            Text::DownstreamTransportFailure => &self.failure,
            Text::DownstreamTls(of) => {
                let session = self.session.as_ref();
                return session.is_some_and(|session| view::tls::text(session, of, out));
            }
            _ => "",
        };
        out.extend_from_slice(text.as_bytes());
        !text.is_empty()
    }

    fn count(&self, of: Count) -> Option<u64> {
        let traffic = self.traffic.as_ref();
        Some(match of {
            Count::BytesReceived => traffic.map_or(0, |traffic| traffic.read()),
            Count::BytesSent => traffic.map_or(0, |traffic| traffic.written()),
            _ => 0,
        })
    }

    fn address(&self, of: Peer) -> Option<SocketAddr> {
        let origin = self.origin.as_ref();
        match of {
            Peer::DownstreamRemote => Some(origin.map_or(self.peer, |origin| origin.source)),
            Peer::DownstreamDirectRemote => Some(self.peer),
            Peer::DownstreamLocal => origin.map(|origin| origin.destination).or(self.local),
            Peer::DownstreamDirectLocal => self.local,
            Peer::UpstreamHost | Peer::UpstreamRemote | Peer::UpstreamLocal => None,
        }
    }

    fn time(&self, of: Moment) -> Option<Duration> {
        match of {
            Moment::Start => Some(wall_clock()?.saturating_sub(self.start.elapsed())),
            Moment::Emitted => wall_clock(),
            Moment::DownstreamPeerFrom => view::tls::good_from(self.session.as_ref()?),
            Moment::DownstreamPeerUntil => view::tls::good_until(self.session.as_ref()?),
            Moment::UpstreamPeerFrom | Moment::UpstreamPeerUntil => None,
        }
    }

    fn reached(&self, point: &Point) -> Option<Duration> {
        match point {
            Point::Start => Some(Duration::ZERO),
            Point::End => Some(self.start.elapsed()),
            _ => None,
        }
    }
}
