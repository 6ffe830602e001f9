//! Writes an ignore rule into a scenario's file: the text stays as it is, comments and all, but for the rule.
//!
//! What is written is read again before it replaces the file: the tree must be the old one and the rule, nothing else.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use saphyr_parser::{Event, Parser, Span};

use super::{
    include,
    yaml::{self, Data, Node},
};
use crate::shadow::{Ignore, InvalidPath};

/// Where the rules stand.
const KEYS: [&str; 3] = ["diff", "json", "ignore"];

/// A rule that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file that it is in: the scenario's, or an included one that lists the rules.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The rule as it stands there.
    pub rule: String,
    /// SHA-256 of the scenario's files from now on, in hex.
    pub sha256: String,
}

/// Why a rule is not written. The file is as it was.
#[derive(Debug)]
pub enum Refused {
    /// What it would ignore is no path.
    Path(InvalidPath),
    /// The files are not what they were.
    Changed(PathBuf),
    /// The place for it is not what it should be.
    Shape(&'static str),
    /// The edited text would not be the old one and the rule.
    Unsafe,
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(_) => f.write_str("it is no path that a rule can ignore"),
            Self::Changed(path) => write!(f, "{} has changed since the run", path.display()),
            Self::Shape(what) => f.write_str(what),
            Self::Unsafe => {
                f.write_str("the file is written in a way that cannot be edited safely")
            }
            Self::File(path, _) => write!(f, "cannot edit {}", path.display()),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(error) => Some(error),
            Self::File(_, error) => Some(error),
            Self::Changed(_) | Self::Shape(_) | Self::Unsafe => None,
        }
    }
}

/// The rule as it is written: `{ path: "$.at", why: "clock", until: "2027-01-31" }`.
pub fn written(rule: &Ignore) -> String {
    // `$$(` is a literal `$(` in a scenario.
    let quoted = |text: &str| serde_json::Value::from(text.replace("$(", "$$(")).to_string();
    let mut text = format!(
        "{{ path: {}, why: {}",
        quoted(&rule.path),
        quoted(&rule.why)
    );
    if let Some(until) = rule.until {
        text += &format!(", until: {}", quoted(&until.to_string()));
    }
    text + " }"
}

/// Writes the rule into the file of the scenario that lists such rules, or into the scenario's own. `sha256`: of the
/// files as they were run, the Compose file among them; `None`: whatever they are now.
pub fn write(path: &Path, sha256: Option<&str>, rule: &Ignore) -> Result<Written, Refused> {
    rule.check().map_err(Refused::Path)?;
    let read = whole(path);
    if sha256.is_some_and(|sha256| read.files.sha256() != sha256) {
        return Err(Refused::Changed(path.to_owned()));
    }
    let list = read.root.as_ref().and_then(|root| {
        let node = KEYS.iter().try_fold(root, |node, key| node.get(key))?;
        // The list of an including file would take the place of an included one's: both must be one.
        read.files.0.get(usize::from(node.at.file))
    });
    let (file, text) = list
        .or(read.files.0.first())
        .ok_or(Refused::Shape("the scenario has no file"))?;
    let (new, line) = insert(text, rule)?;
    replace(file, text, &new).map_err(|error| match error {
        None => Refused::Changed(file.clone()),
        Some(error) => Refused::File(file.clone(), error),
    })?;
    Ok(Written {
        file: file.clone(),
        line,
        rule: written(rule),
        sha256: whole(path).files.sha256(),
    })
}

/// What is wrong with the files is told to who runs them.
fn whole(path: &Path) -> include::Read {
    super::whole(path, &[], &mut Vec::new(), &mut Vec::new())
}

/// Replaces a file at once, through a new one beside it; `None`: it is not the old text any more.
fn replace(file: &Path, old: &str, new: &str) -> Result<(), Option<io::Error>> {
    // Behind a link is the file that is meant.
    let file = file.canonicalize()?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(new.as_bytes())?;
    beside
        .as_file()
        .set_permissions(fs::metadata(&file)?.permissions())?;
    beside.as_file().sync_all()?;
    if fs::read(&file)? != old.as_bytes() {
        return Err(None);
    }
    beside.persist(&file).map_err(|error| error.error)?;
    Ok(())
}

/// The text with the rule in it, and the line that it is on.
pub fn insert(text: &str, rule: &Ignore) -> Result<(String, usize), Refused> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let root = Piece::read(body).ok_or(Refused::Shape("it is no YAML"))?;
    let chars: Vec<char> = body.chars().collect();
    let written = written(rule);
    let edit = edit(&root, &chars, &written)?;
    let before: String = chars.iter().take(edit.begin).collect();
    let after: String = chars.iter().skip(edit.end).collect();
    let new = format!("{mark}{before}{}{after}", edit.text);
    if !adds_only(text, &new, rule) {
        return Err(Refused::Unsafe);
    }
    let lead = edit.text.split(&written).next().unwrap_or_default();
    let line = before.matches('\n').count() + lead.matches('\n').count() + 1;
    Ok((new, line))
}

/// Puts a text in place of some characters.
#[derive(Debug)]
struct Edit {
    begin: usize,
    end: usize,
    text: String,
}

/// A value and where it begins and ends, in characters.
#[derive(Debug)]
struct Piece {
    begin: usize,
    /// Column of its first character, from 0.
    column: usize,
    /// Behind its last character; what follows a block's last value does not belong to it.
    end: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Null,
    Scalar,
    List(Vec<Piece>),
    /// Name, where it begins and ends, value.
    Map(Vec<(String, (usize, usize), Piece)>),
    /// An alias, or what one names: an edit would show in several places.
    Shared,
}

impl Piece {
    /// The one document of a text.
    fn read(text: &str) -> Option<Self> {
        let mut parser = Parser::new_from_str(text);
        loop {
            match parser.next_event()?.ok()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (event, span) => return Self::of(event, span, &mut parser, 0),
            }
        }
    }

    fn of<'a>(
        event: Event<'a>,
        span: Span,
        parser: &mut Parser<'a, saphyr_parser::StrInput<'a>>,
        depth: usize,
    ) -> Option<Self> {
        let mut piece = Self {
            begin: span.start.index(),
            column: span.start.col(),
            end: span.end.index(),
            kind: Kind::Scalar,
        };
        if depth > yaml::MAX_DEPTH {
            return None;
        }
        piece.kind = match event {
            Event::Alias(_) => Kind::Shared,
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == saphyr_parser::ScalarStyle::Plain;
                match text.as_ref() {
                    _ if anchor > 0 || tag.is_some() => Kind::Shared,
                    "" | "~" | "null" | "Null" | "NULL" if plain => Kind::Null,
                    _ => Kind::Scalar,
                }
            }
            Event::SequenceStart(anchor, _) => {
                let mut items: Vec<Self> = Vec::new();
                loop {
                    match parser.next_event()?.ok()? {
                        (Event::SequenceEnd, span) => {
                            piece.close(span, items.last().map(|item| item.end));
                            break;
                        }
                        (event, span) => items.push(Self::of(event, span, parser, depth + 1)?),
                    }
                }
                if anchor > 0 {
                    Kind::Shared
                } else {
                    Kind::List(items)
                }
            }
            Event::MappingStart(anchor, _) => {
                let mut entries: Vec<(String, (usize, usize), Self)> = Vec::new();
                loop {
                    let (event, span) = parser.next_event()?.ok()?;
                    let name = match event {
                        Event::MappingEnd => {
                            piece.close(span, entries.last().map(|(_, _, value)| value.end));
                            break;
                        }
                        Event::Scalar(name, ..) => name.into_owned(),
                        _ => return None,
                    };
                    let at = (span.start.index(), span.end.index());
                    let (event, span) = parser.next_event()?.ok()?;
                    let value = Self::of(event, span, parser, depth + 1)?;
                    entries.push((name, at, value));
                }
                if anchor > 0 {
                    Kind::Shared
                } else {
                    Kind::Map(entries)
                }
            }
            _ => return None,
        };
        Some(piece)
    }

    /// A flow's end is its bracket; a block's is that of its last value, since its own comes after blanks and comments.
    fn close(&mut self, span: Span, last: Option<usize>) {
        let bracket = span.end.index() > span.start.index();
        self.end = match last {
            Some(last) if !bracket => last,
            _ => span.end.index(),
        };
    }

    /// Whether it is written in brackets.
    fn is_flow(&self, chars: &[char]) -> bool {
        matches!(chars.get(self.begin), Some('{' | '['))
    }
}

fn edit(root: &Piece, chars: &[char], rule: &str) -> Result<Edit, Refused> {
    let mut map = root;
    let mut keys = KEYS.as_slice();
    loop {
        let [key, below @ ..] = keys else {
            return Err(Refused::Unsafe);
        };
        let Kind::Map(entries) = &map.kind else {
            return Err(Refused::Shape(
                "what holds `diff.json.ignore` is no map of its own",
            ));
        };
        let found = entries.iter().find(|(name, _, _)| name == key);
        let Some((_, (_, name_end), value)) = found else {
            return Ok(add_key(map, entries, keys, chars, rule));
        };
        match &value.kind {
            Kind::Null => return Ok(fill(*name_end, value, below, chars, rule)),
            Kind::List(items) if below.is_empty() => return add_item(value, items, chars, rule),
            Kind::Map(_) if !below.is_empty() => (map, keys) = (value, below),
            _ => return Err(Refused::Shape("`diff.json.ignore` is no list of its own")),
        }
    }
}

/// `json: { ignore: [ RULE ] }` for what is below a key, on one line.
fn flow(keys: &[&str], rule: &str) -> String {
    match keys {
        [] => format!("[ {rule} ]"),
        [key, below @ ..] => format!("{{ {key}: {} }}", flow(below, rule)),
    }
}

/// A key without a value gets one.
fn fill(name_end: usize, value: &Piece, below: &[&str], chars: &[char], rule: &str) -> Edit {
    let text = flow(below, rule);
    let (begin, end, text) = if value.end > value.begin {
        (value.begin, value.end, text)
    } else {
        // Behind the colon.
        let colon = chars.iter().skip(name_end).position(|c| *c == ':');
        let at = name_end + colon.map_or(0, |colon| colon + 1);
        (at, at, format!(" {text}"))
    };
    Edit { begin, end, text }
}

/// A map gets a key.
fn add_key(
    map: &Piece,
    entries: &[(String, (usize, usize), Piece)],
    keys: &[&str],
    chars: &[char],
    rule: &str,
) -> Edit {
    let [key, below @ ..] = keys else {
        return Edit::at(map.end, String::new());
    };
    let last = entries.last().map(|(_, _, value)| value.end);
    if map.is_flow(chars) {
        let entry = format!("{key}: {}", flow(below, rule));
        return match last.map(|end| without_blanks(end, chars)) {
            Some(end) => Edit::at(end, format!(", {entry}")),
            None => Edit::at(map.begin + 1, format!(" {entry} ")),
        };
    }
    let indent = " ".repeat(map.column);
    let mut text = String::new();
    for (depth, key) in keys.iter().enumerate() {
        text += &format!("{indent}{}{key}:\n", "  ".repeat(depth));
    }
    text += &format!("{indent}{}- {rule}\n", "  ".repeat(keys.len()));
    below_line(last.unwrap_or(map.end), text, chars)
}

/// A list gets an item behind its last.
fn add_item(list: &Piece, items: &[Piece], chars: &[char], rule: &str) -> Result<Edit, Refused> {
    let last = items.last().map(|item| without_blanks(item.end, chars));
    if list.is_flow(chars) {
        return Ok(match last {
            Some(end) => Edit::at(end, format!(", {rule}")),
            None => Edit::at(list.begin + 1, format!(" {rule} ")),
        });
    }
    // The dash of the first item; a list's own place is not always that.
    let (Some(first), Some(item)) = (items.first(), items.last()) else {
        return Err(Refused::Unsafe);
    };
    let line: Vec<char> = {
        let before = chars.iter().take(first.begin).rev();
        before.take_while(|c| **c != '\n').copied().collect()
    };
    let indent = line.iter().rev().take_while(|c| **c == ' ').count();
    if line.iter().rev().nth(indent) != Some(&'-') {
        return Err(Refused::Unsafe);
    }
    let text = format!("{}- {rule}\n", " ".repeat(indent));
    Ok(below_line(item.end, text, chars))
}

/// A bracket's end takes in the blanks behind it.
fn without_blanks(end: usize, chars: &[char]) -> usize {
    let blanks = chars.iter().take(end).rev();
    end - blanks.take_while(|c| c.is_whitespace()).count()
}

/// Lines below the one on which something ends; a comment behind it stays where it is.
fn below_line(end: usize, text: String, chars: &[char]) -> Edit {
    let end = without_blanks(end, chars);
    let rest = chars.iter().skip(end).position(|c| *c == '\n');
    if let Some(rest) = rest {
        let below = end + rest + 1;
        return Edit::at(below, text);
    }
    // The last line has no end.
    let text = format!("\n{}", text.trim_end());
    Edit::at(chars.len(), text)
}

impl Edit {
    /// Takes nothing away.
    fn at(place: usize, text: String) -> Self {
        Self {
            begin: place,
            end: place,
            text,
        }
    }
}

/// Whether the new text says what the old one does, and the rule besides.
fn adds_only(old: &str, new: &str, rule: &Ignore) -> bool {
    let read = |text: &str| {
        let mut problems = Vec::new();
        let node = yaml::read(text, 0, &mut problems)?;
        problems.is_empty().then(|| plain(&node))
    };
    let (Some(mut old), Some(new)) = (read(old), read(new)) else {
        return false;
    };
    let mut place = &mut old;
    for key in KEYS {
        if *place == Plain::Null {
            *place = Plain::Map(Vec::new());
        }
        let Plain::Map(entries) = place else {
            return false;
        };
        let at = entries.iter().position(|(name, _)| name == key);
        let at = at.unwrap_or_else(|| {
            entries.push((key.to_owned(), Plain::Null));
            entries.len() - 1
        });
        let Some((_, value)) = entries.get_mut(at) else {
            return false;
        };
        place = value;
    }
    if *place == Plain::Null {
        *place = Plain::List(Vec::new());
    }
    let Plain::List(items) = place else {
        return false;
    };
    let Some(added) = read_rule(rule) else {
        return false;
    };
    items.push(added);
    old == new
}

fn read_rule(rule: &Ignore) -> Option<Plain> {
    let node = yaml::read(&written(rule), 0, &mut Vec::new())?;
    Some(plain(&node))
}

/// A value without its place.
#[derive(Debug, PartialEq)]
enum Plain {
    Null,
    /// With whether it is quoted: a text, whatever it looks like.
    Scalar(String, bool),
    List(Vec<Plain>),
    Map(Vec<(String, Plain)>),
}

fn plain(node: &Node) -> Plain {
    match &node.data {
        Data::Scalar(scalar) if scalar.is_null() => Plain::Null,
        Data::Scalar(scalar) => Plain::Scalar(scalar.text.clone(), scalar.quoted),
        Data::List(items) => Plain::List(items.iter().map(plain).collect()),
        Data::Map(entries) => {
            let entry = |(key, node): &(super::yaml::Key, Node)| (key.name.clone(), plain(node));
            Plain::Map(entries.iter().map(entry).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r#"{ path: "$.at", why: "its \"clock\"", until: "2027-01-31" }"#;

    fn rule() -> Ignore {
        Ignore {
            path: "$.at".to_owned(),
            why: "its \"clock\"".to_owned(),
            until: Some(jiff::civil::date(2027, 1, 31)),
        }
    }

    /// `RULE` in the expected text stands for the rule.
    fn inserted(text: &str, expected: &str) {
        let (new, line) = insert(text, &rule()).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert_eq!(new, expected.replace("RULE", RULE), "for {text}");
        let told = new.lines().nth(line - 1).unwrap();
        assert!(told.contains(RULE), "line {line} of {new}");
    }

    #[test]
    fn a_list_gets_another_item_and_comments_stay() {
        inserted(
            "diff:\n  json:\n    ignore:\n      # the first\n      - { path: $.x, why: y }   # here\n      # about the rest\n  headers: {}\n",
            "diff:\n  json:\n    ignore:\n      # the first\n      - { path: $.x, why: y }   # here\n      - RULE\n      # about the rest\n  headers: {}\n",
        );
        inserted(
            "diff:\n  json:\n    ignore:\n    - path: $.x\n      why: |\n        long\n        text\nname: x\n",
            "diff:\n  json:\n    ignore:\n    - path: $.x\n      why: |\n        long\n        text\n    - RULE\nname: x\n",
        );
        inserted(
            "diff: { json: { ignore: [ { path: $.x, why: y } ] } } # end\n",
            "diff: { json: { ignore: [ { path: $.x, why: y }, RULE ] } } # end\n",
        );
        inserted(
            "diff:\n  json:\n    ignore: [\n      { path: $.x, why: y }, # one\n    ]\n",
            "diff:\n  json:\n    ignore: [\n      { path: $.x, why: y }, RULE, # one\n    ]\n",
        );
        inserted(
            "diff: { json: { ignore: [] } }",
            "diff: { json: { ignore: [ RULE ] } }",
        );
    }

    #[test]
    fn what_is_missing_is_made() {
        for (text, expected) in [
            (
                "name: x # é\n\n# the end\n",
                "name: x # é\ndiff:\n  json:\n    ignore:\n      - RULE\n\n# the end\n",
            ),
            (
                "name: x",
                "name: x\ndiff:\n  json:\n    ignore:\n      - RULE",
            ),
            (
                "diff:\n  headers: {}\nname: x\n",
                "diff:\n  headers: {}\n  json:\n    ignore:\n      - RULE\nname: x\n",
            ),
            (
                "diff:\n    json:\n        tolerance: { $.x: 1 }\n\nname: x\n",
                "diff:\n    json:\n        tolerance: { $.x: 1 }\n        ignore:\n          - RULE\n\nname: x\n",
            ),
            (
                "diff: { headers: {} }\n",
                "diff: { headers: {}, json: { ignore: [ RULE ] } }\n",
            ),
            (
                "diff: { json: {} }\n",
                "diff: { json: { ignore: [ RULE ] } }\n",
            ),
            (
                "diff:\nname: x\n",
                "diff: { json: { ignore: [ RULE ] } }\nname: x\n",
            ),
            (
                "diff:\n  json: # later\n  headers: {}\n",
                "diff:\n  json: { ignore: [ RULE ] } # later\n  headers: {}\n",
            ),
            (
                "diff: { json: { ignore: ~ } }\n",
                "diff: { json: { ignore: [ RULE ] } }\n",
            ),
            (
                "{ name: x }",
                "{ name: x, diff: { json: { ignore: [ RULE ] } } }",
            ),
            (
                "\u{feff}diff: { json: { } }\n",
                "\u{feff}diff: { json: { ignore: [ RULE ]  } }\n",
            ),
        ] {
            inserted(text, expected);
        }
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        for text in [
            "diff: [1]\n",
            "diff: { json: { ignore: all } }\n",
            "a: &x { json: {} }\ndiff: *x\n",
            "diff: &x\n  json: {}\nb: *x\n",
            "- name\n",
            "a: [\n",
        ] {
            assert!(insert(text, &rule()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_written_where_the_rules_are_and_only_into_what_was_run() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.yaml");
        let part = folder.path().join("part.yaml");
        fs::write(&main, "include: [part.yaml]\nname: x\n").unwrap();
        fs::write(
            &part,
            "diff:\n  json:\n    ignore:\n      - { path: $.x, why: y }\n",
        )
        .unwrap();
        let sha256 = whole(&main).files.sha256();
        let first = write(&main, Some(&sha256), &rule()).unwrap();
        assert_eq!((first.file, first.line), (part.clone(), 5));
        assert_eq!(
            fs::read_to_string(&main).unwrap(),
            "include: [part.yaml]\nname: x\n"
        );
        let again = write(&main, Some(&sha256), &rule());
        assert!(matches!(again, Err(Refused::Changed(_))), "{again:?}");
        let second = write(&main, None, &rule()).unwrap();
        assert_eq!(second.line, 6);
        let text = fs::read_to_string(&part).unwrap();
        assert_eq!(text.matches(RULE).count(), 2);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing is left beside"
        );
    }

    #[test]
    fn a_scenario_with_a_compose_file_takes_a_rule() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.yaml");
        fs::write(
            &main,
            "name: x\ntopology: { compose: compose.yaml, entry: web }\n\
             traffic: [ { id: t, generate: { rate: 1/s, arrival: constant, requests: [ { path: / } ] } } ]\n\
             phases: [ { id: steady, for: 1s } ]\nchecks: [ { id: ok, that: \"requests[web] > 0\" } ]\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("compose.yaml"),
            "services: { web: { image: \"web:1\", expose: [8080] } }\n",
        )
        .unwrap();
        let load = || crate::scenario::load(&main, &crate::scenario::Overrides::default());
        let (loaded, _) = load().unwrap_or_else(|problems| panic!("{problems}"));
        let done = write(&main, Some(&loaded.sha256), &rule()).unwrap();
        let (again, _) = load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(done.sha256, again.sha256);
        fs::write(folder.path().join("compose.yaml"), "services: {}\n").unwrap();
        let refused = write(&main, Some(&done.sha256), &rule());
        assert!(matches!(refused, Err(Refused::Changed(_))), "{refused:?}");
    }

    #[test]
    fn a_rule_may_be_about_a_header_the_status_or_lines() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.yaml");
        fs::write(&main, "diff: {}\n").unwrap();
        for path in [
            "status",
            "grpc-status",
            "header:content-type",
            "trailer:x-sum",
            "body:truncated",
            // As the screens name lines of a text.
            "text[*]",
        ] {
            let named = Ignore {
                path: path.to_owned(),
                ..rule()
            };
            let done = write(&main, None, &named).unwrap();
            assert!(done.rule.contains(&format!("path: \"{path}\"")), "{done:?}");
        }
        let read = crate::scenario::compared(&main, None);
        let (compared, _) = read.unwrap_or_else(|problems| panic!("{problems}"));
        let answer = |status: u16, kind: &str, body: &'static str| crate::shadow::Answer {
            status,
            headers: vec![("content-type".to_owned(), kind.as_bytes().to_owned())],
            body: bytes::Bytes::from(body),
            length: body.len() as u64,
            ..crate::shadow::Answer::default()
        };
        let rules = &compared.diff.rules;
        let primary = answer(200, "text/plain", "one\ntwo");
        let shadow = answer(203, "text/html", "one\n2");
        let found = crate::shadow::compare("/", &primary, &shadow, rules);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found.iter().all(|one| one.ignored_by.is_some()),
            "{found:?}"
        );
    }

    #[test]
    fn every_shipped_scenario_takes_a_rule() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for folder in [folder.join("fragments"), folder] {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|end| end == "yaml") {
                    let text = fs::read_to_string(&path).unwrap();
                    let done = insert(&text, &rule());
                    assert!(done.is_ok(), "{}: {done:?}", path.display());
                    count += 1;
                }
            }
        }
        assert!(count > 5);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let wrong = Ignore {
            path: "header:".to_owned(),
            ..rule()
        };
        let refused = write(Path::new("none.yaml"), None, &wrong);
        assert!(matches!(refused, Err(Refused::Path(_))), "{refused:?}");
    }

    #[test]
    fn a_literal_dollar_stays_one() {
        let odd = Ignore {
            why: "costs $(x)".to_owned(),
            until: None,
            ..rule()
        };
        assert_eq!(written(&odd), r#"{ path: "$.at", why: "costs $$(x)" }"#);
    }
}
