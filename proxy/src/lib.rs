//! The data plane of meshbed: a service-mesh proxy, usable without the testbed.

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
