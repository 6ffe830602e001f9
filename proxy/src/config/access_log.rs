//! Where a line is written for each request, which requests, and what it says.

use std::path::PathBuf;

use crate::policy::{
    format::{
        Format,
        json::{Json, Style},
    },
    matcher::Named,
};

/// An access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub target: Target,
    /// What they say, with their line end.
    pub line: Line,
    /// Which requests; `None`: all.
    pub filter: Option<Filter>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// To the end of this file, which is made where it is missing.
    File(PathBuf),
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Text.
    Text {
        /// Its format.
        format: Format,
        /// What stands for a value that there is not.
        unset: &'static str,
    },
    /// JSON.
    Json {
        /// Its format.
        format: Json,
        /// How values are written.
        style: Style,
    },
}

/// Which requests are logged.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// By status; 0: no answer.
    Status(Comparison),
    /// By duration in milliseconds.
    Duration(Comparison),
    /// Those that no health check sent: all, since none is answered here.
    NotHealthCheck,
    /// Those that are traced: none, since nothing is traced.
    Traceable,
    /// A share of them: by their request id, or by chance where they have none or `independent` is set.
    Share {
        /// So many
        numerator: u32,
        /// of so many; above 0.
        denominator: u32,
        /// Not by the request id.
        independent: bool,
    },
    /// All hold.
    All(Vec<Filter>),
    /// One holds.
    Any(Vec<Filter>),
    /// By a header of the request.
    Header(Named),
    /// With one of these flags; with any, where none is named.
    Flags(Vec<String>),
    /// By gRPC status, HTTP's translated.
    GrpcStatus {
        /// These.
        statuses: Vec<u32>,
        /// All but these.
        exclude: bool,
    },
}

/// A number held against another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub how: Compare,
    /// With what.
    pub value: u64,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// At least.
    AtLeast,
    /// At most.
    AtMost,
}

impl AccessLog {
    /// Envoy's default line into a file.
    pub fn to_file(path: impl Into<PathBuf>) -> Self {
        Self {
            target: Target::File(path.into()),
            line: Line::default(),
            filter: None,
        }
    }
}

impl Default for Line {
    /// Envoy's.
    fn default() -> Self {
        Self::Text {
            // The tests compile it: it is a constant.
            format: Format::compile(Format::DEFAULT).unwrap_or_else(|_| Format::literal("\n")),
            unset: "-",
        }
    }
}

impl Comparison {
    /// Whether the number stands so to the value.
    pub fn holds(self, number: u64) -> bool {
        match self.how {
            Compare::Equal => number == self.value,
            Compare::NotEqual => number != self.value,
            Compare::AtLeast => number >= self.value,
            Compare::AtMost => number <= self.value,
        }
    }
}
