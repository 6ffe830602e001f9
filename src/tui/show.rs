//! What the screens say in words; numbers and cells are those of the reports.

use meshbed_proxy::{
    policy::fault::{Fault as Request, delay::Delay},
    unit::show_duration,
};
use unicode_width::UnicodeWidthStr;

pub use crate::report::format::text::{cut, duration, fitted, p_value, quantity, rounded, share};
use crate::{
    report::format::text,
    scenario::{Fault, FaultKind, Select},
    score::Gate,
};

/// What a fault does, in a few words: `delay 400ms 50%`.
pub fn fault(fault: &Fault) -> String {
    let kind = match &fault.kind {
        FaultKind::Request(Request::Delay(Delay::Fixed(delay))) => {
            format!("delay {}", show_duration(*delay))
        }
        FaultKind::Request(Request::Delay(Delay::Uniform { low, high })) => {
            format!("delay {}..{}", show_duration(*low), show_duration(*high))
        }
        FaultKind::Request(Request::Delay(
            Delay::Normal { mean, .. } | Delay::Exponential { mean },
        )) => {
            format!("delay ~{}", show_duration(*mean))
        }
        FaultKind::Request(Request::Delay(Delay::Pareto { scale, .. })) => {
            format!("delay from {}", show_duration(*scale))
        }
        FaultKind::Request(Request::Delay(Delay::Table(_))) => "delay by table".to_owned(),
        other => other.words(),
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

/// Padded or cut to exactly `width` columns, to the right.
pub fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    " ".repeat(width.saturating_sub(text.width())) + &text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_columns_not_characters() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(fitted("ab", 4), "ab  ");
        assert_eq!(right("日本語", 5), "日本…");
    }
}
