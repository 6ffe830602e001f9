//! What is left to compare where two values always differ: their form, and how large they are.
//!
//! Of a random id or a time, that it differs says nothing. What says something is that it is no UUID any more, or ten
//! times as long, or an hour off. So every difference of two texts or two numbers carries its [`Shape`]: whether both have
//! one form, and how large both are. Over a run the former is counted beside the control's, and of the latter the distributions are.

use super::format::{Format, Forms};
use super::json::Node;

/// Numbers from here on, in seconds, are taken for times: May 2010 to July 2033.
const EPOCH: std::ops::Range<f64> = 1.273e9..2.0e9;

/// Times are told apart by so many seconds: answers to one request are not given at one moment.
const SAME_MOMENT: f64 = 10.0;

/// Two texts or two numbers that differ, looked at from afar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Whether both have one form: a format, or without one about the same length; of numbers the sign, and whether they
    /// are whole.
    pub same: bool,
    /// The forms that both have.
    pub forms: Forms,
    /// What `sizes` measure.
    pub of: Measure,
    /// How large they are, the primary's first; `None` where values must not be shown.
    pub sizes: Option<(f64, f64)>,
}

/// What a value's size is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// A number's value.
    Number,
    /// A time, in units of ten seconds.
    Time,
    /// A text's length in bytes.
    Length,
}

impl Measure {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Time => "time",
            Self::Length => "length",
        }
    }
}

impl Shape {
    /// What two different values have in common; `None` unless both are texts, or both numbers.
    pub(super) fn of(primary: &Node<'_>, shadow: &Node<'_>) -> Option<Self> {
        match (primary, shadow) {
            (Node::Text(primary), Node::Text(shadow)) => Some(Self::of_texts(primary, shadow)),
            (Node::Number(primary), Node::Number(shadow)) => Self::of_numbers(primary, shadow),
            _ => None,
        }
    }

    fn of_texts(primary: &str, shadow: &str) -> Self {
        let ((of_primary, first), (of_shadow, second)) = (Forms::of(primary), Forms::of(shadow));
        let forms = of_primary.both(of_shadow);
        let (of, sizes) = match (first, second) {
            (Some(first), Some(second)) => (
                Measure::Time,
                (rounded(first as f64), rounded(second as f64)),
            ),
            _ => (Measure::Length, (primary.len() as f64, shadow.len() as f64)),
        };
        let as_long = length_class(primary) == length_class(shadow);
        Self {
            same: (!forms.is_empty() || (of_primary.is_empty() && of_shadow.is_empty())) && as_long,
            forms,
            of,
            sizes: Some(sizes),
        }
    }

    fn of_numbers(primary: &str, shadow: &str) -> Option<Self> {
        let (x, y) = (finite(primary)?, finite(shadow)?);
        let forms = Forms::of_number(primary, x).both(Forms::of_number(shadow, y));
        let times = (epoch(x), epoch(y));
        let (of, sizes) = match times {
            (Some((unit, x)), Some((other, y))) if unit == other => (Measure::Time, (x, y)),
            _ => (Measure::Number, (x, y)),
        };
        let whole = |text: &str| Format::Integer.fits(text);
        Some(Self {
            same: whole(primary) == whole(shadow) && sign(x) == sign(y),
            forms,
            of,
            sizes: Some(sizes),
        })
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn sign(number: f64) -> i8 {
    i8::from(number > 0.0) - i8::from(number < 0.0)
}

/// Texts of 1 to 3, 4 to 15, 16 to 63, … bytes are about as long.
fn length_class(text: &str) -> u32 {
    text.len().checked_ilog(4).map_or(0, |class| class + 1)
}

/// The unit of a number that may be a time since 1970, in powers of 1,000 a second, and when that is.
pub(super) fn epoch(number: f64) -> Option<(i32, f64)> {
    (0..4).find_map(|power| {
        let seconds = number / 1_000_f64.powi(power);
        EPOCH.contains(&seconds).then(|| (power, rounded(seconds)))
    })
}

fn rounded(seconds: f64) -> f64 {
    (seconds / SAME_MOMENT).round()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::json;

    fn shape(primary: &str, shadow: &str) -> Shape {
        let (primary, shadow) = (json::parse(primary).unwrap(), json::parse(shadow).unwrap());
        Shape::of(&primary, &shadow).unwrap()
    }

    #[test]
    fn what_keeps_its_form_is_the_same_from_afar() {
        let (one, two) = (
            "\"58843708-37ee-4052-969e-5cb4286e4d3b\"",
            "\"d58b962b-83a4-426c-9c60-2bff029f3807\"",
        );
        for (primary, shadow, same) in [
            (one, two, true),
            (one, "\"d58b962b83a4426c9c602bff029f3807\"", false),
            (one, "\"\"", false),
            ("\"ann\"", "\"bob\"", true),
            ("\"ann\"", "\"\"", false),
            ("\"ann\"", "\"7\"", false),
            ("\"ann\"", "\"anneliese-charlotte\"", false),
            ("\"00ff\"", "\"beef\"", true),
            (
                "\"2026-11-21T12:06:08Z\"",
                "\"2026-11-21T12:06:09.5+01:00\"",
                true,
            ),
            ("\"2026-11-21T12:06:08Z\"", "\"2026-11-21 12:06\"", false),
            ("3", "700", true),
            ("3", "-700", false),
            ("3", "0", false),
            ("3", "3.5", false),
            ("0.5", "0.25", true),
        ] {
            assert_eq!(shape(primary, shadow).same, same, "{primary} {shadow}");
        }
    }

    #[test]
    fn sizes_are_values_moments_or_lengths() {
        for (primary, shadow, of, sizes) in [
            ("3", "700.5", Measure::Number, (3.0, 700.5)),
            ("\"ann\"", "\"bob-2\"", Measure::Length, (3.0, 5.0)),
            (
                "\"2026-11-21T12:06:08Z\"",
                "\"2026-11-21T13:06:08.9Z\"",
                Measure::Time,
                (179_526_277.0, 179_526_637.0),
            ),
            (
                "1795277170",
                "1795277171",
                Measure::Time,
                (179_527_717.0, 179_527_717.0),
            ),
            (
                "1795277170000",
                "1795277171000",
                Measure::Time,
                (179_527_717.0, 179_527_717.0),
            ),
            // Seconds against milliseconds is no question of when.
            (
                "1795277170",
                "1795277170000",
                Measure::Number,
                (1_795_277_170.0, 1_795_277_170_000.0),
            ),
        ] {
            let shape = shape(primary, shadow);
            assert_eq!((shape.of, shape.sizes), (of, Some(sizes)), "{primary}");
        }
    }

    #[test]
    fn other_types_have_no_shape() {
        let (number, text) = (json::parse("1").unwrap(), json::parse("\"1\"").unwrap());
        assert_eq!(Shape::of(&number, &text), None);
        let huge = json::parse("1e999").unwrap();
        assert_eq!(Shape::of(&number, &huge), None);
    }
}
