//! Symbols and colours. Colour is never the only signal: every state has a symbol of its own, in Unicode and in ASCII.

use ratatui::style::{Color, Modifier, Style};

use crate::event::Outcome;

/// How things look.
#[derive(Debug, Clone)]
pub struct Theme {
    /// Colours are used.
    pub colour: bool,
    /// Only ASCII is drawn.
    pub ascii: bool,
}

/// What a piece of text means; a theme turns it into a style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    Plain,
    /// Titles and what is chosen.
    Strong,
    /// What can wait.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Not as it should be.
    Bad,
    /// A fault is active.
    Fault,
    /// The first side of two.
    First,
    /// The second side of two.
    Second,
}

impl Theme {
    /// What the environment and the command line ask for (`NO_COLOR`: <https://no-color.org>).
    pub fn new(ascii: bool, no_color: bool) -> Self {
        Self {
            colour: !no_color,
            ascii,
        }
    }

    /// The style of a meaning.
    pub fn style(&self, tone: Tone) -> Style {
        let style = match tone {
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Strong | Tone::Bad | Tone::Fault => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        if !self.colour {
            return style;
        }
        match tone {
            Tone::Plain | Tone::Strong | Tone::Faint => style,
            Tone::Good => style.fg(Color::Green),
            Tone::Doubtful => style.fg(Color::Yellow),
            Tone::Bad => style.fg(Color::Red),
            Tone::Fault => style.fg(Color::Magenta),
            Tone::First => style.fg(Color::Blue),
            Tone::Second => style.fg(Color::Cyan),
        }
    }

    /// A Unicode symbol, or its ASCII stand-in.
    pub fn pick<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.ascii { ascii } else { unicode }
    }

    /// Symbol and meaning of an outcome.
    pub fn outcome(&self, outcome: Outcome) -> (&'static str, Tone) {
        match outcome {
            Outcome::Pass => (if self.ascii { "+" } else { "✔" }, Tone::Good),
            Outcome::Partial => ("~", Tone::Doubtful),
            Outcome::Fail => (if self.ascii { "x" } else { "✘" }, Tone::Bad),
            Outcome::NoData => (if self.ascii { "o" } else { "∅" }, Tone::Doubtful),
            Outcome::NotRun => (if self.ascii { "." } else { "·" }, Tone::Faint),
            Outcome::Inconclusive => ("?", Tone::Doubtful),
        }
    }

    /// A bar chart of one row: each value against `most`; `None` is drawn as a gap.
    pub fn sparkline(&self, values: &[Option<f64>], most: f64) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const LETTERS: [char; 8] = ['.', '.', ':', '-', '=', '+', '*', '#'];
        let levels = if self.ascii { LETTERS } else { BLOCKS };
        values
            .iter()
            .map(|value| match value {
                None => ' ',
                Some(value) if most > 0.0 => {
                    let level = (value / most * 8.0).ceil().clamp(1.0, 8.0) as usize;
                    levels.get(level - 1).copied().unwrap_or(' ')
                }
                Some(_) => levels.first().copied().unwrap_or(' '),
            })
            .collect()
    }

    /// The symbol of a density from 0 to 1: nothing, three shades, full.
    pub fn shade(&self, density: f64) -> &'static str {
        let level = if density <= 0.0 {
            0
        } else {
            (density * 4.0).ceil().clamp(1.0, 4.0) as usize
        };
        let shades = if self.ascii {
            [" ", ".", "o", "O", "#"]
        } else {
            [" ", "░", "▒", "▓", "█"]
        };
        shades.get(level).copied().unwrap_or(" ")
    }
}
