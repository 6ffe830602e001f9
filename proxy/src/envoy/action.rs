//! What routes do with requests but sending them on as they are: rewrites, redirects.

use envoy_types::pb::envoy::{
    config::route::v3::{
        RedirectAction, RouteAction, WeightedCluster,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier},
        weighted_cluster::{
            RandomValueSpecifier, cluster_weight::HostRewriteSpecifier as TargetHost,
        },
    },
    extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig,
    r#type::matcher::v3::RegexMatchAndSubstitute,
};

use super::{Notes, balance, filter::open, headers};
use crate::{
    config::{Action, ClusterName, Target},
    policy::{
        matcher::Matcher,
        rewrite::{CompiledPath, HostRewrite, PathRewrite, Redirect, Substitution},
    },
};

/// The clusters of a route, and the header that chooses among them.
pub(super) fn targets(
    it: &RouteAction,
    path: &str,
    notes: &mut Notes,
) -> (Vec<Target>, Option<String>) {
    match &it.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => (vec![Target::new(name, 1)], None),
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            let target = Target {
                cluster: ClusterName::Header(name.to_ascii_lowercase()),
                ..Target::new("", 1)
            };
            (vec![target], None)
        }
        Some(ClusterSpecifier::WeightedClusters(them)) => {
            weighted(them, &format!("{path}.weighted_clusters"), notes)
        }
        None => {
            notes.invalid(
                path,
                "a `cluster`, `cluster_header` or `weighted_clusters` is needed",
            );
            (Vec::new(), None)
        }
        // Reported by the walk.
        Some(_) => (Vec::new(), None),
    }
}

fn weighted(it: &WeightedCluster, path: &str, notes: &mut Notes) -> (Vec<Target>, Option<String>) {
    let mut targets = Vec::new();
    for (index, it) in it.clusters.iter().enumerate() {
        let path = format!("{path}.clusters[{index}]");
        let cluster = match (it.name.as_str(), it.cluster_header.as_str()) {
            ("", "") => {
                notes.invalid(&path, "a `name` or a `cluster_header` is needed");
                continue;
            }
            (name, "") => ClusterName::Fixed(name.to_owned()),
            ("", header) => ClusterName::Header(header.to_ascii_lowercase()),
            _ => {
                notes.invalid(&path, "only one of `name` and `cluster_header` can be");
                continue;
            }
        };
        targets.push(Target {
            cluster,
            weight: it.weight.map_or(0, |weight| weight.value),
            edits: headers::edits(headers::operations!(it), &path, notes),
            metadata: balance::metadata(it.metadata_match.as_ref()),
            host_rewrite: match &it.host_rewrite_specifier {
                Some(TargetHost::HostRewriteLiteral(host)) => {
                    Some(host.clone()).filter(|host| !host.is_empty())
                }
                None => None,
            },
            ..Target::default()
        });
    }
    let header = match &it.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => Some(name.to_ascii_lowercase()),
        // Reported by the walk.
        _ => None,
    };
    (targets, header)
}

/// What is answered where the cluster is not there.
pub(super) fn not_found(it: &RouteAction) -> u16 {
    match it.cluster_not_found_response_code() {
        ClusterNotFoundResponseCode::ServiceUnavailable => 503,
        ClusterNotFoundResponseCode::NotFound => 404,
        ClusterNotFoundResponseCode::InternalServerError => 500,
    }
}

/// How the path is rewritten.
pub(super) fn path_rewrite(
    it: &RouteAction,
    matcher: &Matcher,
    path: &str,
    notes: &mut Notes,
) -> Option<PathRewrite> {
    let mut made = Vec::new();
    if !it.prefix_rewrite.is_empty() {
        made.push((
            "prefix_rewrite",
            PathRewrite::Prefix(it.prefix_rewrite.clone()),
        ));
    }
    if let Some(regex) = &it.regex_rewrite {
        made.push(("regex_rewrite", PathRewrite::Regex(substitution(regex))));
    }
    if let Some(policy) = &it.path_rewrite_policy {
        let any = policy.typed_config.as_ref();
        // Another type is reported by the walk.
        if let Some(template) = any.and_then(open::<UriTemplateRewriteConfig>) {
            let by = template.path_template_rewrite;
            made.push(("path_rewrite_policy", PathRewrite::Template(by)));
        }
    }
    one(made, matcher, path, notes)
}

fn one(
    made: Vec<(&str, PathRewrite)>,
    matcher: &Matcher,
    path: &str,
    notes: &mut Notes,
) -> Option<PathRewrite> {
    if let [_, (second, _), ..] = made.as_slice() {
        notes.invalid(
            format!("{path}.{second}"),
            "the path is rewritten by another field already",
        );
    }
    let (name, rewrite) = made.into_iter().next()?;
    if let Err(what) = CompiledPath::new(&rewrite, matcher) {
        notes.invalid(format!("{path}.{name}"), what);
        return None;
    }
    Some(rewrite)
}

/// How the host is rewritten.
pub(super) fn host_rewrite(it: &RouteAction) -> Option<HostRewrite> {
    match it.host_rewrite_specifier.as_ref()? {
        HostRewriteSpecifier::HostRewriteLiteral(host) => Some(HostRewrite::Literal(host.clone())),
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            Some(HostRewrite::Header(name.to_ascii_lowercase()))
        }
        HostRewriteSpecifier::HostRewritePathRegex(regex) => {
            Some(HostRewrite::Path(substitution(regex)))
        }
        HostRewriteSpecifier::AutoHostRewrite(on) => on.value.then_some(HostRewrite::Endpoint),
        // Reported by the walk.
        HostRewriteSpecifier::HostRewrite(_) => None,
    }
}

fn substitution(it: &RegexMatchAndSubstitute) -> Substitution {
    Substitution {
        expression: it
            .pattern
            .as_ref()
            .map_or_else(String::new, |pattern| pattern.regex.clone()),
        by: it.substitution.clone(),
    }
}

/// A redirect.
pub(super) fn redirect(
    it: &RedirectAction,
    matcher: &Matcher,
    path: &str,
    notes: &mut Notes,
) -> Action {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut to = Redirect {
        scheme: match &it.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => some(scheme),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
        },
        host: some(&it.host_redirect),
        port: None,
        path: None,
        rewrite: None,
        strip_query: it.strip_query,
    };
    match u16::try_from(it.port_redirect) {
        Ok(0) => {}
        Ok(port) => to.port = Some(port),
        Err(_) => notes.invalid(
            format!("{path}.port_redirect"),
            format!("{} is not a port", it.port_redirect),
        ),
    }
    match &it.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(redirect)) => to.path = some(redirect),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            let rewrite = PathRewrite::Prefix(prefix.clone());
            to.rewrite = one(vec![("prefix_rewrite", rewrite)], matcher, path, notes);
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            let rewrite = PathRewrite::Regex(substitution(regex));
            to.rewrite = one(vec![("regex_rewrite", rewrite)], matcher, path, notes);
        }
        // Others are reported by the walk.
        _ => {}
    }
    let status = match it.response_code() {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    Action::Redirect { status, to }
}
