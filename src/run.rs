//! Executes a scenario: brings services and proxies up, plays, breaks, collects, tears down.
//!
//! The shape that others may count on:
//!
//! ```text
//! run::execute(&Scenario, Options { run, logs, journal }, events: UnboundedSender<RunEvent>, commands: UnboundedReceiver<Command>)
//!     -> Result<Outcome, Failure>        blocks its thread; returns after rollback
//! ```
//!
//! `mesh.rs` says what the proxies do, `services.rs` starts what is behind them, `collect.rs` turns what all of them tell
//! into one stream, `engine.rs` walks the timeline, `guard.rs` and `outcome.rs` judge.

use std::{fmt, path::Path};

pub mod again;
pub mod collect;
mod engine;
#[cfg(test)]
mod fixture;
pub mod guard;
pub mod judge;
pub mod mesh;
pub mod outcome;
pub mod services;
pub mod timeline;

pub use engine::execute;
pub use outcome::Outcome;

use crate::journal::Journal;

/// What a run is told beside its scenario.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The run's number in trace ids, 40 bits; no other run's.
    pub run: u64,
    /// Folder for what services print; it exists if there are processes.
    pub logs: &'a Path,
    /// Where side effects are written down.
    pub journal: &'a Journal,
}

/// What a person can tell a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop: all faults off at once, then roll back. A second one does not wait for what is under way.
    Stop,
    /// Switch a fault, at once and for all requests.
    SwitchFault(crate::event::Id, bool),
}

/// Why a run could not be made.
#[derive(Debug)]
pub enum Failure {
    /// The environment failed: a port in use, a target unreachable, a service not ready.
    Environment(String),
    /// The scenario asks for what cannot be, found only now: an unreadable capture.
    Scenario(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(what) | Self::Scenario(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

/// An error and everything that it came from, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
