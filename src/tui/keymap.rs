//! Keys: the one table that turns them into actions, and that makes the help.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Screen};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Show a screen.
    Show(Screen),
    /// The next panel, service or column.
    Next,
    /// The one before.
    Previous,
    /// One line down.
    Down,
    /// One line up.
    Up,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// Look closer at what is chosen, or step back from it.
    Enter,
    /// Stop the picture; what happens is still collected.
    Freeze,
    /// A shorter span of time.
    ZoomIn,
    /// A longer span of time.
    ZoomOut,
    /// Logarithmic or linear.
    Scale,
    /// Sort by the next column.
    Sort,
    /// Switch the chosen fault off or on.
    Switch,
    /// Back in the time of a saved run.
    Earlier,
    /// Forth in the time of a saved run.
    Later,
    /// Show the control's values, or no longer.
    Control,
    /// List noise and what is ignored, or no longer.
    Noise,
    /// Copy the example's request as curl commands.
    Curl,
    /// Replay the requests behind what is chosen.
    Replay,
    /// Write a rule that ignores the chosen field.
    Ignore,
    /// Compare the run with another.
    Compare,
    /// Take away what lies over the screen.
    Close,
    /// Ask for the text that lines must have.
    Filter,
    /// One more character of it.
    Type(char),
    /// One character less.
    Erase,
    /// It is complete.
    Keep,
    /// All lines again.
    Clear,
    /// Open or close the help.
    Help,
    /// Stop the run; when it is over, leave.
    Quit,
}

/// A row of the table: keys, what they do, where, and the text of the help.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Key codes that mean it.
    pub codes: &'static [KeyCode],
    /// How the help writes them.
    pub keys: &'static str,
    /// What they do.
    pub action: Action,
    /// What the help says.
    pub help: &'static str,
    /// Screens where it does something; empty: everywhere.
    pub screens: &'static [Screen],
    /// Runs for which it does something.
    pub of: Of,
}

/// Which runs a binding is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Any.
    Any,
    /// One that is on.
    Live,
    /// One that was opened from its report.
    Saved,
}

impl Binding {
    /// Whether it is for this run.
    pub fn is_for(&self, app: &App) -> bool {
        match self.of {
            Of::Any => true,
            Of::Live => app.saved.is_none(),
            Of::Saved => app.saved.is_some(),
        }
    }
}

/// All bindings, in the order of the help.
pub const BINDINGS: &[Binding] = &[
    bind(
        &[KeyCode::Char('1')],
        "1",
        Action::Show(Screen::Live),
        "live run",
        &[],
    ),
    bind(
        &[KeyCode::Char('2')],
        "2",
        Action::Show(Screen::Diffs),
        "differences of the shadows",
        &[],
    ),
    bind(
        &[KeyCode::Char('3')],
        "3",
        Action::Show(Screen::Histogram),
        "histograms",
        &[],
    ),
    bind(
        &[KeyCode::Char('4')],
        "4",
        Action::Show(Screen::Events),
        "events",
        &[],
    ),
    bind(
        &[KeyCode::Char('5')],
        "5",
        Action::Show(Screen::Score),
        "scorecard",
        &[],
    ),
    bind(
        &[KeyCode::Tab, KeyCode::Right],
        "tab →",
        Action::Next,
        "next panel, service or pane",
        &[Screen::Live, Screen::Diffs, Screen::Histogram],
    ),
    bind(
        &[KeyCode::BackTab, KeyCode::Left],
        "⇧tab ←",
        Action::Previous,
        "the one before",
        &[Screen::Live, Screen::Diffs, Screen::Histogram],
    ),
    bind(
        &[KeyCode::Down, KeyCode::Char('j')],
        "↓ j",
        Action::Down,
        "one line down",
        &[Screen::Live, Screen::Diffs, Screen::Events, Screen::Score],
    ),
    bind(
        &[KeyCode::Up, KeyCode::Char('k')],
        "↑ k",
        Action::Up,
        "one line up",
        &[Screen::Live, Screen::Diffs, Screen::Events, Screen::Score],
    ),
    bind(
        &[KeyCode::PageDown],
        "PgDn",
        Action::PageDown,
        "a page down",
        &[Screen::Diffs, Screen::Events, Screen::Score],
    ),
    bind(
        &[KeyCode::PageUp],
        "PgUp",
        Action::PageUp,
        "a page up",
        &[Screen::Diffs, Screen::Events, Screen::Score],
    ),
    bind(
        &[KeyCode::Enter],
        "enter",
        Action::Enter,
        "open; next example; evidence for a check",
        &[Screen::Diffs, Screen::Score],
    ),
    only(
        Of::Live,
        bind(
            &[KeyCode::Char('x')],
            "x",
            Action::Switch,
            "switch the chosen fault off, or on again",
            &[Screen::Live],
        ),
    ),
    only(
        Of::Live,
        bind(
            &[KeyCode::Char('f')],
            "f",
            Action::Freeze,
            "freeze the picture, go on collecting",
            &[],
        ),
    ),
    only(
        Of::Saved,
        bind(
            &[KeyCode::Char(',')],
            ",",
            Action::Earlier,
            "back in time, a twentieth of the span",
            &[Screen::Live],
        ),
    ),
    only(
        Of::Saved,
        bind(
            &[KeyCode::Char('.')],
            ".",
            Action::Later,
            "forth in time, a twentieth of the span",
            &[Screen::Live],
        ),
    ),
    bind(
        &[KeyCode::Char('z')],
        "z",
        Action::ZoomIn,
        "shorter span of time",
        &[Screen::Live],
    ),
    bind(
        &[KeyCode::Char('Z')],
        "Z",
        Action::ZoomOut,
        "longer span of time",
        &[Screen::Live],
    ),
    bind(
        &[KeyCode::Char('l')],
        "l",
        Action::Scale,
        "logarithmic or linear",
        &[Screen::Live, Screen::Histogram],
    ),
    bind(
        &[KeyCode::Char('s')],
        "s",
        Action::Sort,
        "sort by count or by name",
        &[Screen::Diffs],
    ),
    bind(
        &[KeyCode::Char('/')],
        "/",
        Action::Filter,
        "only lines with a text; esc: all",
        &[Screen::Diffs, Screen::Events],
    ),
    bind(
        &[KeyCode::Char('c')],
        "c",
        Action::Control,
        "show the control's values beside",
        &[Screen::Diffs],
    ),
    bind(
        &[KeyCode::Char('c')],
        "c",
        Action::Compare,
        "compare with another run",
        &[Screen::Score],
    ),
    bind(
        &[KeyCode::Char('n')],
        "n",
        Action::Noise,
        "list noise and what is ignored, or not",
        &[Screen::Diffs],
    ),
    bind(
        &[KeyCode::Char('y')],
        "y",
        Action::Curl,
        "copy the example's request as curl commands",
        &[Screen::Diffs],
    ),
    bind(
        &[KeyCode::Char('r')],
        "r",
        Action::Replay,
        "replay the requests that differ there",
        &[Screen::Diffs],
    ),
    bind(
        &[KeyCode::Char('i')],
        "i",
        Action::Ignore,
        "write an ignore rule into the scenario",
        &[Screen::Diffs],
    ),
    bind(&[KeyCode::Char('?')], "?", Action::Help, "this help", &[]),
    bind(
        &[KeyCode::Char('q'), KeyCode::Esc],
        "q",
        Action::Quit,
        "stop the run; once it is over, leave",
        &[],
    ),
];

const fn bind(
    codes: &'static [KeyCode],
    keys: &'static str,
    action: Action,
    help: &'static str,
    screens: &'static [Screen],
) -> Binding {
    Binding {
        codes,
        keys,
        action,
        help,
        screens,
        of: Of::Any,
    }
}

const fn only(of: Of, binding: Binding) -> Binding {
    Binding { of, ..binding }
}

/// What a key asks for on the screen that is shown.
pub fn action(key: KeyEvent, app: &App) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        // Raw mode turns Ctrl-C into a key; it must still end the run.
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    if app.view.overlay.is_some() {
        return Some(match key.code {
            KeyCode::Down | KeyCode::Char('j') => Action::Down,
            KeyCode::Up | KeyCode::Char('k') => Action::Up,
            KeyCode::PageDown => Action::PageDown,
            KeyCode::PageUp => Action::PageUp,
            _ => Action::Close,
        });
    }
    if app.view.typing || app.view.question.is_some() {
        return match key.code {
            KeyCode::Char(c) => Some(Action::Type(c)),
            KeyCode::Backspace => Some(Action::Erase),
            KeyCode::Enter => Some(Action::Keep),
            KeyCode::Esc => Some(Action::Clear),
            _ => None,
        };
    }
    BINDINGS
        .iter()
        .find(|binding| {
            binding.codes.contains(&key.code)
                && binding.is_for(app)
                && (binding.screens.is_empty() || binding.screens.contains(&app.view.screen))
        })
        .map(|binding| binding.action)
}
