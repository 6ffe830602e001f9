//! Sends what the scheduler lets go: one thread, a task for each connection, nothing shared with other threads but the
//! counters. A request waits for a place (`max_in_flight`), then for its connection; every one ends in exactly one event.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use meshbed_proxy::net::{numbers::Numbers, tls::Client};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, LocalSet},
    time::{Instant, error::Elapsed},
};

use self::{
    dialer::Dialer,
    link::{Failure, Link},
    queue::Queue,
};
use super::{
    AHEAD, Stop, clock::Clock, identity, rewrite::Prepared, schedule::Schedule, tally::Tally,
};
use crate::{
    event::{self, Flags, Micros, RunEvent},
    scenario::Connections,
};

mod dialer;
mod link;
mod queue;
mod streams;

/// A request that the scheduler let go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Released {
    /// Its ordinal.
    pub(super) index: usize,
    /// When.
    pub(super) released_us: Micros,
}

/// What sending takes.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) schedule: Arc<Schedule>,
    /// The address of each source.
    pub(super) targets: Vec<SocketAddr>,
    pub(super) run: u64,
    pub(super) clock: Clock,
    pub(super) origin: Instant,
    pub(super) tally: Arc<Tally>,
    /// Where it is told which connection is which.
    pub(super) numbers: Option<Numbers>,
    /// How each source speaks TLS; `None`: it does not.
    pub(super) tls: Vec<Option<Arc<Client>>>,
}

/// Where events go.
pub(super) type Sink = Box<dyn Fn(RunEvent) + Send>;

impl Sender {
    /// Sends what is let go until the scheduler is through or a stop is told, and everything has ended.
    pub(super) async fn run(
        self,
        released: mpsc::UnboundedReceiver<Released>,
        told: watch::Receiver<Stop>,
        sink: Sink,
    ) {
        let desk = Rc::new(Desk {
            places: self
                .schedule
                .sources
                .iter()
                .map(|lane| Places::of(lane.max_in_flight))
                .collect(),
            queues: RefCell::default(),
            stopping: Cell::new(false),
            sender: self,
            sink,
        });
        LocalSet::new()
            .run_until(Dispatcher::new(desk, told).run(released))
            .await;
    }
}

/// What the tasks of the I/O thread share.
struct Desk {
    sender: Sender,
    /// By source.
    places: Vec<Places>,
    /// By connection, or by the first connection of a pool.
    queues: RefCell<HashMap<u64, Rc<Queue>>>,
    stopping: Cell<bool>,
    sink: Sink,
}

/// The requests of a source that may be under way at once.
struct Places {
    free: Cell<u32>,
    waiting: RefCell<VecDeque<Released>>,
}

impl Places {
    fn of(many: u32) -> Self {
        Self {
            free: Cell::new(many.max(1)),
            waiting: RefCell::default(),
        }
    }
}

/// How a request ended.
#[derive(Debug, Default)]
struct Ended {
    sent_us: Option<Micros>,
    status: Option<u16>,
    grpc_status: Option<u32>,
    bytes_in: u64,
    /// `None`: the whole answer came.
    why: Option<String>,
}

impl Ended {
    /// It was never sent.
    fn unsent(why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..Self::default()
        }
    }
}

/// Why requests end that a stop meets.
const STOPPED: &str = "the generator was stopped";

impl Desk {
    /// Gives a request a place, or lets it wait for one.
    fn release(&self, released: Released) {
        if self.stopping.get() {
            self.end(released, None, Ended::unsent(STOPPED));
            return;
        }
        let Some(places) = self.places_of(released) else {
            return;
        };
        if places.free.get() > 0 && places.waiting.borrow().is_empty() {
            self.admit(places, released);
        } else {
            self.sender.tally.overflowed();
            places.waiting.borrow_mut().push_back(released);
        }
    }

    /// Takes a place for a request and lines it up for its connection.
    fn admit(&self, places: &Places, released: Released) {
        places.free.set(places.free.get().saturating_sub(1));
        self.sender.tally.admitted();
        let connection = self
            .sender
            .schedule
            .planned
            .get(released.index)
            .map(|planned| planned.connection);
        let queue = connection.and_then(|number| self.queues.borrow().get(&number).cloned());
        let Some(queue) = queue else {
            debug_assert!(
                false,
                "a connection is opened before its first request is let go"
            );
            self.leave(
                places,
                released,
                None,
                Ended::unsent("its connection is gone"),
            );
            return;
        };
        queue.push(released);
    }

    /// Ends a request that had a place, and gives the place on.
    fn leave(&self, places: &Places, released: Released, connection: Option<u64>, ended: Ended) {
        self.sender.tally.left();
        self.end(released, connection, ended);
        places.free.set(places.free.get().saturating_add(1));
        let next = places.waiting.borrow_mut().pop_front();
        if let Some(next) = next {
            self.overflow(next);
            self.admit(places, next);
        }
    }

    /// Gives up what waits for a place or a connection.
    fn give_up_waiting(&self) {
        self.stopping.set(true);
        for places in &self.places {
            for released in places.waiting.take() {
                self.overflow(released);
                self.end(released, None, Ended::unsent(STOPPED));
            }
        }
        let queues: Vec<Rc<Queue>> = self.queues.borrow().values().cloned().collect();
        for queue in queues {
            for released in queue.close() {
                if let Some(places) = self.places_of(released) {
                    self.leave(places, released, None, Ended::unsent(STOPPED));
                }
            }
        }
    }

    fn places_of(&self, released: Released) -> Option<&Places> {
        let planned = self.sender.schedule.planned.get(released.index)?;
        self.places.get(planned.source)
    }

    /// Tells that a request waited for a place until now.
    fn overflow(&self, released: Released) {
        let Some(planned) = self.sender.schedule.planned.get(released.index) else {
            return;
        };
        (self.sink)(RunEvent::Overflow {
            t_us: planned.due_us,
            ordinal: planned.ordinal,
            waited_us: self.now_us().saturating_sub(released.released_us),
        });
    }

    /// Tells that a request has ended.
    fn end(&self, released: Released, connection: Option<u64>, ended: Ended) {
        let schedule = &self.sender.schedule;
        let Some(planned) = schedule.planned.get(released.index) else {
            return;
        };
        let Some(lane) = schedule.sources.get(planned.source) else {
            return;
        };
        self.sender.tally.ended(ended.why.is_none());
        let given_up = ended.why.as_deref() == Some(STOPPED);
        if connection.is_some() && ended.sent_us.is_none() && !given_up {
            self.sender.tally.unopened();
        }
        (self.sink)(RunEvent::Request(Arc::new(event::Request {
            ordinal: planned.ordinal,
            source: Arc::clone(&lane.id),
            service: Arc::clone(&lane.service),
            connection: connection.unwrap_or(planned.connection),
            intended_us: planned.due_us,
            released_us: released.released_us,
            sent_us: ended.sent_us,
            done_us: self.now_us(),
            method: planned.request.method.as_str().to_owned(),
            path: planned.request.path().to_owned(),
            status: ended.status,
            complete: ended.why.is_none(),
            grpc_status: ended.grpc_status,
            why: ended.why,
            bytes_out: if ended.sent_us.is_some() {
                planned.request.body.len() as u64
            } else {
                0
            },
            bytes_in: ended.bytes_in,
            flags: Flags::default(),
        })));
    }

    /// A request as it is sent, named by its place in the schedule.
    fn request(
        &self,
        released: Released,
        form: fn(&Prepared) -> Request<Full<Bytes>>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let planned = self.sender.schedule.planned.get(released.index);
        let planned = planned.ok_or("it is not in the schedule")?;
        let mut request = form(&planned.request);
        if let Some((traceparent, request_id)) =
            identity::headers(self.sender.run, planned.due_us, planned.ordinal)
        {
            request.headers_mut().insert("traceparent", traceparent);
            request.headers_mut().insert("x-request-id", request_id);
        }
        Ok(request)
    }

    /// A request goes to its connection now.
    fn sent(&self, released: Released, ended: &mut Ended) {
        let sent_us = self.now_us();
        ended.sent_us = Some(sent_us);
        self.sender
            .tally
            .sent(sent_us.saturating_sub(released.released_us));
    }

    /// What became of a request that was sent. It is handed back if nothing of it was written, and its connection was open
    /// before: such a one may close in the very moment that it is taken, and another may do.
    fn answered(
        &self,
        answered: Result<Result<(), Failure>, Elapsed>,
        kept: bool,
        ended: &mut Ended,
    ) -> Result<Option<Request<Full<Bytes>>>, String> {
        match answered {
            Ok(Ok(())) => Ok(None),
            Ok(Err(Failure::Broken(why))) => Err(why),
            Ok(Err(Failure::Unwritten(back))) => {
                ended.sent_us = None;
                self.sender.tally.unsent();
                if kept {
                    Ok(Some(*back))
                } else {
                    Err(link::CLOSED.to_owned())
                }
            }
            Err(_) => Err("no whole answer within the timeout".to_owned()),
        }
    }

    fn now_us(&self) -> Micros {
        self.sender.clock.now_us()
    }
}

/// Opens connections ahead, takes what is let go, and sees to the end.
struct Dispatcher {
    desk: Rc<Desk>,
    told: watch::Receiver<Stop>,
    /// Connections by their first use, the last first.
    to_open: Vec<Opening>,
    workers: JoinSet<()>,
}

/// A connection, or a pool of them, that is to be opened.
#[derive(Debug, Clone, Copy)]
struct Opening {
    due_us: Micros,
    number: u64,
    source: usize,
    /// How many requests go by it.
    requests: u64,
    /// How many connections the pool has.
    many: u32,
}

impl Dispatcher {
    fn new(desk: Rc<Desk>, told: watch::Receiver<Stop>) -> Self {
        let to_open = openings(&desk.sender.schedule);
        Self {
            desk,
            told,
            to_open,
            workers: JoinSet::new(),
        }
    }

    async fn run(mut self, mut released: mpsc::UnboundedReceiver<Released>) {
        let mut batch = Vec::new();
        let mut through = false;
        let mut told = self.told.clone();
        while !(through && self.workers.is_empty()) {
            let stopping = self.desk.stopping.get();
            let opening = self.next_opening().filter(|_| !stopping && !through);
            tokio::select! {
                biased;
                () = stopped(&mut told), if !stopping => {
                    self.desk.give_up_waiting();
                    released.close();
                }
                () = at(opening), if opening.is_some() => {
                    self.open_next();
                }
                count = released.recv_many(&mut batch, BATCH), if !through => {
                    through = count == 0;
                    for released in batch.drain(..) {
                        if !stopping {
                            self.open_for(released);
                        }
                        self.desk.release(released);
                    }
                    if through && !self.all_released() {
                        // Stopped, or the scheduler died: no connection will get all of its requests.
                        self.desk.give_up_waiting();
                    }
                }
                Some(_) = self.workers.join_next(), if !self.workers.is_empty() => {}
            }
        }
    }

    /// When the next connection should be opened.
    fn next_opening(&self) -> Option<Instant> {
        let sender = &self.desk.sender;
        self.to_open.last().map(|opening| {
            let due = sender.origin + std::time::Duration::from_micros(opening.due_us);
            due.checked_sub(AHEAD).unwrap_or(sender.origin)
        })
    }

    /// Opens what a request needs, should it have been let go before its connection was opened ahead.
    fn open_for(&mut self, released: Released) {
        let Some(planned) = self.desk.sender.schedule.planned.get(released.index) else {
            return;
        };
        let (due_us, connection) = (planned.due_us, planned.connection);
        while !self.desk.queues.borrow().contains_key(&connection)
            && self
                .to_open
                .last()
                .is_some_and(|opening| opening.due_us <= due_us)
        {
            self.open_next();
        }
    }

    fn open_next(&mut self) {
        let Some(opening) = self.to_open.pop() else {
            return;
        };
        let sender = &self.desk.sender;
        let queue = Rc::new(Queue::of(opening.requests));
        self.desk
            .queues
            .borrow_mut()
            .insert(opening.number, Rc::clone(&queue));
        for place in 0..opening.many {
            let worker = Worker {
                desk: Rc::clone(&self.desk),
                queue: Rc::clone(&queue),
                told: self.told.clone(),
                number: opening.number + u64::from(place),
                opening,
            };
            match sender.schedule.sources.get(opening.source) {
                Some(lane) if lane.protocol.is_h2() => {
                    self.workers.spawn_local(worker.run_streams())
                }
                _ => self.workers.spawn_local(worker.run()),
            };
        }
    }

    fn all_released(&self) -> bool {
        let sender = &self.desk.sender;
        sender.tally.stats(0).released == sender.schedule.planned.len() as u64
    }
}

/// Requests that are taken from the scheduler at once: a burst costs one wake-up, and the select is fair within 0.1 ms.
const BATCH: usize = 64;

/// One connection: sends its requests one after the other.
struct Worker {
    desk: Rc<Desk>,
    queue: Rc<Queue>,
    told: watch::Receiver<Stop>,
    number: u64,
    opening: Opening,
}

impl Worker {
    async fn run(mut self) {
        let Some(target) = self.desk.sender.targets.get(self.opening.source).copied() else {
            return;
        };
        let lane = self.desk.sender.schedule.sources.get(self.opening.source);
        let Some(timeout) = lane.map(|lane| lane.timeout) else {
            return;
        };
        // One that cannot be had yet is tried again, and its failure told, when there is a request for it.
        let dialer = self.dialer(target);
        let mut link = tokio::time::timeout(AHEAD, Link::open(&dialer))
            .await
            .ok()
            .and_then(Result::ok);
        loop {
            let next = tokio::select! {
                biased;
                next = self.queue.next() => next,
                () = link::closed(&mut link) => {
                    // A server that closed a connection that it answered on would make the next request wait for a new
                    // one. One that closes without an answer is not asked again before there is a request.
                    let worth = link.take().is_some_and(|link| link.has_served());
                    if worth {
                        link = Link::open(&dialer).await.ok();
                    }
                    continue;
                }
            };
            let Some(released) = next else {
                return;
            };
            let ended = self.exchange(&mut link, &dialer, timeout, released).await;
            if let Some(places) = self.desk.places_of(released) {
                self.desk.leave(places, released, Some(self.number), ended);
            }
        }
    }

    fn dialer(&self, target: SocketAddr) -> Dialer {
        let sender = &self.desk.sender;
        let tls = sender.tls.get(self.opening.source).cloned().flatten();
        Dialer::new(target, self.number, sender.numbers.clone(), tls)
    }

    /// Sends one request and reads its answer.
    async fn exchange(
        &mut self,
        link: &mut Option<Link>,
        dialer: &Dialer,
        timeout: std::time::Duration,
        released: Released,
    ) -> Ended {
        let mut ended = Ended::default();
        let desk = Rc::clone(&self.desk);
        let told = &mut self.told;
        let result = tokio::select! {
            biased;
            result = talk(&desk, link, dialer, timeout, released, &mut ended) => result,
            () = deadline(told) => Err(STOPPED.to_owned()),
        };
        if let Err(why) = result {
            // What is left of an answer may still come: the connection cannot be used again.
            *link = None;
            ended.why = Some(why);
        }
        ended
    }
}

/// Opens the connection where needed, sends the request and reads the answer into `ended`.
async fn talk(
    desk: &Desk,
    link: &mut Option<Link>,
    dialer: &Dialer,
    timeout: std::time::Duration,
    released: Released,
    ended: &mut Ended,
) -> Result<(), String> {
    let mut request = desk.request(released, Prepared::to_http)?;
    // An idle connection may close in the very moment that it is taken: a request that was not written goes by another.
    loop {
        let kept = link::is_ready(link).await;
        let open = if kept {
            link.as_mut()
        } else {
            let opened = tokio::time::timeout(timeout, Link::open(dialer))
                .await
                .map_err(|_| "connecting took longer than the timeout")??;
            *link = Some(opened);
            link::is_ready(link)
                .await
                .then_some(link.as_mut())
                .flatten()
        };
        let open = open.ok_or(link::CLOSED)?;
        desk.sent(released, ended);
        let answered = tokio::time::timeout(timeout, open.send(request, ended)).await;
        match desk.answered(answered, kept, ended)? {
            Some(back) => {
                request = back;
                *link = None;
            }
            None => return Ok(()),
        }
    }
}

/// Connections and pools with their first use, the last first.
fn openings(schedule: &Schedule) -> Vec<Opening> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut openings: Vec<Opening> = Vec::new();
    for planned in &schedule.planned {
        let place = *places.entry(planned.connection).or_insert(openings.len());
        if let Some(opening) = openings.get_mut(place) {
            opening.requests += 1;
            continue;
        }
        let lane = schedule.sources.get(planned.source);
        openings.push(Opening {
            due_us: planned.due_us,
            number: planned.connection,
            source: planned.source,
            requests: 1,
            many: match lane.map(|lane| lane.connections) {
                Some(Connections::Pool(many)) => many.max(1),
                Some(Connections::Recorded) | None => 1,
            },
        });
    }
    openings.reverse();
    openings
}

/// Ends at that moment; `None`: never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Ends when a stop is told, or nobody is left to tell it.
async fn stopped(told: &mut watch::Receiver<Stop>) {
    // The error: nobody is left.
    let _ = told.wait_for(|stop| *stop != Stop::Running).await;
}

/// Ends when requests under way are to be given up.
async fn deadline(told: &mut watch::Receiver<Stop>) {
    loop {
        stopped(told).await;
        let until = match *told.borrow_and_update() {
            Stop::By(until) => until,
            Stop::Running => Instant::now(),
        };
        // A second stop may shorten the grace of the first.
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            Ok(()) = told.changed() => {}
        }
    }
}
