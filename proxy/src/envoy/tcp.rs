//! The TCP proxy filter.

use envoy_types::pb::envoy::{
    extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
    r#type::v3::hash_policy::PolicySpecifier,
};

use super::{
    Notes, access_log,
    filter::{duration, unless_zero},
};
use crate::config;

/// A TCP proxy.
pub(super) fn convert(it: &TcpProxy, path: &str, notes: &mut Notes) -> config::TcpProxy {
    let defaults = config::TcpProxy::default();
    if it.stat_prefix.is_empty() {
        notes.invalid(format!("{path}.stat_prefix"), "it must not be empty");
    }
    let clusters = match &it.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .map(|it| (it.name.clone(), it.weight))
            .collect(),
        None => {
            notes.invalid(path, "a `cluster` or `weighted_clusters` is needed");
            Vec::new()
        }
    };
    let idle_path = format!("{path}.idle_timeout");
    let idle_timeout = match duration(it.idle_timeout.as_ref(), &idle_path, notes) {
        Some(set) => unless_zero(set),
        None => defaults.idle_timeout,
    };
    let max_duration = it.max_downstream_connection_duration.as_ref();
    let max_path = format!("{path}.max_downstream_connection_duration");
    let max_duration = duration(max_duration, &max_path, notes);
    let max_connect_attempts = it.max_connect_attempts.map_or(1, |it| it.value);
    if max_connect_attempts == 0 {
        notes.invalid(format!("{path}.max_connect_attempts"), "it must be above 0");
    }
    config::TcpProxy {
        stat_prefix: it.stat_prefix.clone(),
        clusters,
        idle_timeout,
        max_duration,
        max_connect_attempts: max_connect_attempts.max(1),
        hash_source_ip: it
            .hash_policy
            .iter()
            .any(|it| matches!(it.policy_specifier, Some(PolicySpecifier::SourceIp(_)))),
        // Said by a filter of its own.
        cluster_by_server_name: false,
        faults: Vec::new(),
        live: false,
        numbered: false,
        access_logs: access_log::convert(&it.access_log, &format!("{path}.access_log"), notes),
    }
}
