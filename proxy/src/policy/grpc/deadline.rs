//! How long a call may take: the header `grpc-timeout`.

use std::time::Duration;

/// More than eight digits are not allowed.
const MOST: u128 = 99_999_999;

/// What a value says: up to eight digits and a unit.
pub fn read(text: &str) -> Option<Duration> {
    let digits = text.len().checked_sub(1)?;
    let (number, unit) = (text.get(..digits)?, text.get(digits..)?);
    if number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The value that says so: in milliseconds, or in the next unit that is long enough, as Envoy.
pub fn write(within: Duration) -> String {
    let mut number = within.as_millis();
    let mut units = [("S", 1000), ("M", 60), ("H", 60)].into_iter();
    let mut unit = "m";
    while number > MOST {
        match units.next() {
            Some((next, parts)) => (number, unit) = (number / parts, next),
            None => number = MOST,
        }
    }
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_in_units() {
        let ms = Duration::from_millis;
        for (text, meant) in [
            ("400m", Some(ms(400))),
            ("9S", Some(ms(9_000))),
            ("2M", Some(ms(120_000))),
            ("1H", Some(ms(3_600_000))),
            ("5000u", Some(ms(5))),
            ("7000000n", Some(ms(7))),
            ("", None),
            ("m", None),
            ("9X", None),
            ("-1S", None),
            ("999999999m", None),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
        for (within, text) in [
            (ms(0), "0m"),
            (ms(500), "500m"),
            (ms(99_999_999), "99999999m"),
            (ms(100_000_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(u64::MAX), "99999999H"),
        ] {
            assert_eq!(write(within), text);
        }
    }
}
