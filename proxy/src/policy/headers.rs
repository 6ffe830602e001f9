//! What is done to the headers of requests and answers. [`Edit`] is one level's setting (route configuration, virtual host,
//! route, weighted cluster); a [`Mutation`] is a step of a filter or a mirror.

use http::{HeaderMap, HeaderName, HeaderValue};

pub mod joined;

use joined::Of;

use super::{
    format::Format,
    matcher::{Test, Text},
};

/// Additions and removals of one level; the default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edit {
    /// Headers that are taken off, before anything is added.
    pub remove: Vec<String>,
    /// Headers that are added or replaced.
    pub add: Vec<Addition>,
}

/// What one level does to requests and to answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// To the request on its way to the upstream.
    pub request: Edit,
    /// To the answer on its way to the client.
    pub response: Edit,
}

/// A header that is added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addition {
    /// Its name, lower case.
    pub name: String,
    /// Its value, a [format](Format).
    pub value: String,
    /// What becomes of one that is there already.
    pub how: Append,
    /// It is added with an empty value, too.
    pub keep_empty: bool,
}

/// What becomes of a header that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Append {
    /// Both are kept.
    #[default]
    Append,
    /// Nothing is added.
    IfAbsent,
    /// It is replaced, or added.
    Overwrite,
    /// It is replaced; an absent one is not added.
    OverwriteIfPresent,
}

/// One step of a filter or a mirror. Steps see what the steps before them did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// A header is taken off.
    Remove(String),
    /// All headers with such names are taken off.
    RemoveMatching(Text),
    /// A header is added.
    Add(Addition),
}

/// Makes the text of a format for a message with these headers.
pub trait Render {
    /// Appends it to `out`; what there is not is left out.
    fn render(&self, format: &Format, headers: &HeaderMap, out: &mut Vec<u8>);

    /// What the headers belong to.
    fn of(&self) -> Of {
        Of::Request
    }
}

/// An [`Edit`] that can be made.
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    remove: Vec<HeaderName>,
    add: Vec<CompiledAddition>,
}

/// [`Mutation`]s that can be made.
#[derive(Debug, Clone, Default)]
pub struct Mutations(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Remove(HeaderName),
    RemoveMatching(Test),
    Add(CompiledAddition),
}

#[derive(Debug, Clone)]
struct CompiledAddition {
    name: HeaderName,
    value: Value,
    how: Append,
    keep_empty: bool,
    /// A request, or an answer, has one row of it.
    joined: (bool, bool),
}

#[derive(Debug, Clone)]
enum Value {
    Fixed(HeaderValue),
    Made(Format),
}

impl Edit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

impl Edits {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

impl Compiled {
    /// Compiles an edit; the error names the header or the value that cannot be.
    pub fn new(edit: &Edit) -> Result<Self, String> {
        let add = edit.add.iter().map(CompiledAddition::new);
        Ok(Self {
            remove: edit
                .remove
                .iter()
                .map(|it| name(it))
                .collect::<Result<_, _>>()?,
            add: add.collect::<Result<_, _>>()?,
        })
    }

    /// The formats that its values are made by.
    pub fn formats(&self) -> impl Iterator<Item = &Format> {
        self.add.iter().filter_map(|it| it.value.format())
    }

    /// Makes the edit. As in Envoy, all values are made from the headers as they are before anything is added; then
    /// replacements come before additions.
    pub fn apply(&self, headers: &mut HeaderMap, render: &impl Render) {
        for name in &self.remove {
            headers.remove(name);
        }
        let made: Vec<_> = self
            .add
            .iter()
            .filter_map(|it| Some((it, it.make(headers, render)?)))
            .collect();
        for (addition, value) in made.iter().filter(|(it, _)| it.replaces()) {
            headers.insert(addition.name.clone(), value.clone());
        }
        for (addition, value) in made.into_iter().filter(|(it, _)| !it.replaces()) {
            addition.append(render.of(), headers, value);
        }
    }
}

impl Mutations {
    /// Compiles the steps; the error names the header or the value that cannot be.
    pub fn new(steps: &[Mutation]) -> Result<Self, String> {
        let step = |step: &Mutation| {
            Ok(match step {
                Mutation::Remove(it) => Step::Remove(name(it)?),
                Mutation::RemoveMatching(text) => Step::RemoveMatching(Test::new(text)?),
                Mutation::Add(it) => Step::Add(CompiledAddition::new(it)?),
            })
        };
        steps.iter().map(step).collect::<Result<_, _>>().map(Self)
    }

    /// The formats that its values are made by.
    pub fn formats(&self) -> impl Iterator<Item = &Format> {
        self.0.iter().filter_map(|step| match step {
            Step::Add(it) => it.value.format(),
            Step::Remove(_) | Step::RemoveMatching(_) => None,
        })
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same steps with values made now, for a message that comes later; those that would add nothing are left out.
    #[must_use]
    pub fn settled(&self, headers: &HeaderMap, render: &impl Render) -> Self {
        let settled = |step: &Step| match step {
            Step::Add(it) => it.settled(headers, render).map(Step::Add),
            step => Some(step.clone()),
        };
        Self(self.0.iter().filter_map(settled).collect())
    }

    /// Takes the steps, one after the other, where their values are [`settled`](Self::settled).
    pub fn apply_settled(&self, headers: &mut HeaderMap) {
        self.apply(headers, &Settled);
    }

    /// Takes the steps, one after the other.
    pub fn apply(&self, headers: &mut HeaderMap, render: &impl Render) {
        for step in &self.0 {
            match step {
                Step::Remove(name) => {
                    headers.remove(name);
                }
                Step::RemoveMatching(test) => remove_matching(headers, test),
                Step::Add(it) => {
                    let Some(value) = it.make(headers, render) else {
                        continue;
                    };
                    if it.replaces() {
                        headers.insert(it.name.clone(), value);
                    } else {
                        it.append(render.of(), headers, value);
                    }
                }
            }
        }
    }
}

/// The host stays, whatever is asked for: without it there is no request.
fn remove_matching(headers: &mut HeaderMap, test: &Test) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| **name != http::header::HOST && test.holds(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Makes nothing: there is nothing left to be made.
struct Settled;

impl Render for Settled {
    fn render(&self, _format: &Format, _headers: &HeaderMap, _out: &mut Vec<u8>) {}
}

impl CompiledAddition {
    /// The same with its value made; `None`: it adds nothing.
    fn settled(&self, headers: &HeaderMap, render: &impl Render) -> Option<Self> {
        let value = self.value.make(headers, render)?;
        (self.keep_empty || !value.is_empty()).then(|| Self {
            name: self.name.clone(),
            value: Value::Fixed(value),
            ..*self
        })
    }

    fn new(it: &Addition) -> Result<Self, String> {
        let format = Format::compile(&it.value).map_err(|error| error.to_string())?;
        let value = match format.as_literal() {
            Some(text) => Value::Fixed(HeaderValue::try_from(text).map_err(|_| {
                let text = text.escape_debug();
                format!("`{text}` is not a value that a header can have")
            })?),
            None => Value::Made(format),
        };
        let name = name(&it.name)?;
        Ok(Self {
            joined: (Of::Request.joins(&name), Of::Answer.joins(&name)),
            name,
            value,
            how: it.how,
            keep_empty: it.keep_empty,
        })
    }

    /// Adds a row, or to the row of a header that has one.
    fn append(&self, of: Of, headers: &mut HeaderMap, value: HeaderValue) {
        let (in_request, in_answer) = self.joined;
        let joined = match of {
            Of::Request => in_request,
            Of::Answer => in_answer,
        };
        if joined {
            joined::append(headers, &self.name, value);
        } else {
            headers.append(self.name.clone(), value);
        }
    }

    fn replaces(&self) -> bool {
        matches!(self.how, Append::Overwrite | Append::OverwriteIfPresent)
    }

    /// The value; `None`: nothing is added.
    fn make(&self, headers: &HeaderMap, render: &impl Render) -> Option<HeaderValue> {
        let wanted = match self.how {
            Append::Append | Append::Overwrite => true,
            Append::IfAbsent => !headers.contains_key(&self.name),
            Append::OverwriteIfPresent => headers.contains_key(&self.name),
        };
        if !wanted {
            return None;
        }
        let value = self.value.make(headers, render)?;
        (self.keep_empty || !value.is_empty()).then_some(value)
    }
}

impl Value {
    /// The value; `None`: no header can have it.
    fn make(&self, headers: &HeaderMap, render: &impl Render) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Made(format) => {
                let mut text = Vec::new();
                render.render(format, headers, &mut text);
                HeaderValue::from_bytes(&text).ok()
            }
        }
    }

    fn format(&self) -> Option<&Format> {
        match self {
            Self::Fixed(_) => None,
            Self::Made(format) => Some(format),
        }
    }
}

/// A name that may be edited: pseudo headers and the host are changed by rewrites alone.
fn name(name: &str) -> Result<HeaderName, String> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(format!(
            "`{name}` cannot be changed: headers that begin with `:`, and `host`, are changed by rewrites alone"
        ));
    }
    HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats become `made`.
    struct Made;

    impl Render for Made {
        fn render(&self, _format: &Format, headers: &HeaderMap, out: &mut Vec<u8>) {
            out.extend_from_slice(format!("made of {}", headers.len()).as_bytes());
        }
    }

    fn add(name: &str, value: &str, how: Append) -> Addition {
        Addition {
            name: name.to_owned(),
            value: value.to_owned(),
            how,
            keep_empty: false,
        }
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    fn some() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "h"), ("x-a", "0"), ("x-b", "0"), ("x-drop", "0")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_edit_removes_replaces_and_adds() {
        let edit = Edit {
            remove: vec!["X-Drop".to_owned(), "x-none".to_owned()],
            add: vec![
                add("x-a", "1", Append::Append),
                add("x-a", "2", Append::Overwrite),
                add("x-b", "1", Append::IfAbsent),
                add("x-c", "1", Append::IfAbsent),
                add("x-d", "1", Append::OverwriteIfPresent),
                add("x-e", "", Append::Append),
                Addition {
                    keep_empty: true,
                    ..add("x-f", "", Append::Append)
                },
                add("x-g", "100%%", Append::Append),
                add("x-h", "%PROTOCOL%", Append::Append),
            ],
        };
        let mut headers = some();
        Compiled::new(&edit).unwrap().apply(&mut headers, &Made);
        assert_eq!(
            lines(&headers),
            [
                "host: h",
                "x-a: 1",
                "x-a: 2",
                "x-b: 0",
                "x-c: 1",
                "x-f: ",
                "x-g: 100%",
                "x-h: made of 3"
            ]
        );
    }

    #[test]
    fn mutations_see_what_was_done_before_them() {
        let steps = [
            Mutation::Add(add("x-c", "1", Append::Append)),
            Mutation::Add(add("x-c", "2", Append::OverwriteIfPresent)),
            Mutation::Remove("x-a".to_owned()),
            Mutation::Add(add("x-a", "3", Append::IfAbsent)),
            Mutation::RemoveMatching(Text {
                how: super::super::matcher::How::Contains("o".to_owned()),
                ignore_case: false,
            }),
        ];
        let mut headers = some();
        Mutations::new(&steps).unwrap().apply(&mut headers, &Made);
        assert_eq!(lines(&headers), ["host: h", "x-a: 3", "x-b: 0", "x-c: 2"]);
    }

    #[test]
    fn what_cannot_be_edited_is_told() {
        for (name, value, expected) in [
            (
                ":path",
                "/",
                "`:path` cannot be changed: headers that begin with `:`, and `host`, are changed by rewrites alone",
            ),
            (
                "Host",
                "a",
                "`Host` cannot be changed: headers that begin with `:`, and `host`, are changed by rewrites alone",
            ),
            ("a b", "", "`a b` is not the name of a header"),
            ("a", "\n", "`\\n` is not a value that a header can have"),
            (
                "a",
                "%NOPE%",
                "there is no operator `%NOPE%` (at position 0)",
            ),
        ] {
            let edit = Edit {
                remove: Vec::new(),
                add: vec![add(name, value, Append::Append)],
            };
            assert_eq!(Compiled::new(&edit).unwrap_err(), expected);
        }
    }
}
