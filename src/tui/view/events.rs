//! Screen 4: what happened, oldest first.

use ratatui::{Frame, layout::Rect};

use super::{super::app::Level, App, Theme, Tone, line, list, show};
use crate::event::Micros;

/// What happened and passes the filter.
pub(super) fn lines<'a>(
    app: &'a App,
    shown: &'a App,
) -> impl Iterator<Item = &'a (Micros, Level, String)> {
    shown.log.iter().filter(|(_, _, text)| app.view.lets(text))
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(2);
    let lines = lines(app, shown)
        .map(|(t_us, level, text)| {
            let (symbol, tone) = match level {
                Level::Plain => (" ", Tone::Plain),
                Level::Good => (theme.pick("✔", "+"), Tone::Good),
                Level::Warning => ("!", Tone::Doubtful),
                Level::Bad => (theme.pick("✘", "x"), Tone::Bad),
            };
            let time = format!("{:>8.3} s {symbol} ", *t_us as f64 / 1e6);
            let text = show::cut(text, width.saturating_sub(13));
            line(theme, vec![(time, Tone::Faint), (text, tone)])
        })
        .collect::<Vec<_>>();
    let chosen = app.view.line.min(lines.len().saturating_sub(1));
    list(
        frame,
        theme,
        area,
        &format!("events   j k PgUp PgDn  {}", app.view.filtered()),
        lines,
        Some(chosen),
    );
}
