//! The ways to get at live traffic: each tells the session's observer of the primary's requests and of pairs.

use std::time::Duration;

use super::Listener;
use crate::scenario::Scenario;

/// One way to get at the traffic. Dropping it ends it at once.
#[derive(Debug)]
pub enum Source {
    /// Clients connect to us, and we to the primary.
    Listener(Listener),
}

impl Source {
    /// Copies as this says from now on; the error says why that cannot be, and nothing has changed.
    pub fn reload(&mut self, scenario: &Scenario) -> Result<(), String> {
        match self {
            Self::Listener(listener) => listener.reload(scenario),
        }
    }

    /// Takes nothing new, and waits at most so long for what is under way; whether all of that has ended.
    pub fn drain(&self, within: Duration) -> bool {
        match self {
            Self::Listener(listener) => listener.drain(within),
        }
    }

    /// There will be no more traffic, whatever anybody wants.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Listener(_) => false,
        }
    }

    /// Where it gets the traffic from, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Listener(listener) => format!("listening at {}", listener.address()),
        }
    }
}
