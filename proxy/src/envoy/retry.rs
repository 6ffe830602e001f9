//! Retries, hedging, and how long an exchange may last: of a route, else of its host.

use envoy_types::pb::{
    envoy::{
        config::route::v3::{
            HedgePolicy, RetryPolicy, Route, RouteAction, VirtualHost,
            retry_policy::{
                RateLimitedRetryBackOff, ResetHeaderFormat, RetryBackOff, retry_host_predicate,
                retry_priority,
            },
        },
        extensions::retry::{
            host::previous_hosts::v3::PreviousHostsPredicate,
            priority::previous_priorities::v3::PreviousPrioritiesConfig,
        },
    },
    google::protobuf::{Any, UInt32Value},
};

use super::{
    Notes,
    filter::{duration, open},
    route::header,
};
use crate::{
    config::{self, Tries},
    policy::retry::{Backoff, On, Policy, RateLimited, ResetFormat},
    unit::ByteSize,
};

/// Reads what `it` says of tries into its route; what it does not say, its host does.
pub(super) fn apply(
    host: &VirtualHost,
    host_path: &str,
    it: &Route,
    path: &str,
    route: &mut config::Route,
    notes: &mut Notes,
) {
    let config::Action::Forward(forward) = &mut route.action else {
        return;
    };
    let Some(action) = action_of(it) else {
        return;
    };
    let defaults = Tries::default();
    let retry = match (&action.retry_policy, &host.retry_policy) {
        (Some(own), _) => Some((own, format!("{path}.route"))),
        (None, Some(outer)) => Some((outer, host_path.to_owned())),
        (None, None) => None,
    };
    let hedge = action.hedge_policy.or(host.hedge_policy);
    *forward.tries = Tries {
        retry: retry.map(|(it, path)| policy(it, &format!("{path}.retry_policy"), notes)),
        hedge: hedge.is_some_and(|hedge: HedgePolicy| hedge.hedge_on_per_try_timeout),
        kept_body: kept_body(host, it),
        ..defaults
    };
    if let Some(max) = &action.max_stream_duration {
        let path = format!("{path}.route.max_stream_duration");
        let mut read = |it: Option<&_>, name: &str| duration(it, &format!("{path}.{name}"), notes);
        forward.tries.max_duration = read(max.max_stream_duration.as_ref(), "max_stream_duration");
        forward.tries.grpc_timeout_max = read(
            max.grpc_timeout_header_max.as_ref(),
            "grpc_timeout_header_max",
        );
        forward.tries.grpc_timeout_offset = read(
            max.grpc_timeout_header_offset.as_ref(),
            "grpc_timeout_header_offset",
        )
        .unwrap_or_default();
        // The older bound does not hold beside the newer one.
        forward.timeout = None;
    }
    forward.attempt_count = host.include_request_attempt_count;
    forward.attempt_count_in_answer = host.include_attempt_count_in_response;
}

/// Where nothing else is said, a body is kept for a retry as far as its connection is buffered.
pub(super) fn bound_bodies(manager: &mut config::HttpManager, limit: ByteSize) {
    let routes = manager
        .virtual_hosts
        .iter_mut()
        .flat_map(|it| &mut it.routes);
    for route in routes {
        if let config::Action::Forward(forward) = &mut route.action {
            forward.tries.kept_body.get_or_insert(limit);
        }
    }
}

fn action_of(it: &Route) -> Option<&RouteAction> {
    use envoy_types::pb::envoy::config::route::v3::route::Action;
    match &it.action {
        Some(Action::Route(action)) => Some(action),
        _ => None,
    }
}

#[expect(
    deprecated,
    reason = "files in use still have the older field, and Envoy takes it"
)]
fn kept_body(host: &VirtualHost, route: &Route) -> Option<ByteSize> {
    let own = |bytes: &Option<UInt32Value>| bytes.map(|bytes| ByteSize(bytes.value.into()));
    own(&route.per_request_buffer_limit_bytes).or_else(|| own(&host.per_request_buffer_limit_bytes))
}

/// Reads a retry policy.
fn policy(it: &RetryPolicy, path: &str, notes: &mut Notes) -> Policy {
    let each = |them: &[_], name: &str, notes: &mut Notes| {
        them.iter()
            .enumerate()
            .filter_map(|(index, it)| header(it, &format!("{path}.{name}[{index}]"), notes))
            .collect()
    };
    let defaults = Policy::default();
    let mut time = |it: Option<&_>, name: &str| {
        duration(it, &format!("{path}.{name}"), notes).filter(|time| !time.is_zero())
    };
    let per_try_timeout = time(it.per_try_timeout.as_ref(), "per_try_timeout");
    let per_try_idle_timeout = time(it.per_try_idle_timeout.as_ref(), "per_try_idle_timeout");
    Policy {
        on: On::parse(&it.retry_on),
        retries: it.num_retries.map_or(defaults.retries, |count| count.value),
        per_try_timeout,
        per_try_idle_timeout,
        backoff: it.retry_back_off.map_or(defaults.backoff, |it| {
            backoff(it, &format!("{path}.retry_back_off"), notes)
        }),
        rate_limited: it.rate_limited_retry_back_off.as_ref().map(|it| {
            let path = format!("{path}.rate_limited_retry_back_off");
            rate_limited(it, &path, notes)
        }),
        statuses: it
            .retriable_status_codes
            .iter()
            .filter_map(|status| u16::try_from(*status).ok())
            .collect(),
        headers: each(&it.retriable_headers, "retriable_headers", notes),
        request_headers: each(
            &it.retriable_request_headers,
            "retriable_request_headers",
            notes,
        ),
        other_hosts: it.retry_host_predicate.iter().any(|it| {
            let Some(retry_host_predicate::ConfigType::TypedConfig(any)) = &it.config_type else {
                return it.name == "envoy.retry_host_predicates.previous_hosts";
            };
            open::<PreviousHostsPredicate>(any).is_some()
        }),
        // Below 1 Envoy picks once.
        host_picks: u32::try_from(it.host_selection_retry_max_attempts)
            .unwrap_or_default()
            .max(1),
        other_priorities: it.retry_priority.as_ref().and_then(|it| {
            let Some(retry_priority::ConfigType::TypedConfig(any)) = &it.config_type else {
                return None;
            };
            previous_priorities(any)
        }),
    }
}

/// After how many attempts the priorities that were tried are passed over.
fn previous_priorities(any: &Any) -> Option<u32> {
    let config = open::<PreviousPrioritiesConfig>(any)?;
    Some(u32::try_from(config.update_frequency).unwrap_or(1).max(1))
}

fn backoff(it: RetryBackOff, path: &str, notes: &mut Notes) -> Backoff {
    let base = format!("{path}.base_interval");
    let Some(base_interval) = duration(it.base_interval.as_ref(), &base, notes) else {
        if it.base_interval.is_none() {
            notes.invalid(base, "it is needed");
        }
        return Backoff::default();
    };
    let max = format!("{path}.max_interval");
    let defaults = Backoff::from_base(base_interval);
    let backoff = Backoff {
        // Envoy counts whole milliseconds, from 1.
        base: base_interval.max(std::time::Duration::from_millis(1)),
        max: duration(it.max_interval.as_ref(), &max, notes).unwrap_or(defaults.max),
    };
    if let Err(what) = backoff.check() {
        notes.invalid(path, what);
        return Backoff::default();
    }
    backoff
}

fn rate_limited(it: &RateLimitedRetryBackOff, path: &str, notes: &mut Notes) -> RateLimited {
    let mut headers = Vec::new();
    for (index, it) in it.reset_headers.iter().enumerate() {
        let format = match ResetHeaderFormat::try_from(it.format).unwrap_or_default() {
            ResetHeaderFormat::Seconds => ResetFormat::Seconds,
            ResetHeaderFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
        };
        match http::HeaderName::try_from(&it.name) {
            Ok(name) => headers.push((name, format)),
            Err(_) => notes.invalid(
                format!("{path}.reset_headers[{index}].name"),
                format!("`{}` is not the name of a header", it.name),
            ),
        }
    }
    if headers.is_empty() {
        notes.invalid(
            format!("{path}.reset_headers"),
            "at least one header is needed",
        );
    }
    let defaults = RateLimited::default();
    let max = format!("{path}.max_interval");
    RateLimited {
        headers,
        max: duration(it.max_interval.as_ref(), &max, notes).unwrap_or(defaults.max),
    }
}
