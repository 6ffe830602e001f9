//! What the proxy says of itself.

/// What the proxy says of itself in messages that pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// An answer's own `server` header stays.
    pub server_if_absent: bool,
    /// Appended to `via`.
    pub via: Option<String>,
    /// Neither side is told what was rewritten, and how long it takes (`x-envoy-...`).
    pub quiet: bool,
    /// The timeout that a sidecar before this one expects is the request's, whatever its route says.
    pub respects_expected_timeout: bool,
}
