//! Pipes, through which the kernel moves bytes between sockets without copying them. Each event loop keeps a few that are
//! empty: a connection has one only while bytes are in it.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How much a pipe is asked to hold; where the system gives less, 64 KiB.
const CAPACITY: usize = 1 << 20;

/// Empty pipes that are kept: about as many as an event loop has bursts at once.
const KEPT: usize = 32;

/// The empty pipes of an event loop.
#[derive(Debug, Default)]
pub struct Pipes(RefCell<Vec<Pipe>>);

/// A pipe and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipes {
    /// An empty pipe; `None`: there are no descriptors left.
    pub fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Some(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Refused when the user's pipes hold too much already: the pipe is as good, only smaller.
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        Some(Pipe {
            read,
            write,
            held: 0,
        })
    }

    /// Gives a pipe back; one that is not empty is closed.
    pub fn give_back(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if pipe.held == 0 && kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}

impl Pipe {
    /// How much is in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what a socket has into the pipe; 0: the socket's peer sends no more. Must be empty: a full pipe would look like
    /// an empty socket.
    pub fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert!(self.held == 0, "a pipe is filled when it is empty");
        let count = splice(from, None, &self.write, None, CAPACITY, flags())?;
        self.held += count;
        Ok(count)
    }

    /// Moves what is in the pipe to a socket.
    pub fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(&self.read, None, to, None, self.held, flags())?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::NONBLOCK | SpliceFlags::MOVE
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_a_pipe_with_something_in_it_is_not_kept() {
        let (mut here, from) = UnixStream::pair().unwrap();
        let (to, mut there) = UnixStream::pair().unwrap();
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        here.write_all(b"hello").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 5);
        assert_eq!(pipe.held(), 5);
        assert_eq!(pipe.empty(&to).unwrap(), 5);
        let mut got = [0; 5];
        there.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        pipes.give_back(pipe);
        assert_eq!(pipes.0.borrow().len(), 1);

        let mut pipe = pipes.take().unwrap();
        here.write_all(b"lost").unwrap();
        pipe.fill(&from).unwrap();
        pipes.give_back(pipe);
        assert_eq!(pipes.0.borrow().len(), 0);
    }

    #[test]
    fn an_end_is_told_from_nothing_yet() {
        let (here, from) = UnixStream::pair().unwrap();
        from.set_nonblocking(true).unwrap();
        let mut pipe = Pipes::default().take().unwrap();
        assert_eq!(
            pipe.fill(&from).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(here);
        assert_eq!(pipe.fill(&from).unwrap(), 0);
    }
}
