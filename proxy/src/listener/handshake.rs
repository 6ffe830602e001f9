//! Ends TLS on a connection, or spoils its handshake where a fault has chosen it.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::{
    http::core::Core,
    net::tls::{Failure, Server, Session, in_time},
    observe::{Connection, Effect, Hit},
    policy::fault::{
        tcp::Number,
        tls::{Drawn, Tls},
    },
    snapshot::listener::{Chain, Spoiling},
};

/// How often a handshake that is held up looks whether its fault is still on.
const LOOK: Duration = Duration::from_millis(50);

/// Does the handshake of a connection to the listener with this index.
pub(super) async fn shake(
    core: &Core,
    index: usize,
    chain: &Chain,
    tls: &Server,
    socket: TcpStream,
    peer: SocketAddr,
) -> Result<(TlsStream<TcpStream>, Session), Failure> {
    let within = chain.handshake_timeout;
    let Some(spoiling) = &chain.spoiling else {
        return tls.accept_within(socket, within).await;
    };
    // Whoever passes on the connection may say its number as late as with its first byte.
    // (A socket may be said to be readable before anything has come.)
    let mut first = [0];
    in_time(socket.peek(&mut first), within).await?;
    let (number, numbered) = core.numbers.of(peer, spoiling.numbered, &spoiling.arrivals);
    let drawn = spoiling.rules.draw(number);
    tell(core, spoiling, number, numbered, &drawn);
    let Some(kind) = drawn.kind() else {
        return tls.accept_within(socket, within).await;
    };
    tokio::select! {
        ended = tls.spoil_within(socket, kind, within) => ended,
        () = lifted(core, index, chain, kind) => Err(Failure::Spoilt(Box::new(Failure::Timeout))),
    }
}

/// Ends when no fault holds up handshakes of this chain any more; for one that does not hold up, never.
async fn lifted(core: &Core, index: usize, chain: &Chain, kind: Tls) {
    if kind != Tls::Stall {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let local = core.local();
        let listener = local.snapshot.listeners.get(index);
        let now = listener.and_then(|listener| listener.same(chain)?.spoiling.as_ref());
        if now.is_none_or(|now| !now.rules.have(kind)) {
            return;
        }
    }
}

/// Tells what was drawn. The first that chose the connection acts at once, since its client has begun.
fn tell(core: &Core, spoiling: &Spoiling, number: Number, numbered: bool, drawn: &Drawn) {
    let mut superseded = false;
    let hits: Vec<Hit> = drawn
        .hits
        .iter()
        .map(|hit| {
            let later = std::mem::replace(&mut superseded, true);
            if !later {
                core.fault(&hit.fault).applied.inc();
            }
            Hit {
                fault: hit.fault.clone(),
                attempt: 0,
                u: hit.u,
                p: hit.p,
                effect: if later {
                    Effect::Superseded
                } else {
                    Effect::Applied
                },
                asked: None,
                actual: None,
                status: None,
                why: later.then_some("an earlier fault spoils the handshake"),
            }
        })
        .collect();
    core.observer.connection(&Connection {
        listener: &spoiling.listener,
        place: spoiling.place.as_ref(),
        number,
        numbered,
        considered: &drawn.considered,
        hits: &hits,
    });
}
