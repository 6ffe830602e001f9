//! A breaker that opens on failures: closed, it counts them; open, it lets nothing through; half open, it lets a few
//! requests through to see. Envoy has none.

use std::{collections::VecDeque, time::Duration};

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// It opens when so much of the requests of a window failed, from 0 to 1.
    pub failures: f64,
    /// But not before so many requests in the window.
    pub least: u32,
    /// How far back requests count.
    pub window: Duration,
    /// How long it stays open.
    pub open: Duration,
    /// Half open, it lets so many requests through, and closes when all of them succeed.
    pub probes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 0.5,
            least: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(5),
            probes: 3,
        }
    }
}

/// What it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// A few requests.
    HalfOpen,
}

impl State {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// It went from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// It was.
    pub from: State,
    /// It is.
    pub to: State,
    /// Why.
    pub why: &'static str,
}

/// The window's parts.
const SLICES: u32 = 10;

/// A breaker. Times are since any fixed moment.
#[derive(Debug, Clone)]
pub struct Trip {
    settings: Settings,
    state: State,
    since: Duration,
    /// The window's slices: number, requests, failures.
    slices: VecDeque<(u64, u32, u32)>,
    /// Half open: let through, and succeeded.
    admitted: u32,
    succeeded: u32,
}

impl Trip {
    /// One that is closed.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Closed,
            since: Duration::ZERO,
            slices: VecDeque::new(),
            admitted: 0,
            succeeded: 0,
        }
    }

    /// What it lets through.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether a request may pass.
    pub fn admit(&mut self, now: Duration) -> (bool, Option<Change>) {
        match self.state {
            State::Closed => (true, None),
            State::Open if now.saturating_sub(self.since) < self.settings.open => (false, None),
            State::Open => {
                let change = self.to(State::HalfOpen, "time passed", now);
                self.admitted = 1;
                (true, Some(change))
            }
            State::HalfOpen if self.admitted < self.settings.probes => {
                self.admitted += 1;
                (true, None)
            }
            // Its probes may never have ended: then it tries again.
            State::HalfOpen if now.saturating_sub(self.since) >= self.settings.open => {
                self.since = now;
                self.admitted = 1;
                self.succeeded = 0;
                (true, None)
            }
            State::HalfOpen => (false, None),
        }
    }

    /// A request has ended.
    pub fn report(&mut self, failed: bool, now: Duration) -> Option<Change> {
        match self.state {
            State::Open => None,
            State::HalfOpen if failed => Some(self.to(State::Open, "probe failed", now)),
            State::HalfOpen => {
                self.succeeded += 1;
                (self.succeeded >= self.settings.probes)
                    .then(|| self.to(State::Closed, "probes succeeded", now))
            }
            State::Closed => {
                self.count(failed, now);
                let (requests, failures) = self
                    .slices
                    .iter()
                    .fold((0, 0), |sum, slice| (sum.0 + slice.1, sum.1 + slice.2));
                let over = failed
                    && requests >= self.settings.least
                    && f64::from(failures) >= self.settings.failures * f64::from(requests);
                over.then(|| self.to(State::Open, "failures", now))
            }
        }
    }

    fn count(&mut self, failed: bool, now: Duration) {
        let slice = (self.settings.window / SLICES).max(Duration::from_millis(1));
        let number = (now.as_nanos() / slice.as_nanos()) as u64;
        while self
            .slices
            .front()
            .is_some_and(|(old, ..)| old + u64::from(SLICES) <= number)
        {
            self.slices.pop_front();
        }
        if self.slices.back().is_none_or(|(last, ..)| *last < number) {
            self.slices.push_back((number, 0, 0));
        }
        if let Some((_, requests, failures)) = self.slices.back_mut() {
            *requests += 1;
            *failures += u32::from(failed);
        }
    }

    fn to(&mut self, to: State, why: &'static str, now: Duration) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.slices.clear();
        self.admitted = 0;
        self.succeeded = 0;
        Change { from, to, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn opened() -> Trip {
        let mut trip = Trip::new(Settings::default());
        for at in 0..20 {
            assert_eq!(trip.state(), State::Closed, "{at}");
            trip.report(at % 2 == 1, AT(1));
        }
        assert_eq!(trip.state(), State::Open);
        trip
    }

    #[test]
    fn it_opens_when_half_of_at_least_twenty_failed_and_then_lets_nothing_through() {
        let mut trip = opened();
        assert_eq!(trip.admit(AT(1)), (false, None));
        assert_eq!(trip.admit(AT(5)), (false, None));
    }

    #[test]
    fn failures_beyond_the_window_are_forgotten() {
        let mut trip = Trip::new(Settings::default());
        for second in 0..100 {
            // One of two fails, but never 20 within ten seconds.
            trip.report(true, AT(second));
        }
        assert_eq!(trip.state(), State::Closed);
    }

    #[test]
    fn half_open_it_closes_when_its_probes_succeed() {
        let mut trip = opened();
        let (passed, change) = trip.admit(AT(6));
        let change = change.unwrap();
        assert!(passed);
        assert_eq!((change.from, change.to), (State::Open, State::HalfOpen));
        assert_eq!(trip.admit(AT(6)), (true, None));
        assert_eq!(trip.admit(AT(6)), (true, None));
        assert_eq!(trip.admit(AT(6)), (false, None));
        assert_eq!(trip.report(false, AT(6)), None);
        assert_eq!(trip.report(false, AT(6)), None);
        let change = trip.report(false, AT(6)).unwrap();
        assert_eq!(change.to, State::Closed);
        assert_eq!(trip.admit(AT(6)), (true, None));
    }

    #[test]
    fn half_open_it_opens_again_at_the_first_failure() {
        let mut trip = opened();
        trip.admit(AT(6));
        let change = trip.report(true, AT(7)).unwrap();
        assert_eq!((change.to, change.why), (State::Open, "probe failed"));
        assert_eq!(trip.admit(AT(11)), (false, None));
        assert!(trip.admit(AT(12)).0);
    }

    #[test]
    fn probes_that_never_end_do_not_keep_it_half_open_forever() {
        let mut trip = opened();
        for _ in 0..4 {
            trip.admit(AT(6));
        }
        assert_eq!(trip.admit(AT(10)), (false, None));
        assert!(trip.admit(AT(11)).0);
    }
}
