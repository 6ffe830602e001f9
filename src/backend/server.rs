//! The server under every builtin: accepts, serves HTTP/1.1 with keep-alive and HTTP/2 by prior knowledge, stops at once
//! when told to.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Error;
use super::reply::Reply;

/// How long a client may take over a request's head. Far beyond any healthy client, short enough that a run's end
/// finds no forgotten connection.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause after a failed `accept` (out of descriptors), lest the loop spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A builtin service that serves. Dropping it stops it, as [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, and waits for the thread: a few milliseconds.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        // The receiver is gone only if the thread has ended already.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.halt();
    }
}

/// What a builtin serves. It stays on the thread that serves.
pub(super) trait Answer: 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Reply>;
}

/// Serves what `make` makes; it is called on the thread that serves, so what it makes need not be `Send`.
pub(super) fn start<A: Answer>(
    listener: TcpListener,
    make: impl FnOnce() -> A + Send + 'static,
) -> Result<Running, Error> {
    let address = listener.local_addr().map_err(Error::Start)?;
    listener.set_nonblocking(true).map_err(Error::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(Error::Start)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(format!("builtin-{}", address.port()))
        .spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, Rc::new(make())) => {}
                }
            });
            // Connections still open go with the set; nothing blocks.
            drop(local);
            runtime.shutdown_background();
        })
        .map_err(Error::Start)?;
    Ok(Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// Streams of HTTP/2 are served on the thread of their connection.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

async fn accept<A: Answer>(listener: tokio::net::TcpListener, app: Rc<A>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn_local(serve(stream, Rc::clone(&app)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve<A: Answer>(stream: tokio::net::TcpStream, app: Rc<A>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Rc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    // A client that resets or sends garbage ends its own connection, nothing else.
    let mut builder = auto::Builder::new(Here);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
