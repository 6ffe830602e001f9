//! The data plane of meshbed: a service-mesh proxy, usable without the testbed.

/// As std's, but a standard error that nobody reads any more (`2>&1 | head -1`, a closed terminal) is no reason to panic.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr().lock(),
            format_args!("{}\n", format_args!($($text)*)),
        );
    }};
}

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
pub mod unit;
