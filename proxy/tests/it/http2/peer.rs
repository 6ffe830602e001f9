//! Peers that speak HTTP/2: a client whose calls block, and services on a thread of their own.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{self, SendRequest},
    server::{self, SendResponse},
};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    task::JoinHandle,
    time::timeout,
};

use super::super::support::PATIENCE;

/// A client's connection.
pub(crate) struct Client {
    runtime: Handle,
    pub(crate) send: SendRequest<Bytes>,
    connection: Option<JoinHandle<Result<(), h2::Error>>>,
}

/// A runtime on a thread of its own.
fn background() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &client::Builder::new())
    }

    pub(crate) fn with(address: SocketAddr, builder: &client::Builder) -> Self {
        let runtime = background();
        let (send, connection) = runtime.block_on(async {
            let tcp = TcpStream::connect(address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            builder.handshake::<_, Bytes>(tcp).await.unwrap()
        });
        let connection = runtime.spawn(connection);
        Self {
            runtime,
            send,
            connection: Some(connection),
        }
    }

    /// Runs a future, which must end in time.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime
            .block_on(async { timeout(PATIENCE, future).await.unwrap() })
    }

    /// Runs a future beside the test.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, h2::Error> {
        self.call(get(path), &[], None)
    }

    /// Sends a request with this body and these trailers; its whole answer.
    pub(crate) fn call(
        &self,
        request: Request<()>,
        body: &[&'static str],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        self.run(exchange(self.send.clone(), request, body, trailers))
    }

    /// Closes the connection at once.
    pub(crate) fn vanish(mut self) {
        self.connection.take().unwrap().abort();
    }

    /// Waits until the other side has ended the connection.
    pub(crate) fn ended(mut self) -> Result<(), h2::Error> {
        let connection = self.connection.take().unwrap();
        self.runtime
            .block_on(async { timeout(PATIENCE, connection).await.unwrap().unwrap() })
    }
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://shop.test{path}"))
        .body(())
        .unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://shop.test{path}"))
        .body(())
        .unwrap()
}

pub(crate) fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    rows.iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

pub(crate) async fn exchange(
    send: SendRequest<Bytes>,
    request: Request<()>,
    body: &[&'static str],
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let mut send = send.ready().await?;
    let ended = body.is_empty() && trailers.is_none();
    let (answer, mut stream) = send.send_request(request, ended)?;
    // Who is answered before all is sent may have no stream to send the rest on: what came back tells.
    let _ = (|| {
        for (at, piece) in body.iter().enumerate() {
            let last = at + 1 == body.len() && trailers.is_none();
            stream.send_data(Bytes::from_static(piece.as_bytes()), last)?;
        }
        trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
    })();
    read(answer.await?).await
}

pub(crate) async fn read(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let body = whole(&mut stream).await?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
        trailers: stream.trailers().await?,
    })
}

/// The body, as it comes.
pub(crate) async fn whole(stream: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// A service: each connection is served by a task, each request by another.
pub(crate) fn service<S, F>(builder: server::Builder, serve: S) -> SocketAddr
where
    S: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    connections(move |tcp| {
        let (builder, serve) = (builder.clone(), serve.clone());
        async move {
            let Ok(mut connection) = builder.handshake::<_, Bytes>(tcp).await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(serve(request, respond));
            }
        }
    })
}

/// A service whose connections are served so.
pub(crate) fn connections<S, F>(serve: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                tokio::spawn(serve(tcp));
            }
        });
    });
    address
}

/// A service that answers with the request's path and body, and with its trailers as trailers.
pub(crate) fn echo() -> SocketAddr {
    service(server::Builder::new(), answer_echo)
}

pub(crate) async fn answer_echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, mut stream) = request.into_parts();
    let Ok(body) = whole(&mut stream).await else {
        return;
    };
    let trailers = stream.trailers().await.unwrap_or_default();
    let mut answer = Response::new(());
    for name in ["te", "cookie", "host", "connection", "upgrade"] {
        if let Some(value) = head.headers.get(name) {
            let name: http::HeaderName = format!("x-{name}").parse().unwrap();
            answer.headers_mut().insert(name, value.clone());
        }
    }
    let text = format!(
        "{} {} {}",
        head.method,
        head.uri,
        String::from_utf8_lossy(&body)
    );
    let Ok(mut send) = respond.send_response(answer, false) else {
        return;
    };
    let _ = send.send_data(Bytes::from(text), trailers.is_none());
    if let Some(trailers) = trailers {
        let _ = send.send_trailers(trailers);
    }
}

/// A service that resets each stream.
pub(crate) fn resetting(reason: Reason, after_head: bool) -> SocketAddr {
    service(server::Builder::new(), move |_, mut respond| async move {
        if after_head {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from_static(b"some"), false).unwrap();
            // The head is out before the reset is.
            tokio::time::sleep(Duration::from_millis(50)).await;
            send.send_reset(reason);
        } else {
            respond.send_reset(reason);
        }
    })
}
