//! The filter of JSON Web Tokens.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtClaimToHeader, JwtProvider, JwtRequirement, PerRouteConfig,
    jwt_provider::JwksSourceSpecifier, jwt_requirement::RequiresType,
    per_route_config::RequirementSpecifier, requirement_rule::RequirementType,
};

use super::super::{
    Notes, route,
    support::{join, key_step},
};
use crate::policy::{
    jwt::{CLOCK_SKEW_S, Claim, Keys, NoKeys, Provider, Requirement, Route, Settings},
    matcher::{How, Text},
};

/// What cannot be read never holds, and is among the notes.
const NOBODY: Text = Text {
    how: How::Range(0, 0),
    ignore_case: false,
};

/// The names of providers and requirements that there are.
struct Known<'a> {
    providers: Vec<&'a str>,
    named: &'a [(String, Requirement)],
}

pub(super) fn convert(it: &JwtAuthentication, path: &str, notes: &mut Notes) -> Arc<Settings> {
    let mut providers: Vec<_> = it.providers.iter().collect();
    providers.sort_by_key(|(name, _)| *name);
    let providers: Vec<_> = providers
        .into_iter()
        .map(|(name, it)| {
            let path = join(&format!("{path}.providers"), &key_step(name));
            (name.clone(), provider(it, &path, notes))
        })
        .collect();
    let mut known = Known {
        providers: providers.iter().map(|(name, _)| name.as_str()).collect(),
        named: &[],
    };
    let mut named: Vec<_> = it.requirement_map.iter().collect();
    named.sort_by_key(|(name, _)| *name);
    let named: Vec<_> = named
        .into_iter()
        .map(|(name, it)| {
            let path = join(&format!("{path}.requirement_map"), &key_step(name));
            (name.clone(), requirement(it, &known, &path, notes))
        })
        .collect();
    known.named = &named;
    let mut rules = Vec::new();
    for (index, rule) in it.rules.iter().enumerate() {
        let path = format!("{path}.rules[{index}]");
        let Some(when) = &rule.r#match else {
            notes.invalid(path, "a `match` is needed");
            continue;
        };
        let when = route::matching(when, &format!("{path}.match"), notes);
        let requires = match &rule.requirement_type {
            None => Requirement::Nothing,
            Some(RequirementType::Requires(it)) => {
                requirement(it, &known, &format!("{path}.requires"), notes)
            }
            Some(RequirementType::RequirementName(name)) => {
                let mut named = known.named.iter();
                named.find(|(known, _)| known == name).map_or_else(
                    || {
                        let what = format!("there is no `{name}` in `requirement_map`");
                        notes.invalid(format!("{path}.requirement_name"), what);
                        Requirement::Nothing
                    },
                    |(_, it)| it.clone(),
                )
            }
        };
        rules.push((when, requires));
    }
    Arc::new(Settings {
        rules,
        bypass_preflight: it.bypass_cors_preflight,
        silent: it.strip_failure_response,
        named,
        providers,
    })
}

/// What a route says.
pub(super) fn of_route(it: &PerRouteConfig, path: &str, notes: &mut Notes) -> Route {
    match &it.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Route::Off,
        Some(RequirementSpecifier::RequirementName(name)) if !name.is_empty() => {
            Route::Named(name.clone())
        }
        Some(RequirementSpecifier::Disabled(false)) => {
            notes.invalid(format!("{path}.disabled"), "it must be true");
            Route::Rules
        }
        Some(RequirementSpecifier::RequirementName(_)) | None => {
            notes.invalid(path, "`disabled` or a `requirement_name` is needed");
            Route::Rules
        }
    }
}

fn provider(it: &JwtProvider, path: &str, notes: &mut Notes) -> Provider {
    let keys = match &it.jwks_source_specifier {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            let path = format!("{path}.local_jwks");
            let text = route::data(source, &path, notes);
            match Keys::read(&text) {
                Ok(_) => {}
                Err(NoKeys::Invalid(what)) => notes.invalid(path, what),
                Err(NoKeys::Unsupported(what)) => notes.unsupported(path, what),
            }
            text
        }
        // Reported by the walk.
        Some(JwksSourceSpecifier::RemoteJwks(_)) => String::new(),
        None => {
            notes.invalid(path, "a `local_jwks` is needed");
            String::new()
        }
    };
    for (index, header) in it.from_headers.iter().enumerate() {
        header_name(
            &header.name,
            &format!("{path}.from_headers[{index}].name"),
            notes,
        );
    }
    if !it.forward_payload_header.is_empty() {
        let path = format!("{path}.forward_payload_header");
        header_name(&it.forward_payload_header, &path, notes);
    }
    Provider {
        issuer: it.issuer.clone(),
        audiences: it.audiences.clone(),
        subject: it
            .subjects
            .as_ref()
            .map(|text| route::string(text, &format!("{path}.subjects"), notes).unwrap_or(NOBODY)),
        must_end: it.require_expiration,
        lifetime: super::duration(
            it.max_lifetime.as_ref(),
            &format!("{path}.max_lifetime"),
            notes,
        ),
        skew_s: match it.clock_skew_seconds {
            0 => CLOCK_SKEW_S,
            skew => skew,
        },
        keys,
        headers: it
            .from_headers
            .iter()
            .map(|it| (it.name.clone(), it.value_prefix.clone()))
            .collect(),
        parameters: it.from_params.clone(),
        cookies: it.from_cookies.clone(),
        forward: it.forward,
        payload_header: (!it.forward_payload_header.is_empty())
            .then(|| it.forward_payload_header.clone()),
        pad_payload: it.pad_forward_payload_header,
        claims: it
            .claim_to_headers
            .iter()
            .enumerate()
            .map(|(index, it)| claim(it, &format!("{path}.claim_to_headers[{index}]"), notes))
            .collect(),
    }
}

fn claim(it: &JwtClaimToHeader, path: &str, notes: &mut Notes) -> Claim {
    header_name(&it.header_name, &format!("{path}.header_name"), notes);
    if it.claim_name.is_empty() && it.claim_path.is_empty() {
        notes.invalid(path, "a `claim_name` is needed");
    }
    Claim {
        header: it.header_name.clone(),
        name: it.claim_name.clone(),
    }
}

fn header_name(name: &str, path: &str, notes: &mut Notes) {
    if http::HeaderName::try_from(name).is_err() {
        notes.invalid(path, format!("`{name}` is not the name of a header"));
    }
}

fn requirement(
    it: &JwtRequirement,
    known: &Known<'_>,
    path: &str,
    notes: &mut Notes,
) -> Requirement {
    let mut of_provider = |name: &String, audiences: &[String], field: &str| {
        if !known.providers.contains(&name.as_str()) {
            let what = format!("there is no provider `{name}`");
            notes.invalid(format!("{path}.{field}"), what);
            return Requirement::Nothing;
        }
        Requirement::Provider(name.clone(), audiences.to_vec())
    };
    match &it.requires_type {
        Some(RequiresType::ProviderName(name)) => of_provider(name, &[], "provider_name"),
        Some(RequiresType::ProviderAndAudiences(it)) => of_provider(
            &it.provider_name,
            &it.audiences,
            "provider_and_audiences.provider_name",
        ),
        Some(RequiresType::RequiresAny(it)) => {
            let path = format!("{path}.requires_any.requirements");
            Requirement::Any(list(&it.requirements, known, &path, notes))
        }
        Some(RequiresType::RequiresAll(it)) => {
            let path = format!("{path}.requires_all.requirements");
            Requirement::All(list(&it.requirements, known, &path, notes))
        }
        Some(RequiresType::AllowMissing(_)) => Requirement::Missing,
        Some(RequiresType::AllowMissingOrFailed(_)) => Requirement::MissingOrFailed,
        // Reported by the walk.
        None | Some(RequiresType::ExtractOnlyWithoutValidation(_)) => Requirement::Nothing,
    }
}

fn list(
    all: &[JwtRequirement],
    known: &Known<'_>,
    path: &str,
    notes: &mut Notes,
) -> Vec<Requirement> {
    if all.len() < 2 {
        notes.invalid(path, "two at least are needed");
    }
    let all = all.iter().enumerate();
    all.map(|(index, it)| requirement(it, known, &format!("{path}[{index}]"), notes))
        .collect()
}
