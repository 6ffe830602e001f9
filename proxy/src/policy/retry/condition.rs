//! What is worth another try: a set of Envoy's `retry_on` words.

use super::Reset;

/// A set of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct On(u32);

impl On {
    /// None.
    pub const NOTHING: Self = Self(0);
    /// `5xx`: any such answer, and none.
    pub const SERVER_ERROR: Self = Self(1);
    /// `gateway-error`: 502, 503, 504, and no answer.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `reset`: no answer.
    pub const RESET: Self = Self(1 << 2);
    /// `reset-before-request`: the request was not sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// `connect-failure`: no connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// `refused-stream`: HTTP/2's `REFUSED_STREAM`.
    pub const REFUSED_STREAM: Self = Self(1 << 5);
    /// `retriable-4xx`: 409.
    pub const CONFLICT: Self = Self(1 << 6);
    /// `retriable-status-codes`: those of the policy.
    pub const STATUSES: Self = Self(1 << 7);
    /// `retriable-headers`: those of the policy.
    pub const HEADERS: Self = Self(1 << 8);
    /// `envoy-ratelimited`: the header `x-envoy-ratelimited`.
    pub const RATE_LIMITED: Self = Self(1 << 9);
    /// `http3-post-connect-failure`, which cannot happen here.
    pub const HTTP3: Self = Self(1 << 10);

    /// The words of `x-envoy-retry-on`.
    const HTTP_WORDS: &'static [(&'static str, Self)] = &[
        ("5xx", Self::SERVER_ERROR),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-4xx", Self::CONFLICT),
        ("retriable-status-codes", Self::STATUSES),
        ("retriable-headers", Self::HEADERS),
        ("envoy-ratelimited", Self::RATE_LIMITED),
        ("http3-post-connect-failure", Self::HTTP3),
    ];

    /// The words of `x-envoy-retry-grpc-on`, and the statuses that they mean.
    const GRPC_WORDS: &'static [(&'static str, Self, u32)] = &[
        ("cancelled", Self(1 << 16), 1),
        ("deadline-exceeded", Self(1 << 17), 4),
        ("resource-exhausted", Self(1 << 18), 8),
        ("internal", Self(1 << 19), 13),
        ("unavailable", Self(1 << 20), 14),
    ];

    /// Reads a policy's `retry_on`; as in Envoy, words that it does not know mean nothing.
    pub fn parse(words: &str) -> Self {
        Self::parse_http(words).or(Self::parse_grpc(words))
    }

    /// Reads `x-envoy-retry-on`.
    pub fn parse_http(words: &str) -> Self {
        let known = Self::HTTP_WORDS.iter().map(|(word, on)| (*word, *on));
        Self::read(words, &known)
    }

    /// Reads `x-envoy-retry-grpc-on`.
    pub fn parse_grpc(words: &str) -> Self {
        let known = Self::GRPC_WORDS.iter().map(|(word, on, _)| (*word, *on));
        Self::read(words, &known)
    }

    fn read(words: &str, known: &(impl Iterator<Item = (&'static str, Self)> + Clone)) -> Self {
        words
            .split(',')
            .map(str::trim)
            .filter_map(|word| known.clone().find(|(name, _)| *name == word))
            .fold(Self::NOTHING, |all, (_, on)| all.or(on))
    }

    /// Both sets together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All of these are in it.
    pub fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// None is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// An end without an answer is worth another try.
    pub(super) fn has_reset(self, reset: Reset) -> bool {
        let any = Self::SERVER_ERROR.or(Self::GATEWAY_ERROR).or(Self::RESET).0;
        let more = match reset {
            Reset::Overflow => return false,
            Reset::Connect => Self::CONNECT_FAILURE.or(Self::RESET_BEFORE_REQUEST),
            Reset::Unsent => Self::RESET_BEFORE_REQUEST,
            Reset::Refused => Self::REFUSED_STREAM,
            Reset::Broken | Reset::TimedOut => Self::NOTHING,
        };
        self.0 & (any | more.0) != 0
    }

    /// A gRPC status is worth another try.
    pub(super) fn has_grpc(self, status: Option<u32>) -> bool {
        let word = Self::GRPC_WORDS
            .iter()
            .find(|(_, _, code)| Some(*code) == status);
        word.is_some_and(|(_, on, _)| self.has(*on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_others_mean_nothing() {
        assert_eq!(
            On::parse("5xx, reset ,unavailable,often"),
            On::SERVER_ERROR
                .or(On::RESET)
                .or(On::parse_grpc("unavailable"))
        );
        assert!(On::parse_http("unavailable").is_empty());
        assert!(On::parse_grpc("5xx").is_empty());
        assert!(On::parse("").is_empty());
    }
}
