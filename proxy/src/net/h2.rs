//! HTTP/2 (RFC 9113) by hand: frames, header compression ([`hpack`]), what a connection's streams are ([`Recv`],
//! [`Sender`], [`Answer`]), and the two ends of one, [`server`] and [`client`]. A connection is polled by one task, that
//! reads and writes for all its streams: what those leave to be written between two of its turns goes out at once. All of it
//! is of one event loop; there is neither a lock nor a channel in it.

pub mod client;
mod error;
mod frame;
mod guard;
mod head;
pub mod hpack;
mod link;
pub mod server;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use error::{By, Error, Reason};
pub use guard::Violation;
pub use link::Counts;
pub use stream::{Answer, Recv, Sender};
