//! What is wrong with a scenario: every problem at once, each with its place, shown with the line that it stands in.

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{event::Id, shadow::hex};

/// A place in one of the files of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which file, by its number in [`Files`].
    pub(super) file: u16,
    /// From 1.
    pub(super) line: u32,
    /// From 1, in characters.
    pub(super) column: u32,
    /// Characters to underline, at least 1.
    pub(super) width: u32,
}

impl Place {
    pub(super) fn new(file: u16, line: usize, column: usize, width: usize) -> Self {
        let small = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            file,
            line: small(line),
            column: small(column),
            width: small(width),
        }
    }
}

/// One thing that is wrong, or that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) place: Option<Place>,
    /// Where in the scenario: `faults[slow-payments].percent`; empty: nowhere in particular.
    pub(super) path: String,
    /// What is wrong, with the value.
    pub(super) what: String,
    /// What is accepted, or what to do.
    pub(super) help: String,
}

impl Problem {
    pub(super) fn at(place: Place, what: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            path: String::new(),
            what: what.into(),
            help: String::new(),
        }
    }

    pub(crate) fn anywhere(what: impl Into<String>) -> Self {
        Self {
            place: None,
            path: String::new(),
            what: what.into(),
            help: String::new(),
        }
    }

    pub(super) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// What is wrong, with the value.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Line in its file, from 1; 0: it stands in none.
    pub fn line(&self) -> u32 {
        self.place.map_or(0, |place| place.line)
    }

    /// Column in its line, from 1, in characters; 0: it stands in none.
    pub fn column(&self) -> u32 {
        self.place.map_or(0, |place| place.column)
    }
}

/// The files that a scenario was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files(pub(super) Vec<(PathBuf, String)>);

impl Files {
    /// SHA-256 of all their bytes, one file after the other, in hex.
    pub(super) fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        for (_, text) in &self.0 {
            digest.update(text);
        }
        hex(&digest.finalize())
    }

    fn name(&self, place: Place) -> String {
        self.0
            .get(usize::from(place.file))
            .map_or_else(String::new, |(path, _)| path.display().to_string())
    }

    fn line(&self, place: Place) -> &str {
        self.0
            .get(usize::from(place.file))
            .and_then(|(_, text)| text.lines().nth((place.line as usize).saturating_sub(1)))
            .unwrap_or("")
    }
}

/// A part of a scenario that only its plan can judge, since that looks at what the part names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What runs a service.
    Service(Id),
    /// What runs a shadow.
    Shadow(Id),
    /// What a source of traffic sends.
    Source(Id),
}

/// Where those parts stand, so that what is found wrong with them later has its place, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub(super) files: Files,
    pub(super) parts: Vec<(Part, Place, String)>,
}

impl Standing {
    /// Something is wrong with a part.
    pub fn problem(&self, part: &Part, what: impl Into<String>) -> Problem {
        match self.find(part) {
            Some((_, place, path)) => Problem::at(*place, what).path(path),
            None => Problem::anywhere(what),
        }
    }

    /// `file:line:column` of a part; empty where it is not known.
    pub fn place(&self, part: &Part) -> String {
        self.find(part).map_or_else(String::new, |(_, place, _)| {
            let Place { line, column, .. } = place;
            format!("{}:{line}:{column}", self.files.name(*place))
        })
    }

    fn find(&self, part: &Part) -> Option<&(Part, Place, String)> {
        self.parts.iter().find(|(known, ..)| known == part)
    }

    /// The problems, to be shown.
    pub fn problems(&self, list: Vec<Problem>) -> Problems {
        Problems::new(self.files.clone(), list)
    }
}

/// All that is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub(super) files: Files,
    pub(super) list: Vec<Problem>,
}

/// Things that do not stop a run, but that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    file: String,
    line: String,
    problem: Problem,
}

impl Problems {
    pub(super) fn new(files: Files, mut list: Vec<Problem>) -> Self {
        // In reading order; what stands nowhere comes last.
        list.sort_by(|a, b| {
            let key = |problem: &Problem| (problem.place.is_none(), problem.place);
            key(a).cmp(&key(b))
        });
        list.dedup();
        Self { files, list }
    }

    /// The problems, in reading order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// One object a problem: file, line, column, path, what, accepted.
    pub fn json(&self) -> Value {
        self.list
            .iter()
            .map(|problem| {
                json!({
                    "file": problem.place.map(|place| self.files.name(place)),
                    "line": problem.place.map(|place| place.line),
                    "column": problem.place.map(|place| place.column),
                    "path": problem.path,
                    "what": problem.what,
                    "accepted": problem.help,
                })
            })
            .collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            let (file, line) = match problem.place {
                Some(place) => (self.files.name(place), self.files.line(place)),
                None => (String::new(), ""),
            };
            writeln!(f, "{}", show("error", &file, line, problem))?;
        }
        let name = self.files.0.first().map_or_else(
            || "the scenario".to_owned(),
            |(path, _)| path.display().to_string(),
        );
        match self.list.len() {
            1 => write!(f, "{name} has 1 problem"),
            count => write!(f, "{name} has {count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

impl Warning {
    pub(super) fn new(files: &Files, problem: Problem) -> Self {
        let (file, line) = match problem.place {
            Some(place) => (files.name(place), files.line(place).to_owned()),
            None => (String::new(), String::new()),
        };
        Self {
            file,
            line,
            problem,
        }
    }

    /// What it is about, in one line.
    pub fn what(&self) -> &str {
        &self.problem.what
    }

    /// The same as an object, as [`Problems::json`] shows problems.
    pub fn json(&self) -> Value {
        let place = self.problem.place;
        json!({
            "file": place.map(|_| &self.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "path": self.problem.path,
            "what": self.problem.what,
            "accepted": self.problem.help,
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(show("warning", &self.file, &self.line, &self.problem).trim_end())
    }
}

/// ```text
/// error: `5` is not a duration such as `250ms`, `1.5s` or `2m`
///   --> shop.yaml:7:20 (phases[steady].for)
///    |
///  7 |   - { id: steady, for: 5 }
///    |                        ^
///    = help
/// ```
fn show(level: &str, file: &str, line: &str, problem: &Problem) -> String {
    let mut text = format!("{level}: {}\n", problem.what);
    let gutter = problem.line().to_string().len().max(2);
    let blank = " ".repeat(gutter);
    if let Some(place) = problem.place {
        let path = match problem.path.as_str() {
            "" => String::new(),
            path => format!(" ({path})"),
        };
        let _ = writeln!(
            text,
            "{blank}--> {file}:{}:{}{path}",
            place.line, place.column
        );
        // The caret must stand under its character however wide those before it are: tabs are kept as tabs.
        let before = (place.column as usize).saturating_sub(1);
        let indent: String = line
            .chars()
            .chain(std::iter::repeat(' '))
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let room = line.chars().count().saturating_sub(before).max(1);
        let carets = "^".repeat((place.width as usize).clamp(1, room));
        let _ = writeln!(
            text,
            "{blank} |\n{:>gutter$} | {line}\n{blank} | {indent}{carets}",
            place.line
        );
    } else if !problem.path.is_empty() {
        let _ = writeln!(text, "{blank}--> {}", problem.path);
    }
    if !problem.help.is_empty() {
        let _ = writeln!(text, "{blank} = {}", problem.help);
    }
    text
}

/// What a name was probably meant to be.
pub(super) fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase().replace('_', "-");
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|(distance, candidate)| {
            let longest = name.chars().count().max(candidate.chars().count());
            *distance <= (longest / 3).max(1) && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …? accepted: …`.
pub(super) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all: Vec<&str> = known.clone().into_iter().collect();
    let accepted = if all.is_empty() {
        "there is none".to_owned()
    } else {
        format!("accepted: {}", all.join(", "))
    };
    match meant(name, known) {
        Some(candidate) => format!("did you mean `{candidate}`? {accepted}"),
        None => accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_line_and_what_is_accepted() {
        let files = Files(vec![("a.yaml".into(), "x: 1\nphases: [5]\n".into())]);
        let list = vec![
            Problem::anywhere("second"),
            Problem::at(Place::new(0, 2, 10, 1), "`5` is wrong")
                .path("phases[0]")
                .help("accepted: 6"),
        ];
        assert_eq!(
            Problems::new(files, list).to_string(),
            "error: `5` is wrong\n  --> a.yaml:2:10 (phases[0])\n   |\n 2 | phases: [5]\n   |          ^\n   = accepted: 6\n\n\
             error: second\n\na.yaml has 2 problems"
        );
    }

    #[test]
    fn names_that_are_close_are_suggested() {
        let known = ["services", "entry", "workers"];
        for (typed, wanted) in [
            ("servces", Some("services")),
            ("Entry", Some("entry")),
            ("worker", Some("workers")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(meant(typed, known), wanted, "{typed}");
        }
    }
}
