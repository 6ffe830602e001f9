//! What the shadows answer differently, in short.

use ratatui::{Frame, layout::Rect};

use super::{super::app::Standing, App, Theme, Tone, line, list, mark, show};
use crate::event::MirrorOutcome;

pub(super) fn draw(shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    if shown.facts.shadows.is_empty() {
        let none = ("this scenario has no shadow".to_owned(), Tone::Faint);
        list(
            frame,
            theme,
            area,
            "shadows",
            vec![line(theme, vec![none])],
            None,
        );
        return;
    }
    let width = usize::from(area.width).saturating_sub(2);
    let mut lines = Vec::new();
    for (id, _, role) in &shown.facts.shadows {
        let Some(shadowed) = shown.shadowed.get(id) else {
            let text = format!("{id} ({role}): nothing mirrored yet");
            lines.push(line(theme, vec![(text, Tone::Faint)]));
            continue;
        };
        let count = |outcome| shadowed.outcomes.get(&outcome).copied().unwrap_or(0);
        let compared = count(MirrorOutcome::Compared);
        let lost = count(MirrorOutcome::Shed) + count(MirrorOutcome::Failed);
        let mut fields: Vec<_> = shadowed
            .fields
            .iter()
            .map(|(place, field)| (shown.standing(id, place, field), place, field))
            .collect();
        fields.sort_by_key(|(standing, place, field)| {
            (*standing, std::cmp::Reverse(field.count), *place)
        });
        let differ = fields
            .iter()
            .filter(|(standing, _, _)| *standing == Standing::Differs)
            .count();
        let text =
            format!("{id} ({role}): {compared} compared, {differ} fields differ, {lost} lost");
        lines.push(line(theme, vec![(show::cut(&text, width), Tone::Strong)]));
        for (standing, (endpoint, path, kind), field) in fields {
            let (symbol, tone) = mark(standing, theme);
            let total = shadowed.endpoints.get(endpoint).copied().unwrap_or(0);
            let share = show::right(&format!("{}/{total}", field.count), 9);
            let text = format!(
                " {symbol} {share} {} {endpoint} {path}",
                show::fitted(kind, 7)
            );
            lines.push(line(theme, vec![(show::cut(&text, width), tone)]));
        }
    }
    list(
        frame,
        theme,
        area,
        "shadows   2: all differences",
        lines,
        None,
    );
}
