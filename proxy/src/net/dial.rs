//! Connections to endpoints.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::error::Error;

/// Connects within `within`. Nagle's algorithm is off: a request is written at once or is a stream's chunk, and waiting
/// for an acknowledgement would only delay it.
pub async fn connect(address: SocketAddr, within: Duration) -> Result<TcpStream, Error> {
    let stream = timeout(within, TcpStream::connect(address))
        .await
        .map_err(|_| Error::ConnectTimeout)?
        .map_err(|cause| Error::Connect(cause.into()))?;
    stream
        .set_nodelay(true)
        .map_err(|cause| Error::Connect(cause.into()))?;
    Ok(stream)
}
