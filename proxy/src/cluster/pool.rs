//! The connections of one event loop to one endpoint. The one that came back last goes out first, so that those beyond
//! what the load needs grow old and are closed.

use std::{
    cell::RefCell, collections::HashMap, fmt, marker::PhantomData, net::SocketAddr, rc::Rc,
    sync::Arc, time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::Body;
use tokio::time::Instant;

use super::host::{Line, Open, Site, Turn, Waiting};
use crate::{
    error::Error,
    metrics::Upstream,
    net::{
        body::Incoming,
        dial,
        h1::{client::Conn, head::Limits},
        io::Stream,
        onward::Onward,
        tls::{self, Alpn},
    },
    policy::{breaker::Priority, http1::Http1, outlier::Outcome, protocol},
};

mod h2;

use h2::{Full, Made};

/// Connections that may be idle no longer than this are looked at whenever one is wanted, not only at each sweep.
const SHORT: Duration = Duration::from_secs(4);

pub use crate::net::h1::client::Failed;

/// The connections to one endpoint. `B` is the body of the requests sent to it.
pub struct Pool<B> {
    address: SocketAddr,
    by: dial::Way,
    idle_timeout: Option<Duration>,
    idle: RefCell<Vec<Idle>>,
    /// Where HTTP/2 is spoken: in place of `idle`.
    http2: Option<h2::Connections>,
    /// It is for the endpoint to choose between HTTP/2 and HTTP/1.
    alpn: bool,
    http1: Http1,
    /// Where the client's version is spoken: the pool for clients of HTTP/2.
    twin: Option<Rc<Self>>,
    tls: Option<Arc<tls::Client>>,
    /// Whose connections they are: there the limits are kept.
    site: RefCell<Option<Rc<Site>>>,
    /// Where requests wait for one of them.
    line: Rc<Line>,
    /// The name that is asked for in place of that of `tls`.
    sni: Option<Box<str>>,
    /// Connections on which other names are asked for.
    named: RefCell<HashMap<Box<str>, Rc<Self>>>,
    /// Its connections carry bytes, not HTTP.
    raw: bool,
    /// The pool of such connections to the same endpoint.
    tunnels: RefCell<Option<Rc<Self>>>,
    /// The pool of connections for requests of high priority.
    urgent: RefCell<Option<Rc<Self>>>,
    /// Whose limits its requests and connections are held to.
    priority: Priority,
    metrics: Arc<Upstream>,
    body: PhantomData<fn(B)>,
}

struct Idle {
    held: Held,
    since: Instant,
}

/// A connection, counted as long as it is not dropped.
struct Held {
    conn: Rc<Conn>,
    _open: Option<Open>,
    /// When it was made, where its age counts.
    born: Option<Instant>,
    /// Our end of it.
    local: Option<SocketAddr>,
    metrics: Arc<Upstream>,
}

/// A connection, lent to one request.
pub struct Lease<B> {
    way: Way,
    pool: Rc<Pool<B>>,
    idle_since: Option<Instant>,
    /// The request that is under way.
    _turn: Option<Turn>,
}

/// What carries a request.
enum Way {
    Connection(Held),
    Stream(h2::Slot),
}

impl<B> Pool<B> {
    /// No connection yet.
    pub fn new(
        address: SocketAddr,
        by: impl Into<dial::Way>,
        idle_timeout: Option<Duration>,
        metrics: Arc<Upstream>,
    ) -> Self {
        Self {
            address,
            by: by.into(),
            idle_timeout,
            idle: RefCell::default(),
            http2: None,
            alpn: false,
            http1: Http1::default(),
            twin: None,
            tls: None,
            site: RefCell::default(),
            line: Rc::default(),
            sni: None,
            named: RefCell::default(),
            raw: false,
            tunnels: RefCell::default(),
            urgent: RefCell::default(),
            priority: Priority::Default,
            metrics,
            body: PhantomData,
        }
    }

    /// The same, with TLS begun on its connections if there is a context for it.
    #[must_use]
    pub fn over_tls(self, tls: Option<Arc<tls::Client>>) -> Self {
        Self { tls, ..self }
    }

    /// The endpoint is asked for by this name in TLS, whatever the context says.
    #[must_use]
    pub fn named(self, name: Option<&str>) -> Self {
        Self {
            sni: name.map(Box::from),
            ..self
        }
    }

    /// From now on they are the connections of this endpoint.
    pub(super) fn stand_at(&self, site: &Rc<Site>) {
        self.site.replace(Some(Rc::clone(site)));
        if let Some(twin) = &self.twin {
            twin.stand_at(site);
        }
        for other in [&self.tunnels, &self.urgent] {
            if let Some(other) = &*other.borrow() {
                other.stand_at(site);
            }
        }
        for pool in self.named.borrow().values() {
            pool.stand_at(site);
        }
    }

    /// Tells what became of a try at the endpoint, which took so long.
    pub fn report(&self, outcome: Outcome, took: Duration) {
        if let Some(site) = &*self.site.borrow() {
            site.report(outcome, took);
        }
    }

    /// The endpoint says that it is not well.
    pub fn fail_check(&self) {
        if let Some(site) = &*self.site.borrow() {
            site.fail_check();
        }
    }

    /// How it speaks HTTP/1.
    #[must_use]
    pub fn with_http1(mut self, http1: Http1) -> Self {
        self.http1 = http1;
        self
    }

    /// It speaks HTTP/2; a connection carries so many requests in all.
    #[must_use]
    pub fn with_http2(mut self, settings: protocol::Http2, max_requests: Option<u64>) -> Self {
        let metrics = Arc::clone(&self.metrics);
        self.http2 = Some(h2::Connections::new(settings, max_requests, metrics));
        self
    }

    /// The endpoint chooses whether HTTP/2 is spoken, in TLS's handshake.
    #[must_use]
    pub fn by_alpn(self) -> Self {
        Self { alpn: true, ..self }
    }

    /// Requests of clients of HTTP/2 go by this one.
    #[must_use]
    pub fn with_twin(mut self, twin: Self) -> Self {
        self.twin = Some(Rc::new(twin));
        self
    }

    /// The pool for a client that speaks this version.
    pub fn for_client(self: &Rc<Self>, version: Version) -> &Rc<Self> {
        match &self.twin {
            Some(twin) if version == Version::HTTP_2 => twin,
            _ => self,
        }
    }

    /// The pool of connections on which this name was asked for.
    pub fn for_name(self: &Rc<Self>, name: &str) -> Rc<Self> {
        if self.tls.is_none() {
            return Rc::clone(self);
        }
        let mut named = self.named.borrow_mut();
        if let Some(pool) = named.get(name) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Self {
            sni: Some(name.into()),
            ..self.sibling()
        });
        named.insert(name.into(), Rc::clone(&pool));
        pool
    }

    /// The pool of connections that carry bytes, not HTTP.
    pub fn for_tunnel(self: &Rc<Self>) -> Rc<Self> {
        let mut tunnels = self.tunnels.borrow_mut();
        let pool = tunnels.get_or_insert_with(|| {
            Rc::new(Self {
                raw: true,
                http2: None,
                alpn: false,
                ..self.sibling()
            })
        });
        Rc::clone(pool)
    }

    /// The pool of connections for requests of high priority, which are held to limits of their own.
    pub fn for_urgent(self: &Rc<Self>) -> Rc<Self> {
        let mut urgent = self.urgent.borrow_mut();
        let pool = urgent.get_or_insert_with(|| {
            let twin = self.twin.as_ref().map(|twin| Rc::new(twin.hurried()));
            Rc::new(Self {
                twin,
                ..self.hurried()
            })
        });
        Rc::clone(pool)
    }

    /// The same, without a connection, for requests of high priority.
    fn hurried(&self) -> Self {
        Self {
            priority: Priority::High,
            ..self.sibling()
        }
    }

    /// The same, without a connection and without pools of its own.
    fn sibling(&self) -> Self {
        let metrics = Arc::clone(&self.metrics);
        Self {
            http2: self.http2.as_ref().map(h2::Connections::sibling),
            alpn: self.alpn,
            raw: self.raw,
            tls: self.tls.clone(),
            sni: self.sni.clone(),
            http1: self.http1.clone(),
            site: RefCell::new(self.site.borrow().clone()),
            priority: self.priority,
            ..Self::new(self.address, self.by, self.idle_timeout, metrics)
        }
    }

    fn is_unused(self: &Rc<Self>) -> bool {
        let streams = self.http2.as_ref().is_some_and(|http2| !http2.is_empty());
        Rc::strong_count(self) == 1 && self.idle.borrow().is_empty() && !streams
    }

    /// The endpoint's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An idle connection, if there is one that is still open, nobody waits for it, and the limits allow a request on it.
    pub fn idle(self: &Rc<Self>) -> Option<Lease<B>> {
        let site = self.site.borrow().clone();
        if self.line.is_waited_for() {
            return None;
        }
        self.free(site.as_ref()).ok()?
    }

    /// An idle connection, whoever waits for one; the error: there is one, and the limits allow no request on it.
    fn free(self: &Rc<Self>, site: Option<&Rc<Site>>) -> Result<Option<Lease<B>>, Error> {
        let Some((way, idle_since)) = self.take() else {
            return Ok(None);
        };
        self.lease(way, idle_since, site).map(Some)
    }

    fn take(&self) -> Option<(Way, Option<Instant>)> {
        if let Some(limit) = self.idle_timeout.filter(|limit| *limit < SHORT) {
            // The first is the one that is idle for longest.
            let oldest = self.idle.borrow().first().map(|idle| idle.since);
            if self.http2.is_some() || oldest.is_some_and(|since| since.elapsed() >= limit) {
                self.sweep_own();
            }
        }
        if let Some(http2) = &self.http2 {
            if let Some(slot) = http2.idle() {
                let idle_since = slot.idle_since;
                return Some((Way::Stream(slot), idle_since));
            }
            if !self.alpn {
                return None;
            }
        }
        loop {
            let Idle { held, since } = self.idle.borrow_mut().pop()?;
            if held.conn.is_open() {
                return Some((Way::Connection(held), Some(since)));
            }
        }
    }

    /// The connection, lent to one more request where the limits allow it.
    fn lease(
        self: &Rc<Self>,
        way: Way,
        idle_since: Option<Instant>,
        site: Option<&Rc<Site>>,
    ) -> Result<Lease<B>, Error> {
        let turn = site.map(|site| site.begin(self.priority));
        if let Some(None) = turn {
            if let Way::Connection(held) = way {
                let since = idle_since.unwrap_or_else(Instant::now);
                self.idle.borrow_mut().push(Idle { held, since });
            }
            return Err(self.overflow(false));
        }
        Ok(Lease {
            way,
            pool: Rc::clone(self),
            idle_since,
            _turn: turn.flatten(),
        })
    }

    fn overflow(&self, waiting: bool) -> Error {
        self.metrics.overflows.inc();
        Error::Overflow { waiting }
    }

    /// Closes connections that were idle too long, and those that the endpoint has closed.
    pub fn sweep(&self) {
        if let Some(twin) = &self.twin {
            twin.sweep();
        }
        for other in [&self.tunnels, &self.urgent] {
            if let Some(other) = &*other.borrow() {
                other.sweep();
            }
        }
        // Names come from clients: those that are not asked for any more are forgotten.
        self.named.borrow_mut().retain(|_, pool| {
            pool.sweep();
            !pool.is_unused()
        });
        self.sweep_own();
    }

    fn sweep_own(&self) {
        if let Some(http2) = &self.http2 {
            http2.sweep(self.idle_timeout);
        }
        let now = Instant::now();
        self.idle.borrow_mut().retain(|idle| {
            if !idle.held.conn.is_open() {
                return false;
            }
            let idle_for = now.saturating_duration_since(idle.since);
            let old = self.idle_timeout.is_some_and(|limit| idle_for >= limit);
            if old {
                self.metrics.idle_timeouts.inc();
            }
            !old && !idle.held.is_spent(&self.http1, now)
        });
    }

    /// A new connection, or a place on one that another request has made meanwhile. Where there are as many connections as
    /// there may be, it waits for one of them.
    pub async fn connect(self: &Rc<Self>) -> Result<Lease<B>, Error> {
        let site = self.site.borrow().clone();
        let Some(site) = site else {
            let made = Box::pin(self.made(|| Ok(None), None)).await?;
            return made.ok_or(Error::NoEndpoint);
        };
        // Whoever comes later waits behind those that wait.
        let behind = self.line.is_waited_for();
        let wait = site
            .wait(self.priority, &self.line)
            .ok_or_else(|| self.overflow(true))?;
        let Pending { wait, .. } = &Pending::new(wait, &self.metrics);
        let mut told = behind;
        if behind {
            wait.freed().await;
        }
        loop {
            // Streams are not waited for where the limits allow no request.
            if (told || self.http2.is_some())
                && let Some(lease) = self.free(Some(&site))?
            {
                return Ok(lease);
            }
            wait.leave();
            let open = || {
                let alone = self.http2.as_ref().is_some_and(h2::Connections::is_empty);
                let open = site.open(self.priority, alone, &self.line);
                open.map(Some).ok_or(Full)
            };
            if let Some(lease) = Box::pin(self.made(open, Some(&site))).await? {
                return Ok(lease);
            }
            self.metrics.connection_overflows.inc();
            if told {
                wait.pass_on();
            }
            wait.freed().await;
            told = true;
        }
    }

    /// A new connection, or a place on one that is being made; `None`: `open` allows no other. Boxed by its callers: a
    /// connection is made rarely, and its state is large.
    async fn made(
        self: &Rc<Self>,
        open: impl FnOnce() -> Result<Option<Open>, Full>,
        site: Option<&Rc<Site>>,
    ) -> Result<Option<Lease<B>>, Error> {
        let made = match &self.http2 {
            Some(http2) => {
                let dial = || self.dial();
                http2.connect(open, dial, Stream::local_addr).await?
            }
            None => match open() {
                Ok(open) => Some(Made::Other(self.dial().await?.0, open)),
                Err(Full) => None,
            },
        };
        let way = match made {
            None => return Ok(None),
            Some(Made::Slot(slot)) => Way::Stream(slot),
            Some(Made::Other(stream, open)) => {
                // Asked for once: records want it of each request.
                let local = stream.local_addr();
                let conn = Conn::new(stream, Limits::of_servers(&self.http1));
                let born = self.http1.max_age.map(|_| Instant::now());
                Way::Connection(Held::new(conn, (born, local), open, &self.metrics))
            }
        };
        self.lease(way, None, site).map(Some)
    }

    /// A connection, and whether HTTP/2 is spoken on it.
    async fn dial(&self) -> Result<(Stream, bool), Error> {
        let metrics = &self.metrics;
        metrics.connections.inc();
        self.open().await.inspect_err(|error| match error {
            Error::ConnectTimeout => metrics.connect_timeouts.inc(),
            _ => metrics.connect_failures.inc(),
        })
    }
}

impl<B> Pool<B> {
    async fn open(&self) -> Result<(Stream, bool), Error> {
        let (address, by) = (self.address, self.by);
        let http2 = self.http2.is_some();
        let Some(tls) = &self.tls else {
            let tcp = dial::connect(address, by).await?;
            return Ok((Stream::new(tcp, Arc::default()), http2));
        };
        let offered: &[&[u8]] = match (http2, self.alpn) {
            (true, true) => &[b"h2", b"http/1.1"],
            (true, false) => &[b"h2"],
            (false, _) if self.raw => &[],
            (false, _) => &[b"http/1.1"],
        };
        let (stream, session) = dial::connect_tls(
            address,
            by,
            tls,
            self.sni.as_deref(),
            offered,
            &self.metrics,
        )
        .await?;
        // Where nothing is left to choose, the endpoint need not say what it speaks.
        Ok((
            stream,
            http2 && (!self.alpn || session.protocol() == Alpn::Http2),
        ))
    }
}

/// A request that waits for a connection, counted until this is dropped.
struct Pending {
    wait: Waiting,
    metrics: Arc<Upstream>,
}

impl Pending {
    fn new(wait: Waiting, metrics: &Arc<Upstream>) -> Self {
        metrics.pending.inc();
        Self {
            wait,
            metrics: Arc::clone(metrics),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.metrics.pending.dec();
    }
}

impl Held {
    fn new(
        conn: Conn,
        (born, local): (Option<Instant>, Option<SocketAddr>),
        open: Option<Open>,
        metrics: &Arc<Upstream>,
    ) -> Self {
        metrics.connections_active.inc();
        Self {
            born,
            local,
            conn: Rc::new(conn),
            _open: open,
            metrics: Arc::clone(metrics),
        }
    }
}

impl Held {
    fn is_spent(&self, http1: &Http1, now: Instant) -> bool {
        let old = http1.max_age.zip(self.born);
        old.is_some_and(|(most, born)| now.saturating_duration_since(born) >= most)
            || http1
                .max_requests
                .is_some_and(|most| self.conn.served() >= most)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.connections_active.dec();
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error = Error> + Unpin + 'static,
{
    /// Sends the request; the head of its answer, and the body as it comes. `go_on` is told of an HTTP/1 endpoint's
    /// interim answers.
    pub async fn exchange(
        &mut self,
        request: Onward<B>,
        go_on: Option<&dyn Fn(StatusCode, HeaderMap)>,
    ) -> Result<Response<Incoming>, Failed<B>> {
        match &mut self.way {
            Way::Connection(held) if self.pool.raw => Ok(held.conn.tunnel(request)),
            Way::Connection(held) => held.conn.exchange(request, go_on).await,
            Way::Stream(slot) => slot.exchange(request).await,
        }
    }
}

impl<B> Lease<B> {
    /// Since when it was idle; `None`: it is new.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// The endpoint's address.
    pub fn address(&self) -> SocketAddr {
        self.pool.address
    }

    /// The HTTP that it speaks; `None`: it carries bytes.
    pub fn version(&self) -> Option<Version> {
        match &self.way {
            Way::Connection(_) if self.pool.raw => None,
            Way::Connection(_) => Some(Version::HTTP_11),
            Way::Stream(_) => Some(Version::HTTP_2),
        }
    }

    /// Our end of the connection; `None`: it is gone.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Connection(held) => held.local,
            Way::Stream(slot) => slot.local_addr(),
        }
    }

    /// Gives the connection back once the answer has been read. One on which an exchange has not ended is closed.
    pub fn give_back(self, now: Instant) {
        let Self {
            way, pool, _turn, ..
        } = self;
        // A stream's place is free again when it is dropped.
        if let Way::Connection(held) = way
            && held.conn.is_idle()
            && !held.is_spent(&pool.http1, now)
        {
            pool.idle.borrow_mut().push(Idle { held, since: now });
            pool.line.freed();
        }
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
