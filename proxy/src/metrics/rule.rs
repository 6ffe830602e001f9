//! What rules for faults and limits count.

use super::{
    block::{Block, Read, Value, block},
    count::Counter,
};

block!(
    /// Of a fault rule.
    Fault, "fault", "meshbed_fault", {
    /// Choices that were done.
    applied: Counter = "rq_applied",
    /// Choices after an earlier terminal effect.
    superseded: Counter = "rq_superseded",
    /// Choices beyond `max_active`.
    capped: Counter = "rq_capped",
    /// Choices whose client left before they were done.
    abandoned: Counter = "rq_abandoned",
    }
);

block!(
    /// Of a local rate limit.
    RateLimit, "http_local_rate_limit", "envoy_local_http_ratelimit_prefix", {
    /// Requests that were counted.
    enabled: Counter = "enabled",
    /// Requests for which there was a token.
    ok: Counter = "ok",
    /// Requests for which there was none.
    rate_limited: Counter = "rate_limited",
    /// Requests that were refused for it.
    enforced: Counter = "enforced",
    }
);
