//! What begins with a word: metrics with their filters and phases, and `time_to`.

use super::{Name, Named, Parser, Read, Told, Typed, bracketed, is_word};
use crate::{
    expr::{
        Expr, Unit,
        metric::{self, Metric, Of},
    },
    measure::Filter,
};

impl Parser {
    pub(super) fn word(&mut self) -> Read {
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
