//! One attempt: an endpoint, a connection, the answer's head.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{StatusCode, Version};
use tokio::time::Instant;

use super::{Answer, Got, Sender};
use crate::{
    cluster::pool::{Failed, Pool},
    error::Error,
    http::{
        body::Upload,
        inject::{Attempts, Course},
    },
    net::onward::Onward,
    observe,
    policy::fault::abort::End,
};

/// What an attempt tells while it is under way: it may be dropped before its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Its endpoint.
    pub(super) pool: RefCell<Option<Rc<Pool<Upload>>>>,
    /// Since when it has a connection.
    pub(super) connected: Cell<Option<Instant>>,
    /// The connection that it had first was closed while idle, after this long.
    pub(super) stale: Cell<Option<Duration>>,
    /// What is spoken on it, and its local address.
    pub(super) over: Cell<(Option<Version>, Option<SocketAddr>)>,
    /// It has said something before its answer.
    pub(super) interim: Cell<bool>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// What went wrong.
    pub(super) error: Error,
    /// Nothing of the request was written.
    pub(super) unsent: bool,
}

/// Makes the n-th attempt, from 1, which begins now: its faults come first, then the endpoint.
pub(super) async fn run(
    request: Onward<Upload>,
    pool: &Rc<Pool<Upload>>,
    sender: &Sender<'_>,
    progress: &Progress,
    n: u32,
    start: Instant,
) -> Result<Got, Failure> {
    progress.pool.replace(Some(Rc::clone(pool)));
    let Some(faults) = &sender.faults else {
        return exchange(request, pool, sender, progress, start)
            .await
            .map(Got::Upstream);
    };
    Box::pin(suffering(request, pool, sender, faults, progress, n)).await
}

/// An attempt that meets faults.
async fn suffering(
    request: Onward<Upload>,
    pool: &Rc<Pool<Upload>>,
    sender: &Sender<'_>,
    faults: &Attempts<'_>,
    progress: &Progress,
    n: u32,
) -> Result<Got, Failure> {
    // The attempt's own time runs while it suffers.
    progress.connected.set(Some(Instant::now()));
    let course = faults.suffer(n - 1, &request, sender.client).await;
    let shaping = match course.map_err(Failure::sent)? {
        Course::On(shaping) => shaping,
        Course::End(End::Reply(reply)) => return Ok(Got::Injected(reply)),
        Course::End(End::Reset) => {
            return Err(Failure::sent(Error::Reset { refused: false }));
        }
        Course::End(End::GoAway) => return Err(Failure::sent(Error::Terminated)),
    };
    let mut answer = exchange(request, pool, sender, progress, Instant::now()).await?;
    if let Some(shaping) = shaping {
        let shaped = faults.shape(&shaping, &mut answer.response, sender.client);
        shaped.await.map_err(Failure::sent)?;
        answer.arrived = Instant::now();
        answer.shaping = Some(shaping);
    }
    Ok(Got::Upstream(answer))
}

/// Sends the request to the endpoint.
async fn exchange(
    mut request: Onward<Upload>,
    pool: &Rc<Pool<Upload>>,
    sender: &Sender<'_>,
    progress: &Progress,
    start: Instant,
) -> Result<Box<Answer>, Failure> {
    let client = sender.client;
    let mut fresh = false;
    loop {
        let idle = if fresh { None } else { pool.idle() };
        let (mut lease, connected) = if let Some(lease) = idle {
            (lease, start)
        } else {
            // On the heap: few requests need a new connection, and each would be larger by it.
            let made = client.in_time(Box::pin(pool.connect())).await;
            let lease = made.and_then(|made| made).map_err(Failure::unsent)?;
            (lease, Instant::now())
        };
        progress.connected.set(Some(connected));
        progress.over.set((lease.version(), lease.local_addr()));
        // As Envoy: the first of those that it knows is the client's; and whoever waits for `100 Continue` gets it.
        let go_on = |status: StatusCode, headers| {
            if matches!(status.as_u16(), 100 | 102..=104) {
                let first = !progress.interim.replace(true);
                if first || status == StatusCode::CONTINUE {
                    client.interim(status, headers);
                }
            }
        };
        let sent = lease.exchange(request, Some(&go_on));
        let sent = client.in_time_pinned(pin!(sent)).await;
        let Failed { error, unsent } = match sent {
            Err(error) => return Err(Failure::sent(error)),
            Ok(Ok(response)) => {
                return Ok(Box::new(Answer {
                    response,
                    lease,
                    sent: sender.begin,
                    arrived: Instant::now(),
                    shaping: None,
                }));
            }
            Ok(Err(failed)) => failed,
        };
        let was_unsent = unsent.is_some();
        match unsent {
            // Nothing of it was written to a connection that was closed while idle.
            Some(again) if lease.idle_since().is_some() => {
                progress.stale.set(Some(start.elapsed()));
                progress.connected.set(None);
                sender.cluster.metrics().stale_connections.inc();
                request = again;
                fresh = true;
            }
            _ => {
                return Err(Failure {
                    error,
                    unsent: was_unsent,
                });
            }
        }
    }
}

impl Failure {
    fn unsent(error: Error) -> Self {
        Self {
            error,
            unsent: true,
        }
    }

    pub(super) fn sent(error: Error) -> Self {
        Self {
            error,
            unsent: false,
        }
    }
}

/// An attempt for the records.
pub(super) fn record(
    pool: Option<&Rc<Pool<Upload>>>,
    duration: Duration,
    result: Result<StatusCode, &Error>,
) -> observe::Attempt {
    observe::Attempt {
        endpoint: pool.map(|pool| pool.address()),
        duration,
        status: result.ok(),
        why: result.err().map(|error| Arc::from(error.to_string())),
    }
}
