//! Local rate limits, and how routes describe their requests for them.

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{HeaderValueOption, RuntimeFractionalPercent},
            route::v3::{
                RateLimit, Route, VirtualHost,
                rate_limit::{Action, action::ActionSpecifier},
                route::Action as RouteKind,
            },
        },
        extensions::{
            common::ratelimit::v3::{VhRateLimitsOptions, XRateLimitHeadersRfcVersion},
            filters::http::local_ratelimit::v3::LocalRateLimit,
        },
        r#type::v3::TokenBucket,
    },
    google::protobuf::BoolValue,
};

use super::{Notes, duration, share};
use crate::{
    config,
    envoy::route::{header, query},
    policy::{
        matcher::Matcher,
        rate_limit::{self, Fill, Settings},
    },
    unit::Share,
};

/// Envoy's shortest interval between two fills.
const SHORTEST_FILL_MS: u128 = 50;

/// A limit, and which of a route's descriptions are for it.
#[derive(Debug, Clone)]
pub(in crate::envoy) struct Limit {
    pub(super) config: config::RateLimit,
    stage: u32,
    hosts: VhRateLimitsOptions,
    /// It says itself how requests are described.
    describes: bool,
}

/// Reads a filter's settings, or a route's for it.
pub(super) fn convert(it: &LocalRateLimit, path: &str, notes: &mut Notes) -> Limit {
    if it.stat_prefix.is_empty() {
        notes.invalid(format!("{path}.stat_prefix"), "it must not be empty");
    }
    let bucket = it.token_bucket.as_ref();
    let all = bucket.and_then(|it| fill(it, &format!("{path}.token_bucket"), notes));
    let mut descriptors = Vec::new();
    for (index, it) in it.descriptors.iter().enumerate() {
        let path = format!("{path}.descriptors[{index}]");
        let Some(bucket) = &it.token_bucket else {
            notes.invalid(path, "a `token_bucket` is needed");
            continue;
        };
        let entries = it.entries.iter();
        let entries = entries.map(|it| (it.key.clone(), it.value.clone()));
        if let Some(fill) = fill(bucket, &format!("{path}.token_bucket"), notes) {
            descriptors.push((entries.collect(), fill));
        }
    }
    let status = it.status.map_or(0, |status| status.code);
    let limit = config::RateLimit {
        name: path.to_owned(),
        settings: Settings {
            stat_prefix: it.stat_prefix.clone(),
            fill: all,
            descriptors,
            always_all: it.always_consume_default_token_bucket.is_none_or(on),
            enabled: fraction(it.filter_enabled.as_ref()),
            enforced: fraction(it.filter_enforced.as_ref()),
            // Envoy takes no status below 400 for this.
            status: u16::try_from(status)
                .ok()
                .filter(|status| *status >= 400)
                .unwrap_or(Settings::STATUS),
            resource_exhausted: it.rate_limited_as_resource_exhausted,
            answer_headers: headers(
                &it.response_headers_to_add,
                &format!("{path}.response_headers_to_add"),
                notes,
            ),
            request_headers: headers(
                &it.request_headers_to_add_when_not_enforced,
                &format!("{path}.request_headers_to_add_when_not_enforced"),
                notes,
            ),
            tells: it.enable_x_ratelimit_headers
                == i32::from(XRateLimitHeadersRfcVersion::DraftVersion03),
            per_connection: it.local_rate_limit_per_downstream_connection,
        },
        actions: descriptions(&it.rate_limits, None, &format!("{path}.rate_limits"), notes),
    };
    Limit {
        config: limit,
        stage: it.stage,
        hosts: VhRateLimitsOptions::try_from(it.vh_rate_limits).unwrap_or_default(),
        describes: !it.rate_limits.is_empty(),
    }
}

impl Limit {
    /// The limit as it is for a route's requests.
    #[expect(
        deprecated,
        reason = "files in use still have the older switch, and Envoy takes it"
    )]
    pub(super) fn on_route(
        &self,
        (host, host_path): (&VirtualHost, &str),
        (route, path): (&Route, &str),
        notes: &mut Notes,
    ) -> config::RateLimit {
        let mut limit = self.config.clone();
        if self.describes {
            return limit;
        }
        let (own, include) = match &route.action {
            Some(RouteKind::Route(action)) => (
                action.rate_limits.as_slice(),
                includes_hosts(action.include_vh_rate_limits),
            ),
            _ => (&[][..], false),
        };
        let path = format!("{path}.route.rate_limits");
        limit.actions = descriptions(own, Some(self.stage), &path, notes);
        let hosts = match self.hosts {
            VhRateLimitsOptions::Override => own.is_empty() || include,
            VhRateLimitsOptions::Include => true,
            VhRateLimitsOptions::Ignore => false,
        };
        if hosts {
            let path = format!("{host_path}.rate_limits");
            let theirs = descriptions(&host.rate_limits, Some(self.stage), &path, notes);
            limit.actions.extend(theirs);
        }
        limit
    }
}

fn includes_hosts(it: Option<BoolValue>) -> bool {
    it.is_some_and(on)
}

fn on(it: BoolValue) -> bool {
    it.value
}

/// Without a fraction: never, as in Envoy.
fn fraction(it: Option<&RuntimeFractionalPercent>) -> Share {
    it.map_or(Share::NONE, |it| share(it.default_value))
}

fn fill(it: &TokenBucket, path: &str, notes: &mut Notes) -> Option<Fill> {
    let tokens = it.tokens_per_fill.map_or(1, |tokens| tokens.value);
    if it.max_tokens == 0 || tokens == 0 {
        notes.invalid(path, "`max_tokens` and `tokens_per_fill` must be above 0");
        return None;
    }
    let interval = format!("{path}.fill_interval");
    let Some(every) = duration(it.fill_interval.as_ref(), &interval, notes) else {
        if it.fill_interval.is_none() {
            notes.invalid(interval, "it is needed");
        }
        return None;
    };
    if every.as_millis() < SHORTEST_FILL_MS {
        notes.invalid(
            interval,
            format!("it must not be below {SHORTEST_FILL_MS} ms"),
        );
        return None;
    }
    Some(Fill {
        most: it.max_tokens.into(),
        tokens: tokens.into(),
        interval_s: every.as_secs_f64(),
    })
}

fn headers(it: &[HeaderValueOption], path: &str, notes: &mut Notes) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (index, it) in it.iter().enumerate() {
        let header = it.header.clone().unwrap_or_default();
        if header.value.replace("%%", "").contains('%') {
            notes.unsupported(
                format!("{path}[{index}].header.value"),
                format!("a format such as `{}`", header.value),
            );
        }
        headers.push((
            header.key.to_ascii_lowercase(),
            header.value.replace("%%", "%"),
        ));
    }
    headers
}

/// The descriptions of one stage, or of all.
fn descriptions(
    limits: &[RateLimit],
    stage: Option<u32>,
    path: &str,
    notes: &mut Notes,
) -> Vec<Vec<rate_limit::Action>> {
    let mut all = Vec::new();
    for (index, it) in limits.iter().enumerate() {
        let own = it.stage.map_or(0, |stage| stage.value);
        if stage.is_some_and(|stage| stage != own) {
            continue;
        }
        let path = format!("{path}[{index}].actions");
        let actions = it.actions.iter().enumerate();
        all.push(
            actions
                .filter_map(|(index, it)| action(it, &format!("{path}[{index}]"), notes))
                .collect(),
        );
    }
    all
}

fn action(it: &Action, path: &str, notes: &mut Notes) -> Option<rate_limit::Action> {
    use rate_limit::Action as Ours;
    let or = |key: &String, default: &str| match key.as_str() {
        "" => default.to_owned(),
        key => key.to_owned(),
    };
    let Some(specifier) = &it.action_specifier else {
        notes.invalid(path, "an action is needed");
        return None;
    };
    Some(match specifier {
        ActionSpecifier::DestinationCluster(_) => Ours::DestinationCluster,
        ActionSpecifier::RequestHeaders(it) => Ours::Header {
            name: it.header_name.clone(),
            key: it.descriptor_key.clone(),
            skip: it.skip_if_absent,
        },
        ActionSpecifier::QueryParameters(it) => Ours::Query {
            name: it.query_parameter_name.clone(),
            key: it.descriptor_key.clone(),
            skip: it.skip_if_absent,
        },
        ActionSpecifier::RemoteAddress(_) => Ours::Remote {
            key: "remote_address".to_owned(),
            v4: None,
            v6: None,
        },
        ActionSpecifier::MaskedRemoteAddress(it) => {
            let bits = |it: Option<u32>, most: u8| {
                u8::try_from(it.unwrap_or_else(|| most.into())).unwrap_or(most)
            };
            Ours::Remote {
                key: "masked_remote_address".to_owned(),
                v4: Some(bits(it.v4_prefix_mask_len.map(|it| it.value), 32)),
                v6: Some(bits(it.v6_prefix_mask_len.map(|it| it.value), 128)),
            }
        }
        ActionSpecifier::GenericKey(it) => Ours::Fixed {
            key: or(&it.descriptor_key, "generic_key"),
            value: it.descriptor_value.clone(),
        },
        ActionSpecifier::HeaderValueMatch(it) => Ours::When {
            key: or(&it.descriptor_key, "header_match"),
            value: it.descriptor_value.clone(),
            conditions: Box::new(Matcher {
                headers: it
                    .headers
                    .iter()
                    .enumerate()
                    .filter_map(|(index, it)| {
                        let path = format!("{path}.header_value_match.headers[{index}]");
                        header(it, &path, notes)
                    })
                    .collect(),
                ..Matcher::default()
            }),
            hold: it.expect_match.is_none_or(on),
        },
        ActionSpecifier::QueryParameterValueMatch(it) => Ours::When {
            key: or(&it.descriptor_key, "query_match"),
            value: it.descriptor_value.clone(),
            conditions: Box::new(Matcher {
                query: it
                    .query_parameters
                    .iter()
                    .enumerate()
                    .filter_map(|(index, it)| {
                        let path =
                            format!("{path}.query_parameter_value_match.query_parameters[{index}]");
                        query(it, &path, notes)
                    })
                    .collect(),
                ..Matcher::default()
            }),
            hold: it.expect_match.is_none_or(on),
        },
        // Reported by the walk.
        _ => return None,
    })
}
