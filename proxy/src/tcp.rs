//! Connections that are passed on byte by byte: to which endpoint, and until when.

use std::{
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{net::TcpStream, time::Instant};

mod flow;
mod log;
mod shaped;
mod suffer;

pub use flow::Side;
use flow::{Broken, Flow};
use log::Log;
use shaped::Ended;
use suffer::Suffering;

use crate::{
    cluster::{NoHost, Pick},
    error::Error,
    http::core::{Core, Local},
    metrics::Upstream,
    net::{dial, origin::Origin, timer::Alarm, tls},
    observe::Flags,
    policy::{
        balance::hash_key,
        breaker::{Kind, Priority},
        outlier::Outcome,
    },
    snapshot::tcp::Tcp,
};

/// Passes a connection on by the TCP proxy with this index in the core's configuration.
pub async fn run(
    core: Rc<Core>,
    local: Rc<Local>,
    tcp: usize,
    downstream: Side,
    origin: Rc<Origin>,
) {
    let (Some(settings), Some(metrics)) = (local.snapshot.tcp.get(tcp), local.tcp.get(tcp)) else {
        return;
    };
    let log = Log::open(metrics, settings, origin, Instant::now());
    let suffering = Suffering::begin(&core, settings, log.origin.source, log.start);
    serve(&core, &local, settings, downstream, log, suffering).await;
}

/// As [`run`], for a client that has been silent: when it speaks before the server does, nothing was passed on, and its
/// connection comes back.
pub async fn attend(
    core: &Rc<Core>,
    local: &Local,
    tcp: usize,
    downstream: TcpStream,
    origin: Rc<Origin>,
) -> Option<TcpStream> {
    let settings = local.snapshot.tcp.get(tcp)?;
    let metrics = local.tcp.get(tcp)?;
    let mut log = Log::open(metrics, settings, origin, Instant::now());
    let mut suffering = Suffering::begin(core, settings, log.origin.source, log.start);
    if !suffering.plan().is_empty() {
        // What it meets begins with the connection, whoever speaks.
        let downstream = Side::Tcp(downstream);
        serve(core, local, settings, downstream, log, suffering).await;
        return None;
    }
    let upstream = connect(local, settings, &suffering, &mut log).await;
    let since = Instant::now();
    if let Some(Side::Tcp(server)) = &upstream {
        let is_clients_turn = tokio::select! {
            biased;
            () = speaks(server) => false,
            () = speaks(&downstream) => true,
            // It is too old, or nobody has said anything for too long: it ends as one that is passed on.
            () = until(core, ends(settings, log.start, since).into_iter().flatten().min()) => false,
        };
        if is_clients_turn {
            log.given_back = true;
            return Some(downstream);
        }
    }
    metrics.connections.inc();
    let sides = (Side::Tcp(downstream), upstream?);
    pass_on(core, settings, sides, since, &mut suffering, &mut log).await;
    None
}

/// Passes a connection on, whatever it suffers.
async fn serve(
    core: &Core,
    local: &Local,
    settings: &Tcp,
    downstream: Side,
    mut log: Log<'_>,
    mut suffering: Suffering<'_>,
) {
    log.metrics.connections.inc();
    if !suffering.plan().is_empty() {
        log.flags.set(Flags::FI);
    }
    if suffering.plan().refuse {
        return downstream.abort();
    }
    let late = suffering.plan().accept_after;
    if !late.is_zero() {
        core.timer.sleep_until(log.start + late).await;
    }
    if suffering.plan().half_open {
        return alone(core, downstream, &mut suffering, &mut log).await;
    }
    let Some(upstream) = connect(local, settings, &suffering, &mut log).await else {
        return;
    };
    let sides = (downstream, upstream);
    let since = Instant::now();
    pass_on(core, settings, sides, since, &mut suffering, &mut log).await;
}

/// Waits until a peer has said something, or has ended; nothing is taken.
async fn speaks(tcp: &TcpStream) {
    let mut byte = [0];
    // A connection that is broken shows when it is read.
    let _ = tcp.peek(&mut byte).await;
}

/// When a connection that began then has been idle too long, as no byte has moved since then; and when it is too old.
fn ends(settings: &Tcp, start: Instant, moved: Instant) -> [Option<Instant>; 2] {
    [
        settings.idle_timeout.map(|idle| moved + idle),
        settings.max_duration.map(|most| start + most),
    ]
}

async fn until(core: &Core, at: Option<Instant>) {
    match at {
        Some(at) => core.timer.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Passes on what comes from the client (first) and from the endpoint, of which none has since then.
async fn pass_on(
    core: &Core,
    settings: &Tcp,
    (downstream, upstream): (Side, Side),
    since: Instant,
    suffering: &mut Suffering<'_>,
    log: &mut Log<'_>,
) {
    let (up, down) = suffering.lines();
    let relay = Relay {
        alarm: core.timer.alarm(),
        settings,
        downstream,
        upstream,
        up: Flow::suffering(up, log.start, &core.timer),
        down: Flow::suffering(down, log.start, &core.timer),
        moved: since,
        core,
        log,
    };
    relay.run(suffering).await;
}

/// With nobody behind: what comes is taken, and nothing answered, until the client has had enough, or the fault is over.
async fn alone(
    core: &Core,
    mut downstream: Side,
    suffering: &mut Suffering<'_>,
    log: &mut Log<'_>,
) {
    let mut swallow = |cx: &mut Context<'_>| {
        let mut buffer = core.stock.buffer();
        loop {
            match downstream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(count)) if count > 0 => log.received += count as u64,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    };
    let mut changes = suffering.changes();
    while suffering.plan().half_open {
        tokio::select! {
            () = poll_fn(&mut swallow) => return,
            () = changes.next() => suffering.renew(),
        }
    }
    // Somebody would be behind it now, who knows nothing of what was said.
    downstream.abort();
}

/// A connection to an endpoint of the cluster that the connection goes to; `None`: the log says why there is none.
/// Who accepts it there learns its number.
async fn connect(
    local: &Local,
    settings: &Tcp,
    suffering: &Suffering<'_>,
    log: &mut Log<'_>,
) -> Option<Side> {
    let named = &*log.origin.server_name;
    let cluster = if settings.cluster_by_server_name && !named.is_empty() {
        let mut clusters = local.clusters.iter();
        clusters.find(|cluster| &*cluster.settings().name == named)
    } else {
        let index = settings.cluster(suffering.connection());
        index.and_then(|index| local.clusters.get(index))
    };
    let Some(cluster) = cluster else {
        log.metrics.no_cluster.inc();
        log.flags.set(Flags::NC);
        return None;
    };
    log.cluster = Some(Rc::clone(cluster));
    let metrics = cluster.metrics();
    let source = log.origin.source.ip();
    let key = settings
        .hash_source_ip
        .then(|| hash_key::xx(source.to_string().as_bytes(), 0));
    for _ in 0..settings.max_connect_attempts {
        let Some(permit) = cluster.permit(Kind::Connections, Priority::Default) else {
            metrics.connection_overflows.inc();
            log.flags.set(Flags::UO);
            return None;
        };
        let pick = Pick {
            key,
            ..Pick::default()
        };
        let host = match cluster.pick(&pick) {
            Ok(host) => host,
            Err(NoHost::Unhealthy) => {
                metrics.none_healthy.inc();
                log.flags.set(Flags::UH);
                return None;
            }
            Err(NoHost::Open) => {
                log.flags.set(Flags::UO);
                return None;
            }
        };
        let (turn, begin) = (host.site.carry(), Instant::now());
        let address = host.address();
        log.attempts += 1;
        log.endpoint = Some(address);
        metrics.connections.inc();
        let settings = cluster.settings();
        let tls = settings.tls_of(&host.site.member.endpoint);
        match dial(address, (settings.way, tls), suffering, metrics).await {
            Ok(upstream) => {
                host.site.report(Outcome::Connected, begin.elapsed());
                metrics.connections_active.inc();
                log.upstream_local = upstream.local_addr();
                log.turn = Some((turn, permit));
                return Some(upstream);
            }
            Err(error) => {
                host.site.report(Outcome::Failed, begin.elapsed());
                match error {
                    Error::ConnectTimeout => metrics.connect_timeouts.inc(),
                    _ => metrics.connect_failures.inc(),
                }
                log.flags.set(Flags::UF);
                log.failure = Some(error);
            }
        }
    }
    log.flags.set(Flags::URX);
    None
}

async fn dial(
    address: SocketAddr,
    (way, tls): (dial::Way, Option<&Arc<tls::Client>>),
    suffering: &Suffering<'_>,
    metrics: &Upstream,
) -> Result<Side, Error> {
    let Some(tls) = tls else {
        let number = |from| suffering.number(from);
        let told: Option<&dyn Fn(SocketAddr)> = suffering.is_numbered().then_some(&number);
        let connected = dial::connect_telling(address, way, told);
        return connected.await.map(Side::Tcp);
    };
    let (stream, _) = dial::connect_tls(address, way, tls, None, &[], metrics).await?;
    Ok(Side::Other(Box::new(stream)))
}

/// Both directions of a connection, until both have ended or one breaks.
struct Relay<'a, 'l> {
    core: &'a Core,
    settings: &'a Tcp,
    downstream: Side,
    upstream: Side,
    up: Flow,
    down: Flow,
    moved: Instant,
    alarm: Alarm,
    log: &'a mut Log<'l>,
}

/// Why a connection has ended.
enum End {
    /// Both sides have said all.
    Whole,
    /// One side broke.
    Broken(Broken),
    /// No byte moved for too long.
    Idle,
    /// It was too old.
    Age,
    /// A fault ends it.
    Cut,
    /// A fault resets it.
    Reset,
}

impl Relay<'_, '_> {
    async fn run(mut self, suffering: &mut Suffering<'_>) {
        let end = self.end(suffering).await;
        match end {
            End::Whole | End::Cut => {}
            End::Reset => {
                self.downstream.abort();
                self.upstream.abort();
            }
            End::Broken(broken) => self.broken(&broken),
            End::Idle => self.log.metrics.idle_timeouts.inc(),
            End::Age => {
                self.log.metrics.max_durations.inc();
                self.log.flags.set(Flags::DT);
            }
        }
    }

    /// Its end, whatever its faults are until then.
    async fn end(&mut self, suffering: &mut Suffering<'_>) -> End {
        let mut changes = suffering.changes();
        loop {
            let end = tokio::select! {
                biased;
                end = poll_fn(|cx| self.poll(cx, suffering)) => Some(end),
                () = changes.next() => None,
            };
            match end {
                Some(End::Reset) => {
                    suffering.was_reset();
                    return End::Reset;
                }
                Some(end) => return end,
                None if self.turn(suffering) => {}
                None => return End::Reset,
            }
        }
    }

    /// Other faults hold from now on; `false`: bytes have vanished, and without them the rest is worth nothing.
    fn turn(&mut self, suffering: &mut Suffering<'_>) -> bool {
        suffering.renew();
        if !suffering.plan().is_empty() {
            self.log.flags.set(Flags::FI);
        }
        let (up, down) = suffering.lines();
        let (start, timer) = (self.log.start, &self.core.timer);
        // The alarm may be set to the time of a reset that does not come any more.
        self.alarm = timer.alarm();
        self.up.turn(up, start, timer) && self.down.turn(down, start, timer)
    }

    fn poll(&mut self, cx: &mut Context<'_>, suffering: &mut Suffering<'_>) -> Poll<End> {
        let before = self.up.read + self.down.read + self.up.written + self.down.written;
        let stock = &self.core.stock;
        let up = self
            .up
            .poll(cx, &mut self.downstream, &mut self.upstream, stock);
        let down = self
            .down
            .poll(cx, &mut self.upstream, &mut self.downstream, stock);
        suffering.tell_acted();
        self.log.received = self.up.read;
        self.log.sent = self.down.written;
        let after = self.up.read + self.down.read + self.up.written + self.down.written;
        if after != before {
            self.moved = Instant::now();
        }
        match (up, down) {
            (Poll::Ready(Err(broken)), _) => return Poll::Ready(End::Broken(broken)),
            // Of the other direction, sides are the other way round.
            (_, Poll::Ready(Err(broken))) => return Poll::Ready(End::Broken(broken.turned())),
            (Poll::Ready(Ok(Ended::Cut)), _) | (_, Poll::Ready(Ok(Ended::Cut))) => {
                return Poll::Ready(End::Cut);
            }
            (Poll::Ready(Ok(_)), Poll::Ready(Ok(_))) => return Poll::Ready(End::Whole),
            _ => {}
        }
        self.poll_deadline(cx, suffering.reset_at())
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, reset: Option<Instant>) -> Poll<End> {
        let [idle, age] = ends(self.settings, self.log.start, self.moved);
        let Some(next) = idle.into_iter().chain(age).chain(reset).min() else {
            return Poll::Pending;
        };
        if self.alarm.is_off() {
            let now = Instant::now();
            if reset.is_some_and(|at| at <= now) {
                return Poll::Ready(End::Reset);
            }
            if age.is_some_and(|at| at <= now) {
                return Poll::Ready(End::Age);
            }
            if idle.is_some_and(|at| at <= now) {
                return Poll::Ready(End::Idle);
            }
        }
        self.alarm.set(next, cx.waker());
        Poll::Pending
    }

    /// A reset is passed on as one.
    fn broken(&mut self, broken: &Broken) {
        if !broken.is_reset() {
            return;
        }
        match broken {
            Broken::From(_) => self.upstream.abort(),
            Broken::To(_) => {
                self.log.flags.set(Flags::UR);
                self.downstream.abort();
            }
        }
    }
}
