//! The `diff:` section of a scenario, compiled.

use std::fmt;

use jiff::civil::Date;

use super::path::Step;
use super::template;
use super::{Endpoint, Format, Noise, Pattern};

/// Headers that are compared unless a scenario lists others. Of `set-cookie` only the cookies' names are: their values
/// differ in any service with sessions.
pub const DEFAULT_HEADERS: [&str; 3] = ["content-type", "location", "set-cookie"];

/// What a scenario says about comparison, as typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Arrays that are not compared place by place.
    pub arrays: Vec<(String, Arrays)>,
    /// Numbers at a path may differ by this much.
    pub tolerance: Vec<(String, f64)>,
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

/// A path that is not compared, nor anything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Which.
    pub path: String,
    /// The reason, shown where the difference is.
    pub why: String,
    /// The last day on which the rule holds; `None`: for good.
    pub until: Option<Date>,
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
    tolerance: Vec<(Pattern, f64)>,
    format: Vec<(Pattern, Format)>,
    /// With the words that say which rule it was.
    ignore: Vec<(Pattern, String)>,
    headers: Vec<String>,
    endpoints: Vec<Endpoint>,
    noise: Noise,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            arrays: Vec::new(),
            tolerance: Vec::new(),
            format: Vec::new(),
            ignore: Vec::new(),
            headers: DEFAULT_HEADERS.map(str::to_owned).to_vec(),
            endpoints: Vec::new(),
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
        for (place, ignore) in settings.ignore.iter().enumerate() {
            let holds = ignore.until.is_none_or(|until| today <= until);
            let parsed =
                pattern(format!("json.ignore[{place}].path"), &ignore.path).filter(|_| holds);
            rules.ignore.extend(
                parsed.map(|path| (path, format!("ignore {}: {}", ignore.path, ignore.why))),
            );
        }
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
            if !(tolerance.is_finite() && *tolerance >= 0.0) {
                let what =
                    format!("`{tolerance}` is no tolerance; accepted: a number of 0 or more");
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

    /// When a difference is material.
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// Headers to compare, in lower case.
    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn arrays(&self, trail: &[Step<'_>]) -> Option<&Arrays> {
        at(&self.arrays, trail)
    }

    pub(super) fn tolerance(&self, trail: &[Step<'_>]) -> Option<f64> {
        at(&self.tolerance, trail).copied()
    }

    pub(super) fn format(&self, trail: &[Step<'_>]) -> Option<Format> {
        at(&self.format, trail).copied()
    }

    /// The words of the rule that ignores what is here.
    pub(super) fn ignored_by(&self, trail: &[Step<'_>]) -> Option<&str> {
        self.ignore
            .iter()
            .find(|(path, _)| path.covers(trail))
            .map(|(_, words)| words.as_str())
    }
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
            tolerance: vec![("$.total".into(), -1.0)],
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
}
