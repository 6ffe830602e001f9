//! The help: the table of keys; where it has too little room, only those of the screen that is shown.

use ratatui::{Frame, layout::Rect};

use super::{
    super::keymap::{BINDINGS, Binding},
    App, Theme, Tone, line, list, show,
};

/// Whether a key does something on the screen that is shown.
fn is_here(binding: &Binding, app: &App) -> bool {
    binding.screens.is_empty() || binding.screens.contains(&app.view.screen)
}

/// The keys that are listed in so many rows of a terminal, and whether they are all.
fn listed(app: &App, height: u16) -> (Vec<&'static Binding>, bool) {
    let all = BINDINGS.iter().filter(|binding| binding.is_for(app));
    let mut bindings: Vec<_> = all.collect();
    let fit = bindings.len() + 2 <= usize::from(height);
    if !fit {
        bindings.retain(|binding| is_here(binding, app));
    }
    (bindings, fit)
}

/// Where the help lies over the screen.
pub(super) fn area(app: &App, frame: Rect) -> Rect {
    let width = frame.width.min(76);
    let rows = listed(app, frame.height).0.len();
    let height = frame.height.min(rows as u16 + 2);
    Rect {
        x: frame.x + (frame.width - width) / 2,
        y: frame.y + (frame.height - height) / 2,
        width,
        height,
    }
}

pub(super) fn draw(app: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    const ASCII: [(&str, &str); 5] = [
        ("→", "right"),
        ("←", "left"),
        ("↓", "down"),
        ("↑", "up"),
        ("⇧", "shift-"),
    ];
    let (bindings, all) = listed(app, frame.area().height);
    let lines = bindings
        .into_iter()
        .map(|binding| {
            let here = is_here(binding, app);
            let mut keys = binding.keys.to_owned();
            if theme.ascii {
                for (symbol, word) in ASCII {
                    keys = keys.replace(symbol, word);
                }
            }
            let (tone, elsewhere) = if here {
                (Tone::Plain, "")
            } else {
                (Tone::Faint, "  (other screens)")
            };
            line(
                theme,
                vec![
                    (format!(" {} ", show::fitted(&keys, 14)), Tone::Strong),
                    (format!("{}{elsewhere}", binding.help), tone),
                ],
            )
        })
        .collect();
    let title = if all {
        "keys   ? or q: close"
    } else {
        "keys of this screen   ? or q: close"
    };
    list(frame, theme, area, title, lines, None);
}
