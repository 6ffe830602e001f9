//! Copies of requests to shadows. The primary never waits for them: a copy is admitted or shed before anything is copied,
//! its body is collected beside the primary's, and it runs as a task of its own within the mirror's limits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version, header, request};
use http_body_util::BodyExt;
use tokio::{task::spawn_local, time::Instant};

use super::{
    body::Upload, edit::OfRequest, forward::EXPECTED_TIMEOUT, log::Log, normalize, origin,
};
use crate::{
    cluster::{
        Cluster,
        pool::{Lease, Pool},
    },
    drain::Hold,
    error::Error,
    metrics::Mirroring,
    net::{
        body::Incoming,
        buffer,
        onward::Onward,
        timer::{Alarm, Timer},
    },
    observe::{Answer, Outcome},
    snapshot::Mirror,
};

mod own;
mod pair;

pub(super) use own::own_address;
pub use pair::Primary;
use pair::{Pair, Recorder};

/// `x-envoy-internal`.
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// The copies of one mirror on one event loop.
pub struct Shadow {
    mirror: Arc<Mirror>,
    /// `None`: there is none, or each request names its own.
    cluster: Option<Rc<Cluster<Upload>>>,
    metrics: Arc<Mirroring>,
    timer: Timer,
    gate: Rc<Gate>,
}

/// How many copies there are; it goes on when the configuration is swapped.
#[derive(Default)]
struct Gate {
    /// Under way, waiting, or still being collected.
    admitted: Cell<u32>,
    workers: Cell<u32>,
    waiting: RefCell<VecDeque<Job>>,
    /// Workers without a copy; the one that stopped last goes on first.
    parked: RefCell<Vec<Rc<Desk>>>,
    backoff_until: Cell<Option<Instant>>,
    /// Shadows that use it: none, and its workers end.
    owners: Cell<u32>,
    /// As long as there are copies a drain waits for them; their deadline bounds how long.
    hold: RefCell<Option<Hold>>,
}

/// Where a worker without a copy is given one.
#[derive(Default)]
struct Desk {
    job: RefCell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
}

/// A place within the limits; given back when dropped.
struct Permit(Rc<Gate>);

/// A copy that is ready to be sent.
struct Job {
    shadow: Rc<Shadow>,
    permit: Permit,
    pair: Rc<Pair>,
    /// The HTTP version that the client speaks.
    client: Version,
    stage: Stage,
    ready: Instant,
}

/// How far a copy is.
enum Stage {
    /// It is to be sent; to this endpoint, where one was chosen already.
    Waiting(Onward<Upload>, Option<Rc<Pool<Upload>>>),
    /// It was sent before the primary's request.
    Sent(Instant, Exchange),
    /// It was sent, and is over already.
    Over(Result<Option<Answer>, Error>),
}

type Exchange = Pin<Box<dyn Future<Output = Result<Option<Answer>, Error>>>>;

/// A copy whose request's body is still coming.
pub struct Tee {
    copy: Option<Copy>,
    body: VecDeque<Bytes>,
    length: u64,
}

struct Copy {
    shadow: Rc<Shadow>,
    permit: Permit,
    pair: Rc<Pair>,
    client: Version,
    head: Box<request::Parts>,
}

/// What the mirrors of a request's route want of it.
#[derive(Debug, Default)]
pub struct Copies {
    /// What collects its body.
    pub tees: Vec<Tee>,
    /// What its answer is kept by, for comparison.
    pub primaries: Vec<Primary>,
}

/// Gives the request's copies to the shadows that chose it. A request that asks for an upgrade is not copied: what follows
/// it is no HTTP.
pub fn copy(
    chosen: &[Rc<Shadow>],
    head: &request::Parts,
    body_length: Option<u64>,
    log: &Log,
) -> Copies {
    let mut copies = Copies::default();
    // Once for all shadows.
    let mut headers = None;
    for shadow in chosen {
        shadow.metrics.chosen.inc();
        match shadow.admit(head, body_length, log) {
            Err(why) => Pair::new(shadow, log, None).copy(why, None),
            Ok(permit) => {
                let compare = shadow.mirror.settings.compare;
                let kept = compare.then(|| {
                    Arc::clone(headers.get_or_insert_with(|| Arc::new(head.headers.clone())))
                });
                let pair = Rc::new(Pair::new(shadow, log, kept));
                if compare {
                    copies.primaries.push(Primary::new(
                        Rc::clone(&pair),
                        shadow.mirror.settings.limits.response_body.0,
                    ));
                }
                let tee = Tee {
                    copy: Some(Copy {
                        shadow: Rc::clone(shadow),
                        permit,
                        pair,
                        client: log.version,
                        head: shadow.head(head, log),
                    }),
                    body: VecDeque::new(),
                    length: 0,
                };
                if body_length == Some(0) {
                    // Which goes first matters where answers are compared only.
                    tee.send(compare && shadow.mirror.choice.goes_first(log.identity.ordinal));
                } else {
                    copies.tees.push(tee);
                }
            }
        }
    }
    copies
}

impl Shadow {
    /// A mirror's copies; those of its predecessor count.
    pub fn new(
        mirror: Arc<Mirror>,
        cluster: Option<Rc<Cluster<Upload>>>,
        metrics: Arc<Mirroring>,
        timer: Timer,
        before: Option<&Self>,
    ) -> Self {
        let gate = before.map_or_else(Rc::<Gate>::default, |before| Rc::clone(&before.gate));
        gate.owners.set(gate.owners.get() + 1);
        Self {
            mirror,
            cluster,
            metrics,
            timer,
            gate,
        }
    }

    /// The same, for copies to this cluster.
    #[must_use]
    pub fn toward(&self, cluster: &Rc<Cluster<Upload>>) -> Self {
        Self::new(
            Arc::clone(&self.mirror),
            Some(Rc::clone(cluster)),
            Arc::clone(&self.metrics),
            self.timer.clone(),
            Some(self),
        )
    }

    /// Its settings.
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Its counts.
    pub fn metrics(&self) -> &Arc<Mirroring> {
        &self.metrics
    }

    /// A place for a copy of the request; the error: why there is none.
    fn admit(
        &self,
        head: &request::Parts,
        body_length: Option<u64>,
        log: &Log,
    ) -> Result<Permit, Outcome> {
        if head.headers.contains_key(header::UPGRADE) {
            return Err(Outcome::Skipped("upgrade"));
        }
        if self.mirror.settings.safe_only && !head.method.is_safe() {
            return Err(Outcome::Skipped("unsafe"));
        }
        let limits = &self.mirror.settings.limits;
        if body_length.is_some_and(|length| length > limits.request_body.0) {
            return Err(Outcome::Shed("request_body"));
        }
        if self.gate.backs_off() {
            return Err(Outcome::Shed("connect_backoff"));
        }
        let admitted = self.gate.admitted.get();
        if admitted >= limits.in_flight.saturating_add(limits.queue) {
            return Err(Outcome::Shed(if limits.queue == 0 {
                "in_flight"
            } else {
                "queue"
            }));
        }
        self.gate.admitted.set(admitted + 1);
        if admitted == 0 {
            *self.gate.hold.borrow_mut() = Some(log.client.core.hold());
        }
        Ok(Permit(Rc::clone(&self.gate)))
    }

    /// The copy's head: the primary's as it is sent on, but for what the mirror changes.
    fn head(&self, primary: &request::Parts, log: &Log) -> Box<request::Parts> {
        let mut head = Onward::new(()).head;
        head.method = primary.method.clone();
        head.uri = primary.uri.clone();
        head.headers = primary.headers.clone();
        head.extensions = primary.extensions.clone();
        let settings = &self.mirror.settings;
        if settings.side != 0 && log.identity.scheduled {
            normalize::replace_side(&mut head.headers, settings.side);
        }
        let timeout = log.forward().and_then(|it| it.timeout_ms.clone());
        if let Some(timeout) = timeout.filter(|_| settings.internal) {
            head.headers.insert(EXPECTED_TIMEOUT, timeout);
        }
        if let Some(host) = &self.mirror.host {
            head.headers.insert(header::HOST, host.clone());
        } else if !settings.host_suffix.is_empty() {
            suffix_host(&mut head.headers, &settings.host_suffix);
        }
        for name in &self.mirror.remove {
            head.headers.remove(name);
        }
        for (name, value) in &self.mirror.set {
            head.headers.insert(HeaderName::clone(name), value.clone());
        }
        if settings.internal {
            head.headers
                .insert(INTERNAL, HeaderValue::from_static("true"));
            origin::append(&mut head.headers, own_address());
        }
        let render = OfRequest {
            log,
            method: &head.method,
            uri: &head.uri,
        };
        self.mirror.mutations.apply(&mut head.headers, &render);
        head
    }

    fn count(&self, outcome: Outcome) {
        let metrics = &self.metrics;
        match outcome {
            Outcome::Compared => &metrics.answered,
            Outcome::Shed("in_flight") => &metrics.shed_in_flight,
            Outcome::Shed("queue") => &metrics.shed_queue,
            Outcome::Shed("connect_backoff") => &metrics.shed_connect_backoff,
            Outcome::Shed(_) => &metrics.shed_request_body,
            Outcome::Failed("connect") => &metrics.failed_connect,
            Outcome::Failed("timeout") => &metrics.failed_timeout,
            Outcome::Failed("protocol") => &metrics.failed_protocol,
            Outcome::Failed(_) => &metrics.failed_reset,
            Outcome::Skipped("client_left") => &metrics.skipped_client_left,
            Outcome::Skipped("upgrade") => &metrics.skipped_upgrade,
            Outcome::Skipped("unsafe") => &metrics.skipped_unsafe,
            Outcome::Skipped(_) => &metrics.skipped_primary_failed,
        }
        .inc();
    }
}

impl Gate {
    fn backs_off(&self) -> bool {
        self.backoff_until
            .get()
            .is_some_and(|until| Instant::now() < until)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let admitted = self.0.admitted.get().saturating_sub(1);
        self.0.admitted.set(admitted);
        if admitted == 0 {
            self.0.hold.borrow_mut().take();
        }
    }
}

impl Tee {
    /// More of the body. Whether the copy wants the rest of it.
    pub fn take(&mut self, data: &Bytes) -> bool {
        let Some(copy) = &self.copy else {
            return false;
        };
        self.length += data.len() as u64;
        if self.length > copy.shadow.mirror.settings.limits.request_body.0 {
            copy.pair.copy(Outcome::Shed("request_body"), None);
            self.copy = None;
            return false;
        }
        self.body.push_back(buffer::own(data));
        true
    }

    /// The body is whole: the copy is sent. What has one is always sent after the primary's request, whose body goes on as
    /// it comes.
    pub fn end(self) {
        self.send(false);
    }

    /// `goes_first`: before the primary's request, if a connection is at hand.
    fn send(mut self, goes_first: bool) {
        let Some(Copy {
            shadow,
            permit,
            pair,
            client,
            head,
        }) = self.copy.take()
        else {
            return;
        };
        pair.body(&self.body);
        let body = Upload::Copy(std::mem::take(&mut self.body));
        let mut job = Job {
            shadow,
            permit,
            pair,
            client,
            stage: Stage::Waiting(Onward { head, body }, None),
            ready: Instant::now(),
        };
        let gate = Rc::clone(&job.permit.0);
        let limit = job.shadow.mirror.settings.limits.in_flight;
        let timer = job.shadow.timer.clone();
        let parked = gate.parked.borrow_mut().pop();
        // Only where a worker takes it over at once: more are never under way than may be.
        if goes_first && (parked.is_some() || gate.workers.get() < limit) {
            job.send_now();
        }
        if let Some(desk) = parked {
            desk.give(job);
            return;
        }
        gate.waiting.borrow_mut().push_back(job);
        if gate.workers.get() < limit {
            gate.workers.set(gate.workers.get() + 1);
            spawn_local(work(gate, timer));
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // The primary's exchange ended before its request's body did.
        if let Some(copy) = self.copy.take() {
            copy.pair.incomplete();
        }
    }
}

/// Sends copies, one after the other. A worker lives on when there is none: making a task for each copy costs more than
/// the copy's own bookkeeping.
async fn work(gate: Rc<Gate>, timer: Timer) {
    let mut alarm = timer.alarm();
    let desk = Rc::new(Desk::default());
    let worker = Worker(gate);
    while let Some(job) = worker.0.next(&desk).await {
        job.run(&mut alarm).await;
    }
}

/// A worker is counted until this is dropped: with its end, or with the event loop's.
struct Worker(Rc<Gate>);

impl Drop for Worker {
    fn drop(&mut self) {
        let workers = self.0.workers.get().saturating_sub(1);
        self.0.workers.set(workers);
        if workers == 0 {
            // Nobody will send them, and they would keep the gate, which keeps them.
            let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
            drop(waiting);
        }
    }
}

impl Gate {
    /// The next copy; `None`: there will be none.
    async fn next(&self, desk: &Rc<Desk>) -> Option<Job> {
        if let Some(job) = self.waiting.borrow_mut().pop_front() {
            return Some(job);
        }
        self.parked.borrow_mut().push(Rc::clone(desk));
        poll_fn(|cx| {
            if let Some(job) = desk.job.borrow_mut().take() {
                return Poll::Ready(Some(job));
            }
            if self.owners.get() == 0 {
                return Poll::Ready(None);
            }
            *desk.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Desk {
    fn give(&self, job: Job) {
        *self.job.borrow_mut() = Some(job);
        self.wake();
    }

    fn wake(&self) {
        if let Some(worker) = &*self.waker.borrow() {
            worker.wake_by_ref();
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        let owners = self.gate.owners.get().saturating_sub(1);
        self.gate.owners.set(owners);
        if owners == 0 {
            for desk in self.gate.parked.borrow_mut().drain(..) {
                desk.wake();
            }
        }
    }
}

/// The future's result, if it has one by the deadline. The alarm is the worker's: set for an earlier copy it rings early,
/// and is set again, so that most copies pay a comparison for their deadline.
async fn by<F: Future>(deadline: Instant, alarm: &mut Alarm, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if alarm.is_off() && Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        alarm.set(deadline, cx.waker());
        Poll::Pending
    })
    .await
}

impl Job {
    /// Writes the copy to a connection that is at hand, here and now: not in its worker's turn, which comes after the
    /// primary's. Where there is none it is left to the worker, since making one takes longer than the primary's sending.
    fn send_now(&mut self) {
        if self.permit.0.backs_off() {
            return;
        }
        let (shadow, pair) = (Rc::clone(&self.shadow), Rc::clone(&self.pair));
        let Stage::Waiting(request, endpoint) = &mut self.stage else {
            return;
        };
        let Some(pool) = shadow.pool(self.client) else {
            return;
        };
        let Some(lease) = pool.idle() else {
            *endpoint = Some(pool);
            return;
        };
        let now = Instant::now();
        let request = std::mem::replace(request, Onward::new(Upload::Empty));
        shadow.metrics.sent.inc();
        shadow.metrics.active.inc();
        pair.goes_first();
        let mut exchange: Exchange = Box::pin(async move {
            shadow
                .exchange(pool, Some(lease), request, &pair, now)
                .await
        });
        // Its worker polls it next, with a waker of its own.
        let mut cx = Context::from_waker(Waker::noop());
        self.stage = match exchange.as_mut().poll(&mut cx) {
            Poll::Ready(result) => Stage::Over(result),
            Poll::Pending => Stage::Sent(now, exchange),
        };
    }

    async fn run(self, alarm: &mut Alarm) {
        let Self {
            shadow,
            permit,
            pair,
            client,
            stage,
            ready,
        } = self;
        let deadline = shadow.mirror.settings.limits.deadline;
        let result = match stage {
            Stage::Waiting(request, pool) => {
                let begin = Instant::now();
                if permit.0.backs_off() {
                    return pair.copy(Outcome::Shed("connect_backoff"), None);
                }
                if begin.saturating_duration_since(ready) > deadline {
                    return pair.copy(Outcome::Shed("queue"), None);
                }
                shadow.metrics.sent.inc();
                shadow.metrics.active.inc();
                let exchange = async {
                    let pool = pool.or_else(|| shadow.pool(client));
                    let pool = pool.ok_or(Error::NoEndpoint)?;
                    shadow.exchange(pool, None, request, &pair, begin).await
                };
                by(begin + deadline, alarm, exchange).await
            }
            Stage::Sent(begin, exchange) => by(begin + deadline, alarm, exchange).await,
            Stage::Over(result) => Some(result),
        };
        shadow.metrics.active.dec();
        match result {
            Some(Ok(answer)) => pair.copy(Outcome::Compared, answer),
            Some(Err(error)) => {
                let why = match error {
                    Error::Connect(_)
                    | Error::ConnectTimeout
                    | Error::NoEndpoint
                    | Error::NoCluster
                    | Error::Overflow { .. }
                    | Error::BreakerOpen => "connect",
                    Error::Protocol => "protocol",
                    _ => "reset",
                };
                if why == "connect" {
                    let backoff = shadow.mirror.settings.limits.connect_backoff;
                    permit.0.backoff_until.set(Some(Instant::now() + backoff));
                }
                pair.copy(Outcome::Failed(why), None);
            }
            None => pair.copy(Outcome::Failed("timeout"), None),
        }
    }
}

impl Shadow {
    /// The connections of the endpoint that is next, for a client of this version.
    fn pool(&self, version: Version) -> Option<Rc<Pool<Upload>>> {
        let pool = self.cluster.as_ref()?.next()?;
        Some(Rc::clone(pool.for_client(version)))
    }

    /// `at_hand`: a connection to begin with.
    async fn exchange(
        &self,
        pool: Rc<Pool<Upload>>,
        mut at_hand: Option<Lease<Upload>>,
        request: Onward<Upload>,
        pair: &Pair,
        begin: Instant,
    ) -> Result<Option<Answer>, Error> {
        let cluster = self.cluster.as_ref().ok_or(Error::NoCluster)?;
        let metrics = cluster.metrics();
        metrics.requests.inc();
        let mut request = request;
        let (lease, answer) = loop {
            let mut lease = match at_hand.take().or_else(|| pool.idle()) {
                Some(lease) => lease,
                None => pool.connect().await?,
            };
            let sent = lease.exchange(request, None).await;
            match sent {
                Ok(answer) => break (lease, answer),
                Err(failed) => match failed.unsent {
                    // It was closed before anything was written.
                    Some(unsent) if lease.idle_since().is_some() => request = unsent,
                    _ => return Err(failed.error),
                },
            }
        };
        metrics.answered(answer.status().as_u16());
        let answer = self.read(answer, pair, begin).await;
        if answer.is_ok() {
            give_back(lease);
        } else {
            // Its task ends with it.
            drop(lease);
        }
        answer
    }

    async fn read(
        &self,
        answer: Response<Incoming>,
        pair: &Pair,
        begin: Instant,
    ) -> Result<Option<Answer>, Error> {
        let (mut head, mut body) = answer.into_parts();
        let settings = &self.mirror.settings;
        let mut recorder = pair.compares().then(|| {
            normalize::strip_answer(&mut head.headers);
            Recorder::new(head.status, head.headers, settings.limits.response_body.0)
        });
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            if let (Some(recorder), Some(data)) = (&mut recorder, frame.data_ref()) {
                recorder.take(data);
            }
            if let (Some(recorder), Ok(trailers)) = (&mut recorder, frame.into_trailers()) {
                recorder.trailers(trailers);
            }
        }
        Ok(recorder.map(|recorder| recorder.answer(begin, Instant::now())))
    }
}

fn give_back(lease: Lease<Upload>) {
    lease.give_back(Instant::now());
}

/// Envoy's: the suffix comes before the port.
fn suffix_host(headers: &mut HeaderMap, suffix: &str) {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return;
    };
    let bracket = host.rfind(']').unwrap_or(0);
    let port = host.rfind(':').filter(|at| *at >= bracket);
    let (name, port) = host.split_at(port.unwrap_or(host.len()));
    if let Ok(value) = HeaderValue::try_from(format!("{name}{suffix}{port}")) {
        headers.insert(header::HOST, value);
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow")
            .field("mirror", &self.mirror.id)
            .field("admitted", &self.gate.admitted.get())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_suffix_comes_before_the_port() {
        for (host, expected) in [
            ("shop.test", "shop.test-shadow"),
            ("127.0.0.1:19000", "127.0.0.1-shadow:19000"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("[::1]", "[::1]-shadow"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            suffix_host(&mut headers, "-shadow");
            assert_eq!(headers[header::HOST], expected);
        }
    }
}
