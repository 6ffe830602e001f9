//! The ways to get at live traffic: each tells the session's observer of the primary's requests and of pairs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use meshbed_proxy::observe::Observer;

#[cfg(feature = "live")]
use super::Tap;
use super::{
    Listener, Notes,
    ends::Ends,
    intercept::{self, SOCKET_MARK, Service, TakeOver},
};
use crate::{
    journal::Journal,
    run::{Failure, chain},
    scenario::Scenario,
};

/// What is under way at the end is waited for at most so long, beside the deadlines of the shadows.
const SETTLE: Duration = Duration::from_secs(5);

/// How often it is looked whether redirected connections have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Looks without a redirected connection until there is none: one may be between two states while it is looked.
const LOOKS: u32 = 3;

/// One way to get at the traffic. Dropping it ends it at once.
#[derive(Debug)]
pub enum Source {
    /// Clients connect to us, and we to the primary.
    Listener(Listener),
    /// Clients connect to the primary's port, and come to us.
    Intercept(Intercept),
    /// Requests and answers are read off the wire.
    #[cfg(feature = "live")]
    Tap(Tap),
}

/// A listener to which new connections to the primary's port are redirected.
#[derive(Debug)]
pub struct Intercept {
    listener: Listener,
    service: Service,
    take_over: Arc<TakeOver>,
    within: Duration,
    notes: Notes,
    leaving: AtomicBool,
    empty: AtomicU32,
}

impl Source {
    /// Copies as this says from now on; the error says why that cannot be, and nothing has changed.
    pub fn reload(&mut self, scenario: &Scenario) -> Result<(), String> {
        match self {
            Self::Listener(listener) => listener.reload(scenario),
            Self::Intercept(intercept) => intercept.listener.reload(scenario),
            #[cfg(feature = "live")]
            Self::Tap(tap) => tap.reload(scenario),
        }
    }

    /// Takes nothing new, and waits at most so long for what is under way; whether all of that has ended.
    pub fn drain(&self, within: Duration) -> bool {
        match self {
            Self::Listener(listener) => listener.drain(within),
            Self::Intercept(intercept) => intercept.drain(within),
            #[cfg(feature = "live")]
            Self::Tap(tap) => tap.drain(within),
        }
    }

    /// How long what is under way may take to end, beside the deadlines of the shadows.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Intercept(intercept) => intercept.within,
            _ => SETTLE,
        }
    }

    /// There will be no more traffic, whatever anybody wants.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Listener(_) | Self::Intercept(_) => false,
            #[cfg(feature = "live")]
            Self::Tap(tap) => tap.has_ended(),
        }
    }

    /// Where it gets the traffic from, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Listener(listener) => format!("listening at {}", listener.address()),
            Self::Intercept(intercept) => format!(
                "taking over port {}, whose service is at {}",
                intercept.service.port, intercept.service.to
            ),
            #[cfg(feature = "live")]
            Self::Tap(tap) => format!(
                "reading port {} on {}, which nothing is sent to",
                tap.place().port,
                tap.place().interface
            ),
        }
    }

    /// What is given up, if anything, now that it ends.
    pub fn left(&self) -> Option<String> {
        match self {
            Self::Intercept(intercept) => intercept.left(),
            _ => None,
        }
    }
}

impl Intercept {
    /// Listens, then takes the port over. On the way out redirected connections may take `within` to end. Whoever has the
    /// take-over ends it, once this is dropped.
    pub fn start(
        scenario: &Scenario,
        service: Service,
        within: Duration,
        ends: Ends,
        observer: Arc<dyn Observer>,
        notes: Notes,
        journal: &Journal,
    ) -> Result<(Self, Arc<TakeOver>), Failure> {
        let environment = |error: intercept::Error| Failure::Environment(chain(&error));
        let listen: SocketAddr = service.listener();
        let listener = Listener::marked(scenario, listen, ends, Some(SOCKET_MARK), observer)?;
        let port = listener.address().port();
        let take_over = TakeOver::begin(journal, &service, port).map_err(environment)?;
        let take_over = Arc::new(take_over);
        let this = Self {
            listener,
            service,
            take_over: Arc::clone(&take_over),
            within,
            notes,
            leaving: AtomicBool::new(false),
            empty: AtomicU32::new(0),
        };
        Ok((this, take_over))
    }

    /// New connections go to the service; redirected ones end with their next answer.
    fn drain(&self, within: Duration) -> bool {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            if let Err(error) = self.take_over.let_go() {
                self.notes.tell(chain(&error));
            }
            self.listener.leave();
            let unread = self.listener.unread();
            if unread > 0 {
                self.notes.tell(format!(
                    "connections that did not begin with HTTP, and were passed on unread: {unread}"
                ));
            }
        }
        match self.take_over.redirected() {
            Ok(0) if self.empty.fetch_add(1, Ordering::Relaxed) + 1 >= LOOKS => {
                return self.listener.drain(within);
            }
            Ok(0) => {}
            Ok(_) => self.empty.store(0, Ordering::Relaxed),
            Err(error) => {
                self.notes.tell(chain(&error));
                return self.listener.drain(within);
            }
        }
        std::thread::sleep(LOOK.min(within));
        false
    }

    fn left(&self) -> Option<String> {
        let left = self.take_over.redirected().ok().filter(|left| *left > 0)?;
        Some(format!(
            "redirected connections that are still open, and break now: {left}"
        ))
    }
}
