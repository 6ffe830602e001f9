//! Numbers with their units.

use super::{Parser, Told, is_word};
use crate::expr::Unit;

impl Parser {
    /// `250ms`, `1m30s`, `0.1%`, `400/s`, `64KiB`, `1.2`.
    pub(super) fn number(&mut self) -> Result<(f64, Unit), Told> {
        let begin = self.at;
        let mut micros = 0.0;
        let mut parts = 0;
        loop {
            let digits = self.take(|c| c.is_ascii_digit() || c == '.');
            let number = digits
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite());
            let Some(number) = number else {
                let length = self.at - begin;
                self.tell(
                    begin,
                    length,
                    format!("`{digits}` is not a number"),
                    "a number such as `1.2`",
                );
                return Err(Told);
            };
            if self.peek() == Some('%') && parts == 0 {
                self.at += 1;
                return Ok((number / 100.0, Unit::Share));
            }
            // `400/s` is a rate, `400 / x` a division: a rate has no blanks and one of three letters.
            if self.peek() == Some('/') && parts == 0 {
                for (unit, seconds) in [("min", 60.0), ("m", 60.0), ("s", 1.0), ("h", 3600.0)] {
                    let length = unit.len();
                    let same =
                        (0..length).all(|place| self.peek_at(1 + place) == unit.chars().nth(place));
                    if same
                        && !self
                            .peek_at(1 + length)
                            .is_some_and(|c| is_word(c) || c == '[' || c == '.')
                    {
                        self.at += 1 + length;
                        return Ok((number / seconds, Unit::PerSecond));
                    }
                }
            }
            let unit_at = self.at;
            let unit = self.take(|c| c.is_ascii_alphabetic() || c == 'µ');
            let factor = match unit.as_str() {
                "" if parts == 0 => return Ok((number, Unit::Ratio)),
                "ns" => 1e-3,
                "us" | "µs" => 1.0,
                "ms" => 1e3,
                "s" => 1e6,
                "m" | "min" => 60e6,
                "h" => 3600e6,
                _ => {
                    let size = match unit.as_str() {
                        "B" => 1.0,
                        "KB" | "kB" => 1e3,
                        "MB" => 1e6,
                        "GB" => 1e9,
                        "KiB" => 1024.0,
                        "MiB" => 1024.0 * 1024.0,
                        "GiB" => 1024.0 * 1024.0 * 1024.0,
                        _ => 0.0,
                    };
                    if size > 0.0 && parts == 0 {
                        return Ok((number * size, Unit::Bytes));
                    }
                    let length = self.at - unit_at;
                    self.tell(
                        unit_at,
                        length,
                        format!("`{unit}` is not a unit"),
                        "accepted: ns us ms s m h (durations), % (shares), /s /min /h (rates), B KB MB GB KiB MiB GiB (sizes)",
                    );
                    return Err(Told);
                }
            };
            micros += number * factor;
            parts += 1;
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Ok((micros, Unit::Micros));
            }
        }
    }
}
