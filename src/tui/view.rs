//! View: draws an [`App`]; it never changes one.
//!
//! ```text
//! header   meshbed ▸ name   seed   phase   state   score
//! body     the screen: live | diffs | histogram | events | score
//! footer   the generator's health                       screens   help
//! ```
//!
//! At 110 columns and 30 rows the live screen shows all panels; below that the timeline and one panel at a time.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{
    again::Which,
    app::{App, Overlay, Question, Screen, Standing},
    show,
    theme::{Theme, Tone},
};
use crate::event::{FaultState, RunState};

mod checks;
mod diffs;
mod events;
mod heat;
mod help;
mod histogram;
mod live;
mod scorecard;
mod services;
mod shadows;
mod timeline;

/// Columns and rows from which the live screen shows all panels.
const WIDE: (u16, u16) = (110, 30);

/// Draws everything.
pub fn draw(app: &App, theme: &Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let [top, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    let shown = app.shown();
    frame.render_widget(header(app, shown, theme, top.width), top);
    match app.view.screen {
        Screen::Live => live::draw(app, shown, theme, frame, body),
        Screen::Diffs => diffs::draw(app, shown, theme, frame, body),
        Screen::Histogram => histogram::draw(app, shown, theme, frame, body),
        Screen::Events => events::draw(app, shown, theme, frame, body),
        Screen::Score => scorecard::draw(app, shown, theme, frame, body),
    }
    frame.render_widget(footer(app, shown, theme, bottom.width), bottom);
    if app.view.help {
        let area = help::area(app, area);
        frame.render_widget(Clear, area);
        help::draw(app, theme, frame, area);
    }
    if let Some(overlay) = &app.view.overlay {
        lay(overlay, theme, frame, body);
    }
    if theme.ascii {
        to_ascii(frame);
    }
}

/// Draws a text over the screen, wrapped, in as many lines as it takes.
fn lay(overlay: &Overlay, theme: &Theme, frame: &mut Frame<'_>, body: Rect) {
    let width = body.width.min(OVERLAY);
    let inside = usize::from(width).saturating_sub(2);
    let lines: Vec<String> = overlay
        .lines
        .iter()
        .flat_map(|text| match text.as_str() {
            "" => vec![String::new()],
            text => diffs::in_words(text, inside),
        })
        .collect();
    let height = body.height.min(lines.len() as u16 + 2);
    let area = Rect {
        x: body.x + (body.width - width) / 2,
        y: body.y + (body.height - height) / 2,
        width,
        height,
    };
    let room = usize::from(height).saturating_sub(2);
    let first = overlay.scroll.min(lines.len().saturating_sub(room));
    let keys = if lines.len() > room {
        format!(
            "j k: lines {}–{} of {}",
            first + 1,
            first + room,
            lines.len()
        )
    } else {
        "any key: close".to_owned()
    };
    let lines = lines
        .into_iter()
        .skip(first)
        .take(room)
        .map(|text| line(theme, vec![(text, Tone::Plain)]))
        .collect();
    frame.render_widget(Clear, area);
    list(
        frame,
        theme,
        area,
        &format!("{}   {keys}", overlay.title),
        lines,
        None,
    );
}

/// The widest that a text over the screen gets: longer lines are hard to read.
pub const OVERLAY: u16 = 110;

/// Puts ASCII in place of what numbers and names brought along.
fn to_ascii(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        if !cell.symbol().is_ascii() {
            let stand_in = match cell.symbol() {
                "µ" => "u",
                "–" | "−" => "-",
                "…" => ".",
                "×" => "x",
                _ => "?",
            };
            cell.set_symbol(stand_in);
        }
    }
}

/// How many panes the focus walks through on the screen that is shown; those of differences are walked through by name.
pub fn panes(app: &App) -> usize {
    match app.view.screen {
        Screen::Live => live::PANELS.len(),
        Screen::Histogram => histogram::services(app.shown()).len(),
        Screen::Diffs | Screen::Events | Screen::Score => 1,
    }
}

/// How many lines the choice walks through on the screen that is shown.
pub fn lines(app: &App) -> usize {
    match app.view.screen {
        Screen::Live => app.facts.faults.len(),
        Screen::Events => events::lines(app, app.shown()).count(),
        Screen::Score => app.facts.checks.len(),
        // The panes of differences have lines of their own: `browse` knows them.
        Screen::Diffs | Screen::Histogram => 0,
    }
}

/// Columns that the scenario's name gets before anything else is said.
const NAME: usize = 24;

fn header(app: &App, shown: &App, theme: &Theme, width: u16) -> Line<'static> {
    let facts = &shown.facts;
    let state = match shown.state {
        RunState::Starting => "starting",
        RunState::Playing => "live",
        RunState::Draining => "draining",
        RunState::Finished => "finished",
        RunState::Interrupted => "interrupted",
        RunState::Guarded => "stopped by a guard",
        RunState::Failed => "failed",
    };
    let on = shown.ending.is_none() || shown.saved.is_some();
    let phase = match shown.phase().filter(|_| on) {
        // It ends when it is told to.
        Some((id, begin, u64::MAX, _)) => format!(
            "{} {}",
            id.to_uppercase(),
            show::clock(shown.now_us.saturating_sub(*begin))
        ),
        None if facts.length_us() == u64::MAX => show::clock(shown.now_us),
        Some((id, begin, end, _)) => format!(
            "phase {} {}s/{}s",
            id.to_uppercase(),
            (shown.now_us.saturating_sub(*begin)) / 1_000_000,
            (end - begin) / 1_000_000
        ),
        None => format!(
            "{} of {}",
            show::clock(shown.now_us),
            show::clock(facts.length_us())
        ),
    };
    let score = shown.ending.as_ref().map_or_else(String::new, |ending| {
        let (low, value, high) = ending.score;
        let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"));
        format!("score {value} ({low:.0}–{high:.0})")
    });
    let frozen = if app.frozen.is_some() { "FROZEN" } else { "" };
    let stopping = if app.view.stopping && app.ending.is_none() {
        "STOPPING (q again: leave now)"
    } else {
        ""
    };
    let seed = format!("seed {}", facts.seed);
    let faults = shown
        .faults
        .keys()
        .filter(|fault| shown.is_on(fault) && (shown.ending.is_none() || shown.saved.is_some()))
        .count();
    let active = match faults {
        0 => String::new(),
        n => format!("{} {n} on", theme.pick("⚡", "!")),
    };
    // Said first, dropped first where the name would have no room.
    let mut right: Vec<String> = [
        seed,
        state.to_owned(),
        phase,
        active,
        score,
        frozen.to_owned(),
        stopping.to_owned(),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect();
    let title = format!(" meshbed {} ", theme.pick("▸", ">"));
    let free = |right: &[String]| {
        let used = title.chars().count() + right.join("  ").chars().count() + 3;
        usize::from(width).saturating_sub(used)
    };
    let wanted = facts.name.chars().count().min(NAME);
    while free(&right) < wanted && right.len() > 2 {
        right.remove(0);
    }
    let used = usize::from(width) - free(&right);
    let right = right.join("  ");
    let name = show::fitted(&facts.name, usize::from(width).saturating_sub(used));
    Line::from(vec![
        Span::styled(title, theme.style(Tone::Strong)),
        Span::raw(name),
        Span::raw("  "),
        Span::styled(right, theme.style(Tone::Strong)),
    ])
}

fn footer(app: &App, shown: &App, theme: &Theme, width: u16) -> Line<'static> {
    if app.view.typing {
        let text = format!(" /{}_   enter: keep  esc: clear", app.view.filter);
        return Line::from(Span::styled(text, theme.style(Tone::Strong)));
    }
    if let Some(question) = &app.view.question {
        return asked(question, theme, width);
    }
    let over = shown.ending.as_ref().filter(|_| shown.saved.is_none());
    let health = match (&shown.ticks, over) {
        (_, Some(ending)) => {
            let (planned, sent, answered) = ending.requests;
            vec![
                format!("planned {planned}"),
                format!("sent {sent}"),
                format!("answered {answered}"),
                format!("overflow {}", shown.overflow),
            ]
        }
        ((Some(now), before), None) => {
            let (planned, sent) = before.as_ref().map_or((now.planned, now.sent), |before| {
                (
                    now.planned.saturating_sub(before.planned),
                    now.sent.saturating_sub(before.sent),
                )
            });
            let late = show::duration(now.late_p99_us as f64);
            let mark = if now.late_p99_us <= 1_000 {
                theme.pick("✔", "+")
            } else {
                theme.pick("✘", "x")
            };
            let mut parts = vec![
                format!("offered {planned}/s"),
                format!("sent {sent}/s"),
                format!("late p99 {late} {mark}"),
                format!("in flight {}", now.in_flight),
            ];
            if shown.overflow > 0 {
                parts.push(format!("overflow {}", shown.overflow));
            }
            parts
        }
        _ => vec!["no traffic yet".to_owned()],
    };
    let health = match app.replay.as_ref().filter(|replay| replay.over.is_none()) {
        Some(replay) => vec![format!("replay: {}", replay.step)],
        None => health,
    };
    let keys = if width >= 100 {
        " 1 live 2 diffs 3 hist 4 events 5 score  ? help  q quit "
    } else {
        " 1-5 screens  ? help "
    };
    let room = usize::from(width).saturating_sub(keys.len());
    let health = whole(&health, room);
    Line::from(vec![
        Span::raw(show::fitted(&health, room)),
        Span::styled(keys, theme.style(Tone::Faint)),
    ])
}

/// A question with what has been typed; of a long answer the end is seen, where the typing is.
fn asked(question: &Question, theme: &Theme, width: u16) -> Line<'static> {
    let text = match question {
        Question::Why { path, text } => {
            let before = format!(" ignore {path} for 90 days, why? ");
            typing(&before, text, "_   enter: write  esc: not", width)
        }
        Question::Compare { text, .. } => {
            let before = " compare with: ";
            typing(before, text, "_   enter: compare  esc: not", width)
        }
        Question::Again {
            what,
            which,
            left_out,
            later,
        } => {
            let count = which.len();
            let left_out = match left_out {
                0 => String::new(),
                left_out => format!(", {left_out} left out"),
            };
            let how = match which {
                Which::Scheduled(_) if *later => "once the run is over replay",
                Which::Scheduled(_) => "bring the bed up and replay",
                Which::Known(_) => "ask primary and shadows again:",
            };
            format!(" {how} {count} requests{left_out}?  y: yes  esc: no   {what}")
        }
    };
    let text = show::cut(&text, usize::from(width));
    Line::from(Span::styled(text, theme.style(Tone::Strong)))
}

/// A line that is being typed; of a long one the end is seen.
fn typing(before: &str, text: &str, after: &str, width: u16) -> String {
    let used = before.chars().count() + after.chars().count();
    let room = usize::from(width).saturating_sub(used).max(8);
    let skipped = text.chars().count().saturating_sub(room);
    let end: String = text.chars().skip(skipped).collect();
    format!("{before}{end}{after}")
}

/// As many of the parts, from the first on, as fit whole: half a number would be another number.
fn whole(parts: &[String], room: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let longer = format!("{text}{} {part}", if text.is_empty() { "" } else { " " });
        if longer.chars().count() > room {
            break;
        }
        text = longer;
    }
    text
}

/// A box with a title.
fn panel(title: impl Into<String>, theme: &Theme) -> Block<'static> {
    const ASCII: border::Set<'static> = border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    };
    let title = title.into();
    let block = Block::bordered().title(Span::styled(
        if title.is_empty() {
            title
        } else {
            format!(" {title} ")
        },
        theme.style(Tone::Strong),
    ));
    if theme.ascii {
        block.border_set(ASCII)
    } else {
        block
    }
}

/// Lines in a box; what does not fit is cut at the bottom, and the title says so.
fn list(
    frame: &mut Frame<'_>,
    theme: &Theme,
    area: Rect,
    title: &str,
    lines: Vec<Line<'static>>,
    chosen: Option<usize>,
) {
    let rows = usize::from(area.height.saturating_sub(2));
    let first = chosen.map_or(0, |chosen| chosen.saturating_sub(rows.saturating_sub(1)));
    let hidden = lines.len().saturating_sub(first + rows);
    let mut title = title.to_owned();
    if first > 0 || hidden > 0 {
        title += &format!(
            " {}–{} of {}",
            first + 1,
            (first + rows).min(lines.len()),
            lines.len()
        );
    }
    let lines: Vec<Line<'static>> = lines
        .into_iter()
        .enumerate()
        .skip(first)
        .take(rows)
        .map(|(index, line)| {
            if Some(index) == chosen {
                line.patch_style(Style::new().reversed())
            } else {
                line
            }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(panel(title, theme)), area);
}

/// The symbol of what a difference counts as.
fn mark(standing: Standing, theme: &Theme) -> (&'static str, Tone) {
    match standing {
        Standing::Differs => (if theme.ascii { "!" } else { "≠" }, Tone::Doubtful),
        Standing::Noise => ("~", Tone::Faint),
        Standing::Ignored => (if theme.ascii { "." } else { "·" }, Tone::Faint),
        Standing::Unjudged => ("?", Tone::Faint),
    }
}

/// A line of pieces with meanings.
fn line(theme: &Theme, pieces: Vec<(String, Tone)>) -> Line<'static> {
    Line::from(
        pieces
            .into_iter()
            .map(|(text, tone)| Span::styled(text, theme.style(tone)))
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_fit_is_left_out_whole() {
        let parts = ["offered 9/s", "in flight 1394"].map(str::to_owned);
        assert_eq!(whole(&parts, 28), " offered 9/s  in flight 1394");
        assert_eq!(whole(&parts, 27), " offered 9/s");
        assert_eq!(whole(&parts, 11), "");
    }
}
