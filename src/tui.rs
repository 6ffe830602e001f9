//! The terminal interface: one loop that folds events into an [`App`], turns keys into actions, and draws at most ten
//! times a second.
//!
//! State (`app.rs`), update (`update.rs`) and view (`view.rs`) are apart: the view takes `&App` and draws; keys become an
//! [`keymap::Action`] through the one table that also makes the help.

use std::{io, time::Duration};

use ratatui::crossterm::event;
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError};

use crate::event::{Id, RunEvent};

pub mod again;
pub mod app;
pub mod browse;
pub mod curl;
pub mod keymap;
pub mod saved;
pub mod show;
pub mod terminal;
pub mod theme;
pub mod update;
pub mod view;

pub use again::{Again, Which};
pub use app::{App, Ending, Facts};
pub use theme::Theme;

/// Time between two looks at the keyboard; a frame is drawn at most this often.
const FRAME: Duration = Duration::from_millis(100);

/// What a person asked the run to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// End the run now, undoing everything.
    Stop,
    /// Switch a fault off (`false`) or on again.
    Switch(Id, bool),
    /// Write a rule into the scenario that ignores a path. What became of it comes as [`Input::Said`].
    Ignore {
        /// The path.
        path: String,
        /// Why.
        why: String,
    },
    /// Compare two reports, the first of them this run's. What it comes to comes as [`Input::Said`].
    Compare {
        /// This run's folder.
        report: String,
        /// The other's, which is the first side.
        with: String,
    },
    /// Replay these requests. What comes of them comes as [`Input::Replayed`].
    Replay(Which),
}

/// What comes to the screens from outside.
#[derive(Debug)]
pub enum Input {
    /// Something happened.
    Event(RunEvent),
    /// The run is over, and this is what it amounts to.
    Ended(Box<Ending>),
    /// An answer to what was asked, to be shown: a title, and lines.
    Said(String, Vec<String>),
    /// What came of a replay that was asked for.
    Replayed(Again),
    /// Whatever a person wants: give the terminal back.
    Leave,
}

/// Shows a run until a person leaves. Blocks: call it on a thread of its own.
///
/// `order` is called with what a person asks of the run. Leaving while the run is on stops it first: the screens stay
/// until it has ended. The terminal is restored on return, on panic, and on a signal that ends the program.
pub fn run(
    app: App,
    theme: &Theme,
    mut inputs: UnboundedReceiver<Input>,
    mut order: impl FnMut(Order),
) -> io::Result<App> {
    let mut app = app;
    let mut screen = terminal::Screen::open()?;
    let mut stale = true;
    loop {
        loop {
            match inputs.try_recv() {
                Ok(Input::Event(event)) => app.fold(&event),
                Ok(Input::Ended(ending)) => {
                    app.end(*ending);
                    if let Some(which) = app.due() {
                        order(Order::Replay(which));
                    }
                }
                Ok(Input::Said(title, lines)) => {
                    app.view.overlay = Some(app::Overlay::new(&title, lines));
                }
                Ok(Input::Replayed(again)) => app.replayed(again),
                Ok(Input::Leave) => return Ok(app),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            stale = true;
        }
        if stale {
            screen.draw(|frame| view::draw(&app, theme, frame))?;
            stale = false;
        }
        terminal::wait(FRAME)?;
        if !event::poll(Duration::ZERO)? {
            continue;
        }
        match event::read()? {
            event::Event::Key(key) if key.kind == event::KeyEventKind::Press => {
                stale = true;
                if let Some(action) = keymap::action(key, &app) {
                    match update::update(&mut app, action) {
                        update::Next::Stay => {}
                        update::Next::Ask(asked) => order(asked),
                        update::Next::Copy(text) => screen.copy(&text)?,
                        update::Next::Leave => return Ok(app),
                    }
                }
            }
            event::Event::Resize(..) => stale = true,
            _ => {}
        }
    }
}
