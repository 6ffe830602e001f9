//! Connections to endpoints.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    io::Stream,
    tls::{Client, Failure, Session},
};
use crate::{error::Error, metrics::Upstream};

/// Connects within `within`. Nagle's algorithm is off: a request is written at once or is a stream's chunk, and waiting
/// for an acknowledgement would only delay it.
pub async fn connect(address: SocketAddr, within: Duration) -> Result<TcpStream, Error> {
    let stream = timeout(within, open(address))
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
    within: Duration,
    tls: &Client,
    sni: Option<&str>,
    alpn: &[&'static [u8]],
    metrics: &Upstream,
) -> Result<(Stream, Session), Error> {
    let both = async {
        let tcp = connect(address, within).await?;
        let shaken = tls.connect(tcp, address, sni, alpn).await;
        metrics.count(&shaken);
        let (stream, session) = shaken.map_err(failed)?;
        Ok((Stream::over(Box::new(stream), Arc::default()), session))
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

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if address.ip().is_loopback() {
        super::local(&socket);
    }
    socket.connect(address).await
}
