//! Screen 5: the verdict, the checks with what they measured and wanted, the experiment's own quality.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    super::app::{CheckFacts, Ending},
    App, Theme, Tone,
    checks::measured,
    line, list, panel, show,
};
use crate::event::{Outcome, Scored};

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(ending) = &shown.ending else {
        let [note, rest] =
            Layout::vertical([Constraint::Length(3), Constraint::Min(0)]).areas(area);
        let text = line(
            theme,
            vec![(
                "the run is still on: nothing here is final".to_owned(),
                Tone::Doubtful,
            )],
        );
        list(frame, theme, note, "scorecard", vec![text], None);
        table(app, shown, theme, frame, rest);
        return;
    };
    let top = verdict(shown, ending, theme);
    let bottom = quality(ending, theme, usize::from(area.width).saturating_sub(2));
    let evidence = if app.view.example % 2 == 1 { 5 } else { 0 };
    let [head, middle, proof, foot] = Layout::vertical([
        Constraint::Length(top.len() as u16 + 2),
        Constraint::Min(4),
        Constraint::Length(evidence),
        Constraint::Length(bottom.len() as u16 + 2),
    ])
    .areas(area);
    list(frame, theme, head, "result", top, None);
    table(app, shown, theme, frame, middle);
    if evidence > 0 {
        proof_of(app, shown, theme, frame, proof);
    }
    list(frame, theme, foot, "experiment", bottom, None);
}

fn verdict(shown: &App, ending: &Ending, theme: &Theme) -> Vec<Line<'static>> {
    let (symbol, tone) = match ending.verdict.as_str() {
        "pass" => (theme.pick("✔", "+"), Tone::Good),
        "fail" => (theme.pick("✘", "x"), Tone::Bad),
        _ => ("?", Tone::Doubtful),
    };
    let (low, value, high) = ending.score;
    let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
    let mut lines = vec![line(
        theme,
        vec![
            (format!("{symbol} {}", ending.verdict.to_uppercase()), tone),
            (
                format!(
                    "   score {value} ({low:.0}–{high:.0}), needs {:.0}   {}   seed {}   exit {}",
                    shown.facts.min_score,
                    show::clock(ending.took_us),
                    shown.facts.seed,
                    ending.exit
                ),
                Tone::Strong,
            ),
        ],
    )];
    if !ending.failed_must.is_empty() {
        let text = format!("must failed: {}", ending.failed_must.join(", "));
        lines.push(line(theme, vec![(text, Tone::Bad)]));
    }
    lines
}

fn table(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(2);
    let names = shown
        .facts
        .checks
        .iter()
        .map(|check| check.id.chars().count())
        .max()
        .unwrap_or(5);
    let names = names.clamp(5, 24);
    let rest = width.saturating_sub(names + 2 + 5 + 10 + 10);
    let (value_room, wanted_room) = rooms(shown, rest);
    let head = format!(
        "  {}{}{}{}{}{}",
        show::fitted("check", names),
        show::fitted("", 5),
        show::fitted(" measured", value_room),
        show::fitted(" wanted", wanted_room),
        show::right("points", 10),
        show::right("over", 10),
    );
    let mut lines = vec![line(theme, vec![(head, Tone::Faint)])];
    for (facts, check) in shown.facts.checks.iter().zip(&shown.checks) {
        let scored = check.as_ref().map(|(scored, _)| scored);
        let (symbol, tone) = scored.map_or((theme.pick("·", "."), Tone::Faint), |scored| {
            theme.outcome(scored.outcome)
        });
        let weight = show::rounded(facts.weight);
        let points = scored
            .filter(|scored| crate::score::is_known(scored.outcome))
            .map_or_else(
                || format!("–/{weight}"),
                |scored| format!("{}/{weight}", show::rounded(scored.points * facts.weight)),
            );
        lines.push(line(
            theme,
            vec![
                (format!("{symbol} "), tone),
                (show::fitted(&facts.id, names), Tone::Plain),
                (
                    show::fitted(if facts.must { " must" } else { "" }, 5),
                    Tone::Faint,
                ),
                (
                    format!(
                        " {}",
                        show::fitted(
                            &scored.map_or_else(
                                || "not judged yet".to_owned(),
                                |scored| within(
                                    with_interval(scored),
                                    measured(scored),
                                    value_room
                                )
                            ),
                            value_room.saturating_sub(1)
                        )
                    ),
                    tone,
                ),
                (
                    format!(
                        " {}",
                        show::fitted(&wanted(facts, wanted_room), wanted_room.saturating_sub(1))
                    ),
                    Tone::Faint,
                ),
                (show::right(&points, 10), Tone::Plain),
                (show::right(&facts.over, 10), Tone::Faint),
            ],
        ));
    }
    let chosen = Some(app.view.line + 1).filter(|_| shown.ending.is_some());
    list(
        frame,
        theme,
        area,
        "checks   j k  enter: evidence  c: compare",
        lines,
        chosen,
    );
}

fn with_interval(scored: &Scored) -> String {
    let text = measured(scored);
    match scored
        .interval
        .filter(|_| scored.outcome != Outcome::NoData)
    {
        Some((low, high)) => format!(
            "{text} [{}, {}]",
            show::quantity(low, scored.unit),
            show::quantity(high, scored.unit)
        ),
        None => text,
    }
}

/// Columns of what was measured and of what was wanted: first what each needs in short, then the interval, then the
/// whole condition.
fn rooms(shown: &App, rest: usize) -> (usize, usize) {
    let length = |text: String| text.chars().count() + 2;
    let judged = || shown.checks.iter().flatten().map(|(scored, _)| scored);
    let short = judged().map(|scored| length(measured(scored))).max();
    let long = judged().map(|scored| length(with_interval(scored))).max();
    let (short, long) = (short.unwrap_or(0).max(16), long.unwrap_or(0).max(16));
    let needed = shown
        .facts
        .checks
        .iter()
        .map(|facts| length(wanted(facts, 0)));
    let value_room = rest
        .saturating_sub(needed.max().unwrap_or(0))
        .clamp(short, long)
        .min(rest);
    (value_room, rest - value_room)
}

/// The long text where it fits into a column of that width, else the short one.
fn within(long: String, short: String, room: usize) -> String {
    if long.chars().count() < room {
        long
    } else {
        short
    }
}

/// The part of a condition from its comparison on: `< 250ms` of `p99[shop] < 250ms`.
fn bound(condition: &str) -> String {
    let comparison = [" <= ", " >= ", " == ", " != ", " < ", " > "]
        .iter()
        .find_map(|sign| condition.rfind(sign));
    let part = comparison.and_then(|at| condition.get(at + 1..));
    part.unwrap_or(condition).to_owned()
}

/// What a check wants: its bounds, or the condition, as much of it as there is room for.
fn wanted(facts: &CheckFacts, room: usize) -> String {
    if let Some(not) = &facts.not {
        return format!("not {not}");
    }
    match facts.bounds {
        Some((pass, fail, unit)) => {
            format!(
                "{} … {}",
                show::quantity(pass, unit),
                show::quantity(fail, unit)
            )
        }
        None => within(facts.that.clone(), bound(&facts.that), room),
    }
}

fn proof_of(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let at = app.view.line;
    let Some((facts, check)) = shown.facts.checks.get(at).zip(shown.checks.get(at)) else {
        return;
    };
    let mut text = facts.that.clone();
    if let Some((scored, _)) = check {
        text += &format!("  =  {}, {} samples", with_interval(scored), scored.n);
        if let Some(why) = &scored.why {
            text += &format!(". {why}");
        }
    }
    frame.render_widget(
        Paragraph::new(text)
            .wrap(Wrap { trim: true })
            .block(panel(format!("evidence for {}", facts.id), theme)),
        area,
    );
}

fn quality(ending: &Ending, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let head = format!("quality {}  ", ending.grade);
    let indent = head.chars().count();
    let mut used = indent;
    let mut pieces = vec![(head, Tone::Strong)];
    for (text, holds) in &ending.gates {
        let (symbol, tone) = if *holds {
            (theme.pick("✔", "+"), Tone::Good)
        } else {
            (theme.pick("✘", "x"), Tone::Bad)
        };
        let gate = format!(" {symbol} {text}");
        let length = gate.chars().count();
        if used + length > width && used > indent {
            lines.push(line(theme, std::mem::take(&mut pieces)));
            pieces.push((" ".repeat(indent), Tone::Plain));
            used = indent;
        }
        used += length;
        pieces.push((gate, tone));
    }
    lines.push(line(theme, pieces));
    for (text, holds) in &ending.faults {
        let (symbol, tone) = if *holds {
            (theme.pick("✔", "+"), Tone::Good)
        } else {
            (theme.pick("✘", "x"), Tone::Bad)
        };
        lines.push(line(
            theme,
            vec![(format!("{symbol} "), tone), (text.clone(), Tone::Plain)],
        ));
    }
    if let Some(report) = &ending.report {
        lines.push(line(theme, vec![(format!("report {report}"), Tone::Plain)]));
    }
    lines
}
