//! meshbed rehearses production traffic: record packets, replay them through a real mesh proxy, mirror them to a shadow
//! version, break things on a timeline, score the outcome in the terminal, compare the histograms of two runs.
//!
//! # Life of a recorded packet
//!
//! 1. [`capture::open`] looks at the head of the file, by the table [`capture::FORMATS`], and gives frames with the time of
//!    their capture.
//! 2. `capture/link.rs` takes off the headers of link, IP and TCP; what is no TCP segment is counted, with a reason.
//! 3. `capture/tracker.rs` tells connections apart, `capture/stream.rs` puts each direction in order: what comes twice is
//!    dropped, what is missing is reported.
//! 4. `capture/http1.rs` reads messages, `capture/pairing.rs` joins each request to its response, `capture/sort.rs` orders
//!    them by their first byte: a [`capture::Exchange`] each. `meshbed inspect` prints them and stops here.
//! 5. [`replay::schedule::build`] filters, scales time, loops, numbers: a [`replay::schedule::Planned`] each, with its
//!    ordinal and when it is due. [`replay::rewrite`] gives host and headers. From here [`plan`] knows who will be hit.
//! 6. [`replay::pacer`] says what is due and [`replay::clock`] waits for it: the loop is open, so lateness is measured and
//!    never hidden. The sender gives it to a connection to the first sidecar.
//! 7. The sidecars of [`run::mesh`] carry it (the life of a request: [`meshbed_proxy`]) to what [`run::services`] started,
//!    such as a service of [`backend`], and a copy to each shadow that chose it.
//! 8. [`run::collect`] turns what sidecars and sender tell into [`event::RunEvent`]s, one linear stream; on a thread of its
//!    own it has [`shadow::compare`] say how a shadow's answer differs from the primary's.
//! 9. [`measure::Measured`] folds the events: latency from the **due** time (what a user waits, free of coordinated omission)
//!    and from the time of sending (what the service took), counts, seconds. [`tui::App`] is another fold over the same
//!    stream, [`report::Writer`] writes it down.
//! 10. [`run::judge`] evaluates each check ([`expr`]) over its phases; [`run::guard`] does so while the run lasts, and may
//!     stop it. [`score`] makes points, an interval and a verdict of them.
//! 11. [`report::Writer::finish`] makes the bundle whole, with its readable forms ([`report::format::FORMATS`]);
//!     [`cli::exit`] has the exit codes. [`report::compare`] holds two bundles side by side, [`tui::saved`] reopens one.
//!
//! Live traffic has no schedule: [`mirror`] has a source tell of it and goes on at step 8.
//!
//! A side effect that must be undone (a process, a listener, a half-written folder) stands in the [`journal`] before it
//! happens. A module names only modules that stand before it: `tests/it/layering.rs` has the order.

/// As std's, but a standard error that nobody reads any more (`2>&1 | head -1`, a closed terminal) is no reason to panic.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr().lock(),
            format_args!("{}\n", format_args!($($text)*)),
        );
    }};
}

/// As std's, but a standard error that nobody reads any more is no reason to panic.
macro_rules! eprint {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!($($text)*));
    }};
}

pub mod backend;
pub mod capture;
pub mod cli;
pub mod container;
pub mod event;
pub mod expr;
pub mod journal;
pub mod measure;
pub mod mirror;
pub mod plan;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod score;
pub mod shadow;
pub mod stats;
pub mod tui;
