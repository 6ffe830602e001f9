//! Static clusters.

use std::{collections::HashMap, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions, http_protocol_options::UpstreamProtocolOptions,
        },
    },
    google::protobuf::Any,
};

use super::{
    Notes, endpoint,
    filter::{duration, open, unless_zero},
    support::{join, key_step},
};
use crate::{config, policy::balance::Balance};

pub(super) fn convert(it: &Cluster, path: &str, notes: &mut Notes) -> config::Cluster {
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
        idle_timeout: idle_timeout(&it.typed_extension_protocol_options, path, notes),
        ..config::Cluster::default()
    }
}

fn idle_timeout(options: &HashMap<String, Any>, path: &str, notes: &mut Notes) -> Option<Duration> {
    let mut timeout = Some(config::Cluster::IDLE_TIMEOUT);
    for (key, any) in options {
        let path = format!("{path}.typed_extension_protocol_options");
        let path = join(&path, &key_step(key));
        let Some(options) = open::<HttpProtocolOptions>(any) else {
            // Reported by the walk.
            continue;
        };
        if let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
            &options.upstream_protocol_options
            && explicit.protocol_config.is_none()
        {
            notes.invalid(
                format!("{path}.explicit_http_config"),
                "a protocol is needed",
            );
        }
        let common = options.common_http_protocol_options.unwrap_or_default();
        let idle = format!("{path}.common_http_protocol_options.idle_timeout");
        if let Some(idle) = duration(common.idle_timeout.as_ref(), &idle, notes) {
            timeout = unless_zero(idle);
        }
    }
    timeout
}
