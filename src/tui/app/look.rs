//! Where a person looks.

use std::collections::BTreeSet;

use crate::{
    event::Id,
    tui::{again::Which, browse::Browse},
};

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The run as it goes.
    Live,
    /// How answers differ.
    Diffs,
    /// Histograms by phase.
    Histogram,
    /// What happened.
    Events,
    /// The scorecard.
    Score,
}

/// Where a person looks.
#[derive(Debug, Clone)]
pub struct ViewState {
    /// The screen.
    pub screen: Screen,
    /// The panel with the focus on a small live screen; the chosen service, or pane, elsewhere.
    pub focus: usize,
    /// The chosen line.
    pub line: usize,
    /// The chosen example.
    pub example: usize,
    /// What is chosen on the screen of differences.
    pub browse: Browse,
    /// What is being asked; keys go into the answer.
    pub question: Option<Question>,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// Seconds shown on the live screen.
    pub zoom: usize,
    /// Latency axes are logarithmic.
    pub logarithmic: bool,
    /// Sort by name, not by count.
    pub by_name: bool,
    /// Only lines that have this are listed, whatever the case; empty: all.
    pub filter: String,
    /// Keys go into the filter.
    pub typing: bool,
    /// The help is open.
    pub help: bool,
    /// Faults that a person switched off.
    pub switched_off: BTreeSet<Id>,
    /// A person asked the run to stop.
    pub stopping: bool,
}

impl ViewState {
    /// Whether the filter lets a line through.
    pub fn lets(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// What a list's title says of the filter.
    pub fn filtered(&self) -> String {
        match self.filter.as_str() {
            "" => "/: filter".to_owned(),
            filter => format!("/{filter}"),
        }
    }
}

/// A question at the bottom of the screen, with what has been typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Why a path is to be ignored.
    Why {
        /// The path.
        path: String,
        /// The answer so far.
        text: String,
    },
    /// Which other run to compare this one with.
    Compare {
        /// This run's folder.
        report: String,
        /// The other's so far.
        text: String,
    },
    /// Whether to replay these requests.
    Again {
        /// What they are, in words.
        what: String,
        /// Which.
        which: Which,
        /// How many of them cannot be replayed.
        left_out: usize,
        /// Only once the run is over: a second bed beside it would spoil its latencies.
        later: bool,
    },
}

/// A text over the screen, until the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Its title.
    pub title: String,
    /// What it says; long lines are wrapped.
    pub lines: Vec<String>,
    /// Lines above its top.
    pub scroll: usize,
}

impl Overlay {
    /// From its top.
    pub fn new(title: &str, lines: Vec<String>) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            scroll: 0,
        }
    }
}
