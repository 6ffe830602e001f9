//! Accept loops: one for each listener on each event loop.

use std::{io, net::TcpListener, rc::Rc, time::Duration};

use tokio::{net::TcpListener as Listener, task::spawn_local};

use crate::{
    drain::{Phase, Watch},
    http::{core::Core, server},
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
    loop {
        tokio::select! {
            biased;
            accepted = socket.accept() => match accepted {
                Ok((tcp, peer)) => begin(&core, index, tcp, peer),
                Err(error) => {
                    if let Some(metrics) = core.downstream(index) {
                        metrics.accept_failures.inc();
                    }
                    if !of_one_connection(&error) {
                        tokio::time::sleep(BREATH).await;
                    }
                }
            },
            changed = watch.phase.wait_for(|phase| *phase != Phase::Serving) => {
                // Whoever has connected already is still served.
                drop(changed);
                while let Ok((tcp, peer)) = accept_now(&socket) {
                    begin(&core, index, tcp, peer);
                }
                return Ok(());
            }
        }
    }
}

fn begin(core: &Rc<Core>, index: usize, tcp: tokio::net::TcpStream, peer: std::net::SocketAddr) {
    // An answer is written at once or is a stream's chunk: waiting for an acknowledgement would only delay it.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let core = Rc::clone(core);
    let hold = core.hold();
    spawn_local(async move {
        server::run(core, index, tcp, peer).await;
        drop(hold);
    });
}

fn accept_now(socket: &Listener) -> io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
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
