//! Update: what an action does to the state.

use super::{
    Order,
    app::{App, SPAN, Screen},
    keymap::Action,
    view,
};

/// What the loop does after an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Draw again.
    Stay,
    /// Ask something of the run.
    Ask(Order),
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
        Action::Enter => app.view.example += 1,
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
    app.view.focus = 0;
    app.view.line = 0;
    app.view.example = 0;
}

fn step(app: &mut App, forward: bool) {
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
    let last = view::lines(app).saturating_sub(1);
    app.view.line = if down {
        (app.view.line + by).min(last)
    } else {
        app.view.line.min(last).saturating_sub(by)
    };
    app.view.example = 0;
}
