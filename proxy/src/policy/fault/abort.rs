//! An answer given instead of the upstream's.

/// What a chosen request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; `None`: Envoy's `fault filter abort`.
    pub body: Option<String>,
}
