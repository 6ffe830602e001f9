//! The tests of the proxy.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the exemption for tests covers test functions only"
)]

mod access_log;
mod admin;
mod app;
mod bounds;
mod chains;
mod chosen;
mod cli;
mod cluster;
mod connect;
mod envoy;
mod ext_authz;
mod fault;
mod fault_kinds;
mod filters;
mod grpc;
mod h2_attack;
mod host_rewrite;
mod http1;
mod http1_options;
mod http2;
mod inspect;
mod jwt;
mod listener_log;
mod local_reply;
mod mirror;
mod mutation;
mod oracle;
mod pressure;
mod rate_limit;
mod rbac;
mod redirect;
mod reply;
mod retry;
mod sidecar;
mod smuggling;
mod support;
mod swap;
mod tcp;
mod tcp_fault;
mod tcp_live;
mod tls;
mod varied;
mod weighted;
