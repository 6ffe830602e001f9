//! Numbers as people read them: three digits that count, and a unit.

use meshbed_proxy::{policy::fault::delay::Delay, unit::show_duration};

use crate::{
    report::format::text,
    scenario::{Fault, FaultKind, Select},
    score::Gate,
};

/// A time in microseconds: `188 ms`, `1.25 s`, `90 µs`.
pub fn micros(us: f64) -> String {
    let size = us.abs();
    if size < 1_000.0 {
        format!("{us:.0} µs")
    } else if size < 1_000_000.0 {
        format!("{} ms", three(us / 1_000.0))
    } else {
        format!("{} s", three(us / 1_000_000.0))
    }
}

/// A share: `0.2 %`.
pub fn share(share: f64) -> String {
    format!("{} %", three(share * 100.0))
}

/// A value in the unit that a check names.
pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "us" => micros(value),
        "share" => share(value),
        "per_s" => format!("{}/s", three(value)),
        "bytes" => bytes(value),
        "ratio" => format!("×{}", three(value)),
        "bool" => (if value == 0.0 { "no" } else { "yes" }).to_owned(),
        _ => three(value),
    }
}

/// A count of bytes: `1.2 MiB`.
pub fn bytes(bytes: f64) -> String {
    for (unit, size) in [
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
    ] {
        if bytes.abs() >= size {
            return format!("{} {unit}", three(bytes / size));
        }
    }
    format!("{bytes:.0} B")
}

/// What a fault does, in a few words: `delay 400ms 50%`.
pub fn fault(fault: &Fault) -> String {
    let kind = match &fault.kind {
        FaultKind::Delay(Delay::Fixed(delay)) => format!("delay {}", show_duration(*delay)),
        FaultKind::Delay(Delay::Uniform { low, high }) => {
            format!("delay {}..{}", show_duration(*low), show_duration(*high))
        }
        FaultKind::Delay(Delay::Normal { mean, .. } | Delay::Exponential { mean }) => {
            format!("delay ~{}", show_duration(*mean))
        }
        FaultKind::Delay(Delay::Pareto { scale, .. }) => {
            format!("delay from {}", show_duration(*scale))
        }
        FaultKind::Delay(Delay::Table(_)) => "delay by table".to_owned(),
        FaultKind::Abort(abort) => format!("abort {}", abort.status),
    };
    match fault.select {
        Select::Share(share) | Select::Ramp(_, _, share) => format!("{kind} {share}"),
        Select::First(n) => format!("{kind} first {n}"),
        Select::Every(n) => format!("{kind} every {n}"),
    }
}

/// A gate of the experiment in words, and whether it holds.
pub fn gate(gate: &Gate) -> (String, bool) {
    let words = text::gate(gate);
    let words = words.trim_end_matches(['✔', '✘', ' ']);
    (words.to_owned(), gate.ok)
}

/// Seconds since the start: `1:05`.
pub fn clock(us: u64) -> String {
    let seconds = us / 1_000_000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Three digits that count: `1.25`, `18.8`, `188`, `1880`.
pub fn three(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Cut to `width` columns, with an ellipsis where something was cut.
pub fn fit(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        out.push(c);
        used += wide;
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Padded or cut to exactly `width` columns, to the left.
pub fn left(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthStr;
    let text = fit(text, width);
    let pad = width.saturating_sub(text.width());
    text + &" ".repeat(pad)
}

/// Padded or cut to exactly `width` columns, to the right.
pub fn right(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthStr;
    let text = fit(text, width);
    " ".repeat(width.saturating_sub(text.width())) + &text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.0123"),
            (1.25, "1.25"),
            (18.84, "18.8"),
            (188.4, "188"),
            (1884.0, "1884"),
            (2.0, "2"),
            (100.0, "100"),
        ] {
            assert_eq!(three(value), text);
        }
        assert_eq!(micros(610_000.0), "610 ms");
        assert_eq!(micros(1_250_000.0), "1.25 s");
        assert_eq!(share(0.002), "0.2 %");
    }

    #[test]
    fn texts_are_cut_to_columns_not_characters() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(right("日本語", 5), "日本…");
    }
}
