//! Mirrors live traffic to shadow versions and compares the answers, until told to stop.
//!
//! ```text
//!            ┌ Source ─────────────────────┐  Observer   ┌ Session ──────────────────────┐
//!  clients ─►│ sees requests and answers,  │────────────►│ compares (a thread of its own)│─► RunEvent ─► report, screens
//!            │ sends copies to the shadows │  hops,pairs │ measures                      │
//!            └─────────────────────────────┘             └───────────────────────────────┘
//! ```
//!
//! A [`Source`] is one way to get at the traffic; the [`Session`] is the same for all of them. What is asked for is a
//! [`Scenario`] like any other ([`plan`]): one service, [`LIVE`], and its shadows.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep, sleep_until, timeout},
};

use self::places::Places;
use crate::{
    event::{Micros, RunEvent, RunState, Tick},
    measure::Measured,
    replay::{clock, naps},
    run::{
        Failure, chain,
        collect::{Collector, Comparing, Origin},
    },
    scenario::Scenario,
    shadow::Redaction,
};

pub mod ends;
pub mod intercept;
mod listener;
mod live;
mod places;
pub mod plan;
mod source;
#[cfg(feature = "live")]
pub mod tap;

pub use listener::Listener;
pub use live::Live;
pub use plan::{LIVE, PHASE};
pub use source::{Intercept, Source};
#[cfg(feature = "live")]
pub use tap::Tap;

/// A second: how often the session says how it stands.
const SECOND: Micros = 1_000_000;

/// Under load events are taken in this often, rather than one by one: being woken costs more than taking one in.
const NAP: Duration = Duration::from_millis(10);

/// Events taken in at once, before the clock is looked at again: about a millisecond of work.
const BATCH: usize = 1024;

/// Of fewer than a batch so many are taken in between one giving way and the next: some tens of microseconds.
const SIP: usize = 32;

/// Events that are on their way when everybody who tells is gone are waited for at most so long.
const SETTLE: Duration = Duration::from_secs(5);

/// A source is asked so often whether what was under way has ended.
const DRAIN_SLICE: Duration = Duration::from_millis(50);

/// What a session is asked to do.
#[derive(Debug)]
pub enum Order {
    /// End; a second time: without waiting for what is under way.
    Stop,
    /// Compare and copy as this says from now on. Its service and its shadows are the same.
    Reload(Box<Scenario>),
    /// Something a person should know.
    Note(String),
}

/// Traffic that is being mirrored.
#[derive(Debug)]
pub struct Session {
    scenario: Arc<Scenario>,
    origin: Origin,
    live: Arc<Live>,
    comparing: Comparing,
    told: UnboundedReceiver<RunEvent>,
    tell: UnboundedSender<RunEvent>,
    fold: Fold,
}

/// What the events come to.
#[derive(Debug)]
struct Fold {
    measured: Measured,
    tally: Tally,
    places: Places,
}

impl Fold {
    fn take(&mut self, mut event: RunEvent, show: &mut impl FnMut(&RunEvent)) {
        if let RunEvent::Mirror(mirror) = &mut event {
            self.places.bound(mirror);
        }
        self.tally.add(&event);
        self.measured.add(&event);
        show(&event);
    }
}

/// Requests of the primary so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// That have ended.
    pub requests: u64,
    /// Of those, answered in full.
    pub answered: u64,
}

impl Tally {
    fn add(&mut self, event: &RunEvent) {
        if let RunEvent::Served(served) = event {
            self.requests += served.requests;
            self.answered += served.latency.count();
        }
    }
}

/// Where a source says what a person should know.
#[derive(Debug, Clone)]
pub struct Notes {
    origin: Origin,
    tell: UnboundedSender<RunEvent>,
}

impl Notes {
    /// Says so.
    pub fn tell(&self, text: String) {
        let t_us = self.origin.micros(Instant::now());
        // Nobody listens when the session is over.
        let _ = self.tell.send(RunEvent::Note { t_us, text });
    }
}

/// What a session came to.
#[derive(Debug)]
pub struct Mirrored {
    /// What it did in the end; a reload may have changed it.
    pub scenario: Arc<Scenario>,
    /// What was measured.
    pub measured: Measured,
    /// Requests of the primary.
    pub tally: Tally,
    /// How long it took.
    pub length_us: Micros,
}

impl Session {
    /// Makes ready to be told of requests and pairs; its clock starts now.
    ///
    /// # Errors
    /// When the thread that compares cannot be started, or what is to be hidden is no path.
    pub fn start(scenario: Arc<Scenario>) -> Result<Self, Failure> {
        let (tell, told) = unbounded_channel();
        let origin = Origin::default();
        origin.set(Instant::now());
        let redaction = Redaction::parse(&scenario.report.redact)
            .map_err(|error| Failure::Scenario(format!("what is to be hidden: {error}")))?;
        let (collector, comparing) = Collector::start(
            origin.clone(),
            std::collections::BTreeMap::new(),
            scenario.diff.rules.clone(),
            redaction,
            tell.clone(),
        )
        .map_err(|error| {
            Failure::Environment(format!(
                "cannot start the comparison of answers: {}",
                chain(&error)
            ))
        })?;
        let live = Live::new(collector, scenario.errors.clone());
        Ok(Self {
            fold: Fold {
                measured: Measured::new(scenario.measuring()),
                tally: Tally::default(),
                places: Places::default(),
            },
            scenario,
            origin,
            live: Arc::new(live),
            comparing,
            told,
            tell,
        })
    }

    /// Whom a source tells of the primary's requests and of pairs; what it tells is compared and measured.
    pub fn observer(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Where a source says what a person should know.
    pub fn notes(&self) -> Notes {
        Notes {
            origin: self.origin.clone(),
            tell: self.tell.clone(),
        }
    }

    /// Mirrors until it is told to stop, its source has ended, or its time is over; then waits for what is under way.
    /// Every event is shown, in order.
    pub async fn run(
        mut self,
        mut source: Source,
        orders: &mut UnboundedReceiver<Order>,
        mut show: impl FnMut(&RunEvent),
    ) -> Mirrored {
        // The source has its own threads already.
        clock::after_others();
        let state = |t_us, state| RunEvent::Run { t_us, state };
        let phase = |t_us, begun| RunEvent::Phase {
            t_us,
            id: PHASE.into(),
            begun,
        };
        self.take(state(0, RunState::Playing), &mut show);
        self.take(phase(0, true), &mut show);
        self.play(&mut source, orders, &mut show).await;
        let length_us = self.now_us();
        self.take(phase(length_us, false), &mut show);
        self.take(state(length_us, RunState::Draining), &mut show);
        self.drain(&source, orders, &mut show);
        if let Some(text) = source.left() {
            self.note(text, &mut show);
        }
        drop(source);
        self.close(length_us, show).await
    }

    fn now_us(&self) -> Micros {
        self.origin.micros(Instant::now())
    }

    fn take(&mut self, event: RunEvent, show: &mut impl FnMut(&RunEvent)) {
        self.fold.take(event, show);
    }

    /// Takes in what was served since the last time.
    fn count(&mut self, show: &mut impl FnMut(&RunEvent)) {
        let t_us = self.now_us();
        if let Some(served) = self.live.take(t_us) {
            self.take(RunEvent::Served(Arc::new(served)), show);
        }
    }

    fn note(&mut self, text: String, show: &mut impl FnMut(&RunEvent)) {
        let t_us = self.now_us();
        self.take(RunEvent::Note { t_us, text }, show);
    }

    async fn play(
        &mut self,
        source: &mut Source,
        orders: &mut UnboundedReceiver<Order>,
        show: &mut impl FnMut(&RunEvent),
    ) {
        let begin = Instant::now() - Duration::from_micros(self.now_us());
        let at = |us: Micros| begin + Duration::from_micros(us);
        let end_us = self.scenario.length_us();
        let mut second = 0;
        let mut batch = Vec::with_capacity(BATCH);
        // Under load it is not woken for each event, see [`NAP`].
        let mut busy = false;
        loop {
            let next_us = ((second + 1) * SECOND).min(end_us);
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload(scenario)) => self.reload(*scenario, source, show),
                    Some(Order::Note(text)) => self.note(text, show),
                    Some(Order::Stop) | None => return,
                },
                () = sleep_until(at(next_us)) => {}
                () = sleep(NAP), if busy => {}
                _ = self.told.recv_many(&mut batch, BATCH), if !busy => {}
            }
            busy = self.drink(&mut batch, show);
            let now = self.now_us();
            if now >= end_us || source.has_ended() {
                return;
            }
            if now >= (second + 1) * SECOND {
                self.count(show);
                let tick = self.tick(second);
                self.take(RunEvent::Tick(tick), show);
                second = now / SECOND;
            }
        }
    }

    /// Takes in all that has been told, after what is in the batch already. Whether there was anything.
    fn drink(&mut self, batch: &mut Vec<RunEvent>, show: &mut impl FnMut(&RunEvent)) -> bool {
        let mut any = false;
        loop {
            while batch.len() < BATCH
                && let Ok(event) = self.told.try_recv()
            {
                batch.push(event);
            }
            if batch.is_empty() {
                return any;
            }
            any = true;
            let few = batch.len() < BATCH;
            for (number, event) in batch.drain(..).enumerate() {
                self.take(event, show);
                if few && number % SIP == 0 {
                    naps::give_way();
                }
            }
        }
    }

    fn tick(&self, sec: u64) -> Tick {
        Tick {
            t_us: (sec + 1) * SECOND,
            sec,
            planned: self.fold.tally.requests,
            sent: self.fold.tally.requests,
            done: self.fold.tally.answered,
            late_p99_us: 0,
            in_flight: 0,
        }
    }

    /// What is copied and how answers are compared changes, for requests from now on.
    fn reload(
        &mut self,
        scenario: Scenario,
        source: &mut Source,
        show: &mut impl FnMut(&RunEvent),
    ) {
        let scenario = Arc::new(scenario);
        let text = match source.reload(&scenario) {
            Ok(()) => {
                self.live.compare_by(scenario.diff.rules.clone());
                self.fold
                    .measured
                    .judge_by(scenario.diff.alpha, scenario.diff.min_effect.get());
                self.scenario = scenario;
                "reloaded".to_owned()
            }
            Err(why) => format!("not reloaded, the old settings stay: {why}"),
        };
        self.note(text, show);
    }

    /// Waits until what is under way has ended, at most until the shadows' deadlines are over.
    fn drain(
        &mut self,
        source: &Source,
        orders: &mut UnboundedReceiver<Order>,
        show: &mut impl FnMut(&RunEvent),
    ) {
        let deadlines = self.scenario.shadows.iter().map(|one| one.limits.deadline);
        let end = Instant::now() + source.patience() + deadlines.max().unwrap_or_default();
        let mut batch = Vec::with_capacity(BATCH);
        // In slices: it blocks, and a person may be in a hurry.
        while !source.drain(DRAIN_SLICE) && Instant::now() < end {
            if let Ok(Order::Stop) = orders.try_recv() {
                return;
            }
            self.drink(&mut batch, show);
        }
    }

    /// Sums up. The source is gone.
    async fn close(mut self, length_us: Micros, mut show: impl FnMut(&RunEvent)) -> Mirrored {
        let (tell, _) = unbounded_channel();
        drop(std::mem::replace(&mut self.tell, tell));
        self.count(&mut show);
        let Self {
            scenario,
            live,
            comparing,
            mut told,
            mut fold,
            origin,
            ..
        } = self;
        live.end();
        drop(live);
        comparing.join();
        // Everybody who could tell something is gone, so this ends.
        while let Ok(Some(event)) = timeout(SETTLE, told.recv()).await {
            fold.take(event, &mut show);
        }
        let ended = RunEvent::Run {
            t_us: origin.micros(Instant::now()),
            state: RunState::Finished,
        };
        fold.take(ended, &mut show);
        Mirrored {
            scenario,
            measured: fold.measured,
            tally: fold.tally,
            length_us,
        }
    }
}
