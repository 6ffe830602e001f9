//! Tasks that serve requests, one after the other. A task for each request would cost an allocation of some kilobytes, and
//! copying them, each time: a task that is done waits for the next request instead.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use tokio::{task::spawn_local, time::Instant};

use super::{
    Connection,
    stream::{self, Ended},
};
use crate::{
    http::client::Client,
    net::{h2::server::Request, waker::remember},
};

/// Tasks without a request that an event loop keeps.
const IDLE: usize = 512;

/// The tasks of one event loop that have no request. The one that was done last goes on first.
#[derive(Default)]
pub struct Workers(RefCell<Vec<Rc<Desk>>>);

/// Where a task is given its next request.
#[derive(Default)]
struct Desk {
    job: RefCell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
}

/// A request, and where its answer goes.
pub(super) struct Job {
    pub(super) connection: Rc<Connection>,
    pub(super) place: usize,
    pub(super) client: Rc<Client>,
    pub(super) request: Request,
    pub(super) begun: Instant,
}

impl Workers {
    /// Has the request served.
    pub(super) fn give(self: &Rc<Self>, job: Job) {
        let parked = self.0.borrow_mut().pop();
        if let Some(desk) = parked {
            *desk.job.borrow_mut() = Some(job);
            if let Some(waker) = &*desk.waker.borrow() {
                waker.wake_by_ref();
            }
            return;
        }
        let (workers, desk) = (Rc::clone(self), Rc::new(Desk::default()));
        *desk.job.borrow_mut() = Some(job);
        spawn_local(async move {
            while let Some(job) = desk.next().await {
                job.run().await;
                let mut idle = workers.0.borrow_mut();
                if idle.len() == IDLE {
                    return;
                }
                idle.push(Rc::clone(&desk));
            }
        });
    }
}

impl Desk {
    async fn next(&self) -> Option<Job> {
        poll_fn(|cx| {
            if let Some(job) = self.job.borrow_mut().take() {
                return Poll::Ready(Some(job));
            }
            remember(&mut self.waker.borrow_mut(), cx.waker());
            Poll::Pending
        })
        .await
    }
}

impl Job {
    async fn run(self) {
        let Self {
            connection,
            place,
            client,
            request,
            begun,
        } = self;
        if stream::run(&connection, client, request).await == Ended::Reset {
            connection.reset(begun);
        }
        connection.end(place);
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("idle", &self.0.borrow().len())
            .finish_non_exhaustive()
    }
}
