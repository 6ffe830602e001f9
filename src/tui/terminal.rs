//! The terminal in raw mode on its alternate screen, given back on drop and on panic.

use std::{
    io,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

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

/// What the keyboard has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    /// Nothing.
    Quiet,
    /// There is something to read.
    Ready,
    /// The terminal has gone away.
    Gone,
}

/// Waits for a key, at most so long. Asked before the library that reads keys is: that one spins for ever at the end of
/// a terminal that was closed.
pub fn wait(within: Duration) -> io::Result<Keyboard> {
    let input = io::stdin();
    let mut watched = [PollFd::new(&input, PollFlags::IN)];
    let within = Timespec {
        tv_sec: within.as_secs().cast_signed(),
        tv_nsec: within.subsec_nanos().into(),
    };
    match poll(&mut watched, Some(&within)) {
        // A signal, such as that of a changed size.
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Keyboard::Quiet),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(match watched {
        [input] if input.revents().intersects(gone) => Keyboard::Gone,
        _ => Keyboard::Ready,
    })
}
