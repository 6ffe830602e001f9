//! The help: the table of keys.

use ratatui::{Frame, layout::Rect};

use super::{super::keymap::BINDINGS, App, Theme, Tone, line, list, show};

/// Where the help lies over the screen.
pub(super) fn area(app: &App, frame: Rect) -> Rect {
    let width = frame.width.min(76);
    let rows = BINDINGS
        .iter()
        .filter(|binding| binding.is_for(app))
        .count();
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
    let lines = BINDINGS
        .iter()
        .filter(|binding| binding.is_for(app))
        .map(|binding| {
            let here = binding.screens.is_empty() || binding.screens.contains(&app.view.screen);
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
    list(frame, theme, area, "keys   ? or q: close", lines, None);
}
