//! Envoy's fault filter.

use envoy_types::pb::envoy::extensions::filters::{
    common::fault::v3::{
        FaultDelay, FaultRateLimit, fault_delay::FaultDelaySecifier, fault_rate_limit::LimitType,
    },
    http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
};

use super::{Notes, denominator, duration, share};
use crate::{
    envoy::route::header,
    policy::{
        fault::{Fault, abort::Abort, delay::Delay, header::Header, throttle::Throttle},
        matcher::{How, Matcher, Named, Text},
    },
    unit::Share,
};

/// A kind of a fault filter: what it adds to the filter's name, how often, what.
type Kind = (&'static str, Share, Fault);

/// What the filter does: each kind is a rule with draws of its own. As in Envoy the answer's rate comes first, then the
/// delay, then the abort.
pub(super) fn kinds(it: &HttpFault, path: &str, notes: &mut Notes) -> Vec<Kind> {
    let throttle = it.response_rate_limit.as_ref();
    let delay_path = format!("{path}.delay");
    let abort_path = format!("{path}.abort");
    let throttle_path = format!("{path}.response_rate_limit");
    let mut kinds = Vec::new();
    kinds.extend(throttle.and_then(|it| self::throttle(it, &throttle_path, notes)));
    let delay = it.delay.as_ref();
    kinds.extend(delay.and_then(|it| self::delay(it, &delay_path, notes)));
    let abort = it.abort.as_ref();
    kinds.extend(abort.and_then(|it| self::abort(it, &abort_path, notes)));
    kinds
}

/// Which requests the filter is for.
pub(super) fn matcher(it: &HttpFault, path: &str, notes: &mut Notes) -> Matcher {
    let mut headers: Vec<_> = it
        .headers
        .iter()
        .enumerate()
        .filter_map(|(index, it)| header(it, &format!("{path}.headers[{index}]"), notes))
        .collect();
    if !it.downstream_nodes.is_empty() {
        let nodes = it.downstream_nodes.iter().map(|node| regex::escape(node));
        headers.push(Named {
            name: "x-envoy-downstream-service-node".to_owned(),
            value: Some(Text {
                how: How::Regex(nodes.collect::<Vec<_>>().join("|")),
                ignore_case: false,
            }),
            invert: false,
            absent_as: None,
        });
    }
    Matcher {
        headers,
        ..Matcher::default()
    }
}

fn throttle(it: &FaultRateLimit, path: &str, notes: &mut Notes) -> Option<Kind> {
    let fault = match &it.limit_type {
        Some(LimitType::FixedLimit(fixed)) if fixed.limit_kbps == 0 => {
            notes.invalid(
                format!("{path}.fixed_limit.limit_kbps"),
                "it must be above 0",
            );
            return None;
        }
        Some(LimitType::FixedLimit(fixed)) => Fault::Throttle(Throttle {
            bytes_per_second: fixed.limit_kbps.saturating_mul(1024),
        }),
        Some(LimitType::HeaderLimit(_)) => Fault::Header(Header::Throttle {
            of: denominator(it.percentage),
        }),
        None => {
            notes.invalid(path, "a `fixed_limit` or a `header_limit` is needed");
            return None;
        }
    };
    Some(("rate", share(it.percentage), fault))
}

fn delay(it: &FaultDelay, path: &str, notes: &mut Notes) -> Option<Kind> {
    let fault = match &it.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(fixed)) => {
            let path = format!("{path}.fixed_delay");
            let fixed = duration(Some(fixed), &path, notes)?;
            if fixed.is_zero() {
                notes.invalid(&path, "it must be above 0");
            }
            Fault::Delay(Delay::Fixed(fixed))
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => Fault::Header(Header::Delay {
            of: denominator(it.percentage),
        }),
        None => {
            notes.invalid(path, "a `fixed_delay` or a `header_delay` is needed");
            return None;
        }
    };
    Some(("delay", share(it.percentage), fault))
}

fn abort(it: &FaultAbort, path: &str, notes: &mut Notes) -> Option<Kind> {
    let fault = match it.error_type {
        Some(ErrorType::HttpStatus(status)) => {
            let Some(status) = u16::try_from(status)
                .ok()
                .filter(|it| (200..600).contains(it))
            else {
                notes.invalid(
                    format!("{path}.http_status"),
                    format!("the status {status} must be from 200 to 599"),
                );
                return None;
            };
            let body = Some(it.response_body.clone()).filter(|body| !body.is_empty());
            Fault::Abort(Abort::Status { status, body })
        }
        Some(ErrorType::GrpcStatus(status)) => Fault::Abort(Abort::Grpc(status)),
        Some(ErrorType::HeaderAbort(_)) => Fault::Header(Header::Abort {
            of: denominator(it.percentage),
        }),
        None => {
            notes.invalid(
                path,
                "an `http_status`, a `grpc_status` or a `header_abort` is needed",
            );
            return None;
        }
    };
    Some(("abort", share(it.percentage), fault))
}
