//! Opens the connections of the generator, and says beforehand which they are.

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use meshbed_proxy::{
    net::{io::Duplex, numbers::Numbers, tls::Client},
    policy::fault::tcp::Number,
};
use tokio::net::{TcpSocket, TcpStream};

/// Opens one of the schedule's connections, as often as it is needed.
#[derive(Debug)]
pub(super) struct Dialer {
    target: SocketAddr,
    number: u64,
    opened: Cell<u32>,
    /// Where the number is told; `None`: nobody wants to know.
    numbers: Option<Numbers>,
    tls: Option<Arc<Client>>,
}

/// An open connection.
pub(super) enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<dyn Duplex>),
}

impl Dialer {
    /// For the connection with this number.
    pub(super) fn new(
        target: SocketAddr,
        number: u64,
        numbers: Option<Numbers>,
        tls: Option<Arc<Client>>,
    ) -> Self {
        Self {
            target,
            number,
            opened: Cell::new(0),
            numbers,
            tls,
        }
    }

    /// Connects, over TLS where the service is spoken to so; the error is a clause for people.
    pub(super) async fn open(&self) -> Result<Wire, String> {
        let stream = self.connect().await?;
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(stream));
        };
        let shaken = tls.connect(stream, self.target, None, &[]).await;
        let (stream, _) = shaken.map_err(|failure| format!("handshake failed: {failure}"))?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// Connects; the error is a clause for people.
    pub(super) async fn connect(&self) -> Result<TcpStream, String> {
        let target = self.target;
        let connected = match &self.numbers {
            None => TcpStream::connect(target).await,
            Some(numbers) => self.connect_as(numbers).await,
        };
        connected
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => format!("connection to {target} refused"),
                _ => format!("cannot connect to {target}: {error}"),
            })
    }

    /// The sidecar must know whose connection it is when it accepts it, so its address is taken before it is opened.
    async fn connect_as(&self, numbers: &Numbers) -> io::Result<TcpStream> {
        let (socket, any) = match self.target {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::LOCALHOST.into()),
        };
        socket.bind(SocketAddr::new(any, 0))?;
        let reopenings = self.opened.get();
        self.opened.set(reopenings.saturating_add(1));
        let number = Number {
            connection: self.number,
            reopenings,
        };
        numbers.register(socket.local_addr()?, number);
        socket.connect(self.target).await
    }
}
