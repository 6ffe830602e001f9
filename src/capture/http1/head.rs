//! The head of a message: start line and header fields, read as leniently as the traffic of the world needs.

use bytes::Bytes;

use crate::capture::exchange::{Header, Protocol};

/// Which kind of message a half carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) enum Role {
    Request,
    Response,
}

/// A start line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) enum Line {
    /// `GET /x HTTP/1.1`
    Request { method: String, target: Bytes },
    /// `HTTP/1.1 200 OK`
    Response { status: u16 },
}

/// What `Content-Length` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) enum Length {
    /// Nothing.
    Absent,
    /// So many bytes.
    Bytes(u64),
    /// Something that is no number, or a list of different numbers.
    Unusable,
}

/// A head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) struct Head {
    pub line: Line,
    pub protocol: Protocol,
    /// The first `Host`.
    pub host: Bytes,
    pub length: Length,
    /// `Transfer-Encoding` ends in `chunked`.
    pub chunked: bool,
    /// The first `Upgrade`, if there is one.
    pub upgrade: Option<Bytes>,
    /// In order; empty unless headers are kept.
    pub headers: Vec<Header>,
    /// How many bytes the head has.
    pub size: usize,
}

/// The reason where HTTP/2 begins instead of a message.
pub(in crate::capture) const HTTP2: &str = "http2";

impl Head {
    /// Reads a head that ends with its empty line. The reason if the start line is none of this role.
    pub(super) fn parse(role: Role, bytes: &[u8], keep: bool) -> Result<Box<Self>, &'static str> {
        let mut lines = Lines(bytes);
        let first = lines.next().unwrap_or_default();
        let (line, protocol) = match role {
            Role::Request if first == b"PRI * HTTP/2.0" => return Err(HTTP2),
            Role::Request => request_line(first).ok_or("malformed_request_line")?,
            Role::Response => status_line(first).ok_or("malformed_status_line")?,
        };
        let mut head = Box::new(Self {
            line,
            protocol,
            host: Bytes::new(),
            length: Length::Absent,
            chunked: false,
            upgrade: None,
            headers: Vec::new(),
            size: bytes.len(),
        });
        let mut has_host = false;
        each_field(lines.0, |name, value, is_plain| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                _ if !is_plain => {}
                4 if !has_host && is("host") => {
                    head.host = Bytes::copy_from_slice(value);
                    has_host = true;
                }
                7 if head.upgrade.is_none() && is("upgrade") => {
                    head.upgrade = Some(Bytes::copy_from_slice(value));
                }
                14 if is("content-length") => head.length = Length::of(value),
                17 if is("transfer-encoding") => head.chunked = ends_chunked(value),
                _ => {}
            }
        });
        if keep {
            head.headers = fields(lines.0);
        }
        Ok(head)
    }
}

impl Length {
    /// What one field says: a list of one number is that number (RFC 9112 §6.3). Of several fields the last counts.
    fn of(value: &[u8]) -> Self {
        let mut numbers = value.split(|b| *b == b',').map(|n| number(n.trim_ascii()));
        match numbers.next().flatten() {
            Some(first) if numbers.all(|n| n == Some(first)) => Self::Bytes(first),
            _ => Self::Unusable,
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn ends_chunked(value: &[u8]) -> bool {
    let last = value.rsplit(|b| *b == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Where the search for the end of a head stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Search {
    /// Where the present line begins.
    line: usize,
    /// Up to where it has no end.
    at: usize,
}

impl Search {
    /// Where the head ends that begins `bytes`: after its first empty line. To be called again with more bytes if `None`.
    /// A line ends in LF; one of nothing but CRs is empty.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let rest = bytes.get(self.at..)?;
            let Some(found) = rest.iter().position(|b| *b == b'\n') else {
                self.at = bytes.len();
                return None;
            };
            let end = self.at + found + 1;
            let is_empty = bytes.get(self.line..end - 1)?.iter().all(|b| *b == b'\r');
            if is_empty {
                return Some(end);
            }
            (self.line, self.at) = (end, end);
        }
    }
}

/// The header fields of a section, in order, their case kept; folded lines are joined by a space (RFC 9112 §5.2).
pub(super) fn fields(section: &[u8]) -> Vec<Header> {
    let mut all = Vec::new();
    each_field(section, |name, value, _| {
        all.push(Header {
            name: Bytes::copy_from_slice(name),
            value: Bytes::copy_from_slice(value),
        });
    });
    all
}

/// Calls `field` for each name and value; lines that have no colon are passed over. The last argument says whether the field
/// is plain: the colon directly after the name, the value on the same line. What is not is read differently by different
/// readers, and some reject it (RFC 9112 §5), so nothing may depend on it.
fn each_field(section: &[u8], mut field: impl FnMut(&[u8], &[u8], bool)) {
    let mut lines = Lines(section);
    let mut next = lines.next();
    while let Some(line) = next {
        next = lines.next();
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (written, value) = line.split_at(colon);
        let (name, value) = (
            written.trim_ascii_end(),
            value.get(1..).unwrap_or_default().trim_ascii(),
        );
        if !matches!(next, Some([b' ' | b'\t', ..])) {
            field(name, value, name.len() == written.len());
            continue;
        }
        let mut joined = value.to_vec();
        while let Some(folded @ [b' ' | b'\t', ..]) = next {
            joined.push(b' ');
            joined.extend_from_slice(folded.trim_ascii());
            next = lines.next();
        }
        field(name, joined.trim_ascii(), false);
    }
}

/// `METHOD SP target SP HTTP/x.y`. The method is any token; the target is kept verbatim up to the next white space, and what
/// stands between it and the version is passed over (RFC 9112 §3).
pub(super) fn request_line(line: &[u8]) -> Option<(Line, Protocol)> {
    let mut words = line
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|w| !w.is_empty());
    let (method, target, version) = (words.next()?, words.next()?, words.next_back()?);
    let protocol = version_of(version)?;
    if !line.starts_with(method) || !is_token(method) {
        return None;
    }
    let method = String::from_utf8_lossy(method).into_owned();
    Some((
        Line::Request {
            method,
            target: Bytes::copy_from_slice(target),
        },
        protocol,
    ))
}

/// `HTTP/x.y SP nnn`, and anything after it.
pub(super) fn status_line(line: &[u8]) -> Option<(Line, Protocol)> {
    let space = line.iter().position(|b| matches!(b, b' ' | b'\t'))?;
    let (version, rest) = line.split_at(space);
    let protocol = version_of(version)?;
    let rest = rest.trim_ascii();
    let digits = rest
        .split(|b| !b.is_ascii_digit())
        .next()
        .unwrap_or_default();
    if digits.len() != 3 {
        return None;
    }
    Some((
        Line::Response {
            status: number(digits)? as u16,
        },
        protocol,
    ))
}

/// `HTTP/` and two numbers, of any length. What is not 1.0 is read as 1.1.
fn version_of(version: &[u8]) -> Option<Protocol> {
    let numbers = version.strip_prefix(b"HTTP/")?;
    let dot = numbers.iter().position(|b| *b == b'.')?;
    let (major, minor) = (numbers.get(..dot)?, numbers.get(dot + 1..)?);
    match (number(major)?, number(minor)?) {
        (1, 0) => Some(Protocol::Http10),
        _ => Some(Protocol::Http11),
    }
}

/// Whether it is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// Whether it may be part of a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Lines without their ends, up to the empty one. Within a head a CR alone ends a line too: some readers take it so, and
/// smugglers count on it.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| matches!(b, b'\r' | b'\n'))?;
        let (line, rest) = self.0.split_at(end);
        let skip = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.0 = rest.get(skip..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    }
}
