//! A JSON reader that borrows: two bodies are read to be compared once and dropped, so strings and numbers stay where
//! they are. Strict RFC 8259; numbers keep their text, so that none is rounded.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::body::Unread;

/// Deeper nesting is not read as JSON: the walk is recursive.
pub(super) const MAX_DEPTH: usize = 128;

/// Longer texts are cut in examples.
pub(super) const SHOWN_TEXT: usize = 512;

/// Places for an object's fields to begin with: growing from fewer took a tenth of the time of a comparison.
const FIELDS: usize = 8;

/// The most values that an example shows.
const SHOWN_VALUES: usize = 64;

/// A JSON value that borrows from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// Reads a text that is one JSON value. `None` if it is not, or nests deeper than [`MAX_DEPTH`].
pub(super) fn parse(text: &str) -> Option<Node<'_>> {
    read(text).ok()
}

/// Reads a text that is one JSON value, or says why it is not read as one.
pub(super) fn read(text: &str) -> Result<Node<'_>, Unread> {
    let mut reader = Reader {
        text,
        at: 0,
        too_deep: false,
    };
    let value = reader.value(0).filter(|_| {
        reader.blank();
        reader.at == text.len()
    });
    value.ok_or(if reader.too_deep {
        Unread::TooDeep
    } else {
        Unread::NotJson
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    too_deep: bool,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth > MAX_DEPTH {
            self.too_deep = true;
            return None;
        }
        self.blank();
        match self.peek()? {
            b'{' => self.map(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Node::Text),
            b't' => self.word("true", Node::Bool(true)),
            b'f' => self.word("false", Node::Bool(false)),
            b'n' => self.word("null", Node::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Node<'a>) -> Option<Node<'a>> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn map(&mut self, depth: usize) -> Option<Node<'a>> {
        self.take(b'{')?;
        self.blank();
        if self.take(b'}').is_some() {
            return Some(Node::Map(Vec::new()));
        }
        let mut fields = Vec::with_capacity(FIELDS);
        loop {
            self.blank();
            let name = self.string()?;
            self.blank();
            self.take(b':')?;
            fields.push((name, self.value(depth + 1)?));
            self.blank();
            if self.take(b'}').is_some() {
                return Some(Node::Map(fields));
            }
            self.take(b',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Option<Node<'a>> {
        self.take(b'[')?;
        let mut elements = Vec::new();
        self.blank();
        if self.take(b']').is_some() {
            return Some(Node::List(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b']').is_some() {
                return Some(Node::List(elements));
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let begin = self.at;
        let mut decoded: Option<String> = None;
        let mut kept = begin;
        loop {
            self.at += plain(self.text.as_bytes().get(self.at..)?);
            let plain = self.text.get(kept..self.at)?;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(match decoded {
                        None => Cow::Borrowed(plain),
                        Some(mut text) => {
                            text.push_str(plain);
                            Cow::Owned(text)
                        }
                    });
                }
                b'\\' => {
                    let text = decoded.get_or_insert_default();
                    text.push_str(plain);
                    self.at += 1;
                    text.push(self.escape()?);
                    kept = self.at;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xd800..0xdc00).contains(&first) {
                    // A lone low surrogate is no character either.
                    return char::from_u32(first);
                }
                self.take(b'\\')?;
                self.take(b'u')?;
                let second = self.hex().filter(|code| (0xdc00..0xe000).contains(code))?;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        // `from_str_radix` would take a sign.
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let begin = self.at;
        let _ = self.take(b'-');
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(begin..self.at)?;
        Some(Node::Number(Cow::Borrowed(text)))
    }

    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }
}

/// How many bytes of a string come before a quote, an escape or a control character; eight are looked at in one go.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Of each byte the high bit, if it is less than `below` (at most 128). Beyond the first such byte it may err.
    let less = |word: u64, below: u64| word.wrapping_sub(ONES * below) & !word & HIGH;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = less(word ^ (ONES * u64::from(b'"')), 1);
        let escape = less(word ^ (ONES * u64::from(b'\\')), 1);
        let ends = quote | escape | less(word, 0x20);
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + rest.iter().position(end).unwrap_or(rest.len())
}

impl Node<'_> {
    /// The same, borrowing from nothing.
    pub(super) fn into_owned(self) -> Node<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Node::Null,
            Self::Bool(value) => Node::Bool(value),
            Self::Number(text) => Node::Number(owned(text)),
            Self::Text(text) => Node::Text(owned(text)),
            Self::List(elements) => {
                Node::List(elements.into_iter().map(Node::into_owned).collect())
            }
            Self::Map(fields) => {
                let fields = fields.into_iter();
                Node::Map(
                    fields
                        .map(|(name, value)| (owned(name), value.into_owned()))
                        .collect(),
                )
            }
        }
    }

    /// The element of a list at this place.
    pub(super) fn item(&self, place: usize) -> Option<&Self> {
        match self {
            Self::List(elements) => elements.get(place),
            _ => None,
        }
    }

    /// What it says, if it is a text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as an example: long texts cut, large values cut short.
    pub(super) fn shown(&self) -> Value {
        self.shown_within(&mut SHOWN_VALUES.clone())
    }

    fn shown_within(&self, left: &mut usize) -> Value {
        if *left == 0 {
            return Value::from("…");
        }
        *left -= 1;
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(text) => number(text),
            Self::Text(text) => Value::String(cut(text)),
            Self::List(elements) => elements
                .iter()
                .map_while(|element| (*left > 0).then(|| element.shown_within(left)))
                .collect(),
            Self::Map(fields) => {
                let shown = fields.iter().map_while(|(name, value)| {
                    (*left > 0).then(|| (cut(name), value.shown_within(left)))
                });
                Value::Object(shown.collect::<Map<_, _>>())
            }
        }
    }

    /// Whether both are the same but for the order of their fields, as [`Self::canonical`] has it; most that differ do so at
    /// once.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(of_self), Self::List(of_other)) => {
                let mut pairs = of_self.iter().zip(of_other);
                of_self.len() == of_other.len() && pairs.all(|(a, b)| a.is_like(b))
            }
            (Self::Map(of_self), Self::Map(of_other)) => {
                let there = |place: usize, name: &str| match of_other.get(place) {
                    Some((other, value)) if other == name => Some(value),
                    _ => of_other
                        .iter()
                        .find(|(other, _)| other == name)
                        .map(|(_, value)| value),
                };
                let mut fields = of_self.iter().enumerate();
                of_self.len() == of_other.len()
                    && fields.all(|(place, (name, value))| {
                        there(place, name).is_some_and(|other| value.is_like(other))
                    })
            }
            (one, other) => one == other,
        }
    }

    /// A text that is equal for equal values, whatever the order of their fields.
    pub(super) fn canonical(&self, into: &mut String) {
        match self {
            Self::Null => into.push('n'),
            Self::Bool(value) => into.push(if *value { 't' } else { 'f' }),
            Self::Number(text) => into.push_str(text),
            Self::Text(text) => {
                // Debug form: quoted and escaped, so that no text looks like a structure.
                let _ = write!(into, "{text:?}");
            }
            Self::List(elements) => {
                into.push('[');
                for element in elements {
                    element.canonical(into);
                    into.push(',');
                }
                into.push(']');
            }
            Self::Map(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                into.push('{');
                for (name, value) in sorted {
                    let _ = write!(into, "{name:?}:");
                    value.canonical(into);
                    into.push(',');
                }
                into.push('}');
            }
        }
    }
}

/// A text no longer than an example may show.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= SHOWN_TEXT {
        return text.to_owned();
    }
    let end = (0..=SHOWN_TEXT)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!(
        "{}… ({} bytes)",
        text.get(..end).unwrap_or_default(),
        text.len()
    )
}

fn number(text: &str) -> Value {
    let whole = text
        .parse::<i64>()
        .map(Number::from)
        .or_else(|_| text.parse::<u64>().map(Number::from));
    let number = whole
        .ok()
        .or_else(|| text.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| Value::from(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_serde_refuses_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\u+123\"",
            "\"a\nb\"",
            "\"",
            "[1 2]",
            "{\"a\" 1}",
            "{1:2}",
            "1 1",
            "\u{feff}1",
            "\"\\ud800\\u0041\"",
        ] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn strings_end_where_they_end() {
        for length in 0..40 {
            let text = "aé\u{7f}\u{1f600}ÿ".repeat(9);
            let text: String = text.chars().take(length).collect();
            assert_eq!(
                parse(&format!("\"{text}\"")),
                Some(Node::Text(text.clone().into()))
            );
            for end in ["\\", "\"", "\u{1}", "\u{1f}"] {
                let bytes = format!("{text}{end}{text}");
                assert_eq!(plain(bytes.as_bytes()), text.len(), "{bytes:?}");
            }
            assert_eq!(plain(text.as_bytes()), text.len());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(MAX_DEPTH)).is_some());
        assert!(parse(&nested(MAX_DEPTH + 2)).is_none());
        assert!(parse(&nested(1_000_000)).is_none());
    }

    #[test]
    fn large_integers_keep_their_digits() {
        assert_eq!(
            parse("18446744073709551617"),
            Some(Node::Number("18446744073709551617".into()))
        );
    }

    #[test]
    fn examples_are_cut() {
        let long = format!("[\"{}\", {}]", "é".repeat(600), "[1],".repeat(200) + "1");
        let shown = parse(&long).unwrap().shown();
        assert!(shown[0].as_str().unwrap().ends_with("… (1200 bytes)"));
        assert!(shown.as_array().unwrap().len() < 64);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has no others", |f| f.is_finite())
                .prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[\\x00-\\x7f]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_back(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(parse(&text).unwrap().shown(), value);
        }

        #[test]
        fn both_readers_accept_the_same_texts(text in "[\\[\\]{}\",:0-9.eE+tfn\\-\\\\u a]{0,10}") {
            prop_assert_eq!(parse(&text).is_some(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
