//! What a connection suffers, as its rules come and go, and who is told of it: of each rule once that it was drawn, and once
//! what became of it if it chose the connection. What has done nothing by the connection's end is told then.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    http::core::Core,
    observe::{Connection, Effect, Hit},
    policy::fault::tcp::{self as fault, Line, Number, Plan, Rules},
    snapshot::tcp::Tcp,
};

/// The faults of one connection.
pub(super) struct Suffering<'a> {
    core: Rc<Core>,
    settings: &'a Tcp,
    rules: Option<watch::Receiver<Arc<Rules>>>,
    number: Number,
    /// The number is the one that the connection was opened with.
    numbered: bool,
    start: Instant,
    plan: Plan,
    /// Rules that have been told as drawn.
    drawn: Vec<Arc<str>>,
    /// Choices of which nothing has been told.
    pending: VecDeque<fault::Hit>,
    told: Vec<Arc<str>>,
}

/// Tells when the rules of a connection change.
pub(super) struct Changes(Option<watch::Receiver<Arc<Rules>>>);

impl<'a> Suffering<'a> {
    /// Of a connection that was accepted.
    pub(super) fn begin(
        core: &Rc<Core>,
        settings: &'a Tcp,
        peer: SocketAddr,
        start: Instant,
    ) -> Self {
        let (number, numbered) = core.numbers.of(peer, settings.numbered, &settings.arrivals);
        let mut suffering = Self {
            core: Rc::clone(core),
            settings,
            rules: settings.live.as_ref().map(|live| live.subscribe()),
            number,
            numbered,
            start,
            plan: Plan::default(),
            drawn: Vec::new(),
            pending: VecDeque::new(),
            told: Vec::new(),
        };
        suffering.decide(Duration::ZERO);
        suffering
    }

    /// The number of the connection.
    pub(super) fn connection(&self) -> u64 {
        self.number.connection
    }

    /// The number is the one that it was opened with.
    pub(super) fn is_numbered(&self) -> bool {
        self.numbered
    }

    /// The connection from this address is the same one, passed on.
    pub(super) fn number(&self, from: SocketAddr) {
        self.core.numbers.register(from, self.number);
    }

    /// What happens to it.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What happens to its bytes, to the service and to the client; to be taken once.
    pub(super) fn lines(&mut self) -> (Line, Line) {
        (
            std::mem::take(&mut self.plan.up),
            std::mem::take(&mut self.plan.down),
        )
    }

    /// When it is reset.
    pub(super) fn reset_at(&self) -> Option<Instant> {
        self.plan.reset_at.map(|at| self.start + at)
    }

    /// It has been reset.
    pub(super) fn was_reset(&self) {
        self.plan.reset();
    }

    /// Tells when there are other rules.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.rules.clone())
    }

    /// The rules of now hold from now on.
    pub(super) fn renew(&mut self) {
        // A moment later than its begin, for a connection that has just begun.
        let age = self.start.elapsed().max(Duration::from_nanos(1));
        self.decide(age);
    }

    fn decide(&mut self, age: Duration) {
        let rules = match &self.rules {
            Some(rules) => Arc::clone(&rules.borrow()),
            None => Arc::clone(&self.settings.faults),
        };
        self.tell_acted();
        self.plan = if rules.is_empty() {
            Plan::default()
        } else {
            rules.decide(self.number, age)
        };
        let mut fresh = Vec::new();
        for id in &self.plan.considered {
            if !self.drawn.contains(id) {
                fresh.push(Arc::clone(id));
            }
        }
        if !fresh.is_empty() {
            self.tell(&fresh, &[]);
            self.drawn.extend(fresh);
        }
        for hit in &self.plan.hits {
            if !self.told.contains(&hit.fault) {
                // What was pending of an earlier time has not acted, and may now.
                self.pending.retain(|before| before.fault != hit.fault);
                self.pending.push_back(hit.clone());
            }
        }
        self.tell_acted();
    }

    /// Tells of choices that have done something, and of those that never will.
    pub(super) fn tell_acted(&mut self) {
        // Asked at every poll of the connection, when most often nothing has changed.
        if !self.pending.iter().any(settled) {
            return;
        }
        let (settled, pending): (VecDeque<_>, _) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(settled);
        self.pending = pending;
        for hit in settled {
            let effect = if hit.superseded {
                Effect::Superseded
            } else {
                Effect::Applied
            };
            self.settle(&hit, effect);
        }
    }

    fn settle(&mut self, hit: &fault::Hit, effect: Effect) {
        if effect == Effect::Applied {
            self.core.fault(&hit.fault).applied.inc();
        }
        let why = match effect {
            Effect::Superseded => Some("an earlier fault ends the connection"),
            Effect::Abandoned => Some("the connection ended before"),
            _ => None,
        };
        let hit = Hit {
            fault: Arc::clone(&hit.fault),
            attempt: 0,
            u: hit.u,
            p: hit.p,
            effect,
            asked: hit.asked,
            actual: None,
            status: None,
            why,
        };
        self.told.push(Arc::clone(&hit.fault));
        self.tell(&[], &[hit]);
    }

    fn tell(&self, considered: &[Arc<str>], hits: &[Hit]) {
        self.core.observer.connection(&Connection {
            listener: &self.settings.name,
            place: self.settings.place.as_ref(),
            number: self.number,
            numbered: self.numbered,
            considered,
            hits,
        });
    }
}

/// What became of a choice is known.
fn settled(hit: &fault::Hit) -> bool {
    hit.has_acted() || hit.superseded
}

impl Changes {
    /// Ends when there are other rules; never, where they do not change.
    pub(super) async fn next(&mut self) {
        let changed = match &mut self.0 {
            Some(rules) => rules.changed().await,
            None => std::future::pending().await,
        };
        if changed.is_err() {
            // Nobody is left to change them.
            self.0 = None;
        }
    }
}

impl Drop for Suffering<'_> {
    fn drop(&mut self) {
        self.tell_acted();
        for hit in std::mem::take(&mut self.pending) {
            self.settle(&hit, Effect::Abandoned);
        }
    }
}
