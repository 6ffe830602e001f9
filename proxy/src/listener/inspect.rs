//! What is known of a connection before its chain is chosen.

use std::{io, net::SocketAddr, rc::Rc};

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    config::{Inspect, Inspector, Late},
    http::core::Core,
    metrics::Listener as Metrics,
    net::{
        origin::Origin,
        peek::{Peeked, peek},
        sniff::{Sniffed, hello, proxy, version},
    },
};

/// The longest PROXY header that is taken, as in Envoy.
const LONGEST_PROXY_HEADER: usize = 64 << 10;

/// The longest first line that is looked at.
const LONGEST_FIRST_LINE: usize = 8 << 10;

/// Why a connection is closed before it is served.
enum Refused {
    /// It is not what a listener filter demands, or broke.
    Wrong,
    /// Its client closed it.
    Left,
}

/// What a look at a connection has come to.
pub(super) struct Looked {
    pub(super) origin: Rc<Origin>,
    /// Its client had not shown enough in time.
    pub(super) late: bool,
}

/// Looks at a connection as its listener says; `None`: it is to be closed, and has been counted.
pub(super) async fn run(
    core: &Core,
    inspect: &Inspect,
    metrics: &Metrics,
    tcp: &mut TcpStream,
    peer: SocketAddr,
) -> Option<Looked> {
    let local = tcp.local_addr().ok()?;
    let mut origin = Origin::new(peer, local);
    if inspect.filters.is_empty() {
        return Some(Looked {
            origin: Rc::new(origin),
            late: false,
        });
    }
    let looked = {
        let look = look(core, inspect, tcp, &mut origin);
        match inspect.timeout {
            Some(within) => timeout(within, look).await.ok(),
            None => Some(look.await),
        }
    };
    let late = looked.is_none();
    match looked {
        Some(Ok(())) => {}
        Some(Err(Refused::Wrong)) => {
            metrics.filter_errors.inc();
            return None;
        }
        Some(Err(Refused::Left)) => {
            metrics.filter_closed.inc();
            return None;
        }
        None => {
            metrics.filter_timeouts.inc();
            if inspect.late == Late::Close {
                return None;
            }
        }
    }
    Some(Looked {
        origin: Rc::new(origin),
        late,
    })
}

async fn look(
    core: &Core,
    inspect: &Inspect,
    tcp: &mut TcpStream,
    origin: &mut Origin,
) -> Result<(), Refused> {
    for (inspector, except) in &inspect.filters {
        if except.holds(origin.destination.port()) {
            continue;
        }
        match inspector {
            Inspector::Tls { most } => tls(core, *most, tcp, origin).await?,
            Inspector::Http => http(core, tcp, origin).await?,
            Inspector::Proxy { optional } => taken(core, *optional, tcp, origin).await?,
            Inspector::OriginalDestination => original(tcp, origin),
        }
    }
    Ok(())
}

async fn tls(
    core: &Core,
    most: usize,
    tcp: &TcpStream,
    origin: &mut Origin,
) -> Result<(), Refused> {
    let peeked = peek(tcp, &core.stock, most, |bytes| match hello::sniff(bytes) {
        Sniffed::More => None,
        Sniffed::Other => Some(None),
        Sniffed::Found(hello) => Some(Some(hello)),
    });
    if let Some(hello) = answer(peeked.await)? {
        origin.transport = "tls";
        origin.server_name = hello.server_name.into();
        origin.protocols = hello.protocols;
    }
    Ok(())
}

async fn http(core: &Core, tcp: &TcpStream, origin: &mut Origin) -> Result<(), Refused> {
    // What is said within TLS cannot be seen.
    if origin.transport == "tls" {
        return Ok(());
    }
    let peeked = peek(
        tcp,
        &core.stock,
        LONGEST_FIRST_LINE,
        |bytes| match version::sniff(bytes) {
            Sniffed::More => None,
            Sniffed::Other => Some(None),
            Sniffed::Found(version) => Some(Some(version)),
        },
    );
    if let Some(version) = answer(peeked.await)? {
        origin.protocols = vec![version.to_owned()];
    }
    Ok(())
}

/// Takes a PROXY header off.
async fn taken(
    core: &Core,
    optional: bool,
    tcp: &mut TcpStream,
    origin: &mut Origin,
) -> Result<(), Refused> {
    let peeked = peek(
        tcp,
        &core.stock,
        LONGEST_PROXY_HEADER,
        |bytes| match proxy::sniff(bytes) {
            Sniffed::More => None,
            Sniffed::Other => Some(Err(proxy::begins(bytes))),
            Sniffed::Found(header) => Some(Ok(header)),
        },
    );
    let header = match answer(peeked.await)? {
        Ok(header) => header,
        Err(false) if optional => return Ok(()),
        Err(_) => return Err(Refused::Wrong),
    };
    let mut bytes = vec![0; header.length];
    tcp.read_exact(&mut bytes)
        .await
        .map_err(|_| Refused::Left)?;
    if let Some((source, destination)) = header.addresses {
        origin.source = source;
        origin.destination = destination;
    }
    Ok(())
}

/// Where the kernel has not redirected the connection, the address stays.
fn original(tcp: &TcpStream, origin: &mut Origin) {
    let socket = socket2::SockRef::from(tcp);
    let address = if origin.destination.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    if let Some(address) = address.ok().and_then(|address| address.as_socket()) {
        origin.destination = address;
    }
}

fn answer<T>(peeked: io::Result<Peeked<T>>) -> Result<T, Refused> {
    match peeked {
        Ok(Peeked::Answer(answer)) => Ok(answer),
        Ok(Peeked::TooMuch) => Err(Refused::Wrong),
        Ok(Peeked::Closed) | Err(_) => Err(Refused::Left),
    }
}
