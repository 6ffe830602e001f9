//! The terminal in raw mode on its alternate screen, given back on drop and on panic.

use std::{
    io,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use ratatui::{DefaultTerminal, Frame};

/// Gives the terminal back, for a program that is about to exit without unwinding. Without screens it does nothing.
pub fn restore() {
    if OPEN.swap(false, Ordering::Relaxed) {
        let _ = ratatui::try_restore();
    }
}

/// Whether the terminal is ours.
static OPEN: AtomicBool = AtomicBool::new(false);

/// A terminal that is ours until this is dropped.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal. A panic anywhere in the program gives it back before its message is printed.
    pub fn open() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let terminal = ratatui::try_init()?;
        OPEN.store(true, Ordering::Relaxed);
        Ok(Self { terminal })
    }

    /// Draws one frame.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(view).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}
