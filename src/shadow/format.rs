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

    /// The forms of a text; of a time also when that is, in seconds since 1970.
    pub(super) fn of(text: &str) -> (Self, Option<i64>) {
        let mut forms = Self::default();
        let bytes = text.as_bytes();
        if is_uuid(text) {
            forms.add(Format::Uuid, true);
            return (forms, None);
        }
        // Most texts are words: none but these can be a time, digits or a token.
        if bytes.iter().any(u8::is_ascii_digit) {
            for format in [Format::Jwt, Format::Hex, Format::Integer] {
                forms.add(format, format.fits(text));
            }
            // Nothing else has a dash there; and no time is a uuid.
            if bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-') {
                let moment =
                    utc(bytes).or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_second));
                forms.add(Format::Rfc3339, moment.is_some());
                return (forms, moment);
            }
        } else {
            forms.add(Format::Hex, Format::Hex.fits(text));
        }
        if forms.has(Format::Hex) && bytes.len() >= RANDOM_DIGITS {
            forms.0 |= Self::RANDOM;
        }
        (forms, None)
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

/// The seconds since 1970 of a time as most are written, `2026-11-21T12:06:08Z` with or without a fraction. Anything else is for
/// the reader of all forms, which takes five times as long.
fn utc(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_first_chunk::<19>()?;
    let digits = |from: usize, to: usize| {
        date.get(from..to)?.iter().try_fold(0, |value: i64, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let marked = marks.iter().all(|(at, mark)| date.get(*at) == Some(mark));
    let fraction = rest.strip_suffix(b"Z").filter(|_| marked)?;
    let plain = match fraction.split_first() {
        None => true,
        Some((dot, digits)) => {
            *dot == b'.' && (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
    };
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    // The last days of months, and leap seconds, are for the other reader.
    let usual = plain
        && (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !usual {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, years beginning in March (Howard Hinnant's `days_from_civil`).
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
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
            assert_eq!(
                Forms::of(text).0.names().collect::<Vec<_>>(),
                names,
                "{text}"
            );
        }
        assert_eq!(
            Forms::of_number("1795277170", 1_795_277_170.0).best(),
            Some(Format::Epoch)
        );
        assert_eq!(Forms::of_number("7", 7.0).best(), Some(Format::Integer));
        assert!(Forms::ALL.both(Forms::of_number("0.5", 0.5)).is_empty());
    }

    #[test]
    fn the_quick_reader_of_times_agrees_with_the_other() {
        for year in [
            "0001", "1600", "1969", "1970", "2000", "2026", "2100", "9998",
        ] {
            for month in 1..=12 {
                for rest in ["01T00:00:00Z", "28T23:59:59.999999999Z", "07T12:06:08.4Z"] {
                    let text = format!("{year}-{month:02}-{rest}");
                    let expected: Timestamp = text.parse().unwrap();
                    // Before 1970 a fraction rounds the other way.
                    let slack = i64::from(expected.as_second() < 0);
                    let quick = utc(text.as_bytes()).unwrap();
                    assert!(
                        (0..=slack).contains(&(expected.as_second() - quick)),
                        "{text}"
                    );
                }
            }
        }
        for other in [
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:06:08",
            "2026-11-21t12:06:08Z",
            "2026-11-21T12:06:08.Z",
            "2026-11-21T12:06:08,5Z",
            "2026-11-2xT12:06:08Z",
            "2026-11-21T12:06:08.0000000001Z",
        ] {
            assert_eq!(utc(other.as_bytes()), None, "{other}");
        }
    }
}
