//! Captures: packets or records in, exchanges in time order out, and a reason for everything that was skipped.
//!
//! ```no_run
//! use meshbed::capture::{self, Keep, Options};
//! # fn main() -> Result<(), capture::Error> {
//! let options = Options { keep: Keep::Bodies { max_bytes: 1 << 20 } };
//! let mut exchanges = capture::open("captures/shop.pcap".as_ref(), &options)?;
//! for exchange in &mut exchanges {
//!     let exchange = exchange?; // in order of `at`
//!     println!("{} {:?}", exchange.request.method, exchange.request.target);
//! }
//! let summary = exchanges.summary(); // complete after the last `next`: what was skipped and why
//! # Ok(()) }
//! ```
//!
//! [`open`] looks at the head of the file and fails at once if that is no capture. The first call of `next` reads the file
//! to its end, sorting exchanges by their first byte through a temporary file, so that memory does not grow with the file. A
//! file that is cut short gives the exchanges that were found, then one error.

mod codec;
mod error;
pub mod exchange;
mod format;
mod http1;
mod input;
mod link;
#[cfg(feature = "live")]
pub mod live;
mod pairing;
mod sort;
mod stream;
pub mod summary;
mod tracker;
pub mod write;

use std::path::Path;

pub use error::Error;
pub use exchange::{Body, Exchange, Header, Protocol, Request, Response};
pub use format::{FORMATS, Format};
pub use summary::{Direction, Lost, Payload, Summary};

use format::Frames;
use pairing::Sink;
use sort::{Sorted, Sorter};
use tracker::Tracker;

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

/// Opens a capture of any of the [`FORMATS`].
///
/// Fails if the file cannot be opened, is empty, or is no capture.
pub fn open(path: &Path, options: &Options) -> Result<Reader, Error> {
    let frames = format::open(path)?;
    Ok(Reader {
        state: State::Unread {
            frames,
            keep: options.keep,
        },
        summary: Summary::default(),
    })
}

/// The exchanges of a capture in order of their first byte.
#[derive(Debug)]
pub struct Reader {
    state: State,
    summary: Summary,
}

enum State {
    Unread {
        frames: Box<dyn Frames>,
        keep: Keep,
    },
    Sorted {
        sorted: Sorted,
        failure: Option<Error>,
    },
    Done,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unread { .. } => "Unread",
            Self::Sorted { .. } => "Sorted",
            Self::Done => "Done",
        })
    }
}

impl Reader {
    /// What the capture held. Complete once `next` was called.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn read(
        &mut self,
        mut frames: Box<dyn Frames>,
        keep: Keep,
    ) -> Result<(Sorted, Option<Error>), Error> {
        let mut sink = Sink {
            keep,
            ..Sink::default()
        };
        let mut tracker = Tracker::default();
        let mut sorter = Sorter::default();
        let mut drain =
            |sink: &mut Sink| sink.exchanges.drain(..).try_for_each(|e| sorter.push(&e));
        let failure = loop {
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(e) => break Some(e),
            };
            sink.summary.packets += 1;
            match link::segment(frame.link, frame.data) {
                Ok(segment) => tracker.segment(&segment, frame.at, &mut sink),
                Err(skip) => sink.skip(skip.name()),
            }
            if !sink.exchanges.is_empty() {
                drain(&mut sink)?;
            }
        };
        tracker.finish(&mut sink, drain)?;
        self.summary = sink.summary;
        self.summary.lost.sort_unstable();
        Ok((sorter.finish()?, failure))
    }
}

impl Iterator for Reader {
    type Item = Result<Exchange, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::Unread { .. })
            && let State::Unread { frames, keep } = std::mem::replace(&mut self.state, State::Done)
        {
            match self.read(frames, keep) {
                Ok((sorted, failure)) => self.state = State::Sorted { sorted, failure },
                Err(e) => return Some(Err(e)),
            }
        }
        let State::Sorted { sorted, failure } = &mut self.state else {
            return None;
        };
        match sorted.next() {
            Ok(Some(exchange)) => Some(Ok(exchange)),
            Ok(None) => {
                let failure = failure.take();
                self.state = State::Done;
                failure.map(Err)
            }
            Err(e) => {
                self.state = State::Done;
                Some(Err(e))
            }
        }
    }
}
