//! What is done to the parameters of a path's query, as Envoy's header mutation filter does it, but that what came is left
//! as it was written: Envoy sends it on decoded, with spaces in the request line where there are any.

use super::{
    format::{Format, field::decode},
    headers::{Addition, Append},
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// All parameters of this name are taken out.
    Remove(String),
    /// A parameter is added; an empty value is one, too.
    Add(Addition),
}

/// [`Change`]s that can be made.
#[derive(Debug, Clone, Default)]
pub struct Changes(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Remove(String),
    Add(String, Append, Format),
}

/// A parameter: its name, and both as they are written.
struct Parameter {
    name: Vec<u8>,
    text: String,
}

impl Changes {
    /// Compiles the steps; the error names the value that cannot be.
    pub fn new(steps: &[Change]) -> Result<Self, String> {
        let step = |step: &Change| {
            Ok(match step {
                Change::Remove(name) => Step::Remove(name.clone()),
                Change::Add(it) => {
                    let value = Format::compile(&it.value).map_err(|error| error.to_string())?;
                    Step::Add(it.name.clone(), it.how, value)
                }
            })
        };
        steps.iter().map(step).collect::<Result<_, _>>().map(Self)
    }

    /// Nothing is done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path with its parameters changed, and in the order of their names; values are made by `make`.
    pub fn apply(&self, path: &str, make: impl Fn(&Format, &mut Vec<u8>)) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parameters: Vec<_> = match query {
            "" => Vec::new(),
            query => query.split('&').map(Parameter::parse).collect(),
        };
        for step in &self.0 {
            match step {
                Step::Remove(name) => parameters.retain(|it| it.name != name.as_bytes()),
                Step::Add(name, how, value) => {
                    let there = parameters.iter().any(|it| it.name == name.as_bytes());
                    match how {
                        Append::IfAbsent if there => continue,
                        Append::OverwriteIfPresent if !there => continue,
                        Append::Overwrite | Append::OverwriteIfPresent => {
                            parameters.retain(|it| it.name != name.as_bytes());
                        }
                        Append::Append | Append::IfAbsent => {}
                    }
                    let mut made = Vec::new();
                    make(value, &mut made);
                    parameters.push(Parameter::new(name, &made));
                }
            }
        }
        // As Envoy; of the same name, in the order in which they came.
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let mut made = path.to_owned();
        for (at, parameter) in parameters.iter().enumerate() {
            made.push(if at == 0 { '?' } else { '&' });
            made.push_str(&parameter.text);
        }
        made
    }
}

impl Parameter {
    /// One that came.
    fn parse(text: &str) -> Self {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let mut name = Vec::new();
        decode(key.as_bytes(), &mut name);
        Self {
            name,
            text: format!("{key}={value}"),
        }
    }

    /// One of ours.
    fn new(name: &str, value: &[u8]) -> Self {
        let mut text = String::new();
        encode(name.as_bytes(), &mut text);
        text.push('=');
        encode(value, &mut text);
        Self {
            name: name.as_bytes().to_vec(),
            text,
        }
    }
}

/// Percent-encodes all that Envoy does.
fn encode(text: &[u8], out: &mut String) {
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(*byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, value: &str, how: Append) -> Change {
        Change::Add(Addition {
            name: name.to_owned(),
            value: value.to_owned(),
            how,
            keep_empty: true,
        })
    }

    /// What is always added.
    const ADDED: &str = "added=amade%26%2F%C3%A9";

    /// Each as Envoy 1.40 sends it on, but for what it sends decoded.
    #[test]
    fn parameters_are_added_replaced_removed_and_sorted() {
        let changes = Changes::new(&[
            add("added", "a%PROTOCOL%&/é", Append::Append),
            add("absent", "1", Append::IfAbsent),
            add("over", "~-_.!*() +%%", Append::OverwriteIfPresent),
            add("set", "%REQ(x-none)%", Append::Overwrite),
            Change::Remove("gone".to_owned()),
        ])
        .unwrap();
        for (path, expected) in [
            ("/x", "/x?absent=1&ADDED&set="),
            ("/x?", "/x?absent=1&ADDED&set="),
            ("/x?b=1&a=2", "/x?a=2&absent=1&ADDED&b=1&set="),
            (
                "/x?over=9&over=8&gone=1",
                "/x?absent=1&ADDED&over=%7E-_.%21%2A%28%29%20%2B%25&set=",
            ),
            ("/x?gone=1&absent=", "/x?absent=&ADDED&set="),
            ("/x?flag", "/x?absent=1&ADDED&flag=&set="),
            ("/x?=v", "/x?=v&absent=1&ADDED&set="),
            ("/x?a=1&&b", "/x?=&a=1&absent=1&ADDED&b=&set="),
            ("/x?set=1&set=2&added=0", "/x?absent=1&added=0&ADDED&set="),
            ("/x?a=b=c&A=3", "/x?A=3&a=b=c&absent=1&ADDED&set="),
            // Envoy: `q=a b+c/d`.
            (
                "/x?q=a%20b+c%2Fd&g%6Fne=1",
                "/x?absent=1&ADDED&q=a%20b+c%2Fd&set=",
            ),
        ] {
            let made = changes.apply(path, |format, out| {
                let text = match format.as_literal() {
                    Some(text) => text.to_owned(),
                    // The first of the two formats.
                    None if format.headers().next().is_none() => "amade&/é".to_owned(),
                    None => String::new(),
                };
                out.extend_from_slice(text.as_bytes());
            });
            assert_eq!(made, expected.replace("ADDED", ADDED), "{path}");
        }
    }
}
