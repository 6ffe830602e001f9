//! Sends a request on: an endpoint, a connection, the answer's head.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderName, Method, Request, Response, request};
use tokio::time::Instant;

use super::{body::Upload, client::Client, log::Log};
use crate::{
    cluster::{
        Cluster,
        pool::{Failed, Lease, Pool},
    },
    error::Error,
    net::body::Incoming,
    observe::Attempt,
};

/// `x-envoy-expected-rq-timeout-ms`.
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// A connection that was idle for longer may have been closed by the server in this very moment. Under load connections
/// are never idle that long, so that the copy of the request that is kept for this case costs nothing there.
const STALE_AFTER: Duration = Duration::from_millis(100);

/// The head of an answer, and the connection that its body comes from.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Incoming>,
    /// Its connection.
    pub lease: Lease<Upload>,
    /// When the request was handed to the connection.
    pub sent: Instant,
    /// When the answer's head came.
    pub arrived: Instant,
}

/// Sends the request to its cluster. Timeouts of the route are counted from its end.
pub async fn send(
    mut head: request::Parts,
    body: Upload,
    cluster: &Rc<Cluster<Upload>>,
    log: &mut Log,
) -> Result<Answer, Error> {
    let client = Rc::clone(&log.client);
    let forward = log.forward().ok_or(Error::NoRoute)?;
    if let Some(timeout) = &forward.timeout_ms {
        head.headers.insert(EXPECTED_TIMEOUT, timeout.clone());
    }
    // The head was read just now, unless a fault has delayed it.
    let begin = if log.hits.is_empty() {
        log.start
    } else {
        Instant::now()
    };
    client.expect_answer(begin, forward.timeout, forward.idle_timeout);
    let metrics = cluster.metrics();
    metrics.requests.inc();
    metrics.requests_active.inc();
    log.sent = Some(begin);
    let Some(pool) = cluster.next() else {
        metrics.none_healthy.inc();
        log.attempts
            .push(attempt(None, Duration::ZERO, Some(&Error::NoEndpoint)));
        return Err(Error::NoEndpoint);
    };
    let pool = pool.for_client(log.version);
    let result = try_pool(Request::from_parts(head, body), pool, &client, log, begin).await;
    match &result {
        Ok(answer) => {
            let status = answer.response.status();
            metrics.class(status.as_u16()).inc();
            log.attempts.push(Attempt {
                endpoint: Some(pool.address()),
                duration: answer.arrived.saturating_duration_since(begin),
                status: Some(status),
                why: None,
            });
        }
        Err(error) => {
            match error {
                Error::Timeout => metrics.timeouts.inc(),
                Error::Terminated | Error::Protocol | Error::Reset { .. } => {
                    metrics.resets.inc();
                }
                _ => {}
            }
            let took = begin.elapsed();
            log.attempts.push(attempt(Some(pool), took, Some(error)));
        }
    }
    result
}

async fn try_pool(
    mut request: Request<Upload>,
    pool: &Rc<Pool<Upload>>,
    client: &Client,
    log: &mut Log,
    begin: Instant,
) -> Result<Answer, Error> {
    let mut fresh = false;
    loop {
        let idle = if fresh { None } else { pool.idle() };
        let mut lease = match idle {
            Some(lease) => lease,
            None => client.in_time(pool.connect()).await??,
        };
        let spare = spare(&request, &lease, begin);
        let sent = lease.exchange(request);
        let failed = match client.in_time(sent).await? {
            Ok(response) => {
                return Ok(Answer {
                    response,
                    lease,
                    sent: begin,
                    arrived: Instant::now(),
                });
            }
            Err(failed) => failed,
        };
        let Failed { error, unsent } = failed;
        // Safe to send again: nothing of it was written, or it changes nothing and the connection was stale.
        let again = unsent.or(spare);
        match again {
            Some(again) if lease.idle_since().is_some() => {
                let pushed = attempt(Some(pool), begin.elapsed(), Some(&error));
                log.attempts.push(Attempt {
                    why: Some("stale connection".into()),
                    ..pushed
                });
                count_stale(log);
                request = again;
                fresh = true;
            }
            _ => return Err(error),
        }
    }
}

/// The request once more, where it may be needed: no body, no effect, and a connection that was idle for long.
fn spare(
    request: &Request<Upload>,
    lease: &Lease<Upload>,
    now: Instant,
) -> Option<Request<Upload>> {
    let stale = now.saturating_duration_since(lease.idle_since()?) > STALE_AFTER;
    let harmless = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) && matches!(request.body(), Upload::Empty);
    (stale && harmless).then(|| {
        let mut spare = Request::new(Upload::Empty);
        spare.method_mut().clone_from(request.method());
        spare.uri_mut().clone_from(request.uri());
        spare.headers_mut().clone_from(request.headers());
        spare
    })
}

fn count_stale(log: &Log) {
    let cluster = log.cluster.and_then(|index| log.local.clusters.get(index));
    if let Some(cluster) = cluster {
        cluster.metrics().stale_connections.inc();
    }
}

fn attempt(pool: Option<&Rc<Pool<Upload>>>, duration: Duration, why: Option<&Error>) -> Attempt {
    Attempt {
        endpoint: pool.map(|pool| pool.address()),
        duration,
        status: None,
        why: why.map(|error| Arc::from(error.to_string())),
    }
}
