//! Sockets and time, as an event loop uses them.

pub mod dial;
pub mod io;
pub mod listen;
pub mod timer;
