//! Drives a schedule through a sender until told to stop.
//!
//! The shape that others may count on:
//!
//! ```text
//! schedule::build(&Scenario) -> Result<Schedule, schedule::Error>
//! Schedule { planned: Vec<Planned>, sources: Vec<Lane>, sha256: String, span_us: u64 }     planned[i].ordinal == i
//! Planned { ordinal: u64, source: usize, due_us: u64, connection: u64, request: Arc<Prepared> }
//! Prepared { method: http::Method, uri: http::Uri, headers: http::HeaderMap, body: Bytes }  .path() -> &str: path and query
//! Lane { id, service, connections, max_in_flight, timeout, trace: Option<TraceFacts> }      TraceFacts { path, sha256, exchanges, skipped: BTreeMap<String, u64> }
//!
//! start(Arc<Schedule>, Drive { targets: BTreeMap<Id, SocketAddr>, run: u64, origin: tokio::time::Instant }, sink: impl Fn(RunEvent) + Send + 'static)
//!     -> Result<Driving, StartError>
//!     The sink is called on the I/O thread with RunEvent::Request and RunEvent::Overflow; it must not block. Every request
//!     that was released ends in exactly one RunEvent::Request. Give an origin at least replay::AHEAD from now, so that
//!     the first connections are open when their first request is due.
//! driving.stop(grace: Duration)           releases nothing more; what waits is given up at once, what is under way after `grace`
//! driving.tick(sec: u64) -> event::Tick   what the generator did so far, and its lateness since the last call
//! driving.stats() -> Stats                planned (due so far), sent, done, overflow, no_response, in_flight
//! driving.join().await -> Totals          once everything has ended: Stats, drift_us, cpu (cores), lateness_us and blocked_us quantiles
//! ```
