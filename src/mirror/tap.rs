//! Passive mirroring: requests and answers are read off the wire, and the primary is not touched at all.
//!
//! ```text
//!  wire ──libpcap──► Follower ──► Scene ──request──► Listener (our proxy) ──copies──► shadows
//!                   (a thread)      │                    │      ▲
//!                                   └──recorded answer──►Stage ─┘  plays the primary
//! ```
//!
//! Each exchange is played again within this process: our proxy asks, a stage answers as the primary was seen to, and the
//! proxy mirrors it as it would mirror a client's request. So sampling, matching, limits and comparison are those of the
//! listener; only what the primary took is told by the wire.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use meshbed_proxy::{
    policy::matcher::{How, Named, Text},
    policy::mirror::Limits,
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use self::{losses::Losses, scene::Scene, told::Told};
use super::{Listener, Live, Notes, ends::Ends};
use crate::{
    capture::{
        Exchange,
        follow::Follower,
        live::{self, NAP},
    },
    run::{Failure, chain},
    scenario::{Backing, Scenario},
};

mod losses;
mod player;
mod scene;
mod told;

/// The header by which a request and its recorded answer find each other; it is on no copy.
const TAP: &str = "x-meshbed-tap";

/// Connections to our own proxy. Exchanges of one connection keep their order on one of them.
const LANES: usize = 4;

/// Exchanges that may wait to be played, on each lane.
const LANE: usize = 1024;

/// Bytes of bodies that may wait to be played.
const WAITING_MAX: usize = 64 << 20;

/// Bytes that the bodies of all open exchanges may take together.
const BODIES_MAX: usize = 64 << 20;

/// How often it is looked what was lost.
const LOOK: Duration = Duration::from_secs(1);

/// How often at most a person is told of it.
const TELL: Duration = Duration::from_secs(10);

/// Once told to end, packets that have passed are waited for at most so long.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Packets that are taken in before the clock is looked at.
const BATCH: u32 = 256;

/// An interface that is listened to.
#[derive(Debug)]
pub struct Tap {
    place: Place,
    listener: Listener,
    stage: SocketAddr,
    shared: Arc<Shared>,
    /// They end when they are told to stop, in this order.
    capture: Option<JoinHandle<()>>,
    player: Option<JoinHandle<()>>,
}

/// Where is listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The interface; `any` is all of them.
    pub interface: String,
    /// The primary's port.
    pub port: u16,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// The interface has gone.
    broken: AtomicBool,
    /// Bytes that wait to be played.
    waiting: AtomicUsize,
    /// What bodies are kept up to; a reload may change it.
    limits: std::sync::Mutex<Limits>,
    losses: Losses,
    /// What tells our own requests from those of whoever finds our port.
    secret: String,
}

impl Tap {
    /// Listens to an interface, and tells the observer of exchanges and pairs.
    pub fn start(
        scenario: &Scenario,
        place: Place,
        ends: Ends,
        observer: Arc<Live>,
        notes: Notes,
    ) -> Result<Self, Failure> {
        let environment = |what: &str, error: &dyn std::error::Error| {
            Failure::Environment(format!("{what}: {}", chain(error)))
        };
        let shadows = addresses(scenario);
        let live = live::Live::open(&place.interface, Some(&filter(place.port, &shadows)))
            .map_err(|error| Failure::Environment(chain(&error)))?;
        let stage = player::stage().map_err(|error| environment("cannot play answers", &error))?;
        let address = stage
            .local_addr()
            .map_err(|error| environment("cannot play answers", &error))?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            limits: std::sync::Mutex::new(limits(scenario)),
            losses: Losses::default(),
            secret: format!("{:032x}", rand::random::<u128>()),
        });
        let told = Arc::new(Told(Arc::clone(&observer)));
        let ours = staged(scenario, address, &shared.secret);
        let listener = Listener::start(&ours, SocketAddr::from(([127, 0, 0, 1], 0)), ends, told)?;
        let (lanes, receivers): (Vec<_>, Vec<_>) = (0..LANES).map(|_| mpsc::channel(LANE)).unzip();
        let player = player::start(stage, listener.address(), receivers, Arc::clone(&shared))
            .map_err(|error| environment("cannot play answers", &error))?;
        let capture = Capture {
            live,
            port: place.port,
            lanes,
            observer,
            notes,
            shared: Arc::clone(&shared),
        };
        let capture = std::thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || capture.run())
            .map_err(|error| environment("cannot listen to the interface", &error))?;
        Ok(Self {
            place,
            listener,
            stage: address,
            shared,
            capture: Some(capture),
            player: Some(player),
        })
    }

    /// Where it listens.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn reload(&self, scenario: &Scenario) -> Result<(), String> {
        self.listener
            .reload(&staged(scenario, self.stage, &self.shared.secret))?;
        *self.shared.limits() = limits(scenario);
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Listens no more, and waits at most so long for what was heard to be played and copied.
    pub(super) fn drain(&self, within: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Relaxed);
        let is_over =
            |thread: &Option<JoinHandle<()>>| thread.as_ref().is_none_or(JoinHandle::is_finished);
        if is_over(&self.capture) && is_over(&self.player) {
            return self.listener.drain(within);
        }
        std::thread::sleep(within.min(NAP));
        false
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // The player ends when the capture has given its last; one that panicked has ended too.
        for thread in [self.capture.take(), self.player.take()] {
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl Shared {
    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The thread that listens.
struct Capture {
    live: live::Live,
    port: u16,
    lanes: Vec<mpsc::Sender<Box<Scene>>>,
    observer: Arc<Live>,
    notes: Notes,
    shared: Arc<Shared>,
}

impl Capture {
    fn run(mut self) {
        let most = |limits: &Limits| limits.request_body.0.max(limits.response_body.0) as usize;
        let body_max = most(&self.shared.limits());
        let mut follower = Follower::new(self.live.link(), body_max, BODIES_MAX);
        let (mut looked, mut told) = (Instant::now(), Instant::now());
        let mut broken = None;
        let mut packets = 0_u32;
        let mut last = LastCall::default();
        while !last.is_over(self.shared.stop.load(Ordering::Relaxed)) {
            let is_quiet = match self.live.packet() {
                Ok(Some(packet)) => {
                    // Collected: the exchanges borrow the follower, and the packet the capture.
                    let found: Vec<Exchange> = follower.packet(packet.at, packet.data).collect();
                    for exchange in found {
                        self.take(exchange);
                    }
                    packets = packets.wrapping_add(1);
                    false
                }
                Ok(None) => true,
                Err(error) => {
                    broken = Some(chain(&error));
                    break;
                }
            };
            if is_quiet {
                last.quiet();
                std::thread::sleep(NAP);
            } else if !packets.is_multiple_of(BATCH) {
                continue;
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.count(&follower);
                if told.elapsed() >= TELL && self.shared.losses.has_news() {
                    told = Instant::now();
                    self.tell();
                }
            }
        }
        self.count(&follower);
        let (open, summary) = follower.finish();
        self.shared.losses.skipped(&summary.skipped);
        // Whoever stops us while requests wait for their answers has lost nothing but these.
        self.shared.losses.add("open_at_end", open.len() as u64);
        self.notes.tell(format!(
            "tap: {} packets, {} exchanges seen",
            summary.packets, summary.requests
        ));
        self.tell();
        if let Some(why) = broken {
            self.notes.tell(why);
            self.shared.broken.store(true, Ordering::Relaxed);
        }
    }

    fn count(&mut self, follower: &Follower) {
        let (kernel, interface) = self.live.dropped();
        let losses = &self.shared.losses;
        losses.skipped(&follower.summary().skipped);
        losses.set("dropped_by_kernel", kernel);
        losses.set("dropped_by_interface", interface);
    }

    fn tell(&self) {
        if let Some(text) = self.shared.losses.told() {
            self.notes.tell(format!("tap: left out: {text}"));
        }
    }

    /// An exchange is whole.
    fn take(&self, exchange: Exchange) {
        let losses = &self.shared.losses;
        if exchange.server.port() != self.port {
            return losses.add("other_direction", 1);
        }
        let answer = exchange.response.as_ref();
        let end = answer.map_or(exchange.request.last_byte, |answer| answer.last_byte);
        self.observer.served(
            answer.map(|answer| answer.status),
            answer.is_some_and(|answer| answer.complete),
            Duration::from_nanos(end.saturating_sub(exchange.at)),
            answer.map_or(0, |answer| answer.body.bytes),
        );
        let lane = exchange.stream as usize % self.lanes.len().max(1);
        let scene = match Scene::of(exchange, &self.shared.limits()) {
            Ok(scene) => scene,
            Err(why) => return losses.add(why, 1),
        };
        let size = scene.size();
        let waiting = &self.shared.waiting;
        if waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING_MAX {
            waiting.fetch_sub(size, Ordering::Relaxed);
            return losses.add("tap_memory", 1);
        }
        let sent = self
            .lanes
            .get(lane)
            .map(|lane| lane.try_send(Box::new(scene)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Closed(_))) = sent {
            waiting.fetch_sub(size, Ordering::Relaxed);
            losses.add("tap_queue", 1);
        }
    }
}

/// When the capture ends once it is told to: packets that have passed already may still be on their way to us.
#[derive(Debug, Default)]
struct LastCall {
    told: Option<Instant>,
    /// Looks since then that found nothing.
    quiet: u32,
}

impl LastCall {
    fn quiet(&mut self) {
        self.quiet += u32::from(self.told.is_some());
    }

    fn is_over(&mut self, stop: bool) -> bool {
        if !stop {
            return false;
        }
        let told = *self.told.get_or_insert_with(Instant::now);
        NAP * self.quiet > live::HAND_OVER || told.elapsed() >= LAST_CALL
    }
}

/// The packets that are wanted: the primary's, and not those of copies, should a shadow have the same port.
fn filter(port: u16, shadows: &[SocketAddr]) -> String {
    let mut filter = format!("tcp port {port}");
    for shadow in shadows.iter().filter(|shadow| shadow.port() == port) {
        let host = shadow.ip().to_canonical();
        // As a client it is like any other.
        for end in ["dst", "src"] {
            filter.push_str(&format!(
                " and not ({end} host {host} and tcp {end} port {port})"
            ));
        }
    }
    filter
}

fn addresses(scenario: &Scenario) -> Vec<SocketAddr> {
    let shadows = scenario.shadows.iter();
    shadows
        .flat_map(|shadow| shadow.backing.addresses())
        .copied()
        .collect()
}

fn limits(scenario: &Scenario) -> Limits {
    scenario
        .shadows
        .first()
        .map_or_else(Limits::default, |shadow| shadow.limits.clone())
}

/// The same with the stage as its primary, copies for our own requests only, and nothing of ours on them.
fn staged(scenario: &Scenario, stage: SocketAddr, secret: &str) -> Scenario {
    let mut scenario = scenario.clone();
    for service in &mut scenario.services {
        service.backing = Backing::Address(vec![stage]);
    }
    for shadow in &mut scenario.shadows {
        shadow.remove.push(TAP.to_owned());
        shadow.matcher.headers.push(Named {
            name: TAP.to_owned(),
            value: Some(Text {
                how: How::Prefix(secret.to_owned()),
                ignore_case: false,
            }),
            invert: false,
            absent_as: None,
        });
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_to_a_shadow_of_the_same_port_are_not_taken_for_requests() {
        let shadows: Vec<SocketAddr> = ["10.0.0.9:8080", "10.0.0.10:9090"]
            .map(|address| address.parse().unwrap())
            .into();
        assert_eq!(
            filter(8080, &shadows),
            "tcp port 8080 and not (dst host 10.0.0.9 and tcp dst port 8080) \
             and not (src host 10.0.0.9 and tcp src port 8080)"
        );
        assert_eq!(filter(80, &shadows), "tcp port 80");
    }
}
