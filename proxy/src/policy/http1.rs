//! How HTTP/1 is spoken, on either side.

use std::time::Duration;

/// Settings of HTTP/1 connections. The defaults are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http1 {
    /// The host of HTTP/1.0 requests that name none; `None`: they are refused.
    pub default_host: Option<String>,
    /// A target may be a whole URL, whose host counts.
    pub absolute_targets: bool,
    /// Trailers are passed on; else they are dropped.
    pub trailers: bool,
    /// A message with both a length and chunks is read by its chunks; else it is refused.
    pub chunked_length: bool,
    /// Any token is a method; else those that are registered, and some that are in use.
    pub custom_methods: bool,
    /// The endpoint answers `expect: 100-continue`; else it is answered here.
    pub pass_continue: bool,
    /// How the names of headers are written.
    pub names: Names,
    /// What becomes of a client's headers with an underscore in their name.
    pub underscores: Underscores,
    /// Most headers of a head that is read.
    pub max_headers: u32,
    /// Longest head of an answer, in bytes.
    pub max_answer_head: usize,
    /// A connection is closed after so many requests; `None`: no bound.
    pub max_requests: Option<u64>,
    /// A connection takes no requests after so long; `None`: no bound.
    pub max_age: Option<Duration>,
    /// What is left of a connection's life when it takes no requests any more.
    pub drain: Duration,
    /// So long a client that is told to close may take to read its answer; zero: it is closed at once.
    pub delayed_close: Duration,
}

/// How the names of headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// In lower case.
    #[default]
    Lower,
    /// `Each-Word` with a capital.
    Words,
    /// As the peer on the other side has written them.
    AsSent,
}

/// What becomes of headers with an underscore in their name: some services take it for a hyphen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// They are headers like others.
    #[default]
    Allow,
    /// They are left out.
    Drop,
    /// Their request is refused.
    Reject,
}

impl Http1 {
    /// Envoy's bound on the number of headers.
    pub const MAX_HEADERS: u32 = 100;
    /// Envoy's bound on an answer's head.
    pub const MAX_ANSWER_HEAD: usize = 80 << 10;
    /// Envoy's `drain_timeout`.
    pub const DRAIN: Duration = Duration::from_secs(5);
    /// Envoy's `delayed_close_timeout`.
    pub const DELAYED_CLOSE: Duration = Duration::from_secs(1);
}

impl Default for Http1 {
    fn default() -> Self {
        Self {
            default_host: None,
            absolute_targets: true,
            trailers: false,
            chunked_length: false,
            custom_methods: false,
            pass_continue: false,
            names: Names::Lower,
            underscores: Underscores::Allow,
            max_headers: Self::MAX_HEADERS,
            max_answer_head: Self::MAX_ANSWER_HEAD,
            max_requests: None,
            max_age: None,
            drain: Self::DRAIN,
            delayed_close: Self::DELAYED_CLOSE,
        }
    }
}
