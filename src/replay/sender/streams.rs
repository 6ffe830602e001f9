//! One HTTP/2 connection: its requests go side by side, each on a stream of its own.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    sync::Mutex,
    task::{JoinSet, spawn_local},
    time::timeout,
};

use super::{AHEAD, Desk, Ended, Released, STOPPED, Worker, deadline, dialer::Dialer, link};
use crate::replay::rewrite::Prepared;

/// A connection that streams share; opened by the first that needs it.
struct Shared {
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
    dialer: Dialer,
}

impl Shared {
    /// The connection, and whether it was open already.
    async fn sender(&self) -> Result<(SendRequest<Full<Bytes>>, bool), String> {
        // Whoever waits here meanwhile finds it open, and does not open a second one.
        let mut open = self.open.lock().await;
        if let Some(sender) = open.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok((sender.clone(), true));
        }
        let stream = self.dialer.connect().await?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| link::reason(&error))?;
        spawn_local(async move {
            // A failure is told to the streams that meet it.
            let _ = connection.await;
        });
        *open = Some(sender.clone());
        Ok((sender, false))
    }

    /// It is of no use any more.
    async fn forget(&self) {
        *self.open.lock().await = None;
    }
}

impl Worker {
    /// Sends what comes, whatever is still under way; `max_in_flight` is what bounds it.
    pub(super) async fn run_streams(self) {
        let lane = self.desk.sender.schedule.sources.get(self.opening.source);
        let target = self.desk.sender.targets.get(self.opening.source).copied();
        let (Some(target), Some(limit)) = (target, lane.map(|lane| lane.timeout)) else {
            return;
        };
        let shared = Rc::new(Shared {
            open: Mutex::default(),
            dialer: self.dialer(target),
        });
        // One that cannot be had yet is tried again, and its failure told, when there is a request for it.
        let _ = timeout(AHEAD, shared.sender()).await;
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = streams.join_next(), if !streams.is_empty() => {}
                next = self.queue.next() => {
                    let Some(released) = next else { break };
                    let desk = Rc::clone(&self.desk);
                    let shared = Rc::clone(&shared);
                    let (mut told, number) = (self.told.clone(), self.number);
                    streams.spawn_local(async move {
                        let mut ended = Ended::default();
                        let result = tokio::select! {
                            biased;
                            result = exchange(&desk, &shared, limit, released, &mut ended) => result,
                            () = deadline(&mut told) => Err(STOPPED.to_owned()),
                        };
                        ended.why = result.err();
                        if let Some(places) = desk.places_of(released) {
                            desk.leave(places, released, Some(number), ended);
                        }
                    });
                }
            }
        }
        while streams.join_next().await.is_some() {}
    }
}

/// Sends one request on a stream and reads its answer into `ended`.
async fn exchange(
    desk: &Desk,
    shared: &Shared,
    limit: Duration,
    released: Released,
    ended: &mut Ended,
) -> Result<(), String> {
    let mut request = desk.request(released, Prepared::to_http2)?;
    loop {
        let (mut stream, kept) = timeout(limit, shared.sender())
            .await
            .map_err(|_| "connecting took longer than the timeout")??;
        desk.sent(released, ended);
        let answer = link::answer(stream.try_send_request(request), ended);
        let answered = timeout(limit, answer).await;
        match desk.answered(answered, kept, ended)? {
            Some(back) => {
                request = back;
                shared.forget().await;
            }
            None => return Ok(()),
        }
    }
}
