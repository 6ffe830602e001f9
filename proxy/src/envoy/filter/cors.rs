//! The CORS filter's policies.

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;

use super::super::{Notes, route};
use crate::{policy::cors::Policy, unit::Share};

/// A policy.
pub(super) fn policy(it: &CorsPolicy, path: &str, notes: &mut Notes) -> Policy {
    let share = it
        .filter_enabled
        .as_ref()
        .map_or(Share::ALL, |enabled| super::share(enabled.default_value));
    let on = share == Share::ALL;
    if !on && share != Share::NONE {
        notes.unsupported(
            format!("{path}.filter_enabled"),
            "a share between none and all",
        );
    }
    let origins = it.allow_origin_string_match.iter().enumerate();
    Policy {
        // Switched off, it only counts, also where `shadow_enabled` says so.
        enabled: on,
        origins: origins
            .filter_map(|(index, it)| {
                let path = format!("{path}.allow_origin_string_match[{index}]");
                route::string(it, &path, notes)
            })
            .collect(),
        methods: it.allow_methods.clone(),
        headers: it.allow_headers.clone(),
        expose: it.expose_headers.clone(),
        max_age: it.max_age.clone(),
        credentials: it.allow_credentials.map(|it| it.value),
        private_network: it.allow_private_network_access.map(|it| it.value),
        forward_others: it.forward_not_matching_preflights.map(|it| it.value),
    }
}
