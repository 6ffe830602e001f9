//! The attempts of a request that may have several: one after the other, or, hedged, beside one another.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::{HeaderMap, request};
use tokio::time::Instant;

use super::{
    Failure, Got, Sender, Way,
    attempt::{self, Progress},
};
use crate::{
    cluster::{Elsewhere, Permit, roster::Member},
    error::Error,
    http::{body::Upload, log::Log, replay::Replay},
    net::{onward::Onward, timer::Sleep},
    observe::Flags,
    policy::retry::{Outcome, Reset, Retries, Verdict},
};

/// The attempts of a request.
pub(super) struct Race<'a> {
    sender: &'a Sender<'a>,
    head: Box<request::Parts>,
    /// `None`: there is no body.
    body: Option<Replay>,
    /// `None`: there is one attempt.
    retries: Option<Retries<'a>>,
    log: &'a mut Log,
    flights: Vec<Flight<'a>>,
    /// Attempts that begin when their backoff has passed.
    coming: Vec<(Sleep, Option<Permit>)>,
    tried: Vec<SocketAddr>,
    /// Their priorities.
    levels: Vec<u32>,
    /// Attempts so far.
    count: u32,
}

/// An attempt under way.
struct Flight<'a> {
    exchange: Pin<Box<dyn Future<Output = Result<Got, Failure>> + 'a>>,
    progress: Rc<Progress>,
    start: Instant,
    alarm: Option<Sleep>,
    idle_alarm: Option<Sleep>,
    /// Its time is over, and another one is, or will be, under way beside it.
    late: bool,
    /// It is a retry.
    _retrying: Option<Permit>,
}

/// What happened first.
enum Event {
    Ended(usize, Result<Got, Failure>),
    Late(usize, Error),
    Due(usize),
    Over(Error),
}

impl<'a> Race<'a> {
    pub(super) fn new(
        sender: &'a Sender<'a>,
        head: Box<request::Parts>,
        body: Option<Replay>,
        retries: Option<Retries<'a>>,
        log: &'a mut Log,
    ) -> Self {
        Self {
            sender,
            head,
            body,
            retries,
            log,
            flights: Vec::new(),
            coming: Vec::new(),
            tried: Vec::new(),
            levels: Vec::new(),
            count: 0,
        }
    }

    /// Runs attempts until one's end stands.
    pub(super) async fn run(mut self) -> Result<Got, Error> {
        self.launch(None)?;
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Event::Over(error) => {
                    self.give_up(&error);
                    return Err(error);
                }
                Event::Due(index) => {
                    let (_, retrying) = self.coming.swap_remove(index);
                    if let Err(error) = self.launch(retrying)
                        && self.is_last()
                    {
                        return Err(error);
                    }
                }
                Event::Late(index, error) => self.late(index, error)?,
                Event::Ended(index, result) => {
                    let flight = self.flights.swap_remove(index);
                    if let Some(result) = self.ended(flight, result) {
                        self.begun(&result);
                        return result;
                    }
                }
            }
        }
    }

    /// An attempt that may not be idle is held to that as long as its answer lasts.
    fn begun(&self, result: &Result<Got, Error>) {
        if let Some(idle) = self.sender.times.per_try_idle
            && let Ok(Got::Upstream(answer)) = result
        {
            self.sender.client.expect_motion(answer.arrived, idle);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(error) = self.sender.client.overdue() {
            return Poll::Ready(Event::Over(error));
        }
        for (index, flight) in self.flights.iter_mut().enumerate() {
            if let Poll::Ready(result) = flight.exchange.as_mut().poll(cx) {
                return Poll::Ready(Event::Ended(index, result));
            }
            if !flight.late
                && let Poll::Ready(error) = flight.poll_time(self.sender, cx)
            {
                return Poll::Ready(Event::Late(index, error));
            }
        }
        for (index, (sleep, _)) in self.coming.iter_mut().enumerate() {
            if Pin::new(sleep).poll(cx).is_ready() {
                return Poll::Ready(Event::Due(index));
            }
        }
        Poll::Pending
    }

    /// Begins another attempt; the error: it has no endpoint.
    fn launch(&mut self, retrying: Option<Permit>) -> Result<(), Error> {
        self.count += 1;
        self.log.tries = self.count;
        let sender = self.sender;
        let Way { pool, level, host } = match self.pick() {
            Ok(way) => way,
            Err(error) => return Err(sender.no_endpoint(error, self.log)),
        };
        // As Envoy: the next endpoint is told of this one's name, too.
        sender.rename(&mut self.head, host, self.log);
        self.tried.push(pool.address());
        self.levels.push(level);
        self.log.upstream = Some(pool.address());
        let body = match &self.body {
            None => Upload::Empty,
            Some(body) => Upload::Replay(body.reader()),
        };
        let mut head = self.head.clone();
        sender.dress(&mut head, self.count);
        let request = Onward { head, body };
        let progress = Rc::new(Progress::default());
        let (shared, n) = (Rc::clone(&progress), self.count);
        let start = Instant::now();
        let exchange = async move { attempt::run(request, &pool, sender, &shared, n, start).await };
        self.flights.push(Flight {
            exchange: Box::pin(exchange),
            progress,
            start,
            alarm: None,
            idle_alarm: None,
            late: false,
            _retrying: retrying,
        });
        Ok(())
    }

    /// The next endpoint; where the policy asks for it, one that was not tried yet.
    fn pick(&self) -> Result<Way, Error> {
        let others = self
            .retries
            .as_ref()
            .filter(|_| self.count > 1)
            .and_then(Retries::other_hosts);
        let tried = |member: &Member| self.tried.contains(&member.address);
        let after = self.retries.as_ref().and_then(Retries::other_priorities);
        let elsewhere = after.map(|after| Elsewhere {
            tried: &self.levels,
            after,
        });
        match others {
            Some(others) => self.sender.next(Some(&tried), others, elsewhere),
            None => self.sender.next(None, 0, elsewhere),
        }
    }

    /// An attempt's time is over.
    fn late(&mut self, index: usize, error: Error) -> Result<(), Error> {
        if !self.sender.times.hedge {
            let flight = self.flights.swap_remove(index);
            let result = self.ended(flight, Err(Failure::sent(error)));
            return match result {
                Some(Err(error)) => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(flight) = self.flights.get_mut(index) {
            flight.late = true;
        }
        self.sender.cluster.metrics().per_try_timeouts.inc();
        let verdict = match &mut self.retries {
            Some(retries) if self.body.as_ref().is_none_or(Replay::is_whole) => retries.hedge(),
            _ => Verdict::Stands,
        };
        self.follow(verdict, Outcome::Reset(Reset::TimedOut));
        Ok(())
    }

    /// An attempt has ended; what stands, if it does.
    fn ended(
        &mut self,
        flight: Flight<'a>,
        result: Result<Got, Failure>,
    ) -> Option<Result<Got, Error>> {
        let Flight {
            progress,
            start,
            late,
            exchange,
            ..
        } = flight;
        // Its body is no longer read by it.
        drop(exchange);
        self.sender.settle(&progress, start, &result, self.log);
        if progress.interim.get() {
            // As Envoy: what the client may have been told of the answer is its.
            self.retries = None;
        }
        let none = HeaderMap::new();
        let outcome = match &result {
            Ok(Got::Upstream(answer)) => Some(Outcome::Answer(
                answer.response.status(),
                answer.response.headers(),
            )),
            Ok(Got::Injected(reply)) => Some(Outcome::Answer(reply.status, &none)),
            Err(failure) => failure.reset().map(Outcome::Reset),
        };
        let again = match (outcome, &mut self.retries) {
            (Some(outcome), Some(retries)) if self.body.as_ref().is_none_or(Replay::is_whole) => {
                let verdict = if late {
                    // It was tried again when its time was over: that is no limit which it meets here.
                    retries.would(outcome)
                } else {
                    retries.verdict(outcome)
                };
                let comes = !late && self.follow(verdict, outcome);
                comes || (verdict != Verdict::Stands && !self.is_last())
            }
            // One of several that run beside one another may fail.
            _ => result.is_err() && !self.is_last(),
        };
        if !again {
            if self.count > 1 && result.is_ok() {
                self.sender.cluster.metrics().retry_successes.inc();
            }
            return Some(result.map_err(|failure| failure.error));
        }
        if let Ok(got) = result {
            got.discard();
        }
        None
    }

    /// Does what was decided; whether another attempt comes.
    fn follow(&mut self, verdict: Verdict, outcome: Outcome<'_>) -> bool {
        let metrics = self.sender.cluster.metrics();
        match verdict {
            Verdict::Stands => false,
            Verdict::Exhausted => {
                metrics.retries_exhausted.inc();
                self.log.flags.set(Flags::URX);
                false
            }
            Verdict::Again => {
                let Some(retrying) = self.sender.cluster.retrying(self.sender.priority) else {
                    metrics.retry_overflows.inc();
                    self.log.flags.set(Flags::UO);
                    return false;
                };
                metrics.retries.inc();
                let core = &self.sender.client.core;
                let wait = self.retries.as_ref().map(|retries| {
                    let chance = core.chance();
                    retries.wait(outcome, chance, seconds_since_1970())
                });
                let at = Instant::now() + wait.unwrap_or_default();
                self.coming
                    .push((core.timer.sleep_until(at), Some(retrying)));
                true
            }
        }
    }

    /// No other attempt is under way or comes.
    fn is_last(&self) -> bool {
        self.flights.is_empty() && self.coming.is_empty()
    }

    /// The request ends before its attempts do.
    fn give_up(&mut self, error: &Error) {
        for flight in self.flights.drain(..) {
            let result = Err(Failure::sent(error.clone()));
            self.sender
                .settle(&flight.progress, flight.start, &result, self.log);
        }
    }
}

impl Flight<'_> {
    /// Whether its time is over.
    fn poll_time(&mut self, sender: &Sender<'_>, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(connected) = self.progress.connected.get() else {
            return Poll::Pending;
        };
        let timer = &sender.client.core.timer;
        if let Some(per_try) = sender.times.per_try
            && sender.client.is_request_complete()
        {
            let alarm = self
                .alarm
                .get_or_insert_with(|| timer.sleep_until(Instant::now() + per_try));
            if Pin::new(alarm).poll(cx).is_ready() {
                return Poll::Ready(Error::PerTryTimeout { idle: false });
            }
        }
        let Some(idle) = sender.times.per_try_idle else {
            return Poll::Pending;
        };
        if !sender.client.is_request_complete() {
            return Poll::Pending;
        }
        let until = |moved: Instant| connected.max(moved) + idle;
        let alarm = self
            .idle_alarm
            .get_or_insert_with(|| timer.sleep_until(until(sender.client.last_moved())));
        while Pin::new(&mut *alarm).poll(cx).is_ready() {
            let at = until(sender.client.last_moved());
            if at <= Instant::now() {
                return Poll::Ready(Error::PerTryTimeout { idle: true });
            }
            *alarm = timer.sleep_until(at);
        }
        Poll::Pending
    }
}

impl Failure {
    /// What it is to a retry policy; `None`: no policy retries it.
    fn reset(&self) -> Option<Reset> {
        Some(match &self.error {
            Error::Connect(_) | Error::ConnectTimeout => Reset::Connect,
            Error::PerTryTimeout { .. } => Reset::TimedOut,
            Error::Terminated | Error::Protocol if self.unsent => Reset::Unsent,
            Error::Reset { refused: true } => Reset::Refused,
            Error::Terminated | Error::Protocol | Error::ConnectReset | Error::Reset { .. } => {
                Reset::Broken
            }
            _ => return None,
        })
    }
}

impl Got {
    /// Nobody wants it. Its connection is kept where nothing more will come.
    fn discard(self) {
        use http_body::Body;
        if let Self::Upstream(answer) = self
            && answer.response.body().is_end_stream()
        {
            answer.lease.give_back(Instant::now());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an upstream may say by the time of day when it wants to be asked again"
)]
fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
