//! meshbed rehearses production traffic: record packets, replay them through a real mesh proxy, mirror them to a shadow
//! version, break things on a timeline, score the outcome in the terminal, compare the histograms of two runs.

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
