//! The tests of the proxy.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the exemption for tests covers test functions only"
)]

mod envoy;
mod fault;
mod support;
