//! Which HTTP version a client begins with. Its first bytes are looked at and left where they are.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::{io::ReadBuf, net::TcpStream, time::Instant};

use crate::{
    drain::Phase,
    http::client::{Client, Verdict},
};

/// How a client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Preface {
    /// With HTTP/2's preface.
    Http2,
    /// With something else, or with an end.
    Other,
    /// Not at all: it was idle for too long.
    None,
}

/// The beginning of HTTP/2's preface (RFC 9113 §3.4). No other method begins so.
const PREFACE: [u8; 3] = *b"PRI";

/// So often: whoever is slower than that speaks HTTP/1 by hand.
const LOOKS: usize = 1_000;

/// Between looks at a client that has sent one or two letters.
const AGAIN: Duration = Duration::from_millis(1);

/// Waits for the first bytes. Nothing is waited for that a client of HTTP/1 does not send.
pub(in crate::http) async fn preface(client: &Client, tcp: &TcpStream) -> Preface {
    for _ in 0..LOOKS {
        let mut bytes = [0; PREFACE.len()];
        let Some(count) = peek(client, tcp, &mut bytes).await else {
            return Preface::None;
        };
        match bytes.get(..count) {
            Some(seen) if count > 0 && PREFACE.starts_with(seen) => {
                if count == PREFACE.len() {
                    return Preface::Http2;
                }
                tokio::time::sleep(AGAIN).await;
            }
            _ => return Preface::Other,
        }
    }
    Preface::Other
}

/// How many bytes there are; `None`: the client was idle for too long, or the proxy drains.
async fn peek(client: &Client, tcp: &TcpStream, bytes: &mut [u8]) -> Option<usize> {
    let mut alarm = client.core.timer.alarm();
    poll_fn(|cx| {
        client.remember(cx.waker());
        if client.core.phase.get() >= Phase::Draining {
            return Poll::Ready(None);
        }
        if alarm.is_off() && client.check(Instant::now()) == Verdict::Idle {
            client.metrics.idle_timeouts.inc();
            return Poll::Ready(None);
        }
        let polled = tcp.poll_peek(cx, &mut ReadBuf::new(bytes));
        if let Poll::Ready(count) = polled {
            return Poll::Ready(Some(count.unwrap_or(0)));
        }
        if let Some(at) = client.next_deadline() {
            alarm.set(at, cx.waker());
        }
        Poll::Pending
    })
    .await
}
