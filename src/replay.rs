//! Drives a schedule through a sender until told to stop.
//!
//! ```text
//! schedule::build ── Arc<Schedule> ──┬─> scheduler thread: pacer + clock ── released ──> I/O thread: sender ── RunEvent ──> sink
//!                                    └──────────── lanes, connections to open ahead ───────────^
//! ```
//!
//! Open loop: the schedule is fixed, and a slow answer never moves a later sending. What that costs is measured, not
//! hidden: `released` is stamped by the scheduler thread when it lets a request go, `sent` when a connection takes it.

pub mod arrival;
pub mod clock;
pub mod identity;
pub mod naps;
pub mod pacer;
pub mod rewrite;
pub mod schedule;
mod sender;
mod tally;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::{
    config::tls,
    net::{numbers::Numbers, tls::Client},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::{clock::Clock, pacer::Pacer, sender::Released, tally::Tally};
pub use self::{
    rewrite::Prepared,
    schedule::{Lane, Planned, Schedule, TraceFacts},
    tally::{Quantiles, Stats, Totals},
};
use crate::event::{Id, Micros, RunEvent, Tick};

/// How long before its first request is due a connection is opened: longer than a handshake takes on a network worth
/// testing on, short enough that a server's idle timeout does not close it again.
pub const AHEAD: Duration = Duration::from_millis(500);

/// The scheduler looks this often whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(20);

/// What a run gives the generator.
#[derive(Debug, Clone)]
pub struct Drive {
    /// Where the requests for each service go: the entry sidecar's listener for it.
    pub targets: BTreeMap<Id, SocketAddr>,
    /// The run's number in trace ids; 40 bits count.
    pub run: u64,
    /// The moment that due times count from. At least [`AHEAD`] from now, the first connections are open in time.
    pub origin: Instant,
    /// How the services are spoken to that are spoken to over TLS.
    pub tls: BTreeMap<Id, tls::Client>,
    /// Where sidecars learn which connection is which; `None`: none asks.
    pub numbers: Option<Numbers>,
}

/// Why a schedule cannot be driven.
#[derive(Debug)]
pub enum StartError {
    /// A source's service has no address.
    NoTarget {
        /// The source.
        source_id: Id,
        /// Its service.
        service: Id,
    },
    /// TLS cannot be spoken.
    Tls(String),
    /// A thread cannot be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget { source_id, service } => write!(
                f,
                "traffic `{source_id}` goes to `{service}`, which has no address"
            ),
            Self::Tls(why) => write!(f, "the generator cannot speak TLS: {why}"),
            Self::Thread(_) => f.write_str("cannot start the generator's threads"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoTarget { .. } | Self::Tls(_) => None,
            Self::Thread(error) => Some(error),
        }
    }
}

/// How the generator is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Not at all: it ends when the last request has.
    Running,
    /// Now; requests under way may take until then.
    By(Instant),
}

/// A schedule that is being driven. Dropped, it stops at once.
#[derive(Debug)]
pub struct Driving {
    tally: Arc<Tally>,
    schedule: Arc<Schedule>,
    clock: Clock,
    stopped: Arc<AtomicBool>,
    stop: watch::Sender<Stop>,
    /// The I/O thread's processor time, once it is at its end.
    ended: watch::Receiver<Option<Duration>>,
    scheduler: Option<thread::JoinHandle<Duration>>,
    io: Option<thread::JoinHandle<()>>,
}

/// Starts to drive a schedule. The sink is called on the I/O thread, with [`RunEvent::Request`] for every request that was
/// released, exactly once, and [`RunEvent::Overflow`]; it must not block.
pub fn start(
    schedule: Arc<Schedule>,
    drive: &Drive,
    sink: impl Fn(RunEvent) + Send + 'static,
) -> Result<Driving, StartError> {
    let targets = targets(&schedule, &drive.targets)?;
    let clock = Clock::starting_at(drive.origin);
    let tally = Arc::new(Tally::default());
    let stopped = Arc::new(AtomicBool::new(false));
    let (stop, told) = watch::channel(Stop::Running);
    let (released, to_send) = mpsc::unbounded_channel();
    let (end, ended) = watch::channel(None);

    let sender = sender::Sender {
        schedule: Arc::clone(&schedule),
        targets,
        run: drive.run,
        clock,
        origin: drive.origin,
        tally: Arc::clone(&tally),
        numbers: drive.numbers.clone(),
        tls: secured(&schedule, &drive.tls)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let io = thread::Builder::new()
        .name("replay-io".to_owned())
        .spawn(move || {
            clock::before_others();
            runtime.block_on(sender.run(to_send, told, Box::new(sink)));
            end.send_replace(Some(clock::thread_cpu()));
        })
        .map_err(StartError::Thread)?;
    let mut driving = Driving {
        tally: Arc::clone(&tally),
        schedule: Arc::clone(&schedule),
        clock,
        stopped: Arc::clone(&stopped),
        stop,
        ended,
        scheduler: None,
        io: Some(io),
    };
    driving.scheduler = thread::Builder::new()
        .name("replay-pacer".to_owned())
        .spawn(move || {
            clock::fine();
            clock::first();
            release(&schedule.planned, clock, &stopped, &tally, &released);
            clock::thread_cpu()
        })
        .map(Some)
        .map_err(StartError::Thread)?;
    Ok(driving)
}

impl Driving {
    /// Releases nothing more. What waits for a connection or a place is given up at once, what is under way when `grace`
    /// is over.
    pub fn stop(&self, grace: Duration) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stop.send_replace(Stop::By(Instant::now() + grace));
    }

    /// What the generator has done so far.
    pub fn stats(&self) -> Stats {
        let due = self.schedule.due_before(self.clock.now_us());
        self.tally.stats(due as u64)
    }

    /// What the generator has done so far, with its lateness since the last call.
    pub fn tick(&self, sec: u64) -> Tick {
        let stats = self.stats();
        Tick {
            t_us: self.clock.now_us(),
            sec,
            planned: stats.planned,
            sent: stats.sent,
            done: stats.done,
            late_p99_us: self.tally.take_late_p99(),
            in_flight: stats.in_flight,
        }
    }

    /// Waits until every request that was released has ended. Dropping the future changes nothing.
    pub async fn ended(&self) {
        // The error: the thread died, which `join` tells.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }

    /// Waits as [`Self::ended`] does, and sums up. Dropping the future stops the generator.
    pub async fn join(mut self) -> Result<Totals, Died> {
        self.ended().await;
        let io_cpu = self.ended.borrow().ok_or(Died)?;
        let elapsed = Duration::from_micros(self.clock.now_us().max(1));
        // Both threads are at their end: the one told us, and it ends after the other.
        let scheduler_cpu = match self.scheduler.take() {
            Some(scheduler) => scheduler.join().map_err(|_| Died)?,
            None => Duration::ZERO,
        };
        if let Some(io) = self.io.take() {
            io.join().map_err(|_| Died)?;
        }
        let cpu = (io_cpu + scheduler_cpu).as_secs_f64() / elapsed.as_secs_f64();
        Ok(self.tally.totals(self.stats(), cpu))
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// A thread of the generator panicked: what it did is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died;

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread of the generator has died")
    }
}

impl std::error::Error for Died {}

/// The address of each source.
fn targets(
    schedule: &Schedule,
    targets: &BTreeMap<Id, SocketAddr>,
) -> Result<Vec<SocketAddr>, StartError> {
    schedule
        .sources
        .iter()
        .map(|lane| {
            targets
                .get(&lane.service)
                .copied()
                .ok_or_else(|| StartError::NoTarget {
                    source_id: Arc::clone(&lane.id),
                    service: Arc::clone(&lane.service),
                })
        })
        .collect()
}

/// How each source speaks TLS; `None`: it does not.
fn secured(
    schedule: &Schedule,
    clients: &BTreeMap<Id, tls::Client>,
) -> Result<Vec<Option<Arc<Client>>>, StartError> {
    let client = |lane: &Lane| match clients.get(&lane.service) {
        None => Ok(None),
        Some(settings) => Client::new(settings.clone())
            .map(|client| Some(Arc::new(client)))
            .map_err(|wrong| StartError::Tls(wrong.to_string())),
    };
    schedule.sources.iter().map(client).collect()
}

/// The scheduler thread: lets each request go when it is due, until all are gone or `stopped` is set.
fn release(
    planned: &[Planned],
    clock: Clock,
    stopped: &AtomicBool,
    tally: &Tally,
    released: &mpsc::UnboundedSender<Released>,
) {
    let due = |planned: &Planned| -> Micros { planned.due_us };
    let mut pacer = Pacer::new(planned, due);
    while let Some(next) = pacer.next_due() {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        if !clock.sleep_until(next, STOP_POLL) {
            continue;
        }
        for index in pacer.release(clock.now_us()) {
            let released_us = clock.now_us();
            let intended_us = planned.get(index).map_or(released_us, due);
            tally.released(released_us.saturating_sub(intended_us));
            if released.send(Released { index, released_us }).is_err() {
                return;
            }
        }
    }
}
