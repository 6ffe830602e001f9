//! How the checks stand while the run goes on.

use ratatui::{Frame, layout::Rect};

use super::{App, Theme, Tone, line, list, show};
use crate::event::{Outcome, Scored};

pub(super) fn draw(shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(2);
    let checks = &shown.facts.checks;
    let names = checks
        .iter()
        .map(|check| check.id.chars().count())
        .max()
        .unwrap_or(0)
        .min(20);
    let mut open = 0;
    let mut lines = Vec::new();
    for (facts, check) in checks.iter().zip(&shown.checks) {
        let provisional = check.as_ref().is_none_or(|(_, provisional)| *provisional);
        open += usize::from(provisional);
        let (symbol, tone) = match check {
            None => (theme.pick("·", "."), Tone::Faint),
            Some((scored, true)) if scored.outcome == Outcome::NoData => {
                (theme.pick("…", "."), Tone::Faint)
            }
            Some((scored, _)) => theme.outcome(scored.outcome),
        };
        let value = match check {
            None => "not judged yet".to_owned(),
            Some((scored, true)) => format!("{} so far", measured(scored)),
            Some((scored, false)) => measured(scored),
        };
        let must = if facts.must { "must" } else { "    " };
        let room = width.saturating_sub(names + 9);
        let value_room = room.min(26);
        lines.push(line(
            theme,
            vec![
                (format!("{symbol} "), tone),
                (show::fitted(&facts.id, names), Tone::Plain),
                (format!(" {must} "), Tone::Faint),
                (show::fitted(&value, value_room), tone),
                (
                    format!(
                        " {}",
                        show::cut(&facts.that, room.saturating_sub(value_room + 1))
                    ),
                    Tone::Faint,
                ),
            ],
        ));
    }
    let title = if open > 0 {
        format!("checks, {open} open")
    } else {
        "checks".to_owned()
    };
    list(frame, theme, area, &title, lines, None);
}

/// What a check measured.
pub(super) fn measured(scored: &Scored) -> String {
    match (scored.value, scored.outcome) {
        (_, Outcome::NoData) if scored.n == 0 => "no data yet".to_owned(),
        (Some(value), Outcome::NoData) => {
            format!(
                "{} ({} samples)",
                show::quantity(value, scored.unit),
                scored.n
            )
        }
        (Some(value), _) => show::quantity(value, scored.unit),
        (None, Outcome::NoData) => "no data".to_owned(),
        (None, Outcome::NotRun) => "not run".to_owned(),
        (None, _) => "–".to_owned(),
    }
}
