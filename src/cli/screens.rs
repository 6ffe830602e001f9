//! The screens of what is under way, on a thread of their own.

use std::{
    io::{self, IsTerminal},
    thread::JoinHandle,
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Global,
    browse::{Desk, print_copied},
};
use crate::{event::RunEvent, run::Command, scenario::Scenario, tui};

/// The screens, until they are closed.
#[derive(Debug)]
pub(super) struct Screens {
    inputs: UnboundedSender<tui::Input>,
    thread: JoinHandle<io::Result<tui::App>>,
}

impl Screens {
    /// There is a terminal to show them on, and they are wanted.
    pub(super) fn fit(headless: bool) -> bool {
        !headless && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Begins to show it. `desk` carries out what a person asks for; what it leaves to do is `told`.
    pub(super) fn start(
        scenario: &Scenario,
        global: &Global,
        desk: impl FnOnce(UnboundedSender<tui::Input>) -> Desk,
        told: impl Fn(Command) + Send + 'static,
    ) -> io::Result<Self> {
        let theme = global.theme();
        let app = tui::App::new(tui::Facts::of(scenario));
        let (inputs, received) = unbounded_channel();
        let mut desk = desk(inputs.clone());
        let thread = std::thread::Builder::new()
            .name("screens".to_owned())
            .spawn(move || {
                tui::run(app, &theme, received, |order| {
                    if let Some(command) = desk.order(order) {
                        told(command);
                    }
                })
            })?;
        Ok(Self { inputs, thread })
    }

    /// Shows an event; `false`: they have ended by themselves, so they have failed, and nobody could stop it any more.
    pub(super) fn event(&self, event: RunEvent) -> bool {
        self.inputs.send(tui::Input::Event(event)).is_ok() || !self.thread.is_finished()
    }

    /// Shows what it has come to.
    pub(super) fn end(&self, ending: tui::Ending) {
        let _ = self.inputs.send(tui::Input::Ended(Box::new(ending)));
    }

    /// Whether the person has left.
    pub(super) fn are_left(&self) -> bool {
        self.thread.is_finished()
    }

    /// Gives the terminal back.
    pub(super) fn close(self) {
        let _ = self.inputs.send(tui::Input::Leave);
        match self.thread.join() {
            Ok(Ok(app)) => print_copied(&app),
            Ok(Err(error)) => eprintln!("error: the screens have failed: {error}"),
            Err(_) => eprintln!("error: the screens have died"),
        }
    }
}
