//! Policies: settings and a pure decision. Nothing below awaits, reads a clock, or owns randomness.

pub mod balance;
pub mod fault;
pub mod flag;
pub mod format;
pub mod matcher;
pub mod mirror;
