//! Accept loops: one for each listener on each event loop.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener as Listener, TcpStream},
    task::spawn_local,
};
use tokio_rustls::server::TlsStream;

use crate::{
    config::Late,
    drain::{Phase, Watch},
    http::{
        core::{Core, Local},
        server,
    },
    metrics::{ConnectionLimit, Listener as Accepting},
    net::{
        io::{Stream, Traffic},
        origin::Origin,
        tls::{Server, Session},
    },
    snapshot::listener::{Chain, Place, Serve},
    tcp,
};

mod handshake;
mod inspect;
mod record;

use record::Record;

use inspect::Looked;

/// Pause after an accept that failed for want of descriptors or memory: trying at once would only burn the processor.
const BREATH: Duration = Duration::from_millis(20);

/// Accepts connections on the listener with this index until the proxy drains, then those that wait already.
pub async fn run(
    core: Rc<Core>,
    index: usize,
    socket: TcpListener,
    mut watch: Watch,
) -> io::Result<()> {
    let socket = Listener::from_std(socket)?;
    let Some(metrics) = core.local().accepting.get(index).cloned() else {
        return Ok(());
    };
    loop {
        tokio::select! {
            biased;
            accepted = socket.accept() => match accepted {
                Ok((tcp, peer)) => begin(&core, index, &metrics, tcp, peer),
                Err(error) => {
                    metrics.accept_failures.inc();
                    if !of_one_connection(&error) {
                        tokio::time::sleep(BREATH).await;
                    }
                }
            },
            changed = watch.phase.wait_for(|phase| *phase >= Phase::Draining) => {
                // Whoever has connected already is still served.
                drop(changed);
                while let Ok((tcp, peer)) = accept_now(&socket) {
                    begin(&core, index, &metrics, tcp, peer);
                }
                return Ok(());
            }
        }
    }
}

fn begin(
    core: &Rc<Core>,
    index: usize,
    metrics: &Arc<Accepting>,
    tcp: TcpStream,
    peer: SocketAddr,
) {
    metrics.connections.inc();
    // An answer is written at once or is a stream's chunk: waiting for an acknowledgement would only delay it.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    metrics.connections_active.inc();
    let (core, metrics) = (Rc::clone(core), Arc::clone(metrics));
    let hold = core.hold();
    spawn_local(async move {
        serve(core, index, &metrics, tcp, peer).await;
        metrics.connections_active.dec();
        drop(hold);
    });
}

/// Finds the chain of a connection, and serves it so.
async fn serve(
    core: Rc<Core>,
    index: usize,
    metrics: &Accepting,
    mut socket: TcpStream,
    peer: SocketAddr,
) {
    let local = core.local();
    let Some(listener) = local.snapshot.listeners.get(index) else {
        return;
    };
    let mut record = Record::open(listener, &socket, peer);
    let inspected = inspect::run(&core, &listener.inspect, metrics, &mut socket, peer);
    // On the heap, as all that most connections do not do for long.
    let Some(Looked { mut origin, late }) = Box::pin(inspected).await else {
        return;
    };
    if late && listener.inspect.late == Late::Attend {
        let attended = attended(&core, &local, index, metrics, socket, origin, &mut record);
        let Some(turn) = Box::pin(attended).await else {
            return;
        };
        (socket, origin) = turn;
    }
    let chain = listener.chain(&origin);
    if let Some(record) = &mut record {
        record.known(&origin);
        record.chosen(chain);
    }
    let Some(chain) = chain else {
        return metrics.no_chain.inc();
    };
    let Some(_place) = Limited::enter(&core, chain).await else {
        return;
    };
    match chain.serve {
        Serve::Http(http) => {
            serve_http(
                &core,
                &local,
                (index, &listener.stat_prefix),
                (chain, http),
                socket,
                &origin,
                record,
            )
            .await;
        }
        Serve::Tcp(tcp) => {
            let Some(tls) = &chain.tls else {
                leave(record);
                let side = tcp::Side::Tcp(socket);
                return Box::pin(tcp::run(core, local, tcp, side, origin)).await;
            };
            let of = (index, &listener.stat_prefix);
            let shaken = shaken(&core, of, (chain, tls), socket, &origin, &mut record).await;
            if let Some((stream, _)) = shaken {
                leave(record);
                let side = tcp::Side::Other(Box::new(stream));
                Box::pin(tcp::run(
                    Rc::clone(&core),
                    Rc::clone(&local),
                    tcp,
                    side,
                    origin,
                ))
                .await;
            }
        }
    }
}

/// Waits for who speaks first on a connection whose client is silent. `None`: it was the server, or nobody, and it is over;
/// else it is looked at once more, in what its client has said. Whoever has passed it on tells of it.
async fn attended(
    core: &Rc<Core>,
    local: &Rc<Local>,
    index: usize,
    metrics: &Accepting,
    mut socket: TcpStream,
    origin: Rc<Origin>,
    record: &mut Option<Box<Record>>,
) -> Option<(TcpStream, Rc<Origin>)> {
    let listener = local.snapshot.listeners.get(index)?;
    let chain = listener.chain(&origin);
    let Some((chain, Serve::Tcp(tcp))) = chain
        .filter(|it| it.tls.is_none())
        .map(|it| (it, &it.serve))
    else {
        return Some((socket, origin));
    };
    let Some(place) = Limited::enter(core, chain).await else {
        if let Some(record) = record {
            record.known(&origin);
            record.chosen(Some(chain));
        }
        return None;
    };
    let peer = origin.direct;
    let Some(back) = tcp::attend(core, local, *tcp, socket, origin).await else {
        leave(record.take());
        return None;
    };
    drop(place);
    socket = back;
    let looked = inspect::run(core, &listener.inspect, metrics, &mut socket, peer);
    let Looked { origin, .. } = looked.await?;
    Some((socket, origin))
}

/// A connection under its chain's limit, counted until this is dropped; without one, nothing is counted.
struct Limited(Option<(Arc<ConnectionLimit>, Place)>);

impl Limited {
    /// `None`: it is one too many, and is to be closed; it has been kept waiting for as long as its chain says.
    async fn enter(core: &Core, chain: &Chain) -> Option<Self> {
        let Some(limit) = &chain.limit else {
            return Some(Self(None));
        };
        let metrics = core.connection_limit(&limit.stat_prefix);
        if let Some(place) = limit.enter() {
            metrics.active.inc();
            return Some(Self(Some((metrics, place))));
        }
        metrics.limited.inc();
        if let Some(delay) = limit.delay {
            tokio::time::sleep(delay).await;
        }
        None
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some((metrics, _)) = &self.0 {
            metrics.active.dec();
        }
    }
}

/// Ends TLS on a connection to the listener with this index and this name of statistics. `None`: it could not be, which
/// has been counted.
async fn shaken(
    core: &Core,
    (index, stat_prefix): (usize, &Arc<str>),
    (chain, tls): (&Chain, &Server),
    socket: TcpStream,
    origin: &Origin,
    record: &mut Option<Box<Record>>,
) -> Option<(TlsStream<TcpStream>, Session)> {
    // On the heap: a connection that is idle must not own the memory of its handshake.
    let shaken = handshake::shake(core, index, chain, tls, socket, origin.source);
    let shaken = Box::pin(shaken).await;
    core.handshakes(stat_prefix).count(&shaken);
    if let (Err(failure), Some(record)) = (&shaken, record) {
        record.failed(failure);
    }
    shaken.ok()
}

async fn serve_http(
    core: &Rc<Core>,
    local: &Rc<Local>,
    (index, stat_prefix): (usize, &Arc<str>),
    (chain, http): (&Chain, usize),
    socket: TcpStream,
    origin: &Origin,
    mut record: Option<Box<Record>>,
) {
    let (core, local) = (Rc::clone(core), Rc::clone(local));
    let traffic = Arc::<Traffic>::default();
    let (stream, session) = if let Some(tls) = &chain.tls {
        let of = (index, stat_prefix);
        let shaken = shaken(&core, of, (chain, tls), socket, origin, &mut record).await;
        let Some((tls, mut session)) = shaken else {
            return;
        };
        session.inspected = !origin.server_name.is_empty();
        let stream = Stream::over(Box::new(tls), traffic);
        (stream, Some(Rc::new(session)))
    } else {
        (Stream::new(socket, traffic), None)
    };
    if let Some(record) = &mut record {
        record.served(stream.traffic(), session.as_ref());
    }
    server::run(core, local, http, stream, session, origin).await;
}

/// The TCP proxy tells of the connection.
fn leave(record: Option<Box<Record>>) {
    if let Some(record) = record {
        record.leave();
    }
}

fn accept_now(socket: &Listener) -> io::Result<(TcpStream, SocketAddr)> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match socket.poll_accept(&mut cx) {
        std::task::Poll::Ready(accepted) => accepted,
        std::task::Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// The peer's fault: the next accept may well succeed.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
