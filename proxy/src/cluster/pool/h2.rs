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
use h2::{
    Reason, SendStream,
    client::{self, SendRequest},
    ext::Protocol,
};
use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, Version, header, request,
    uri::{Authority, PathAndQuery, Scheme},
};
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
        coalesce::{Outlet, coalesce},
        hop,
    },
    policy::protocol::{Http2, Keepalive},
};

/// Streams that an endpoint is taken to have room for until it has said.
const STREAMS_AT_FIRST: usize = 100;

/// How often, and after how long, an endpoint's settings are looked at for `ENABLE_CONNECT_PROTOCOL`.
const SETTINGS_LOOKS: u32 = 100;
const SETTINGS_LOOK: Duration = Duration::from_millis(5);

/// Longest header section of an answer. Envoy: 60 KiB.
const MAX_HEADERS: u32 = 60 << 10;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    sender: RefCell<SendRequest<Bytes>>,
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
    /// Other requests are under way on it.
    pub(super) shared: bool,
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
            if !connection.takes_more() {
                // What is under way on it goes on.
                open.remove(at);
                continue;
            }
            let said = connection.sender.borrow().current_max_send_streams();
            self.streams.set(said);
            let room = said.min(self.settings.max_streams as usize);
            if connection.active.get() < room {
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
                self.begin(stream, local, open).await
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

    async fn begin<S>(
        &self,
        stream: S,
        local: Option<SocketAddr>,
        open: Option<Open>,
    ) -> Result<Rc<Connection>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (io, outlet) = coalesce(stream, None);
        let (sender, mut connection) = client::Builder::new()
            .header_table_size(self.settings.hpack_table)
            .initial_window_size(self.settings.stream_window)
            .initial_connection_window_size(self.settings.connection_window)
            .initial_max_send_streams(self.streams.get())
            .max_header_list_size(MAX_HEADERS)
            .enable_push(false)
            .handshake(io)
            .await
            .map_err(|error| Error::of_stream(&error))?;
        let queue = open.as_ref().map(Open::queue);
        let metrics = Arc::clone(&self.metrics);
        if let (Some(keepalive), Some(pings)) =
            (self.settings.keepalive.clone(), connection.ping_pong())
        {
            let alive = keep_alive(pings, keepalive, Arc::clone(&metrics));
            spawn_local(drive(connection, outlet, metrics, open, Some(alive)));
        } else {
            let nobody = None::<std::future::Pending<()>>;
            spawn_local(drive(connection, outlet, metrics, open, nobody));
        }
        self.metrics.connections_active.inc();
        self.metrics.http2_connections.inc();
        Ok(Rc::new(Connection {
            sender: RefCell::new(sender),
            active: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            local,
            queue,
        }))
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
            !old && connection.takes_more()
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
    mut connection: client::Connection<crate::net::coalesce::Coalesce<S>, Bytes>,
    outlet: Outlet<S>,
    metrics: Arc<Upstream>,
    open: Option<Open>,
    alive: Option<A>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = ()>,
{
    let mut alive = alive.map(Box::pin);
    // Its failure is told to whoever waits for an answer.
    poll_fn(|cx| {
        if let Some(alive) = &mut alive
            && alive.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        let polled = Pin::new(&mut connection).poll(cx);
        // A broken socket is told to the connection by its next read.
        let _ = outlet.drain(cx);
        polled.map(drop)
    })
    .await;
    metrics.connections_active.dec();
    drop(open);
}

/// Ends when a ping is not answered in time.
async fn keep_alive(mut pings: h2::PingPong, keepalive: Keepalive, metrics: Arc<Upstream>) {
    loop {
        tokio::time::sleep(keepalive.interval).await;
        match tokio::time::timeout(keepalive.timeout, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection has ended, which its own future tells.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => {
                metrics.keepalive_timeouts.inc();
                return;
            }
        }
    }
}

impl Connection {
    /// The endpoint has neither said good-bye nor gone.
    fn takes_more(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.sender.borrow_mut().poll_ready(&mut cx);
        !matches!(ready, Poll::Ready(Err(_)))
    }
}

impl Slot {
    fn on(connection: &Rc<Connection>, idle_since: Option<Instant>) -> Self {
        let shared = connection.active.get() > 0;
        connection.active.set(connection.active.get() + 1);
        connection.served.set(connection.served.get() + 1);
        Self {
            connection: Rc::clone(connection),
            idle_since,
            shared,
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
        request: Request<B>,
    ) -> Result<Response<Incoming>, Failed<B>>
    where
        B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
    {
        let sender = &self.connection.sender;
        if let Err(error) = poll_fn(|cx| sender.borrow_mut().poll_ready(cx)).await {
            return Err(Failed {
                error: Error::of_stream(&error),
                unsent: Some(request),
            });
        }
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        if upgrade.is_some() && !may_connect(sender).await {
            return Err(Failed {
                error: Error::Reset { refused: false },
                unsent: None,
            });
        }
        let (head, body) = request.into_parts();
        let ended = body.is_end_stream();
        let failed = |error: &h2::Error| Failed {
            error: Error::of_stream(error),
            unsent: None,
        };
        let (answer, send) = sender
            .borrow_mut()
            .send_request(Request::from_parts(framed(head), ()), ended)
            .map_err(|error| failed(&error))?;
        let why = Rc::new(RefCell::new(None));
        if !ended {
            let upload = Upload {
                send,
                body,
                held: None,
                failed: Rc::clone(&why),
            };
            self.upload(upload);
        }
        match answer.await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                if let Some(protocol) = upgrade
                    && head.status == StatusCode::OK
                {
                    // What HTTP/1 says where an extended `CONNECT` is taken.
                    head.status = StatusCode::SWITCHING_PROTOCOLS;
                    head.headers.insert(header::UPGRADE, protocol);
                }
                let length = length(&head.headers);
                let body = Incoming::stream(body, length, Side::Upstream);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                // What the client did to its request comes first.
                let error = why.take().unwrap_or_else(|| Error::of_stream(&error));
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
    send: SendStream<Bytes>,
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
            if self.send.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(data) = self.held.take() {
                if self.window(cx).is_pending() {
                    self.held = Some(data);
                    return Poll::Pending;
                }
                let last = self.body.is_end_stream();
                if self.send.send_data(data, last).is_err() || last {
                    return Poll::Ready(());
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match frame {
                None => {
                    let _ = self.send.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    *self.failed.borrow_mut() = Some(error);
                    self.send.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held = Some(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = self.send.send_trailers(trailers);
                            return Poll::Ready(());
                        }
                    }
                },
            }
        }
    }

    /// There is room in the endpoint's window, or will never be.
    fn window(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.send.capacity() == 0 {
            self.send.reserve_capacity(1);
            if self.send.capacity() > 0 {
                break;
            }
            match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

/// Whether the endpoint takes an extended `CONNECT`, which its settings say: a connection that is new may have to wait for
/// them.
async fn may_connect(sender: &RefCell<SendRequest<Bytes>>) -> bool {
    for _ in 0..SETTINGS_LOOKS {
        if sender.borrow().is_extended_connect_protocol_enabled() {
            return true;
        }
        tokio::time::sleep(SETTINGS_LOOK).await;
    }
    false
}

/// What `content-length` says.
fn length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The head as HTTP/2 has it (RFC 9113 §8.3.1): the host is the authority, and a connection's headers are none of a
/// stream's.
fn framed(mut head: request::Parts) -> request::Parts {
    let host = head.headers.remove(header::HOST);
    if let Some(protocol) = head.headers.get(header::UPGRADE)
        && let Ok(protocol) = protocol.to_str()
    {
        // RFC 8441 §4: HTTP/2's way to ask for it.
        head.extensions.insert(Protocol::from(protocol));
        head.method = Method::CONNECT;
    }
    hop::strip(&mut head.headers);
    hop::keep_from_table(&mut head.headers, &[REQUEST_ID, TRACEPARENT]);
    let secure = head
        .headers
        .get(FORWARDED_PROTO)
        .is_some_and(|it| it == "https");
    let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = host.and_then(|host| Authority::from_maybe_shared(host).ok());
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    let connects = head.method == Method::CONNECT && head.extensions.get::<Protocol>().is_none();
    if let (Some(authority), true) = (&authority, connects) {
        // RFC 9113 §8.5: a plain `CONNECT` has neither scheme nor path.
        parts.authority = Some(authority.clone());
        head.version = Version::HTTP_2;
    } else if let Some(authority) = authority {
        parts.authority = Some(authority);
        parts.scheme = Some(scheme);
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        head.version = Version::HTTP_2;
    } else {
        // Without an authority there is none to send; `h2` then makes up the scheme by itself.
        head.version = Version::HTTP_11;
    }
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    head
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
