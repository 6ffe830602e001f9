//! Redirects that are followed here.

use envoy_types::pb::envoy::{
    config::route::v3::{InternalRedirectPolicy, RouteAction},
    extensions::internal_redirect::{
        allow_listed_routes::v3::AllowListedRoutesConfig,
        previous_routes::v3::PreviousRoutesConfig, safe_cross_scheme::v3::SafeCrossSchemeConfig,
    },
};

use super::{Notes, filter::open};
use crate::policy::redirect::{Condition, Policy};

/// Envoy's bound on the number of statuses.
const MOST_STATUSES: usize = 5;
/// Others are no redirects.
const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

/// Which redirects a route follows, if any.
pub(super) fn convert(it: &RouteAction, path: &str, notes: &mut Notes) -> Option<Box<Policy>> {
    let policy = it.internal_redirect_policy.as_ref()?;
    Some(Box::new(read(
        policy,
        &format!("{path}.internal_redirect_policy"),
        notes,
    )))
}

fn read(it: &InternalRedirectPolicy, path: &str, notes: &mut Notes) -> Policy {
    let defaults = Policy::default();
    let codes = &it.redirect_response_codes;
    if codes.len() > MOST_STATUSES {
        notes.invalid(
            format!("{path}.redirect_response_codes"),
            format!("{} are too many, up to {MOST_STATUSES} can be", codes.len()),
        );
    }
    let conditions = it
        .predicates
        .iter()
        .filter_map(|predicate| {
            let any = predicate.typed_config.as_ref()?;
            // Another type is reported by the walk.
            open::<PreviousRoutesConfig>(any)
                .map(|_| Condition::NewRoute)
                .or_else(|| open::<SafeCrossSchemeConfig>(any).map(|_| Condition::SafeScheme))
                .or_else(|| {
                    let config = open::<AllowListedRoutesConfig>(any)?;
                    Some(Condition::Routes(config.allowed_route_names))
                })
        })
        .collect();
    Policy {
        most: it
            .max_internal_redirects
            .map_or(defaults.most, |it| it.value),
        statuses: if codes.is_empty() {
            defaults.statuses
        } else {
            // Envoy's, too: others have no effect.
            codes
                .iter()
                .filter(|code| STATUSES.contains(code))
                .filter_map(|code| u16::try_from(*code).ok())
                .collect()
        },
        cross_scheme: it.allow_cross_scheme_redirect,
        conditions,
        copied: it
            .response_headers_to_copy
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    }
}
