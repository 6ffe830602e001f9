//! meshbed rehearses production traffic: record packets, replay them through a real mesh proxy, mirror them to a shadow
//! version, break things on a timeline, score the outcome in the terminal, compare the histograms of two runs.

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
pub mod event;
pub mod expr;
pub mod journal;
pub mod measure;
pub mod plan;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod score;
pub mod shadow;
pub mod stats;
pub mod tui;
