//! HTTP/1 messages out of the bytes of one half of a stream. Sans-io: bytes in, in any pieces; events out.
//!
//! [`Parser`] finds heads and follows bodies. What it cannot know alone (whether an answer belongs to a HEAD request) its
//! caller says between the head and the body, by choosing the [`Framing`].

mod head;
mod sniff;

use head::Search;
pub(super) use head::{HTTP2, Head, Length, Line, Role};
pub(super) use sniff::{Guess, guess};

use super::exchange::Header;

/// The longest head, chunk line or trailer section that is accepted, in bytes. Servers stop at 8 to 64 KiB.
const HEAD_MAX: usize = 256 * 1024;

/// How far a body goes (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Sized(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// What the bytes that were used turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// More bytes are needed.
    More,
    /// A head is complete; [`Parser::body`] must be called next.
    Head(Box<Head>),
    /// So many of the bytes used, the last ones, are body.
    Body(usize),
    /// The message is complete; what was used is not body.
    End(Vec<Header>),
    /// These bytes are no message. The caller must look for a new beginning.
    Bad(&'static str),
}

/// A message parser of one half.
#[derive(Debug)]
pub(super) struct Parser {
    role: Role,
    /// Whether headers are kept.
    headers: bool,
    state: State,
    /// The part of a head, chunk line or trailer section that came in earlier pieces.
    buffer: Vec<u8>,
    /// How far `buffer` has been searched for its end.
    search: Search,
    /// Whether the CR after a chunk was seen.
    has_cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before or in a head.
    Head,
    /// A head was given; the caller has not said how the body goes.
    Decide,
    Sized(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// How a gap in the bytes was survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterGap {
    /// It lies inside the body, whose end is still known.
    InBody,
    /// It ends exactly where the message ends.
    AtEnd,
    /// It reaches beyond the message's end.
    BeyondEnd,
    /// The place in the message is lost.
    Lost,
}

impl Parser {
    /// A parser before its first message.
    pub(super) fn new(role: Role, headers: bool) -> Self {
        Self {
            role,
            headers,
            state: State::Head,
            buffer: Vec::new(),
            search: Search::default(),
            has_cr: false,
        }
    }

    /// Whether no byte of a next message was seen.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Head && self.buffer.is_empty()
    }

    /// How many bytes wait for the rest of a head.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The sender has closed. Gives the trailers if that ends the message: a body that goes on until then, or the trailer
    /// section, since the last chunk was seen.
    pub(super) fn close(&mut self) -> Option<Vec<Header>> {
        match self.state {
            State::UntilClose => Some(Vec::new()),
            State::Trailers if self.headers => Some(head::fields(&self.buffer)),
            State::Trailers => Some(Vec::new()),
            _ => None,
        }
    }

    /// Says how the body after the head goes.
    pub(super) fn body(&mut self, framing: Framing) {
        debug_assert_eq!(self.state, State::Decide, "a body follows a head");
        self.state = match framing {
            Framing::Empty => State::Sized(0),
            Framing::Sized(n) => State::Sized(n),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Goes on with the bytes that follow. Gives how many of them were used, and for what; to be called again with the
    /// rest. May use none and give an end.
    pub(super) fn feed(&mut self, data: &[u8]) -> (usize, Event) {
        match self.state {
            State::Head => self.feed_head(data),
            State::Decide => (0, Event::More),
            State::Sized(0) => self.end(0, Vec::new()),
            State::Sized(left) => {
                let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.state = State::Sized(left - n as u64);
                (n, if n == 0 { Event::More } else { Event::Body(n) })
            }
            State::ChunkLine => self.feed_chunk_line(data),
            State::Chunk(left) => {
                let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - n as u64;
                self.state = if left == 0 {
                    State::ChunkEnd
                } else {
                    State::Chunk(left)
                };
                (n, if n == 0 { Event::More } else { Event::Body(n) })
            }
            State::ChunkEnd => match data {
                [] => (0, Event::More),
                // The CR of a CRLF; where it stands alone, the next byte is found wanting.
                [b'\r', ..] if !self.has_cr => {
                    self.has_cr = true;
                    (1, Event::More)
                }
                [b'\n', ..] => {
                    self.has_cr = false;
                    self.state = State::ChunkLine;
                    (1, Event::More)
                }
                _ => (0, Event::Bad("malformed_chunk")),
            },
            State::Trailers => self.feed_trailers(data),
            State::UntilClose => (
                data.len(),
                if data.is_empty() {
                    Event::More
                } else {
                    Event::Body(data.len())
                },
            ),
        }
    }

    /// Bytes are missing here. A body of known length survives that.
    pub(super) fn gap(&mut self, length: u64) -> AfterGap {
        match self.state {
            State::Sized(left) if length > left => AfterGap::BeyondEnd,
            State::Chunk(left) if length > left => AfterGap::Lost,
            State::Sized(left) => {
                self.state = State::Sized(left - length);
                if left == length {
                    AfterGap::AtEnd
                } else {
                    AfterGap::InBody
                }
            }
            State::Chunk(left) => {
                self.state = if left == length {
                    State::ChunkEnd
                } else {
                    State::Chunk(left - length)
                };
                AfterGap::InBody
            }
            State::UntilClose => AfterGap::InBody,
            _ => AfterGap::Lost,
        }
    }

    fn end(&mut self, used: usize, trailers: Vec<Header>) -> (usize, Event) {
        self.state = State::Head;
        self.clear();
        (used, Event::End(trailers))
    }

    fn clear(&mut self) {
        // A long head is rare; its buffer is not kept for the life of the stream.
        self.buffer = Vec::new();
        self.search = Search::default();
        self.has_cr = false;
    }

    fn feed_head(&mut self, data: &[u8]) -> (usize, Event) {
        if data.is_empty() {
            return (0, Event::More);
        }
        if self.buffer.is_empty() {
            // Empty lines before a request line are to be ignored (RFC 9112 §2.2).
            let blank = data
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .count();
            if blank > 0 {
                return (blank, Event::More);
            }
            if let Some(size) = Search::default().end(data) {
                let head = data.get(..size).unwrap_or_default();
                return self.head(size, Head::parse(self.role, head, self.headers));
            }
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(data);
        match self.search.end(&self.buffer) {
            Some(size) => {
                let whole = std::mem::take(&mut self.buffer);
                let head = Head::parse(
                    self.role,
                    whole.get(..size).unwrap_or_default(),
                    self.headers,
                );
                self.head(size - before, head)
            }
            None if self.buffer.len() > HEAD_MAX => (data.len(), Event::Bad("head_too_long")),
            None => (data.len(), Event::More),
        }
    }

    fn head(&mut self, used: usize, head: Result<Box<Head>, &'static str>) -> (usize, Event) {
        self.clear();
        match head {
            Ok(head) => {
                self.state = State::Decide;
                (used, Event::Head(head))
            }
            Err(reason) => (used, Event::Bad(reason)),
        }
    }

    fn feed_chunk_line(&mut self, data: &[u8]) -> (usize, Event) {
        // Real servers put white space before a size, empty lines too.
        let blank = if self.buffer.is_empty() {
            data.iter().take_while(|b| is_blank(**b)).count()
        } else {
            0
        };
        if blank > 0 || data.is_empty() {
            return (blank, Event::More);
        }
        let (line, used, is_whole) = match data.iter().position(|b| *b == b'\n') {
            Some(at) => (data.get(..at).unwrap_or_default(), at + 1, true),
            None => (data, data.len(), false),
        };
        let size = if is_whole && self.buffer.is_empty() {
            chunk_size(line)
        } else {
            self.buffer.extend_from_slice(line);
            chunk_size(&self.buffer)
        };
        match size {
            _ if self.buffer.len() > HEAD_MAX => return (used, Event::Bad("head_too_long")),
            None => return (used, Event::Bad("malformed_chunk")),
            Some(_) if !is_whole => return (used, Event::More),
            Some(0) => self.state = State::Trailers,
            Some(n) => self.state = State::Chunk(n),
        }
        self.clear();
        (used, Event::More)
    }

    fn feed_trailers(&mut self, data: &[u8]) -> (usize, Event) {
        if data.is_empty() {
            return (0, Event::More);
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(data);
        match self.search.end(&self.buffer) {
            Some(size) => {
                let whole = std::mem::take(&mut self.buffer);
                let fields = if self.headers {
                    head::fields(whole.get(..size).unwrap_or_default())
                } else {
                    Vec::new()
                };
                self.end(size - before, fields)
            }
            None if self.buffer.len() > HEAD_MAX => (data.len(), Event::Bad("head_too_long")),
            None => (data.len(), Event::More),
        }
    }
}

/// The size on a chunk line, which may be cut anywhere after its first digit. What follows the digits, extensions or not, is
/// passed over (RFC 9112 §7.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().map_while(|b| char::from(*b).to_digit(16));
    let mut size = None;
    for digit in digits {
        size = Some(
            size.unwrap_or(0_u64)
                .checked_mul(16)?
                .checked_add(u64::from(digit))?,
        );
    }
    size
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}
