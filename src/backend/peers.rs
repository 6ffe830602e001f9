//! Calls to peers: addresses from the environment, kept-alive connections, a deadline.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use meshbed_proxy::{config::tls, net::tls::Client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::trace::Trace;
use super::{CA, Error, Service};

/// How long a peer may take, connection and answer together. Above any delay the shipped scenarios inject, so that
/// these show as latency; far below the 30 s a client waits.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// No peer answers with more; a stranger at a peer's address could.
const BODY_LIMIT: usize = 4 << 20;

/// Idle connections kept to one peer.
const IDLE_LIMIT: usize = 256;

/// What a peer answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a peer gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection was refused, reset, or spoke no HTTP.
    Unreachable,
    /// Nothing, or no end, within [`PEER_TIMEOUT`].
    Timeout,
}

/// The peers of one service.
#[derive(Debug)]
pub(super) struct Peers {
    all: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    id: &'static str,
    authority: String,
    host: HeaderValue,
    /// How it is spoken to over TLS; `None`: it is not.
    tls: Option<Client>,
    /// Last in, first out, so that the fewest connections stay warm.
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

/// The variable that holds a peer's address.
pub(super) fn variable(peer: &str) -> String {
    format!(
        "MESHBED_{}_URL",
        peer.to_ascii_uppercase().replace('-', "_")
    )
}

impl Peers {
    /// Finds every peer of a service in its environment.
    pub(super) fn from_env(
        service: &Service,
        mut env: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let mut all = Vec::with_capacity(service.peers.len());
        for &id in service.peers {
            let name = variable(id);
            let url = env.remove(&name).ok_or(Error::Peer(service.id, id))?;
            let over_tls = url.strip_prefix("https://").zip(env.get(CA));
            let authority = over_tls
                .map(|(rest, _)| rest)
                .or(url.strip_prefix("http://"))
                .map(|rest| rest.trim_end_matches('/').to_owned());
            let tls = match over_tls {
                None => None,
                Some((_, pem)) => Some(
                    Client::new(tls::Client::trusting(pem, id))
                        .map_err(|wrong| Error::Trust(wrong.to_string()))?,
                ),
            };
            let host = authority
                .as_deref()
                .filter(|authority| authority.parse::<http::uri::Authority>().is_ok());
            let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) else {
                return Err(Error::Url(name, url));
            };
            all.push(Peer {
                id,
                authority: authority.unwrap_or_default(),
                host,
                tls,
                idle: RefCell::default(),
            });
        }
        Ok(Self { all })
    }

    /// Calls a peer and reads its whole answer. `body` is JSON, when there is one.
    pub(super) async fn call(
        &self,
        peer: &str,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        trace: &Trace,
    ) -> Result<Answer, Failure> {
        let peer = self
            .all
            .iter()
            .find(|known| known.id == peer)
            .ok_or(Failure::Unreachable)?;
        let exchange = peer.exchange(method, target, body, trace);
        tokio::time::timeout(PEER_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(Failure::Timeout))
    }
}

impl Peer {
    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        trace: &Trace,
    ) -> Result<Answer, Failure> {
        // A kept connection may have been closed under us; one that cannot take the request gives way to the next,
        // and in the end to a fresh one. A request that was written is never sent twice.
        loop {
            let kept = self.idle.borrow_mut().pop();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.dial().await?,
            };
            if sender.ready().await.is_err() {
                if fresh {
                    return Err(Failure::Unreachable);
                }
                continue;
            }
            let request = self.request(&method, target, body.as_ref(), trace)?;
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut failed) => match failed.take_message() {
                    Some(_) if !fresh => continue,
                    _ => return Err(Failure::Unreachable),
                },
            };
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_LIMIT)
                .collect()
                .await
                .map_err(|_| Failure::Unreachable)?;
            let mut idle = self.idle.borrow_mut();
            if !sender.is_closed() && idle.len() < IDLE_LIMIT {
                idle.push(sender);
            }
            return Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            });
        }
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|_| Failure::Unreachable)?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return begin(stream).await;
        };
        let address = stream.peer_addr().map_err(|_| Failure::Unreachable)?;
        let shaken = tls.connect(stream, address, None, &[]).await;
        let (stream, _) = shaken.map_err(|_| Failure::Unreachable)?;
        begin(stream).await
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Bytes>,
        trace: &Trace,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(headers) = request.headers_mut() {
            headers.insert(HOST, self.host.clone());
            trace.carry(headers);
            if body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        request
            .body(Full::new(body.cloned().unwrap_or_default()))
            .map_err(|_| Failure::Unreachable)
    }
}

/// Begins HTTP on a connection.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::Unreachable)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "is unreachable",
            Self::Timeout => "did not answer in time",
        })
    }
}
