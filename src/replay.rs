//! Drives a schedule through a sender until told to stop.
//!
//! ```text
//! schedule::build ── Arc<Schedule> ──┬─> scheduler thread: pacer + clock ── released ──> I/O thread: sender ── RunEvent ──> sink
//!                                    └──────────── lanes, connections to open ahead ───────────^
//! ```
//!
//! Open loop: the schedule is fixed, and a slow answer never moves a later sending. What that costs is measured, not
//! hidden: `released` is stamped by the scheduler thread when it lets a request go, `sent` when a connection takes it.

pub mod arrival;
pub mod clock;
pub mod identity;
pub mod pacer;
pub mod rewrite;
pub mod schedule;

pub use self::{
    rewrite::Prepared,
    schedule::{Lane, Planned, Schedule, TraceFacts},
};
