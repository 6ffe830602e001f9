//! Static clusters.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
};

use super::{Notes, endpoint, filter::duration, protocol, secret::Secrets, tls};
use crate::{config, policy::balance::Balance};

pub(super) fn convert(
    it: &Cluster,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> config::Cluster {
    if let Some(ClusterDiscoveryType::Type(kind)) = it.cluster_discovery_type {
        let kind = DiscoveryType::try_from(kind).unwrap_or_default();
        if kind != DiscoveryType::Static {
            notes.unsupported(format!("{path}.type"), format!("`{}`", kind.as_str_name()));
        }
    }
    let policy = LbPolicy::try_from(it.lb_policy).unwrap_or_default();
    if policy != LbPolicy::RoundRobin {
        notes.unsupported(
            format!("{path}.lb_policy"),
            format!("`{}`", policy.as_str_name()),
        );
    }
    let mut endpoints = Vec::new();
    let localities = it.load_assignment.iter().flat_map(|them| &them.endpoints);
    for (index, locality) in localities.enumerate() {
        for (place, it) in locality.lb_endpoints.iter().enumerate() {
            let path = format!("{path}.load_assignment.endpoints[{index}].lb_endpoints[{place}]");
            endpoints.extend(endpoint::convert(it, &path, notes));
        }
    }
    let spoken = protocol::upstream(it, path, notes);
    config::Cluster {
        name: Arc::from(it.name.as_str()),
        endpoints,
        balance: Balance::RoundRobin,
        connect_timeout: duration(
            it.connect_timeout.as_ref(),
            &format!("{path}.connect_timeout"),
            notes,
        )
        .unwrap_or(config::Cluster::CONNECT_TIMEOUT),
        idle_timeout: spoken.idle_timeout,
        protocol: spoken.protocol,
        http2: spoken.http2,
        max_requests: spoken.max_requests,
        tls: tls::upstream(it.transport_socket.as_ref(), secrets, path, notes),
        ..config::Cluster::default()
    }
}
