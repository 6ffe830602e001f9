//! Fault rules: which requests are hit, and by what. All matching rules are drawn, in order; delays add up; the first
//! terminal effect ends it, and those chosen after it are superseded.

use std::{sync::Arc, time::Duration};

use super::matcher::Matcher;
use crate::unit::Share;

pub mod abort;
pub mod delay;

/// A rule: when, for which requests, with which chance, what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fault's id, in records.
    pub id: Arc<str>,
    /// What names its draws: `fault id@caller>service`.
    pub name: String,
    /// Intended times, in whole milliseconds since the run's start, in which requests meet it; empty: always.
    pub windows: Vec<Window>,
    /// Which requests it is for.
    pub matcher: Matcher,
    /// Which of those are chosen.
    pub select: Select,
    /// Requests that may suffer it at once; more are counted as capped.
    pub max_active: Option<u32>,
    /// What happens to a chosen request.
    pub kind: Fault,
}

/// A half-open window of intended time, in milliseconds since the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First millisecond.
    pub begin_ms: u32,
    /// First millisecond after it.
    pub end_ms: u32,
}

/// Which of the requests that match are chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// This share, by draw.
    Share(Share),
    /// A share that grows from `from` to `to` over the time from a window's begin, then stays.
    Ramp {
        /// At the window's begin.
        from: Share,
        /// After `over`.
        to: Share,
        /// How long it takes.
        over: Duration,
    },
    /// The first so many, by arrival.
    First(u64),
    /// Every so many-th (the n-th, 2n-th, …), by arrival.
    Every(u64),
    /// These ordinals, ascending: `first` and `every` where the plan knows the requests.
    Ordinals(Arc<[u64]>),
}

/// What happens to a chosen request; one file a kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It waits before it is sent on.
    Delay(delay::Delay),
    /// It is answered here.
    Abort(abort::Abort),
}
