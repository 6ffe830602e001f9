//! How calls to a service are made: what the policy's keys mean to the sidecars.

use std::time::Duration;

use meshbed_proxy::{
    config::Forward,
    policy::{
        balance::{Balance, least_request, maglev, peak_ewma, ring_hash},
        breaker::Thresholds,
        health::{self, Check, Probe},
        mirror::SampleKey,
        outlier,
        rate_limit::Fill,
        retry::{self, Backoff, Budget, Limit, On},
        sticky::{self, By, Cookie},
    },
};

use super::{
    resolve::Resolver,
    value::{Item, Value},
};

/// How calls to a service are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// For the whole answer; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Which failures are tried again; `None`: none.
    pub retry: Option<retry::Policy>,
    /// Which replica is called.
    pub balance: Balance,
    /// What binds a request to a replica.
    pub sticky: Vec<sticky::Policy>,
    /// What may be under way.
    pub limits: Thresholds,
    /// When a replica is left out for a while.
    pub outlier: Option<outlier::Settings>,
    /// How replicas are asked whether they are well.
    pub health: Option<Check>,
    /// How many requests are admitted.
    pub rate_limit: Option<Fill>,
}

impl Default for Policy {
    /// Envoy's.
    fn default() -> Self {
        Self {
            timeout: Some(Forward::TIMEOUT),
            retry: None,
            balance: Balance::default(),
            sticky: Vec::new(),
            limits: Thresholds::default(),
            outlier: None,
            health: None,
            rate_limit: None,
        }
    }
}

impl Resolver<'_> {
    /// The policy of a service.
    pub(super) fn policy(&mut self, item: &Item) -> Policy {
        let Some(policy) = item.get("policy") else {
            return Policy::default();
        };
        if item.text("protocol") == Some("tcp") {
            for key in ["timeout", "retry", "rate_limit", "sticky"] {
                if let Some(value) = policy.get(key).filter(|value| value.given) {
                    self.tell(
                        value,
                        format!("`{key}` is about requests, and with `protocol: tcp` only bytes are seen"),
                        "leave it out, or another `protocol`",
                    );
                }
            }
        }
        let timeout = policy.duration("timeout");
        let mut limits = policy.get("breaker").and_then(limits).unwrap_or_default();
        let retry = policy.get("retry");
        if let Some(share) = retry.and_then(|retry| retry.share("budget")) {
            limits.retries = Limit::Budget(Budget {
                share,
                ..Budget::default()
            });
        }
        Policy {
            timeout: timeout.filter(|timeout| *timeout > Duration::ZERO),
            retry: retry.and_then(|retry| self.retry(retry)),
            balance: balance(policy.text("balance").unwrap_or_default()),
            sticky: self.sticky(policy),
            limits,
            outlier: policy.get("outlier").and_then(outlier),
            health: policy.get("health").and_then(health),
            rate_limit: policy.get("rate_limit").and_then(fill),
        }
    }

    fn retry(&mut self, item: &Item) -> Option<retry::Policy> {
        let on = On::parse(&item.texts("when").join(","));
        if on.is_empty() {
            self.tell(
                item,
                "`when` is empty: nothing would be tried again",
                "conditions such as `5xx` and `connect-failure`",
            );
        }
        let backoff = item.get("backoff")?;
        let Value::Span(base, max) = backoff.value else {
            return None;
        };
        if base.is_zero() || max < base {
            self.tell(
                backoff,
                "the wait before a retry must be above 0 and grow",
                "a span such as `25ms..250ms`",
            );
        }
        Some(retry::Policy {
            on,
            retries: item.whole("retries")? as u32,
            per_try_timeout: item.duration("per_try_timeout"),
            backoff: Backoff { base, max },
            ..retry::Policy::default()
        })
    }

    /// What binds requests to replicas. Where a policy needs it and there is none, every request would go its own way.
    fn sticky(&mut self, policy: &Item) -> Vec<sticky::Policy> {
        let hashes = matches!(policy.text("balance"), Some("ring_hash" | "maglev"));
        let Some(item) = policy.get("sticky") else {
            if let (true, Some(balance)) = (hashes, policy.get("balance")) {
                self.tell(
                    balance,
                    "nothing says what requests are bound by",
                    "write `sticky: header:NAME` or `sticky: cookie:NAME` beside it",
                );
            }
            return Vec::new();
        };
        if !hashes {
            self.tell(
                item,
                "only `ring_hash` and `maglev` bind requests to replicas",
                "write `balance: ring_hash` beside it",
            );
        }
        let text = item.as_text().unwrap_or_default();
        let by = match Self::request_key(text) {
            Some(SampleKey::Header(name)) => By::Header {
                name,
                rewrite: None,
            },
            Some(SampleKey::Cookie(name)) => By::Cookie(Cookie {
                name,
                ..Cookie::default()
            }),
            Some(SampleKey::Ordinal) | None => {
                self.tell(
                    item,
                    format!("`{text}` is not accepted"),
                    "accepted: `header:NAME` or `cookie:NAME`",
                );
                return Vec::new();
            }
        };
        vec![sticky::Policy {
            by,
            terminal: false,
        }]
    }
}

fn balance(word: &str) -> Balance {
    match word {
        "least_request" => Balance::LeastRequest(least_request::Settings::default()),
        "random" => Balance::Random,
        "ring_hash" => Balance::RingHash(ring_hash::Settings::default()),
        "maglev" => Balance::Maglev(maglev::Settings::default()),
        "peak_ewma" => Balance::PeakEwma(peak_ewma::Settings::default()),
        _ => Balance::default(),
    }
}

fn limits(item: &Item) -> Option<Thresholds> {
    let limit = |name: &str| item.whole(name).map(|limit| limit as u32);
    Some(Thresholds {
        connections: limit("connections")?,
        pending: limit("pending")?,
        requests: limit("requests")?,
        retries: Limit::Most(limit("retries")?),
    })
}

fn outlier(item: &Item) -> Option<outlier::Settings> {
    Some(outlier::Settings {
        consecutive_5xx: item.whole("consecutive_5xx")? as u32,
        base: item.duration("ejection")?,
        interval: item.duration("every")?,
        most: (item.share("max")?.get() * 100.0).round() as u32,
        always_one: true,
        ..outlier::Settings::default()
    })
}

fn health(item: &Item) -> Option<Check> {
    let interval = item.duration("every")?;
    Some(Check {
        probe: Probe::Http(health::Http {
            path: item.text("path")?.to_owned(),
            ..health::Http::default()
        }),
        timeout: item.duration("timeout")?,
        interval,
        // A run is short: a replica is watched from its first second on.
        no_traffic_interval: interval,
        unhealthy_threshold: item.whole("unhealthy_after")? as u32,
        healthy_threshold: item.whole("healthy_after")? as u32,
        ..Check::default()
    })
}

/// The bucket that gives this rate, and holds so much.
fn fill(item: &Item) -> Option<Fill> {
    let Value::Rate(rate) = item.get("rate")?.value else {
        return None;
    };
    Some(Fill {
        most: item.whole("burst").unwrap_or(rate.get() as u64).max(1),
        // One at a time, so that the rate is kept within a second, too.
        tokens: 1,
        interval_s: 1.0 / rate.get(),
    })
}
