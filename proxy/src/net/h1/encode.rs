//! Heads and bodies to bytes.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header};

use super::head::Spelling;
use crate::net::buffer::Outbox;
use crate::policy::http1::Names;

/// The framing of a body that goes out, and how far it has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// There is none; what is given is dropped.
    Nothing,
    /// So many bytes are still to go.
    Length(u64),
    /// In chunks.
    Chunks,
    /// As it is, until the connection's end.
    Raw,
}

/// A body's pieces are not what its head has promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch;

impl Encoder {
    /// Adds a piece of the body.
    pub fn data(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), Mismatch> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Nothing => {}
            Self::Raw => out.put_data(data),
            Self::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(Mismatch)?;
                out.put_data(data);
            }
            Self::Chunks => {
                let mut size = [0; 18];
                out.put(chunk_size(data.len(), &mut size));
                out.put_data(data);
                out.put(b"\r\n");
            }
        }
        Ok(())
    }

    /// The body has ended.
    pub fn end(&mut self, out: &mut Outbox, trailers: Option<&HeaderMap>) -> Result<(), Mismatch> {
        match self {
            Self::Nothing | Self::Raw | Self::Length(0) => Ok(()),
            Self::Length(_) => Err(Mismatch),
            Self::Chunks => {
                let mut last = Vec::new();
                if let Some(trailers) = trailers {
                    last.extend_from_slice(b"0\r\n");
                    let mut rows = Head::new(&mut last, Names::Lower, None);
                    for (name, value) in trailers {
                        rows.row(name.as_str(), value.as_bytes());
                    }
                    last.extend_from_slice(b"\r\n");
                    out.put(&last);
                } else {
                    out.put(b"0\r\n\r\n");
                }
                *self = Self::Nothing;
                Ok(())
            }
        }
    }
}

/// Writes a head, its names as they are wanted.
#[derive(Debug)]
pub struct Head<'a> {
    out: &'a mut Vec<u8>,
    names: Names,
    spelling: Option<&'a Spelling>,
}

impl<'a> Head<'a> {
    /// A head that is added to the buffer; `spelling` is how the peer on the other side has written its names.
    pub fn new(out: &'a mut Vec<u8>, names: Names, spelling: Option<&'a Spelling>) -> Self {
        Self {
            out,
            names,
            spelling,
        }
    }

    /// A request's line.
    pub fn request(&mut self, method: &Method, uri: &Uri) {
        self.out.extend_from_slice(method.as_str().as_bytes());
        self.out.push(b' ');
        match uri.path_and_query() {
            Some(path) if *method != Method::CONNECT => {
                self.out.extend_from_slice(path.as_str().as_bytes());
            }
            _ => {
                let authority = uri.authority().map_or("/", |authority| authority.as_str());
                self.out.extend_from_slice(authority.as_bytes());
            }
        }
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// The line of a `CONNECT` to this host.
    pub fn connect(&mut self, host: &[u8]) {
        self.out.extend_from_slice(b"CONNECT ");
        self.out.extend_from_slice(host);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// An answer's line.
    pub fn status(&mut self, version: Version, status: StatusCode) {
        if status == StatusCode::OK && version == Version::HTTP_11 {
            self.out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return;
        }
        let protocol: &[u8] = if version == Version::HTTP_10 {
            b"HTTP/1.0 "
        } else {
            b"HTTP/1.1 "
        };
        self.out.extend_from_slice(protocol);
        self.out.extend_from_slice(status.as_str().as_bytes());
        self.out.push(b' ');
        let reason = status.canonical_reason().unwrap_or("Unknown");
        self.out.extend_from_slice(reason.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A header. As in Envoy, how the other side has spelled its names counts before how they are wanted here.
    pub fn row(&mut self, name: &str, value: &[u8]) {
        match (self.spelling, self.names) {
            (Some(spelling), _) => {
                let spelled = spelling.of(name).unwrap_or(name.as_bytes());
                self.out.extend_from_slice(spelled);
            }
            (None, Names::Words) => self.words(name),
            (None, Names::Lower | Names::AsSent) => self.out.extend_from_slice(name.as_bytes()),
        }
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// `content-length`.
    pub fn length(&mut self, length: u64) {
        self.row(
            header::CONTENT_LENGTH.as_str(),
            decimal(length, &mut [0; 20]),
        );
    }

    /// The head ends.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn words(&mut self, name: &str) {
        let mut begins = true;
        for byte in name.bytes() {
            let written = if begins {
                byte.to_ascii_uppercase()
            } else {
                byte
            };
            self.out.push(written);
            begins = !byte.is_ascii_alphanumeric();
        }
    }
}

fn decimal(mut number: u64, text: &mut [u8; 20]) -> &[u8] {
    let mut begin = text.len();
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        begin -= 1;
        if number == 0 {
            break;
        }
    }
    text.get(begin..).unwrap_or_default()
}

fn chunk_size(size: usize, text: &mut [u8; 18]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut left = size;
    let mut begin = text.len();
    for (at, byte) in text.iter_mut().rev().enumerate() {
        *byte = match at {
            0 => b'\n',
            1 => b'\r',
            _ => {
                let digit = DIGITS.get(left & 0xf).copied().unwrap_or(b'0');
                left >>= 4;
                digit
            }
        };
        begin -= 1;
        if at > 1 && left == 0 {
            break;
        }
    }
    text.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_their_base() {
        for (number, ten, sixteen) in [
            (0_usize, "0", "0\r\n"),
            (7, "7", "7\r\n"),
            (10, "10", "A\r\n"),
            (255, "255", "FF\r\n"),
            (65_536, "65536", "10000\r\n"),
        ] {
            assert_eq!(decimal(number as u64, &mut [0; 20]), ten.as_bytes());
            assert_eq!(chunk_size(number, &mut [0; 18]), sixteen.as_bytes());
        }
        assert_eq!(
            decimal(u64::MAX, &mut [0; 20]),
            u64::MAX.to_string().as_bytes()
        );
        assert_eq!(
            chunk_size(usize::MAX, &mut [0; 18]),
            b"FFFFFFFFFFFFFFFF\r\n"
        );
    }

    #[test]
    fn names_are_written_as_they_are_wanted() {
        for (names, name, expected) in [
            (Names::Lower, "x-foo", "x-foo: 1\r\n"),
            (Names::Words, "x-foo", "X-Foo: 1\r\n"),
            (Names::Words, "x_u-v$w", "X_U-V$W: 1\r\n"),
            (Names::Words, "etag", "Etag: 1\r\n"),
            (Names::AsSent, "x-foo", "x-foo: 1\r\n"),
        ] {
            let mut out = Vec::new();
            Head::new(&mut out, names, None).row(name, b"1");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_body_must_be_as_long_as_it_was_said_to_be() {
        let mut out = Outbox::default();
        let mut encoder = Encoder::Length(3);
        assert_eq!(encoder.data(&mut out, Bytes::from_static(b"ab")), Ok(()));
        assert_eq!(encoder.end(&mut out, None), Err(Mismatch));
        assert_eq!(
            encoder.data(&mut out, Bytes::from_static(b"cd")),
            Err(Mismatch)
        );
        assert_eq!(encoder.data(&mut out, Bytes::from_static(b"c")), Ok(()));
        assert_eq!(encoder.end(&mut out, None), Ok(()));
    }
}
