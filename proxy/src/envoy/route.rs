//! Hosts, routes, and what requests must look like for them.

use std::{fs, sync::Arc, time::Duration};

use envoy_types::pb::envoy::{
    config::{
        core::v3::{DataSource, RoutingPriority, data_source::Specifier},
        route::v3::{
            CookieMatcher, DirectResponseAction, HeaderMatcher, QueryParameterMatcher, Route,
            RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
            header_matcher::HeaderMatchSpecifier,
            query_parameter_matcher::QueryParameterMatchSpecifier, route::Action,
            route_action::RequestMirrorPolicy, route_match::PathSpecifier,
            virtual_host::TlsRequirementType,
        },
    },
    extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig,
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

use super::{
    Notes, action, balance,
    filter::{self, Faults, Overrides, duration, open, share, unless_zero},
    headers::{self, operations},
    local_reply, protocol, redirect, retry, sticky, weighted,
};
use crate::{
    config::{self, Forward},
    policy::{
        breaker::Priority,
        headers::Edits,
        matcher::{How, Matcher, Named, Text},
        mirror::{Limits, Mirror, SampleKey},
    },
    unit::{ByteSize, Share},
};

/// Envoy bounds the copies of a cluster by its circuit breakers, 1,024 requests by default, and their time by the route's
/// timeout; we bound their bodies too, since they are held until the shadow has taken them.
const MIRROR_LIMITS: Limits = Limits {
    in_flight: 1024,
    queue: 1024,
    deadline: Forward::TIMEOUT,
    request_body: ByteSize(32 << 20),
    response_body: ByteSize(0),
    connect_backoff: Duration::from_millis(500),
};
/// Time for a copy where the route has no timeout.
const LONGEST_COPY: Duration = Duration::from_hours(1);
/// What Envoy appends to the host of a copy.
const SHADOW_SUFFIX: &str = "-shadow";
/// Envoy's bound on the body of a direct response.
const DIRECT_BODY: usize = 4096;

pub(super) fn convert(
    it: &RouteConfiguration,
    faults: &Faults,
    path: &str,
    notes: &mut Notes,
) -> Vec<config::VirtualHost> {
    let outer = Outer {
        overrides: filter::overrides(&it.typed_per_filter_config, faults, path, notes),
        edits: headers::edits(operations!(it), path, notes)
            .into_iter()
            .collect(),
        specific_last: it.most_specific_header_mutations_wins,
        mirrors: &it.request_mirror_policies,
        mirrors_path: path.to_owned(),
    };
    it.virtual_hosts
        .iter()
        .enumerate()
        .map(|(index, it)| {
            host(
                it,
                faults,
                &outer,
                &format!("{path}.virtual_hosts[{index}]"),
                notes,
            )
        })
        .collect()
}

/// What is said outside of a route, for all routes in it.
#[derive(Debug, Clone)]
struct Outer<'a> {
    overrides: Overrides,
    /// The inner level's first.
    edits: Vec<Arc<Edits>>,
    specific_last: bool,
    mirrors: &'a [RequestMirrorPolicy],
    mirrors_path: String,
}

fn host(
    it: &VirtualHost,
    faults: &Faults,
    outer: &Outer<'_>,
    path: &str,
    notes: &mut Notes,
) -> config::VirtualHost {
    let mut outer = outer.clone();
    filter::lay_over(
        &mut outer.overrides,
        filter::overrides(&it.typed_per_filter_config, faults, path, notes),
    );
    if let Some(edits) = headers::edits(operations!(it), path, notes) {
        outer.edits.insert(0, edits);
    }
    if !it.request_mirror_policies.is_empty() {
        outer.mirrors = &it.request_mirror_policies;
        path.clone_into(&mut outer.mirrors_path);
    }
    let routes = it
        .routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let name = match route.name.as_str() {
                "" => index.to_string(),
                name => name.to_owned(),
            };
            let scope = format!("{}/{name}", it.name);
            let inner = format!("{path}.routes[{index}]");
            let mut outer = outer.clone();
            filter::lay_over(
                &mut outer.overrides,
                filter::overrides(&route.typed_per_filter_config, faults, &inner, notes),
            );
            let mut made = convert_route(route, faults, &mut outer, &scope, &inner, notes)?;
            let overrides = &outer.overrides;
            retry::apply(it, path, route, &inner, &mut made, notes);
            made.filters = faults.filters_of_route(overrides, (it, path), (route, &inner), notes);
            weighted::apply(
                faults,
                overrides,
                (it, path),
                (route, &inner),
                &mut made,
                notes,
            );
            if let config::Action::Forward(forward) = &mut made.action {
                forward.tries.fallback = faults.fallback(overrides);
            }
            Some(made)
        })
        .collect();
    config::VirtualHost {
        name: it.name.clone(),
        domains: it.domains.clone(),
        routes,
        // There is no way to tell an external client from another, so that it holds for all.
        require_tls: it.require_tls() != TlsRequirementType::None,
    }
}

fn convert_route(
    it: &Route,
    faults: &Faults,
    outer: &mut Outer<'_>,
    scope: &str,
    path: &str,
    notes: &mut Notes,
) -> Option<config::Route> {
    let matcher = if let Some(matcher) = &it.r#match {
        matching(matcher, &format!("{path}.match"), notes)
    } else {
        notes.invalid(path, "a `match` is needed");
        Matcher::default()
    };
    if let Some(edits) = headers::edits(operations!(it), path, notes) {
        outer.edits.insert(0, edits);
    }
    if outer.specific_last {
        outer.edits.reverse();
    }
    let action = match &it.action {
        Some(Action::Route(route)) => {
            let path = format!("{path}.route");
            config::Action::Forward(forward(route, &matcher, outer, &path, notes))
        }
        Some(Action::DirectResponse(direct)) => {
            respond(direct, &format!("{path}.direct_response"), notes)
        }
        Some(Action::Redirect(redirect)) => {
            action::redirect(redirect, &matcher, &format!("{path}.redirect"), notes)
        }
        Some(Action::NonForwardingAction(_)) => config::Action::Nothing,
        None => {
            notes.invalid(
                path,
                "one of `route`, `redirect`, `direct_response`, `non_forwarding_action` is needed",
            );
            return None;
        }
        // Reported by the walk.
        Some(_) => return None,
    };
    let clusters: Vec<_> = match &action {
        config::Action::Forward(forward) => forward
            .clusters
            .iter()
            .map(|it| (it.name().unwrap_or_default().to_owned(), it.weight))
            .collect(),
        _ => Vec::new(),
    };
    let fraction = it.r#match.as_ref();
    let fraction = fraction.and_then(|it| it.runtime_fraction.as_ref());
    Some(config::Route {
        name: it.name.clone(),
        faults: faults.of_route(&outer.overrides, &clusters, scope, notes),
        filters: None,
        matcher,
        share: fraction.map(|fraction| share(fraction.default_value)),
        action,
        edits: std::mem::take(&mut outer.edits),
        body_format: match &it.action {
            Some(Action::DirectResponse(direct)) => {
                let path = format!("{path}.direct_response.body_format");
                local_reply::format(direct.body_format.as_ref(), &path, notes)
            }
            _ => None,
        },
    })
}

/// What a request must look like.
pub(super) fn matching(it: &RouteMatch, path: &str, notes: &mut Notes) -> Matcher {
    let ignore_case = it.case_sensitive.is_some_and(|sensitive| !sensitive.value);
    let text = |how| Some(Text { how, ignore_case });
    let at = match &it.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => text(How::Prefix(prefix.clone())),
        Some(PathSpecifier::Path(path)) => text(How::Exact(path.clone())),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => text(How::PathPrefix(prefix.clone())),
        // Envoy's `case_sensitive` is for prefixes and paths.
        Some(PathSpecifier::SafeRegex(regex)) => Some(Text {
            how: How::Regex(regex.regex.clone()),
            ignore_case: false,
        }),
        None => {
            notes.invalid(
                path,
                "one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`, `path_match_policy`, `connect_matcher` is needed",
            );
            None
        }
        Some(PathSpecifier::PathMatchPolicy(policy)) => policy
            .typed_config
            .as_ref()
            // Another type is reported by the walk.
            .and_then(open::<UriTemplateMatchConfig>)
            .map(|template| Text {
                how: How::Template(template.path_template),
                ignore_case: false,
            }),
        Some(PathSpecifier::ConnectMatcher(_)) => None,
    };
    Matcher {
        methods: Vec::new(),
        path: at,
        headers: it
            .headers
            .iter()
            .enumerate()
            .filter_map(|(index, it)| header(it, &format!("{path}.headers[{index}]"), notes))
            .collect(),
        query: it
            .query_parameters
            .iter()
            .enumerate()
            .filter_map(|(index, it)| {
                query(it, &format!("{path}.query_parameters[{index}]"), notes)
            })
            .collect(),
        cookies: it
            .cookies
            .iter()
            .enumerate()
            .filter_map(|(index, it)| cookie(it, &format!("{path}.cookies[{index}]"), notes))
            .collect(),
        grpc: it.grpc.is_some(),
        connect: matches!(it.path_specifier, Some(PathSpecifier::ConnectMatcher(_))),
    }
}

/// A condition on a header; `None` where it cannot be made, with the reason among the notes.
#[expect(
    deprecated,
    reason = "files in use still have the older forms, and Envoy takes them"
)]
pub(super) fn header(it: &HeaderMatcher, path: &str, notes: &mut Notes) -> Option<Named> {
    let plain = |how| {
        Some(Text {
            how,
            ignore_case: false,
        })
    };
    let mut invert = it.invert_match;
    let value = match it.header_match_specifier.as_ref() {
        None => None,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            invert ^= !present;
            None
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => plain(How::Exact(text.clone())),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => plain(How::Prefix(text.clone())),
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => plain(How::Suffix(text.clone())),
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => plain(How::Contains(text.clone())),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => plain(How::Regex(regex.regex.clone())),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => plain(How::Range(range.start, range.end)),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            Some(string(matcher, &format!("{path}.string_match"), notes)?)
        }
    };
    if it.name.is_empty() {
        notes.invalid(format!("{path}.name"), "it must not be empty");
    }
    Some(Named {
        name: it.name.to_ascii_lowercase(),
        value,
        invert,
        absent_as: it.treat_missing_header_as_empty.then(String::new),
    })
}

pub(super) fn query(it: &QueryParameterMatcher, path: &str, notes: &mut Notes) -> Option<Named> {
    let (value, invert) = match &it.query_parameter_match_specifier {
        None => (None, false),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => (None, !present),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => (
            Some(string(matcher, &format!("{path}.string_match"), notes)?),
            false,
        ),
    };
    Some(Named {
        name: it.name.clone(),
        value,
        invert,
        absent_as: None,
    })
}

fn cookie(it: &CookieMatcher, path: &str, notes: &mut Notes) -> Option<Named> {
    let Some(matcher) = &it.string_match else {
        notes.invalid(format!("{path}.string_match"), "it is needed");
        return None;
    };
    Some(Named {
        name: it.name.clone(),
        value: Some(string(matcher, &format!("{path}.string_match"), notes)?),
        invert: it.invert_match,
        absent_as: None,
    })
}

/// A condition on a text; `None` where it cannot be made, with the reason among the notes.
pub(super) fn string(it: &StringMatcher, path: &str, notes: &mut Notes) -> Option<Text> {
    let how = match it.match_pattern.as_ref() {
        Some(MatchPattern::Exact(text)) => How::Exact(text.clone()),
        Some(MatchPattern::Prefix(text)) => How::Prefix(text.clone()),
        Some(MatchPattern::Suffix(text)) => How::Suffix(text.clone()),
        Some(MatchPattern::Contains(text)) => How::Contains(text.clone()),
        Some(MatchPattern::SafeRegex(regex)) => How::Regex(regex.regex.clone()),
        None => {
            notes.invalid(
                path,
                "one of `exact`, `prefix`, `suffix`, `contains`, `safe_regex` is needed",
            );
            return None;
        }
        // Reported by the walk.
        Some(MatchPattern::Custom(_)) => return None,
    };
    if it.ignore_case && matches!(how, How::Regex(_)) {
        notes.invalid(
            format!("{path}.ignore_case"),
            "it has no effect on `safe_regex`",
        );
    }
    Some(Text {
        ignore_case: it.ignore_case,
        how,
    })
}

fn forward(
    it: &RouteAction,
    matcher: &Matcher,
    outer: &Outer<'_>,
    path: &str,
    notes: &mut Notes,
) -> Forward {
    let (clusters, choice_header) = action::targets(it, path, notes);
    let timeout = match duration(it.timeout.as_ref(), &format!("{path}.timeout"), notes) {
        Some(set) => unless_zero(set),
        None => Some(Forward::TIMEOUT),
    };
    let (policies, policies_path) = match it.request_mirror_policies.as_slice() {
        [] => (outer.mirrors, outer.mirrors_path.as_str()),
        own => (own, path),
    };
    Forward {
        clusters,
        timeout,
        idle_timeout: duration(
            it.idle_timeout.as_ref(),
            &format!("{path}.idle_timeout"),
            notes,
        ),
        choice_header,
        not_found_status: action::not_found(it),
        path_rewrite: action::path_rewrite(it, matcher, path, notes),
        host_rewrite: action::host_rewrite(it),
        append_forwarded_host: it.append_x_forwarded_host,
        sticky: sticky::convert(&it.hash_policy, path, notes),
        metadata: balance::metadata(it.metadata_match.as_ref()),
        priority: match it.priority() {
            RoutingPriority::Default => Priority::Default,
            RoutingPriority::High => Priority::High,
        },
        attempt_count: false,
        attempt_count_in_answer: false,
        tries: Box::default(),
        redirects: redirect::convert(it, path, notes),
        upgrades: protocol::upgrades(&it.upgrade_configs, path, notes),
        mirrors: policies
            .iter()
            .enumerate()
            .map(|(index, it)| {
                let path = format!("{policies_path}.request_mirror_policies[{index}]");
                mirror(it, timeout.unwrap_or(LONGEST_COPY), &path, notes)
            })
            .collect(),
    }
}

fn mirror(it: &RequestMirrorPolicy, deadline: Duration, path: &str, notes: &mut Notes) -> Mirror {
    let header = Some(it.cluster_header.to_ascii_lowercase()).filter(|name| !name.is_empty());
    if header.is_some() != it.cluster.is_empty() {
        notes.invalid(path, "one of `cluster` and `cluster_header` is needed");
    }
    Mirror {
        id: header.clone().unwrap_or_else(|| it.cluster.clone()),
        cluster: it.cluster.clone(),
        cluster_header: header,
        share: it
            .runtime_fraction
            .as_ref()
            .map_or(Share::ALL, |fraction| share(fraction.default_value)),
        key: SampleKey::Ordinal,
        host_suffix: if it.disable_shadow_host_suffix_append {
            String::new()
        } else {
            SHADOW_SUFFIX.to_owned()
        },
        mutations: headers::mutations(
            &it.request_headers_mutations,
            &format!("{path}.request_headers_mutations"),
            notes,
        ),
        host: Some(it.host_rewrite_literal.clone()).filter(|host| !host.is_empty()),
        internal: true,
        limits: Limits {
            deadline,
            ..MIRROR_LIMITS
        },
        ..Mirror::default()
    }
}

fn respond(it: &DirectResponseAction, path: &str, notes: &mut Notes) -> config::Action {
    if !(200..600).contains(&it.status) {
        notes.invalid(
            format!("{path}.status"),
            format!("the status {} must be from 200 to 599", it.status),
        );
    }
    let body = it
        .body
        .as_ref()
        .map(|body| data(body, &format!("{path}.body"), notes));
    let body = body.unwrap_or_default();
    if body.len() > DIRECT_BODY {
        notes.invalid(
            format!("{path}.body"),
            format!("{} bytes are more than {DIRECT_BODY}", body.len()),
        );
    }
    config::Action::Respond {
        status: it.status as u16,
        body,
    }
}

/// The text of a source.
pub(super) fn data(it: &DataSource, path: &str, notes: &mut Notes) -> String {
    let bytes = match &it.specifier {
        Some(Specifier::InlineString(text)) => return text.clone(),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(Specifier::Filename(name)) => {
            fs::read(name).map_err(|error| format!("`{name}`: {error}"))
        }
        None => Err(
            "one of `inline_string`, `inline_bytes`, `filename`, `environment_variable` is needed"
                .to_owned(),
        ),
        Some(Specifier::EnvironmentVariable(name)) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| format!("the environment has no variable `{name}`")),
    };
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| "a body that is not UTF-8 cannot be sent".to_owned())
    });
    text.unwrap_or_else(|what| {
        notes.invalid(path, what);
        String::new()
    })
}
