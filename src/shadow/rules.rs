//! The `diff:` section of a scenario, compiled.

use std::fmt;

use jiff::civil::Date;

use super::lines::Lines;
use super::path::Step;
use super::template;
use super::{Descriptors, Endpoint, Format, InvalidPath, Noise, Pattern};

/// Headers that are compared unless a scenario lists others. Of `set-cookie` only the cookies' names are: their values
/// differ in any service with sessions.
pub const DEFAULT_HEADERS: [&str; 3] = ["content-type", "location", "set-cookie"];

/// What a scenario says about comparison, as typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Arrays that are not compared place by place.
    pub arrays: Vec<(String, Arrays)>,
    /// Numbers at a path may differ by this much.
    pub tolerance: Vec<(String, Tolerance)>,
    /// Texts at a path may differ if both have the form; a name of [`Format`].
    pub format: Vec<(String, String)>,
    /// Paths that are not compared.
    pub ignore: Vec<Ignore>,
    /// Headers to compare, in place of [`DEFAULT_HEADERS`].
    pub compare_headers: Option<Vec<String>>,
    /// Headers not to compare.
    pub ignore_headers: Vec<String>,
    /// Endpoints, in place of those found.
    pub endpoints: Vec<String>,
    /// Types of gRPC messages.
    pub descriptors: Option<Descriptors>,
    /// When a difference is material.
    pub noise: Noise,
}

/// How the elements of an array find each other. Neither form knows an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrays {
    /// By the value of a field of theirs; the nth of a value goes with the nth.
    Key(String),
    /// By being equal.
    Set,
}

/// How far apart two numbers may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// By so much.
    Absolute(f64),
    /// By this share of the larger one.
    Relative(f64),
    /// By so many doubles.
    LastPlaces(u64),
}

impl Tolerance {
    /// Whether the two are no farther apart.
    pub(super) fn allows(self, x: f64, y: f64) -> bool {
        // A little slack, so that 0.3 and 0.2 are 0.1 apart.
        let distance = (x - y).abs();
        let within = |most: f64| distance.is_finite() && distance <= most * (1.0 + 1e-9);
        match self {
            Self::Absolute(most) => within(most),
            Self::Relative(share) => within(share * x.abs().max(y.abs())),
            Self::LastPlaces(most) => place(x).abs_diff(place(y)) <= most,
        }
    }
}

/// Which double it is, counted from 0.
fn place(number: f64) -> i64 {
    let bits = number.to_bits().cast_signed();
    if bits < 0 {
        i64::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

/// What is not compared: a path in the body anything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Which: `$.trace_id`, `text['generated at *']`, `header:etag`, `status`.
    pub path: String,
    /// The reason, shown where the difference is.
    pub why: String,
    /// The last day on which the rule holds; `None`: for good.
    pub until: Option<Date>,
}

impl Ignore {
    /// Whether its path is one that a rule can ignore.
    pub fn check(&self) -> Result<(), InvalidPath> {
        match named(&self.path) {
            Some(_) => Ok(()),
            None => match Lines::parse(&self.path) {
                Some(lines) => lines.map(drop),
                None => Pattern::parse(&self.path).map(drop),
            },
        }
    }
}

/// What is wrong with a value of [`Settings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key under `diff:`, e.g. `json.ignore[2].path`.
    pub key: String,
    /// What is wrong and what is accepted.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "diff.{}: {}", self.key, self.what)
    }
}

/// Rules of comparison, ready for use.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    arrays: Vec<(Pattern, Arrays)>,
    tolerance: Vec<(Pattern, Tolerance)>,
    format: Vec<(Pattern, Format)>,
    /// With the words that say which rule it was.
    ignore: Vec<(Pattern, String)>,
    /// The same for lines of texts.
    ignore_lines: Vec<(Lines, String)>,
    /// The same for what is no path in the body.
    ignore_named: Vec<(String, String)>,
    headers: Vec<String>,
    endpoints: Vec<Endpoint>,
    descriptors: Option<Descriptors>,
    noise: Noise,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            arrays: Vec::new(),
            tolerance: Vec::new(),
            format: Vec::new(),
            ignore: Vec::new(),
            ignore_lines: Vec::new(),
            ignore_named: Vec::new(),
            headers: DEFAULT_HEADERS.map(str::to_owned).to_vec(),
            endpoints: Vec::new(),
            descriptors: None,
            noise: Noise::default(),
        }
    }
}

impl Rules {
    /// Compiles what was typed; all problems at once. `today` decides which ignore rules still hold.
    pub fn compile(settings: &Settings, today: Date) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut pattern = |key: String, path: &str| match Pattern::parse(path) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                problems.push(Problem {
                    key,
                    what: error.to_string(),
                });
                None
            }
        };
        let mut rules = Self {
            descriptors: settings.descriptors.clone(),
            noise: settings.noise,
            ..Self::default()
        };
        for (path, arrays) in &settings.arrays {
            rules.arrays.extend(
                pattern(format!("json.arrays.{path}"), path).map(|path| (path, arrays.clone())),
            );
        }
        for (path, tolerance) in &settings.tolerance {
            rules.tolerance.extend(
                pattern(format!("json.tolerance.{path}"), path).map(|path| (path, *tolerance)),
            );
        }
        let mut formats = Vec::new();
        for (path, name) in &settings.format {
            formats.push((pattern(format!("json.format.{path}"), path), path, name));
        }
        let mut of_ignored = Vec::new();
        for (place, ignore) in settings.ignore.iter().enumerate() {
            let holds = ignore.until.is_none_or(|until| today <= until);
            let words = format!("ignore {}: {}", ignore.path, ignore.why);
            if let Some(name) = named(&ignore.path) {
                rules.ignore_named.extend(holds.then_some((name, words)));
                continue;
            }
            let key = format!("json.ignore[{place}].path");
            match Lines::parse(&ignore.path) {
                Some(Ok(lines)) => rules.ignore_lines.extend(holds.then_some((lines, words))),
                Some(Err(error)) => of_ignored.push(Problem {
                    key,
                    what: error.to_string(),
                }),
                None => {
                    let parsed = pattern(key, &ignore.path).filter(|_| holds);
                    rules.ignore.extend(parsed.map(|path| (path, words)));
                }
            }
        }
        problems.extend(of_ignored);
        for (parsed, path, name) in formats {
            match name.parse() {
                Ok(format) => rules.format.extend(parsed.map(|path| (path, format))),
                Err(what) => problems.push(Problem {
                    key: format!("json.format.{path}"),
                    what,
                }),
            }
        }
        for (path, tolerance) in &settings.tolerance {
            if let Tolerance::Absolute(number) | Tolerance::Relative(number) = tolerance
                && !(number.is_finite() && *number >= 0.0)
            {
                let what = format!("`{number}` is no tolerance; accepted: a number of 0 or more");
                problems.push(Problem {
                    key: format!("json.tolerance.{path}"),
                    what,
                });
            }
        }
        for (place, text) in settings.endpoints.iter().enumerate() {
            match Endpoint::parse(text) {
                Ok(endpoint) => rules.endpoints.push(endpoint),
                Err(error) => {
                    problems.push(Problem {
                        key: format!("endpoints[{place}]"),
                        what: error.to_string(),
                    });
                }
            }
        }
        if let Some(headers) = &settings.compare_headers {
            rules.headers = headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect();
        }
        rules.headers.retain(|name| {
            !settings
                .ignore_headers
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
        });
        if problems.is_empty() {
            Ok(rules)
        } else {
            Err(problems)
        }
    }

    /// The endpoint a request belongs to: `GET /cart/{id}`.
    pub fn endpoint(&self, method: &str, target: &str) -> String {
        template::endpoint(&self.endpoints, method, target)
    }

    /// Types of gRPC messages.
    pub(super) fn descriptors(&self) -> Option<&Descriptors> {
        self.descriptors.as_ref()
    }

    /// Headers to compare, in lower case.
    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn arrays(&self, trail: &[Step<'_>]) -> Option<&Arrays> {
        at(&self.arrays, trail)
    }

    pub(super) fn tolerance(&self, trail: &[Step<'_>]) -> Option<Tolerance> {
        at(&self.tolerance, trail).copied()
    }

    pub(super) fn format(&self, trail: &[Step<'_>]) -> Option<Format> {
        at(&self.format, trail).copied()
    }

    /// The words of the rule that ignores what is no path in the body: `header:etag`. `body` is every reason why bodies are
    /// compared whole.
    pub(super) fn ignored_by_name(&self, name: &str) -> Option<&str> {
        let of_body = name.starts_with("body:");
        self.ignore_named
            .iter()
            .find(|(ignored, _)| ignored == name || (of_body && ignored == "body"))
            .map(|(_, words)| words.as_str())
    }

    /// The words of the rule that ignores every line of a text.
    pub(super) fn ignored_text(&self) -> Option<&str> {
        let all = self.ignore_lines.iter().find(|(lines, _)| lines.is_all());
        all.map(|(_, words)| words.as_str())
    }

    /// Whether some lines of texts are ignored wherever they are.
    pub(super) fn has_anywhere(&self) -> bool {
        let mut rules = self.ignore_lines.iter();
        rules.any(|(lines, _)| lines.is_anywhere())
    }

    /// The words of the rule that ignores a line of a text wherever it is.
    pub(super) fn ignored_anywhere(&self, line: &str) -> Option<&str> {
        let mut rules = self.ignore_lines.iter();
        rules
            .find(|(lines, _)| lines.is_anywhere() && lines.cover(&[], [Some(line), None]))
            .map(|(_, words)| words.as_str())
    }

    /// The words of the rule that ignores this line of a text, as both sides have it.
    pub(super) fn ignored_line(
        &self,
        trail: &[Step<'_>],
        sides: [Option<&str>; 2],
    ) -> Option<&str> {
        self.ignore_lines
            .iter()
            .find(|(lines, _)| lines.cover(trail, sides))
            .map(|(_, words)| words.as_str())
    }

    /// The words of the rule that ignores what is here in JSON.
    pub(super) fn ignored_by(&self, trail: &[Step<'_>]) -> Option<&str> {
        self.ignore
            .iter()
            .find(|(path, _)| path.covers(trail))
            .map(|(_, words)| words.as_str())
    }
}

/// The name of what is no path in the body; `None`: it is one.
fn named(path: &str) -> Option<String> {
    let whole = ["status", "grpc-status", "body"].contains(&path);
    let prefixed = ["header:", "trailer:", "body:"].iter().any(|prefix| {
        path.strip_prefix(prefix)
            .is_some_and(|name| !name.is_empty())
    });
    (whole || prefixed).then(|| path.to_ascii_lowercase())
}

fn at<'r, T>(rules: &'r [(Pattern, T)], trail: &[Step<'_>]) -> Option<&'r T> {
    rules
        .iter()
        .find(|(path, _)| path.is_at(trail))
        .map(|(_, rule)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn ignore(path: &str, until: Option<Date>) -> Ignore {
        Ignore {
            path: path.into(),
            why: "random".into(),
            until,
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let settings = Settings {
            arrays: vec![("items".into(), Arrays::Set)],
            tolerance: vec![("$.total".into(), Tolerance::Absolute(-1.0))],
            format: vec![("$.id".into(), "guid".into())],
            ignore: vec![ignore("$.ok", None), ignore("$.", None)],
            endpoints: vec!["cart".into()],
            ..Settings::default()
        };
        let problems = Rules::compile(&settings, date(2026, 11, 21)).unwrap_err();
        let keys: Vec<_> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        let expected = [
            "json.arrays.items",
            "json.ignore[1].path",
            "json.format.$.id",
            "json.tolerance.$.total",
            "endpoints[0]",
        ];
        assert_eq!(keys, expected);
        let first = "diff.json.arrays.items: invalid path `items` at byte 0: expected `$`";
        assert!(problems[0].to_string().starts_with(first));
    }

    #[test]
    fn an_ignore_rule_ends_after_its_last_day() {
        let settings = Settings {
            ignore: vec![ignore("$.a", Some(date(2026, 6, 30)))],
            ..Settings::default()
        };
        let holds = |today| {
            Rules::compile(&settings, today)
                .unwrap()
                .ignored_by(&[Step::Key("a")])
                .is_some()
        };
        assert!(holds(date(2026, 6, 30)));
        assert!(!holds(date(2026, 7, 1)));
    }

    #[test]
    fn listed_headers_replace_the_defaults_and_ignored_ones_go() {
        let settings = Settings {
            compare_headers: Some(vec!["Cache-Control".into(), "ETag".into()]),
            ignore_headers: vec!["etag".into()],
            ..Settings::default()
        };
        let rules = Rules::compile(&settings, date(2026, 1, 1)).unwrap();
        assert_eq!(rules.headers(), ["cache-control"]);
        assert_eq!(Rules::default().headers(), DEFAULT_HEADERS);
    }

    #[test]
    fn tolerances_are_absolute_relative_or_in_last_places() {
        for (tolerance, x, y, allowed) in [
            (Tolerance::Absolute(0.1), 0.2, 0.3, true),
            (Tolerance::Absolute(0.1), 0.2, 0.31, false),
            (Tolerance::Relative(0.01), -100.0, -99.0, true),
            (Tolerance::Relative(0.01), 100.0, 98.9, false),
            (Tolerance::LastPlaces(1), 0.3, 0.1 + 0.2, true),
            (Tolerance::LastPlaces(0), 0.3, 0.1 + 0.2, false),
            (Tolerance::LastPlaces(2), -5e-324, 5e-324, true),
            (Tolerance::LastPlaces(1), -5e-324, 5e-324, false),
            (Tolerance::Relative(0.5), f64::INFINITY, 1.0, false),
        ] {
            let same = tolerance.allows(x, y);
            assert_eq!(same, allowed, "{tolerance:?} {x} {y}");
        }
    }
}
