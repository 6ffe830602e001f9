//! Clusters.

use std::{sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::config::cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily},
    },
    google::protobuf::UInt32Value,
};

use super::{Notes, balance, endpoint, filter::duration, health, protocol, secret::Secrets, tls};
use crate::{
    config::{self, Discovery, Dns, Family, Keepalive},
    unit::ByteSize,
};

pub(super) fn convert(
    it: &Cluster,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> config::Cluster {
    let discovery = discovery(it, path, notes);
    let mut endpoints = Vec::new();
    let localities = it.load_assignment.iter().flat_map(|them| &them.endpoints);
    for (index, locality) in localities.enumerate() {
        let path = format!("{path}.load_assignment.endpoints[{index}]");
        let from = endpoints.len();
        endpoint::locality(locality, discovery, &path, notes, &mut endpoints);
        let made = endpoints.iter_mut().skip(from);
        for (endpoint, read) in made.zip(&locality.lb_endpoints) {
            endpoint.socket = balance::socket(&it.transport_socket_matches, read, locality);
        }
    }
    if matches!(discovery, Discovery::LogicalDns(_)) && endpoints.len() != 1 {
        notes.invalid(
            format!("{path}.load_assignment"),
            "a `LOGICAL_DNS` cluster has one endpoint",
        );
    }
    let spoken = protocol::upstream(it, path, notes);
    let tls = tls::upstream(it, it.transport_socket.as_ref(), secrets, path, notes);
    let matches = it.transport_socket_matches.iter().enumerate();
    let sockets = matches.map(|(index, one)| {
        let path = format!("{path}.transport_socket_matches[{index}]");
        tls::upstream(it, one.transport_socket.as_ref(), secrets, &path, notes)
    });
    let sockets = sockets.collect();
    let mut cluster = config::Cluster {
        name: Arc::from(it.name.as_str()),
        discovery,
        endpoints,
        connect_timeout: duration(
            it.connect_timeout.as_ref(),
            &format!("{path}.connect_timeout"),
            notes,
        )
        .unwrap_or(config::Cluster::CONNECT_TIMEOUT),
        idle_timeout: spoken.idle_timeout,
        protocol: spoken.protocol,
        http1: spoken.http1,
        http2: spoken.http2,
        max_requests: spoken.max_requests,
        kept_body: it
            .per_connection_buffer_limit_bytes
            .map(|bytes| ByteSize(bytes.value.into())),
        tls,
        sockets,
        ..config::Cluster::default()
    };
    balance::convert(it, path, notes, &mut cluster);
    cluster.source = it.upstream_bind_config.as_ref().and_then(|bind| {
        let address = bind.source_address.as_ref()?;
        let path = format!("{path}.upstream_bind_config.source_address");
        endpoint::source(address, &path, notes)
    });
    let options = it.upstream_connection_options.as_ref();
    cluster.keepalive = options.and_then(|it| it.tcp_keepalive).map(|it| {
        let seconds = |it: UInt32Value| Duration::from_secs(u64::from(it.value));
        Keepalive {
            probes: it.keepalive_probes.map(|it| it.value),
            time: it.keepalive_time.map(seconds),
            interval: it.keepalive_interval.map(seconds),
        }
    });
    if let Some(outlier) = &it.outlier_detection {
        let path = format!("{path}.outlier_detection");
        cluster.outlier = Some(health::outlier(outlier, &path, notes));
    }
    if let Some(breakers) = &it.circuit_breakers {
        let path = format!("{path}.circuit_breakers");
        cluster.limits = health::limits(breakers, &path, notes);
    }
    for (index, check) in it.health_checks.iter().enumerate() {
        let path = format!("{path}.health_checks[{index}]");
        if index > 0 {
            notes.invalid(&path, "a cluster has one health check");
        }
        cluster.health.extend(health::check(check, &path, notes));
    }
    cluster
}

#[expect(deprecated, reason = "files have these fields, and Envoy honours them")]
fn discovery(it: &Cluster, path: &str, notes: &mut Notes) -> Discovery {
    let Some(ClusterDiscoveryType::Type(kind)) = it.cluster_discovery_type else {
        return Discovery::Static;
    };
    let kind = DiscoveryType::try_from(kind).unwrap_or_default();
    let refresh = duration(
        it.dns_refresh_rate.as_ref(),
        &format!("{path}.dns_refresh_rate"),
        notes,
    );
    if refresh.is_some_and(|refresh| refresh < Duration::from_millis(1)) {
        notes.invalid(format!("{path}.dns_refresh_rate"), "it must be above 1 ms");
    }
    let dns = Dns {
        refresh: refresh.unwrap_or(Dns::default().refresh),
        family: match DnsLookupFamily::try_from(it.dns_lookup_family).unwrap_or_default() {
            DnsLookupFamily::Auto => Family::Auto,
            DnsLookupFamily::V4Only => Family::V4,
            DnsLookupFamily::V6Only => Family::V6,
            DnsLookupFamily::V4Preferred => Family::V4Preferred,
            DnsLookupFamily::All => Family::All,
        },
    };
    match kind {
        DiscoveryType::Static => Discovery::Static,
        DiscoveryType::StrictDns => Discovery::StrictDns(dns),
        DiscoveryType::LogicalDns => Discovery::LogicalDns(dns),
        DiscoveryType::Eds | DiscoveryType::OriginalDst => {
            notes.unsupported(format!("{path}.type"), format!("`{}`", kind.as_str_name()));
            Discovery::Static
        }
    }
}
