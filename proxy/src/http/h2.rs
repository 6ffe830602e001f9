//! Serves HTTP/2 on a client's connection until it ends: a task a request, one alarm for all of them.
//!
//! What the tasks write is collected and goes out when the connection has been polled ([`crate::net::coalesce`]).

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server};
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::client::Client;
use crate::{
    net::{
        coalesce::{Coalesce, Outlet, coalesce},
        frames::{Violation, Watch},
        io::{Spoken, Traffic},
        timer::Alarm,
    },
    policy::protocol::Http2,
    snapshot::Manager,
};

mod preface;
mod stream;
mod workers;

pub(super) use preface::{Preface, preface};
use workers::Job;
pub use workers::Workers;

/// After an error the peer is read from for so long, so that it gets to see the last frame: what is unread when a socket
/// closes resets it.
const LINGER: Duration = Duration::from_secs(1);

/// A request that is reset before this may have been begun to be reset.
const EARLY: Duration = Duration::from_secs(1);

/// From so many requests on, a connection that resets most of them early is left. Both are Envoy's.
const MANY: u64 = 500;

/// `h2` answers 431 by itself, and tells nobody, where a header section is so many times larger than it may be. What is
/// less too large is reset, as by Envoy.
const HEADROOM: usize = 2;

/// Frames of this length are taken: HTTP/2's least, as Envoy.
const MAX_FRAME: u32 = 16 << 10;

/// A connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Connection {
    client: Rc<Client>,
    /// What streams count their bytes in, since the connection counts them.
    uncounted: Arc<Traffic>,
    streams: RefCell<Streams>,
    /// When the alarm rings at the latest.
    rings: Cell<Option<Instant>>,
    idle: Option<Duration>,
    idle_since: Cell<Instant>,
    max_headers: usize,
    headers_within: Option<Duration>,
    /// Since when a header section is on its way.
    head_since: Cell<Option<Instant>>,
    /// Requests so far, those that were refused before, and those that were reset within [`EARLY`].
    begun: Cell<u64>,
    refused: Cell<u64>,
    reset_early: Cell<u64>,
    /// A fault ends it.
    cut: Cell<bool>,
}

/// Requests under way, by place.
#[derive(Debug, Default)]
struct Streams {
    places: Vec<Option<Rc<Client>>>,
    free: Vec<usize>,
    count: usize,
}

/// How connections are served, as their listener says.
#[derive(Debug, Clone)]
pub struct Settings {
    http2: Http2,
    max_headers: usize,
    idle: Option<Duration>,
    headers_within: Option<Duration>,
}

impl Settings {
    /// As the manager says.
    pub fn of(manager: &Manager) -> Self {
        Self {
            http2: manager.http2.clone(),
            max_headers: manager.max_request_headers,
            idle: manager.idle_timeout,
            headers_within: manager.request_headers_timeout,
        }
    }
}

/// Serves a connection that has begun, or will, with HTTP/2's preface.
pub async fn serve<S>(client: &Rc<Client>, stream: S, settings: Settings)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    client.metrics.http2_connections.inc();
    client.speaks(Spoken::Http2);
    let connection = Rc::new(Connection {
        client: Rc::clone(client),
        uncounted: Arc::default(),
        streams: RefCell::default(),
        rings: Cell::new(None),
        idle: settings.idle,
        idle_since: Cell::new(Instant::now()),
        max_headers: settings.max_headers,
        headers_within: settings.headers_within,
        head_since: Cell::new(None),
        begun: Cell::new(0),
        refused: Cell::new(0),
        reset_early: Cell::new(0),
        cut: Cell::new(false),
    });
    let builder = builder(&settings.http2, settings.max_headers);
    let (io, outlet) = coalesce(stream, Some(Watch::new(settings.http2.clone())));
    let left = connection.drive(&builder, io, &outlet).await;
    connection.count_resets(&outlet);
    if left.unwrap_or(true) {
        client.metrics.protocol_errors.inc();
        outlet.linger(LINGER).await;
    }
}

/// How much a request's header section is (RFC 9113 §6.5.2, without the overhead of each field).
fn size(request: &Request<RecvStream>) -> usize {
    let headers = request.headers().iter();
    let path = request.uri().path_and_query();
    headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum::<usize>()
        + path.map_or(0, |path| path.as_str().len())
}

fn builder(settings: &Http2, max_headers: usize) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .header_table_size(settings.hpack_table)
        .max_concurrent_streams(settings.max_streams)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(u32::try_from(max_headers * HEADROOM).unwrap_or(u32::MAX));
    if settings.allow_connect {
        builder.enable_connect_protocol();
    }
    builder
}

impl Connection {
    /// Serves it until it ends. Whether it was left for what it sent.
    async fn drive<S>(
        self: &Rc<Self>,
        builder: &server::Builder,
        io: Coalesce<S>,
        outlet: &Outlet<S>,
    ) -> Result<bool, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut alarm = self.client.core.timer.alarm();
        let handshake = builder.handshake::<_, Bytes>(io);
        let Some(shaken) = self.unless_idle(&mut alarm, outlet, handshake).await else {
            return Ok(false);
        };
        let mut connection = shaken?;
        let (mut closing, mut judged) = (false, false);
        poll_fn(|cx| {
            self.client.remember(cx.waker());
            if alarm.is_off() && self.ring() && !closing {
                closing = true;
                self.client.metrics.idle_timeouts.inc();
                connection.graceful_shutdown();
            }
            if self.client.is_leaving() && !closing {
                closing = true;
                connection.graceful_shutdown();
            }
            let mut ended = self.accept(&mut connection, cx);
            if ended.is_pending()
                && !judged
                && let Some(reason) = self.judge(outlet)
            {
                judged = true;
                connection.abrupt_shutdown(reason);
                ended = self.accept(&mut connection, cx);
            }
            // A broken socket is told to the connection by its next read.
            let _ = outlet.drain(cx);
            if ended.is_pending() {
                self.set(&mut alarm, cx);
            }
            match ended {
                // Left by us, which `h2` takes for no error.
                Poll::Ready(Ok(())) if judged => Poll::Ready(Ok(true)),
                ended => ended.map_ok(|()| false),
            }
        })
        .await
    }

    /// Begins the requests that have come.
    fn accept<S>(
        self: &Rc<Self>,
        connection: &mut server::Connection<S, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) if error.is_io() => return Poll::Ready(Ok(())),
                // The client's own word is no error of its protocol.
                Poll::Ready(Some(Err(error))) if error.is_remote() => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn begin(
        self: &Rc<Self>,
        request: Request<RecvStream>,
        mut respond: server::SendResponse<Bytes>,
    ) {
        self.begun.set(self.begun.get() + 1);
        if size(&request) > self.max_headers {
            self.client.metrics.header_overflows.inc();
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        let now = Instant::now();
        let client = Rc::new(Client::of_stream(&self.client, &self.uncounted, now));
        let place = self.streams.borrow_mut().enter(Rc::clone(&client));
        self.client.core.workers.give(Job {
            connection: Rc::clone(self),
            place,
            client,
            request,
            respond,
            begun: now,
        });
    }

    /// Why the connection is to end at once, if it is.
    fn judge<S: AsyncWrite + Unpin>(&self, outlet: &Outlet<S>) -> Option<Reason> {
        self.count_resets(outlet);
        if self.cut.get() {
            return Some(Reason::NO_ERROR);
        }
        let metrics = &self.client.metrics;
        let (violation, in_head) = outlet.watch(|watch| (watch.violation(), watch.in_head()))?;
        if !in_head {
            self.head_since.set(None);
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
        if let Some(violation) = violation {
            match violation {
                Violation::Control => metrics.control_floods.inc(),
                Violation::Empty => metrics.empty_floods.inc(),
                Violation::Priority => metrics.priority_floods.inc(),
                Violation::WindowUpdate => metrics.window_floods.inc(),
                Violation::Size => return Some(Reason::FRAME_SIZE_ERROR),
                Violation::Message => {
                    metrics.messaging_errors.inc();
                    return Some(Reason::PROTOCOL_ERROR);
                }
            }
            return Some(Reason::ENHANCE_YOUR_CALM);
        }
        let begun = self.begun.get();
        if begun > MANY && self.reset_early.get() * 2 > begun {
            metrics.premature_resets.inc();
            return Some(Reason::ENHANCE_YOUR_CALM);
        }
        let late = self.head_ends().is_some_and(|by| by <= Instant::now());
        late.then(|| {
            metrics.request_timeouts.inc();
            Reason::ENHANCE_YOUR_CALM
        })
    }

    /// By when the header section that is on its way must have come.
    fn head_ends(&self) -> Option<Instant> {
        Some(self.head_since.get()? + self.headers_within?)
    }

    fn count_resets<S: AsyncWrite + Unpin>(&self, outlet: &Outlet<S>) {
        if let Some([received, sent]) = outlet.watch(Watch::take_resets) {
            self.client.metrics.resets_received.add(received);
            self.client.metrics.resets_sent.add(sent);
        }
        // Those whose head was refused never began.
        if let Some(streams) = outlet.watch(|watch| watch.streams()) {
            let refused = streams.saturating_sub(self.begun.get());
            let before = self.refused.replace(refused);
            self.client
                .metrics
                .refused
                .add(refused.saturating_sub(before));
        }
    }

    /// The client has reset a request that began then.
    pub(super) fn reset(&self, begun: Instant) {
        if begun.elapsed() < EARLY {
            self.reset_early.set(self.reset_early.get() + 1);
        }
    }

    fn end(&self, place: usize) {
        let mut streams = self.streams.borrow_mut();
        streams.leave(place);
        self.client.count_bytes();
        if streams.count == 0 {
            self.idle_since.set(Instant::now());
            // The alarm may have to ring for the connection now.
            if self.idle.is_some() && self.rings.get().is_none() {
                self.client.wake();
            }
        }
    }

    /// It is left at once, with all its requests.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.client.wake();
    }

    /// A request must have moved on by then.
    pub(super) fn watch(&self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return;
        };
        if self.rings.get().is_none_or(|rings| deadline < rings) {
            self.client.wake();
        }
    }

    /// Looks at all deadlines. Whether the connection has been idle for too long.
    fn ring(&self) -> bool {
        self.rings.set(None);
        let now = Instant::now();
        let streams = self.streams.borrow();
        for client in streams.places.iter().flatten() {
            client.check(now);
            if client.overdue().is_some() {
                client.wake();
            }
        }
        streams.count == 0
            && self
                .idle
                .is_some_and(|idle| self.idle_since.get() + idle <= now)
    }

    fn set(&self, alarm: &mut Alarm, cx: &mut Context<'_>) {
        let streams = self.streams.borrow();
        let next = if streams.count == 0 {
            self.idle.map(|idle| self.idle_since.get() + idle)
        } else {
            let places = streams.places.iter().flatten();
            places.filter_map(|client| client.next_deadline()).min()
        };
        let next = [next, self.head_ends()].into_iter().flatten().min();
        // A later deadline waits for the alarm to ring: setting it for each request would cost more than the ringing.
        if let Some(next) = next
            && self.rings.get().is_none_or(|rings| next < rings)
        {
            self.rings.set(Some(next));
            alarm.set(next, cx.waker());
        }
    }

    /// The future's result, unless the connection is idle for too long first.
    async fn unless_idle<S, F>(
        &self,
        alarm: &mut Alarm,
        outlet: &Outlet<S>,
        future: F,
    ) -> Option<F::Output>
    where
        S: AsyncWrite + Unpin,
        F: Future,
    {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.client.remember(cx.waker());
            if (alarm.is_off() && self.ring()) || self.client.is_closing() {
                return Poll::Ready(None);
            }
            let polled = future.as_mut().poll(cx).map(Some);
            let _ = outlet.drain(cx);
            if polled.is_pending() {
                self.set(alarm, cx);
            }
            polled
        })
        .await
    }
}

impl Streams {
    fn enter(&mut self, client: Rc<Client>) -> usize {
        self.count += 1;
        if let Some(place) = self.free.pop()
            && let Some(free) = self.places.get_mut(place)
        {
            *free = Some(client);
            return place;
        }
        self.places.push(Some(client));
        self.places.len() - 1
    }

    fn leave(&mut self, place: usize) {
        if let Some(taken) = self.places.get_mut(place)
            && taken.take().is_some()
        {
            self.count -= 1;
            self.free.push(place);
        }
    }
}
