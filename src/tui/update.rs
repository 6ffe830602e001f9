//! Update: what an action does to the state.

use serde_json::Value;

use super::{
    Order,
    again::Replay,
    app::{App, Overlay, Question, SPAN, Screen},
    browse::{self, Browse, Chosen},
    curl,
    keymap::Action,
    view,
};
use crate::shadow::narrow;

/// What the loop does after an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Draw again.
    Stay,
    /// Ask something of the run.
    Ask(Order),
    /// Put this on the clipboard.
    Copy(String),
    /// Give the terminal back.
    Leave,
}

/// Lines of a page.
const PAGE: usize = 10;

/// Changes the state by an action.
pub fn update(app: &mut App, action: Action) -> Next {
    if app.view.help && !matches!(action, Action::Quit) {
        app.view.help = false;
        if action == Action::Help {
            return Next::Stay;
        }
    }
    if app.view.question.is_some() {
        return answer(app, action);
    }
    if let Some(overlay) = &mut app.view.overlay {
        match action {
            Action::Down => overlay.scroll += 1,
            Action::PageDown => overlay.scroll += PAGE,
            Action::Up => overlay.scroll = overlay.scroll.saturating_sub(1),
            Action::PageUp => overlay.scroll = overlay.scroll.saturating_sub(PAGE),
            _ => app.view.overlay = None,
        }
        return Next::Stay;
    }
    match action {
        Action::Show(screen) => {
            if app.view.screen != screen {
                app.view.screen = screen;
                app.view.focus = 0;
                app.view.line = 0;
                app.view.example = 0;
                if screen == Screen::Events {
                    // The newest line is at the bottom.
                    app.view.line = app.log.len().saturating_sub(1);
                }
            }
        }
        Action::Next => step(app, true),
        Action::Previous => step(app, false),
        Action::Down => scroll(app, 1, true),
        Action::Up => scroll(app, 1, false),
        Action::PageDown => scroll(app, PAGE, true),
        Action::PageUp => scroll(app, PAGE, false),
        Action::Enter if app.view.screen == Screen::Diffs => browse::open(app),
        Action::Enter => app.view.example += 1,
        Action::Control => app.view.browse.control = !app.view.browse.control,
        Action::Noise => app.view.browse.noise = !app.view.browse.noise,
        Action::Curl => return copy(app),
        Action::Replay => replay(app),
        Action::Ignore => ignore(app),
        Action::Compare => compare(app),
        Action::Close => {}
        Action::Freeze => {
            app.frozen = match app.frozen.take() {
                Some(_) => None,
                None => Some(Box::new(app.clone())),
            };
        }
        Action::ZoomIn => app.view.zoom = (app.view.zoom / 2).max(15),
        Action::ZoomOut => app.view.zoom = (app.view.zoom * 2).min(SPAN),
        Action::Scale => app.view.logarithmic = !app.view.logarithmic,
        Action::Sort => app.view.by_name = !app.view.by_name,
        Action::Filter => app.view.typing = true,
        Action::Type(c) => filter(app, |filter| filter.push(c)),
        Action::Erase => filter(app, |filter| {
            filter.pop();
        }),
        Action::Keep => app.view.typing = false,
        Action::Clear => {
            app.view.typing = false;
            filter(app, String::clear);
        }
        Action::Help => app.view.help = true,
        Action::Switch => {
            let fault = app
                .facts
                .faults
                .get(app.view.line)
                .map(|fault| fault.id.clone());
            if let Some(fault) = fault.filter(|_| app.ending.is_none()) {
                let back_on = app.view.switched_off.remove(&fault);
                if !back_on {
                    app.view.switched_off.insert(fault.clone());
                }
                return Next::Ask(Order::Switch(fault, back_on));
            }
        }
        Action::Earlier => go(app, false),
        Action::Later => go(app, true),
        Action::Quit => {
            if app.view.help {
                app.view.help = false;
                return Next::Stay;
            }
            if app.ending.is_some() || app.view.stopping {
                // The second time, a person does not want to wait for the report.
                return Next::Leave;
            }
            app.view.stopping = true;
            return Next::Ask(Order::Stop);
        }
    }
    Next::Stay
}

/// A twentieth of the span that is shown, at least a second, from one full second to another.
fn go(app: &mut App, forward: bool) {
    let by = (app.view.zoom as u64 / 20).max(1);
    let now = app.now_us / 1_000_000;
    let then = if forward {
        now + by
    } else {
        now.saturating_sub(by).max(1)
    };
    app.go_to(then * 1_000_000);
}

/// Other lines are listed: the choice begins at the first of them.
fn filter(app: &mut App, change: impl FnOnce(&mut String)) {
    change(&mut app.view.filter);
    app.view.browse = Browse {
        control: app.view.browse.control,
        noise: app.view.browse.noise,
        ..Browse::default()
    };
    app.view.focus = 0;
    app.view.line = 0;
    app.view.example = 0;
}

fn step(app: &mut App, forward: bool) {
    if app.view.screen == Screen::Diffs {
        let browse = &mut app.view.browse;
        browse.pane = browse.pane.step(if forward { 1 } else { 2 });
        return;
    }
    let count = view::panes(app).max(1);
    let by = if forward { 1 } else { count - 1 };
    app.view.focus = (app.view.focus + by) % count;
    app.view.line = if app.view.screen == Screen::Live {
        app.view.line
    } else {
        0
    };
    app.view.example = 0;
}

fn scroll(app: &mut App, by: usize, down: bool) {
    if app.view.screen == Screen::Diffs {
        browse::scroll(app, by, down);
        return;
    }
    let last = view::lines(app).saturating_sub(1);
    app.view.line = if down {
        (app.view.line + by).min(last)
    } else {
        app.view.line.min(last).saturating_sub(by)
    };
    app.view.example = 0;
}

fn say(app: &mut App, title: &str, text: &str) {
    app.view.overlay = Some(Overlay::new(title, vec![text.to_owned()]));
}

/// The chosen example as curl commands: on the clipboard, if the terminal has one, on the screen, and printed at the end.
fn copy(app: &mut App) -> Next {
    let chosen = browse::chosen(app, app.shown());
    let curl = chosen.as_ref().and_then(|chosen| {
        let (example, _, _) = chosen.example?;
        Some(curl::of(app, &chosen.endpoint.1.shadow, example))
    });
    let Some(curl) = curl else {
        say(app, "curl", "no example is chosen: nothing to copy");
        return Next::Stay;
    };
    let text = curl.text();
    let mut lines = curl.notes;
    lines.push(String::new());
    lines.extend(text.lines().map(str::to_owned));
    lines.push(String::new());
    lines.push(
        "Sent to the terminal's clipboard (OSC 52), which not every terminal takes; also printed when you leave."
            .to_owned(),
    );
    app.view.overlay = Some(Overlay::new("curl: the primary, then the shadow", lines));
    if !app.copied.contains(&text) {
        app.copied.push(text.clone());
    }
    Next::Copy(text)
}

/// Asks whether to replay what is chosen; one that waits for the end of the run is taken back.
fn replay(app: &mut App) {
    if app.waiting.take().is_some() {
        app.replay = None;
        say(app, "replay", "nothing is replayed when the run is over");
        return;
    }
    if app
        .replay
        .as_ref()
        .is_some_and(|replay| replay.over.is_none())
    {
        say(
            app,
            "replay",
            "one replay is under way: it is told beside the example",
        );
        return;
    }
    if app.facts.file.is_empty() && !app.facts.is_live {
        say(
            app,
            "replay",
            "this run names no scenario file that could bring its services up again",
        );
        return;
    }
    let Some(behind) = browse::behind(app) else {
        say(app, "replay", "nothing is chosen: nothing to replay");
        return;
    };
    if !behind.which.is_empty() {
        app.view.question = Some(Question::Again {
            what: behind.what,
            which: behind.which,
            left_out: behind.left_out,
            later: app.ending.is_none() && !app.facts.is_live,
        });
        return;
    }
    let why = match behind.left_out {
        0 => "nothing that differs there can be asked again: no request of it is kept".to_owned(),
        n => format!(
            "none of the {n} requests that are kept can be asked as it was: it may change something, or a part of it is not kept, such as a secret (y: as curl commands)"
        ),
    };
    say(app, "replay", &why);
}

/// Asks why the chosen field is to be ignored.
fn ignore(app: &mut App) {
    let chosen = browse::chosen(app, app.shown());
    let line = chosen.as_ref().and_then(line);
    let place = chosen.and_then(|chosen| Some(chosen.row?.1.place.clone()));
    let why_not = match &place {
        None => "no field is chosen: nothing to ignore",
        Some(_) if app.facts.file.is_empty() => {
            "this run names no scenario file to write a rule into"
        }
        Some((_, path, "order")) if path == "text" => {
            "the order of the lines differs: no rule ignores that alone (`text` ignores all lines)"
        }
        Some((_, path, _)) if path.starts_with("text[") && line.is_none() => {
            "no example is kept that says which line differs: a rule for all lines would hide them all"
        }
        Some((_, path, _)) => {
            let (path, text) = (line.unwrap_or_else(|| path.clone()), String::new());
            app.view.question = Some(Question::Why { path, text });
            return;
        }
    };
    say(app, "ignore", why_not);
}

/// The rule for the line of a text that the chosen example shows; `None`: it shows none.
fn line(chosen: &Chosen<'_>) -> Option<String> {
    let (example, _, _) = chosen.example?;
    let text = |value: &Option<Value>| value.as_ref()?.as_str().map(str::to_owned);
    let (primary, shadow) = (text(&example.primary), text(&example.shadow));
    let is_line = example.at.starts_with("text[");
    is_line.then(|| narrow(&example.at, primary.as_deref(), shadow.as_deref()))
}

/// Asks for the folder of the other run: most often one beside this one's.
fn compare(app: &mut App) {
    let report = app.ending.as_ref().and_then(|ending| ending.report.clone());
    let Some(report) = report else {
        say(
            app,
            "compare",
            "this run has no report yet: ask again when it is over",
        );
        return;
    };
    let text = match report.trim_end_matches('/').rfind('/') {
        Some(at) => report.get(..=at).unwrap_or_default().to_owned(),
        None => String::new(),
    };
    app.view.question = Some(Question::Compare { report, text });
}

/// A key while something is asked.
fn answer(app: &mut App, action: Action) -> Next {
    let Some(mut question) = app.view.question.take() else {
        return Next::Stay;
    };
    match (&mut question, action) {
        (Question::Why { text, .. } | Question::Compare { text, .. }, Action::Type(c)) => {
            text.push(c);
        }
        (Question::Why { text, .. } | Question::Compare { text, .. }, Action::Erase) => {
            text.pop();
        }
        (Question::Compare { report, text }, Action::Keep) if !text.trim().is_empty() => {
            return Next::Ask(Order::Compare {
                report: std::mem::take(report),
                with: text.trim().to_owned(),
            });
        }
        (Question::Why { path, text }, Action::Keep) if !text.trim().is_empty() => {
            return Next::Ask(Order::Ignore {
                path: std::mem::take(path),
                why: text.trim().to_owned(),
            });
        }
        (Question::Again { what, which, .. }, Action::Keep | Action::Type('y')) => {
            let mut replay = Replay::new(std::mem::take(what), which.ordinals());
            let later = app.ending.is_none() && !app.facts.is_live;
            if later {
                "waits for the end of the run".clone_into(&mut replay.step);
                app.waiting = Some(which.clone());
            }
            app.replay = Some(replay);
            return if later {
                Next::Stay
            } else {
                Next::Ask(Order::Replay(which.clone()))
            };
        }
        (_, Action::Clear | Action::Quit) | (Question::Again { .. }, Action::Type(_)) => {
            return Next::Stay;
        }
        _ => {}
    }
    app.view.question = Some(question);
    Next::Stay
}
