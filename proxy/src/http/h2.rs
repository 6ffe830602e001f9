//! Serves HTTP/2 on a client's connection until it ends: a task a request, one alarm for all of them.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{client::Client, reply};
use crate::{
    net::{
        h2::{self, Reason, Violation, server},
        io::{Spoken, Traffic},
        timer::Alarm,
    },
    observe::Flags,
    policy::protocol::Http2,
    snapshot::Manager,
};

mod heads;
mod preface;
mod stream;
mod workers;

use heads::Heads;
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

/// Requests that a connection begins before others have their turn.
const AT_ONCE: usize = 128;

/// A good-bye is to be answered within this. Envoy's `drain_timeout`.
const GOOD_BYE: Duration = Duration::from_secs(5);

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
    /// By when a good-bye is to be answered.
    leaves_by: Cell<Option<Instant>>,
    /// Bytes that the client had not taken then.
    unsent: Cell<usize>,
    max_streams: usize,
    headers_within: Option<Duration>,
    /// It takes no more requests than so many, and none from then on.
    max_requests: u64,
    last: Option<Instant>,
    /// Since when a header section is on its way.
    head_since: Cell<Option<Instant>>,
    /// Requests so far, and those that were reset within [`EARLY`].
    begun: Cell<u64>,
    reset_early: Cell<u64>,
    /// A fault ends it.
    cut: Cell<bool>,
    heads: Heads,
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
    max_fields: usize,
    heads: Heads,
    idle: Option<Duration>,
    headers_within: Option<Duration>,
    max_requests: u64,
    max_age: Option<Duration>,
}

impl Settings {
    /// As the manager says.
    pub fn of(manager: &Manager) -> Self {
        Self {
            http2: manager.http2.clone(),
            max_headers: manager.max_request_headers,
            max_fields: manager.http1.max_headers as usize,
            heads: Heads {
                underscores: manager.http1.underscores,
            },
            idle: manager.idle_timeout,
            headers_within: manager.request_headers_timeout,
            max_requests: manager.http1.max_requests.unwrap_or(u64::MAX),
            max_age: manager.http1.max_age,
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
        leaves_by: Cell::new(None),
        unsent: Cell::new(0),
        max_streams: settings.http2.max_streams as usize,
        headers_within: settings.headers_within,
        max_requests: settings.max_requests,
        last: settings.max_age.map(|age| Instant::now() + age),
        head_since: Cell::new(None),
        begun: Cell::new(0),
        reset_early: Cell::new(0),
        cut: Cell::new(false),
        heads: settings.heads,
    });
    let (max_headers, max_fields) = (settings.max_headers, settings.max_fields);
    let mut http2 = server::Connection::new(stream, &settings.http2, max_headers, max_fields);
    let ended = connection.drive(&mut http2).await;
    connection.count(&http2);
    if ended == Ended::Left {
        client.metrics.protocol_errors.inc();
    }
    http2.close(ended == Ended::Left, LINGER).await;
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As it should, or by its client.
    Over,
    /// It was left for what its client sent.
    Left,
}

impl Connection {
    /// Serves it until it ends.
    async fn drive<S>(self: &Rc<Self>, http2: &mut server::Connection<S>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut alarm = self.client.core.timer.alarm();
        poll_fn(|cx| {
            self.client.remember(cx.waker());
            let idle = alarm.is_off() && self.ring();
            if idle || self.is_last() || self.client.is_leaving() || self.leaves_by.get().is_some()
            {
                if !http2.has_begun() {
                    return Poll::Ready(Ended::Over);
                }
                self.leave(http2, idle);
            }
            let mut ended = self.accept(http2, cx);
            if self.leaves_by.get().is_none() && self.is_last() {
                self.leave(http2, false);
            }
            self.count(http2);
            if ended.is_pending()
                && let Some(reason) = self.judge(http2)
            {
                http2.abort(reason);
                ended = self.accept(http2, cx);
            }
            http2.poll_drain(cx);
            if ended.is_pending() {
                self.set(&mut alarm, cx);
            }
            ended
        })
        .await
    }

    /// It takes no more requests than those that have begun.
    fn is_last(&self) -> bool {
        self.begun.get() >= self.max_requests
            || self.last.is_some_and(|last| Instant::now() >= last)
    }

    /// Says good-bye; once it is not answered in time, that is the end.
    fn leave<S>(&self, http2: &server::Connection<S>, idle: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = Instant::now();
        match self.leaves_by.get() {
            None => {
                if idle {
                    self.client.metrics.idle_timeouts.inc();
                }
                self.leaves_by.set(Some(now + GOOD_BYE));
                http2.leave();
            }
            Some(by) if by <= now => {
                let unsent = http2.unsent();
                let before = self.unsent.replace(unsent);
                if http2.streams() == 0 && (unsent == 0 || unsent == before) {
                    http2.abort(Reason::NO_ERROR);
                } else {
                    self.leaves_by.set(Some(now + GOOD_BYE));
                }
            }
            Some(_) => {}
        }
    }

    /// Begins the requests that have come.
    fn accept<S>(
        self: &Rc<Self>,
        http2: &mut server::Connection<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for _ in 0..AT_ONCE {
            match http2.poll_accept(cx) {
                Poll::Ready(Some(Ok(request))) => self.begin(request),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.left(error)),
                Poll::Ready(None) => return Poll::Ready(Ended::Over),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Those that have begun, and other connections, have their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What the connection's end is.
    fn left(&self, error: h2::Error) -> Ended {
        let metrics = &self.client.metrics;
        match error {
            h2::Error::Flood(Violation::Control) => metrics.control_floods.inc(),
            h2::Error::Flood(Violation::Empty) => metrics.empty_floods.inc(),
            h2::Error::Flood(Violation::Priority) => metrics.priority_floods.inc(),
            h2::Error::Flood(Violation::WindowUpdate) => metrics.window_floods.inc(),
            // Its good-bye was not answered.
            h2::Error::GoAway(Reason::NO_ERROR, _) if !self.cut.get() => return Ended::Over,
            _ => {}
        }
        Ended::Left
    }

    fn begin(self: &Rc<Self>, mut request: server::Request) {
        self.begun.set(self.begun.get() + 1);
        // A stream that was reset is none any more, but its request may still be under way.
        if self.streams.borrow().count >= self.max_streams {
            self.client.metrics.refused.inc();
            request.answer.reset(Reason::REFUSED_STREAM);
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
            begun: now,
        });
    }

    /// Why the connection is to end at once, if it is.
    fn judge<S>(&self, http2: &server::Connection<S>) -> Option<Reason>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.cut.get() {
            return Some(Reason::NO_ERROR);
        }
        let metrics = &self.client.metrics;
        if !http2.in_head() {
            self.head_since.set(None);
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
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

    /// Adds what happened since the last time to the listener's counts.
    fn count<S>(&self, http2: &server::Connection<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let counts = http2.take_counts();
        if counts == h2::Counts::default() {
            return;
        }
        let metrics = &self.client.metrics;
        metrics.resets_received.add(counts.resets_received);
        metrics.resets_sent.add(counts.resets_sent);
        metrics.refused.add(counts.refused);
        metrics.messaging_errors.add(counts.malformed);
        metrics.header_overflows.add(counts.too_large);
        for (count, flags, details) in [
            (counts.heads_too_many, Flags::DR, "http2.too_many_headers"),
            (
                counts.heads_too_large,
                Flags::DR,
                "http2.header_list_size_too_large",
            ),
            (
                counts.heads_malformed,
                Flags::DPE,
                "http2.violation.of.messaging.rule",
            ),
        ] {
            for _ in 0..count {
                reply::unheard(&self.client, flags, details);
            }
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
            let bounded = self.idle.is_some() || self.leaves_by.get().is_some();
            if bounded && self.rings.get().is_none() {
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
            let idle = self.idle.map(|idle| self.idle_since.get() + idle);
            self.leaves_by.get().or(idle)
        } else {
            let places = streams.places.iter().flatten();
            places.filter_map(|client| client.next_deadline()).min()
        };
        let last = self.last.filter(|_| self.leaves_by.get().is_none());
        let next = [next, self.head_ends(), last].into_iter().flatten().min();
        // A later deadline waits for the alarm to ring: setting it for each request would cost more than the ringing.
        if let Some(next) = next
            && self.rings.get().is_none_or(|rings| next < rings)
        {
            self.rings.set(Some(next));
            alarm.set(next, cx.waker());
        }
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
