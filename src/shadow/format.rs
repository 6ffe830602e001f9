//! Formats: values that may differ as long as both keep the form.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

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
}

/// Formats by the names a scenario uses.
const NAMES: [(&str, Format); 5] = [
    ("uuid", Format::Uuid),
    ("rfc3339", Format::Rfc3339),
    ("jwt", Format::Jwt),
    ("hex", Format::Hex),
    ("integer", Format::Integer),
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
        }
    }
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
            "unknown format `guid`; accepted: uuid, rfc3339, jwt, hex, integer"
        );
    }
}
