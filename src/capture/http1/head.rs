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
    /// Something that is no number, or different numbers.
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

impl Head {
    /// Reads a head that ends with its empty line. The reason if the start line is none of this role.
    pub(super) fn parse(role: Role, bytes: &[u8], keep: bool) -> Result<Box<Self>, &'static str> {
        let mut lines = Lines(bytes);
        let first = lines.next().unwrap_or_default();
        let (line, protocol) = match role {
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
        each_field(lines.0, |name, value| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                4 if !has_host && is("host") => {
                    head.host = Bytes::copy_from_slice(value);
                    has_host = true;
                }
                7 if head.upgrade.is_none() && is("upgrade") => {
                    head.upgrade = Some(Bytes::copy_from_slice(value))
                }
                14 if is("content-length") => head.length = head.length.and(value),
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
    /// Joins what another field says: a list or a repetition of one number is that number (RFC 9112 §6.3).
    fn and(self, value: &[u8]) -> Self {
        value
            .split(|b| *b == b',')
            .map(|n| number(n.trim_ascii()))
            .fold(self, |sum, n| match (sum, n) {
                (Self::Absent, Some(n)) => Self::Bytes(n),
                (Self::Bytes(a), Some(b)) if a == b => sum,
                _ => Self::Unusable,
            })
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

/// Where the head ends that begins `bytes`: after its empty line. Searches for the line before it from `from` on.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        let found = at + rest.iter().position(|b| *b == b'\n')?;
        match bytes.get(found + 1..)? {
            [b'\n', ..] => return Some(found + 2),
            [b'\r', b'\n', ..] => return Some(found + 3),
            _ => at = found + 1,
        }
    }
}

/// The header fields of a section, in order, their case kept; folded lines are joined by a space (RFC 9112 §5.2).
pub(super) fn fields(section: &[u8]) -> Vec<Header> {
    let mut all = Vec::new();
    each_field(section, |name, value| {
        all.push(Header {
            name: Bytes::copy_from_slice(name),
            value: Bytes::copy_from_slice(value),
        });
    });
    all
}

/// Calls `field` for each name and value; lines that have no colon are passed over.
fn each_field(section: &[u8], mut field: impl FnMut(&[u8], &[u8])) {
    let mut lines = Lines(section);
    let mut next = lines.next();
    while let Some(line) = next {
        next = lines.next();
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let (name, value) = (
            name.trim_ascii_end(),
            value.get(1..).unwrap_or_default().trim_ascii(),
        );
        if !matches!(next, Some([b' ' | b'\t', ..])) {
            field(name, value);
            continue;
        }
        let mut joined = value.to_vec();
        while let Some(folded @ [b' ' | b'\t', ..]) = next {
            joined.push(b' ');
            joined.extend_from_slice(folded.trim_ascii());
            next = lines.next();
        }
        field(name, &joined);
    }
}

/// `METHOD SP target SP HTTP/x.y`. The method is any token; the target is kept verbatim, spaces and all.
pub(super) fn request_line(line: &[u8]) -> Option<(Line, Protocol)> {
    let space = line.iter().position(|b| *b == b' ')?;
    let (method, rest) = line.split_at(space);
    let rest = rest.trim_ascii();
    let cut = rest.iter().rposition(|b| matches!(b, b' ' | b'\t'))?;
    let (target, version) = rest.split_at(cut);
    let protocol = version_of(version.get(1..)?)?;
    let target = target.trim_ascii_end();
    if !is_token(method) || target.is_empty() {
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
    let space = line.iter().position(|b| *b == b' ')?;
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

fn version_of(version: &[u8]) -> Option<Protocol> {
    match version {
        b"HTTP/1.0" => Some(Protocol::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Protocol::Http11)
        }
        _ => None,
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

/// Lines that end in CRLF or LF, without their ends, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some(line)
    }
}
