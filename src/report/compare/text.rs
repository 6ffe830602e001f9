//! A comparison for a terminal.

use unicode_width::UnicodeWidthStr;

use super::{Comparison, Row, RowVerdict, Verdict};
use crate::report::{
    Report,
    format::{
        html::{bars, range, ticks},
        text::{aligned, quantity, rounded, widths},
    },
};

const HEIGHT: usize = 8;

/// All of it, at most so many columns wide.
pub fn write(comparison: &Comparison, a: &Report, b: &Report, width: usize) -> String {
    let width = width.clamp(60, 160);
    let mut lines = vec![
        format!("A {}   {}", comparison.a.dir, comparison.a.started),
        format!("B {}   {}", comparison.b.dir, comparison.b.started),
        "one run a side: a change can be suspected, not proved".to_owned(),
    ];
    let told = [
        ("not alike", &comparison.unlike),
        ("invalid", &comparison.invalid),
        ("also differs", &comparison.differences),
    ];
    for (what, reasons) in told {
        lines.extend(reasons.iter().map(|reason| format!("{what}: {reason}")));
    }
    lines.push(String::new());
    lines.push(headline(comparison));
    if !comparison.rows.is_empty() {
        lines.push(String::new());
        lines.extend(table(&comparison.rows, width));
        for service in a.run.driven() {
            lines.push(String::new());
            lines.extend(overlay(a, b, service, width));
        }
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The verdict, and the worst of what speaks for it.
pub fn headline(comparison: &Comparison) -> String {
    let mark = match comparison.verdict {
        Verdict::Suspect => "▲ SUSPECT",
        Verdict::NoSuspectedRegression => "✔ NO SUSPECTED REGRESSION",
        Verdict::Inconclusive => "? INCONCLUSIVE",
        Verdict::Invalid => "? INVALID",
        Verdict::Unlike => "✘ NOT ALIKE",
    };
    let worst = comparison
        .rows
        .iter()
        .filter(|row| row.verdict == RowVerdict::Suspect)
        .max_by(|a, b| a.change.unwrap_or(0.0).total_cmp(&b.change.unwrap_or(0.0)));
    let count = |wanted: RowVerdict| {
        comparison
            .rows
            .iter()
            .filter(|row| row.verdict == wanted)
            .count()
    };
    match worst {
        Some(row) if comparison.verdict == Verdict::Suspect => {
            format!(
                "verdict  {mark}   {} {} {} {}",
                row.service,
                over(row),
                metric(row),
                change(row)
            )
        }
        _ if comparison.rows.is_empty() => format!("verdict  {mark}"),
        _ => format!(
            "verdict  {mark}   {} same, {} better, {} undecided, {} with too little data",
            count(RowVerdict::Same),
            count(RowVerdict::SuspectImproved),
            count(RowVerdict::Inconclusive),
            count(RowVerdict::Insufficient),
        ),
    }
}

/// The phase of a row.
pub fn over(row: &Row) -> &str {
    row.phase.as_deref().unwrap_or("all")
}

/// The change with its interval.
pub fn change(row: &Row) -> String {
    let unit = if row.unit == "share" { "pp" } else { "%" };
    let percent = |value: f64| {
        let text = two_digits(value * 100.0);
        if text.starts_with('−') || text == "0" {
            text
        } else {
            format!("+{text}")
        }
    };
    match (row.change, row.interval) {
        (Some(change), Some((low, high))) => {
            format!(
                "{} [{}, {}] {unit}",
                percent(change),
                percent(low),
                percent(high)
            )
        }
        (Some(change), None) => format!("{} {unit}", percent(change)),
        (None, _) => "–".to_owned(),
    }
}

/// A percentage at a glance: two significant digits, at most two decimals.
fn two_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 9.95 => 0,
        size if size >= 0.995 => 1,
        _ => 2,
    };
    let factor = 10_f64.powi(decimals);
    rounded((value * factor).round() / factor)
}

/// A verdict with its mark, in short.
pub fn marked(verdict: RowVerdict) -> &'static str {
    match verdict {
        RowVerdict::Same => "= same",
        RowVerdict::Suspect => "▲ suspect",
        RowVerdict::SuspectImproved => "▼ better?",
        RowVerdict::Inconclusive => "? undecided",
        RowVerdict::Insufficient => "? too little",
    }
}

/// The metric's name in a table.
pub fn metric(row: &Row) -> &'static str {
    if row.unit == "share" {
        "errors"
    } else {
        row.metric
    }
}

fn table(rows: &[Row], width: usize) -> Vec<String> {
    let wide = width >= 110;
    let mut header = vec![
        "service",
        "phase",
        "metric",
        "A",
        "B",
        "change [95 %]",
        "verdict",
    ];
    if wide {
        header.extend(["margin", "would see"]);
    }
    let mut cells: Vec<Vec<String>> = vec![header.iter().map(|&name| name.to_owned()).collect()];
    for row in rows {
        let value = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| quantity(value, row.unit))
        };
        let mut line = vec![
            row.service.clone(),
            over(row).to_owned(),
            metric(row).to_owned(),
            value(row.a),
            value(row.b),
            change(row),
            marked(row.verdict).to_owned(),
        ];
        if wide {
            let unit = if row.unit == "share" { "pp" } else { "%" };
            line.push(format!("{} {unit}", rounded(row.margin * 100.0)));
            let seen = row
                .detectable
                .map(|change| format!("{} %", two_digits(change * 100.0)));
            line.push(seen.unwrap_or_else(|| "–".to_owned()));
        }
        cells.push(line);
    }
    let columns = header.len();
    let mut widths = widths(&cells);
    while widths.iter().sum::<usize>() + 2 * (columns - 1) > width {
        // Names give way, numbers do not.
        match widths.iter_mut().take(2).max() {
            Some(widest) if *widest > 4 => *widest -= 1,
            _ => break,
        }
    }
    aligned(&cells, &widths)
}

/// Both histograms over one another: `░` is A, `▓` is B, `█` both.
fn overlay(a: &Report, b: &Report, service: &str, width: usize) -> Vec<String> {
    let series = [("A", a.responses(service)), ("B", b.responses(service))];
    let Some((low, high)) = range(&series) else {
        return Vec::new();
    };
    let columns = width.saturating_sub(8).min(100);
    let step = (high / low).ln() / columns as f64;
    let [(_, first), (_, second)] = &series;
    let (first, second) = (
        bars(first, low, step, columns),
        bars(second, low, step, columns),
    );
    let top = first
        .iter()
        .chain(&second)
        .copied()
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let mut lines = vec![format!(
        "{service}, response time, all recorded phases   A ░  B ▓  both █"
    )];
    for level in (0..HEIGHT).rev() {
        // A cell is drawn when its half is reached, so that no bar is drawn taller than it is by more than half a cell.
        let bound = top * (level as f64 + 0.5) / HEIGHT as f64;
        let label = if level % 2 == 1 {
            format!(
                "{:>5} %┤",
                rounded(100.0 * top * (level + 1) as f64 / HEIGHT as f64)
            )
        } else {
            "       ┤".to_owned()
        };
        let cells: String = first
            .iter()
            .zip(&second)
            .map(|(a, b)| match (*a >= bound, *b >= bound) {
                (true, true) => '█',
                (true, false) => '░',
                (false, true) => '▓',
                (false, false) => ' ',
            })
            .collect();
        lines.push(format!("{label}{cells}"));
    }
    let mut axis = vec!['─'; columns];
    let mut labels = String::new();
    for (position, label) in ticks(low, high) {
        let at = (position * columns as f64) as usize;
        // The next label stands where it belongs, or not at all.
        if at < columns
            && labels.width() < at + usize::from(at == 0)
            && at + label.width() <= columns
        {
            if let Some(cell) = axis.get_mut(at) {
                *cell = '┴';
            }
            labels.push_str(&" ".repeat(at - labels.width()));
            labels.push_str(&label);
        }
    }
    lines.push(format!("       └{}", axis.into_iter().collect::<String>()));
    lines.push(format!("        {labels}"));
    lines
}
