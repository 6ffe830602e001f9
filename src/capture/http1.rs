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
            State::Trailers if self.headers => Some(head::fields(&self.buffer)),
            State::UntilClose | State::Trailers => Some(Vec::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything a parser says about a stream that comes in these pieces: heads, bodies joined, ends, and what is bad.
    fn read(role: Role, pieces: &[&[u8]], framing: impl Fn(&Head) -> Framing) -> Vec<String> {
        let mut parser = Parser::new(role, true);
        let mut said: Vec<String> = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, event) = parser.feed(rest);
                let (now, later) = rest.split_at(used);
                rest = later;
                match event {
                    Event::More if rest.is_empty() => break,
                    Event::More => {}
                    Event::Head(head) => {
                        parser.body(framing(&head));
                        said.push(match &head.line {
                            Line::Request { method, target } => {
                                format!("{method} {} of {}", text(target), text(&head.host))
                            }
                            Line::Response { status } => format!("{status}"),
                        });
                    }
                    Event::Body(n) => {
                        let body = text(&now[now.len() - n..]);
                        match said.last_mut() {
                            Some(last) if last.starts_with("body ") => last.push_str(&body),
                            _ => said.push(format!("body {body}")),
                        }
                    }
                    Event::End(trailers) => {
                        let names: Vec<String> = trailers.iter().map(|t| text(&t.name)).collect();
                        said.push(format!("end {}", names.join(",")).trim_end().to_string());
                    }
                    Event::Bad(reason) => {
                        said.push(reason.into());
                        return said;
                    }
                }
            }
        }
        said
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn by_headers(head: &Head) -> Framing {
        match (head.chunked, head.length) {
            (true, _) => Framing::Chunked,
            (_, Length::Bytes(n)) => Framing::Sized(n),
            _ => Framing::Empty,
        }
    }

    const STREAM: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n\
        brew-it  /pot?x y HTTP/1.0\nhost:t\nContent-Length: 3\n\nabc\
        POST /c HTTP/1.1\r\ntransfer-encoding: gzip, Chunked\r\n\r\n3;ext=\"1\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nT-1: x\r\nT-2: y\r\n\r\n\
        PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    const SAID: [&str; 9] = [
        "GET /a of h",
        "end",
        "brew-it /pot?x of t",
        "body abc",
        "end",
        "POST /c of ",
        "body abc0123456789",
        "end T-1,T-2",
        "PUT /d of ",
    ];

    #[test]
    fn pipelined_messages_are_told_apart() {
        let said = read(Role::Request, &[STREAM], by_headers);
        assert_eq!(said[..9], SAID);
        assert_eq!(said[9..], ["end"]);
    }

    #[test]
    fn where_a_stream_is_cut_makes_no_difference() {
        let whole = read(Role::Request, &[STREAM], by_headers);
        for cut in 0..STREAM.len() {
            let (a, b) = STREAM.split_at(cut);
            assert_eq!(
                read(Role::Request, &[a, b], by_headers),
                whole,
                "cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(
            read(Role::Request, &bytes, by_headers),
            whole,
            "byte by byte"
        );
    }

    #[test]
    fn what_is_no_message_is_named() {
        let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; HEAD_MAX + 1]].concat();
        let cases: [(&str, &[u8], &str); 6] = [
            ("no version", b"GET /\r\n\r\n", "malformed_request_line"),
            (
                "no token",
                b"GE(T / HTTP/1.1\r\n\r\n",
                "malformed_request_line",
            ),
            ("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"),
            ("endless head", &long, "head_too_long"),
            (
                "chunk",
                b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                "malformed_chunk",
            ),
            (
                "chunk end",
                b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
                "malformed_chunk",
            ),
        ];
        for (name, bytes, reason) in cases {
            let said = read(Role::Request, &[bytes], by_headers);
            assert_eq!(said.last().map(String::as_str), Some(reason), "{name}");
        }
        assert_eq!(
            read(Role::Response, &[b"HTTP/1.1 20 OK\r\n\r\n"], by_headers),
            ["malformed_status_line"]
        );
    }

    #[test]
    fn only_plain_fields_frame_a_message() {
        let cases: [(&str, &str, Framing); 9] = [
            ("none", "", Framing::Empty),
            ("sized", "Content-Length: 7\r\n", Framing::Sized(7)),
            (
                "chunked wins",
                "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
                Framing::Chunked,
            ),
            (
                "chunked must be last",
                "Transfer-Encoding: chunked, gzip\r\n",
                Framing::Empty,
            ),
            (
                "a list of one number",
                "Content-Length: 7, 7\r\n",
                Framing::Sized(7),
            ),
            (
                "different numbers",
                "Content-Length: 7, 8\r\n",
                Framing::Empty,
            ),
            (
                "the last field counts",
                "Content-Length: 7\r\nContent-Length: 8\r\n",
                Framing::Sized(8),
            ),
            (
                "space before the colon",
                "Transfer-Encoding : chunked\r\n",
                Framing::Empty,
            ),
            (
                "folded",
                "Transfer-Encoding:\r\n chunked\r\n",
                Framing::Empty,
            ),
        ];
        for (name, fields, want) in cases {
            let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            let head = Head::parse(Role::Request, bytes.as_bytes(), false).unwrap();
            assert_eq!(by_headers(&head), want, "{name}");
        }
    }

    #[test]
    fn headers_keep_their_order_case_and_repetition() {
        let bytes =
            b"GET / HTTP/1.1\r\nb: 1\r\nHOST:  x \r\nB: 2\r\nno colon\r\nFold: a\r\n  b\r\n\r\n";
        let head = Head::parse(Role::Request, bytes, true).unwrap();
        let kept: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|h| (text(&h.name), text(&h.value)))
            .collect();
        let want = [("b", "1"), ("HOST", "x"), ("B", "2"), ("Fold", "a b")];
        assert_eq!(kept, want.map(|(n, v)| (n.to_string(), v.to_string())));
    }
}
