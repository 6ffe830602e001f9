//! Paths into JSON: as rules write them, and as a walk goes along them.

use std::fmt::{self, Write};

use super::template;

/// A path as a rule writes it: `$.items[*].tax`, `$.a[0]`, `$.*.id`, `$['a.b']`, `$..trace_id`.
///
/// `[*]` is any index, `.*` any key, `..` any number of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    steps: Vec<Wanted>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Key(String),
    AnyKey,
    Index(usize),
    AnyIndex,
    Descend,
}

/// Why a path cannot be read: the byte at which, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPath {
    /// The path.
    pub path: String,
    /// Where in it, in bytes.
    pub at: usize,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid path `{}` at byte {}: expected {}; accepted: $.name, $['name'], [*], [0], .*, $..name",
            self.path, self.at, self.expected
        )
    }
}

impl std::error::Error for InvalidPath {}

/// A step of a walk through a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Pattern {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let invalid = |rest: &str, expected| InvalidPath {
            path: text.to_owned(),
            at: text.len() - rest.len(),
            expected,
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| invalid(text, "`$`"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Wanted::AnyIndex);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("['") {
                let (name, after) = after
                    .split_once("']")
                    .ok_or_else(|| invalid(rest, "a name closed by `']`"))?;
                steps.push(Wanted::Key(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (digits, after) = after
                    .split_once(']')
                    .ok_or_else(|| invalid(rest, "`[*]` or `[0]`"))?;
                steps.push(Wanted::Index(
                    digits
                        .parse()
                        .map_err(|_| invalid(rest, "`[*]` or `[0]`"))?,
                ));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let after = match after.strip_prefix('.') {
                    Some(after) => {
                        steps.push(Wanted::Descend);
                        after
                    }
                    None => after,
                };
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                match name {
                    "" => return Err(invalid(after, "a name or `*`")),
                    "*" => steps.push(Wanted::AnyKey),
                    _ => steps.push(Wanted::Key(name.to_owned())),
                }
                rest = after;
            } else {
                return Err(invalid(rest, "`.` or `[`"));
            }
        }
        Ok(Self {
            steps,
            text: text.to_owned(),
        })
    }

    /// Whether a walk has arrived exactly here.
    pub(super) fn is_at(&self, trail: &[Step<'_>]) -> bool {
        matches(&self.steps, trail, false)
    }

    /// The walk that leads here, if there is only one: no wildcards.
    pub(super) fn trail(&self) -> Option<Vec<Step<'_>>> {
        let steps = self.steps.iter().map(|wanted| match wanted {
            Wanted::Key(name) => Some(Step::Key(name.as_str())),
            Wanted::Index(index) => Some(Step::Index(*index)),
            _ => None,
        });
        steps.collect()
    }

    /// Whether a walk is here or further down.
    pub(super) fn covers(&self, trail: &[Step<'_>]) -> bool {
        matches(&self.steps, trail, true)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn matches(wanted: &[Wanted], trail: &[Step<'_>], below: bool) -> bool {
    match (wanted, trail) {
        ([], []) => true,
        ([], _) => below,
        ([Wanted::Descend, after @ ..], _) => (0..=trail.len())
            .any(|skipped| matches(after, trail.get(skipped..).unwrap_or_default(), below)),
        (_, []) => false,
        ([first, after @ ..], [step, rest @ ..]) => {
            let here = match (first, step) {
                (Wanted::AnyKey, Step::Key(_)) | (Wanted::AnyIndex, Step::Index(_)) => true,
                (Wanted::Key(name), Step::Key(key)) => name == key,
                (Wanted::Index(wanted), Step::Index(index)) => wanted == index,
                _ => false,
            };
            here && matches(after, rest, below)
        }
    }
}

/// A trail in words, twice: as it is, and as a template, where indices and keys that are ids become `*`.
pub(super) fn written(root: &str, trail: &[Step<'_>]) -> (String, String) {
    let length = root.len() + trail.len() * 10;
    let (mut path, mut template) = (String::with_capacity(length), String::with_capacity(length));
    path.push_str(root);
    template.push_str(root);
    for step in trail {
        match step {
            Step::Index(index) => {
                let _ = write!(path, "[{index}]");
                template.push_str("[*]");
            }
            Step::Key(key) => {
                let quoted =
                    key.is_empty() || key.bytes().any(|byte| matches!(byte, b'.' | b'[' | b'\''));
                let (open, close) = if quoted { ("['", "']") } else { (".", "") };
                for text in [open, key, close] {
                    path.push_str(text);
                }
                if template::is_id(key) {
                    template.push_str(".*");
                } else {
                    for text in [open, key, close] {
                        template.push_str(text);
                    }
                }
            }
        }
    }
    (path, template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Index, Key};

    #[test]
    fn patterns_match_where_they_should() {
        let trail = [Key("items"), Index(3), Key("tax")];
        // pattern, is at the trail, covers the trail
        for (pattern, at, covers) in [
            ("$.items[*].tax", true, true),
            ("$.items[3].tax", true, true),
            ("$['items'][*]['tax']", true, true),
            ("$.items[2].tax", false, false),
            ("$.items", false, true),
            ("$", false, true),
            ("$..tax", true, true),
            ("$..items", false, true),
            ("$.*[*].*", true, true),
            ("$.items[*].tax.rate", false, false),
            ("$.items.*.tax", false, false),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(
                (pattern.is_at(&trail), pattern.covers(&trail)),
                (at, covers),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_bad_path_names_the_place_and_what_was_expected() {
        for (path, at, expected) in [
            ("items", 0, "`$`"),
            ("$items", 1, "`.` or `[`"),
            ("$.", 2, "a name or `*`"),
            ("$.a..", 5, "a name or `*`"),
            ("$.a[x]", 3, "`[*]` or `[0]`"),
            ("$.a[", 3, "`[*]` or `[0]`"),
            ("$['a", 1, "a name closed by `']`"),
        ] {
            let error = Pattern::parse(path).unwrap_err();
            assert_eq!((error.at, error.expected), (at, expected), "{path}");
        }
    }

    #[test]
    fn a_template_leaves_indices_and_ids_out() {
        let trail = [Key("carts"), Key("10442"), Index(0), Key("a.b")];
        let expected = (
            "$.carts.10442[0]['a.b']".to_owned(),
            "$.carts.*[*]['a.b']".to_owned(),
        );
        assert_eq!(written("$", &trail), expected);
    }
}
