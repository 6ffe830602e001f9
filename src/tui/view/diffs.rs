//! Screen 2: endpoints, the fields in which a shadow's answers differ there, and an example of the chosen field.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
};

use super::{
    super::app::{Field, Standing},
    App, Theme, Tone, line, list, mark, show,
};
use crate::event::Id;

/// Shadows and endpoints that have been compared, in order; with a filter, those that it lets through, or a field of theirs.
pub(super) fn endpoints(app: &App, shown: &App) -> Vec<(Id, String)> {
    shown
        .facts
        .shadows
        .iter()
        .filter_map(|(id, _, _)| Some((id, shown.shadowed.get(id)?)))
        .flat_map(|(id, shadowed)| {
            shadowed
                .endpoints
                .keys()
                .filter(|endpoint| {
                    let mut fields = shadowed.fields.keys().filter(|place| place.0 == **endpoint);
                    app.view.lets(endpoint)
                        || app.view.lets(id)
                        || fields.any(|place| app.view.lets(&place.1))
                })
                .map(|endpoint| (id.clone(), endpoint.clone()))
        })
        .collect()
}

/// A field that differs: its standing, path, kind and tally.
pub(super) type Row<'a> = (Standing, &'a str, &'static str, &'a Field);

/// The fields that differ at the chosen endpoint, in the chosen order.
pub(super) fn fields<'a>(app: &App, shown: &'a App) -> Vec<Row<'a>> {
    let endpoints = endpoints(app, shown);
    let Some((id, endpoint)) = endpoints.get(app.view.focus.min(endpoints.len().saturating_sub(1)))
    else {
        return Vec::new();
    };
    let Some(shadowed) = shown.shadowed.get(id) else {
        return Vec::new();
    };
    let all = app.view.lets(endpoint) || app.view.lets(id);
    let mut fields: Vec<_> = shadowed
        .fields
        .iter()
        .filter(|((at, path, _), _)| at == endpoint && (all || app.view.lets(path)))
        .map(|(place, field)| {
            let standing = shown.standing(id, place, field);
            (standing, place.1.as_str(), place.2, field)
        })
        .collect();
    if !app.view.by_name {
        fields.sort_by_key(|(standing, _, _, field)| (*standing, std::cmp::Reverse(field.count)));
    }
    fields
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let endpoints = endpoints(app, shown);
    if endpoints.is_empty() {
        let none = if app.view.filter.is_empty() {
            "nothing has been compared: this screen fills when a shadow answers".to_owned()
        } else {
            format!("nothing has `{}`   /: filter", app.view.filter)
        };
        let none = line(theme, vec![(none, Tone::Faint)]);
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
            let (symbol, tone) = if differs(shown, id, endpoint) {
                mark(Standing::Differs, theme)
            } else {
                (theme.pick("✔", "+"), Tone::Good)
            };
            let width = usize::from(left.width).saturating_sub(2);
            let count = total.unwrap_or(0).to_string();
            let text = show::fitted(
                &format!("{symbol} {id} {endpoint}"),
                width.saturating_sub(count.len() + 1),
            );
            line(theme, vec![(format!("{text} {count}"), tone)])
        })
        .collect();
    list(
        frame,
        theme,
        left,
        &format!("endpoints   tab  {}", app.view.filtered()),
        lines,
        Some(chosen),
    );
    let fields = fields(app, shown);
    let at = app.view.line.min(fields.len().saturating_sub(1));
    let total = endpoints
        .get(chosen)
        .and_then(|(id, endpoint)| shown.shadowed.get(id)?.endpoints.get(endpoint))
        .copied()
        .unwrap_or(0);
    let lines: Vec<_> = fields
        .iter()
        .map(|(standing, path, kind, field)| {
            let width = usize::from(middle.width).saturating_sub(2);
            let (symbol, tone) = mark(*standing, theme);
            let count = format!("{} {}/{total}", show::fitted(kind, 7), field.count);
            let path = show::fitted(path, width.saturating_sub(count.len() + 3));
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

/// Whether anything differs at an endpoint beyond noise and rules.
fn differs(shown: &App, shadow: &str, endpoint: &str) -> bool {
    shown.shadowed.get(shadow).is_some_and(|shadowed| {
        shadowed.fields.iter().any(|(place, field)| {
            place.0 == endpoint && shown.standing(shadow, place, field) == Standing::Differs
        })
    })
}

fn example(app: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect, row: Option<&Row<'_>>) {
    let Some((standing, path, kind, field)) = row else {
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
    if *standing == Standing::Noise {
        let text = "a control differs here too: noise".to_owned();
        lines.push(line(theme, vec![(text, Tone::Faint)]));
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
