//! Turns what sidecars and generator tell into one stream of events. Sidecars tell on their event loops, so they only hand
//! over; answers are compared, hashed and redacted on threads of their own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use meshbed_proxy::{
    config::Direction,
    observe::{self, Mirrored, Observer, Outcome, Record},
};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use crate::{
    event::{
        Answered, Asked, Attempt, Changed, Connection, Difference, Hit, Hop, Micros, Mirror,
        MirrorOutcome, RunEvent,
    },
    replay::{clock, naps},
    shadow::{self, Redaction, Rules},
};

/// Bytes of answers that may wait for their comparison. Beyond it pairs are told as skipped for `compare_queue`: memory is
/// bounded whatever the load, and nothing is lost without a reason.
const MAX_WAITING: usize = 64 << 20;

/// Where more than this waits, spare time is not enough to compare in, and pairs are compared at the cost of whoever shares
/// the processor, until less than the lesser is left.
const MUCH: usize = 4 << 20;
const LITTLE: usize = 1 << 20;

/// Up to here whoever helps gives way after each few pairs: a slice of it would last as long as many requests.
const TOO_MUCH: usize = 16 << 20;
const SIP: u32 = 8;

/// The same where pairs wait for longer than this: who watches a run sees it as it is.
const LONG_US: Micros = 500_000;

/// How often the thread that compares looks by itself whether there will be no more.
const LOOK: Duration = Duration::from_millis(200);

/// What a pair holds beside the bodies, about: heads, and itself.
const BESIDE_BODIES: usize = 1 << 10;

/// The zero of the run's clock; set once, when everything is ready.
#[derive(Debug, Clone, Default)]
pub struct Origin(Arc<OnceLock<Instant>>);

impl Origin {
    /// Sets it; a second time changes nothing.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// How long until it; 0 when it is past, or not set.
    pub fn until(&self) -> Duration {
        self.0.get().map_or(Duration::ZERO, |origin| {
            origin.saturating_duration_since(Instant::now())
        })
    }

    /// A moment on the run's clock; 0 before its start.
    pub fn micros(&self, at: Instant) -> Micros {
        self.0.get().map_or(0, |origin| {
            at.saturating_duration_since(*origin).as_micros() as Micros
        })
    }
}

/// Told by the sidecars.
#[derive(Debug)]
pub struct Collector {
    origin: Origin,
    sides: BTreeMap<String, u8>,
    events: UnboundedSender<RunEvent>,
    compare: mpsc::Sender<Work>,
    waiting: Arc<Waiting>,
}

/// What waits for the threads that compare.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are pairs: a box for each would cost more than its place"
)]
enum Work {
    Pair(Settled),
    /// Pairs from here on are compared by these.
    Rules(Box<Rules>),
    /// There will be no more.
    End,
}

/// A mirror's outcome on its way to be compared.
struct Settled {
    t_us: Micros,
    mirrored: Mirrored,
    /// Bytes that it holds of what may wait.
    bytes: usize,
}

/// The threads that compare: one that runs when nothing else would, and one that helps as long as that is not enough.
#[derive(Debug)]
pub struct Comparing {
    first: JoinHandle<()>,
    help: JoinHandle<()>,
    waiting: Arc<Waiting>,
}

impl Comparing {
    /// Waits until everything is compared; every [`Collector`] must be gone.
    pub fn join(self) {
        // What is left is not for spare time only. They do not panic; if they did, the events that lack show it.
        self.waiting.close();
        self.first.thread().unpark();
        let _ = self.first.join();
        let _ = self.help.join();
    }
}

/// Where pairs are compared.
struct Bench {
    queue: Mutex<Queue>,
    waiting: Arc<Waiting>,
    redaction: Redaction,
    events: UnboundedSender<RunEvent>,
}

/// Work that waits, and what pairs are compared by when they are taken.
struct Queue {
    work: mpsc::Receiver<Work>,
    rules: Arc<Rules>,
    ended: bool,
}

/// What waits, in bytes, who is called for it, and who when it is much.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    first: OnceLock<Thread>,
    help: OnceLock<Thread>,
    /// When the pair came that was taken last, or the first to wait since.
    taken_us: AtomicU64,
    /// Some wait for long.
    late: AtomicBool,
    /// No more comes.
    closing: AtomicBool,
}

impl Waiting {
    /// Adds so much of a pair that came then; whether there is room for it.
    fn add(&self, bytes: usize, t_us: Micros) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before + bytes;
        if bytes > 0 && after > MAX_WAITING {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        if before == 0 {
            self.took(t_us);
        }
        let long = t_us > self.taken_us.load(Ordering::Relaxed) + LONG_US;
        let late = long && !self.late.swap(true, Ordering::Relaxed);
        if (late || before <= MUCH && after > MUCH)
            && let Some(help) = self.help.get()
        {
            help.unpark();
        }
        true
    }

    /// No more comes: all help with what is left, and end.
    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        if let Some(help) = self.help.get() {
            help.unpark();
        }
    }

    fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A pair that came then has been taken.
    fn took(&self, t_us: Micros) {
        self.taken_us.store(t_us, Ordering::Relaxed);
    }

    /// More than spare time is needed for it.
    fn needs_help(&self) -> bool {
        self.closing.load(Ordering::Acquire)
            || self.late.load(Ordering::Relaxed)
            || self.bytes.load(Ordering::Relaxed) > LITTLE
    }

    /// So much waits that it is compared whoever wants the processor.
    fn is_too_much(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.bytes.load(Ordering::Relaxed) > TOO_MUCH
    }
}

impl Bench {
    /// The next pair, if it is there, and what it is compared by. The lock is held for no longer than that: a thread that
    /// runs only when nothing else would must not keep it from the other.
    fn next(&self) -> Next {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.next()
    }

    /// Compares what comes, until the end.
    fn work(&self) {
        let take = || match self.next() {
            Next::Pair(settled, rules) => Some((settled, rules)),
            Next::Nothing | Next::End => None,
        };
        let wait = || {
            loop {
                match self.next() {
                    Next::Pair(settled, rules) => return Some((settled, rules)),
                    Next::End => return None,
                    // Whoever adds a pair unparks it; the end comes without that.
                    Next::Nothing => std::thread::park_timeout(LOOK),
                }
            }
        };
        naps::in_bursts(wait, take, |(settled, rules)| {
            self.compare(settled, &rules);
            true
        });
        self.waiting.close();
    }

    /// Compares while there is much, until the end.
    fn help(&self) {
        let mut compared = 0_u32;
        loop {
            while self.waiting.needs_help() {
                match self.next() {
                    Next::Pair(settled, rules) => {
                        self.compare(settled, &rules);
                        compared = compared.wrapping_add(1);
                        if compared.is_multiple_of(SIP) && !self.waiting.is_too_much() {
                            naps::give_way();
                        }
                    }
                    Next::End => return,
                    Next::Nothing => {
                        self.waiting.late.store(false, Ordering::Relaxed);
                        break;
                    }
                }
            }
            std::thread::park();
        }
    }

    fn compare(&self, settled: Settled, rules: &Rules) {
        let bytes = settled.bytes;
        self.waiting.took(settled.t_us);
        let mirror = compared(settled, rules, &self.redaction);
        self.waiting.done(bytes);
        // Nobody listens when the run has been given up.
        let _ = self.events.send(RunEvent::Mirror(Arc::new(mirror)));
    }
}

/// What a queue has next.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are pairs: a box for each would cost more than its place"
)]
enum Next {
    Pair(Settled, Arc<Rules>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

impl Queue {
    fn next(&mut self) -> Next {
        while !self.ended {
            match self.work.try_recv() {
                Ok(Work::Pair(settled)) => return Next::Pair(settled, Arc::clone(&self.rules)),
                Ok(Work::Rules(new)) => self.rules = Arc::new(*new),
                Err(mpsc::TryRecvError::Empty) => return Next::Nothing,
                Ok(Work::End) | Err(mpsc::TryRecvError::Disconnected) => self.ended = true,
            }
        }
        Next::End
    }
}

impl Collector {
    /// A collector and the threads that compare. `sides` names the listeners that belong to shadows.
    pub fn start(
        origin: Origin,
        sides: BTreeMap<String, u8>,
        rules: Rules,
        redaction: Redaction,
        events: UnboundedSender<RunEvent>,
    ) -> std::io::Result<(Self, Comparing)> {
        let (compare, work) = mpsc::channel::<Work>();
        let waiting = Arc::new(Waiting::default());
        let bench = Arc::new(Bench {
            queue: Mutex::new(Queue {
                work,
                rules: Arc::new(rules),
                ended: false,
            }),
            waiting: Arc::clone(&waiting),
            redaction,
            events: events.clone(),
        });
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let first = thread("compare").spawn({
            let bench = Arc::clone(&bench);
            move || {
                clock::only_when_idle();
                bench.work();
            }
        })?;
        let _ = waiting.first.set(first.thread().clone());
        // Where it cannot be started, the first ends with the sender.
        let help = thread("compare-more").spawn(move || bench.help())?;
        let _ = waiting.help.set(help.thread().clone());
        let collector = Self {
            origin,
            sides,
            events,
            compare,
            waiting: Arc::clone(&waiting),
        };
        let comparing = Comparing {
            first,
            help,
            waiting,
        };
        Ok((collector, comparing))
    }

    fn give(&self, work: Work) {
        // Fails only where the threads have ended, and then there is nothing to be told to.
        let _ = self.compare.send(work);
        if let Some(first) = self.waiting.first.get() {
            first.unpark();
        }
    }

    /// Nothing that is told from now on is compared.
    pub fn end(&self) {
        self.give(Work::End);
    }

    /// Pairs that are told from now on are compared by these rules.
    pub fn compare_by(&self, rules: Rules) {
        self.give(Work::Rules(Box::new(rules)));
    }
}

impl Observer for Collector {
    fn request(&self, record: &Record<'_>) {
        if let Some(hop) = hop(record, &self.origin, &self.sides) {
            let _ = self.events.send(RunEvent::Hop(Arc::new(hop)));
        }
    }

    fn connection(&self, connection: &observe::Connection<'_>) {
        let Some(place) = connection.place else {
            return;
        };
        let side = self.sides.get(&**connection.listener);
        let connection = Connection {
            t_us: self.origin.micros(Instant::now()),
            side: side.copied().unwrap_or_default(),
            caller: place.caller.clone(),
            service: place.service.clone(),
            number: connection.number.connection,
            reopenings: connection.number.reopenings,
            numbered: connection.numbered,
            considered: connection.considered.to_vec(),
            hits: connection.hits.iter().map(hit).collect(),
        };
        let _ = self.events.send(RunEvent::Connection(Arc::new(connection)));
    }

    fn changed(&self, change: &observe::Change<'_>) {
        let Some(service) = super::mesh::service_of(change.cluster) else {
            return;
        };
        let _ = self.events.send(RunEvent::Changed(Changed {
            t_us: self.origin.micros(Instant::now()),
            kind: change.what.name(),
            service: service.into(),
            endpoint: change
                .endpoint
                .map_or_else(String::new, |endpoint| endpoint.to_string()),
            from: change.from.to_owned(),
            to: change.to.to_owned(),
            why: change.why.to_owned(),
        }));
    }

    fn mirrored(&self, mut mirrored: Mirrored) {
        let body = |answer: &Option<observe::Answer>| {
            answer.as_ref().map_or(0, |answer| answer.body.len())
        };
        let mut bytes = body(&mirrored.primary) + body(&mirrored.answer) + BESIDE_BODIES;
        if mirrored.outcome != Outcome::Compared {
            // There is nothing to compare, and nothing that could be left out but its reason.
            bytes = 0;
        }
        let t_us = self.origin.micros(Instant::now());
        if !self.waiting.add(bytes, t_us) {
            mirrored.outcome = Outcome::Skipped("compare_queue");
            mirrored.primary = None;
            mirrored.answer = None;
            bytes = 0;
        }
        self.give(Work::Pair(Settled {
            t_us,
            mirrored,
            bytes,
        }));
    }
}

/// What a sidecar has seen; `None`: the listener is no sidecar.
fn hop(record: &Record<'_>, origin: &Origin, sides: &BTreeMap<String, u8>) -> Option<Hop> {
    let place = record.place?;
    let identity = record.identity;
    let us = |duration: Duration| duration.as_micros() as Micros;
    Some(Hop {
        ordinal: identity.ordinal,
        // What a shadow does is the shadow's, also where it has lost the trace id.
        side: sides
            .get(&**record.listener)
            .copied()
            .unwrap_or(identity.side),
        intended_ms: identity.intended_ms,
        n: identity.n,
        scheduled: identity.scheduled,
        caller: place.caller.clone(),
        service: place.service.clone(),
        inbound: place.direction == Direction::Inbound,
        method: record.method.as_str().to_owned(),
        path: record.path.to_owned(),
        start_us: origin.micros(record.start),
        us: us(record.duration),
        status: record.status.map(|status| status.as_u16()),
        complete: record.complete,
        flags: record.flags,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        considered: record.considered.to_vec(),
        hits: record.hits.iter().map(hit).collect(),
        attempts: record.attempts.iter().map(attempt).collect(),
    })
}

fn hit(hit: &observe::Hit) -> Hit {
    let drawn = |number: f64| (!number.is_nan()).then_some(number);
    let us = |duration: Duration| duration.as_micros() as Micros;
    Hit {
        fault: hit.fault.clone(),
        attempt: hit.attempt,
        u: drawn(hit.u),
        p: drawn(hit.p),
        effect: hit.effect.name(),
        asked_us: hit.asked.map(us),
        actual_us: hit.actual.map(us),
        status: hit.status.map(|status| status.as_u16()),
        why: hit.why.map(str::to_owned),
    }
}

fn attempt(attempt: &observe::Attempt) -> Attempt {
    Attempt {
        endpoint: attempt.endpoint.map(|address| address.to_string()),
        us: attempt.duration.as_micros() as Micros,
        status: attempt.status.map(|status| status.as_u16()),
        why: attempt.why.as_deref().map(str::to_owned),
    }
}

fn compared(settled: Settled, rules: &Rules, redaction: &Redaction) -> Mirror {
    let Settled { t_us, mirrored, .. } = settled;
    let (outcome, why) = match mirrored.outcome {
        Outcome::Compared => (MirrorOutcome::Compared, None),
        Outcome::Shed(why) => (MirrorOutcome::Shed, Some(why)),
        Outcome::Failed(why) => (MirrorOutcome::Failed, Some(why)),
        Outcome::Skipped(why) => (MirrorOutcome::Skipped, Some(why)),
    };
    let primary = mirrored.primary.as_ref().map(shadow::Answer::from);
    let answer = mirrored.answer.as_ref().map(shadow::Answer::from);
    let differences = match (&primary, &answer) {
        (Some(primary), Some(answer)) if outcome == MirrorOutcome::Compared => {
            shadow::compare(&mirrored.path, primary, answer, rules)
        }
        _ => Vec::new(),
    };
    let asked = mirrored.asked.filter(|_| !differences.is_empty());
    let (caller, service) = mirrored.place.map_or_else(
        || ("".into(), "".into()),
        |place| (place.caller, place.service),
    );
    let sha256 = primary.as_ref().map(shadow::Answer::sha256);
    let same = primary
        .as_ref()
        .zip(answer.as_ref())
        .is_some_and(|(primary, answer)| primary.body == answer.body);
    // Most are the same, and hashing takes longer than comparing.
    let answer_sha256 = if same {
        sha256.clone()
    } else {
        answer.as_ref().map(shadow::Answer::sha256)
    };
    let facts = |told: &Option<observe::Answer>, sha256: Option<String>| {
        told.as_ref().zip(sha256).map(|(told, sha256)| Answered {
            status: told.status.as_u16(),
            us: told.duration.as_micros() as Micros,
            sha256,
        })
    };
    Mirror {
        t_us,
        ordinal: mirrored.identity.ordinal,
        intended_ms: mirrored.identity.intended_ms,
        n: mirrored.identity.n,
        caller,
        service,
        shadow: mirrored.shadow,
        endpoint: rules.endpoint(mirrored.method.as_str(), &mirrored.path),
        method: mirrored.method.as_str().to_owned(),
        first: mirrored.first.name(),
        outcome,
        why: why.map(str::to_owned),
        primary: facts(&mirrored.primary, sha256),
        answer: facts(&mirrored.answer, answer_sha256),
        differences: differences
            .into_iter()
            .map(|difference| told(difference, redaction))
            .collect(),
        path: mirrored.path,
        asked: asked.map(|asked| Arc::new(shown(&asked, redaction))),
    }
}

/// Headers that belong to a hop or to this run, not to what was asked.
const OWN: [&str; 4] = [
    "content-length",
    "traceparent",
    "x-request-id",
    "x-forwarded-proto",
];

/// A request as it may be shown.
fn shown(asked: &observe::Asked, redaction: &Redaction) -> Asked {
    let is_own = |name: &str| OWN.contains(&name) || name.starts_with("x-envoy-");
    let headers = asked
        .headers
        .iter()
        .filter(|(name, _)| !is_own(name.as_str()));
    let whole = asked.body.len() as u64 == asked.length;
    // Where a part of it is secret, the beginning of a body cannot be told from the rest.
    let body = match redaction.body(&asked.body) {
        Some(body) => body,
        None if !whole && redaction.hides_in_bodies() => Vec::new(),
        None => asked.body.to_vec(),
    };
    Asked {
        headers: headers
            .map(|(name, value)| {
                let value = if redaction.hides_header(name.as_str()) {
                    shadow::REDACTED.to_owned()
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                (name.as_str().to_owned(), value)
            })
            .collect(),
        length: if whole {
            body.len() as u64
        } else {
            asked.length
        },
        body,
    }
}

fn told(mut difference: shadow::Difference, redaction: &Redaction) -> Difference {
    redaction.apply(&mut difference);
    Difference {
        path: difference.template,
        at: difference.path,
        kind: difference.kind.name(),
        primary: difference.primary,
        shadow: difference.candidate,
        rule: difference.ignored_by,
        shape: difference.shape,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode};
    use meshbed_proxy::{config::Place, observe::Identity};

    use super::*;

    fn place() -> Place {
        Place {
            caller: "shop".into(),
            service: "cart".into(),
            direction: Direction::Outbound,
        }
    }

    const IDENTITY: Identity = Identity {
        ordinal: 17,
        side: 0,
        intended_ms: Some(340),
        n: 1,
        scheduled: true,
    };

    fn answer(body: &str) -> observe::Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        observe::Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            length: body.len() as u64,
            rest: None,
            trailers: None,
            duration: Duration::from_micros(900),
        }
    }

    fn asked(body: &str) -> observe::Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cookie", "session=1"),
            ("accept", "*/*"),
            ("traceparent", "00-1-2-00"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        observe::Asked {
            headers: Arc::new(headers),
            body: Bytes::copy_from_slice(body.as_bytes()),
            length: body.len() as u64,
        }
    }

    fn mirrored(primary: &str, shadow: &str) -> Mirrored {
        Mirrored {
            identity: IDENTITY,
            place: Some(place()),
            shadow: "candidate".into(),
            method: Method::GET,
            path: "/cart/42?x=1".to_owned(),
            first: observe::First::Shadow,
            outcome: Outcome::Compared,
            primary: Some(answer(primary)),
            answer: Some(answer(shadow)),
            asked: Some(asked("")),
        }
    }

    fn told_of(mirrored: Vec<Mirrored>, redact: &[&str]) -> Vec<Arc<Mirror>> {
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        let (collector, comparing) = Collector::start(
            Origin::default(),
            BTreeMap::new(),
            Rules::default(),
            Redaction::parse(redact).unwrap(),
            events,
        )
        .unwrap();
        for one in mirrored {
            collector.mirrored(one);
        }
        drop(collector);
        comparing.join();
        std::iter::from_fn(|| received.blocking_recv())
            .map(|event| match event {
                RunEvent::Mirror(mirror) => mirror,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_pair_is_compared_hashed_and_redacted() {
        let told = told_of(
            vec![mirrored(
                r#"{"total":5,"card":"4111"}"#,
                r#"{"total":5,"card":"4242"}"#,
            )],
            &["$.card"],
        );
        let mirror = &told[0];
        assert_eq!(mirror.endpoint, "GET /cart/{id}");
        assert_eq!(mirror.outcome, MirrorOutcome::Compared);
        assert_eq!(mirror.differences.len(), 1);
        assert_eq!(mirror.differences[0].path, "$.card");
        assert_eq!(
            mirror.differences[0].shadow,
            Some(serde_json::Value::from(shadow::REDACTED))
        );
        // sha256 of {"total":5,"card":"4111"}, by sha256sum.
        assert_eq!(
            mirror.primary.as_ref().unwrap().sha256,
            "6ad72ce842e44be61f3f43d097900e07f8b0ad9b6b744ad7e6556b5950e4ac2d"
        );
    }

    #[test]
    fn what_was_asked_is_told_without_secrets_where_answers_differ() {
        let mut differs = mirrored(r#"{"total":5}"#, r#"{"total":6}"#);
        differs.asked = Some(asked(r#"{"card":"4111"}"#));
        let same = mirrored("{}", "{}");
        // Two threads compare: either may be told first.
        let (equal, differing): (Vec<_>, Vec<_>) =
            told_of(vec![differs, same], &["cookie", "$.card"])
                .into_iter()
                .partition(|told| told.differences.is_empty());
        let shown = differing[0].asked.as_ref().unwrap();
        assert_eq!(
            shown.headers,
            [("cookie", shadow::REDACTED), ("accept", "*/*")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(shown.body, br#"{"card":"[redacted]"}"#);
        assert!(shown.is_whole());
        assert_eq!(equal[0].asked, None);
    }

    #[test]
    fn the_beginning_of_a_body_with_secrets_is_not_told() {
        let mut cut = asked(r#"{"card":"41"#);
        cut.length = 9_000;
        let redaction = Redaction::parse(&["$.card"]).unwrap();
        let told = shown(&cut, &redaction);
        assert_eq!((told.body.len(), told.length), (0, 9_000));
        let told = shown(&cut, &Redaction::default());
        assert_eq!((told.body.len(), told.length), (11, 9_000));
    }

    #[test]
    fn help_is_called_for_much_or_long_waiting_only() {
        let waiting = Waiting::default();
        assert!(waiting.add(10, 0) && waiting.add(10, LONG_US));
        assert!(!waiting.needs_help());
        assert!(waiting.add(10, LONG_US + 1));
        assert!(waiting.needs_help(), "a pair of 0 still waits");

        let waiting = Waiting::default();
        assert!(waiting.add(10, 0));
        waiting.took(0);
        waiting.done(10);
        // Nothing waited meanwhile.
        assert!(waiting.add(10, 10 * LONG_US));
        assert!(!waiting.needs_help());
        assert!(waiting.add(MUCH, 10 * LONG_US));
        assert!(waiting.needs_help());
        waiting.done(MUCH);
        assert!(!waiting.needs_help());
        assert!(!waiting.add(MAX_WAITING, 10 * LONG_US), "no room");
        assert!(!waiting.needs_help(), "what is turned away does not wait");
    }

    #[test]
    fn help_compares_what_the_first_has_no_time_for_and_ends() {
        let (send, work) = mpsc::channel();
        let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
        let bench = Bench {
            queue: Mutex::new(Queue {
                work,
                rules: Arc::new(Rules::default()),
                ended: false,
            }),
            waiting: Arc::default(),
            redaction: Redaction::default(),
            events,
        };
        for _ in 0..10 {
            let bytes = MUCH / 5;
            assert!(bench.waiting.add(bytes, 0));
            let mirrored = mirrored(r#"{"a":1}"#, r#"{"a":2}"#);
            let pair = Work::Pair(Settled {
                t_us: 0,
                mirrored,
                bytes,
            });
            assert!(send.send(pair).is_ok());
        }
        drop(send);
        bench.waiting.closing.store(true, Ordering::Release);
        bench.help();
        let mut count = 0;
        while let Ok(RunEvent::Mirror(mirror)) = told.try_recv() {
            assert_eq!(mirror.differences.len(), 1);
            count += 1;
        }
        assert_eq!(count, 10);
        assert_eq!(bench.waiting.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_not_compared_says_why() {
        let mut shed = mirrored("", "");
        shed.outcome = Outcome::Shed("in_flight");
        shed.answer = None;
        let told = told_of(vec![shed], &[]);
        assert_eq!(told[0].outcome, MirrorOutcome::Shed);
        assert_eq!(told[0].why.as_deref(), Some("in_flight"));
        assert!(told[0].differences.is_empty() && told[0].answer.is_none());
    }

    #[test]
    fn what_a_shadow_does_is_its_own_also_without_a_trace_id() {
        let listener: Arc<str> = "out:~candidate>cart".into();
        let place = place();
        let record = Record {
            listener: &listener,
            place: Some(&place),
            identity: Identity {
                scheduled: false,
                intended_ms: None,
                ..IDENTITY
            },
            downstream: ([127, 0, 0, 1], 1).into(),
            method: &Method::GET,
            path: "/cart/42",
            authority: "",
            route: "",
            cluster: "",
            status: Some(StatusCode::OK),
            complete: true,
            flags: observe::Flags::DI,
            details: "",
            start: Instant::now(),
            duration: Duration::from_millis(3),
            bytes_in: 0,
            bytes_out: 2,
            attempts: &[],
            considered: &[],
            hits: &[observe::Hit {
                attempt: 0,
                fault: "slow".into(),
                u: f64::NAN,
                p: f64::NAN,
                effect: observe::Effect::Applied,
                asked: Some(Duration::from_millis(2)),
                actual: None,
                status: None,
                why: None,
            }],
        };
        let sides = BTreeMap::from([("out:~candidate>cart".to_owned(), 1)]);
        let seen = hop(&record, &Origin::default(), &sides).unwrap();
        assert_eq!((seen.side, seen.us, seen.ordinal), (1, 3_000, 17));
        assert_eq!((seen.hits[0].u, seen.hits[0].asked_us), (None, Some(2_000)));
        assert!(!seen.inbound && !seen.scheduled);
    }
}
