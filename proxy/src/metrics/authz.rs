//! What filters count that ask a service whether requests may go on.

use super::{
    block::{Block, Read, Value, block},
    count::Counter,
};

block!(
    /// Of a filter.
    Authz, "http", "envoy_http_conn_manager_prefix", {
    /// Requests that the service lets pass.
    ok: Counter = "ext_authz.ok",
    /// Requests that it does not.
    denied: Counter = "ext_authz.denied",
    /// Requests that nobody has decided on.
    errors: Counter = "ext_authz.error",
    /// Of them, those that went on.
    failures_allowed: Counter = "ext_authz.failure_mode_allowed",
    /// Requests of which nobody was asked.
    disabled: Counter = "ext_authz.disabled",
    }
);

block!(
    /// Of a filter, and of the cluster that its requests go to.
    ClusterAuthz, "cluster", "envoy_cluster_name", {
    /// Requests that the service lets pass.
    ok: Counter = "ext_authz.ok",
    /// Requests that it does not.
    denied: Counter = "ext_authz.denied",
    /// Requests that nobody has decided on.
    errors: Counter = "ext_authz.error",
    /// Of them, those that went on.
    failures_allowed: Counter = "ext_authz.failure_mode_allowed",
    }
);
