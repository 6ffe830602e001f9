//! Connections to endpoints.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::error::Error;

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
