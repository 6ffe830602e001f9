//! For a terminal or a log: numbers with their units, and the final scorecard.

use std::{collections::BTreeMap, fmt::Write as _};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    event::{Outcome, RunState},
    measure::Trend,
    report::{
        Report,
        format::name,
        run::{CheckPart, Diffs, DistributionPart, Effect, Run, ShadowPart},
    },
    score::{Gate, Verdict},
    stats::paired::Called,
};

/// Other programs that use more of the processors than this are named in the scorecard.
const BUSY: f64 = 0.6;

/// A number in a unit of the report, for people.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "us" => duration(value),
        "share" => share(value),
        "per_s" => format!("{}/s", rounded(value)),
        "bytes" => bytes(value),
        "ratio" => format!("×{}", rounded(value)),
        "verdict" => {
            let mut all = Called::ALL.into_iter();
            let called = all.find(|called| (called.number() - value).abs() < 0.5);
            called.map_or("?", Called::name).to_owned()
        }
        "bool" => if value > 0.0 { "true" } else { "false" }.to_owned(),
        _ => rounded(value),
    }
}

/// A share, 0 to 1, in percent.
pub fn share(share: f64) -> String {
    format!("{} %", rounded(share * 100.0))
}

/// Microseconds, in the unit that leaves one to three digits before the point.
pub fn duration(us: f64) -> String {
    let (value, unit) = match us.abs() {
        us if us < 1_000.0 => (us, "µs"),
        us if us < 1_000_000.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let value = if us < 0.0 { -value } else { value };
    format!("{} {unit}", rounded(value))
}

/// Three significant digits, no more decimals than that takes.
pub fn rounded(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        size if !(0.000_005..99.95).contains(&size) => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.995 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.01 => 4,
        _ => 5,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    match text.strip_prefix('-') {
        Some("0") => "0".to_owned(),
        Some(size) => format!("−{size}"),
        None => text.to_owned(),
    }
}

fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{} B", rounded(value)),
        value if value < 1024.0 * 1024.0 => format!("{} KiB", rounded(value / 1024.0)),
        value if value < 1024.0 * 1024.0 * 1024.0 => {
            format!("{} MiB", rounded(value / (1024.0 * 1024.0)))
        }
        value => format!("{} GiB", rounded(value / (1024.0 * 1024.0 * 1024.0))),
    }
}

/// A check's row in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `✔ ✘ ~ ?`.
    pub mark: &'static str,
    /// The check.
    pub id: String,
    /// It decides by itself.
    pub must: bool,
    /// Its weight.
    pub weight: String,
    /// What was measured.
    pub measured: String,
    /// What was wanted.
    pub wanted: String,
    /// How far from the bound.
    pub margin: String,
    /// Points, of how many.
    pub points: String,
    /// Phases.
    pub over: String,
}

/// The mark of an outcome.
pub fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "✔",
        Outcome::Partial => "~",
        Outcome::Fail => "✘",
        Outcome::NoData | Outcome::NotRun | Outcome::Inconclusive => "?",
    }
}

/// The name of an outcome.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Partial => "partial",
        Outcome::Fail => "fail",
        Outcome::NoData => "no-data",
        Outcome::NotRun => "not-run",
        Outcome::Inconclusive => "inconclusive",
    }
}

/// A check's row.
pub fn row(check: &CheckPart) -> Row {
    let (left, wanted) = sides(check);
    let known = matches!(
        check.outcome,
        Outcome::Pass | Outcome::Partial | Outcome::Fail
    );
    let mut measured = match check.value {
        Some(value) => format!("{left} {}", quantity(value, &check.unit)),
        None => String::new(),
    };
    if let Some((low, high)) = check.interval.filter(|_| check.value.is_some()) {
        let _ = write!(
            measured,
            " [{}, {}]",
            quantity(low, &check.unit),
            quantity(high, &check.unit)
        );
    }
    if !known {
        let gap = if measured.is_empty() { "" } else { ", " };
        let _ = write!(measured, "{gap}{}", outcome(check.outcome));
    }
    Row {
        mark: mark(check.outcome),
        id: check.id.clone(),
        must: check.must,
        weight: rounded(check.weight),
        measured: measured.trim().to_owned(),
        margin: margin(check, &wanted),
        wanted,
        points: if known {
            format!(
                "{:.2}/{}",
                check.points * check.weight,
                rounded(check.weight)
            )
        } else {
            format!("–/{}", rounded(check.weight))
        },
        over: check.over.clone().unwrap_or_else(|| "all".to_owned()),
    }
}

/// What is measured, in short, and what is wanted of it.
fn sides(check: &CheckPart) -> (String, String) {
    if let (Some(pass), Some(fail)) = (check.pass, check.fail) {
        let wanted = format!(
            "{} … {}",
            quantity(pass, &check.unit),
            quantity(fail, &check.unit)
        );
        return (short(&check.that), wanted);
    }
    if let Some(not) = &check.not {
        return (short(&check.that), format!("not {not}"));
    }
    let comparison = [" <= ", " >= ", " == ", " != ", " < ", " > "]
        .into_iter()
        .filter_map(|operator| Some((check.that.find(operator)?, operator)))
        .min();
    match comparison {
        // Only a condition with one comparison has a left side that was measured.
        Some((at, operator)) if !check.that.contains(" and ") && !check.that.contains(" or ") => {
            let (left, right) = check.that.split_at(at);
            (
                short(left),
                format!("{} {}", operator.trim(), right.trim_start_matches(operator)),
            )
        }
        _ => (String::new(), check.that.clone()),
    }
}

/// `p99[shop]` → `p99`; what is longer is not shortened to something misleading, but left out.
fn short(expression: &str) -> String {
    match expression.split_once('[') {
        Some((name, rest)) if rest.ends_with(']') && !rest.contains(['@', ' ', '[']) => {
            name.to_owned()
        }
        _ => String::new(),
    }
}

/// How far the value is from the bound it must keep.
fn margin(check: &CheckPart, wanted: &str) -> String {
    let Some(value) = check.value else {
        return "—".to_owned();
    };
    let bound = check
        .pass
        .or_else(|| literal(wanted.trim_start_matches(['<', '>', '=', '!', ' '])));
    let signed = |text: String| {
        if text.starts_with('−') || text == "0" {
            text
        } else {
            format!("+{text}")
        }
    };
    match bound {
        Some(bound) if check.unit == "share" => {
            format!("{} pp", signed(rounded((value - bound) * 100.0)))
        }
        Some(bound) if bound.abs() > 0.0 => {
            format!("{} %", signed(rounded((value / bound - 1.0) * 100.0)))
        }
        _ => "—".to_owned(),
    }
}

/// A literal of the expression language, in its base unit.
fn literal(text: &str) -> Option<f64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "us" | "/s" | "B" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        "%" => 0.01,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// The verdict in one word, with its mark.
pub fn verdict(run: &Run) -> &'static str {
    match (run.state, run.score.verdict) {
        (RunState::Interrupted, _) => "‖ INTERRUPTED",
        (RunState::Guarded, _) => "‖ STOPPED BY A GUARD",
        (RunState::Failed, _) => "✘ ENVIRONMENT FAILED",
        (_, _) if !run.generator.valid => "? INVALID EXPERIMENT",
        (_, Verdict::Fail) => "✘ FAIL",
        (_, Verdict::Pass) => "✔ PASS",
        (_, Verdict::Inconclusive) => "? INCONCLUSIVE",
    }
}

/// `82 (74–86)`.
pub fn score(run: &Run) -> String {
    let value = run.score.value.map_or_else(|| "–".to_owned(), rounded);
    format!(
        "{value} ({}–{})",
        rounded(run.score.low),
        rounded(run.score.high)
    )
}

/// A gate of the experiment's quality, in words.
pub fn gate(gate: &Gate) -> String {
    let ok = if gate.ok { "✔" } else { "✘" };
    let value = |unit: &str| {
        gate.value
            .map_or_else(|| "–".to_owned(), |value| quantity(value, unit))
    };
    let what = match gate.id.as_str() {
        "lateness" => format!("late p99 {}", value("us")),
        "delivered" => format!("load delivered {}", value("share")),
        "generator_cpu" => format!("generator cpu {}", value("share")),
        "samples" => format!("{} samples", value("count")),
        "identified" => format!("requests identified {}", value("share")),
        "control_same" => {
            if gate.ok {
                "A/A control same".to_owned()
            } else {
                format!("A/A control differs in {}", value("count"))
            }
        }
        "faults_undone" => format!(
            "faults rolled back {}/{}",
            value("count"),
            rounded(gate.bound)
        ),
        other => format!("{other} {}", value("count")),
    };
    format!("{what} {ok}")
}

/// Checks that decide by themselves and failed, each with what was measured.
pub fn failed_musts(run: &Run) -> Vec<String> {
    let reason = |check: &CheckPart| {
        let row = row(check);
        let mut text = format!("{} — {}", check.id, check.that);
        if !row.measured.is_empty() {
            let _ = write!(text, ", measured {}", row.measured);
        }
        if check.pass.is_some() {
            let _ = write!(text, ", wanted {}", row.wanted);
        }
        text
    };
    run.checks
        .iter()
        .filter(|check| run.score.failed_must.contains(&check.id))
        .map(reason)
        .collect()
}

/// The material differences, each in a line.
pub fn material(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    for (shadow, diffs) in &run.diffs {
        for field in diffs
            .ranked()
            .into_iter()
            .filter(|field| field.class == crate::measure::Class::Material)
        {
            lines.push(format!(
                "{shadow}: {} {} {} in {} of {} answers (control {}), p = {}",
                name(&field.endpoint),
                name(&field.path),
                field.kind,
                field.b + field.both,
                field.total,
                field.c + field.both,
                p_value(field.p_adjusted),
            ));
        }
        let shifted = diffs
            .distributions
            .iter()
            .filter(|one| one.class == crate::measure::Class::Material);
        lines.extend(shifted.map(|one| format!("{shadow}: {}", distribution(one))));
    }
    lines
}

/// What a shadow's comparison amounts to, in a line.
pub fn compared(diffs: &Diffs) -> String {
    let mut text = format!(
        "{} compared, {} differ, {} material",
        diffs.compared, diffs.pairs_different, diffs.material
    );
    if diffs.control.is_none() && diffs.compared > 0 {
        text.push_str(", no noise control");
    }
    text
}

/// The shadows not all of whose copies were compared, each with how many and why, in a line.
pub fn losses(run: &Run) -> Vec<String> {
    lost(&run.shadows)
}

fn lost(shadows: &[ShadowPart]) -> Vec<String> {
    let reasons = |what: &str, reasons: &BTreeMap<String, u64>| {
        let all: u64 = reasons.values().sum();
        let each = reasons.iter();
        let each: Vec<_> = each.map(|(why, count)| format!("{why} {count}")).collect();
        (all > 0).then(|| format!("{all} {what} ({})", each.join(", ")))
    };
    let line = |shadow: &ShadowPart| {
        let lost = [
            reasons("shed", &shadow.shed),
            reasons("failed", &shadow.failed),
            reasons("skipped", &shadow.skipped),
        ];
        let lost: Vec<_> = lost.into_iter().flatten().collect();
        let (id, chosen, compared) = (&shadow.id, shadow.chosen, shadow.compared);
        let text = format!(
            "{id}: {chosen} chosen, {compared} compared, {}",
            lost.join(", ")
        );
        (!lost.is_empty()).then_some(text)
    };
    shadows.iter().filter_map(line).collect()
}

/// How the sizes of a field's values are distributed, in a line.
pub fn distribution(one: &DistributionPart) -> String {
    let what = match (one.trend, one.of.as_str()) {
        (Some(Trend::Up), _) => "does not rise as the control's",
        (Some(Trend::Down), _) => "does not fall as the control's",
        (None, "time") => "is of another time",
        (None, "length") => "is of another length",
        (None, _) => "has other values",
    };
    format!(
        "{} {} {what}: distance {:.2} (control {:.2}) over {} answers, p = {}",
        name(&one.endpoint),
        name(&one.path),
        one.d,
        one.floor,
        one.n,
        p_value(one.p_adjusted)
    )
}

/// A p-value at a glance.
pub fn p_value(p: f64) -> String {
    if p >= 0.001 {
        format!("{p:.3}")
    } else {
        format!("{p:.0e}")
    }
}

/// The final scorecard, at most so many columns wide.
pub fn scorecard(report: &Report, width: usize) -> String {
    let run = &report.run;
    let width = width.clamp(40, 160);
    let mut lines = vec![format!(
        "RESULT  {}   score {}, needs {}   {}   {}   seed {}",
        verdict(run),
        score(run),
        rounded(run.score.min),
        run.scenario.name,
        duration(run.length_us() as f64),
        run.seed,
    )];
    for failed in failed_musts(run) {
        lines.push(format!("must failed: {failed}"));
    }
    for reason in &run.generator.why {
        lines.push(format!("invalid as an experiment: {reason}"));
    }
    if let Some(others) = run.generator.others_cpu.filter(|others| *others > BUSY) {
        lines.push(format!(
            "other programs used {} of the processors meanwhile",
            quantity(others, "share")
        ));
    }
    for steady in run
        .steady_state
        .iter()
        .filter(|steady| steady.held != Some(true))
    {
        lines.push(format!(
            "steady state not held: {} ({})",
            steady.check, steady.value
        ));
    }
    lines.push(String::new());
    lines.extend(table(run, width));
    lines.push(String::new());
    for line in material(run) {
        lines.push(format!("material {line}"));
    }
    for line in losses(run) {
        lines.push(format!("copies of {line}"));
    }
    let applied = run
        .faults
        .iter()
        .filter(|fault| fault.effect == Effect::Applied)
        .count();
    if !run.faults.is_empty() {
        let undone = run.faults.iter().filter(|fault| fault.undone).count();
        let all = run.faults.len();
        lines.push(format!(
            "faults applied {applied}/{all}, rolled back {undone}/{all}"
        ));
    }
    let gates: Vec<String> = run.quality.gates.iter().map(gate).collect();
    lines.push(format!(
        "experiment quality {}  {}",
        run.quality.grade.letter(),
        gates.join("  ")
    ));
    lines.push(format!(
        "report {}   exit {}",
        report.dir.display(),
        run.exit
    ));
    let mut text = String::new();
    for line in lines {
        for line in wrapped(&line, width) {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

fn table(run: &Run, width: usize) -> Vec<String> {
    let rows: Vec<Row> = run.checks.iter().map(row).collect();
    let wide = width >= 110;
    let mut cells: Vec<Vec<String>> = vec![if wide {
        [
            "", "check", "must", "measured", "wanted", "margin", "points", "over",
        ]
        .map(str::to_owned)
        .to_vec()
    } else {
        ["", "check", "measured", "wanted", "points"]
            .map(str::to_owned)
            .to_vec()
    }];
    for row in rows {
        let must = if row.must { "must" } else { "" };
        cells.push(if wide {
            vec![
                row.mark.to_owned(),
                row.id,
                must.to_owned(),
                row.measured,
                row.wanted,
                row.margin,
                row.points,
                row.over,
            ]
        } else {
            let id = if row.must {
                format!("{} (must)", row.id)
            } else {
                row.id
            };
            vec![
                row.mark.to_owned(),
                id,
                row.measured,
                row.wanted,
                row.points,
            ]
        });
    }
    let mut widths = widths(&cells);
    // What does not fit is taken from the widest column, so that the others stay whole.
    while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > width {
        let Some(widest) = widths.iter_mut().max() else {
            break;
        };
        if *widest <= 8 {
            break;
        }
        *widest -= 1;
    }
    aligned(&cells, &widths)
        .iter()
        .map(|row| row.trim_end().to_owned())
        .collect()
}

/// The widest cell of each column.
pub fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.width())
                .max()
                .unwrap_or(0)
        })
        .collect()
}

/// Rows with each cell at its column's width.
pub fn aligned(rows: &[Vec<String>], widths: &[usize]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            let padded: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| fitted(cell, *width))
                .collect();
            padded.join("  ")
        })
        .collect()
}

/// A cell at this width exactly, padded or cut.
pub fn fitted(text: &str, width: usize) -> String {
    let cut = cut(text, width);
    let pad = width.saturating_sub(cut.width());
    cut + &" ".repeat(pad)
}

/// At most `width` columns of a text, with `…` where something was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        cut.push(c);
        used += wide;
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// A line, broken at spaces; what follows is indented.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    if line.width() <= width {
        return vec![line.to_owned()];
    }
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in line.split_inclusive(' ') {
        if !current.is_empty() && current.width() + word.trim_end().width() > width {
            lines.push(std::mem::replace(&mut current, "    ".to_owned()));
        }
        current.push_str(word);
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_were_lost_are_told_with_their_reasons() {
        let reasons = |reasons: &[(&str, u64)]| {
            let reasons = reasons.iter();
            reasons
                .map(|(why, count)| ((*why).to_owned(), *count))
                .collect()
        };
        let shadow = |id: &str, shed: &[(&str, u64)], failed: &[(&str, u64)]| ShadowPart {
            id: id.to_owned(),
            of: "shop".to_owned(),
            role: "candidate".to_owned(),
            chosen: 405,
            sent: 400,
            compared: 398,
            shed: reasons(shed),
            failed: reasons(failed),
            skipped: BTreeMap::new(),
            delta_us: None,
        };
        let hung = shadow("hung", &[("in_flight", 3), ("queue", 2)], &[("timeout", 2)]);
        let lines = lost(&[hung, shadow("fine", &[], &[])]);
        let expected =
            "hung: 405 chosen, 398 compared, 5 shed (in_flight 3, queue 2), 2 failed (timeout 2)";
        assert_eq!(lines, [expected]);
    }

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
            assert_eq!(rounded(value), text);
        }
        assert_eq!(duration(610_000.0), "610 ms");
        assert_eq!(duration(1_250_000.0), "1.25 s");
        assert_eq!(share(0.002), "0.2 %");
    }

    #[test]
    fn quantities_have_three_digits_and_their_unit() {
        let rows = [
            (188_000.0, "us", "188 ms"),
            (950.0, "us", "950 µs"),
            (1_500_000.0, "us", "1.5 s"),
            (-3_900.0, "us", "−3.9 ms"),
            (0.002, "share", "0.2 %"),
            (0.0, "share", "0 %"),
            (1.0, "share", "100 %"),
            (399.6, "per_s", "400/s"),
            (1.02, "ratio", "×1.02"),
            (3.0, "count", "3"),
            (1536.0, "bytes", "1.5 KiB"),
            (1.0, "bool", "true"),
        ];
        for (value, unit, text) in rows {
            assert_eq!(quantity(value, unit), text);
        }
    }

    #[test]
    fn literals_are_read_in_their_base_unit() {
        let rows = [
            ("250ms", Some(250_000.0)),
            ("0.1%", Some(0.001)),
            ("1.5s", Some(1.5e6)),
            ("3", Some(3.0)),
            ("x", None),
        ];
        for (text, value) in rows {
            assert_eq!(literal(text), value, "{text}");
        }
    }

    #[test]
    fn a_cell_is_cut_where_it_must() {
        assert_eq!(fitted("abc", 5), "abc  ");
        assert_eq!(fitted("abcdef", 4), "abc…");
    }
}
