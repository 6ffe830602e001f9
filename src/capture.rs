//! Captures: packets or records in, exchanges in time order out, and a reason for everything that was skipped.
//!
//! ```text
//! use meshbed::capture::{self, Keep, Options};
//! # fn main() -> Result<(), capture::Error> {
//! let options = Options { keep: Keep::Bodies { max_bytes: 1 << 20 } };
//! let mut exchanges = capture::open("captures/shop.pcap".as_ref(), &options)?; // Reader: Iterator<Item = Result<Exchange, Error>>
//! for exchange in &mut exchanges {
//!     let exchange = exchange?; // in order of `at`
//!     println!("{} {:?}", exchange.request.method, exchange.request.target);
//! }
//! let summary: &Summary = exchanges.summary(); // complete after the last `next`: what was skipped and why
//! # Ok(()) }
//! ```
//!
//! [`open`] looks at the head of the file and fails at once if that is no capture. The first call of `next` reads the file
//! to its end, sorting exchanges by their first byte through a temporary file, so that memory does not grow with the file. A
//! file that is cut short gives the exchanges that were found, then one error.

pub mod exchange;
pub mod summary;

pub use exchange::{Body, Exchange, Header, Protocol, Request, Response};
pub use summary::{Direction, Lost, Payload, Summary};

/// How much of each message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Method, target, authority, status, times and lengths.
    #[default]
    Lines,
    /// And headers and trailers.
    Headers,
    /// And of each body the first `max_bytes`.
    Bodies {
        /// What a body may take. An open exchange holds this much in memory.
        max_bytes: usize,
    },
}

/// How a capture is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much of each message is kept.
    pub keep: Keep,
}
