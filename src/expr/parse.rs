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

use super::{
    Arithmetic, Comparison, Expr, Unit,
    metric::{self, Metric, Of},
};
use crate::measure::Filter;

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

    fn or(&mut self) -> Read {
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

    fn must_be_condition(&mut self, typed: &Typed, word: &str) {
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

    /// `250ms`, `1m30s`, `0.1%`, `400/s`, `64KiB`, `1.2`.
    fn number(&mut self) -> Result<(f64, Unit), Told> {
        let begin = self.at;
        let mut micros = 0.0;
        let mut parts = 0;
        loop {
            let digits = self.take(|c| c.is_ascii_digit() || c == '.');
            let number = digits
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite());
            let Some(number) = number else {
                let length = self.at - begin;
                self.tell(
                    begin,
                    length,
                    format!("`{digits}` is not a number"),
                    "a number such as `1.2`",
                );
                return Err(Told);
            };
            if self.peek() == Some('%') && parts == 0 {
                self.at += 1;
                return Ok((number / 100.0, Unit::Share));
            }
            // `400/s` is a rate, `400 / x` a division: a rate has no blanks and one of three letters.
            if self.peek() == Some('/') && parts == 0 {
                for (unit, seconds) in [("min", 60.0), ("m", 60.0), ("s", 1.0), ("h", 3600.0)] {
                    let length = unit.len();
                    let same =
                        (0..length).all(|place| self.peek_at(1 + place) == unit.chars().nth(place));
                    if same
                        && !self
                            .peek_at(1 + length)
                            .is_some_and(|c| is_word(c) || c == '[' || c == '.')
                    {
                        self.at += 1 + length;
                        return Ok((number / seconds, Unit::PerSecond));
                    }
                }
            }
            let unit_at = self.at;
            let unit = self.take(|c| c.is_ascii_alphabetic() || c == 'µ');
            let factor = match unit.as_str() {
                "" if parts == 0 => return Ok((number, Unit::Ratio)),
                "ns" => 1e-3,
                "us" | "µs" => 1.0,
                "ms" => 1e3,
                "s" => 1e6,
                "m" | "min" => 60e6,
                "h" => 3600e6,
                _ => {
                    let size = match unit.as_str() {
                        "B" => 1.0,
                        "KB" | "kB" => 1e3,
                        "MB" => 1e6,
                        "GB" => 1e9,
                        "KiB" => 1024.0,
                        "MiB" => 1024.0 * 1024.0,
                        "GiB" => 1024.0 * 1024.0 * 1024.0,
                        _ => 0.0,
                    };
                    if size > 0.0 && parts == 0 {
                        return Ok((number * size, Unit::Bytes));
                    }
                    let length = self.at - unit_at;
                    self.tell(
                        unit_at,
                        length,
                        format!("`{unit}` is not a unit"),
                        "accepted: ns us ms s m h (durations), % (shares), /s /min /h (rates), B KB MB GB KiB MiB GiB (sizes)",
                    );
                    return Err(Told);
                }
            };
            micros += number * factor;
            parts += 1;
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Ok((micros, Unit::Micros));
            }
        }
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

    fn word(&mut self) -> Read {
        let begin = self.at;
        let mut name = self.dotted();
        match name.as_str() {
            "time_to" => return self.time_to(begin),
            "start" | "end" if self.peek() == Some('(') => {
                self.tell(
                    begin,
                    self.at - begin,
                    format!("`{name}` is a moment, not a number"),
                    "`from: \"end(FAULT)\"` beside a `that` with `time_to`",
                );
                return Err(Told);
            }
            "and" | "or" | "not" | "hold" => {
                self.tell(
                    begin,
                    self.at - begin,
                    format!("a value is missing before `{name}`"),
                    "a metric such as `p99[shop]`, or a number with its unit such as `250ms`",
                );
                return Err(Told);
            }
            _ => {}
        }
        let mut of = None;
        if self.eat('[') {
            of = Some(self.id("service or shadow")?);
            self.expect(']', "as in `p99[shop]`")?;
            if self.peek() == Some('.') {
                self.at += 1;
                let rest = self.dotted();
                name = format!("{name}.{rest}");
            }
        }
        let name_end = self.at;
        let filter = if self.peek() == Some('{') {
            self.at += 1;
            self.filter()?
        } else {
            Filter::default()
        };
        let filter_end = self.at;
        let mut phase = None;
        if self.eat('@') {
            let (id, at) = self.id("phase")?;
            self.names.push(Name {
                what: Named::Phase,
                id: id.clone(),
                at,
            });
            phase = Some(id.into());
        }
        let unit = self.metric(begin, name_end, filter_end, &name, of.as_ref(), &filter);
        Ok(Typed {
            begin,
            end: self.at,
            unit: unit.unwrap_or(Unit::Ratio),
            unknown: unit.is_none(),
            expr: Expr::Metric(Metric {
                name,
                of: of.map(|(id, _)| id.into()),
                filter,
                phase,
            }),
        })
    }

    /// Holds a metric against the table, and says what it amounts to; `None`: that is not known.
    fn metric(
        &mut self,
        begin: usize,
        end: usize,
        filter_end: usize,
        name: &str,
        of: Option<&(String, usize)>,
        filter: &Filter,
    ) -> Option<Unit> {
        let Some(spec) = metric::known(name) else {
            let names: Vec<&str> = metric::METRICS.iter().map(|row| row.name).collect();
            let length = name.chars().count();
            let what = match name.split_once('.') {
                Some(("flags", flag)) => format!("there is no response flag `{flag}`"),
                _ => format!("there is no metric `{name}`"),
            };
            let close = names
                .iter()
                .filter(|known| strsim::damerau_levenshtein(name, known) <= 2.min(name.len() / 3))
                .min_by_key(|known| strsim::damerau_levenshtein(name, known))
                .map_or_else(String::new, |close| format!("did you mean `{close}`? "));
            self.tell(
                begin,
                length,
                what,
                format!("{close}accepted: {}", names.join(" ")),
            );
            return None;
        };
        match (spec.of, of) {
            (Of::Nothing, Some((id, at))) => self.tell(
                *at,
                id.len(),
                format!("`{name}` is the generator's own, it is not of a service"),
                format!("write `{name}`"),
            ),
            (Of::Nothing, None) => {}
            (what, None) => {
                let example = if what == Of::Service {
                    "shop"
                } else {
                    "candidate"
                };
                let what = if what == Of::Service {
                    "service"
                } else {
                    "shadow"
                };
                self.tell(
                    begin,
                    end - begin,
                    format!("`{name}` of which {what}?"),
                    format!("as in `{}`", bracketed(name, example)),
                );
            }
            (what, Some((id, at))) => self.names.push(Name {
                what: if what == Of::Service {
                    Named::Service
                } else {
                    Named::Shadow
                },
                id: id.clone(),
                at: *at,
            }),
        }
        if *filter != Filter::default() && spec.of != Of::Service {
            self.tell(
                end,
                filter_end - end,
                format!("`{name}` has no filter"),
                "only metrics of services have",
            );
        }
        Some(spec.unit)
    }

    fn filter(&mut self) -> Result<Filter, Told> {
        const KEYS: &str = "accepted: status: 5xx, method: GET, path: \"/cart/*\"";
        let mut filter = Filter::default();
        loop {
            self.blanks();
            let at = self.at;
            let key = self.take(is_word);
            self.expect(':', KEYS)?;
            self.blanks();
            let value_at = self.at;
            let value = self.filter_value()?;
            let length = self.at - value_at;
            match key.as_str() {
                "status" => match status(&value) {
                    Some(status) => filter.status = Some(status),
                    None => self.tell(
                        value_at,
                        length,
                        format!("`{value}` is not a status"),
                        "a status such as `404`, or a class such as `5xx`",
                    ),
                },
                "method" => filter.method = Some(value),
                "path" => filter.path = Some(value),
                _ => self.tell(
                    at,
                    key.chars().count(),
                    format!("there is no filter `{key}`"),
                    KEYS,
                ),
            }
            if self.symbol('}') {
                return Ok(filter);
            }
            self.expect(',', KEYS)?;
        }
    }

    fn filter_value(&mut self) -> Result<String, Told> {
        if let Some(quote) = self.peek().filter(|c| matches!(c, '"' | '\'')) {
            let begin = self.at;
            self.at += 1;
            let text = self.take(|c| c != quote);
            if !self.eat(quote) {
                self.tell(
                    begin,
                    self.at - begin,
                    format!("`{quote}` is not closed"),
                    "as in `path: \"/cart/*\"`",
                );
                return Err(Told);
            }
            return Ok(text);
        }
        let text = self.take(|c| !c.is_whitespace() && !matches!(c, ',' | '}' | '{'));
        if text.is_empty() {
            let found = self.found();
            self.tell(
                self.at,
                1,
                format!("a value is missing before {found}"),
                "as in `status: 5xx`",
            );
            return Err(Told);
        }
        Ok(text)
    }

    fn time_to(&mut self, begin: usize) -> Read {
        const FORM: &str = "as in `time_to(p99[shop] < 250ms, hold: 5s)`";
        self.expect('(', FORM)?;
        let condition = self.or()?;
        self.must_be_condition(&condition, "time_to");
        if condition.expr.has_time_to() {
            self.tell(
                condition.begin,
                condition.end - condition.begin,
                "`time_to` stands within `time_to`",
                FORM,
            );
        }
        self.expect(',', FORM)?;
        if !self.keyword("hold") {
            let found = self.found();
            self.tell(
                self.at,
                1,
                format!("`hold: …` is missing before {found}"),
                FORM,
            );
            return Err(Told);
        }
        self.expect(':', FORM)?;
        self.blanks();
        let hold_at = self.at;
        let (hold, unit) = if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.number()?
        } else {
            (0.0, Unit::Ratio)
        };
        if unit != Unit::Micros || hold < 1e6 || hold % 1e6 != 0.0 {
            let length = self.at - hold_at;
            self.tell(
                hold_at,
                length,
                "`hold` is how long the condition must hold",
                "whole seconds such as `5s`: it is tested each second",
            );
        }
        self.expect(')', FORM)?;
        Ok(Typed {
            begin,
            end: self.at,
            unit: Unit::Micros,
            unknown: false,
            expr: Expr::TimeTo {
                condition: Box::new(condition.expr),
                hold_us: hold as u64,
            },
        })
    }
}

/// What to do with a verdict.
const VERDICT: &str = "it stands alone in `that` of a check, with `not: regressed` beside it";

fn join(operator: Arithmetic, left: Typed, right: Typed, unit: Option<Unit>) -> Typed {
    Typed {
        begin: left.begin,
        end: right.end,
        unknown: left.unknown || right.unknown,
        unit: unit.unwrap_or(left.unit),
        expr: Expr::Arithmetic(operator, Box::new(left.expr), Box::new(right.expr)),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `404`, or `5xx` as 5.
fn status(text: &str) -> Option<u16> {
    match text.strip_suffix("xx") {
        Some(class) => class.parse().ok().filter(|class| (1..=5).contains(class)),
        None => text
            .parse()
            .ok()
            .filter(|status| (100..600).contains(status)),
    }
}

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
pub(super) fn combined(operator: Arithmetic, a: Unit, b: Unit) -> Option<Unit> {
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
fn words(unit: Unit) -> &'static str {
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

fn example(unit: Unit) -> &'static str {
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
