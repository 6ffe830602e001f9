//! Drives a schedule through a sender until told to stop.
//!
//! The shape that others may count on:
//!
//! ```text
//! schedule::build(&Scenario) -> Result<Schedule, Error>
//! Schedule { planned: Vec<Planned>, sha256, span_us, sources: Vec<SourceFacts> }       ordered by ordinal
//! Planned { ordinal, source: usize, due_us, connection, request: Prepared }             Prepared { method, path, headers, body }
//! start(Arc<Schedule>, Drive { targets: service -> SocketAddr, run: u64, origin: Instant, .. }, sink: Fn(event::Request)) -> Driving
//! Driving::stop(), Driving::stats() -> Stats { planned, sent, done, overflow, lateness.. }, Driving::join()
//! ```
