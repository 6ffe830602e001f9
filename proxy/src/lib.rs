//! The data plane of meshbed: a service-mesh proxy, usable without the testbed.
//!
//! [`app::Proxy::start`] takes a [`config::Config`], which a scenario and an Envoy file ([`envoy`]) both become, and runs
//! one event loop a core. A loop shares no connection with the others: its listeners (`SO_REUSEPORT`), its pools and its
//! [timer](net::timer) are its own ([`http::core::Core`]). Counts are kept per loop and merged when the [admin port](admin)
//! is asked.
//!
//! # Life of a request
//!
//! 1. [`listener::run`] accepts a connection and holds the [`drain`] open for it; [`http::server::run`] reads HTTP/1 from it
//!    ([`net::h1`]).
//! 2. [`http::serve`] is called for each request. It loads the [`snapshot::Snapshot`] **once**: what is published meanwhile
//!    is for the next request.
//! 3. [`http::log::Log::open`]: from here exactly one [`observe::Record`] leaves, also when the client vanishes, for the
//!    log's `Drop` records.
//! 4. `http/normalize.rs` takes off what is for this hop alone, settles host and request id; `http/identity.rs` finds the
//!    request's place in the schedule, its ordinal.
//! 5. [`snapshot::hosts::Hosts::find`] picks the first matching route ([`policy::matcher`]) of the most specific host.
//! 6. [`policy::fault::Rules::decide`] draws the faults ([`draw`]); `http/inject.rs` carries them out: waits, or ends the
//!    request with an answer of its own.
//! 7. A route forwards to a cluster, or answers by itself; without a route, [`http::reply::error`].
//! 8. [`policy::mirror`] chooses; [`http::shadow::copy`] admits a copy or sheds it, with a reason. The primary never waits
//!    for it.
//! 9. [`http::forward::send`] asks the [`cluster::Cluster`] for the next endpoint ([`policy::balance`]), takes the
//!    connection that came back last from its [`cluster::pool::Pool`], or dials ([`net::dial`]).
//! 10. [`http::reply::upstream`] gives the answer to the client; an [`error::Error`] becomes a status, a body and flags in
//!     [`http::reply::error`], and nowhere else. After a 101 the bytes of the other protocol are its
//!     body, and the request's.
//! 11. [`http::body::Download`] streams and meters; its end finishes the log, which feeds [`metrics`] and the
//!     [`observe::Observer`].

/// As std's, but a standard error that nobody reads any more (`2>&1 | head -1`, a closed terminal) is no reason to panic.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr().lock(),
            format_args!("{}\n", format_args!($($text)*)),
        );
    }};
}

pub mod access_log;
pub mod admin;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod drain;
pub mod draw;
pub mod envoy;
pub mod error;
pub mod http;
pub mod listener;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod policy;
pub mod snapshot;
pub mod tcp;
pub mod unit;
