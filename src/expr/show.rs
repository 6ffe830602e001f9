//! Shows an expression as it is written; what is shown reads as the same expression.

use std::fmt;

use super::{Arithmetic, Comparison, Expr, Unit, metric::Metric, parse::bracketed};

#[expect(
    clippy::float_cmp,
    reason = "what is shown must read as the very same number"
)]
/// A number with its unit, in the unit that people would choose, if nothing is lost by that: `250ms`, `5%`, `400/s`.
pub fn show_literal(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Micros => {
            for (name, factor) in [("m", 60e6), ("s", 1e6), ("ms", 1e3)] {
                let shown = number / factor;
                // Up to three decimals are read at a glance; what needs more is told in the smaller unit.
                if shown.abs() >= 1.0
                    && (shown * 1e3).fract() == 0.0
                    && shown * factor == number
                    && (name != "m" || shown.fract() == 0.0)
                {
                    return format!("{shown}{name}");
                }
            }
            format!("{number}us")
        }
        Unit::Share => format!("{}%", percent(number)),
        Unit::PerSecond => format!("{number}/s"),
        Unit::Bytes => format!("{number}B"),
        Unit::Count | Unit::Ratio | Unit::Bool | Unit::Verdict => format!("{number}"),
    }
}

#[expect(
    clippy::float_cmp,
    reason = "what is shown must read as the very same number"
)]
/// The shortest percentage that reads as this share.
fn percent(share: f64) -> String {
    (0..17)
        .map(|decimals| format!("{:.decimals$}", share * 100.0))
        .find(|text| {
            text.parse::<f64>()
                .is_ok_and(|percent| percent / 100.0 == share)
        })
        .unwrap_or_else(|| format!("{}", share * 100.0))
}

/// How tightly an expression binds; what binds less stands in parentheses.
fn strength(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(..) => 0,
        Expr::And(..) => 1,
        Expr::Not(_) => 2,
        Expr::Compare(..) => 3,
        Expr::Arithmetic(Arithmetic::Add | Arithmetic::Subtract, ..) => 4,
        Expr::Arithmetic(..) => 5,
        Expr::Negate(_) => 6,
        Expr::Literal(..) | Expr::Metric(_) | Expr::TimeTo { .. } => 7,
    }
}

struct At<'a>(&'a Expr, u8);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if strength(self.0) < self.1 {
            write!(f, "({})", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = strength(self);
        match self {
            Self::Literal(number, unit) => f.write_str(&show_literal(*number, *unit)),
            Self::Metric(metric) => write!(f, "{metric}"),
            Self::Negate(inner) => write!(f, "-{}", At(inner, own)),
            Self::Not(inner) => write!(f, "not {}", At(inner, own)),
            // Equals on the right would be read from the left.
            Self::Arithmetic(operator, left, right) => {
                let sign = match operator {
                    Arithmetic::Add => '+',
                    Arithmetic::Subtract => '-',
                    Arithmetic::Multiply => '*',
                    Arithmetic::Divide => '/',
                };
                write!(f, "{} {sign} {}", At(left, own), At(right, own + 1))
            }
            Self::Compare(comparison, left, right) => {
                write!(
                    f,
                    "{} {comparison} {}",
                    At(left, own + 1),
                    At(right, own + 1)
                )
            }
            Self::And(left, right) => write!(f, "{} and {}", At(left, own), At(right, own + 1)),
            Self::Or(left, right) => write!(f, "{} or {}", At(left, own), At(right, own + 1)),
            Self::TimeTo { condition, hold_us } => write!(
                f,
                "time_to({condition}, hold: {})",
                show_literal(*hold_us as f64, Unit::Micros)
            ),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
            Self::Unequal => "!=",
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(of) => f.write_str(&bracketed(&self.name, of))?,
            None => f.write_str(&self.name)?,
        }
        let status = self.filter.status.map(|status| match status {
            class @ 1..=9 => format!("status: {class}xx"),
            status => format!("status: {status}"),
        });
        let method = self
            .filter
            .method
            .as_deref()
            .map(|method| format!("method: {}", quoted(method)));
        let path = self
            .filter
            .path
            .as_deref()
            .map(|path| format!("path: {}", quoted(path)));
        let parts: Vec<String> = [status, method, path].into_iter().flatten().collect();
        if !parts.is_empty() {
            write!(f, "{{{}}}", parts.join(", "))?;
        }
        match &self.phase {
            Some(phase) => write!(f, "@{phase}"),
            None => Ok(()),
        }
    }
}

/// A text of a filter, in the quotes that it does not hold.
fn quoted(text: &str) -> String {
    let quote = if text.contains('"') { '\'' } else { '"' };
    format!("{quote}{text}{quote}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{expr::parse, measure::Filter};

    #[test]
    fn literals_show_in_the_unit_that_people_choose() {
        for (number, unit, shown) in [
            (250_000.0, Unit::Micros, "250ms"),
            (1_500_000.0, Unit::Micros, "1.5s"),
            (120_000_000.0, Unit::Micros, "2m"),
            (90_000_000.0, Unit::Micros, "90s"),
            (40.0, Unit::Micros, "40us"),
            (0.0, Unit::Micros, "0us"),
            (0.001, Unit::Share, "0.1%"),
            (0.07, Unit::Share, "7%"),
            (400.0, Unit::PerSecond, "400/s"),
            (65_536.0, Unit::Bytes, "65536B"),
            (1.2, Unit::Ratio, "1.2"),
        ] {
            assert_eq!(show_literal(number, unit), shown);
        }
    }

    fn id() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9-]{0,8}"
    }

    fn metric(names: &'static [&'static str]) -> impl Strategy<Value = Expr> {
        let filter = (
            proptest::option::of(prop_oneof![1_u16..=5, 100_u16..600]),
            proptest::option::of("[A-Z]{3,6}"),
            proptest::option::of("/[a-z*/ ,}'.-]{0,8}"),
        )
            .prop_map(|(status, method, path)| Filter {
                status,
                method,
                path,
            });
        (
            proptest::sample::select(names),
            id(),
            filter,
            proptest::option::of(id()),
        )
            .prop_map(|(name, of, filter, phase)| {
                let known = name != "delta.p50";
                Expr::Metric(Metric {
                    name: name.to_owned(),
                    of: Some(of.as_str().into()),
                    filter: if known { filter } else { Filter::default() },
                    phase: phase.map(|phase| phase.as_str().into()),
                })
            })
    }

    /// Durations that fit one another.
    fn duration() -> impl Strategy<Value = Expr> {
        let literal = prop_oneof![
            (0_u64..10_000_000_000).prop_map(|micros| Expr::Literal(micros as f64, Unit::Micros)),
            (0.0_f64..1e6).prop_map(|micros| Expr::Literal(micros, Unit::Micros)),
        ];
        let leaf = prop_oneof![
            literal,
            metric(&["p99", "p99.9", "service.p50", "delta.p50", "mean"])
        ];
        leaf.prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, b, add)| {
                    let operator = if add {
                        Arithmetic::Add
                    } else {
                        Arithmetic::Subtract
                    };
                    Expr::Arithmetic(operator, Box::new(a), Box::new(b))
                }),
                (inner.clone(), 0.0_f64..1e9, any::<bool>()).prop_map(|(a, number, multiply)| {
                    let operator = if multiply {
                        Arithmetic::Multiply
                    } else {
                        Arithmetic::Divide
                    };
                    Expr::Arithmetic(
                        operator,
                        Box::new(a),
                        Box::new(Expr::Literal(number, Unit::Ratio)),
                    )
                }),
                inner.prop_map(|inner| Expr::Negate(Box::new(inner))),
            ]
        })
    }

    fn share() -> impl Strategy<Value = Expr> {
        prop_oneof![
            (0_u32..1_000_000).prop_map(|millionth| {
                Expr::Literal(f64::from(millionth) / 10_000.0 / 100.0, Unit::Share)
            }),
            metric(&["error_share"]),
        ]
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        proptest::sample::select(&[
            Comparison::Less,
            Comparison::AtMost,
            Comparison::More,
            Comparison::AtLeast,
            Comparison::Equal,
            Comparison::Unequal,
        ])
    }

    fn condition() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            (comparison(), duration(), duration()).prop_map(|(how, a, b)| Expr::Compare(
                how,
                Box::new(a),
                Box::new(b)
            )),
            (comparison(), share(), share()).prop_map(|(how, a, b)| Expr::Compare(
                how,
                Box::new(a),
                Box::new(b)
            )),
        ];
        leaf.prop_recursive(3, 16, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Expr::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Expr::Or(Box::new(a), Box::new(b))),
                inner.prop_map(|inner| Expr::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(expr in prop_oneof![duration(), condition()]) {
            let shown = expr.to_string();
            let parsed = parse(&shown).map_err(|wrong| TestCaseError::fail(format!("{shown}: {wrong:?}")))?;
            prop_assert_eq!(parsed.expr, expr, "{}", shown);
        }

        #[test]
        fn time_to_reads_as_shown(condition in condition(), seconds in 1_u64..100) {
            let expr = Expr::TimeTo { condition: Box::new(condition), hold_us: seconds * 1_000_000 };
            let shown = expr.to_string();
            prop_assert_eq!(parse(&shown).unwrap().expr, expr);
        }

        #[test]
        fn garbage_never_panics(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn garbage_of_our_own_words_never_panics(
            words in proptest::collection::vec(
                proptest::sample::select(&[
                    "p99", "[shop]", "{", "}", "status:", "5xx", "@", "steady", "(", ")", "time_to(", "hold:", "5s", ",",
                    "<", "==", "and", "or", "not", "1", "%", "/s", "-", "+", "*", "/", ".", "\"", "'", "400/s", " ", "µs",
                ]),
                0..20,
            )
        ) {
            let text: String = words.concat();
            if let Err(wrong) = parse(&text) {
                // Every problem stands in the text, or right behind it.
                let length = text.chars().count();
                prop_assert!(!wrong.is_empty());
                prop_assert!(wrong.iter().all(|wrong| wrong.at <= length));
            }
        }
    }
}
