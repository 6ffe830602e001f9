//! Filter chains: which connections, and what is done with them.

use std::net::IpAddr;

use envoy_types::pb::envoy::{
    config::{
        core::v3::CidrRange,
        listener::v3::{
            Filter, FilterChain, FilterChainMatch, filter::ConfigType,
            filter_chain_match::ConnectionSourceType,
        },
    },
    extensions::filters::network::{
        connection_limit, http_connection_manager::v3::HttpConnectionManager,
        sni_cluster::v3::SniCluster, tcp_proxy::v3::TcpProxy,
    },
};

use super::{
    Notes,
    filter::{duration, open, own_tcp, unless_zero},
    listener,
    secret::Secrets,
    tcp, tls,
};
use crate::{
    config::{Chain, ConnectionLimit, Serve, TcpProxy as TcpProxySettings},
    policy::{
        chain::{Match, SourceType},
        cidr::Cidr,
    },
};

/// A chain; `None` where it cannot be made, with the reason among the notes.
pub(super) fn convert(
    it: &FilterChain,
    secrets: &Secrets,
    listener: &str,
    path: &str,
    notes: &mut Notes,
) -> Option<Chain> {
    let matches = it
        .filter_chain_match
        .as_ref()
        .map(|it| matches(it, &format!("{path}.filter_chain_match"), notes))
        .unwrap_or_default();
    Some(Chain {
        name: it.name.clone(),
        matches,
        tls: tls::downstream(it.transport_socket.as_ref(), secrets, path, notes),
        spoilt: Vec::new(),
        numbered: false,
        handshake_timeout: duration(
            it.transport_socket_connect_timeout.as_ref(),
            &format!("{path}.transport_socket_connect_timeout"),
            notes,
        )
        .and_then(unless_zero),
        limit: limit(&it.filters, &format!("{path}.filters"), notes),
        serve: filters(&it.filters, listener, &format!("{path}.filters"), notes)?,
    })
}

fn filters(filters: &[Filter], listener: &str, path: &str, notes: &mut Notes) -> Option<Serve> {
    let mut serve = None;
    let by_server_name = filters.iter().any(|filter| {
        matches!(&filter.config_type, Some(ConfigType::TypedConfig(any)) if open::<SniCluster>(any).is_some())
    });
    let mut faults = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        let path = format!("{path}[{index}].typed_config");
        // Filters of other types are reported by the walk.
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            continue;
        };
        faults.extend(own_tcp::rules(any, &filter.name, listener, &path, notes));
        if let Some(it) = open::<HttpConnectionManager>(any) {
            serve = Some(Serve::Http(Box::new(listener::http(
                &it, listener, &path, notes,
            ))));
        } else if let Some(it) = open::<TcpProxy>(any) {
            serve = Some(Serve::Tcp(Box::new(TcpProxySettings {
                cluster_by_server_name: by_server_name,
                faults: faults.clone(),
                ..tcp::convert(&it, &path, notes)
            })));
        }
    }
    if serve.is_none() && filters.is_empty() {
        notes.invalid(
            path,
            "a filter `envoy.filters.network.http_connection_manager` or `envoy.filters.network.tcp_proxy` is needed",
        );
    }
    serve
}

fn limit(filters: &[Filter], path: &str, notes: &mut Notes) -> Option<ConnectionLimit> {
    filters.iter().enumerate().find_map(|(index, filter)| {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        let it = open::<connection_limit::v3::ConnectionLimit>(any)?;
        let path = format!("{path}[{index}].typed_config");
        let most = it.max_connections.map_or(0, |it| it.value);
        if most == 0 {
            notes.invalid(format!("{path}.max_connections"), "it must be above 0");
        }
        Some(ConnectionLimit {
            stat_prefix: it.stat_prefix,
            most,
            delay: duration(it.delay.as_ref(), &format!("{path}.delay"), notes)
                .and_then(unless_zero),
        })
    })
}

fn matches(it: &FilterChainMatch, path: &str, notes: &mut Notes) -> Match {
    Match {
        destination_port: it
            .destination_port
            .and_then(|it| port(it.value, &format!("{path}.destination_port"), notes)),
        destinations: ranges(&it.prefix_ranges, path, "prefix_ranges", notes),
        server_names: it
            .server_names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                if name.trim_start_matches("*.").contains('*') {
                    notes.invalid(
                        format!("{path}.server_names[{index}]"),
                        format!("`{name}` is not a server name: `shop.test` or `*.shop.test`"),
                    );
                }
                name.to_ascii_lowercase()
            })
            .collect(),
        transport_protocol: Some(it.transport_protocol.clone()).filter(|it| !it.is_empty()),
        application_protocols: it.application_protocols.clone(),
        direct_sources: ranges(
            &it.direct_source_prefix_ranges,
            path,
            "direct_source_prefix_ranges",
            notes,
        ),
        source_type: match ConnectionSourceType::try_from(it.source_type).unwrap_or_default() {
            ConnectionSourceType::Any => SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => SourceType::Local,
            ConnectionSourceType::External => SourceType::External,
        },
        sources: ranges(
            &it.source_prefix_ranges,
            path,
            "source_prefix_ranges",
            notes,
        ),
        source_ports: it
            .source_ports
            .iter()
            .enumerate()
            .filter_map(|(index, it)| port(*it, &format!("{path}.source_ports[{index}]"), notes))
            .collect(),
    }
}

fn port(it: u32, path: &str, notes: &mut Notes) -> Option<u16> {
    let port = u16::try_from(it).ok().filter(|port| *port > 0);
    if port.is_none() {
        notes.invalid(path, format!("{it} is not a port from 1 to 65535"));
    }
    port
}

/// Ranges of addresses, in this field.
pub(super) fn ranges(all: &[CidrRange], path: &str, field: &str, notes: &mut Notes) -> Vec<Cidr> {
    all.iter()
        .enumerate()
        .filter_map(|(index, it)| range(it, &format!("{path}.{field}[{index}]"), notes))
        .collect()
}

/// A range of addresses; without a length it is the one address family's whole.
pub(super) fn range(it: &CidrRange, path: &str, notes: &mut Notes) -> Option<Cidr> {
    let Ok(address) = it.address_prefix.parse::<IpAddr>() else {
        notes.invalid(
            format!("{path}.address_prefix"),
            format!(
                "`{}` is not an IP address such as `10.0.0.0`",
                it.address_prefix
            ),
        );
        return None;
    };
    let bits = it.prefix_len.map_or(0, |bits| bits.value);
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits > most {
        notes.invalid(
            format!("{path}.prefix_len"),
            format!("{bits} must be at most {most}"),
        );
    }
    Some(Cidr::new(address, bits))
}
