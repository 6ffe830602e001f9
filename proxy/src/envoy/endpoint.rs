//! Addresses and endpoints.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::{
    core::v3::{Address, HealthStatus, address, socket_address},
    endpoint::v3::{LbEndpoint, lb_endpoint},
};

use super::Notes;
use crate::config;

/// A socket address of the file.
pub(super) fn socket(it: &Address, path: &str, notes: &mut Notes) -> Option<SocketAddr> {
    let Some(address::Address::SocketAddress(socket)) = &it.address else {
        if it.address.is_none() {
            notes.invalid(path, "a `socket_address` is needed");
        }
        // Others are reported by the walk.
        return None;
    };
    let path = format!("{path}.socket_address");
    if socket.protocol == i32::from(socket_address::Protocol::Udp) {
        notes.unsupported(format!("{path}.protocol"), "`UDP`");
    }
    let ip = socket.address.parse::<IpAddr>();
    if ip.is_err() {
        notes.invalid(
            format!("{path}.address"),
            format!(
                "`{}` is not an IP address such as `127.0.0.1`",
                socket.address
            ),
        );
    }
    let port = match &socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            let port = u16::try_from(*port);
            if port.is_err() {
                notes.invalid(format!("{path}.port_value"), "a port is at most 65535");
            }
            port.ok()
        }
        Some(socket_address::PortSpecifier::NamedPort(_)) => None,
        None => {
            notes.invalid(&path, "a `port_value` is needed");
            None
        }
    };
    Some(SocketAddr::new(ip.ok()?, port?))
}

/// An endpoint of a static cluster.
pub(super) fn convert(it: &LbEndpoint, path: &str, notes: &mut Notes) -> Option<config::Endpoint> {
    let status = HealthStatus::try_from(it.health_status).unwrap_or_default();
    if !matches!(status, HealthStatus::Unknown | HealthStatus::Healthy) {
        notes.unsupported(
            format!("{path}.health_status"),
            format!("`{}`", status.as_str_name()),
        );
    }
    let weight = it.load_balancing_weight.map_or(1, |weight| weight.value);
    if weight == 0 {
        notes.invalid(
            format!("{path}.load_balancing_weight"),
            "it must be above 0",
        );
    }
    let Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &it.host_identifier else {
        notes.invalid(path, "an `endpoint` is needed");
        return None;
    };
    let Some(address) = &endpoint.address else {
        notes.invalid(format!("{path}.endpoint"), "an `address` is needed");
        return None;
    };
    let address = socket(address, &format!("{path}.endpoint.address"), notes)?;
    Some(config::Endpoint {
        address: config::Address::Socket(address),
        weight,
    })
}
