//! What an event loop passes bytes on with: it belongs to no connection for longer than a read and a write.

use std::cell::{RefCell, RefMut};

use super::pipe::Pipes;

/// Length of the buffer. Copying in pieces of 8 KiB costs three times as much for each byte.
const BUFFER: usize = 256 << 10;

/// An event loop's buffer and pipes.
#[derive(Debug, Default)]
pub struct Stock {
    /// Empty pipes.
    pub pipes: Pipes,
    buffer: RefCell<Vec<u8>>,
}

impl Stock {
    /// The buffer; nobody else has it until the guard is dropped. Made when it is first needed.
    pub fn buffer(&self) -> RefMut<'_, Vec<u8>> {
        let mut buffer = self.buffer.borrow_mut();
        buffer.resize(BUFFER, 0);
        buffer
    }
}
