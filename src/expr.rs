//! The language of checks, guards and conditions: `p99[shop]{path: "/cart/*"}@steady < 1.2 * p99[shop]`.
//!
//! `parse.rs` reads a text, `metric.rs` holds the table of metrics and reads them off a [`crate::measure::Measured`],
//! `eval.rs` works out what an expression amounts to.

pub mod eval;
pub mod metric;
pub mod parse;
mod show;

pub use eval::{Context, Evaluated, State, evaluate};
pub(crate) use parse::bracketed;
pub use parse::{Parsed, literal as parse_literal, parse};
pub use show::show_literal;

use crate::expr::metric::Metric;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number with its unit.
    Literal(f64, Unit),
    /// A measured number.
    Metric(Metric),
    /// `- x`.
    Negate(Box<Expr>),
    /// `a + b` and its like.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// `a < b` and its like.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `not x`.
    Not(Box<Expr>),
    /// `a and b`.
    And(Box<Expr>, Box<Expr>),
    /// `a or b`.
    Or(Box<Expr>, Box<Expr>),
    /// `time_to(condition, hold: 5s)`: from the check's `from` until the condition has held so long.
    TimeTo {
        /// The condition, tested each second over the trailing `hold`.
        condition: Box<Expr>,
        /// How long it must hold.
        hold_us: u64,
    },
}

impl Expr {
    /// The metrics that it names, in order, so that their filters can be measured from the first request on.
    pub fn metrics(&self) -> Vec<&Metric> {
        match self {
            Self::Literal(..) => Vec::new(),
            Self::Metric(metric) => vec![metric],
            Self::Negate(inner)
            | Self::Not(inner)
            | Self::TimeTo {
                condition: inner, ..
            } => inner.metrics(),
            Self::Arithmetic(_, left, right)
            | Self::Compare(_, left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => {
                let mut metrics = left.metrics();
                metrics.extend(right.metrics());
                metrics
            }
        }
    }

    /// What it amounts to; an expression that was read fits in itself.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Literal(_, unit) => *unit,
            Self::Metric(metric) => {
                metric::known(&metric.name).map_or(Unit::Ratio, |spec| spec.unit)
            }
            Self::Negate(inner) => inner.unit(),
            Self::Arithmetic(operator, left, right) => {
                parse::combined(*operator, left.unit(), right.unit()).unwrap_or_else(|| left.unit())
            }
            Self::TimeTo { .. } => Unit::Micros,
            Self::Compare(..) | Self::Not(_) | Self::And(..) | Self::Or(..) => Unit::Bool,
        }
    }

    /// Whether `time_to` stands in it, so that a moment to count from is needed.
    pub fn has_time_to(&self) -> bool {
        match self {
            Self::TimeTo { .. } => true,
            Self::Literal(..) | Self::Metric(_) => false,
            Self::Negate(inner) | Self::Not(inner) => inner.has_time_to(),
            Self::Arithmetic(_, left, right)
            | Self::Compare(_, left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => left.has_time_to() || right.has_time_to(),
        }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// A share, 0 to 1.
    Share,
    /// Per second.
    PerSecond,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// A bare ratio.
    Ratio,
    /// A condition.
    Bool,
    /// Slower, the same or faster: 1, 0 or -1.
    Verdict,
}

impl Unit {
    /// Whether it can be reckoned with.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Bool | Self::Verdict)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Share => "share",
            Self::PerSecond => "per_s",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Bool => "bool",
            Self::Verdict => "verdict",
        }
    }
}

/// `+ - * /`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
}

/// `< <= > >= == !=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    More,
    /// `>=`.
    AtLeast,
    /// `==`.
    Equal,
    /// `!=`.
    Unequal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_has_the_unit_of_what_it_measures() {
        for (text, expected) in [
            ("p99[shop]", "us"),
            ("2 * p99[shop]", "us"),
            ("error_share[shop] - 0.5 * error_share[cart]", "share"),
            ("rps[shop] / rps[cart]", "ratio"),
            ("time_to(p99[shop] < 250ms, hold: 5s)", "us"),
            ("p99[shop] < 250ms", "bool"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.expr.unit().name(), expected, "{text}");
        }
    }
}
