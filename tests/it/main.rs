//! The tests of the testbed: one binary, one file a subject.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may fail loudly"
)]

mod capture;
mod catalogue;
mod containers;
mod docker;
mod dockerd;
mod layering;
mod mirror;
mod noise;
mod replay;
mod report;
mod run;
mod scenario;
mod shipped;
mod support;
mod tui;
mod wire;
