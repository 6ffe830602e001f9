//! Clusters with their endpoints, and listeners, as text or JSON.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use regex::Regex;
use serde_json::{Value, json};

use crate::{
    cluster::roster::{Member, Roster},
    policy::{breaker::Thresholds, retry},
    snapshot::Snapshot,
};

/// Envoy's `/clusters`; `names`: only those that it finds something in.
pub(super) fn clusters(snapshot: &Snapshot, names: Option<&Regex>) -> String {
    let mut text = String::new();
    for roster in chosen(snapshot, names) {
        let settings = roster.settings();
        let name = &settings.name;
        let _ = writeln!(text, "{name}::observability_name::{name}");
        for (priority, limits) in [
            ("default", settings.limits.default),
            ("high", settings.limits.high),
        ] {
            for (what, most) in limits_of(&limits) {
                let _ = writeln!(text, "{name}::{priority}_priority::{what}::{most}");
            }
        }
        let _ = writeln!(text, "{name}::added_via_api::false");
        for member in roster.members().iter() {
            let address = member.address;
            for (what, value) in facts(member) {
                let _ = writeln!(text, "{name}::{address}::{what}::{value}");
            }
        }
    }
    text
}

/// Envoy's `/clusters?format=json`.
pub(super) fn clusters_json(snapshot: &Snapshot, names: Option<&Regex>) -> Value {
    let statuses = chosen(snapshot, names).map(|roster| {
        let settings = roster.settings();
        let thresholds = |limits: &Thresholds| {
            let limits = limits_of(limits).into_iter();
            limits
                .map(|(what, most)| (what.to_owned(), Value::from(most)))
                .collect::<serde_json::Map<_, _>>()
        };
        let mut high = thresholds(&settings.limits.high);
        high.insert("priority".to_owned(), "HIGH".into());
        json!({
            "name": &*settings.name,
            "observability_name": &*settings.name,
            "host_statuses": roster.members().iter().map(|member| host(member)).collect::<Vec<_>>(),
            "circuit_breakers": {"thresholds": [thresholds(&settings.limits.default), high]},
        })
    });
    json!({"cluster_statuses": statuses.collect::<Vec<_>>()})
}

/// Envoy's `/listeners`.
pub(super) fn listeners(addresses: &[(Arc<str>, SocketAddr)]) -> String {
    let mut text = String::new();
    for (name, address) in addresses {
        let _ = writeln!(text, "{name}::{address}");
    }
    text
}

/// Envoy's `/listeners?format=json`.
pub(super) fn listeners_json(addresses: &[(Arc<str>, SocketAddr)]) -> Value {
    let them = addresses
        .iter()
        .map(|(name, address)| json!({"name": &**name, "local_address": socket(*address)}));
    json!({"listener_statuses": them.collect::<Vec<_>>()})
}

fn chosen<'a>(
    snapshot: &'a Snapshot,
    names: Option<&'a Regex>,
) -> impl Iterator<Item = &'a Arc<Roster>> {
    snapshot
        .rosters
        .iter()
        .filter(move |roster| names.is_none_or(|names| names.is_match(&roster.settings().name)))
}

fn limits_of(limits: &Thresholds) -> [(&'static str, u32); 4] {
    let retries = match limits.retries {
        retry::Limit::Most(most) => most,
        // Envoy shows what a share is at least.
        retry::Limit::Budget(budget) => budget.most(0) as u32,
    };
    [
        ("max_connections", limits.connections),
        ("max_pending_requests", limits.pending),
        ("max_requests", limits.requests),
        ("max_retries", retries),
    ]
}

fn facts(member: &Member) -> [(&'static str, String); 8] {
    let endpoint = &member.endpoint;
    let locality = &endpoint.locality;
    [
        ("hostname", endpoint.hostname.to_string()),
        ("health_flags", member.flags()),
        ("weight", endpoint.weight.to_string()),
        ("region", locality.region.clone()),
        ("zone", locality.zone.clone()),
        ("sub_zone", locality.sub_zone.clone()),
        ("canary", "false".to_owned()),
        ("priority", endpoint.priority.to_string()),
    ]
}

fn host(member: &Member) -> Value {
    let flags = member.flags();
    let mut health = serde_json::Map::new();
    for (flag, name) in [
        ("/failed_active_hc", "failed_active_health_check"),
        ("/failed_outlier_check", "failed_outlier_check"),
        ("/degraded_active_hc", "failed_active_degraded_check"),
        ("/pending_active_hc", "pending_active_hc"),
    ] {
        if flags.contains(flag) {
            health.insert(name.to_owned(), true.into());
        }
    }
    let eds = if flags.contains("/failed_eds_health") {
        "UNHEALTHY"
    } else if flags.contains("/degraded_eds_health") {
        "DEGRADED"
    } else {
        "HEALTHY"
    };
    health.insert("eds_health_status".to_owned(), eds.into());
    let endpoint = &member.endpoint;
    json!({
        "address": socket(member.address),
        "health_status": health,
        "weight": endpoint.weight,
        "hostname": &*endpoint.hostname,
        "priority": endpoint.priority,
        "locality": {"region": endpoint.locality.region, "zone": endpoint.locality.zone, "sub_zone": endpoint.locality.sub_zone},
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
