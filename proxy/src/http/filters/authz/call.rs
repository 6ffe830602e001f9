//! A request of our own to the service that is asked: by its cluster's endpoints and connections, within its time.

use std::{cell::Cell, collections::VecDeque, pin::pin, rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::{
    cluster::{
        Cluster, Pick,
        pool::{Lease, Pool},
    },
    error::Error,
    http::{
        body::Upload,
        forward::{EXPECTED_TIMEOUT, server_name},
        log::Log,
        origin,
        shadow::own_address,
    },
    metrics::Upstream,
    net::{body::Incoming, onward::Onward},
    policy::{authz::CompiledService, outlier::Outcome},
    snapshot::authz::Authz,
};

/// The longest body of an answer, which is Envoy's.
const LONGEST: usize = 32 << 20;

/// An answer, all of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// A question under way, counted until this is dropped.
struct Active<'a>(&'a Upstream, Instant);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.requests_active.dec();
        self.0.time.record(self.1.elapsed());
    }
}

/// Asks; `None`: there is no answer, or not in time.
pub(super) async fn make(
    log: &Log,
    authz: &Authz,
    mut head: request::Parts,
    body: Bytes,
) -> Option<Answer> {
    let cluster = log.local.clusters.get(authz.cluster?)?;
    let grpc = matches!(authz.service.service, CompiledService::Grpc(_));
    let headers = &mut head.headers;
    headers.insert(origin::INTERNAL, HeaderValue::from_static("true"));
    if grpc {
        origin::append(headers, own_address());
    }
    if let Some(ms) = &authz.timeout_ms {
        headers.insert(EXPECTED_TIMEOUT, ms.clone());
    }
    let body = if body.is_empty() {
        Upload::Empty
    } else {
        Upload::Copy(VecDeque::from([body]))
    };
    let metrics = cluster.metrics();
    metrics.requests.inc();
    metrics.requests_active.inc();
    let active = Active(metrics, Instant::now());
    let pool = pool(cluster, &head.headers, log);
    let Some(pool) = pool else {
        metrics.none_healthy.inc();
        metrics.answered(503);
        return None;
    };
    // Its head has come, and is counted.
    let begun = Cell::new(false);
    let request = Onward {
        head: Box::new(head),
        body,
    };
    let exchange = exchange(&pool, request, metrics, &begun);
    let result = match authz.service.settings.timeout {
        Some(within) => {
            let timer = &log.client.core.timer;
            timer.by(active.1 + within, pin!(exchange)).await
        }
        None => Some(exchange.await),
    };
    let took = active.1.elapsed();
    match result {
        Some(Ok(answer)) => {
            let status = answer.status.as_u16();
            pool.report(Outcome::Status(status), took);
            Some(answer)
        }
        Some(Err(error)) => {
            fail(&pool, &error, took);
            if !begun.get() {
                metrics.answered(503);
            }
            None
        }
        None => {
            metrics.timeouts.inc();
            if !begun.get() {
                metrics.answered(504);
            }
            pool.report(Outcome::Timeout, took);
            None
        }
    }
}

fn fail(pool: &Pool<Upload>, error: &Error, took: Duration) {
    match error {
        Error::ConnectTimeout => pool.report(Outcome::Timeout, took),
        Error::Overflow { .. } => {}
        _ => pool.report(Outcome::Failed, took),
    }
}

/// The connections of the endpoint whose turn it is.
fn pool(cluster: &Rc<Cluster<Upload>>, asked: &HeaderMap, log: &Log) -> Option<Rc<Pool<Upload>>> {
    let host = cluster.pick(&Pick::default()).ok()?;
    let pool = host.pool.for_client(log.version);
    let name = name(cluster, asked);
    Some(name.map_or_else(|| Rc::clone(pool), |name| pool.for_name(&name)))
}

/// What is asked for in TLS's handshake, where that is up to each request.
fn name(cluster: &Cluster<Upload>, asked: &HeaderMap) -> Option<Box<str>> {
    let header: &HeaderName = cluster.settings().sni_header()?;
    server_name(asked.get(header)?)
}

async fn exchange(
    pool: &Rc<Pool<Upload>>,
    mut request: Onward<Upload>,
    metrics: &Upstream,
    begun: &Cell<bool>,
) -> Result<Answer, Error> {
    loop {
        let mut lease = match pool.idle() {
            Some(lease) => lease,
            None => Box::pin(pool.connect()).await?,
        };
        match lease.exchange(request, None).await {
            Ok(answer) => {
                metrics.answered(answer.status().as_u16());
                begun.set(true);
                return read(answer, lease).await;
            }
            Err(failed) => match failed.unsent {
                // It was closed before anything was written.
                Some(unsent) if lease.idle_since().is_some() => {
                    metrics.stale_connections.inc();
                    request = unsent;
                }
                _ => return Err(failed.error),
            },
        }
    }
}

async fn read(answer: http::Response<Incoming>, lease: Lease<Upload>) -> Result<Answer, Error> {
    let (head, mut body) = answer.into_parts();
    let mut whole = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if whole.len() + data.len() > LONGEST => return Err(Error::Protocol),
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    lease.give_back(Instant::now());
    let mut headers = head.headers;
    headers.remove(header::TRANSFER_ENCODING);
    Ok(Answer {
        status: head.status,
        headers,
        body: whole.freeze(),
        trailers,
    })
}
