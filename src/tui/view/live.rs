//! Screen 1: the run as it goes.
//!
//! ```text
//! ┌ services ──────────────┐┌ response time ─────────┐        ┌ timeline ───────┐
//! └────────────────────────┘└────────────────────────┘        └─────────────────┘
//! ┌ timeline ────────────────────────────────────────┐        [services] latency checks shadows
//! └──────────────────────────────────────────────────┘        ┌ services ───────┐
//! ┌ checks ────────────────┐┌ shadows ───────────────┐        └─────────────────┘
//! └────────────────────────┘└────────────────────────┘        below 110x30
//! ```

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    widgets::Paragraph,
};

use super::{App, Theme, Tone, WIDE, checks, heat, line, services, shadows, timeline};

/// The panels that the focus walks through where there is room for one.
pub(super) const PANELS: [&str; 4] = ["services", "latency", "checks", "shadows"];

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let gantt = timeline::height(shown);
    if area.width >= WIDE.0 && area.height + 2 >= WIDE.1 {
        let [top, middle, bottom] = Layout::vertical([
            Constraint::Fill(3),
            Constraint::Length(gantt),
            Constraint::Fill(2),
        ])
        .areas(area);
        let [left, right] =
            Layout::horizontal([Constraint::Fill(11), Constraint::Fill(9)]).areas(top);
        services::draw(shown, theme, frame, left);
        heat::draw(app, shown, theme, frame, right);
        timeline::draw(app, shown, theme, frame, middle);
        let [left, right] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(bottom);
        checks::draw(shown, theme, frame, left);
        shadows::draw(shown, theme, frame, right);
        return;
    }
    let [top, tabs, rest] = Layout::vertical([
        Constraint::Length(gantt.min(area.height / 2)),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(area);
    timeline::draw(app, shown, theme, frame, top);
    let focus = app.view.focus % PANELS.len();
    let names = PANELS
        .iter()
        .enumerate()
        .map(|(index, name)| {
            if index == focus {
                (format!(" [{name}]"), Tone::Strong)
            } else {
                (format!("  {name} "), Tone::Faint)
            }
        })
        .chain([("   tab: next panel".to_owned(), Tone::Faint)])
        .collect();
    frame.render_widget(Paragraph::new(line(theme, names)), tabs);
    match focus {
        0 => services::draw(shown, theme, frame, rest),
        1 => heat::draw(app, shown, theme, frame, rest),
        2 => checks::draw(shown, theme, frame, rest),
        _ => shadows::draw(shown, theme, frame, rest),
    }
}
