//! The terminal in raw mode on its alternate screen, given back on drop and on panic.

use std::{
    io::{self, Write as _},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
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

/// Waits until a key may be there, at most this long; an error if the terminal has been closed, from which the reader of
/// keys would read nothing for ever.
pub fn wait(longest: Duration) -> io::Result<()> {
    let longest = Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    look(&io::stdin(), &longest)
}

fn look(terminal: &impl std::os::fd::AsFd, longest: &Timespec) -> io::Result<()> {
    let mut fds = [PollFd::new(terminal, PollFlags::IN)];
    match poll(&mut fds, Some(longest)) {
        // A signal, such as that of a new size.
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [fd] = fds;
    if fd
        .revents()
        .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the terminal has been closed",
        ));
    }
    Ok(())
}

/// A terminal that is ours until this is dropped.
#[derive(Debug)]
pub struct Screen {
    /// There until the drop.
    terminal: Option<DefaultTerminal>,
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
        Ok(Self {
            terminal: Some(terminal),
        })
    }

    /// Draws one frame.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        match &mut self.terminal {
            Some(terminal) => terminal.draw(view).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Asks the terminal to put a text on its clipboard (xterm's OSC 52). Whether it does is not told.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(osc52(text).as_bytes())?;
        out.flush()
    }
}

/// The escape sequence that asks for it.
fn osc52(text: &str) -> String {
    format!("\x1b]52;c;{}\x07", STANDARD.encode(text))
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        if let Some(mut terminal) = self.terminal.take()
            && terminal.show_cursor().is_err()
        {
            // It is closed, and so may be standard error: its own drop would tell, and panic because it cannot.
            std::mem::forget(terminal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_for_the_clipboard_is_in_base_64() {
        assert_eq!(osc52("curl 'ü'\n"), "\x1b]52;c;Y3VybCAnw7wnCg==\x07");
    }

    #[test]
    fn a_closed_terminal_is_an_error_and_a_quiet_one_is_not() {
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        look(&here, &moment).unwrap();
        drop(there);
        let error = look(&here, &moment).unwrap_err();
        assert_eq!(error.to_string(), "the terminal has been closed");
    }
}
