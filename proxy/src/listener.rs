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

use crate::{
    drain::{Phase, Watch},
    http::{core::Core, server},
    metrics::Listener as Accepting,
    net::io::{Stream, Traffic},
    policy::chain::Seen,
    snapshot::listener::{Chain, Listener as Chains, Serve},
    tcp,
};

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
            changed = watch.phase.wait_for(|phase| *phase != Phase::Serving) => {
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
    socket: TcpStream,
    peer: SocketAddr,
) {
    let local = core.local();
    let Some(listener) = local.snapshot.listeners.get(index) else {
        return;
    };
    let Some(chain) = listener.any().or_else(|| choose(listener, &socket, peer)) else {
        return metrics.no_chain.inc();
    };
    let http = match chain.serve {
        Serve::Http(http) => http,
        Serve::Tcp(proxy) => return tcp::run(core, local, proxy, socket).await,
    };
    let traffic = Arc::<Traffic>::default();
    let Some(tls) = &chain.tls else {
        let stream = Stream::new(socket, traffic);
        return server::run(core, local, http, stream, None, peer).await;
    };
    let address = socket.local_addr().ok();
    let shaken = tls.accept_within(socket, chain.handshake_timeout).await;
    core.handshakes(&listener.stat_prefix).count(&shaken);
    if let Ok((tls, mut session)) = shaken {
        session.address = address;
        let stream = Stream::over(Box::new(tls), traffic);
        server::run(core, local, http, stream, Some(Rc::new(session)), peer).await;
    }
}

fn choose<'a>(listener: &'a Chains, tcp: &TcpStream, peer: SocketAddr) -> Option<&'a Chain> {
    let destination = tcp.local_addr().ok()?;
    let seen = Seen {
        destination: (destination.ip(), destination.port()),
        source: (peer.ip(), peer.port()),
        direct_source: peer.ip(),
        server_name: "",
        transport_protocol: "raw_buffer",
        application_protocols: &[],
    };
    listener.find(&seen)
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
