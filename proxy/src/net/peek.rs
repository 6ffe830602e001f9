//! Looks at what a peer has sent without taking it, so that whoever reads the connection next finds it whole.

use std::io::{self, ErrorKind};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use super::stock::Stock;

/// What was seen.
#[derive(Debug)]
pub enum Peeked<T> {
    /// An answer.
    Answer(T),
    /// As many bytes as may be looked at are there, and they were not enough.
    TooMuch,
    /// The peer sends no more, and what it has sent was not enough.
    Closed,
}

/// Looks at up to `most` bytes, each time that there are more, until `decide` has an answer.
pub async fn peek<T>(
    tcp: &TcpStream,
    stock: &Stock,
    most: usize,
    mut decide: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Peeked<T>> {
    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        // Until more has come, the socket counts as not ready.
        let peeked = tcp.try_io(Interest::READABLE, || {
            let mut buffer = stock.buffer();
            let most = most.min(buffer.len());
            let place = buffer.get_mut(..most).unwrap_or_default();
            let (count, _) = recv(tcp, &mut *place, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            let seen = place.get(..count).unwrap_or_default();
            match decide(seen) {
                Some(answer) => Ok(Peeked::Answer(answer)),
                None if count == most => Ok(Peeked::TooMuch),
                None if count == 0 || ready.is_read_closed() => Ok(Peeked::Closed),
                None => Err(ErrorKind::WouldBlock.into()),
            }
        });
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}
