//! An endpoint as one event loop sees it: its connections, and what is under way there.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, rngs::SmallRng};
use tokio::sync::Notify;

use super::{
    pool::Pool,
    roster::{Member, Roster, now},
    usage::{self, Permit},
};
use crate::policy::{
    balance::{Balance, peak_ewma::Average},
    breaker::{Kind, Priority},
    outlier::Outcome,
};

/// An endpoint on one event loop, and its connections.
pub struct Host<B> {
    /// Who it is, and what is under way there.
    pub site: Rc<Site>,
    /// Its connections.
    pub pool: Rc<Pool<B>>,
}

/// An endpoint on one event loop.
pub struct Site {
    /// Who it is, and how it is.
    pub member: Arc<Member>,
    roster: Arc<Roster>,
    usage: Rc<usage::Local>,
    random: Rc<RefCell<SmallRng>>,
    load: Rc<Load>,
}

/// What is going on at an endpoint, as far as this event loop knows; it outlives configurations.
#[derive(Debug, Default)]
struct Load {
    active: Cell<u32>,
    average: Cell<Average>,
    connections: Cell<u32>,
    /// Those in which somebody waits; the one that is told next of room for a connection is the first.
    lines: RefCell<VecDeque<Rc<Line>>>,
    /// So many more may be told of the room that there was last, if who was told cannot use it.
    passes: Cell<usize>,
}

/// Where requests wait for one of a pool's connections to be free, or for room for another.
#[derive(Debug, Default)]
pub struct Line {
    /// Connections of the pool.
    connections: Cell<u32>,
    waiting: Cell<u32>,
    freed: Notify,
}

/// A request is under way at an endpoint, until this is dropped.
#[derive(Debug)]
pub struct Turn {
    site: Rc<Site>,
    priority: Priority,
}

/// A connection to an endpoint is open, until this is dropped.
#[derive(Debug)]
pub struct Open {
    load: Rc<Load>,
    line: Rc<Line>,
    _connection: Permit,
}

/// A request waits for a connection that is free, or is being made for it, until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    load: Rc<Load>,
    line: Rc<Line>,
    /// It waits for one that is free.
    queued: Cell<bool>,
    _pending: Permit,
}

/// The requests that wait for a connection of a pool that is free.
#[derive(Debug)]
pub struct Queue(Rc<Line>);

impl<B> Host<B> {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.site.member.address
    }
}

impl Site {
    pub(super) fn new(
        member: Arc<Member>,
        roster: Arc<Roster>,
        usage: Rc<usage::Local>,
        random: Rc<RefCell<SmallRng>>,
        before: Option<&Self>,
    ) -> Rc<Self> {
        Rc::new(Self {
            member,
            roster,
            usage,
            random,
            load: before.map_or_else(Rc::default, |before| Rc::clone(&before.load)),
        })
    }

    pub(super) fn is_of(&self, member: &Arc<Member>, roster: &Arc<Roster>) -> bool {
        Arc::ptr_eq(&self.member, member) && Arc::ptr_eq(&self.roster, roster)
    }

    /// Requests of this event loop that are under way there.
    pub fn active(&self) -> u32 {
        self.load.active.get()
    }

    /// How long its answers take.
    pub(super) fn average(&self) -> Average {
        self.load.average.get()
    }

    /// A request is sent there, where the cluster's limit allows it.
    pub fn begin(self: &Rc<Self>, priority: Priority) -> Option<Turn> {
        self.roster.touch();
        // Kept by the turn: it is smaller without a permit of its own.
        self.permit(Kind::Requests, priority)?.keep();
        Some(self.turn(priority))
    }

    /// Something that is no request is carried there: it counts for the balance, and no limit of requests bounds it.
    pub fn carry(self: &Rc<Self>) -> Turn {
        self.roster.touch();
        self.usage.force(Kind::Requests, Priority::Default).keep();
        self.turn(Priority::Default)
    }

    fn turn(self: &Rc<Self>, priority: Priority) -> Turn {
        let active = &self.load.active;
        active.set(active.get() + 1);
        Turn {
            site: Rc::clone(self),
            priority,
        }
    }

    /// A connection is made, where limits allow it; always, if it is the first of its pool, as in Envoy, or `alone`: those
    /// that there are take no requests any more.
    pub fn open(&self, priority: Priority, alone: bool, line: &Rc<Line>) -> Option<Open> {
        let connections = self.load.connections.get();
        let limits = &self.roster.settings().limits;
        let fits = limits
            .host_connections
            .is_none_or(|most| connections < most);
        let permit = self.permit(Kind::Connections, priority).filter(|_| fits);
        let others = line.connections.get();
        if permit.is_none() && others > 0 && !alone {
            return None;
        }
        line.connections.set(others + 1);
        self.load.connections.set(connections + 1);
        Some(Open {
            load: Rc::clone(&self.load),
            line: Rc::clone(line),
            _connection: permit.unwrap_or_else(|| self.usage.force(Kind::Connections, priority)),
        })
    }

    /// A request waits for a connection, where the cluster's limit allows it.
    pub fn wait(&self, priority: Priority, line: &Rc<Line>) -> Option<Waiting> {
        let pending = self.permit(Kind::Pending, priority)?;
        Some(Waiting {
            load: Rc::clone(&self.load),
            line: Rc::clone(line),
            queued: Cell::new(false),
            _pending: pending,
        })
    }

    /// Tells what became of a try at the endpoint, which took so long.
    pub fn report(&self, outcome: Outcome, took: Duration) {
        let draw = || self.random.borrow_mut().random();
        self.roster.report(&self.member, outcome, draw);
        if outcome == Outcome::Connected {
            return;
        }
        let failed = !matches!(outcome, Outcome::Status(status) if status < 500);
        self.roster.ended(failed);
        if let Balance::PeakEwma(settings) = &self.roster.settings().balance {
            let mut average = self.load.average.get();
            average.observe(took, now(), settings);
            self.load.average.set(average);
        }
    }

    /// The endpoint says that it is not well.
    pub fn fail_check(&self) {
        self.roster.fail_check(&self.member);
    }

    fn permit(&self, kind: Kind, priority: Priority) -> Option<Permit> {
        let limits = &self.roster.settings().limits;
        self.usage.admit(kind, priority, limits)
    }
}

impl Load {
    /// There is room for another connection: one request of one pool looks again. Who it is for, limits decide.
    fn room(&self) {
        let lines = self.lines.borrow().len();
        self.passes.set(lines.saturating_sub(1));
        self.tell();
    }

    /// Who was told of room cannot use it: another pool's request may.
    fn pass_on(&self) {
        if let Some(passes) = self.passes.get().checked_sub(1) {
            self.passes.set(passes);
            self.tell();
        }
    }

    fn has_other(&self, line: &Rc<Line>) -> bool {
        let lines = self.lines.borrow();
        lines.iter().any(|other| !Rc::ptr_eq(other, line))
    }

    fn tell(&self) {
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.front() {
            line.freed();
            lines.rotate_left(1);
        }
    }
}

impl Line {
    /// Requests wait for a connection that is free. Those whose connection is being made do not: nobody waits behind them.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// A connection is free: one of those that wait for it looks again.
    pub fn freed(&self) {
        if self.is_waited_for() {
            self.freed.notify_one();
        }
    }
}

impl Waiting {
    /// Ends when a connection was freed, or there is room for one.
    pub async fn freed(&self) {
        if !self.queued.replace(true) {
            if !self.line.is_waited_for() {
                let mut lines = self.load.lines.borrow_mut();
                lines.push_back(Rc::clone(&self.line));
            }
            self.line.waiting.set(self.line.waiting.get() + 1);
        }
        self.line.freed.notified().await;
    }

    /// It does not wait for a free one any more.
    pub fn leave(&self) {
        if self.queued.replace(false) {
            let waiting = &self.line.waiting;
            waiting.set(waiting.get().saturating_sub(1));
            if !self.line.is_waited_for() {
                let mut lines = self.load.lines.borrow_mut();
                lines.retain(|line| !Rc::ptr_eq(line, &self.line));
            }
        }
    }

    /// It was told, and can use nothing: another pool's request may.
    pub fn pass_on(&self) {
        self.load.pass_on();
    }
}

impl Open {
    /// Who waits for connections such as this.
    pub fn queue(&self) -> Queue {
        Queue(Rc::clone(&self.line))
    }
}

impl Queue {
    /// There is room on a connection: one of them looks again.
    pub fn freed(&self) {
        self.0.freed();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let active = &self.site.load.active;
        active.set(active.get().saturating_sub(1));
        self.site.usage.release(Kind::Requests, self.priority);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for connections in [&self.load.connections, &self.line.connections] {
            connections.set(connections.get().saturating_sub(1));
        }
        self.load.room();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
        // Whoever woke it may have meant the next one, too, of this pool or of another.
        self.line.freed();
        if self.load.has_other(&self.line) {
            self.load.room();
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("member", &self.member)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Host<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}
