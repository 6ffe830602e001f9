//! Fault rules: which requests are hit, and by what. All matching rules are drawn, in order; delays add up; the first
//! terminal effect ends it, and those chosen after it are superseded. What shapes an answer ([`Shape`]) adds up, too.

use std::{sync::Arc, time::Duration};

use super::matcher::Matcher;
use crate::unit::{ByteSize, Share};

pub mod abort;
mod counters;
mod decision;
pub mod delay;
pub mod header;
pub mod rewrite;
mod rules;
pub mod tcp;
pub mod throttle;
pub mod tls;
pub mod truncate;

pub use counters::{Active, Book, Counter, Counters};
pub use decision::{Chosen, Decision, Fate, Shape, Who};
pub use rules::Rules;

/// A rule: when, for which requests, with which chance, what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fault's id, in records.
    pub id: Arc<str>,
    /// What names its draws: `ID@CALLER>SERVICE` (its id, who calls, who is called).
    pub name: String,
    /// Intended times, in whole milliseconds since the run's start, in which requests meet it; empty: always.
    pub windows: Vec<Window>,
    /// Which requests it is for.
    pub matcher: Matcher,
    /// Which of those are chosen.
    pub select: Select,
    /// Requests that may suffer it at once; more are counted as capped.
    pub max_active: Option<u32>,
    /// What names the count of those; rules of the same group share it, and a request counts once. `None`: the rule's name.
    pub group: Option<String>,
    /// Where requests meet it.
    pub place: Place,
    /// What happens to a chosen request.
    pub kind: Fault,
}

/// Where requests meet a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// Once, before timeouts and retries, as in Envoy.
    #[default]
    Request,
    /// In each attempt, so that timeouts and retries meet it.
    Attempt,
}

impl Default for Rule {
    /// Every request, always, without a name; and no delay.
    fn default() -> Self {
        Self {
            id: Arc::from(""),
            name: String::new(),
            windows: Vec::new(),
            matcher: Matcher::default(),
            select: Select::Share(Share::ALL),
            max_active: None,
            group: None,
            place: Place::Request,
            kind: Fault::Delay(delay::Delay::Fixed(Duration::ZERO)),
        }
    }
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
    /// Its answer waits before it is passed on.
    DelayAnswer(delay::Delay),
    /// It is answered here, or its client is cut off.
    Abort(abort::Abort),
    /// Its answer's body comes slowly.
    Throttle(throttle::Throttle),
    /// Its answer's body breaks off.
    Truncate(truncate::Truncate),
    /// Its answer is another one.
    Rewrite(rewrite::Rewrite),
    /// What its own headers ask for.
    Header(header::Header),
}

/// How each kind is written in a scenario: its key, its examples. A new kind adds a line.
pub const KINDS: &[(&str, &[&str])] = &[
    ("delay", delay::EXAMPLES),
    ("abort", abort::EXAMPLES),
    ("throttle", throttle::EXAMPLES),
    ("truncate", truncate::EXAMPLES),
    ("rewrite", rewrite::EXAMPLES),
];

impl Fault {
    /// The key that it has in a scenario.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Delay(_) | Self::DelayAnswer(_) => "delay",
            Self::Abort(_) => "abort",
            Self::Throttle(_) => "throttle",
            Self::Truncate(_) => "truncate",
            Self::Rewrite(_) => "rewrite",
            Self::Header(_) => "header",
        }
    }

    /// What it does, in a few words, for kinds that are not delays: `abort 503`, `truncate after 1KiB`.
    pub fn words(&self) -> String {
        match self {
            Self::Delay(_) => "delay".to_owned(),
            Self::DelayAnswer(_) => "delay of the answer".to_owned(),
            Self::Abort(abort) => abort.words(),
            Self::Throttle(throttle) => {
                format!("throttle to {}/s", ByteSize(throttle.bytes_per_second))
            }
            Self::Truncate(truncate) => format!("truncate after {}", ByteSize(truncate.after)),
            Self::Rewrite(rewrite) => match rewrite.status {
                Some(status) => format!("rewrite to {status}"),
                None => "rewrite".to_owned(),
            },
            Self::Header(_) => "what headers ask for".to_owned(),
        }
    }

    /// The effect of the settings, drawn at `u`; the error says what is wrong with them.
    fn compile(&self) -> Result<Effect, String> {
        match self {
            Self::Delay(delay) => delay.check().map(|()| Effect::Delay(delay.clone())),
            Self::DelayAnswer(delay) => delay.check().map(|()| Effect::DelayAnswer(delay.clone())),
            Self::Abort(abort) => abort.end().map(Effect::End),
            Self::Throttle(throttle) => throttle.check().map(|()| Effect::Throttle(*throttle)),
            Self::Truncate(truncate) => Ok(Effect::Truncate(*truncate)),
            Self::Rewrite(rewrite) => rewrite.compile().map(|it| Effect::Rewrite(Arc::new(it))),
            Self::Header(header) => Ok(Effect::Header(*header)),
        }
    }
}

/// What a kind does, physically.
#[derive(Debug, Clone)]
enum Effect {
    /// The request goes on after this long.
    Delay(delay::Delay),
    /// The answer goes on after this long.
    DelayAnswer(delay::Delay),
    /// The request ends so.
    End(abort::End),
    /// The answer's body has this rate.
    Throttle(throttle::Throttle),
    /// The answer's body ends after this.
    Truncate(truncate::Truncate),
    /// The answer is made this.
    Rewrite(Arc<rewrite::Compiled>),
    /// What headers ask for.
    Header(header::Header),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_examples_under_its_own_key() {
        let kinds = [
            Fault::Delay(delay::Delay::Fixed(Duration::ZERO)),
            Fault::Abort(abort::Abort::Status {
                status: 503,
                body: None,
            }),
            Fault::Throttle(throttle::Throttle {
                bytes_per_second: 1,
            }),
            Fault::Truncate(truncate::Truncate { after: 1 }),
            Fault::Rewrite(rewrite::Rewrite::default()),
        ];
        for kind in &kinds {
            let (_, examples) = KINDS.iter().find(|(key, _)| *key == kind.kind()).unwrap();
            assert!(!examples.is_empty());
            for example in *examples {
                assert!(
                    example.starts_with(&format!("{}: ", kind.kind())),
                    "{example}"
                );
            }
        }
        assert_eq!(KINDS.len(), kinds.len());
    }
}
