//! Formats: values that may differ as long as both keep the form.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::shape;
use super::template::is_uuid;

/// The form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A UUID in its usual form.
    Uuid,
    /// A date and time with offset (RFC 3339).
    Rfc3339,
    /// Three parts of base64url, the first two of JSON objects' encodings (RFC 7519).
    Jwt,
    /// Hexadecimal digits, at least one.
    Hex,
    /// An integer, as a number or as text.
    Integer,
    /// A number that is a time since 1970, in seconds, milliseconds, microseconds or nanoseconds.
    Epoch,
}

/// The formats that a value has, or that all of several have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forms(u16);

/// Hexadecimal digits of which nobody expects a meaning.
const RANDOM_DIGITS: usize = 16;

/// Formats by the names a scenario uses.
const NAMES: [(&str, Format); 6] = [
    ("uuid", Format::Uuid),
    ("rfc3339", Format::Rfc3339),
    ("jwt", Format::Jwt),
    ("hex", Format::Hex),
    ("integer", Format::Integer),
    ("epoch", Format::Epoch),
];

impl Format {
    /// Whether a value, or a number's text, has the form.
    pub fn fits(self, text: &str) -> bool {
        match self {
            Self::Uuid => is_uuid(text),
            Self::Rfc3339 => text.parse::<Timestamp>().is_ok(),
            Self::Jwt => {
                let mut parts = text.split('.');
                let mut object = || {
                    parts
                        .next()
                        .is_some_and(|part| part.starts_with("ey") && base64url(part))
                };
                object()
                    && object()
                    && parts.next().is_some_and(base64url)
                    && parts.next().is_none()
            }
            Self::Hex => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Integer => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Epoch => text
                .parse()
                .is_ok_and(|number| shape::epoch(number).is_some()),
        }
    }
}

impl Forms {
    /// Every form, and that of random digits: what no value has taken away from yet.
    pub const ALL: Self = Self(u16::MAX);

    /// Stands beside the formats: long hexadecimal digits.
    const RANDOM: u16 = 1 << 15;

    /// The forms of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut forms = Self::default();
        let bytes = text.as_bytes();
        // Most texts are words: none but these can be a uuid, a time, digits or a token.
        if bytes.iter().any(u8::is_ascii_digit) {
            for format in [Format::Uuid, Format::Jwt, Format::Hex, Format::Integer] {
                forms.add(format, format.fits(text));
            }
            let dated = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
            forms.add(Format::Rfc3339, dated && Format::Rfc3339.fits(text));
        } else {
            forms.add(Format::Hex, Format::Hex.fits(text));
        }
        if forms.has(Format::Hex) && bytes.len() >= RANDOM_DIGITS {
            forms.0 |= Self::RANDOM;
        }
        forms
    }

    /// The forms of a number, given as text too.
    pub(super) fn of_number(text: &str, number: f64) -> Self {
        let mut forms = Self::default();
        forms.add(Format::Integer, Format::Integer.fits(text));
        forms.add(Format::Epoch, shape::epoch(number).is_some());
        forms
    }

    /// The forms that both have.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is among them.
    pub fn has(self, format: Format) -> bool {
        self.0 & bit(format) != 0
    }

    /// The one that says most.
    pub fn best(self) -> Option<Format> {
        let mut known = NAMES.iter().map(|(_, format)| *format);
        let best = known.find(|format| self.has(*format));
        // An integer that is a time in every answer is a time.
        best.map(|format| match format {
            Format::Integer if self.has(Format::Epoch) => Format::Epoch,
            format => format,
        })
    }

    /// Whether values of such a form are made anew for every answer, as far as one can tell without a control: ids and
    /// times.
    pub fn are_of_one_answer(self) -> bool {
        let made = [Format::Uuid, Format::Rfc3339, Format::Jwt, Format::Epoch];
        made.into_iter().any(|format| self.has(format)) || self.0 & Self::RANDOM != 0
    }

    /// Their names, for machines; `random` are long hexadecimal digits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = NAMES.iter().filter(move |(_, format)| self.has(*format));
        let random = (self.0 & Self::RANDOM != 0).then_some("random");
        known.map(|(name, _)| *name).chain(random)
    }

    fn add(&mut self, format: Format, fits: bool) {
        if fits {
            self.0 |= bit(format);
        }
    }
}

fn bit(format: Format) -> u16 {
    1 << format as u16
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            NAMES
                .iter()
                .find(|(_, format)| format == self)
                .map_or("", |(name, _)| name),
        )
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| {
                let accepted: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("unknown format `{text}`; accepted: {}", accepted.join(", "))
            })
    }
}

fn base64url(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_take_their_own_and_refuse_others() {
        for (name, fits, fails) in [
            (
                "uuid",
                "58843708-37ee-4052-969e-5cb4286e4d3b",
                "58843708-37ee-4052-969e-5cb4286e4d3",
            ),
            ("rfc3339", "2026-11-21T12:06:08.454Z", "2026-11-21"),
            ("jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "a.b.c"),
            ("hex", "00ff", ""),
            ("integer", "-12", "1.5"),
            ("epoch", "1795277170", "12"),
        ] {
            let format: Format = name.parse().unwrap();
            assert!(format.fits(fits) && !format.fits(fails), "{name}");
            assert_eq!(format.to_string(), name);
        }
    }

    #[test]
    fn an_unknown_format_is_refused_with_those_known() {
        assert_eq!(
            "guid".parse::<Format>().unwrap_err(),
            "unknown format `guid`; accepted: uuid, rfc3339, jwt, hex, integer, epoch"
        );
    }

    #[test]
    fn a_value_may_have_several_forms() {
        for (text, names) in [
            ("58843708-37ee-4052-969e-5cb4286e4d3b", &["uuid"][..]),
            ("2026-11-21T12:06:08.454Z", &["rfc3339"]),
            ("12345678", &["hex", "integer"]),
            ("beef", &["hex"]),
            ("d58b962b83a4426c9c602bff029f3807", &["hex", "random"]),
            ("oak lamp", &[]),
            ("", &[]),
        ] {
            assert_eq!(Forms::of(text).names().collect::<Vec<_>>(), names, "{text}");
        }
        assert_eq!(
            Forms::of_number("1795277170", 1_795_277_170.0).best(),
            Some(Format::Epoch)
        );
        assert_eq!(Forms::of_number("7", 7.0).best(), Some(Format::Integer));
        assert!(Forms::ALL.both(Forms::of_number("0.5", 0.5)).is_empty());
    }
}
