//! Screen 2: endpoints, the fields in which a shadow's answers differ there, and an example of the chosen field.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
};

use super::{
    super::app::{Field, Shadowed},
    App, Theme, Tone, line, list, show,
};
use crate::event::Id;

/// Shadows and endpoints that have been compared, in order.
pub(super) fn endpoints(shown: &App) -> Vec<(Id, String)> {
    shown
        .facts
        .shadows
        .iter()
        .filter_map(|(id, _, _)| Some((id, shown.shadowed.get(id)?)))
        .flat_map(|(id, shadowed)| {
            shadowed
                .endpoints
                .keys()
                .map(|endpoint| (id.clone(), endpoint.clone()))
        })
        .collect()
}

/// Path, kind and tally of the fields that differ at the chosen endpoint, in the chosen order.
pub(super) fn fields<'a>(app: &App, shown: &'a App) -> Vec<(&'a str, &'static str, &'a Field)> {
    let endpoints = endpoints(shown);
    let Some((id, endpoint)) = endpoints.get(app.view.focus.min(endpoints.len().saturating_sub(1)))
    else {
        return Vec::new();
    };
    let Some(shadowed) = shown.shadowed.get(id) else {
        return Vec::new();
    };
    let mut fields: Vec<_> = shadowed
        .fields
        .iter()
        .filter(|((at, _, _), _)| at == endpoint)
        .map(|((_, path, kind), field)| (path.as_str(), *kind, field))
        .collect();
    if !app.view.by_name {
        fields.sort_by_key(|(_, _, field)| (field.rule.is_some(), std::cmp::Reverse(field.count)));
    }
    fields
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let endpoints = endpoints(shown);
    if endpoints.is_empty() {
        let none = "nothing has been compared: this screen fills when a shadow answers";
        let none = line(theme, vec![(none.to_owned(), Tone::Faint)]);
        list(frame, theme, area, "differences", vec![none], None);
        return;
    }
    let wide = area.width >= 110;
    let (left, middle, right) = if wide {
        let [left, middle, right] = Layout::horizontal([
            Constraint::Fill(5),
            Constraint::Fill(6),
            Constraint::Fill(6),
        ])
        .areas(area);
        (left, middle, right)
    } else {
        let [top, bottom] =
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
        let [left, middle] =
            Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(top);
        (left, middle, bottom)
    };
    let chosen = app.view.focus.min(endpoints.len() - 1);
    let lines = endpoints
        .iter()
        .map(|(id, endpoint)| {
            let shadowed = shown.shadowed.get(id);
            let total = shadowed
                .and_then(|shadowed| shadowed.endpoints.get(endpoint))
                .copied();
            let (symbol, tone) = mark(shadowed, endpoint, theme);
            let width = usize::from(left.width).saturating_sub(2);
            let count = total.unwrap_or(0).to_string();
            let text = show::left(
                &format!("{symbol} {id} {endpoint}"),
                width.saturating_sub(count.len() + 1),
            );
            line(theme, vec![(format!("{text} {count}"), tone)])
        })
        .collect();
    list(frame, theme, left, "endpoints   tab", lines, Some(chosen));
    let fields = fields(app, shown);
    let at = app.view.line.min(fields.len().saturating_sub(1));
    let total = endpoints
        .get(chosen)
        .and_then(|(id, endpoint)| shown.shadowed.get(id)?.endpoints.get(endpoint))
        .copied()
        .unwrap_or(0);
    let lines: Vec<_> = fields
        .iter()
        .map(|(path, kind, field)| {
            let width = usize::from(middle.width).saturating_sub(2);
            let (symbol, tone) = match field.rule {
                Some(_) => (theme.pick("·", "."), Tone::Faint),
                None => (theme.pick("≠", "!"), Tone::Doubtful),
            };
            let count = format!("{} {}/{total}", show::left(kind, 7), field.count);
            let path = show::left(path, width.saturating_sub(count.len() + 3));
            line(theme, vec![(format!("{symbol} {path} {count}"), tone)])
        })
        .collect();
    let lines = if lines.is_empty() {
        vec![line(
            theme,
            vec![("all answers are equal here".to_owned(), Tone::Good)],
        )]
    } else {
        lines
    };
    list(
        frame,
        theme,
        middle,
        "fields   j k  s: sort",
        lines,
        (!fields.is_empty()).then_some(at),
    );
    example(app, theme, frame, right, fields.get(at));
}

fn mark(shadowed: Option<&Shadowed>, endpoint: &str, theme: &Theme) -> (&'static str, Tone) {
    let differs = shadowed.is_some_and(|shadowed| {
        shadowed
            .fields
            .iter()
            .any(|((at, _, _), field)| at == endpoint && field.rule.is_none())
    });
    match (differs, theme.ascii) {
        (true, false) => ("≠", Tone::Doubtful),
        (true, true) => ("!", Tone::Doubtful),
        (false, false) => ("✔", Tone::Good),
        (false, true) => ("+", Tone::Good),
    }
}

fn example(
    app: &App,
    theme: &Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    field: Option<&(&str, &'static str, &Field)>,
) {
    let Some((path, kind, field)) = field else {
        list(frame, theme, area, "example", Vec::new(), None);
        return;
    };
    let count = field.examples.len().max(1);
    let at = app.view.example % count;
    let title = format!("example {} of {count} kept   enter: next", at + 1);
    let mut lines = vec![line(
        theme,
        vec![(format!("{kind} at {path}"), Tone::Strong)],
    )];
    if let Some(rule) = &field.rule {
        lines.push(line(
            theme,
            vec![(format!("does not count: {rule}"), Tone::Faint)],
        ));
    }
    if let Some(example) = field.examples.get(at) {
        let request = format!("#{} {}", example.ordinal, example.request);
        lines.push(line(theme, vec![(request, Tone::Plain)]));
        lines.push(line(
            theme,
            vec![(format!("- primary  {}", example.primary), Tone::First)],
        ));
        lines.push(line(
            theme,
            vec![(format!("+ shadow   {}", example.shadow), Tone::Second)],
        ));
    }
    list(frame, theme, area, &title, lines, None);
}
