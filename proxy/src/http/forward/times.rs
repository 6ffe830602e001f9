//! How long a request has, and how long each of its attempts.

use std::time::Duration;

use http::HeaderValue;

use super::wish::Wish;
use crate::snapshot::Forward;

/// How long a request has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// From the request's end to the answer's.
    pub(super) whole: Option<Duration>,
    /// An attempt, from there or from its connection on, to the answer's head.
    pub(super) per_try: Option<Duration>,
    /// An attempt on which nothing moves.
    pub(super) per_try_idle: Option<Duration>,
    /// An attempt whose time is over goes on.
    pub(super) hedge: bool,
}

impl Times {
    /// The route's, and what its client asks for instead.
    pub(super) fn of(forward: &Forward, wish: &Wish) -> Self {
        let asked = |wish: Option<Duration>, route| match wish {
            Some(wish) => (!wish.is_zero()).then_some(wish),
            None => route,
        };
        let policy = &forward.tries.retry.policy;
        let whole = asked(wish.timeout, forward.timeout);
        let per_try = asked(wish.per_try_timeout, policy.per_try_timeout)
            // One that is no shorter has no effect.
            .filter(|per_try| whole.is_none_or(|whole| *per_try < whole));
        Self {
            whole,
            per_try,
            per_try_idle: policy.per_try_idle_timeout,
            hedge: wish.hedge.unwrap_or(forward.tries.hedge),
        }
    }

    /// What the upstream is told in `x-envoy-expected-rq-timeout-ms`, when so much of the time has passed.
    pub(super) fn expected(&self, passed: Duration) -> Option<HeaderValue> {
        let attempt = self.per_try.filter(|_| !self.hedge);
        let left = self
            .whole
            // Zero would mean forever.
            .map(|whole| whole.saturating_sub(passed).max(Duration::from_millis(1)));
        let expected = match (attempt, left) {
            (Some(attempt), Some(left)) => attempt.min(left),
            (attempt, left) => attempt.or(left)?,
        };
        u64::try_from(expected.as_millis())
            .ok()
            .map(HeaderValue::from)
    }
}
