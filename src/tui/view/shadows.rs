//! What the shadows answer differently, in short.

use ratatui::{Frame, layout::Rect};

use super::{App, Theme, Tone, line, list, show};
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
        let differ = shadowed
            .fields
            .values()
            .filter(|field| field.rule.is_none())
            .count();
        let text =
            format!("{id} ({role}): {compared} compared, {differ} fields differ, {lost} lost");
        lines.push(line(theme, vec![(show::fit(&text, width), Tone::Strong)]));
        let mut fields: Vec<_> = shadowed.fields.iter().collect();
        fields.sort_by_key(|(key, field)| {
            (
                field.rule.is_some(),
                std::cmp::Reverse(field.count),
                (*key).clone(),
            )
        });
        for ((endpoint, path, kind), field) in fields {
            let (tone, symbol) = if field.rule.is_some() {
                (Tone::Faint, theme.pick("·", "."))
            } else {
                (Tone::Doubtful, theme.pick("≠", "!"))
            };
            let total = shadowed.endpoints.get(endpoint).copied().unwrap_or(0);
            let share = show::right(&format!("{}/{total}", field.count), 9);
            let text = format!(
                " {symbol} {share} {} {endpoint} {path}",
                show::left(kind, 7)
            );
            lines.push(line(theme, vec![(show::fit(&text, width), tone)]));
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
