//! Connections to endpoints.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    io::Stream,
    tls::{Client, Failure, Session},
};
use crate::{config::Keepalive, error::Error, metrics::Upstream};

/// How a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Within this.
    pub within: Duration,
    /// From this address; `None`: the system's choice.
    pub source: Option<SocketAddr>,
    /// The system asks whether the other side is still there; `None`: as it does by itself.
    pub keepalive: Option<Keepalive>,
    /// The firewall's mark on its packets; `None`: none.
    pub mark: Option<u32>,
}

impl From<Duration> for Way {
    fn from(within: Duration) -> Self {
        Self {
            within,
            source: None,
            keepalive: None,
            mark: None,
        }
    }
}

/// Connects within `within`. Nagle's algorithm is off: a request is written at once or is a stream's chunk, and waiting
/// for an acknowledgement would only delay it.
pub async fn connect(address: SocketAddr, way: impl Into<Way>) -> Result<TcpStream, Error> {
    connect_telling(address, way, None).await
}

/// As [`connect`]. `from` is told the connection's own address: on the loopback before whoever listens can accept it.
pub async fn connect_telling(
    address: SocketAddr,
    way: impl Into<Way>,
    from: Option<&dyn Fn(SocketAddr)>,
) -> Result<TcpStream, Error> {
    let way = way.into();
    let stream = timeout(way.within, open(address, way, from))
        .await
        .map_err(|_| Error::ConnectTimeout)?
        .map_err(|cause| Error::Connect(cause.into()))?;
    stream
        .set_nodelay(true)
        .map_err(|cause| Error::Connect(cause.into()))?;
    Ok(stream)
}

/// Connects and begins TLS, both within `within`. `sni`: the name to ask for instead of the context's. `alpn`: protocols to
/// offer where the context names none.
pub async fn connect_tls(
    address: SocketAddr,
    way: impl Into<Way>,
    tls: &Client,
    sni: Option<&str>,
    alpn: &[&'static [u8]],
    metrics: &Upstream,
) -> Result<(Stream, Session), Error> {
    let way = way.into();
    let within = way.within;
    let both = async {
        let tcp = connect(address, way).await?;
        let local = tcp.local_addr().ok();
        let shaken = tls.connect(tcp, address, sni, alpn).await;
        metrics.count(&shaken);
        let (stream, session) = shaken.map_err(failed)?;
        let stream = Stream::over(Box::new(stream), Arc::default()).at(local);
        Ok((stream, session))
    };
    timeout(within, both)
        .await
        .map_err(|_| Error::ConnectTimeout)?
}

fn failed(failure: Failure) -> Error {
    let cause = match failure {
        Failure::Timeout => return Error::ConnectTimeout,
        // The endpoint has just closed: without a word of TLS there is no reason but that.
        Failure::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            io::ErrorKind::ConnectionReset.into()
        }
        Failure::Io(cause) => cause,
        failure => io::Error::other(failure),
    };
    Error::Connect(cause.into())
}

async fn open(
    address: SocketAddr,
    way: Way,
    from: Option<&dyn Fn(SocketAddr)>,
) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if address.ip().is_loopback() {
        super::local(&socket);
    }
    if let Some(mark) = way.mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    if let Some(source) = way.source {
        socket.bind(source)?;
    } else if from.is_some() && address.ip().is_loopback() {
        // Ports of connections that have ended may be taken, as `connect` takes them. Where there is none, the connection
        // itself tells.
        socket.set_reuseaddr(true)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let _ = socket.bind(SocketAddr::new(any, 0));
    }
    if let Some(keepalive) = way.keepalive {
        let mut asked = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            asked = asked.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            asked = asked.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            asked = asked.with_retries(probes);
        }
        SockRef::from(&socket).set_tcp_keepalive(&asked)?;
    }
    // Where nothing says which of our addresses it will be, only the connection itself tells.
    let bound = socket.local_addr().ok();
    let bound = bound.filter(|bound| bound.port() != 0 && !bound.ip().is_unspecified());
    if let (Some(from), Some(bound)) = (from, bound) {
        from(bound);
    }
    let stream = socket.connect(address).await?;
    if let (Some(from), None) = (from, bound) {
        from(stream.local_addr()?);
    }
    Ok(stream)
}
