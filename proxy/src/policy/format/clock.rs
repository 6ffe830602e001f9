//! Times of day as `strftime` writes them, in UTC.

use std::time::Duration;

use super::{Invalid, invalid};

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock(Vec<Item>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(String),
    Digits(Unit, Pad),
    /// So many digits of the second's fraction.
    Fraction(usize),
    Name(Naming),
}

/// A number in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Century,
    YearOfCentury,
    Month,
    Day,
    DayOfYear,
    Weekday,
    WeekdayFromMonday,
    Hour,
    Hour12,
    Minute,
    Second,
    Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pad {
    None,
    Zero(usize),
    Space(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Weekday,
    WeekdayShort,
    Month,
    MonthShort,
    Half,
}

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A time, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    epoch: u64,
    year: u64,
    /// From 1.
    month: u64,
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// 0: Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
    nanos: u32,
}

impl Clock {
    /// Envoy's: `2018-05-29T10:43:10.528Z`.
    pub fn rfc3339() -> Self {
        let mut items = Vec::new();
        for (unit, width, after) in [
            (Unit::Year, 4, "-"),
            (Unit::Month, 2, "-"),
            (Unit::Day, 2, "T"),
            (Unit::Hour, 2, ":"),
            (Unit::Minute, 2, ":"),
            (Unit::Second, 2, "."),
        ] {
            items.push(Item::Digits(unit, Pad::Zero(width)));
            items.push(Item::Text(after.to_owned()));
        }
        items.push(Item::Fraction(3));
        items.push(Item::Text("Z".to_owned()));
        Self(items)
    }

    /// A format of `strftime`, with `%s`, `%f` and `%3f` as Envoy has them.
    pub fn compile(format: &str) -> Result<Self, Invalid> {
        let mut clock = Self(Vec::new());
        let mut chars = format.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\n' | '\r' | '\0' => return Err(invalid("a time cannot have a line break")),
                '%' => {
                    let mut directive = String::new();
                    while let Some(flag) =
                        chars.next_if(|char| matches!(char, '0'..='9' | 'E' | '*'))
                    {
                        directive.push(flag);
                    }
                    directive.extend(chars.next());
                    clock.directive(&directive)?;
                }
                plain => clock.text(plain),
            }
        }
        Ok(clock)
    }

    /// Appends the time.
    pub fn write(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        let parts = Parts::of(since_epoch);
        for item in &self.0 {
            match item {
                Item::Text(text) => out.extend_from_slice(text.as_bytes()),
                Item::Digits(unit, pad) => digits(parts.number(*unit), *pad, out),
                Item::Fraction(width) => fraction(parts.nanos, *width, out),
                Item::Name(naming) => out.extend_from_slice(parts.name(*naming).as_bytes()),
            }
        }
    }

    fn text(&mut self, char: char) {
        match self.0.last_mut() {
            Some(Item::Text(text)) => text.push(char),
            _ => self.0.push(Item::Text(char.to_string())),
        }
    }

    fn digits(&mut self, unit: Unit, pad: Pad) {
        self.0.push(Item::Digits(unit, pad));
    }

    fn several(&mut self, format: &str) -> Result<(), Invalid> {
        self.0.extend(Self::compile(format)?.0);
        Ok(())
    }

    fn directive(&mut self, directive: &str) -> Result<(), Invalid> {
        const TWO: Pad = Pad::Zero(2);
        match directive {
            "Y" | "E4Y" => self.digits(Unit::Year, Pad::Zero(4)),
            "C" => self.digits(Unit::Century, TWO),
            "y" => self.digits(Unit::YearOfCentury, TWO),
            "m" => self.digits(Unit::Month, TWO),
            "d" => self.digits(Unit::Day, TWO),
            "e" => self.digits(Unit::Day, Pad::Space(2)),
            "j" => self.digits(Unit::DayOfYear, Pad::Zero(3)),
            "w" => self.digits(Unit::Weekday, Pad::None),
            "u" => self.digits(Unit::WeekdayFromMonday, Pad::None),
            "H" => self.digits(Unit::Hour, TWO),
            "k" => self.digits(Unit::Hour, Pad::Space(2)),
            "I" => self.digits(Unit::Hour12, TWO),
            "l" => self.digits(Unit::Hour12, Pad::Space(2)),
            "M" => self.digits(Unit::Minute, TWO),
            "S" => self.digits(Unit::Second, TWO),
            "s" => self.digits(Unit::Epoch, Pad::None),
            "f" => self.0.push(Item::Fraction(9)),
            "A" => self.0.push(Item::Name(Naming::Weekday)),
            "a" => self.0.push(Item::Name(Naming::WeekdayShort)),
            "B" => self.0.push(Item::Name(Naming::Month)),
            "b" | "h" => self.0.push(Item::Name(Naming::MonthShort)),
            "p" => self.0.push(Item::Name(Naming::Half)),
            "F" => return self.several("%Y-%m-%d"),
            "T" | "X" => return self.several("%H:%M:%S"),
            "R" => return self.several("%H:%M"),
            "D" | "x" => return self.several("%m/%d/%y"),
            "r" => return self.several("%I:%M:%S %p"),
            "c" => return self.several("%a %b %e %H:%M:%S %Y"),
            "z" => return self.several("+0000"),
            "Ez" => return self.several("+00:00"),
            "E*z" => return self.several("+00:00:00"),
            "Z" => return self.several("UTC"),
            "t" => self.text('\t'),
            "%" => self.text('%'),
            "n" => return Err(invalid("a time cannot have a line break")),
            other => {
                let width = match other.strip_suffix('f').or(other.strip_suffix('S')) {
                    Some(width) if width.starts_with('E') => width.get(1..).unwrap_or_default(),
                    Some(width) if other.ends_with('f') => width,
                    _ => "",
                };
                let Some(width) = width.parse().ok().filter(|width| (1..=9).contains(width)) else {
                    return Err(invalid(format!("`%{other}` is not a part of a time")));
                };
                if other.ends_with('S') {
                    self.several("%S.")?;
                }
                self.0.push(Item::Fraction(width));
            }
        }
        Ok(())
    }
}

impl Parts {
    /// The Gregorian calendar (Howard Hinnant's days-to-civil: years begin in March, so that the odd day comes last).
    fn of(since_epoch: Duration) -> Self {
        let epoch = since_epoch.as_secs();
        let (days, second) = (epoch / 86_400, epoch % 86_400);
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let day_of_year = if month <= 2 {
            of_year - 305
        } else {
            of_year + 60 + u64::from(leap)
        };
        Self {
            epoch,
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            nanos: since_epoch.subsec_nanos(),
        }
    }

    fn number(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Year => self.year,
            Unit::Century => self.year / 100,
            Unit::YearOfCentury => self.year % 100,
            Unit::Month => self.month,
            Unit::Day => self.day,
            Unit::DayOfYear => self.day_of_year,
            Unit::WeekdayFromMonday if self.weekday == 0 => 7,
            Unit::Weekday | Unit::WeekdayFromMonday => self.weekday,
            Unit::Hour => self.hour,
            Unit::Hour12 => (self.hour + 11) % 12 + 1,
            Unit::Minute => self.minute,
            Unit::Second => self.second,
            Unit::Epoch => self.epoch,
        }
    }

    fn name(&self, naming: Naming) -> &'static str {
        let weekday = WEEKDAYS.get(self.weekday as usize).copied().unwrap_or("");
        let month = MONTHS.get(self.month as usize - 1).copied().unwrap_or("");
        match naming {
            Naming::Weekday => weekday,
            Naming::WeekdayShort => weekday.get(..3).unwrap_or(""),
            Naming::Month => month,
            Naming::MonthShort => month.get(..3).unwrap_or(""),
            Naming::Half if self.hour < 12 => "AM",
            Naming::Half => "PM",
        }
    }
}

fn digits(number: u64, pad: Pad, out: &mut Vec<u8>) {
    let (width, fill) = match pad {
        Pad::None => (1, b'0'),
        Pad::Zero(width) => (width, b'0'),
        Pad::Space(width) => (width, b' '),
    };
    number_padded(number, width, fill, out);
}

fn fraction(nanos: u32, width: usize, out: &mut Vec<u8>) {
    let cut = 10_u32.pow(9 - width.min(9) as u32);
    number_padded(u64::from(nanos / cut), width, b'0', out);
}

/// Appends a number, filled up to a width.
pub(super) fn number_padded(number: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    let mut digits = [fill; 20];
    let mut at = digits.len();
    let mut rest = number;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        at -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let at = at.min(digits.len().saturating_sub(width));
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, epoch: u64) -> String {
        let mut out = Vec::new();
        Clock::compile(format)
            .unwrap()
            .write(Duration::new(epoch, 7_000_009), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_date_writes_them() {
        // By `date -u -d @N +FORMAT`.
        for (epoch, format, expected) in [
            (0, "%F %T %a %j", "1970-01-01 00:00:00 Thu 001"),
            (951_782_399, "%c", "Mon Feb 28 23:59:59 2000"),
            (
                951_782_400,
                "%D %A %B %e %j",
                "02/29/00 Tuesday February 29 060",
            ),
            (978_220_800, "%F %j %u %w", "2000-12-31 366 7 0"),
            (
                1_704_067_199,
                "%Y %C %y %b %d %I:%M:%S %p",
                "2023 20 23 Dec 31 11:59:59 PM",
            ),
            (1_709_251_200, "%F %j", "2024-03-01 061"),
            (4_107_542_400, "%F %j %r", "2100-03-01 060 12:00:00 AM"),
            (3_600 * 13, "%H %k %l%t%R%%", "13 13  1\t13:00%"),
        ] {
            assert_eq!(written(format, epoch), expected, "{format} of {epoch}");
        }
    }

    #[test]
    fn fractions_have_the_digits_that_are_asked_for() {
        assert_eq!(
            written("%f %1f %3f %6f %9f", 0),
            "007000009 0 007 007000 007000009"
        );
        assert_eq!(written("%E3S %E2f", 61), "01.007 00");
        assert_eq!(written("%z %Ez %Z %s", 61), "+0000 +00:00 UTC 61");
    }
}
