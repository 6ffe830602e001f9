//! What binds a request to an endpoint: `hash_policy`.

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{self, PolicySpecifier},
};

use super::{Notes, filter::duration};
use crate::policy::sticky::{By, Cookie, Policy};

/// The policies of a route, in their order.
pub(super) fn convert(them: &[HashPolicy], path: &str, notes: &mut Notes) -> Vec<Policy> {
    let policies = them.iter().enumerate().filter_map(|(index, it)| {
        let path = format!("{path}.hash_policy[{index}]");
        let by = match &it.policy_specifier {
            Some(PolicySpecifier::Header(it)) => header(it, &path, notes)?,
            Some(PolicySpecifier::Cookie(it)) => cookie(it, &path, notes)?,
            Some(PolicySpecifier::QueryParameter(it)) => {
                if it.name.is_empty() {
                    notes.invalid(format!("{path}.query_parameter.name"), "it must not be empty");
                }
                By::Query(it.name.clone())
            }
            // Without `source_ip` it hashes nothing.
            Some(PolicySpecifier::ConnectionProperties(it)) => it.source_ip.then_some(By::SourceIp)?,
            // Reported by the walk.
            Some(PolicySpecifier::FilterState(_)) => return None,
            None => {
                notes.invalid(
                    &path,
                    "one of `header`, `cookie`, `connection_properties`, `query_parameter` is needed",
                );
                return None;
            }
        };
        Some(Policy {
            by,
            terminal: it.terminal,
        })
    });
    policies.collect()
}

fn header(it: &hash_policy::Header, path: &str, notes: &mut Notes) -> Option<By> {
    if http::HeaderName::try_from(&it.header_name).is_err() {
        notes.invalid(
            format!("{path}.header.header_name"),
            format!("`{}` is not the name of a header", it.header_name),
        );
        return None;
    }
    let rewrite = it.regex_rewrite.as_ref().map(|it| {
        let pattern = it.pattern.as_ref().map_or("", |it| it.regex.as_str());
        if pattern.is_empty() || regex::Regex::new(pattern).is_err() {
            notes.invalid(
                format!("{path}.header.regex_rewrite.pattern"),
                format!("`{pattern}` is not a regular expression"),
            );
        }
        (pattern.to_owned(), it.substitution.clone())
    });
    Some(By::Header {
        name: it.header_name.clone(),
        rewrite,
    })
}

fn cookie(it: &hash_policy::Cookie, path: &str, notes: &mut Notes) -> Option<By> {
    if it.name.is_empty() {
        notes.invalid(format!("{path}.cookie.name"), "it must not be empty");
        return None;
    }
    Some(By::Cookie(Cookie {
        name: it.name.clone(),
        ttl: duration(it.ttl.as_ref(), &format!("{path}.cookie.ttl"), notes),
        path: it.path.clone(),
        attributes: it
            .attributes
            .iter()
            .map(|it| (it.name.clone(), it.value.clone()))
            .collect(),
    }))
}
