//! HTTP/1, by hand: heads ([`head`]), framing of bodies ([`framing`]), and the two ends of a
//! connection, [`server`] and [`client`]. Parsing and framing know no sockets; the ends are polled by the task that needs
//! them, so that a request takes neither a task nor a channel of its own.

pub mod behind;
pub mod client;
pub mod encode;
pub mod framing;
pub mod head;
mod name;
mod quick;
pub mod server;
pub mod spare;
