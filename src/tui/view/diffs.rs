//! Screen 2: endpoints, the fields in which a shadow's answers differ there, and an example of the chosen field.
//!
//! ```text
//! ┌ endpoints ──────────┐┌ fields of GET /cart/{id} ──┐┌ example 3 of 12 ────────┐      ┌ endpoints ┐┌ fields ───┐
//! │ where               ││ what, how often           ││ primary │ shadow │ ctrl │      └───────────┘└───────────┘
//! └─────────────────────┘└───────────────────────────┘└─────────────────────────┘      ┌ example ───────────────┐
//! ```

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    super::{
        app::{Control, Example, Standing},
        browse::{self, Browse, Chosen, Endpoint, Pane, Row},
    },
    App, Theme, Tone, line, list, mark, show,
};

/// Columns from which the three panes stand side by side.
const WIDE: u16 = 110;
/// Columns of a number of answers.
const COUNT: usize = 6;
/// The least columns of a value beside others.
const VALUE: usize = 12;

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(chosen) = browse::chosen(app, shown) else {
        nothing(app, shown, theme, frame, area);
        return;
    };
    let (left, middle, right) = if area.width >= WIDE {
        let [left, middle, right] = Layout::horizontal([
            Constraint::Fill(6),
            Constraint::Fill(8),
            Constraint::Fill(8),
        ])
        .areas(area);
        (left, middle, right)
    } else {
        let [top, bottom] =
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
        let [left, middle] =
            Layout::horizontal([Constraint::Fill(4), Constraint::Fill(5)]).areas(top);
        (left, middle, bottom)
    };
    endpoints(app, theme, frame, left, &chosen);
    fields(app, shown, theme, frame, middle, &chosen);
    example(app, theme, frame, right, &chosen);
}

fn nothing(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let text = if !app.view.filter.is_empty() {
        format!("nothing has `{}`   /: filter", app.view.filter)
    } else if shown.facts.shadows.is_empty() {
        "this run has no shadow: there is nothing to compare".to_owned()
    } else if !app.view.browse.noise {
        "nothing differs beyond noise and rules   n: list those too".to_owned()
    } else {
        "nothing has been compared: this screen fills when a shadow answers".to_owned()
    };
    let text = line(theme, vec![(text, Tone::Faint)]);
    list(frame, theme, area, "differences", vec![text], None);
}

/// The first column of a line: what is chosen is told by it, too, where another pane has the focus.
fn pointer(theme: &Theme, is_chosen: bool) -> &'static str {
    if is_chosen {
        theme.pick("›", ">")
    } else {
        " "
    }
}

/// A title that says whether its pane has the focus.
fn titled(app: &App, theme: &Theme, pane: Pane, title: &str) -> String {
    if app.view.browse.pane == pane {
        format!("{} {title}", theme.pick("▶", "*"))
    } else {
        title.to_owned()
    }
}

fn endpoints(app: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect, chosen: &Chosen<'_>) {
    let endpoints = &chosen.endpoints;
    let several = endpoints
        .iter()
        .any(|endpoint| endpoint.shadow != chosen.endpoint.1.shadow);
    let width = usize::from(area.width).saturating_sub(2);
    let entry = |(at, endpoint): (usize, &Endpoint)| {
        let (symbol, tone) = if endpoint.differ > 0 {
            mark(Standing::Differs, theme)
        } else {
            (theme.pick("✔", "+"), Tone::Good)
        };
        let name = if several {
            format!("{} {}", endpoint.shadow, endpoint.name)
        } else {
            endpoint.name.clone()
        };
        let differ = match endpoint.differ {
            0 => String::new(),
            n => n.to_string(),
        };
        let counts = format!(
            "{}{}",
            show::right(&differ, 4),
            show::right(&endpoint.compared.to_string(), COUNT + 1)
        );
        let text = show::fitted(
            &format!("{}{symbol} {name}", pointer(theme, at == chosen.endpoint.0)),
            width.saturating_sub(counts.width()),
        );
        line(theme, vec![(text, tone), (counts, Tone::Plain)])
    };
    let lines = endpoints.iter().enumerate().map(entry).collect();
    let head = heading(
        theme,
        "  endpoint",
        &[("≠", "!=", 4), ("pairs", "pairs", COUNT + 1)],
        width,
    );
    let title = if several {
        format!("endpoints  {}", app.view.filtered())
    } else {
        format!("{}  {}", chosen.endpoint.1.shadow, app.view.filtered())
    };
    let focus = app.view.browse.pane == Pane::Endpoints;
    table(
        frame,
        theme,
        area,
        &titled(app, theme, Pane::Endpoints, &title),
        head,
        lines,
        (chosen.endpoint.0, focus),
    );
}

/// The names of a table's columns: the first to the left, the others to the right of theirs.
fn heading(
    theme: &Theme,
    first: &str,
    others: &[(&str, &str, usize)],
    width: usize,
) -> Line<'static> {
    let counts: String = others
        .iter()
        .map(|(name, ascii, width)| show::right(theme.pick(name, ascii), *width))
        .collect();
    let text = show::fitted(first, width.saturating_sub(counts.width())) + &counts;
    line(theme, vec![(text, Tone::Faint)])
}

/// A list under the names of its columns, with a chosen line that always stands out where the focus is.
fn table(
    frame: &mut Frame<'_>,
    theme: &Theme,
    area: Rect,
    title: &str,
    head: Line<'static>,
    lines: Vec<Line<'static>>,
    (chosen, focus): (usize, bool),
) {
    let rows = usize::from(area.height.saturating_sub(3)).max(1);
    let first = (chosen + 1).saturating_sub(rows);
    let hidden = first > 0 || lines.len() > first + rows;
    let title = if hidden {
        let last = (first + rows).min(lines.len());
        format!("{title} {}–{last} of {}", first + 1, lines.len())
    } else {
        title.to_owned()
    };
    let mut seen = vec![head];
    seen.extend(lines.into_iter().skip(first).take(rows));
    let at = focus.then_some(chosen - first + 1);
    list(frame, theme, area, &title, seen, at);
}

fn fields(
    app: &App,
    shown: &App,
    theme: &Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    chosen: &Chosen<'_>,
) {
    let endpoint = &chosen.endpoint.1;
    let rows = &chosen.rows;
    let width = usize::from(area.width).saturating_sub(2);
    let has_control = shown
        .facts
        .control()
        .is_some_and(|id| *id != endpoint.shadow);
    let at = chosen.row.as_ref().map_or(0, |(at, _)| *at);
    let entry = |(line_at, row): (usize, &Row<'_>)| {
        let (symbol, tone) = mark(row.standing, theme);
        let mut counts = format!(
            " {}{}",
            show::fitted(row.place.2, 8),
            show::right(&row.count.to_string(), COUNT + 1)
        );
        if has_control {
            counts += &show::right(&row.control.to_string(), COUNT + 2);
        }
        let path = show::fitted(
            &format!("{}{symbol} {}", pointer(theme, line_at == at), row.place.1),
            width.saturating_sub(counts.width()),
        );
        line(theme, vec![(path, tone), (counts, Tone::Plain)])
    };
    let mut lines: Vec<_> = rows.iter().enumerate().map(entry).collect();
    let focus = app.view.browse.pane == Pane::Fields && !lines.is_empty();
    if lines.is_empty() {
        let text = if app.view.browse.noise {
            "all answers are equal here"
        } else {
            "nothing differs beyond noise and rules"
        };
        lines.push(line(theme, vec![(text.to_owned(), Tone::Good)]));
    }
    let mut columns = vec![("kind    ", "kind    ", 9), ("differ", "differ", COUNT + 1)];
    if has_control {
        columns.push(("control", "control", COUNT + 2));
    }
    let head = heading(theme, "  field", &columns, width);
    let judged = rows.iter().filter_map(|row| row.field?.judged.as_ref());
    let by = if app.view.by_name {
        "name"
    } else if judged.count() > 0 {
        "chance"
    } else {
        "count"
    };
    let title = titled(app, theme, Pane::Fields, &format!("fields  s: by {by}"));
    table(frame, theme, area, &title, head, lines, (at, focus));
}

fn example(app: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect, chosen: &Chosen<'_>) {
    let browse = &app.view.browse;
    let Some((_, row)) = &chosen.row else {
        let title = titled(app, theme, Pane::Example, "example");
        list(frame, theme, area, &title, Vec::new(), None);
        return;
    };
    let width = usize::from(area.width).saturating_sub(2);
    let mut lines = head(theme, chosen, row, width);
    let title = if let Some((example, number, count)) = chosen.example {
        let shadow = &chosen.endpoint.1.shadow;
        lines.extend(values(theme, browse, shadow, example, width));
        lines.push(Line::default());
        format!("example {} of {count} kept", number + 1)
    } else {
        let text = if row.field.is_some() {
            "no example of it is kept"
        } else {
            "only the control differs here: no example is kept of it"
        };
        lines.push(line(theme, vec![(text.to_owned(), Tone::Faint)]));
        "example".to_owned()
    };
    lines.extend(facts(app, theme, chosen, row, width));
    let room = usize::from(area.height.saturating_sub(2));
    let most = lines.len().saturating_sub(room);
    let first = browse.scroll.min(most);
    let title = match most {
        0 => title,
        _ => format!(
            "{title}  lines {}–{} of {}",
            first + 1,
            (first + room).min(lines.len()),
            lines.len()
        ),
    };
    let title = titled(app, theme, Pane::Example, &title);
    lines.drain(..first);
    lines.truncate(room);
    list(frame, theme, area, &title, lines, None);
    let keys = " y curl  r replay  i ignore  c control ";
    if keys.width() + 4 <= usize::from(area.width) && area.height > 2 {
        let below = Rect {
            x: area.x + 2,
            y: area.y + area.height - 1,
            width: keys.width() as u16,
            height: 1,
        };
        frame.render_widget(line(theme, vec![(keys.to_owned(), Tone::Faint)]), below);
    }
}

/// Lines of a text, broken between words.
fn told(theme: &Theme, text: &str, tone: Tone, width: usize) -> Vec<Line<'static>> {
    let pieces = in_words(text, width).into_iter();
    pieces
        .map(|piece| line(theme, vec![(piece, tone)]))
        .collect()
}

/// Where the answers differ, and what was asked.
fn head(theme: &Theme, chosen: &Chosen<'_>, row: &Row<'_>, width: usize) -> Vec<Line<'static>> {
    let (_, path, kind) = row.place;
    let at = chosen.example.map_or(path, |(example, _, _)| &example.at);
    let mut lines = told(theme, &format!("{kind} at {at}"), Tone::Strong, width);
    if let Some((example, _, _)) = chosen.example {
        let request = format!("#{} {} {}", example.ordinal, example.method, example.target);
        lines.extend(told(theme, &request, Tone::Plain, width));
    }
    lines
}

/// What is known of the field, and of its replay.
fn facts(
    app: &App,
    theme: &Theme,
    chosen: &Chosen<'_>,
    row: &Row<'_>,
    width: usize,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut tell = |text: &str, tone| lines.extend(told(theme, text, tone, width));
    if let Some(judged) = row.field.and_then(|field| field.judged.as_ref()) {
        let text = format!(
            "of {} pairs in recorded phases {} differ only in the shadow, {} only in the control, {} in both; p = {}",
            judged.total,
            judged.b,
            judged.c,
            judged.both,
            show::p_value(judged.p)
        );
        tell(&text, Tone::Faint);
    }
    let rule = row.field.and_then(|field| field.rule.as_deref());
    let verdict = match (row.standing, rule) {
        (_, Some(rule)) => format!("does not count: {rule}"),
        (Standing::Noise, None) => "noise: the control differs here too".to_owned(),
        (Standing::Unjudged, None) => {
            "not judged: seen outside the recorded phases only".to_owned()
        }
        (Standing::Differs, None) if row.field.is_some_and(|field| field.judged.is_some()) => {
            "material: more than noise".to_owned()
        }
        (_, None) => "beyond noise as far as seen; the report's test decides".to_owned(),
    };
    tell(&verdict, Tone::Faint);
    let shadow = &chosen.endpoint.1.shadow;
    if let (Some(replay), Some(field)) = (&app.replay, row.field) {
        let text = match &replay.over {
            None => format!("replay: {}", replay.step),
            Some(Err(why)) => format!("replay failed: {why}"),
            Some(Ok(())) => match replay.of(shadow, row.place, &field.ordinals) {
                outcome if outcome == super::super::again::Outcome::default() => String::new(),
                outcome => format!("replayed: {}", outcome.words()),
            },
        };
        tell(&text, Tone::Doubtful);
    }
    if let Some((example, _, _)) = chosen.example {
        let one = app
            .replay
            .as_ref()
            .and_then(|replay| replay.one(shadow, row.place, example.ordinal));
        match one {
            Some(Ok(true)) => tell("replayed: still differs here", Tone::Doubtful),
            Some(Ok(false)) => tell("replayed: does not differ here any more", Tone::Good),
            Some(Err(why)) => tell(&format!("replayed: not compared, {why}"), Tone::Doubtful),
            None => {}
        }
        if let Some((primary, other)) = example.us {
            let delta = other as f64 - primary as f64;
            let sign = if delta > 0.0 { "+" } else { "" };
            let text = format!(
                "primary {}, {shadow} {}, {} {sign}{}",
                show::duration(primary as f64),
                show::duration(other as f64),
                theme.pick("Δ", "delta"),
                show::duration(delta)
            );
            tell(&text, Tone::Faint);
        }
    }
    lines
}

/// The values side by side, or one below the other where there is no room.
fn values(
    theme: &Theme,
    browse: &Browse,
    shadow: &str,
    example: &Example,
    width: usize,
) -> Vec<Line<'static>> {
    let mut sides = vec![
        (
            "primary".to_owned(),
            text(example.primary.as_ref()),
            Tone::First,
        ),
        (
            shadow.to_owned(),
            text(example.shadow.as_ref()),
            Tone::Second,
        ),
    ];
    if browse.control {
        let value = match &example.control {
            Control::Unknown => "(not compared)".to_owned(),
            Control::Has(value) => text(value.as_ref()),
        };
        sides.push(("control".to_owned(), value, Tone::Faint));
    }
    let bar = theme.pick(" │ ", " | ");
    let room = (width + 3) / sides.len();
    let room = room.saturating_sub(3);
    if room < VALUE {
        let mut lines = Vec::new();
        for (name, value, tone) in sides {
            lines.push(line(theme, vec![(name, Tone::Strong)]));
            let pieces = wrapped(&value, width.saturating_sub(2));
            lines.extend(pieces.map(|piece| line(theme, vec![(format!("  {piece}"), tone)])));
        }
        return lines;
    }
    let columns: Vec<(Vec<String>, Tone)> = sides
        .iter()
        .map(|(_, value, tone)| (wrapped(value, room).collect(), *tone))
        .collect();
    let rows = columns.iter().map(|(pieces, _)| pieces.len()).max();
    let mut lines = Vec::new();
    let row = |cells: Vec<(String, Tone)>| {
        let mut pieces = Vec::new();
        for (place, (text, tone)) in cells.into_iter().enumerate() {
            if place > 0 {
                pieces.push((bar.to_owned(), Tone::Faint));
            }
            pieces.push((show::fitted(&text, room), tone));
        }
        line(theme, pieces)
    };
    let names = sides
        .iter()
        .map(|(name, _, _)| (name.clone(), Tone::Strong));
    lines.push(row(names.collect()));
    for at in 0..rows.unwrap_or(0) {
        let cells = columns.iter().map(|(pieces, tone)| {
            let piece = pieces.get(at).cloned().unwrap_or_default();
            (piece, *tone)
        });
        lines.push(row(cells.collect()));
    }
    lines
}

/// A value as it would be written; a text among lines of its own.
fn text(value: Option<&Value>) -> String {
    match value {
        None => "(absent)".to_owned(),
        Some(value @ (Value::Object(_) | Value::Array(_))) => {
            serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
        }
        Some(value) => value.to_string(),
    }
}

/// A text in lines of at most so many columns: nothing of it is lost. Control characters are shown as `·`.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for whole in text.lines() {
        let mut piece = String::new();
        let mut used = 0;
        for c in whole.chars() {
            let c = if c.is_control() { '·' } else { c };
            let columns = c.width().unwrap_or(0);
            if used + columns > width {
                lines.push(std::mem::take(&mut piece));
                used = 0;
            }
            piece.push(c);
            used += columns;
        }
        lines.push(piece);
    }
    lines.into_iter()
}

/// The same, broken between words where they fit.
pub(super) fn in_words(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_inclusive(' ') {
        let bare = word.trim_end();
        match lines.last_mut() {
            Some(last) if last.width() + bare.width() <= width => last.push_str(word),
            _ if bare.width() <= width => lines.push(word.to_owned()),
            _ => {
                lines.extend(wrapped(bare, width));
                if let Some(last) = lines.last_mut().filter(|_| word.ends_with(' ')) {
                    last.push(' ');
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_wrapped_and_loses_nothing() {
        let lines = |text, width| wrapped(text, width).collect::<Vec<_>>();
        assert_eq!(lines("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(lines("ab\n\ncd", 4), ["ab", "", "cd"]);
        assert_eq!(lines("日本語", 5), ["日本", "語"]);
        assert_eq!(lines("a\tb", 9), ["a·b"]);
        assert_eq!(lines("abc", 0), ["a", "b", "c"]);
    }

    #[test]
    fn a_sentence_is_broken_between_words() {
        assert_eq!(in_words("one two three", 8), ["one two ", "three"]);
        assert_eq!(
            in_words("a incomprehensible b", 8),
            ["a ", "incompre", "hensible ", "b"]
        );
        assert_eq!(in_words("", 8), Vec::<String>::new());
    }
}
