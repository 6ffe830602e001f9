//! Paths into JSON: as rules write them, and as a walk goes along them.

use std::fmt::{self, Write};

use super::{diff::TEXT, template};

/// A path as a rule writes it: `$.items[*].tax`, `$.a[0]`, `$.*.id`, `$['a.b']`, `$..trace_id`.
///
/// `[*]` is any index, `.*` any key, `..` any number of steps. Between `['` and `']` a backslash begins an escape, as in JSON and
/// for `\'` (RFC 9535 §2.7): a key is whatever a service likes, and no report or terminal is to obey it.
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
        let accepted = if self.is_into_text() {
            "text, text[3], text['line like *']"
        } else {
            "$.name, $['name'], [*], [0], .*, $..name"
        };
        write!(
            f,
            "invalid path `{}` at byte {}: expected {}; accepted: {accepted}",
            self.path, self.at, self.expected
        )
    }
}

impl InvalidPath {
    /// Whether it means lines of a text, as far as it can be read.
    fn is_into_text(&self) -> bool {
        self.at > 0 && self.path.starts_with(TEXT)
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
                let (name, after) = quoted(after).map_err(|wrong| match wrong {
                    Unreadable::Open => invalid(rest, wrong.expected()),
                    Unreadable::Escape(at, expected) => invalid(at, expected),
                })?;
                steps.push(Wanted::Key(name));
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
                let start = path.len();
                write_key(&mut path, key);
                if template::is_id(key) {
                    template.push_str(".*");
                } else {
                    template.push_str(path.get(start..).unwrap_or_default());
                }
            }
        }
    }
    (path, template)
}

/// Writes a key so that [`Pattern::parse`] reads it as that one key.
fn write_key(path: &mut String, key: &str) {
    let is_plain = |c: char| !matches!(c, '.' | '[' | '\'') && !c.is_control();
    if !key.is_empty() && key != "*" && key.chars().all(is_plain) {
        path.push('.');
        path.push_str(key);
        return;
    }
    write_quoted(path, key);
}

/// Writes a text in brackets and quotes, so that [`quoted`] reads it.
pub(super) fn write_quoted(path: &mut String, text: &str) {
    path.push_str("['");
    for c in text.chars() {
        match c {
            '\'' | '\\' => path.extend(['\\', c]),
            '\n' => path.push_str("\\n"),
            '\r' => path.push_str("\\r"),
            '\t' => path.push_str("\\t"),
            // All control characters are below U+00A0.
            c if c.is_control() => {
                let _ = write!(path, "\\u{:04x}", u32::from(c));
            }
            c => path.push(c),
        }
    }
    path.push_str("']");
}

/// Why there is no name in a quote.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unreadable<'a> {
    /// It has no end.
    Open,
    /// There is no such escape as begins here; what was expected.
    Escape(&'a str, &'static str),
}

impl Unreadable<'_> {
    /// What was expected.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Open => "a name closed by `']`",
            Self::Escape(_, expected) => expected,
        }
    }
}

/// The name that a quote begins with, its escapes undone, and what follows the quote's end.
pub(super) fn quoted(text: &str) -> Result<(String, &str), Unreadable<'_>> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let mut chars = rest.chars();
        match chars.next().ok_or(Unreadable::Open)? {
            '\\' => {
                name.push(match chars.next().ok_or(Unreadable::Open)? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let (escaped, after) =
                            escaped(rest).map_err(|expected| Unreadable::Escape(rest, expected))?;
                        chars = after.chars();
                        escaped
                    }
                    other => other,
                });
            }
            '\'' => {
                // A quote in a name needs no escape where it cannot be the end.
                if let Some(after) = chars.as_str().strip_prefix(']') {
                    return Ok((name, after));
                }
                name.push('\'');
            }
            c => name.push(c),
        }
        rest = chars.as_str();
    }
}

/// The character of the `\u` escape that this begins with, which may be a pair of surrogates (RFC 9535 §2.3.1.2), and what
/// follows it; `Err`: what was expected.
fn escaped(text: &str) -> Result<(char, &str), &'static str> {
    let no_digits = "four hexadecimal digits after `\\u`";
    let (first, after) = unit(text).ok_or(no_digits)?;
    let (units, after) = match unit(after) {
        Some((second, behind)) if is_high(first) => (vec![first, second], behind),
        _ => (vec![first], after),
    };
    match char::decode_utf16(units).next() {
        Some(Ok(c)) => Ok((c, after)),
        _ if is_high(first) => Err(
            "a low surrogate (`\\udc00` to `\\udfff`) after the high one: alone it is no character",
        ),
        _ => Err(
            "a high surrogate (`\\ud800` to `\\udbff`) before the low one: alone it is no character",
        ),
    }
}

/// The UTF-16 code unit of the `\u` escape that this begins with, and what follows it.
fn unit(text: &str) -> Option<(u16, &str)> {
    let text = text.strip_prefix("\\u")?;
    let (digits, after) = text.split_at_checked(4)?;
    // A sign is no digit.
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok()?;
    is_hex.then_some((unit, after))
}

/// Whether it is the first half of a character.
fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Index, Key};

    #[test]
    fn any_key_is_written_so_that_it_is_read_again_and_obeyed_by_nobody() {
        for (key, expected) in [
            ("sku", "$.sku"),
            ("a b\\c", "$.a b\\c"),
            ("", "$['']"),
            ("*", "$['*']"),
            ("a.b", "$['a.b']"),
            ("it's", "$['it\\'s']"),
            ("a']b\\", "$['a\\']b\\\\']"),
            ("\u{1b}[31m\n|", "$['\\u001b[31m\\n|']"),
            ("\u{9b}2J", "$['\\u009b2J']"),
        ] {
            let (path, template) = written("$", &[Key(key)]);
            assert_eq!((&*path, &*template), (expected, expected));
            let pattern = Pattern::parse(&path).unwrap();
            assert_eq!(pattern.trail(), Some(vec![Key(key)]), "{path}");
        }
        // As paths were written before there were escapes.
        assert_eq!(
            Pattern::parse("$['it's']").unwrap().trail(),
            Some(vec![Key("it's")])
        );
        // As others write them (RFC 9535 §2.3.1.2).
        assert_eq!(
            Pattern::parse("$['\\uD83D\\uDE00\\u00e9']")
                .unwrap()
                .trail(),
            Some(vec![Key("😀é")])
        );
    }

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
            (r"$['a\u12']", 4, r"four hexadecimal digits after `\u`"),
            (r"$['\u+123']", 3, r"four hexadecimal digits after `\u`"),
            (
                r"$['\uD83D']",
                3,
                r"a low surrogate (`\udc00` to `\udfff`) after the high one: alone it is no character",
            ),
            (
                r"$['\uD83D\u0041']",
                3,
                r"a low surrogate (`\udc00` to `\udfff`) after the high one: alone it is no character",
            ),
            (
                r"$['a\uDE00']",
                4,
                r"a high surrogate (`\ud800` to `\udbff`) before the low one: alone it is no character",
            ),
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
