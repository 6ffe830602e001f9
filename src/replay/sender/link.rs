//! One HTTP/1.1 connection.

use std::{error::Error, io};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{SendRequest, handshake},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinHandle, spawn_local},
};

use super::{
    Ended,
    dialer::{Dialer, Wire},
};

/// Why a request ends whose connection closed before it was written.
pub(super) const CLOSED: &str = "connection closed before the request was sent";

/// Why a request ends whose connection closed after it was written.
const CUT: &str = "connection closed before the whole answer";

/// An open connection and the task that reads and writes it.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    served: bool,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection closed before the request was written: here it is back.
    Unwritten(Box<Request<Full<Bytes>>>),
    /// It broke on the way.
    Broken(String),
}

impl Link {
    /// Connects; the error is a clause for people.
    pub(super) async fn open(dialer: &Dialer) -> Result<Self, String> {
        match dialer.open().await? {
            Wire::Plain(stream) => Self::over(stream).await,
            Wire::Tls(stream) => Self::over(stream).await,
        }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Self, String> {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| reason(&error))?;
        let driver = spawn_local(async move {
            // A failure is told to the request that met it; without one it only closes the connection.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            driver,
            served: false,
        })
    }

    /// Whether a request was answered on it.
    pub(super) fn has_served(&self) -> bool {
        self.served
    }

    /// Sends a request and reads its answer to the end.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        answer(self.sender.try_send_request(request), ended).await?;
        self.served = true;
        Ok(())
    }
}

/// Waits for the answer to a request that is being sent, and reads it to its end.
pub(super) async fn answer(
    sent: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>>,
    ended: &mut Ended,
) -> Result<(), Failure> {
    let response = sent.await.map_err(|mut error| match error.take_message() {
        Some(request) => Failure::Unwritten(Box::new(request)),
        None => Failure::Broken(reason(error.error())),
    })?;
    read(response, ended).await.map_err(Failure::Broken)
}

/// Reads an answer to its end.
async fn read(response: Response<Incoming>, ended: &mut Ended) -> Result<(), String> {
    ended.status = Some(response.status().as_u16());
    ended.grpc_status = grpc_status(response.headers());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| reason(&error))?;
        if let Some(data) = frame.data_ref() {
            ended.bytes_in += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            ended.grpc_status = grpc_status(trailers).or(ended.grpc_status);
        }
    }
    Ok(())
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Waits until a request can be written; `false`: the connection is closed, or there is none.
pub(super) async fn is_ready(link: &mut Option<Link>) -> bool {
    match link {
        Some(link) => link.sender.ready().await.is_ok(),
        None => false,
    }
}

/// Ends when the connection does; without one, never.
pub(super) async fn closed(link: &mut Option<Link>) {
    match link {
        Some(link) => {
            // Aborted or through: it is closed either way.
            let _ = (&mut link.driver).await;
        }
        None => std::future::pending().await,
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A clause for people; the cause is what the system said, where it said anything.
pub(super) fn reason(error: &hyper::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    "connection reset".to_owned()
                }
                io::ErrorKind::UnexpectedEof => CUT.to_owned(),
                _ => format!("connection broken: {io}"),
            };
        }
        cause = inner.source();
    }
    if error.is_parse() {
        "the answer is not HTTP/1.1".to_owned()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        CUT.to_owned()
    } else if let Some(reset) = error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
    {
        format!("stream reset: {reset}")
    } else {
        format!("connection broken: {error}")
    }
}
