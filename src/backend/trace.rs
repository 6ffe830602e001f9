//! What a request carries inward, and what tells it from others.

use http::HeaderMap;
use http::header::HeaderName;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Headers that every builtin passes on to the peers it calls for a request.
const CARRIED: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// The trace context of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    carried: HeaderMap,
}

impl Trace {
    /// Takes the context out of a request's headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut carried = HeaderMap::with_capacity(CARRIED.len());
        for name in CARRIED {
            if let Some(value) = headers.get(&name) {
                carried.insert(name, value.clone());
            }
        }
        Self { carried }
    }

    /// Writes the context into the headers of a call.
    pub(super) fn carry(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.carried {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The 32 hex digits of the trace id, when there is a well-formed `traceparent`.
    pub(super) fn id(&self) -> Option<&str> {
        let value = self.carried.get("traceparent")?.to_str().ok()?;
        let id = value.split('-').nth(1)?;
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }

    /// A number that is the same for the same request of a schedule on every side and in every run: the low 48 bits of
    /// the trace id are the request's ordinal. Falls back to `x-request-id`, then to nothing.
    pub(super) fn ordinal(&self) -> Option<u64> {
        let low = self
            .id()
            .and_then(|id| id.get(20..))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        low.or_else(|| {
            self.carried
                .get("x-request-id")
                .map(|id| xxh3_64_with_seed(id.as_bytes(), 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_ordinal_is_the_low_48_bits_of_the_trace_id() {
        let trace = Trace::of(&headers(&[(
            "traceparent",
            "00-aaaaaaaaaa0200000abc00000000002a-0000000000000001-01",
        )]));
        assert_eq!(trace.ordinal(), Some(42));
    }

    #[test]
    fn a_malformed_traceparent_is_no_trace_id() {
        for bad in [
            "",
            "00-12-34-01",
            "00-zzzzzzzzzz0200000abc00000000002a-01-01",
        ] {
            assert_eq!(
                Trace::of(&headers(&[("traceparent", bad)])).id(),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn only_the_context_is_carried() {
        let trace = Trace::of(&headers(&[("x-request-id", "r1"), ("cookie", "a=b")]));
        let mut call = HeaderMap::new();
        trace.carry(&mut call);
        assert_eq!(call, headers(&[("x-request-id", "r1")]));
    }
}
