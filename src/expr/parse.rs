//! Reads an expression: a text becomes an [`Expr`] whose units fit, or a list of what is wrong, each with its place in the
//! text.
//!
//! ```text
//! or      := and ("or" and)*
//! and     := not ("and" not)*
//! not     := "not" not | compare
//! compare := sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)?
//! sum     := product (("+" | "-") product)*
//! product := sign (("*" | "/") sign)*
//! sign    := "-" sign | primary
//! primary := literal | "(" or ")" | "time_to" "(" or "," "hold" ":" duration ")" | metric
//! metric  := name ("[" id "]" ("." name)?)? ("{" filter ("," filter)* "}")? ("@" id)?
//! filter  := "status" ":" (404 | 5xx) | "method" ":" word | "path" ":" text
//! ```

use super::{Expr, Unit};

mod number;
mod operators;
mod unit;
mod word;

pub(super) use unit::combined;
pub(crate) use unit::common;

/// Parentheses, `not` and `-` within one another; each costs stack.
const MAX_DEPTH: usize = 64;

/// An expression that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The expression.
    pub expr: Expr,
    /// What it amounts to.
    pub unit: Unit,
    /// The ids that it names, in order.
    pub names: Vec<Name>,
}

/// An id that an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What it must be.
    pub what: Named,
    /// The id.
    pub id: String,
    /// Its place in the text, in characters.
    pub at: usize,
}

/// What an id must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A service.
    Service,
    /// A shadow.
    Shadow,
    /// A phase.
    Phase,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where, in characters from the beginning.
    pub at: usize,
    /// How long, in characters.
    pub length: usize,
    /// What is wrong.
    pub what: String,
    /// What is accepted.
    pub help: String,
}

/// Reads an expression.
pub fn parse(text: &str) -> Result<Parsed, Vec<Wrong>> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        names: Vec::new(),
        wrong: Vec::new(),
    };
    let read = parser.or();
    if let Ok(typed) = &read {
        parser.blanks();
        if parser.at < parser.chars.len() {
            let rest = parser.chars.len() - parser.at;
            let help = if typed.unit == Unit::Bool {
                "comparisons do not chain; write `a < b and b < c`"
            } else {
                "an operator: `+ - * / < <= > >= == != and or`"
            };
            parser.tell(
                parser.at,
                rest,
                "this does not belong to the expression",
                help,
            );
        }
    }
    match read {
        Ok(typed) if parser.wrong.is_empty() => Ok(Parsed {
            expr: typed.expr,
            unit: typed.unit,
            names: parser.names,
        }),
        _ => Err(parser.wrong),
    }
}

/// A number with its unit that stands alone: `600ms`, `1%`, `1.2`.
pub fn literal(text: &str) -> Option<(f64, Unit)> {
    let mut parser = Parser {
        chars: text.trim().chars().collect(),
        at: 0,
        depth: 0,
        names: Vec::new(),
        wrong: Vec::new(),
    };
    let negative = parser.eat('-');
    let (number, unit) = parser.number().ok()?;
    (parser.at == parser.chars.len()).then_some((if negative { -number } else { number }, unit))
}

/// It was told already.
struct Told;

/// An expression with what it amounts to and where it stands.
struct Typed {
    expr: Expr,
    unit: Unit,
    /// What it amounts to is not known, because of something that was told.
    unknown: bool,
    begin: usize,
    end: usize,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    names: Vec<Name>,
    wrong: Vec<Wrong>,
}

type Read = Result<Typed, Told>;

impl Parser {
    fn tell(&mut self, at: usize, length: usize, what: impl Into<String>, help: impl Into<String>) {
        self.wrong.push(Wrong {
            at,
            length: length.max(1),
            what: what.into(),
            help: help.into(),
        });
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a symbol after blanks.
    fn symbol(&mut self, wanted: char) -> bool {
        self.blanks();
        self.eat(wanted)
    }

    fn expect(&mut self, wanted: char, within: &str) -> Result<(), Told> {
        if self.symbol(wanted) {
            return Ok(());
        }
        let found = self.found();
        self.tell(
            self.at,
            1,
            format!("`{wanted}` is missing before {found}"),
            within,
        );
        Err(Told)
    }

    /// What stands at the place, in words.
    fn found(&self) -> String {
        match self.peek() {
            Some(c) => format!("`{c}`"),
            None => "the end".to_owned(),
        }
    }

    /// Takes a word of letters if it is this one.
    fn keyword(&mut self, wanted: &str) -> bool {
        self.blanks();
        let length = wanted.chars().count();
        let same = self
            .chars
            .iter()
            .skip(self.at)
            .take(length)
            .copied()
            .eq(wanted.chars());
        let ends = !self.peek_at(length).is_some_and(is_word);
        if same && ends {
            self.at += length;
        }
        same && ends
    }

    fn deeper(&mut self) -> Result<(), Told> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.tell(
                self.at,
                1,
                "parentheses stand too deep within one another",
                format!("at most {MAX_DEPTH} levels"),
            );
            return Err(Told);
        }
        Ok(())
    }

    fn take(&mut self, of: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| of(*c)) {
            text.push(c);
            self.at += 1;
        }
        text
    }

    /// A name with dots: `service.p99.9`.
    fn dotted(&mut self) -> String {
        let mut name = self.take(is_word);
        while self.peek() == Some('.') && self.peek_at(1).is_some_and(|c| c.is_ascii_alphanumeric())
        {
            self.at += 1;
            name.push('.');
            name.push_str(&self.take(is_word));
        }
        name
    }

    fn id(&mut self, what: &str) -> Result<(String, usize), Told> {
        self.blanks();
        let at = self.at;
        let id = self.take(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if id.is_empty() {
            let found = self.found();
            self.tell(
                at,
                1,
                format!("the id of a {what} is missing before {found}"),
                "small letters, digits and `-`",
            );
            return Err(Told);
        }
        Ok((id, at))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A metric's name with what it is of, as people write it: `diffs[candidate].material`, `service.p99[shop]`.
pub(crate) fn bracketed(name: &str, of: &str) -> String {
    match name.split_once('.') {
        Some((first @ ("diffs" | "delta"), rest)) => format!("{first}[{of}].{rest}"),
        _ => format!("{name}[{of}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        expr::{Arithmetic, Comparison, metric::Metric},
        measure::Filter,
    };

    fn good(text: &str) -> Parsed {
        parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn bad(text: &str) -> Vec<(usize, usize, String)> {
        parse(text)
            .unwrap_err()
            .into_iter()
            .map(|wrong| (wrong.at, wrong.length, wrong.what))
            .collect()
    }

    fn metric(name: &str, of: Option<&str>) -> Metric {
        Metric {
            name: name.to_owned(),
            of: of.map(Into::into),
            filter: Filter::default(),
            phase: None,
        }
    }

    #[test]
    fn the_examples_of_the_grammar_are_read() {
        for (text, unit) in [
            ("error_share[shop] < 0.1%", Unit::Bool),
            ("p99[shop]", Unit::Micros),
            (
                "time_to(p99[shop] < 1.2 * p99[shop]@steady, hold: 5s)",
                Unit::Micros,
            ),
            ("diffs[candidate].material == 0", Unit::Bool),
            ("rps[payments]@fault / rps[payments]@steady", Unit::Ratio),
            (
                "error_share[checkout] - error_share[stock] * 0.2",
                Unit::Share,
            ),
            (
                "requests[shop]{status: 5xx, method: GET, path: \"/cart/*\"} == 0",
                Unit::Bool,
            ),
            ("lateness.p99 < 1ms and overflow == 0", Unit::Bool),
            ("p99.9[shop] > 1m30s or not (rps[shop] > 400/s)", Unit::Bool),
            ("inbound.p50[shop] + 5ms", Unit::Micros),
            ("flags.DI[shop] > 3", Unit::Bool),
            ("rps[shop]>400/s", Unit::Bool),
            ("delta[candidate].p50 < 1ms", Unit::Bool),
            ("bytes[shop] < 64KiB", Unit::Bool),
        ] {
            assert_eq!(good(text).unit, unit, "{text}");
        }
    }

    #[test]
    fn operators_bind_as_in_arithmetic() {
        let p99 = || Box::new(Expr::Metric(metric("p99", Some("a"))));
        let number = |value| Box::new(Expr::Literal(value, Unit::Ratio));
        let expected = Expr::Compare(
            Comparison::Less,
            Box::new(Expr::Arithmetic(
                Arithmetic::Add,
                p99(),
                Box::new(Expr::Arithmetic(Arithmetic::Multiply, number(2.0), p99())),
            )),
            Box::new(Expr::Literal(250_000.0, Unit::Micros)),
        );
        assert_eq!(good("p99[a] + 2 * p99[a] < 250ms").expr, expected);
        // Division is from left to right.
        assert_eq!(
            good("8 / 4 / 2").expr,
            Expr::Arithmetic(
                Arithmetic::Divide,
                Box::new(Expr::Arithmetic(
                    Arithmetic::Divide,
                    number(8.0),
                    number(4.0)
                )),
                number(2.0)
            )
        );
    }

    #[test]
    fn filters_and_phases_belong_to_their_metric() {
        let parsed = good("p99[shop]{status: 404, path: '/a, b'}@steady");
        let Expr::Metric(metric) = parsed.expr else {
            panic!("not a metric")
        };
        assert_eq!(metric.filter.status, Some(404));
        assert_eq!(metric.filter.path.as_deref(), Some("/a, b"));
        assert_eq!(metric.phase.as_deref(), Some("steady"));
        let names: Vec<_> = parsed
            .names
            .iter()
            .map(|name| (name.what, name.id.as_str(), name.at))
            .collect();
        assert_eq!(
            names,
            [(Named::Phase, "steady", 38), (Named::Service, "shop", 4)]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, length, what) in [
            (
                "p99[shop] < 5",
                12,
                1,
                "a duration cannot be compared with a bare number",
            ),
            (
                "p99[shop] < 5%",
                0,
                14,
                "a duration cannot be compared with a share",
            ),
            ("p99 < 5ms", 0, 3, "`p99` of which service?"),
            ("pp[shop] < 5", 0, 2, "there is no metric `pp`"),
            ("p99[shop] <", 11, 1, "a value is missing before the end"),
            ("p99[shop", 8, 1, "`]` is missing before the end"),
            ("p99[shop] < 5xs", 13, 2, "`xs` is not a unit"),
            (
                "p99[shop] * p99[shop]",
                0,
                21,
                "a duration cannot be multiplied with a duration",
            ),
            (
                "p99[shop] and 1",
                0,
                9,
                "`and` needs a condition, this is a duration",
            ),
            ("1 < 2 < 3", 6, 3, "this does not belong to the expression"),
            (
                "lateness.p99[shop] < 1ms",
                13,
                4,
                "`lateness.p99` is the generator's own, it is not of a service",
            ),
            ("p99[shop] = 5ms", 10, 1, "`=` is no comparison"),
            ("end(f) < 5s", 0, 3, "`end` is a moment, not a number"),
            (
                "time_to(p99[shop] < 5ms)",
                23,
                1,
                "`,` is missing before `)`",
            ),
            (
                "time_to(p99[shop] < 5ms, hold: 5)",
                31,
                1,
                "`hold` is how long the condition must hold",
            ),
            (
                "requests[shop]{verb: GET}",
                15,
                4,
                "there is no filter `verb`",
            ),
            ("flags.XX[shop] > 0", 0, 8, "there is no response flag `XX`"),
            (
                "compare[candidate] == 0",
                19,
                1,
                "a verdict cannot be compared",
            ),
        ] {
            assert_eq!(bad(text)[0], (at, length, what.to_owned()), "{text}");
        }
    }

    #[test]
    fn several_problems_are_told_at_once() {
        assert_eq!(bad("p99[shop] < 5 and error_share < 2ms").len(), 3);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "(".repeat(10_000);
        assert!(bad(&deep)[0].2.contains("too deep"));
        assert!(bad(&"-".repeat(10_000))[0].2.contains("too deep"));
        assert!(bad(&"not ".repeat(10_000))[0].2.contains("too deep"));
    }
}
