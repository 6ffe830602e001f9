//! What a client of the mesh asks of its own request, by headers. From others these headers are only taken off.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::policy::retry;

/// Every header that is taken off is named so.
const PREFIX: &str = "x-envoy-";
const RETRY_ON: &str = "x-envoy-retry-on";
const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
const MAX_RETRIES: &str = "x-envoy-max-retries";
const STATUSES: &str = "x-envoy-retriable-status-codes";
const HEADERS: &str = "x-envoy-retriable-header-names";
const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
const PER_TRY_TIMEOUT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
const HEDGE: &str = "x-envoy-hedge-on-per-try-timeout";
const ALL: [&str; 8] = [
    RETRY_ON,
    RETRY_GRPC_ON,
    MAX_RETRIES,
    STATUSES,
    HEADERS,
    TIMEOUT,
    PER_TRY_TIMEOUT,
    HEDGE,
];

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Of retries.
    pub(super) retry: retry::Wish,
    /// In place of the route's timeout; zero: none.
    pub(super) timeout: Option<Duration>,
    /// In place of the route's timeout of an attempt.
    pub(super) per_try_timeout: Option<Duration>,
    /// In place of the route's setting.
    pub(super) hedge: Option<bool>,
}

/// Takes the wishes off the head; they are heard where the client is `internal`. `respects`: the timeout that a sidecar
/// before this one has told of comes before what the client has asked for.
pub(super) fn take(headers: &mut HeaderMap, internal: bool, respects: bool) -> Wish {
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Wish::default();
    }
    let wish = if internal {
        Wish::read(headers, respects)
    } else {
        Wish::default()
    };
    for name in ALL {
        headers.remove(name);
    }
    wish
}

impl Wish {
    /// What cannot be read is not asked for.
    fn read(headers: &HeaderMap, respects: bool) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name| text(name)?.trim().parse::<u32>().ok();
        let millis = |name| number(name).map(|ms| Duration::from_millis(ms.into()));
        let words = |name| text(name).unwrap_or_default().split(',').map(str::trim);
        Self {
            retry: retry::Wish {
                on: retry::On::parse_http(text(RETRY_ON).unwrap_or_default()).or(
                    retry::On::parse_grpc(text(RETRY_GRPC_ON).unwrap_or_default()),
                ),
                retries: number(MAX_RETRIES),
                statuses: words(STATUSES).filter_map(|it| it.parse().ok()).collect(),
                headers: words(HEADERS)
                    .filter_map(|it| HeaderName::try_from(it).ok())
                    .collect(),
            },
            // As Envoy: an expected timeout that cannot be read leaves the route's.
            timeout: if respects && headers.contains_key(EXPECTED) {
                millis(EXPECTED)
            } else {
                millis(TIMEOUT)
            },
            per_try_timeout: millis(PER_TRY_TIMEOUT),
            hedge: text(HEDGE).map(|value| value == "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn wishes_are_heard_from_within_and_passed_on_by_nobody() {
        let asked = [
            ("x-envoy-retry-on", "5xx,often"),
            ("x-envoy-max-retries", "3"),
            ("x-envoy-retriable-status-codes", "418, 425,x"),
            ("x-envoy-retriable-header-names", "X-Again"),
            ("x-envoy-upstream-rq-timeout-ms", "300"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "junk"),
            ("x-envoy-hedge-on-per-try-timeout", "true"),
            ("x-other", "stays"),
        ];
        for internal in [true, false] {
            let mut head = headers(&asked);
            let wish = take(&mut head, internal, false);
            assert_eq!(head.len(), 1, "{head:?}");
            assert_eq!(wish.retry.on == retry::On::SERVER_ERROR, internal);
            assert_eq!(wish.retry.retries, internal.then_some(3));
            assert_eq!(wish.retry.statuses.len(), if internal { 2 } else { 0 });
            assert_eq!(wish.retry.headers.len(), usize::from(internal));
            let timeout = internal.then_some(Duration::from_millis(300));
            assert_eq!((wish.timeout, wish.per_try_timeout), (timeout, None));
            assert_eq!(wish.hedge, internal.then_some(true));
        }
    }
}
