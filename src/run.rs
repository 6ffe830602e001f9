//! Executes a scenario: brings services and proxies up, plays, breaks, collects, tears down.
//!
//! The shape that others may count on:
//!
//! ```text
//! run::execute(&Scenario, Options { workers, logs, .. }, events: UnboundedSender<RunEvent>, commands: UnboundedReceiver<Command>)
//!     -> Result<Outcome, Failure>        blocks its thread; returns after rollback
//! ```
//!
//! `mesh.rs` says what the proxies do, `services.rs` starts what is behind them, `collect.rs` turns what all of them tell
//! into one stream, `engine.rs` walks the timeline, `guard.rs` and `outcome.rs` judge.

use std::{fmt, path::PathBuf};

pub mod collect;
#[cfg(test)]
mod fixture;
pub mod mesh;
pub mod outcome;
pub mod services;

pub use outcome::Outcome;

/// What a run is told beside its scenario.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Event loops of the proxies; `None`: the scenario's.
    pub workers: Option<usize>,
    /// Folder for what services print; `None`: it is not kept.
    pub logs: Option<PathBuf>,
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
    /// A person stopped it before anything was played.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(what) | Self::Scenario(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted before the first request"),
        }
    }
}

impl std::error::Error for Failure {}
