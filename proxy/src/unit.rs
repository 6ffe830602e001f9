//! Values that carry their unit: shares, sizes, rates, durations; parsing and showing. A bare number where a unit is
//! needed is an error.

use std::{fmt, time::Duration};

/// A share of a whole, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

/// A count of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Events per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A text that is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What was written.
    pub text: String,
    /// What would be accepted.
    pub accepted: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.text, self.accepted)
    }
}

impl std::error::Error for Unreadable {}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);
    /// Everything.
    pub const ALL: Self = Self(1.0);
    /// What is accepted as a share.
    pub const ACCEPTED: &'static str = "a share such as `5%` or `0.05`, from 0 to 1";

    /// A share from a number, if it is one.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The share as a number from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Reads `5%` or `0.05`.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let trimmed = text.trim();
        let value = match trimmed.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| percent / 100.0),
            None => number(trimmed),
        };
        value
            .and_then(Self::new)
            .ok_or_else(|| unreadable(text, Self::ACCEPTED))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six decimals are the finest share there is (one in a million), and hide the binary remainder of 0.07 * 100.
        let text = format!("{:.6}", self.0 * 100.0);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl ByteSize {
    /// What is accepted as a size.
    pub const ACCEPTED: &'static str = "a size such as `64KiB`, `1MB` or `512B`";

    /// Reads `64KiB`, `1MB`, `512B`.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let (value, unit) = split(text);
        let factor = match unit {
            "B" => 1.0,
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(unreadable(text, Self::ACCEPTED)),
        };
        number(value)
            .map(|value| Self((value * factor).round() as u64))
            .ok_or_else(|| unreadable(text, Self::ACCEPTED))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [
            ("GiB", 1_u64 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("KB", 1_000),
        ] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Rate {
    /// What is accepted as a rate.
    pub const ACCEPTED: &'static str = "a rate such as `400/s` or `30/min`, above 0";

    /// A rate per second, if it is above 0.
    pub fn per_second(value: f64) -> Option<Self> {
        (value > 0.0 && value.is_finite()).then_some(Self(value))
    }

    /// Events per second.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Reads `400/s`, `30/min`, `100/h`.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let bad = || unreadable(text, Self::ACCEPTED);
        let (value, unit) = text.trim().split_once('/').ok_or_else(bad)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "min" | "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        number(value)
            .and_then(|value| Self::per_second(value / seconds))
            .ok_or_else(bad)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// What is accepted as a duration.
pub const DURATION_ACCEPTED: &str = "a duration such as `250ms`, `1.5s` or `2m`";

/// Reads `250ms`, `1.5s`, `2m`, `40us`, `1h`, and sums such as `1m30s`.
pub fn parse_duration(text: &str) -> Result<Duration, Unreadable> {
    let bad = || unreadable(text, DURATION_ACCEPTED);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos = 0.0_f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(bad)?;
        let (value, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let factor = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        nanos += number(value).ok_or_else(bad)? * factor;
        rest = next;
    }
    if nanos > 1e18 {
        return Err(bad());
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Shows a duration in the largest unit that needs no long fraction: `250ms`, `1.5s`, `2m`.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let in_units = |size: u128, unit: &str| {
        let text = format!("{:.3}", nanos as f64 / size as f64);
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{n}ns"),
        n if n < 1_000_000 => in_units(1_000, "us"),
        n if n < 1_000_000_000 => in_units(1_000_000, "ms"),
        n if n >= 60_000_000_000 && n.is_multiple_of(60_000_000_000) => {
            format!("{}m", n / 60_000_000_000)
        }
        _ => in_units(1_000_000_000, "s"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (value, unit) = text.split_at(digits);
    (value, unit.trim())
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain
        .then(|| text.parse::<f64>().ok())
        .flatten()
        .filter(|value| value.is_finite())
}

fn unreadable(text: &str, accepted: &'static str) -> Unreadable {
    Unreadable {
        text: text.to_owned(),
        accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_show_in_their_units() {
        for (text, millis, shown) in [
            ("250ms", 250.0, "250ms"),
            ("1.5s", 1500.0, "1.5s"),
            ("2m", 120_000.0, "2m"),
            ("40us", 0.04, "40us"),
            ("1m30s", 90_000.0, "90s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert!(
                (duration.as_secs_f64() * 1e3 - millis).abs() < 1e-9,
                "{text}"
            );
            assert_eq!(show_duration(duration), shown);
        }
        for wrong in ["", "5", "s", "1x", "-1s", "1e3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_sizes_and_rates_need_their_form() {
        assert_eq!(Share::parse("5%").unwrap(), Share::parse("0.05").unwrap());
        assert_eq!(Share::parse("0.1%").unwrap().to_string(), "0.1%");
        assert!(Share::parse("101%").is_err() && Share::parse("5").is_err());
        assert_eq!(ByteSize::parse("64KiB").unwrap(), ByteSize(65_536));
        assert_eq!(ByteSize::parse("1MB").unwrap().to_string(), "1MB");
        assert!(ByteSize::parse("64").is_err());
        assert!((Rate::parse("30/min").unwrap().get() - 0.5).abs() < 1e-12);
        assert!(Rate::parse("400").is_err() && Rate::parse("0/s").is_err());
    }
}
