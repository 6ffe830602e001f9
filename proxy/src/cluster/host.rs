//! An endpoint as one event loop sees it: its connections, and what is under way there.

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use rand::{RngExt, rngs::SmallRng};
use tokio::time::Instant;

use super::{
    pool::Pool,
    roster::{Member, Roster, now},
    usage::Permit,
};
use crate::policy::{
    balance::{Balance, peak_ewma::Average},
    outlier::Outcome,
};

/// An endpoint on one event loop.
pub struct Host<B> {
    /// Who it is, and how it is.
    pub member: Arc<Member>,
    /// Its connections.
    pub pool: Rc<Pool<B>>,
    pub(super) load: Rc<Load>,
}

/// What is going on at an endpoint, as far as this event loop knows; it outlives configurations.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) active: Cell<u32>,
    pub(super) average: Cell<Average>,
}

/// A request is under way at an endpoint, until this is dropped.
pub struct Turn<B> {
    host: Rc<Host<B>>,
    roster: Arc<Roster>,
    random: Rc<RefCell<SmallRng>>,
    begin: Instant,
    reported: bool,
    _request: Permit,
}

impl<B> Host<B> {
    pub(super) fn new(member: Arc<Member>, pool: Rc<Pool<B>>, before: Option<&Self>) -> Self {
        Self {
            member,
            pool,
            load: before.map_or_else(Rc::default, |before| Rc::clone(&before.load)),
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.member.address
    }

    /// Requests of this event loop that are under way there.
    pub fn active(&self) -> u32 {
        self.load.active.get()
    }
}

impl<B> Turn<B> {
    pub(super) fn new(
        host: Rc<Host<B>>,
        roster: Arc<Roster>,
        random: Rc<RefCell<SmallRng>>,
        request: Permit,
        begin: Instant,
    ) -> Self {
        let active = &host.load.active;
        active.set(active.get() + 1);
        Self {
            host,
            roster,
            random,
            begin,
            reported: false,
            _request: request,
        }
    }

    /// Where it is under way.
    pub fn host(&self) -> &Rc<Host<B>> {
        &self.host
    }

    /// Tells what became of it. To be told once, of its first outcome; a connection that is made may be told before.
    pub fn report(&mut self, outcome: Outcome) {
        let draw = || self.random.borrow_mut().random();
        self.roster.report(&self.host.member, outcome, draw);
        if outcome == Outcome::Connected || self.reported {
            return;
        }
        self.reported = true;
        let failed = !matches!(outcome, Outcome::Status(status) if status < 500);
        self.roster.ended(failed);
        if let Balance::PeakEwma(settings) = &self.roster.settings().balance {
            let mut average = self.host.load.average.get();
            average.observe(self.begin.elapsed(), now(), settings);
            self.host.load.average.set(average);
        }
    }
}

impl<B> Drop for Turn<B> {
    fn drop(&mut self) {
        let active = &self.host.load.active;
        active.set(active.get().saturating_sub(1));
    }
}

impl<B> fmt::Debug for Host<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("member", &self.member)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Turn<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
