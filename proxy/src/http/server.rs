//! Serves HTTP/1 on a client's connection until it ends.

use std::{
    convert::Infallible, future::poll_fn, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, task::Poll,
};

use http::{HeaderValue, header};
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use super::{
    client::{Client, Verdict},
    core::{Core, Local},
    serve,
};
use crate::net::{
    body::Incoming,
    io::{Stream, Traffic},
};

/// The least that hyper's buffer may be bounded by.
const LEAST_BUFFER: usize = 8 << 10;

/// Serves a connection by the HTTP connection manager with this index in the core's configuration.
pub async fn run(core: Rc<Core>, local: Rc<Local>, http: usize, tcp: TcpStream, peer: SocketAddr) {
    let (Some(settings), Some(metrics)) =
        (local.snapshot.http.get(http), local.downstream.get(http))
    else {
        return;
    };
    let traffic = Arc::new(Traffic::default());
    let client = Rc::new(Client::new(
        Rc::clone(&core),
        http,
        peer,
        Arc::clone(metrics),
        Arc::clone(&traffic),
        &settings.manager,
    ));
    let most = settings.manager.max_request_headers.max(LEAST_BUFFER);
    drop(local);
    let guard = Guard::new(&client);
    drive(&client, Stream::new(tcp, traffic), most).await;
    drop(guard);
}

async fn drive(client: &Rc<Client>, stream: Stream, max_headers: usize) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let client = Rc::clone(client);
        async move {
            let mut answer = serve(Rc::clone(&client), request.map(Incoming::request)).await;
            // Told in the answer, so that no next request is on its way when the connection is closed.
            if client.is_closing() {
                answer
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    // Timeouts are ours (one alarm a connection): hyper's would cost a timer a request.
    let connection = http1::Builder::new()
        .writev(false)
        .header_read_timeout(None)
        .max_header_size(max_headers)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut alarm = client.core.timer.alarm();
    let mut closing = false;
    let ended = poll_fn(|cx| {
        client.remember(cx.waker());
        if alarm.is_off() {
            match client.check(Instant::now()) {
                Verdict::GoOn => {}
                Verdict::HeadTimeout => {
                    client.metrics.request_timeouts.inc();
                    return Poll::Ready(Ok(()));
                }
                Verdict::Idle => {
                    client.metrics.idle_timeouts.inc();
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if client.core.draining.get() && !closing {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(at) = client.next_deadline()
        {
            alarm.set(at, cx.waker());
        }
        polled
    })
    .await;
    if ended.is_err_and(|error: hyper::Error| error.is_parse() || error.is_parse_too_large()) {
        client.metrics.protocol_errors.inc();
    }
}

/// A connection is counted, and told of drains, until this is dropped.
struct Guard {
    client: Rc<Client>,
    id: u64,
}

impl Guard {
    fn new(client: &Rc<Client>) -> Self {
        client.metrics.connections.inc();
        client.metrics.connections_active.inc();
        Self {
            id: client.core.enter(Rc::clone(client)),
            client: Rc::clone(client),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.client.core.leave(self.id);
        self.client.count_bytes();
        self.client.metrics.connections_active.dec();
    }
}
