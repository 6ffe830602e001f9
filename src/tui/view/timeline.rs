//! The timeline: phases, faults and what happened, on one axis, with now.

use ratatui::{Frame, layout::Rect, text::Line};

use super::{super::app::Level, App, FaultState, Theme, Tone, line, list, show};

/// Columns of the names.
const NAMES: usize = 15;

/// Rows that the panel wants.
pub(super) fn height(shown: &App) -> u16 {
    let rows = 1 + shown.facts.faults.len().min(6) + 1;
    rows as u16 + 2
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(2 + NAMES + 2);
    let length = shown.facts.length_us().max(1);
    let column =
        |us: u64| (u128::from(us.min(length)) * width as u128 / u128::from(length)) as usize;
    let now = column(shown.now_us);
    let bar = theme.pick("│", "|");
    let mut lines = vec![phases(shown, theme, &column)];
    for (index, fault) in shown.facts.faults.iter().enumerate() {
        let mut cells = vec![' '; width];
        for (begin, end) in &fault.windows {
            let from = column(u64::from(*begin) * 1_000);
            let to = column(u64::from(*end) * 1_000).max(from + 1);
            for (at, cell) in cells.iter_mut().enumerate().take(to).skip(from) {
                *cell = match (at < now, theme.ascii) {
                    (true, true) => '#',
                    (true, false) => '█',
                    (false, true) => '-',
                    (false, false) => '░',
                };
            }
        }
        let (_, chosen, hit) =
            shown
                .faults
                .get(&fault.id)
                .copied()
                .unwrap_or((FaultState::Off, 0, 0));
        let on = shown.is_on(&fault.id);
        let hits = format!("{hit} hit");
        let labels = if chosen > 0 {
            [format!("{}  {hits}", fault.what), hits]
        } else {
            [fault.what.clone(), String::new()]
        };
        let end = fault
            .windows
            .last()
            .map_or(0, |window| column(u64::from(window.1) * 1_000));
        overlay(&mut cells, &labels, end);
        let marked = app.facts.faults.len() > 1 && app.view.line == index;
        let mark = match (on, marked) {
            (true, _) => theme.pick("⚡", "!"),
            (false, true) => theme.pick("›", ">"),
            (false, false) => " ",
        };
        let off = if app.view.switched_off.contains(&fault.id) {
            " (off)"
        } else {
            ""
        };
        let tone = if on { Tone::Fault } else { Tone::Plain };
        lines.push(line(
            theme,
            vec![
                (
                    show::fitted(&format!("{mark}{}{off}", fault.id), NAMES),
                    tone,
                ),
                (format!(" {bar}"), Tone::Faint),
                (cells.into_iter().collect(), tone),
            ],
        ));
    }
    lines.push(latest(shown, theme, width));
    let keys = if shown.saved.is_some() {
        "   , . go back and forth"
    } else if app.facts.faults.is_empty() || shown.ending.is_some() {
        ""
    } else {
        "   j k x: switch a fault"
    };
    let end = match length {
        // Without end: all that there is is until now.
        u64::MAX => String::new(),
        length => format!(" / {}", show::clock(length)),
    };
    let title = format!("timeline  {}{end}{keys}", show::clock(shown.now_us));
    let crowded = lines.len() > usize::from(area.height.saturating_sub(2));
    list(
        frame,
        theme,
        area,
        &title,
        lines,
        crowded.then_some(app.view.line + 1),
    );
}

fn latest(shown: &App, theme: &Theme, width: usize) -> Line<'static> {
    let latest = shown
        .log
        .iter()
        .rev()
        .filter(|(t_us, ..)| *t_us <= shown.now_us)
        .find(|(_, _, text)| !text.starts_with("phase"));
    let (text, tone) = latest.map_or((String::new(), Tone::Faint), |(t_us, level, text)| {
        let tone = match level {
            Level::Bad => Tone::Bad,
            Level::Warning => Tone::Doubtful,
            Level::Good => Tone::Good,
            Level::Plain => Tone::Plain,
        };
        (format!("{} {text}", show::clock(*t_us)), tone)
    });
    line(
        theme,
        vec![
            (show::fitted(" latest event", NAMES), Tone::Faint),
            (format!(" {}", theme.pick("│", "|")), Tone::Faint),
            (show::cut(&text, width), tone),
        ],
    )
}

fn phases(shown: &App, theme: &Theme, column: &dyn Fn(u64) -> usize) -> Line<'static> {
    let mut pieces = vec![(show::fitted(" phase", NAMES + 1), Tone::Faint)];
    let bar = theme.pick("│", "|");
    let mut at = 0;
    for (id, begin, end, record) in &shown.facts.phases {
        let (from, to) = (column(*begin).max(at), column(*end));
        let room = to.saturating_sub(from);
        let on = shown.ending.is_none() || shown.saved.is_some();
        let inside = on && (*begin..*end).contains(&shown.now_us);
        let arrow = if inside { theme.pick("▶", ">") } else { "" };
        let text = if *record {
            format!("{arrow}{id}")
        } else {
            format!("{arrow}({id})")
        };
        let tone = if inside { Tone::Strong } else { Tone::Plain };
        pieces.push((
            format!("{bar}{}", show::fitted(&text, room.saturating_sub(1))),
            tone,
        ));
        at = to;
    }
    line(theme, pieces)
}

/// Writes the first of the labels for which the row has room: after the last window, else before the first.
fn overlay(cells: &mut [char], labels: &[String], end: usize) {
    let first_used = cells
        .iter()
        .position(|cell| *cell != ' ')
        .unwrap_or(cells.len());
    let place = |label: &String| {
        let length = label.chars().count();
        if end + 1 + length <= cells.len() {
            Some(end + 1)
        } else if length < first_used {
            Some(first_used - length - 1)
        } else {
            None
        }
    };
    let fits = labels.iter().find_map(|label| Some((label, place(label)?)));
    if let Some((label, at)) = fits {
        for (cell, c) in cells.iter_mut().skip(at).zip(label.chars()) {
            *cell = c;
        }
    }
}
