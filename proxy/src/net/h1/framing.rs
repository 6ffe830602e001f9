//! Where a body ends (RFC 9112 §6, §7): by its length, by its last chunk, or with the connection. What is not exactly what
//! the grammar says is refused: two parties that read a body differently disagree on where the next message begins.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Chunk extensions, all of a body, may be so long. They mean nothing to us; a body of them would be free of data for ever.
const EXTENSIONS: usize = 16 << 10;

/// Trailers may be so long.
const TRAILERS: usize = 16 << 10;

/// Digits of a chunk's size: as many as its number can have.
const DIGITS: u8 = 16;

/// The framing of a body that comes, and how far it has come.
#[derive(Debug, Default)]
pub struct Decoder(State);

#[derive(Debug, Default)]
enum State {
    /// The body has ended, or there was none.
    #[default]
    Done,
    Length(u64),
    Close,
    Chunks(Box<Chunks>),
}

#[derive(Debug)]
struct Chunks {
    at: At,
    extensions: usize,
    trailers: BytesMut,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Size { digits: u8, value: u64 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
}

/// What a body's bytes are next.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// Trailers; the body has ended.
    Trailers(HeaderMap),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
}

/// The body is not framed as HTTP wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Decoder {
    /// A body of so many bytes.
    pub fn length(length: u64) -> Self {
        if length == 0 {
            Self(State::Done)
        } else {
            Self(State::Length(length))
        }
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self(State::Chunks(Box::new(Chunks {
            at: At::Size {
                digits: 0,
                value: 0,
            },
            extensions: 0,
            trailers: BytesMut::new(),
        })))
    }

    /// A body that ends with the connection.
    pub fn until_close() -> Self {
        Self(State::Close)
    }

    /// It has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// It ends with the connection.
    pub fn is_until_close(&self) -> bool {
        matches!(self.0, State::Close)
    }

    /// So many bytes are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::Close | State::Chunks(_) => None,
        }
    }

    /// Takes what the body's next bytes are. All of the input that belongs to the body is taken before more is asked for.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Piece, Malformed> {
        match &mut self.0 {
            State::Done => Ok(Piece::End),
            State::Close => Ok(data_or_more(input, u64::MAX)),
            State::Length(left) => {
                let piece = data_or_more(input, *left);
                if let Piece::Data(data) = &piece {
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.0 = State::Done;
                    }
                }
                Ok(piece)
            }
            State::Chunks(chunks) => {
                let piece = chunks.decode(input)?;
                if matches!(piece, Piece::End | Piece::Trailers(_)) {
                    self.0 = State::Done;
                }
                Ok(piece)
            }
        }
    }
}

fn data_or_more(input: &mut Bytes, most: u64) -> Piece {
    if input.is_empty() {
        return Piece::More;
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if input.len() <= most {
        return Piece::Data(std::mem::take(input));
    }
    Piece::Data(input.split_to(most))
}

impl Chunks {
    fn decode(&mut self, input: &mut Bytes) -> Result<Piece, Malformed> {
        loop {
            if let At::Data(left) = self.at {
                let piece = data_or_more(input, left);
                if let Piece::Data(data) = &piece {
                    self.at = match left - data.len() as u64 {
                        0 => At::DataCr,
                        left => At::Data(left),
                    };
                }
                return Ok(piece);
            }
            if input.is_empty() {
                return Ok(Piece::More);
            }
            let byte = input.get_u8();
            if matches!(self.at, At::Trailers) {
                if let Some(end) = self.trailer(byte)? {
                    return Ok(end);
                }
                continue;
            }
            self.at = self.step(byte)?;
        }
    }

    /// A byte of a chunk's frame.
    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size { digits: 0, .. }, b';' | b'\r' | b' ' | b'\t') => return Err(Malformed),
            (At::Size { value, .. } | At::Extension { value }, b'\r') => At::SizeEnd { value },
            (At::Size { value, .. }, b';' | b' ' | b'\t') => {
                self.extension()?;
                At::Extension { value }
            }
            (At::Size { digits, value }, digit) if digits < DIGITS => {
                let digit = (digit as char).to_digit(16).ok_or(Malformed)?;
                At::Size {
                    digits: digits + 1,
                    value: value << 4 | u64::from(digit),
                }
            }
            // RFC 9112 §7.1.1: a recipient ignores what it does not know. A line break in it is another's end of line.
            (At::Extension { value }, byte) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => {
                self.extension()?;
                At::Extension { value }
            }
            (At::SizeEnd { value: 0 }, b'\n') => At::Trailers,
            (At::SizeEnd { value }, b'\n') => At::Data(value),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size {
                digits: 0,
                value: 0,
            },
            _ => return Err(Malformed),
        })
    }

    fn extension(&mut self) -> Result<(), Malformed> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS {
            return Err(Malformed);
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<Option<Piece>, Malformed> {
        // Most bodies have none.
        if self.trailers.is_empty() && byte == b'\r' {
            self.trailers.extend_from_slice(b"\r");
            return Ok(None);
        }
        self.trailers.extend_from_slice(&[byte]);
        if *self.trailers == *b"\r\n" {
            return Ok(Some(Piece::End));
        }
        if self.trailers.len() > TRAILERS {
            return Err(Malformed);
        }
        if !self.trailers.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        let mut rows = [httparse::EMPTY_HEADER; 64];
        let text = self.trailers.split().freeze();
        match httparse::parse_headers(&text, &mut rows) {
            Ok(httparse::Status::Complete((_, rows))) => {
                let mut trailers = HeaderMap::with_capacity(rows.len());
                for row in rows {
                    let name = HeaderName::from_bytes(row.name.as_bytes());
                    let value = HeaderValue::from_bytes(row.value);
                    trailers.append(name.map_err(|_| Malformed)?, value.map_err(|_| Malformed)?);
                }
                Ok(Some(Piece::Trailers(trailers)))
            }
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body's data, its trailers, and what follows it.
    type Whole = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// All pieces of a body that comes so many bytes at a time; `Err`: it was refused.
    fn decode(mut decoder: Decoder, input: &[u8], step: usize) -> Result<Whole, Malformed> {
        let (mut data, mut rest) = (Vec::new(), Bytes::new());
        let mut pieces = input.chunks(step);
        loop {
            match decoder.decode(&mut rest)? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(trailers) => return Ok((data, Some(trailers), rest.to_vec())),
                Piece::End => return Ok((data, None, rest.to_vec())),
                Piece::More => match pieces.next() {
                    Some(piece) => rest = Bytes::copy_from_slice(piece),
                    None => panic!("{input:?} has no end"),
                },
            }
        }
    }

    #[test]
    fn chunks_are_put_together_however_they_come() {
        for (input, expected) in [
            (&b"3\r\nabc\r\n0\r\n\r\n"[..], "abc"),
            (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
            (b"0\r\n\r\n", ""),
            (b"003;a=b\r\nabc\r\n000;x\r\n\r\n", "abc"),
            (b"a\r\n0123456789\r\n0\r\nx: y\r\n\r\n", "0123456789"),
            (b"A \r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ] {
            for step in [input.len(), 1, 2, 3] {
                let (data, _, rest) = decode(Decoder::chunked(), input, step).unwrap();
                assert_eq!(
                    (data.as_slice(), rest.len()),
                    (expected.as_bytes(), 0),
                    "{step}"
                );
            }
        }
    }

    #[test]
    fn what_follows_a_body_is_left_alone() {
        for (decoder, input) in [
            (Decoder::length(3), &b"abcGET"[..]),
            (Decoder::chunked(), b"3\r\nabc\r\n0\r\n\r\nGET"),
        ] {
            let (data, _, rest) = decode(decoder, input, input.len()).unwrap();
            assert_eq!((&*data, &*rest), (&b"abc"[..], &b"GET"[..]));
        }
    }

    #[test]
    fn trailers_are_read() {
        let input = b"0\r\nx-a: 1\r\nx-b: 2\r\n\r\n";
        for step in [input.len(), 1] {
            let (_, trailers, _) = decode(Decoder::chunked(), input, step).unwrap();
            let trailers = trailers.unwrap();
            assert_eq!(
                (trailers["x-a"] == "1", trailers["x-b"] == "2"),
                (true, true)
            );
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for input in [
            &b"\r\nabc"[..],
            b"-1\r\nabc",
            b"+1\r\na",
            b"0x3\r\nabc",
            b" 3\r\nabc",
            b"zz\r\nabc",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3;a\nb\r\nabc\r\n0\r\n\r\n",
            b"3;a\0b\r\nabc\r\n0\r\n\r\n",
            b"11111111111111111\r\n",
            b"0\r\nx y: 1\r\n\r\n",
            b"0\r\nx: \0\r\n\r\n",
            b";a\r\n",
        ] {
            for step in [input.len(), 1] {
                assert_eq!(
                    decode(Decoder::chunked(), input, step).map(|_| ()),
                    Err(Malformed),
                    "{:?}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }

    #[test]
    fn extensions_and_trailers_without_end_are_refused() {
        let extensions = [&b"3;"[..], &vec![b'a'; EXTENSIONS + 1]].concat();
        let trailers = [&b"0\r\n"[..], &vec![b'a'; TRAILERS + 1]].concat();
        for input in [extensions, trailers] {
            let ended = decode(Decoder::chunked(), &input, 1000);
            assert_eq!(ended.map(|_| ()), Err(Malformed));
        }
    }
}
