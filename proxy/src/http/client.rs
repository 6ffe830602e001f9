//! A client's connection: who it is, and by when its request must have moved on. All timeouts of a connection share one
//! alarm, that is set again only when it rings: most requests pay a comparison for them.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::core::{Core, Local};
use crate::{
    drain::Phase,
    error::Error,
    metrics::Downstream,
    net::{
        io::{Spoken, Traffic},
        origin::Origin,
        tls::Session,
        waker,
    },
    snapshot::Manager,
};

/// What an endpoint may say before its answer between two looks at it: more is no server's, and is dropped.
const INTERIM: usize = 8;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// Its event loop.
    pub core: Rc<Core>,
    /// Its address, as a PROXY header tells.
    pub peer: SocketAddr,
    /// Whoever opened the connection.
    pub direct: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Its number on its event loop.
    pub id: Cell<u64>,
    /// The counts of its HTTP connection manager.
    pub metrics: Arc<Downstream>,
    /// What the TLS handshake settled; `None`: it is plain.
    pub tls: Option<Rc<Session>>,
    http: Cell<usize>,
    /// Its chain is gone: it is served by the configuration that had it, and closed when it is done.
    left_over: RefCell<Option<Rc<Local>>>,
    traffic: Arc<Traffic>,
    waker: RefCell<Option<Waker>>,
    busy: Cell<bool>,
    /// When the last byte of a body moved, or since when it has no request.
    moved: Cell<Instant>,
    idle: Cell<Option<Duration>>,
    headers_within: Cell<Option<Duration>>,
    request_within: Cell<Option<Duration>>,
    /// Bytes read and written when the last request ended, and since when there are more.
    read: Cell<u64>,
    written: Cell<u64>,
    head_since: Cell<Option<Instant>>,
    stream_idle: Cell<Option<Duration>>,
    try_idle: Cell<Option<Duration>>,
    request_by: Cell<Option<Instant>>,
    request_complete: Cell<bool>,
    handshake: Cell<bool>,
    request_end: Cell<Option<Instant>>,
    answer_within: Cell<Option<Duration>>,
    answer_by: Cell<Option<Instant>>,
    stream_by: Cell<Option<Instant>>,
    expired: Cell<Option<Expired>>,
    left: Cell<Option<Left>>,
    interim: RefCell<Vec<(StatusCode, HeaderMap)>>,
    /// It is told of those.
    hears_interim: bool,
}

/// How a client took its request back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It reset the stream.
    Reset,
    /// Its stream was reset here for what it sent.
    Refused,
}

/// Which bound a request has crossed.
#[derive(Debug, Clone, Copy)]
enum Expired {
    Answer,
    Request,
    Stream,
    Try,
    Duration,
}

/// What is to be done with a connection whose alarm has rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, or its request sees to it.
    GoOn,
    /// It was idle too long.
    Idle,
    /// A request's head did not come in time.
    HeadTimeout,
    /// A request did not come in time: not even its head has.
    RequestTimeout,
}

impl Client {
    /// A connection that was just accepted.
    pub fn new(
        core: Rc<Core>,
        http: usize,
        origin: &Origin,
        metrics: Arc<Downstream>,
        traffic: Arc<Traffic>,
        manager: &Manager,
    ) -> Self {
        Self {
            core,
            peer: origin.source,
            direct: origin.direct,
            local: origin.destination,
            id: Cell::new(0),
            metrics,
            tls: None,
            http: Cell::new(http),
            left_over: RefCell::default(),
            traffic,
            waker: RefCell::default(),
            busy: Cell::new(false),
            moved: Cell::new(Instant::now()),
            idle: Cell::new(manager.idle_timeout),
            headers_within: Cell::new(manager.request_headers_timeout),
            request_within: Cell::new(manager.request_timeout),
            read: Cell::new(0),
            written: Cell::new(0),
            head_since: Cell::new(None),
            stream_idle: Cell::new(None),
            try_idle: Cell::new(None),
            request_by: Cell::new(None),
            request_complete: Cell::new(true),
            handshake: Cell::new(false),
            request_end: Cell::new(None),
            answer_within: Cell::new(None),
            answer_by: Cell::new(None),
            stream_by: Cell::new(None),
            expired: Cell::new(None),
            left: Cell::new(None),
            hears_interim: manager.http1.pass_continue,
            interim: RefCell::default(),
        }
    }

    /// The same, over TLS if there is a session.
    #[must_use]
    pub fn over_tls(self, tls: Option<Rc<Session>>) -> Self {
        Self { tls, ..self }
    }

    /// The scheme of its requests.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The configuration of its next request, and the index of its HTTP connection manager there.
    pub fn local(&self) -> (Rc<Local>, usize) {
        // First: it may tell us of a new configuration.
        let current = self.core.local();
        let left_over = self.left_over.borrow();
        let local = left_over.as_ref().map_or(current, Rc::clone);
        (local, self.http.get())
    }

    /// There is a new configuration, which has these managers for those of `before`.
    pub fn succeed(&self, successors: &[Option<usize>], before: &Rc<Local>) {
        let mut left_over = self.left_over.borrow_mut();
        if left_over.is_some() {
            return;
        }
        match successors.get(self.http.get()).copied().flatten() {
            Some(http) => self.http.set(http),
            None => *left_over = Some(Rc::clone(before)),
        }
    }

    /// It takes no request after the one it has.
    pub fn is_closing(&self) -> bool {
        self.core.phase.get() >= Phase::Draining || self.left_over.borrow().is_some()
    }

    /// Its next answer is its last.
    pub fn is_leaving(&self) -> bool {
        self.core.phase.get() >= Phase::Leaving || self.is_closing()
    }

    /// One request of a connection that carries many at once. Its bytes are counted with the connection's.
    pub fn of_stream(connection: &Self, uncounted: &Arc<Traffic>, now: Instant) -> Self {
        Self {
            core: Rc::clone(&connection.core),
            http: connection.http.clone(),
            left_over: RefCell::new(connection.left_over.borrow().clone()),
            peer: connection.peer,
            direct: connection.direct,
            local: connection.local,
            id: connection.id.clone(),
            metrics: Arc::clone(&connection.metrics),
            tls: connection.tls.clone(),
            traffic: Arc::clone(uncounted),
            waker: RefCell::default(),
            busy: Cell::new(false),
            moved: Cell::new(now),
            idle: Cell::new(None),
            headers_within: Cell::new(None),
            request_within: Cell::new(None),
            read: Cell::new(0),
            written: Cell::new(0),
            head_since: Cell::new(None),
            stream_idle: Cell::new(None),
            try_idle: Cell::new(None),
            request_by: Cell::new(None),
            request_complete: Cell::new(true),
            handshake: Cell::new(false),
            request_end: Cell::new(None),
            answer_within: Cell::new(None),
            answer_by: Cell::new(None),
            stream_by: Cell::new(None),
            expired: Cell::new(None),
            left: Cell::new(None),
            // Streams of HTTP/2 are told of none.
            hears_interim: false,
            interim: RefCell::default(),
        }
    }

    /// This is what comes over the connection.
    pub fn speaks(&self, spoken: Spoken) {
        self.traffic.speaks(spoken);
    }

    /// The client has taken its request back.
    pub fn leave(&self, how: Left) {
        self.left.set(Some(how));
    }

    /// How the client took its request back; `None`: its connection ended.
    pub fn left(&self) -> Option<Left> {
        self.left.get()
    }

    /// The endpoint has said this before its answer.
    pub fn interim(&self, status: StatusCode, headers: HeaderMap) {
        let mut interim = self.interim.borrow_mut();
        if self.hears_interim && interim.len() < INTERIM {
            interim.push((status, headers));
        }
    }

    /// What the endpoint has said before its answer, once.
    pub fn take_interim(&self) -> Vec<(StatusCode, HeaderMap)> {
        self.interim.take()
    }

    /// A request begins.
    pub fn begin(&self, now: Instant, manager: &Manager, complete: bool) {
        self.busy.set(true);
        self.moved.set(now);
        let since = self.head_since.take().unwrap_or(now);
        self.idle.set(manager.idle_timeout);
        self.headers_within.set(manager.request_headers_timeout);
        self.request_within.set(manager.request_timeout);
        self.stream_idle.set(manager.stream_idle_timeout);
        self.try_idle.set(None);
        self.request_complete.set(complete);
        self.handshake.set(false);
        self.request_end.set(complete.then_some(now));
        self.request_by
            .set(manager.request_timeout.map(|within| since + within));
        self.answer_within.set(None);
        self.answer_by.set(None);
        self.stream_by.set(None);
        self.expired.set(None);
        self.interim.borrow_mut().clear();
    }

    /// The whole exchange must have ended by then.
    pub fn end_by(&self, at: Instant) {
        self.stream_by.set(Some(at));
    }

    /// The request is sent on: from its end on, the answer has so long.
    pub fn expect_answer(
        &self,
        now: Instant,
        within: Option<Duration>,
        stream_idle: Option<Duration>,
    ) {
        self.moved.set(now);
        if let Some(idle) = stream_idle {
            // Zero: the manager's bound does not hold, either.
            self.stream_idle.set((!idle.is_zero()).then_some(idle));
        }
        self.answer_within.set(within);
        if self.request_complete.get() || self.handshake.get() {
            self.answer_by.set(within.map(|within| now + within));
        }
    }

    /// The answer has begun: from now on its attempt has failed if nothing moves for so long.
    pub fn expect_motion(&self, now: Instant, within: Duration) {
        self.moved.set(now);
        self.try_idle.set(Some(within));
    }

    /// From now on the connection may be idle.
    pub fn may_idle(&self) {
        self.idle.set(None);
    }

    /// Bytes of a body moved.
    pub fn moved(&self, now: Instant) {
        self.moved.set(now);
    }

    /// The request has no end of its own: it is an upgrade. That to a `websocket` must be answered in time.
    pub fn request_goes_on(&self, websocket: bool) {
        self.request_complete.set(false);
        self.handshake.set(websocket);
        self.request_end.set(None);
    }

    /// Whether the request asks for a websocket and nothing was answered. From now on it has been.
    pub fn end_handshake(&self) -> bool {
        let asked = self.handshake.take();
        if asked {
            self.answer_by.set(None);
        }
        asked
    }

    /// The request has come in full.
    pub fn request_complete(&self, now: Instant) {
        self.moved.set(now);
        self.request_complete.set(true);
        self.request_end.set(Some(now));
        self.answer_by
            .set(self.answer_within.get().map(|within| now + within));
        // The request's body is read by the upstream connection's task: ours must look at its alarm again.
        self.wake();
    }

    /// When the last byte of the request came; `None`: it has not.
    pub fn request_end(&self) -> Option<Instant> {
        self.request_end.get()
    }

    /// When the last byte of a body moved.
    pub fn last_moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the request has come in full.
    pub fn is_request_complete(&self) -> bool {
        self.request_complete.get()
    }

    /// The request has ended.
    pub fn end(&self, now: Instant) {
        self.busy.set(false);
        self.moved.set(now);
        self.count_bytes();
    }

    /// Adds what moved since the last time to the listener's counts.
    pub fn count_bytes(&self) {
        let (read, written) = (self.traffic.read(), self.traffic.written());
        self.metrics.bytes_read.add(read - self.read.replace(read));
        self.metrics
            .bytes_written
            .add(written - self.written.replace(written));
    }

    /// The future's result, unless a bound of the request is crossed first.
    pub async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        self.in_time_pinned(pin!(future)).await
    }

    /// The same, for a future that has its place already: it is not moved into this one.
    pub async fn in_time_pinned<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Error> {
        poll_fn(|cx| {
            if let Some(error) = self.overdue() {
                return Poll::Ready(Err(error));
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// The bound that the request has crossed.
    pub fn overdue(&self) -> Option<Error> {
        Some(match self.expired.get()? {
            Expired::Answer => Error::Timeout,
            Expired::Request => Error::RequestTimeout,
            Expired::Duration => Error::MaxDuration {
                request_complete: self.request_complete.get(),
            },
            Expired::Try => Error::PerTryTimeout { idle: true },
            Expired::Stream => Error::StreamIdle {
                request_complete: self.request_complete.get(),
            },
        })
    }

    /// Remembers whom [`Client::wake`] wakes.
    pub fn remember(&self, waker: &Waker) {
        waker::remember(&mut self.waker.borrow_mut(), waker);
    }

    /// Polls the connection's task again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// By when something must have happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.busy.get() {
            let request = self
                .request_by
                .get()
                .filter(|_| !self.request_complete.get());
            let silent = earlier(self.stream_idle.get(), self.try_idle.get());
            let stream = silent.map(|idle| self.moved.get() + idle);
            let bounds = earlier(self.answer_by.get(), self.stream_by.get());
            return earlier(earlier(request, stream), bounds);
        }
        let idle = self.idle.get().map(|idle| self.moved.get() + idle);
        let Some(within) = earlier(self.headers_within.get(), self.request_within.get()) else {
            return idle;
        };
        if self.traffic.read() == self.read.get() {
            return idle;
        }
        let since = self.head_since.get().unwrap_or_else(Instant::now);
        self.head_since.set(Some(since));
        earlier(idle, Some(since + within))
    }

    /// Which bounds are crossed now.
    pub fn check(&self, now: Instant) -> Verdict {
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let silent =
            |limit: Option<Duration>| limit.is_some_and(|limit| self.moved.get() + limit <= now);
        if !self.busy.get() {
            if let Some(since) = self.head_since.get() {
                let from = |within: Option<Duration>| within.map(|within| since + within);
                if past(from(self.headers_within.get())) {
                    return Verdict::HeadTimeout;
                }
                if past(from(self.request_within.get())) {
                    return Verdict::RequestTimeout;
                }
            }
            return if silent(self.idle.get()) {
                Verdict::Idle
            } else {
                Verdict::GoOn
            };
        }
        let expired = if past(self.answer_by.get()) {
            Some(Expired::Answer)
        } else if past(self.request_by.get()) && !self.request_complete.get() {
            Some(Expired::Request)
        } else if past(self.stream_by.get()) {
            Some(Expired::Duration)
        } else if silent(self.try_idle.get()) {
            Some(Expired::Try)
        } else if silent(self.stream_idle.get()) {
            Some(Expired::Stream)
        } else {
            None
        };
        if expired.is_some() {
            self.expired.set(expired);
            // Crossed once; the alarm must not ring for it again.
            self.answer_by.set(None);
            self.request_by.set(None);
            self.stream_by.set(None);
            self.stream_idle.set(None);
            self.try_idle.set(None);
        }
        Verdict::GoOn
    }
}

/// The earlier, or the shorter, of what there is.
pub(super) fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
