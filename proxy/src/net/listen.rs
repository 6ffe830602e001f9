//! Listening sockets, one an event loop on the same port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, at most; the kernel caps it by `net.core.somaxconn`.
pub const BACKLOG: u32 = 4096;

/// How sockets are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Connections that wait to be accepted, at most.
    pub backlog: u32,
    /// The address need not be this machine's yet.
    pub freebind: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            freebind: false,
        }
    }
}

/// Binds `count` sockets to one address, so that the kernel spreads connections over the event loops. Port 0: the first
/// takes one that is free, the others join it. An address that anybody listens on already is refused, also when that
/// socket would share it.
pub fn bind(
    address: SocketAddr,
    count: usize,
    how: How,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let backlog = i32::try_from(how.backlog).unwrap_or(i32::MAX);
    if count > 1 && address.port() != 0 {
        // Sharing is by consent of both sockets, so another proxy of the same user would let us in: ask without it.
        open(address, false, how.freebind)?;
    }
    let first = open(address, count > 1, how.freebind)?;
    first.listen(backlog)?;
    let first = TcpListener::from(first);
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = open(bound, true, how.freebind)?;
        socket.listen(backlog)?;
        sockets.push(TcpListener::from(socket));
    }
    Ok((bound, sockets))
}

fn open(address: SocketAddr, share: bool, freebind: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if freebind {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if address.ip().is_loopback() {
        super::local(&socket);
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn event_loops_share_a_port() {
        let (bound, sockets) = bind(loopback(), 3, How::default()).unwrap();
        assert!(bound.port() != 0);
        for socket in &sockets {
            assert_eq!(socket.local_addr().unwrap(), bound);
        }
    }

    #[test]
    fn an_address_that_is_not_there_yet_is_bound_if_asked_for() {
        // Of a net for documentation (RFC 5737), which no machine has.
        let address = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = bind(address, 2, How::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        let how = How {
            freebind: true,
            ..How::default()
        };
        let (bound, sockets) = bind(address, 2, how).unwrap();
        assert_eq!((bound.ip(), sockets.len()), (address.ip(), 2));
    }

    #[test]
    fn a_port_that_is_taken_is_refused_even_if_it_is_shared_by_others() {
        for (theirs, ours) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let (bound, _sockets) = bind(loopback(), theirs, How::default()).unwrap();
            let error = bind(bound, ours, How::default()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{theirs} {ours}");
        }
    }
}
