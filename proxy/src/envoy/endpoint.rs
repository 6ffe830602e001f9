//! Addresses and endpoints.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::{
    core::v3::{Address, HealthStatus, SocketAddress, address, socket_address},
    endpoint::v3::{LbEndpoint, LocalityLbEndpoints, lb_endpoint},
};

use super::{Notes, balance};
use crate::config::{self, Discovery};

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

/// An address that connections are made from; its port may be 0.
pub(super) fn source(it: &SocketAddress, path: &str, notes: &mut Notes) -> Option<SocketAddr> {
    let Ok(ip) = it.address.parse::<IpAddr>() else {
        let what = format!("`{}` is not an IP address such as `127.0.0.1`", it.address);
        notes.invalid(format!("{path}.address"), what);
        return None;
    };
    let port = match it.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port).ok()?,
        _ => 0,
    };
    Some(SocketAddr::new(ip, port))
}

/// The endpoints of a locality.
pub(super) fn locality(
    it: &LocalityLbEndpoints,
    discovery: Discovery,
    path: &str,
    notes: &mut Notes,
    endpoints: &mut Vec<config::Endpoint>,
) {
    let of = it.locality.as_ref();
    let locality = config::Locality {
        region: of.map(|it| it.region.clone()).unwrap_or_default(),
        zone: of.map(|it| it.zone.clone()).unwrap_or_default(),
        sub_zone: of.map(|it| it.sub_zone.clone()).unwrap_or_default(),
    };
    let weight = it.load_balancing_weight.map_or(0, |it| it.value);
    // Envoy's own bound.
    if it.priority > 128 {
        notes.invalid(format!("{path}.priority"), "it must be at most 128");
    }
    for (index, endpoint) in it.lb_endpoints.iter().enumerate() {
        let path = format!("{path}.lb_endpoints[{index}]");
        if let Some(endpoint) = convert(endpoint, discovery, &path, notes) {
            endpoints.push(config::Endpoint {
                priority: it.priority,
                locality: locality.clone(),
                locality_weight: weight,
                ..endpoint
            });
        }
    }
}

fn convert(
    it: &LbEndpoint,
    discovery: Discovery,
    path: &str,
    notes: &mut Notes,
) -> Option<config::Endpoint> {
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
    let checked = endpoint.health_check_config.as_ref();
    let named = discovery != Discovery::Static;
    let address = match named.then(|| name(address)).flatten() {
        Some((name, port)) => config::Address::Name(name.into(), port),
        None => {
            config::Address::Socket(socket(address, &format!("{path}.endpoint.address"), notes)?)
        }
    };
    Some(config::Endpoint {
        hostname: match &address {
            config::Address::Name(name, _) if endpoint.hostname.is_empty() => name.clone(),
            _ => endpoint.hostname.as_str().into(),
        },
        address,
        weight,
        status: match HealthStatus::try_from(it.health_status).unwrap_or_default() {
            HealthStatus::Unknown | HealthStatus::Healthy => config::Status::Healthy,
            HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout => {
                config::Status::Unhealthy
            }
            HealthStatus::Degraded => config::Status::Degraded,
        },
        metadata: balance::metadata(it.metadata.as_ref()),
        health_port: checked
            .and_then(|it| u16::try_from(it.port_value).ok())
            .filter(|port| *port != 0),
        health_hostname: checked
            .filter(|it| !it.hostname.is_empty())
            .map(|it| it.hostname.as_str().into()),
        health_unchecked: checked.is_some_and(|it| it.disable_active_health_check),
        ..config::Endpoint::default()
    })
}

/// A name that is to be resolved, and a port.
fn name(it: &Address) -> Option<(&str, u16)> {
    let Some(address::Address::SocketAddress(socket)) = &it.address else {
        return None;
    };
    let Some(socket_address::PortSpecifier::PortValue(port)) = &socket.port_specifier else {
        return None;
    };
    let port = u16::try_from(*port).ok()?;
    socket.address.parse::<IpAddr>().is_err().then_some(())?;
    (!socket.address.is_empty()).then_some((socket.address.as_str(), port))
}
