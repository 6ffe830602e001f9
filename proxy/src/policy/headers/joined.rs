//! Headers of which a message has one row. Where there are several, their values are one, as in Envoy: those that it knows by
//! name. All others keep their rows.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Of requests, in the order of their names.
const REQUEST: [&str; 45] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Of answers, in the order of their names.
const ANSWER: [&str; 28] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

/// What headers belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A request.
    Request,
    /// An answer.
    Answer,
}

impl Of {
    /// Whether such a message has one row of this header.
    pub fn joins(self, name: &HeaderName) -> bool {
        let names = match self {
            Self::Request => &REQUEST[..],
            Self::Answer => &ANSWER,
        };
        names.binary_search(&name.as_str()).is_ok()
    }
}

/// Joins what came in several rows. Two comparisons where nothing did.
pub fn join(of: Of, headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let several =
        |name: &&HeaderName| of.joins(name) && headers.get_all(*name).iter().nth(1).is_some();
    let names: Vec<_> = headers.keys().filter(several).cloned().collect();
    for name in names {
        let rows = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        let rows: Vec<_> = rows.filter(|row| !row.is_empty()).collect();
        // Values with commas between them are one that a header can have.
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(rows.join(&b','))) {
            headers.insert(name, value);
        }
    }
}

/// Appends to the row that is there, or adds one.
pub(super) fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    let value = match headers.get(name) {
        Some(known) => joined(known, &value),
        None => value,
    };
    headers.insert(name.clone(), value);
}

fn joined(first: &HeaderValue, then: &HeaderValue) -> HeaderValue {
    if first.is_empty() {
        return then.clone();
    }
    if then.is_empty() {
        return first.clone();
    }
    let all = [first.as_bytes(), b",", then.as_bytes()].concat();
    // Two values with a comma between them are one that a header can have.
    HeaderValue::from_bytes(&all).unwrap_or_else(|_| first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_to_be_found() {
        assert!(REQUEST.is_sorted() && ANSWER.is_sorted());
        assert!(Of::Request.joins(&HeaderName::from_static("user-agent")));
        assert!(Of::Answer.joins(&HeaderName::from_static("vary")));
        assert!(!Of::Request.joins(&HeaderName::from_static("vary")));
    }

    #[test]
    fn rows_of_a_header_that_has_one_become_one() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("x-own", "1"),
            ("accept", ""),
            ("set-cookie", "a=1"),
            ("accept", "b"),
            ("x-own", "2"),
            ("set-cookie", "b=2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        join(Of::Request, &mut headers);
        let rows = |name: &str| -> Vec<_> { headers.get_all(name).iter().cloned().collect() };
        assert_eq!(rows("accept"), ["a,b"]);
        assert_eq!(rows("x-own"), ["1", "2"]);
        assert_eq!(rows("set-cookie"), ["a=1", "b=2"]);
    }
}
