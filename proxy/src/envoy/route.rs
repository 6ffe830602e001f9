//! Hosts, routes, and what requests must look like for them.

use std::{fs, time::Duration};

use envoy_types::pb::envoy::{
    config::{
        common::mutation_rules::v3::header_mutation,
        core::v3::{DataSource, data_source::Specifier, header_value_option::HeaderAppendAction},
        route::v3::{
            DirectResponseAction, HeaderMatcher, QueryParameterMatcher, Route, RouteAction,
            RouteConfiguration, RouteMatch, VirtualHost,
            header_matcher::HeaderMatchSpecifier,
            query_parameter_matcher::QueryParameterMatchSpecifier,
            route::Action,
            route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
            route_match::PathSpecifier,
        },
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

use super::{
    Notes,
    filter::{self, Faults, Overrides, duration, share, unless_zero},
    retry,
};
use crate::{
    config::{self, Forward},
    policy::{
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
    if it.validate_clusters.is_some_and(|validate| !validate.value) {
        notes.unsupported(format!("{path}.validate_clusters"), "`false`");
    }
    let outer = filter::overrides(&it.typed_per_filter_config, faults, path, notes);
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

fn host(
    it: &VirtualHost,
    faults: &Faults,
    outer: &Overrides,
    path: &str,
    notes: &mut Notes,
) -> config::VirtualHost {
    let mut overrides = outer.clone();
    overrides.extend(filter::overrides(
        &it.typed_per_filter_config,
        faults,
        path,
        notes,
    ));
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
            let mut made = convert_route(route, faults, &overrides, &scope, &inner, notes)?;
            retry::apply(it, path, route, &inner, &mut made, notes);
            made.filters = faults.filters_of_route(&overrides, (it, path), (route, &inner), notes);
            Some(made)
        })
        .collect();
    config::VirtualHost {
        name: it.name.clone(),
        domains: it.domains.clone(),
        routes,
    }
}

fn convert_route(
    it: &Route,
    faults: &Faults,
    outer: &Overrides,
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
    let mut overrides = outer.clone();
    overrides.extend(filter::overrides(
        &it.typed_per_filter_config,
        faults,
        path,
        notes,
    ));
    let action = match &it.action {
        Some(Action::Route(route)) => {
            config::Action::Forward(forward(route, it, &format!("{path}.route"), notes))
        }
        Some(Action::DirectResponse(direct)) => {
            respond(direct, &format!("{path}.direct_response"), notes)
        }
        None => {
            notes.invalid(path, "a `route` or a `direct_response` is needed");
            return None;
        }
        // Reported by the walk.
        Some(_) => return None,
    };
    let clusters = match &action {
        config::Action::Forward(forward) => forward.clusters.as_slice(),
        config::Action::Respond { .. } => &[],
    };
    Some(config::Route {
        name: it.name.clone(),
        faults: faults.of_route(&overrides, clusters, scope, notes),
        filters: None,
        matcher,
        action,
    })
}

fn matching(it: &RouteMatch, path: &str, notes: &mut Notes) -> Matcher {
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
                "one of `prefix`, `path`, `safe_regex`, `path_separated_prefix` is needed",
            );
            None
        }
        // Reported by the walk.
        Some(_) => None,
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

fn forward(it: &RouteAction, route: &Route, path: &str, notes: &mut Notes) -> Forward {
    let clusters = match &it.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1)],
        Some(ClusterSpecifier::WeightedClusters(them)) => them
            .clusters
            .iter()
            .map(|it| (it.name.clone(), it.weight.map_or(0, |weight| weight.value)))
            .collect(),
        None => {
            notes.invalid(path, "a `cluster` or `weighted_clusters` is needed");
            Vec::new()
        }
        // Reported by the walk.
        Some(_) => Vec::new(),
    };
    let timeout = match duration(it.timeout.as_ref(), &format!("{path}.timeout"), notes) {
        Some(set) => unless_zero(set),
        None => Some(Forward::TIMEOUT),
    };
    let prefix = route
        .r#match
        .as_ref()
        .and_then(|it| it.path_specifier.as_ref());
    if !it.prefix_rewrite.is_empty() && matches!(prefix, Some(PathSpecifier::SafeRegex(_))) {
        notes.invalid(
            format!("{path}.prefix_rewrite"),
            "an expression has no prefix that could be replaced",
        );
    }
    Forward {
        clusters,
        timeout,
        idle_timeout: duration(
            it.idle_timeout.as_ref(),
            &format!("{path}.idle_timeout"),
            notes,
        ),
        prefix_rewrite: Some(it.prefix_rewrite.clone()).filter(|prefix| !prefix.is_empty()),
        host_rewrite: match &it.host_rewrite_specifier {
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host.clone()),
            // Others are reported by the walk.
            _ => None,
        },
        attempt_count: false,
        attempt_count_in_answer: false,
        tries: Box::default(),
        mirrors: it
            .request_mirror_policies
            .iter()
            .enumerate()
            .map(|(index, it)| {
                let path = format!("{path}.request_mirror_policies[{index}]");
                mirror(it, timeout.unwrap_or(LONGEST_COPY), &path, notes)
            })
            .collect(),
    }
}

fn mirror(it: &RequestMirrorPolicy, deadline: Duration, path: &str, notes: &mut Notes) -> Mirror {
    let mut set_headers = Vec::new();
    let mut remove_headers = Vec::new();
    for (index, mutation) in it.request_headers_mutations.iter().enumerate() {
        let path = format!("{path}.request_headers_mutations[{index}]");
        match &mutation.action {
            Some(header_mutation::Action::Remove(name)) => {
                remove_headers.push(name.to_ascii_lowercase());
            }
            Some(header_mutation::Action::Append(append)) => {
                let action = HeaderAppendAction::try_from(append.append_action).unwrap_or_default();
                if action != HeaderAppendAction::OverwriteIfExistsOrAdd {
                    notes.unsupported(
                        format!("{path}.append.append_action"),
                        format!("`{}`", action.as_str_name()),
                    );
                }
                let header = append.header.clone().unwrap_or_default();
                if header.value.replace("%%", "").contains('%') {
                    notes.unsupported(
                        format!("{path}.append.header.value"),
                        format!("a format such as `{}`", header.value),
                    );
                }
                set_headers.push((
                    header.key.to_ascii_lowercase(),
                    header.value.replace("%%", "%"),
                ));
            }
            None => notes.invalid(path, "`remove` or `append` is needed"),
            // Reported by the walk.
            Some(_) => {}
        }
    }
    Mirror {
        id: it.cluster.clone(),
        side: 0,
        cluster: it.cluster.clone(),
        matcher: Matcher::default(),
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
        set_headers,
        remove_headers,
        limits: Limits {
            deadline,
            ..MIRROR_LIMITS
        },
        compare: false,
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
        None => Err("one of `inline_string`, `inline_bytes`, `filename` is needed".to_owned()),
        // Reported by the walk.
        Some(Specifier::EnvironmentVariable(_)) => return String::new(),
    };
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| "a body that is not UTF-8 cannot be sent".to_owned())
    });
    text.unwrap_or_else(|what| {
        notes.invalid(path, what);
        String::new()
    })
}
