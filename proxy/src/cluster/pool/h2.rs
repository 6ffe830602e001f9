//! HTTP/2 to an endpoint: few connections, each with many requests under way. Another connection is made when those there
//! are have no room.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::{AbortHandle, spawn_local},
    time::Instant,
};

use super::{
    super::host::{Open, Queue},
    Failed,
};
use crate::{
    error::{Error, Side},
    metrics::Upstream,
    net::{
        body::Incoming,
        h2::{
            self, Reason,
            client::{self, Pings, Requests},
        },
        hop,
        onward::Onward,
    },
    policy::protocol::{Http2, Keepalive},
};

/// Streams that an endpoint is taken to have room for until it has said.
const STREAMS_AT_FIRST: usize = 100;

/// How often, and after how long, an endpoint's settings are looked at for `ENABLE_CONNECT_PROTOCOL`.
const SETTINGS_LOOKS: u32 = 100;
const SETTINGS_LOOK: Duration = Duration::from_millis(5);

/// Longest header section of an answer. Envoy: 60 KiB.
const MAX_HEADERS: usize = 60 << 10;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The connections to one endpoint.
pub(super) struct Connections {
    settings: Http2,
    max_requests: Option<u64>,
    metrics: Arc<Upstream>,
    /// Those that take requests; the one that is used first stands first.
    open: RefCell<Vec<Rc<Connection>>>,
    /// Somebody is making one.
    dialing: Cell<bool>,
    dialed: Notify,
    /// The last connection speaks HTTP/1: requests that come together need one each.
    other: Cell<bool>,
    /// Streams that the endpoint takes at once, as it said last.
    streams: Cell<usize>,
    /// How often connecting failed, and why it did last.
    failures: RefCell<(u64, Option<Error>)>,
}

struct Connection {
    requests: Requests,
    active: Cell<usize>,
    served: Cell<u64>,
    idle_since: Cell<Instant>,
    /// Our end of it.
    local: Option<SocketAddr>,
    /// Who waits for a place on it.
    queue: Option<Queue>,
}

/// What became of a new connection.
pub(super) enum Made<S> {
    /// It speaks HTTP/2, and there is a place on it.
    Slot(Slot),
    /// It speaks HTTP/1.
    Other(S, Option<Open>),
}

/// There are as many connections as there may be.
pub(super) struct Full;

/// A place on a connection, for one request.
pub(super) struct Slot {
    connection: Rc<Connection>,
    /// Since when the connection was there; `None`: it was made for this request.
    pub(super) idle_since: Option<Instant>,
    upload: Option<AbortHandle>,
}

impl Connections {
    pub(super) fn new(settings: Http2, max_requests: Option<u64>, metrics: Arc<Upstream>) -> Self {
        Self {
            settings,
            max_requests,
            metrics,
            open: RefCell::default(),
            dialing: Cell::new(false),
            dialed: Notify::new(),
            other: Cell::new(false),
            streams: Cell::new(STREAMS_AT_FIRST),
            failures: RefCell::default(),
        }
    }

    /// Another with the same settings, and no connection yet.
    pub(super) fn sibling(&self) -> Self {
        let metrics = Arc::clone(&self.metrics);
        Self::new(self.settings.clone(), self.max_requests, metrics)
    }

    /// There is no connection that takes requests.
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// A place on a connection that is there.
    pub(super) fn idle(&self) -> Option<Slot> {
        let mut open = self.open.borrow_mut();
        let mut at = 0;
        while let Some(connection) = open.get(at) {
            if !connection.requests.takes_more() {
                // What is under way on it goes on.
                open.remove(at);
                continue;
            }
            if let Some(said) = connection.requests.streams() {
                self.streams.set(said as usize);
            }
            let room = self.streams.get().min(self.settings.max_streams as usize);
            if connection.active.get() < room && !connection.requests.is_behind() {
                let slot = Slot::on(connection, Some(connection.idle_since.get()));
                if self
                    .max_requests
                    .is_some_and(|most| connection.served.get() >= most)
                {
                    self.metrics.max_requests.inc();
                    open.remove(at);
                }
                return Some(slot);
            }
            at += 1;
        }
        None
    }

    /// A place on a new connection, or on one that another request has made meanwhile: requests that come together do
    /// not each make their own. `open` counts one, where there may be another; else there is `None`. `dial` says whether
    /// HTTP/2 is spoken.
    pub(super) async fn connect<S, F>(
        &self,
        open: impl FnOnce() -> Result<Option<Open>, Full>,
        dial: impl FnOnce() -> F,
        local: fn(&S) -> Option<SocketAddr>,
    ) -> Result<Option<Made<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        F: Future<Output = Result<(S, bool), Error>>,
    {
        let failures = self.failures.borrow().0;
        while self.dialing.get() && !self.other.get() {
            self.dialed.notified().await;
            if let Some(slot) = self.idle() {
                return Ok(Some(Made::Slot(slot)));
            }
            let (now, why) = &*self.failures.borrow();
            if *now != failures
                && let Some(error) = why
            {
                return Err(error.clone());
            }
        }
        let Ok(open) = open() else {
            return Ok(None);
        };
        self.dialing.set(true);
        let dialing = Dialing(self);
        let made = match dial().await {
            Ok((stream, true)) => {
                let local = local(&stream);
                Ok(self.begin(stream, local, open))
            }
            Ok((stream, false)) => {
                self.other.set(true);
                return Ok(Some(Made::Other(stream, open)));
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &made {
            let mut failures = self.failures.borrow_mut();
            *failures = (failures.0 + 1, Some(error.clone()));
        }
        let slot = made.map(|connection| {
            self.other.set(false);
            let slot = Slot::on(&connection, None);
            self.open.borrow_mut().push(connection);
            Some(Made::Slot(slot))
        });
        drop(dialing);
        slot
    }

    fn begin<S>(&self, stream: S, local: Option<SocketAddr>, open: Option<Open>) -> Rc<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (requests, connection) = client::connect(stream, &self.settings, MAX_HEADERS);
        let queue = open.as_ref().map(Open::queue);
        let metrics = Arc::clone(&self.metrics);
        if let Some(keepalive) = self.settings.keepalive.clone() {
            let alive = keep_alive(connection.pings(), keepalive, Arc::clone(&metrics));
            spawn_local(drive(connection, metrics, open, Some(alive)));
        } else {
            let nobody = None::<std::future::Pending<()>>;
            spawn_local(drive(connection, metrics, open, nobody));
        }
        self.metrics.connections_active.inc();
        self.metrics.http2_connections.inc();
        Rc::new(Connection {
            requests,
            active: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            local,
            queue,
        })
    }

    /// Closes connections that were idle too long.
    pub(super) fn sweep(&self, limit: Option<Duration>) {
        let now = Instant::now();
        self.open.borrow_mut().retain(|connection| {
            let old = connection.active.get() == 0
                && limit.is_some_and(|limit| {
                    now.saturating_duration_since(connection.idle_since.get()) >= limit
                });
            if old {
                self.metrics.idle_timeouts.inc();
            }
            !old && connection.requests.takes_more()
        });
    }
}

/// Somebody is making a connection, until this is dropped.
struct Dialing<'a>(&'a Connections);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.dialing.set(false);
        self.0.dialed.notify_waiters();
    }
}

/// Runs a connection until it ends, or until `alive` does; so long it is counted as `open`.
async fn drive<S, A>(
    mut connection: client::Connection<S>,
    metrics: Arc<Upstream>,
    open: Option<Open>,
    alive: Option<A>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = ()>,
{
    let mut alive = alive.map(Box::pin);
    let mut behind = false;
    // Its failure is told to whoever waits for an answer.
    poll_fn(|cx| {
        if let Some(alive) = &mut alive
            && alive.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        let polled = connection.poll(cx);
        let before = std::mem::replace(&mut behind, connection.is_behind());
        if before && !behind {
            // Whoever found no room on it may have it now.
            if let Some(open) = &open {
                open.queue().freed();
            }
        }
        polled
    })
    .await;
    metrics.connections_active.dec();
    drop(open);
    connection.close().await;
}

/// Ends when a ping is not answered in time.
async fn keep_alive(mut pings: Pings, keepalive: Keepalive, metrics: Arc<Upstream>) {
    loop {
        tokio::time::sleep(keepalive.interval).await;
        let pinged = tokio::time::timeout(keepalive.timeout, pings.ping()).await;
        if pinged.is_err() {
            metrics.keepalive_timeouts.inc();
            return;
        }
    }
}

impl Slot {
    fn on(connection: &Rc<Connection>, idle_since: Option<Instant>) -> Self {
        connection.active.set(connection.active.get() + 1);
        connection.served.set(connection.served.get() + 1);
        Self {
            connection: Rc::clone(connection),
            idle_since,
            upload: None,
        }
    }

    /// Our end of the connection.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.connection.local
    }

    /// Sends the request; the head of its answer, and the body as it comes.
    pub(super) async fn exchange<B>(
        &mut self,
        request: Onward<B>,
    ) -> Result<Response<Incoming>, Failed<B>>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        let requests = &self.connection.requests;
        let upgrade = request.head.headers.get(header::UPGRADE).cloned();
        if upgrade.is_some() && !may_connect(requests).await {
            return Err(Failed {
                error: Error::Reset { refused: false },
                unsent: None,
            });
        }
        let ended = request.body.is_end_stream();
        let Onward { mut head, body } = request;
        let asked = ask(requests, &mut head, upgrade.as_ref(), ended);
        let (sender, answer) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                return Err(Failed {
                    error: error.of_upstream(),
                    unsent: Some(Onward { head, body }),
                });
            }
        };
        let why = Rc::new(RefCell::new(None));
        if !ended {
            let upload = Upload {
                sender,
                body,
                held: None,
                failed: Rc::clone(&why),
            };
            self.upload(upload);
        }
        match answer.await {
            Ok((mut head, body)) => {
                if let Some(protocol) = upgrade
                    && head.status == StatusCode::OK
                {
                    // What HTTP/1 says where an extended `CONNECT` is taken.
                    head.status = StatusCode::SWITCHING_PROTOCOLS;
                    head.headers.insert(header::UPGRADE, protocol);
                }
                let body = Incoming::stream(body, Side::Upstream);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                // What the client did to its request comes first.
                let error = why.take().unwrap_or_else(|| error.of_upstream());
                Err(Failed {
                    error,
                    unsent: None,
                })
            }
        }
    }

    /// Sends the body; as far as it is there at once, without a task.
    fn upload<B>(&mut self, mut upload: Upload<B>)
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        let mut cx = Context::from_waker(Waker::noop());
        if upload.poll(&mut cx).is_pending() {
            let task = spawn_local(poll_fn(move |cx| upload.poll(cx)));
            self.upload = Some(task.abort_handle());
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Dropped within the request, its stream is reset.
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        if connection.active.get() == 0 {
            connection.idle_since.set(Instant::now());
        }
        if let Some(queue) = &connection.queue {
            queue.freed();
        }
    }
}

/// A request's body on its way. At most one piece of it waits here for the endpoint's window.
struct Upload<B> {
    sender: h2::Sender,
    body: B,
    held: Option<Bytes>,
    failed: Rc<RefCell<Option<Error>>>,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error = Error> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // What follows an endpoint's early answer and reset is not wanted.
            if self.sender.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(data) = &mut self.held {
                let last = self.body.is_end_stream();
                match self.sender.poll_data(cx, data, last) {
                    Poll::Ready(Ok(())) if !last => self.held = None,
                    Poll::Ready(sent) => {
                        if sent.is_ok() {
                            // It is told that its end was seen.
                            let _ = Pin::new(&mut self.body).poll_frame(cx);
                        }
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match frame {
                None => {
                    // Nothing needs no window.
                    let _ = self.sender.poll_data(cx, &mut Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    *self.failed.borrow_mut() = Some(error);
                    self.sender.reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held = Some(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = self.sender.trailers(&trailers);
                            return Poll::Ready(());
                        }
                    }
                },
            }
        }
    }
}

/// Whether the endpoint takes an extended `CONNECT`, which its settings say: a connection that is new may have to wait for
/// them.
async fn may_connect(requests: &Requests) -> bool {
    for _ in 0..SETTINGS_LOOKS {
        if let Some(takes) = requests.takes_connect() {
            return takes;
        }
        tokio::time::sleep(SETTINGS_LOOK).await;
    }
    false
}

/// Sends the head as HTTP/2 has it (RFC 9113 §8.3.1): the host is the authority, and a connection's headers are none of a
/// stream's. `Err`: nothing was sent, and the head is as it was.
fn ask(
    requests: &Requests,
    head: &mut request::Parts,
    upgrade: Option<&HeaderValue>,
    ended: bool,
) -> Result<(h2::Sender, h2::Answer), h2::Error> {
    if !requests.takes_more() {
        return Err(h2::Error::Io);
    }
    let authority = head.headers.remove(header::HOST);
    hop::strip(&mut head.headers);
    let secure = head
        .headers
        .get(FORWARDED_PROTO)
        .is_some_and(|it| it == "https");
    // RFC 9113 §8.5: a plain `CONNECT` has neither scheme nor path.
    let plain = head.method == Method::CONNECT && upgrade.is_none();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let asks = client::Head {
        // RFC 8441 §4: HTTP/2's way to ask for an upgrade.
        method: upgrade.map_or(&head.method, |_| &Method::CONNECT),
        authority: authority.as_ref(),
        path: (!plain).then_some(path),
        secure,
        protocol: upgrade,
        headers: &head.headers,
    };
    requests.ask(&asks, ended)
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("open", &self.open.borrow().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("active", &self.connection.active.get())
            .finish_non_exhaustive()
    }
}
