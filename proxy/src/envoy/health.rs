//! What is known of endpoints' health and what is made of it: health checks, outlier detection, circuit breakers.

use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{CircuitBreakers, OutlierDetection, circuit_breakers},
            core::v3::{
                HeaderValueOption, HealthCheck, RequestMethod, RoutingPriority,
                health_check::{HealthChecker, HttpHealthCheck, Payload, payload},
            },
        },
        r#type::v3::{CodecClientType, Int64Range},
    },
    google::protobuf::{self, UInt32Value},
};

use super::{Notes, filter::duration};
use crate::policy::{
    breaker::{Limits, Thresholds},
    health::{Check, Http, Probe},
    outlier::{Enforcing, Rate, Settings},
    retry::{self, Budget},
};
use crate::unit::Share;

/// A health check.
pub(super) fn check(it: &HealthCheck, path: &str, notes: &mut Notes) -> Option<Check> {
    let mut needed = |name: &str, it: Option<&protobuf::Duration>| {
        let path = format!("{path}.{name}");
        let found = duration(it, &path, notes);
        if found.is_none_or(|found| found.is_zero()) {
            notes.invalid(path, "it is needed, and above 0");
        }
        found
    };
    let timeout = needed("timeout", it.timeout.as_ref());
    let interval = needed("interval", it.interval.as_ref());
    let mut threshold = |name: &str, it: Option<UInt32Value>| {
        if it.is_none() {
            notes.invalid(format!("{path}.{name}"), "it is needed");
        }
        it.map_or(1, |it| it.value.max(1))
    };
    let unhealthy_threshold = threshold("unhealthy_threshold", it.unhealthy_threshold);
    let healthy_threshold = threshold("healthy_threshold", it.healthy_threshold);
    let mut optional = |name: &str, it: Option<&protobuf::Duration>| {
        duration(it, &format!("{path}.{name}"), notes)
    };
    let default = Check::default();
    let mut check = Check {
        timeout: timeout?,
        interval: interval?,
        no_traffic_interval: optional("no_traffic_interval", it.no_traffic_interval.as_ref())
            .unwrap_or(default.no_traffic_interval),
        no_traffic_healthy_interval: optional(
            "no_traffic_healthy_interval",
            it.no_traffic_healthy_interval.as_ref(),
        ),
        unhealthy_interval: optional("unhealthy_interval", it.unhealthy_interval.as_ref()),
        unhealthy_edge_interval: optional(
            "unhealthy_edge_interval",
            it.unhealthy_edge_interval.as_ref(),
        ),
        healthy_edge_interval: optional("healthy_edge_interval", it.healthy_edge_interval.as_ref()),
        jitter: optional("interval_jitter", it.interval_jitter.as_ref()).unwrap_or_default(),
        jitter_percent: it.interval_jitter_percent,
        initial_jitter: optional("initial_jitter", it.initial_jitter.as_ref()).unwrap_or_default(),
        unhealthy_threshold,
        healthy_threshold,
        reuse_connection: it.reuse_connection.is_none_or(|it| it.value),
        probe: default.probe,
    };
    check.probe = match &it.health_checker {
        Some(HealthChecker::HttpHealthCheck(http)) => Probe::Http(self::http(
            http,
            &format!("{path}.http_health_check"),
            notes,
        )),
        Some(HealthChecker::TcpHealthCheck(tcp)) => {
            let path = format!("{path}.tcp_health_check");
            let send = tcp.send.as_ref();
            Probe::Tcp {
                send: send
                    .map(|it| bytes(it, &format!("{path}.send"), notes))
                    .unwrap_or_default(),
                receive: tcp
                    .receive
                    .iter()
                    .enumerate()
                    .map(|(index, it)| bytes(it, &format!("{path}.receive[{index}]"), notes))
                    .collect(),
            }
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => Probe::Grpc {
            service: grpc.service_name.clone(),
            authority: grpc.authority.clone(),
        },
        // Reported by the walk.
        Some(_) => return None,
        None => {
            notes.invalid(
                path,
                "a `http_health_check`, `tcp_health_check` or `grpc_health_check` is needed",
            );
            return None;
        }
    };
    Some(check)
}

fn http(it: &HttpHealthCheck, path: &str, notes: &mut Notes) -> Http {
    if !it.path.starts_with('/') {
        let text = format!("`{}` is not a path such as `/healthz`", it.path);
        notes.invalid(format!("{path}.path"), text);
    }
    let method = RequestMethod::try_from(it.method).unwrap_or_default();
    let method = match method {
        RequestMethod::MethodUnspecified => RequestMethod::Get,
        RequestMethod::Connect => {
            notes.invalid(
                format!("{path}.method"),
                "`CONNECT` is no request for health",
            );
            RequestMethod::Get
        }
        method => method,
    };
    let default = Http::default();
    let mut ranges = |name: &str, them: &[Int64Range]| -> Vec<(u16, u16)> {
        let mut ranges = Vec::new();
        for (index, range) in them.iter().enumerate() {
            match (u16::try_from(range.start), u16::try_from(range.end)) {
                (Ok(start), Ok(end)) if start >= 100 && start < end && end <= 600 => {
                    ranges.push((start, end));
                }
                _ => notes.invalid(
                    format!("{path}.{name}[{index}]"),
                    format!("[{}, {}) must be within [100, 600)", range.start, range.end),
                ),
            }
        }
        ranges
    };
    let expected = ranges("expected_statuses", &it.expected_statuses);
    let retriable = ranges("retriable_statuses", &it.retriable_statuses);
    Http {
        method: method.as_str_name().to_owned(),
        host: it.host.clone(),
        path: it.path.clone(),
        expected: if expected.is_empty() {
            default.expected
        } else {
            expected
        },
        retriable,
        set_headers: headers(&it.request_headers_to_add),
        remove_headers: it.request_headers_to_remove.clone(),
        http2: it.codec_client_type == i32::from(CodecClientType::Http2),
    }
}

fn headers(them: &[HeaderValueOption]) -> Vec<(String, String)> {
    them.iter()
        .filter_map(|it| it.header.as_ref())
        .map(|header| (header.key.clone(), header.value.clone()))
        .collect()
}

fn bytes(it: &Payload, path: &str, notes: &mut Notes) -> Vec<u8> {
    match &it.payload {
        Some(payload::Payload::Binary(bytes)) => bytes.clone(),
        Some(payload::Payload::Text(text)) => {
            let pairs = text.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair)
                    .ok()
                    .filter(|pair| pair.len() == 2)?;
                u8::from_str_radix(pair, 16).ok()
            });
            pairs.collect::<Option<_>>().unwrap_or_else(|| {
                notes.invalid(
                    format!("{path}.text"),
                    format!("`{text}` is not hexadecimal"),
                );
                Vec::new()
            })
        }
        None => Vec::new(),
    }
}

/// Outlier detection.
pub(super) fn outlier(it: &OutlierDetection, path: &str, notes: &mut Notes) -> Settings {
    let default = Settings::default();
    let mut time = |name: &str, it: Option<&protobuf::Duration>, default: Duration| {
        duration(it, &format!("{path}.{name}"), notes).unwrap_or(default)
    };
    let interval = time("interval", it.interval.as_ref(), default.interval);
    let base = time(
        "base_ejection_time",
        it.base_ejection_time.as_ref(),
        default.base,
    );
    // Envoy: the longer of the base and five minutes.
    let longest = base.max(default.longest);
    let longest = time("max_ejection_time", it.max_ejection_time.as_ref(), longest);
    let jitter = it.max_ejection_time_jitter.as_ref();
    let jitter = time("max_ejection_time_jitter", jitter, default.jitter);
    if interval.is_zero() {
        notes.invalid(format!("{path}.interval"), "it must be above 0");
    }
    if longest < base {
        notes.invalid(
            format!("{path}.max_ejection_time"),
            "it must not be below `base_ejection_time`",
        );
    }
    let mut share = |name: &str, it: Option<UInt32Value>, default: u32| {
        let share = it.map_or(default, |it| it.value);
        if share > 100 {
            notes.invalid(format!("{path}.{name}"), format!("{share} is above 100 %"));
        }
        share
    };
    let enforcing = default.enforcing;
    let enforcing = Enforcing {
        consecutive_5xx: share(
            "enforcing_consecutive_5xx",
            it.enforcing_consecutive_5xx,
            enforcing.consecutive_5xx,
        ),
        gateway: share(
            "enforcing_consecutive_gateway_failure",
            it.enforcing_consecutive_gateway_failure,
            enforcing.gateway,
        ),
        local: share(
            "enforcing_consecutive_local_origin_failure",
            it.enforcing_consecutive_local_origin_failure,
            enforcing.local,
        ),
        success_rate: share(
            "enforcing_success_rate",
            it.enforcing_success_rate,
            enforcing.success_rate,
        ),
        local_success_rate: share(
            "enforcing_local_origin_success_rate",
            it.enforcing_local_origin_success_rate,
            enforcing.local_success_rate,
        ),
        failure_rate: share(
            "enforcing_failure_percentage",
            it.enforcing_failure_percentage,
            enforcing.failure_rate,
        ),
        local_failure_rate: share(
            "enforcing_failure_percentage_local_origin",
            it.enforcing_failure_percentage_local_origin,
            enforcing.local_failure_rate,
        ),
    };
    let most = share(
        "max_ejection_percent",
        it.max_ejection_percent,
        default.most,
    );
    let failure_threshold = share(
        "failure_percentage_threshold",
        it.failure_percentage_threshold,
        default.failure_threshold,
    );
    let number = |it: Option<UInt32Value>, default: u32| it.map_or(default, |it| it.value);
    Settings {
        consecutive_5xx: number(it.consecutive_5xx, default.consecutive_5xx),
        consecutive_gateway: number(it.consecutive_gateway_failure, default.consecutive_gateway),
        consecutive_local: number(
            it.consecutive_local_origin_failure,
            default.consecutive_local,
        ),
        split: it.split_external_local_origin_errors,
        interval,
        base,
        longest,
        jitter,
        most,
        always_one: it.always_eject_one_host.is_some_and(|it| it.value),
        ends_with_check: it
            .successful_active_health_check_uneject_host
            .is_none_or(|it| it.value),
        enforcing,
        success_rate: Rate {
            hosts: number(it.success_rate_minimum_hosts, default.success_rate.hosts),
            volume: number(it.success_rate_request_volume, default.success_rate.volume),
        },
        deviation: number(it.success_rate_stdev_factor, default.deviation),
        failure_rate: Rate {
            hosts: number(
                it.failure_percentage_minimum_hosts,
                default.failure_rate.hosts,
            ),
            volume: number(
                it.failure_percentage_request_volume,
                default.failure_rate.volume,
            ),
        },
        failure_threshold,
    }
}

/// Circuit breakers. Of two thresholds of one priority the first counts.
pub(super) fn limits(it: &CircuitBreakers, path: &str, notes: &mut Notes) -> Limits {
    let mut limits = Limits::default();
    let mut seen = Vec::new();
    for (index, it) in it.thresholds.iter().enumerate() {
        let path = format!("{path}.thresholds[{index}]");
        let thresholds = thresholds(it, &path, notes);
        if seen.contains(&it.priority) {
            continue;
        }
        seen.push(it.priority);
        if it.priority == i32::from(RoutingPriority::High) {
            limits.high = thresholds;
        } else {
            limits.default = thresholds;
        }
    }
    limits.host_connections = it
        .per_host_thresholds
        .iter()
        .find(|it| it.priority == i32::from(RoutingPriority::Default))
        .and_then(|it| it.max_connections)
        .map(|it| it.value);
    limits
}

fn thresholds(it: &circuit_breakers::Thresholds, path: &str, notes: &mut Notes) -> Thresholds {
    let default = Thresholds::default();
    let number = |it: Option<UInt32Value>, default: u32| it.map_or(default, |it| it.value);
    let retries = it.retry_budget.as_ref().map_or_else(
        || {
            it.max_retries
                .map_or(default.retries, |most| retry::Limit::Most(most.value))
        },
        |it| {
            let default = Budget::default();
            let share = it.budget_percent.map_or(default.share, |percent| {
                Share::new(percent.value / 100.0).unwrap_or_else(|| {
                    let path = format!("{path}.retry_budget.budget_percent");
                    notes.invalid(path, format!("{} is not a percentage", percent.value));
                    default.share
                })
            });
            retry::Limit::Budget(Budget {
                share,
                least: number(it.min_retry_concurrency, default.least),
            })
        },
    );
    Thresholds {
        connections: number(it.max_connections, default.connections),
        pending: number(it.max_pending_requests, default.pending),
        requests: number(it.max_requests, default.requests),
        retries,
    }
}
