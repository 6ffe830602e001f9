//! Policies: settings and a pure decision. Nothing below awaits, reads a clock, or owns randomness.

pub mod adaptive;
pub mod admission;
pub mod balance;
pub mod breaker;
pub mod chain;
pub mod cidr;
pub mod cors;
pub mod fault;
pub mod flag;
pub mod format;
pub mod grpc;
pub mod headers;
pub mod health;
pub mod http1;
pub mod matcher;
pub mod mirror;
pub mod origin;
pub mod outlier;
pub mod path;
pub mod protocol;
pub mod rate_limit;
pub mod redirect;
pub mod retry;
pub mod rewrite;
pub mod sticky;
pub mod template;
