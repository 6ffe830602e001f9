//! What units amount to together, and what they are in words.

use crate::expr::{Arithmetic, Unit};

/// The unit that two numbers share, if they do: a bare number counts things, and is a share as well.
pub(crate) fn common(a: Unit, b: Unit) -> Option<Unit> {
    match (a, b) {
        (a, b) if a == b => Some(a),
        (Unit::Ratio, other @ (Unit::Count | Unit::Share))
        | (other @ (Unit::Count | Unit::Share), Unit::Ratio) => Some(other),
        _ => None,
    }
}

fn product(a: Unit, b: Unit) -> Option<Unit> {
    use Unit::{Count, Ratio, Share};
    match (a, b) {
        // The weaker of both gives way: a bare number to a share, a share to a count.
        (Ratio | Share | Count, other) if rank(a) <= rank(b) => Some(other),
        (other, Ratio | Share | Count) if rank(b) <= rank(a) => Some(other),
        _ => None,
    }
}

/// The unit that two numbers give together, if they fit.
pub(in crate::expr) fn combined(operator: Arithmetic, a: Unit, b: Unit) -> Option<Unit> {
    if !a.is_number() || !b.is_number() {
        return None;
    }
    match operator {
        Arithmetic::Add | Arithmetic::Subtract => common(a, b),
        Arithmetic::Multiply => product(a, b),
        Arithmetic::Divide => quotient(a, b),
    }
}

/// How readily a unit gives way in a product.
fn rank(unit: Unit) -> u8 {
    match unit {
        Unit::Ratio => 0,
        Unit::Share => 1,
        Unit::Count => 2,
        Unit::Micros | Unit::PerSecond | Unit::Bytes | Unit::Bool | Unit::Verdict => 3,
    }
}

fn quotient(a: Unit, b: Unit) -> Option<Unit> {
    use Unit::{Count, Ratio, Share};
    match (a, b) {
        (a, b) if a == b => Some(Ratio),
        (a, Ratio | Share | Count) => Some(a),
        _ => None,
    }
}

/// What a unit is, in words.
pub(super) fn words(unit: Unit) -> &'static str {
    match unit {
        Unit::Micros => "a duration",
        Unit::Share => "a share",
        Unit::PerSecond => "a rate",
        Unit::Count => "a count",
        Unit::Bytes => "a size",
        Unit::Ratio => "a bare number",
        Unit::Bool => "a condition",
        Unit::Verdict => "a verdict",
    }
}

pub(super) fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Micros => "`250ms`",
        Unit::Share => "`1%`",
        Unit::PerSecond => "`400/s`",
        Unit::Bytes => "`64KiB`",
        Unit::Count | Unit::Ratio => "`5`",
        Unit::Bool => "`p99[shop] < 250ms`",
        Unit::Verdict => "`compare[candidate]`",
    }
}
