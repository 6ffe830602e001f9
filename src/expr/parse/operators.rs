//! Operators, from the weakest to the strongest, and whether what they join fits.

use super::{
    Parser, Read, Told, Typed,
    unit::{combined, common, example, words},
};
use crate::expr::{Arithmetic, Comparison, Expr, Unit};

/// What to do with a verdict.
const VERDICT: &str = "it stands alone in `that` of a check, with `not: regressed` beside it";

impl Parser {
    pub(super) fn or(&mut self) -> Read {
        self.deeper()?;
        let mut left = self.and()?;
        while self.keyword("or") {
            let right = self.and()?;
            left = self.logic(left, right, Expr::Or, "or");
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Read {
        let mut left = self.not()?;
        while self.keyword("and") {
            let right = self.not()?;
            left = self.logic(left, right, Expr::And, "and");
        }
        Ok(left)
    }

    fn logic(
        &mut self,
        left: Typed,
        right: Typed,
        make: fn(Box<Expr>, Box<Expr>) -> Expr,
        word: &str,
    ) -> Typed {
        for side in [&left, &right] {
            self.must_be_condition(side, word);
        }
        Typed {
            begin: left.begin,
            end: right.end,
            unknown: left.unknown || right.unknown,
            expr: make(Box::new(left.expr), Box::new(right.expr)),
            unit: Unit::Bool,
        }
    }

    pub(super) fn must_be_condition(&mut self, typed: &Typed, word: &str) {
        if typed.unit != Unit::Bool && !typed.unknown {
            self.tell(
                typed.begin,
                typed.end - typed.begin,
                format!("`{word}` needs a condition, this is {}", words(typed.unit)),
                "a comparison such as `p99[shop] < 250ms`",
            );
        }
    }

    fn not(&mut self) -> Read {
        self.blanks();
        let begin = self.at;
        if self.keyword("not") {
            self.deeper()?;
            let inner = self.not()?;
            self.depth -= 1;
            self.must_be_condition(&inner, "not");
            return Ok(Typed {
                begin,
                end: inner.end,
                unknown: inner.unknown,
                expr: Expr::Not(Box::new(inner.expr)),
                unit: Unit::Bool,
            });
        }
        self.compare()
    }

    fn compare(&mut self) -> Read {
        let left = self.sum()?;
        self.blanks();
        let at = self.at;
        let Some(comparison) = self.comparison() else {
            return Ok(left);
        };
        let right = self.sum()?;
        if left.unknown || right.unknown {
            // What it was to be is not known.
        } else if left.unit == Unit::Verdict || right.unit == Unit::Verdict {
            self.tell(at, 1, "a verdict cannot be compared", VERDICT);
        } else if left.unit == Unit::Bool || right.unit == Unit::Bool {
            self.tell(
                at,
                1,
                "a condition cannot be compared",
                "`and`, `or` and `not` join conditions",
            );
        } else if common(left.unit, right.unit).is_none() {
            self.misfit(&left, &right, "compared with");
        }
        Ok(Typed {
            begin: left.begin,
            end: right.end,
            // Whatever its sides amount to, it is a condition.
            unknown: false,
            expr: Expr::Compare(comparison, Box::new(left.expr), Box::new(right.expr)),
            unit: Unit::Bool,
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let (comparison, length) = match (self.peek()?, self.peek_at(1)) {
            ('<', Some('=')) => (Comparison::AtMost, 2),
            ('>', Some('=')) => (Comparison::AtLeast, 2),
            ('=', Some('=')) => (Comparison::Equal, 2),
            ('!', Some('=')) => (Comparison::Unequal, 2),
            ('<', _) => (Comparison::Less, 1),
            ('>', _) => (Comparison::More, 1),
            ('=', _) => {
                self.tell(
                    self.at,
                    1,
                    "`=` is no comparison",
                    "equality is written `==`",
                );
                (Comparison::Equal, 1)
            }
            _ => return None,
        };
        self.at += length;
        Some(comparison)
    }

    /// Says that two units do not fit.
    fn misfit(&mut self, left: &Typed, right: &Typed, how: &str) {
        let bare = |typed: &Typed| matches!(typed.expr, Expr::Literal(_, Unit::Ratio));
        let verdict = [left, right].iter().any(|side| side.unit == Unit::Verdict);
        let (begin, end, help) = if verdict {
            (left.begin, right.end, VERDICT.to_owned())
        } else if bare(right) {
            (
                right.begin,
                right.end,
                format!("a unit is missing: {}", example(left.unit)),
            )
        } else if bare(left) {
            (
                left.begin,
                left.end,
                format!("a unit is missing: {}", example(right.unit)),
            )
        } else {
            (
                left.begin,
                right.end,
                "both sides need the same unit".to_owned(),
            )
        };
        self.tell(
            begin,
            end - begin,
            format!("{} cannot be {how} {}", words(left.unit), words(right.unit)),
            help,
        );
    }

    fn sum(&mut self) -> Read {
        let mut left = self.product()?;
        loop {
            self.blanks();
            let operator = match self.peek() {
                Some('+') => Arithmetic::Add,
                Some('-') => Arithmetic::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.product()?;
            let unit = combined(operator, left.unit, right.unit);
            if unit.is_none() && !left.unknown && !right.unknown {
                let how = if operator == Arithmetic::Add {
                    "added to"
                } else {
                    "reduced by"
                };
                self.misfit(&left, &right, how);
            }
            left = join(operator, left, right, unit);
        }
    }

    fn product(&mut self) -> Read {
        let mut left = self.sign()?;
        loop {
            self.blanks();
            let operator = match self.peek() {
                Some('*') => Arithmetic::Multiply,
                Some('/') => Arithmetic::Divide,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.sign()?;
            let unit = combined(operator, left.unit, right.unit);
            if unit.is_none() && !left.unknown && !right.unknown {
                let how = if operator == Arithmetic::Multiply {
                    "multiplied with"
                } else {
                    "divided by"
                };
                self.tell(
                    left.begin,
                    right.end - left.begin,
                    format!("{} cannot be {how} {}", words(left.unit), words(right.unit)),
                    "one of both must be a bare number, or, to divide, of the same unit",
                );
            }
            left = join(operator, left, right, unit);
        }
    }

    fn sign(&mut self) -> Read {
        self.blanks();
        let begin = self.at;
        if !self.eat('-') {
            return self.primary();
        }
        self.deeper()?;
        let inner = self.sign()?;
        self.depth -= 1;
        if inner.unit == Unit::Verdict {
            self.tell(begin, 1, "a verdict has no sign", VERDICT);
        } else if inner.unit == Unit::Bool {
            self.tell(
                begin,
                1,
                "a condition has no sign",
                "`not` turns a condition around",
            );
        }
        Ok(Typed {
            begin,
            end: inner.end,
            unit: inner.unit,
            unknown: inner.unknown,
            expr: Expr::Negate(Box::new(inner.expr)),
        })
    }

    fn primary(&mut self) -> Read {
        self.blanks();
        let begin = self.at;
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.or()?;
                self.expect(')', "every `(` needs its `)`")?;
                Ok(Typed {
                    begin,
                    end: self.at,
                    ..inner
                })
            }
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let (number, unit) = self.number()?;
                Ok(Typed {
                    expr: Expr::Literal(number, unit),
                    unit,
                    unknown: false,
                    begin,
                    end: self.at,
                })
            }
            Some(c) if c.is_ascii_alphabetic() => self.word(),
            _ => {
                let found = self.found();
                self.tell(
                    begin,
                    1,
                    format!("a value is missing before {found}"),
                    "a metric such as `p99[shop]`, or a number with its unit such as `250ms`",
                );
                Err(Told)
            }
        }
    }
}

fn join(operator: Arithmetic, left: Typed, right: Typed, unit: Option<Unit>) -> Typed {
    Typed {
        begin: left.begin,
        end: right.end,
        unknown: left.unknown || right.unknown,
        unit: unit.unwrap_or(left.unit),
        expr: Expr::Arithmetic(operator, Box::new(left.expr), Box::new(right.expr)),
    }
}
