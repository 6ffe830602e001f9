//! What a request must look like for a route, a fault or a mirror to apply.

/// Conditions on a request; all must hold. The default holds for every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// Any of these methods; empty: all.
    pub methods: Vec<String>,
    /// The path, without its query.
    pub path: Option<Text>,
    /// Headers, by lower-case name; `:authority`, `:path` and `:method` as Envoy names them.
    pub headers: Vec<Named>,
    /// Query parameters.
    pub query: Vec<Named>,
}

/// A condition on a named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of the header or parameter.
    pub name: String,
    /// What it must be; `None`: present, whatever it is.
    pub value: Option<Text>,
    /// The condition must not hold.
    pub invert: bool,
    /// What an absent value counts as; `None`: an absent value fails (and, inverted, holds).
    pub absent_as: Option<String>,
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// How the text is compared.
    pub how: How,
    /// Compared without regard to ASCII case.
    pub ignore_case: bool,
}

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It begins with this at a path separator: `/api` holds for `/api` and `/api/x`, not for `/apix`.
    PathPrefix(String),
    /// It ends with this.
    Suffix(String),
    /// It contains this.
    Contains(String),
    /// The whole of it matches this RE2-like expression.
    Regex(String),
    /// A whole match where `*` is any run of characters: `/cart/*`.
    Glob(String),
    /// It is a number in this half-open range.
    Range(i64, i64),
}
