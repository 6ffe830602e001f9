//! Heads of messages: bytes to parts. Values share the memory that the head was read to.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header,
    request, response,
};
use httparse::{ParserConfig, Status};

use super::{framing::Decoder, name, quick};
use crate::{
    error::Error,
    net::target,
    policy::http1::{Http1, Names, Underscores},
};

/// Headers that a stack frame has room for; a listener that allows more pays for an allocation.
const ROWS: usize = 100;

/// What heads are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, in bytes.
    pub bytes: usize,
    /// Most headers.
    pub count: usize,
    /// A request with both a length and chunks is served by its chunks, and not refused.
    pub chunked_length: bool,
    /// Trailers are passed on; else they are dropped.
    pub trailers: bool,
    /// Requests by HTTP/1.0 are taken.
    pub http_10: bool,
    /// Any token is a method; else those that are registered, and some that are in use.
    pub custom_methods: bool,
    /// What becomes of headers with an underscore in their name.
    pub underscores: Underscores,
    /// How the names of headers are written. As they were sent: what is read is remembered, in [`Spelling`].
    pub names: Names,
}

impl Limits {
    /// What a listener's clients are held against.
    pub fn of_clients(http1: &Http1, max_head: usize, http_10: bool) -> Self {
        Self {
            bytes: max_head,
            http_10,
            custom_methods: http1.custom_methods,
            underscores: http1.underscores,
            ..Self::of_servers(http1)
        }
    }

    /// What a cluster's endpoints are held against.
    pub fn of_servers(http1: &Http1) -> Self {
        Self {
            bytes: http1.max_answer_head,
            count: http1.max_headers as usize,
            chunked_length: http1.chunked_length,
            trailers: http1.trailers,
            names: http1.names,
            ..Self::default()
        }
    }
}

/// The names of a head's headers as they were spelled, where that differs from lower case. An extension of the message.
#[derive(Debug, Clone, Default)]
pub struct Spelling(std::sync::Arc<Vec<Bytes>>);

impl Spelling {
    /// How a name was spelled, if not in lower case.
    pub fn of(&self, name: &str) -> Option<&[u8]> {
        let mut spelled = self.0.iter();
        spelled
            .find(|spelled| spelled.eq_ignore_ascii_case(name.as_bytes()))
            .map(|spelled| &**spelled)
    }
}

/// The head of a request, and what it says of the connection.
#[derive(Debug)]
pub struct RequestHead {
    /// The request. In a box: it goes through many hands.
    pub parts: Box<request::Parts>,
    /// Its body.
    pub body: Decoder,
    /// The connection may serve another request after it.
    pub keep_alive: bool,
    /// It waits for `100 Continue`.
    pub expects: bool,
    /// It may be asking for another protocol.
    pub upgrade: bool,
}

/// The head of an answer, and what it says of the connection.
#[derive(Debug)]
pub struct AnswerHead {
    /// The answer.
    pub parts: response::Parts,
    /// Its body.
    pub body: Decoder,
    /// The connection may serve another request after it.
    pub keep_alive: bool,
}

/// Why a head is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is not HTTP/1.
    Malformed,
    /// It has both a length and a transfer encoding.
    TwoFramings,
    /// Its transfer encoding is not known.
    Encoding,
    /// It is too long.
    TooLarge,
    /// It has too many headers.
    TooMany,
    /// It is not HTTP/1.1.
    Version,
    /// A header's value has a character that none may have.
    Character,
    /// A header's name has an underscore.
    Underscore,
    /// Its host is none.
    Authority,
    /// Its target is none.
    Target,
}

impl From<Refused> for Error {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Malformed => Self::Malformed("http1.codec_error"),
            Refused::TwoFramings => Self::Malformed("http1.content_length_and_chunked_not_allowed"),
            Refused::Character => Self::Malformed("http1.invalid_characters"),
            Refused::Underscore => Self::Malformed("http1.unexpected_underscore"),
            Refused::Authority => Self::Malformed("http.invalid_authority"),
            Refused::Target => Self::Malformed("http1.invalid_url"),
            Refused::Encoding => Self::Encoding,
            Refused::TooLarge => Self::HeadersTooLarge,
            Refused::TooMany => Self::TooManyHeaders,
            Refused::Version => Self::LowVersion,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 60 << 10,
            count: ROWS,
            chunked_length: false,
            trailers: false,
            http_10: false,
            custom_methods: false,
            underscores: Underscores::Allow,
            names: Names::Lower,
        }
    }
}

/// Takes a request's head off the input; `None`: it is not complete yet.
pub fn request(input: &mut Bytes, limits: &Limits) -> Result<Option<RequestHead>, Refused> {
    let Some((parts, seen, length)) = quick::request(input, limits) else {
        return strict_request(input, limits);
    };
    let head = requested(parts, &seen, limits)?;
    bytes::Buf::advance(input, length);
    Ok(Some(head))
}

/// Takes an answer's head off the input; `None`: it is not complete yet. `bodiless`: the request's method wants no body.
pub fn answer(
    input: &mut Bytes,
    limits: &Limits,
    bodiless: bool,
) -> Result<Option<AnswerHead>, Refused> {
    let Some((parts, seen, length)) = quick::answer(input, limits) else {
        return strict_answer(input, limits, bodiless);
    };
    let head = answered(parts, &seen, limits, bodiless)?;
    bytes::Buf::advance(input, length);
    Ok(Some(head))
}

pub(super) fn strict_request(
    input: &mut Bytes,
    limits: &Limits,
) -> Result<Option<RequestHead>, Refused> {
    let mut rows = Rows::new(limits.count);
    let mut row_space = [const { MaybeUninit::uninit() }; ROWS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = ParserConfig::default().parse_request_with_uninit_headers(
        &mut parsed,
        input,
        rows.space(&mut row_space),
    );
    if status == Err(httparse::Error::Version) || parsed.path.is_none() {
        other_version(input)?;
    }
    let Some(length) = complete(status, input.len(), limits)? else {
        return Ok(None);
    };
    let text = input.slice(..length);
    bare_line_feeds(&text)?;
    let mut parts = Box::new(http::Request::new(()).into_parts().0);
    parts.method = method(parsed.method.ok_or(Refused::Malformed)?, limits)?;
    parts.version = version(parsed.version)?;
    if parts.version == Version::HTTP_10 && !limits.http_10 {
        return Err(Refused::Version);
    }
    let path = parsed.path.ok_or(Refused::Malformed)?;
    parts.uri = target_of(&text, path, &parts.method, &mut parts.extensions)?;
    let mut seen = Seen::default();
    parts.headers = headers(&text, parsed.headers, &mut seen, limits.underscores)?;
    if limits.names == Names::AsSent {
        parts.extensions.insert(spelling(&text, parsed.headers));
    }
    let head = requested(parts, &seen, limits)?;
    bytes::Buf::advance(input, length);
    Ok(Some(head))
}

/// The head with these parts: its body, and what becomes of the connection.
pub(super) fn requested(
    mut parts: Box<request::Parts>,
    seen: &Seen,
    limits: &Limits,
) -> Result<RequestHead, Refused> {
    let body = match (seen.encoding, seen.length) {
        (Encoding::None, length) => Decoder::length(length.unwrap_or(0)),
        (Encoding::Other, _) => return Err(Refused::Encoding),
        // RFC 9112 §6.1: HTTP/1.0 has no transfer encodings; who sends one may mean anything.
        (Encoding::Chunked, _) if parts.version == Version::HTTP_10 => {
            return Err(Refused::Malformed);
        }
        (Encoding::Chunked, Some(_)) if !limits.chunked_length => {
            return Err(Refused::TwoFramings);
        }
        (Encoding::Chunked, length) => {
            if length.is_some() {
                parts.headers.remove(header::CONTENT_LENGTH);
            }
            Decoder::chunked()
        }
    };
    Ok(RequestHead {
        keep_alive: seen.keeps_alive(parts.version),
        expects: seen.expects && parts.version == Version::HTTP_11,
        upgrade: seen.upgrade || parts.method == Method::CONNECT,
        parts,
        body,
    })
}

pub(super) fn strict_answer(
    input: &mut Bytes,
    limits: &Limits,
    bodiless: bool,
) -> Result<Option<AnswerHead>, Refused> {
    let mut rows = Rows::new(limits.count);
    let mut row_space = [const { MaybeUninit::uninit() }; ROWS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        input,
        rows.space(&mut row_space),
    );
    let Some(length) = complete(status, input.len(), limits)? else {
        return Ok(None);
    };
    let text = input.slice(..length);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    let code = parsed.code.ok_or(Refused::Malformed)?;
    parts.status = StatusCode::from_u16(code).map_err(|_| Refused::Malformed)?;
    parts.version = version(parsed.version)?;
    let mut seen = Seen::default();
    parts.headers = headers(&text, parsed.headers, &mut seen, Underscores::Allow)?;
    if limits.names == Names::AsSent {
        parts.extensions.insert(spelling(&text, parsed.headers));
    }
    let head = answered(parts, &seen, limits, bodiless)?;
    bytes::Buf::advance(input, length);
    Ok(Some(head))
}

/// The head with these parts: its body, and what becomes of the connection.
pub(super) fn answered(
    parts: response::Parts,
    seen: &Seen,
    limits: &Limits,
    bodiless: bool,
) -> Result<AnswerHead, Refused> {
    let none = bodiless
        || parts.status.is_informational()
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let body = match (seen.encoding, seen.length) {
        _ if switches => Decoder::until_close(),
        (Encoding::Chunked, Some(_)) if !limits.chunked_length => {
            return Err(Refused::TwoFramings);
        }
        (Encoding::Other, _) => return Err(Refused::Encoding),
        // RFC 9110 §8.6: there must be none; whoever reads it otherwise reads what follows otherwise.
        (_, Some(length)) if length > 0 && parts.status == StatusCode::NO_CONTENT => {
            return Err(Refused::Malformed);
        }
        _ if none => Decoder::default(),
        (Encoding::Chunked, _) => Decoder::chunked(),
        (Encoding::None, Some(length)) => Decoder::length(length),
        (Encoding::None, None) => Decoder::until_close(),
    };
    Ok(AnswerHead {
        keep_alive: seen.keeps_alive(parts.version) && !body.is_until_close(),
        parts,
        body,
    })
}

fn complete(
    status: Result<Status<usize>, httparse::Error>,
    there: usize,
    limits: &Limits,
) -> Result<Option<usize>, Refused> {
    let length = match status {
        Ok(Status::Complete(length)) => length,
        // What is too long may have too many rows too, or end within one.
        _ if there > limits.bytes => return Err(Refused::TooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooMany),
        Err(httparse::Error::HeaderValue) => return Err(Refused::Character),
        Err(_) => return Err(Refused::Malformed),
    };
    if length > limits.bytes {
        return Err(Refused::TooLarge);
    }
    Ok(Some(length))
}

/// Room for the rows of a head.
struct Rows<'b> {
    count: usize,
    many: Vec<MaybeUninit<httparse::Header<'b>>>,
}

impl<'b> Rows<'b> {
    fn new(count: usize) -> Self {
        let many = if count > ROWS {
            vec![MaybeUninit::uninit(); count]
        } else {
            Vec::new()
        };
        Self { count, many }
    }

    fn space<'h>(
        &'h mut self,
        few: &'h mut [MaybeUninit<httparse::Header<'b>>; ROWS],
    ) -> &'h mut [MaybeUninit<httparse::Header<'b>>] {
        if self.count > ROWS {
            &mut self.many
        } else {
            few.get_mut(..self.count).unwrap_or_default()
        }
    }
}

fn version(minor: Option<u8>) -> Result<Version, Refused> {
    match minor {
        Some(1) => Ok(Version::HTTP_11),
        Some(0) => Ok(Version::HTTP_10),
        _ => Err(Refused::Malformed),
    }
}

/// A request line of another version of HTTP, or of the first, which had none.
fn other_version(input: &[u8]) -> Result<(), Refused> {
    let line = input.split(|byte| *byte == b'\r' || *byte == b'\n').next();
    let Some(line) = line.filter(|line| line.len() < input.len()) else {
        return Ok(());
    };
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let known = method.is_some_and(|method| METHODS.contains(&method))
        && path.is_some_and(|path| path.iter().all(u8::is_ascii_graphic));
    let versioned = version.is_none_or(|version| version.starts_with(b"HTTP/"));
    if known && versioned && words.next().is_none() {
        return Err(Refused::Version);
    }
    Ok(())
}

/// Methods that are taken without being asked to: Envoy's.
pub(super) static METHODS: [&[u8]; 34] = [
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"M-SEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

fn method(text: &str, limits: &Limits) -> Result<Method, Refused> {
    if !limits.custom_methods && !METHODS.contains(&text.as_bytes()) {
        return Err(Refused::Malformed);
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| Refused::Malformed)
}

/// RFC 9112 §2.2 lets a recipient take a line feed alone for a line's end. Others in the chain may not: where they see one
/// header, we would see two.
fn bare_line_feeds(text: &[u8]) -> Result<(), Refused> {
    let bare = memchr::memchr_iter(b'\n', text)
        .any(|at| at.checked_sub(1).and_then(|before| text.get(before)) != Some(&b'\r'));
    if bare {
        Err(Refused::Malformed)
    } else {
        Ok(())
    }
}

/// RFC 9112 §3.2: the forms of a request's target.
fn target_of(
    text: &Bytes,
    target: &str,
    method: &Method,
    extensions: &mut Extensions,
) -> Result<Uri, Refused> {
    let bytes = text.slice_ref(target.as_bytes());
    // Read as a URI, a fragment is left out of it without a word.
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        extensions.insert(target::Fragment);
    }
    if *method == Method::CONNECT {
        return Uri::from_maybe_shared(bytes).map_err(|_| Refused::Malformed);
    }
    match target.as_bytes().first() {
        Some(b'/') => {
            target::path(bytes, target.as_bytes(), extensions).map_err(|_| Refused::Malformed)
        }
        Some(b'*') if target.len() == 1 && *method == Method::OPTIONS => Ok(Uri::from_static("*")),
        Some(b'*') => Err(Refused::Target),
        _ => {
            let uri = Uri::from_maybe_shared(bytes).map_err(|_| Refused::Target)?;
            match uri.authority() {
                Some(authority) if uri.scheme().is_some() && !authority.as_str().contains('@') => {
                    Ok(uri)
                }
                _ => Err(Refused::Malformed),
            }
        }
    }
}

/// What the headers say of framing and connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    length: Option<u64>,
    encoding: Encoding,
    close: bool,
    keep_alive: bool,
    expects: bool,
    upgrade: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    #[default]
    None,
    Chunked,
    Other,
}

fn headers(
    text: &Bytes,
    rows: &[httparse::Header<'_>],
    seen: &mut Seen,
    underscores: Underscores,
) -> Result<HeaderMap, Refused> {
    // Room for what the proxy adds: growing means hashing all again.
    let mut headers = HeaderMap::with_capacity(rows.len() + 8);
    for row in rows {
        if underscores != Underscores::Allow && row.name.contains('_') {
            if underscores == Underscores::Reject {
                return Err(Refused::Underscore);
            }
            continue;
        }
        let name = name::read(row.name.as_bytes()).ok_or(Refused::Malformed)?;
        seen.look(&name, row.value)?;
        let value = HeaderValue::from_maybe_shared(text.slice_ref(row.value))
            .map_err(|_| Refused::Malformed)?;
        // Names that were chosen for it can fill a map before there are many.
        headers
            .try_append(name, value)
            .map_err(|_| Refused::TooMany)?;
    }
    Ok(headers)
}

fn spelling(text: &Bytes, rows: &[httparse::Header<'_>]) -> Spelling {
    let spelled = rows
        .iter()
        .filter(|row| row.name.bytes().any(|byte| byte.is_ascii_uppercase()))
        .map(|row| text.slice_ref(row.name.as_bytes()));
    Spelling(std::sync::Arc::new(spelled.collect()))
}

impl Seen {
    pub(super) fn look(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Refused> {
        match *name {
            header::CONTENT_LENGTH => {
                // RFC 9112 §6.3: a second length, or a list of them, is an attack or a broken sender.
                if self.length.is_some() {
                    return Err(Refused::Malformed);
                }
                self.length = Some(length(value)?);
            }
            header::TRANSFER_ENCODING => {
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                self.encoding = if chunked && self.encoding == Encoding::None {
                    Encoding::Chunked
                } else {
                    Encoding::Other
                };
            }
            header::CONNECTION => {
                for token in value.split(|byte| *byte == b',') {
                    let token = token.trim_ascii();
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            header::EXPECT => self.expects = value.eq_ignore_ascii_case(b"100-continue"),
            header::UPGRADE => self.upgrade = true,
            header::HOST if !value.iter().all(|byte| may_be_authority(*byte)) => {
                return Err(Refused::Authority);
            }
            _ => {}
        }
        Ok(())
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// RFC 3986 §3.2.
fn may_be_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'.' | b'-' | b':' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'('
                ..=b',' | b';' | b'=' | b'[' | b']' | b'@'
        )
}

/// Digits and nothing else (RFC 9110 §8.6).
fn length(value: &[u8]) -> Result<u64, Refused> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refused::Malformed);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Refused::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<RequestHead>, Refused> {
        request(
            &mut Bytes::copy_from_slice(text.as_bytes()),
            &Limits::default(),
        )
    }

    #[test]
    fn a_request_is_taken_apart_and_what_follows_is_left() {
        let text =
            "POST /a?b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\nabcGET";
        let mut input = Bytes::from_static(text.as_bytes());
        let head = request(&mut input, &Limits::default()).unwrap().unwrap();
        assert_eq!(
            (head.parts.method.as_str(), head.parts.uri.path()),
            ("POST", "/a")
        );
        assert_eq!(head.parts.uri.query(), Some("b"));
        let values: Vec<_> = head.parts.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!((head.body.left(), head.keep_alive), (Some(3), true));
        assert_eq!(&*input, b"abcGET");
    }

    #[test]
    fn a_head_in_pieces_is_not_complete() {
        let text = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for end in 0..text.len() {
            assert!(parse(&text[..end]).unwrap().is_none(), "{end}");
        }
        assert!(parse(text).unwrap().is_some());
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for (rows, why) in [
            ("content-length: 1\r\ncontent-length: 2", Refused::Malformed),
            ("content-length: 1\r\ncontent-length: 1", Refused::Malformed),
            ("content-length: 1, 1", Refused::Malformed),
            ("content-length: +1", Refused::Malformed),
            ("content-length: -1", Refused::Malformed),
            ("content-length: 0x1", Refused::Malformed),
            ("content-length: ", Refused::Malformed),
            ("content-length: 18446744073709551616", Refused::Malformed),
            (
                "content-length: 1\r\ntransfer-encoding: chunked",
                Refused::TwoFramings,
            ),
            (
                "transfer-encoding: chunked\r\ncontent-length: 1",
                Refused::TwoFramings,
            ),
            ("transfer-encoding: gzip", Refused::Encoding),
            ("transfer-encoding: gzip, chunked", Refused::Encoding),
            ("transfer-encoding: chunked, identity", Refused::Encoding),
            ("transfer-encoding: xchunked", Refused::Encoding),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                Refused::Encoding,
            ),
            ("transfer-encoding : chunked", Refused::Malformed),
            ("x: a\r\n folded", Refused::Malformed),
            ("x: a\nb: c", Refused::Malformed),
            ("x: a\0", Refused::Character),
            ("x: a\rb: c", Refused::Character),
            ("host: a b", Refused::Authority),
            ("host: a/b", Refused::Authority),
            ("x y: a", Refused::Malformed),
            (": a", Refused::Malformed),
            ("x", Refused::Malformed),
        ] {
            let refused = parse(&format!("POST / HTTP/1.1\r\nhost: a\r\n{rows}\r\n\r\n"));
            assert_eq!(refused.map(|_| ()), Err(why), "{rows}");
        }
    }

    #[test]
    fn targets_have_four_forms() {
        for (line, path, authority) in [
            ("GET /a?b", Some("/a?b"), None),
            ("GET http://x.test:1/a", Some("/a"), Some("x.test:1")),
            ("OPTIONS *", Some("*"), None),
            ("CONNECT x.test:443", None, Some("x.test:443")),
        ] {
            let head = parse(&format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n"));
            let uri = head.unwrap().unwrap().parts.uri;
            let found = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
            assert_eq!(found, path, "{line}");
            assert_eq!(uri.authority().map(http::uri::Authority::as_str), authority);
        }
        for (line, why) in [
            ("GET a HTTP/1.1", Refused::Malformed),
            ("GET x.test:443 HTTP/1.1", Refused::Malformed),
            ("GET http://u@x.test/ HTTP/1.1", Refused::Malformed),
            ("GET  / HTTP/1.1", Refused::Malformed),
            ("GET /a b HTTP/1.1", Refused::Malformed),
            ("GE(T / HTTP/1.1", Refused::Malformed),
            ("get / HTTP/1.1", Refused::Malformed),
            ("FOO / HTTP/1.1", Refused::Malformed),
            ("GET * HTTP/1.1", Refused::Target),
            ("GET http:///a HTTP/1.1", Refused::Target),
            ("GET / HTTP/1.0", Refused::Version),
            ("GET / HTTP/1.2", Refused::Version),
            ("GET / HTTP/2.0", Refused::Version),
            ("GET /", Refused::Version),
        ] {
            let head = parse(&format!("{line}\r\nhost: a\r\n\r\n"));
            assert_eq!(head.map(|_| ()), Err(why), "{line}");
        }
    }

    #[test]
    fn what_is_allowed_is_taken() {
        let text = "FOO / HTTP/1.0\r\nX_a: 1\r\nX-B: 2\r\n\r\n";
        let limits = Limits {
            http_10: true,
            custom_methods: true,
            names: Names::AsSent,
            underscores: Underscores::Drop,
            ..Limits::default()
        };
        let head = request(&mut Bytes::from_static(text.as_bytes()), &limits);
        let parts = head.unwrap().unwrap().parts;
        assert_eq!((parts.method.as_str(), parts.headers.len()), ("FOO", 1));
        let spelling = parts.extensions.get::<Spelling>().unwrap();
        assert_eq!(spelling.of("x-b"), Some(&b"X-B"[..]));
        let limits = Limits {
            underscores: Underscores::Reject,
            ..limits
        };
        let head = request(&mut Bytes::from_static(text.as_bytes()), &limits);
        assert_eq!(head.map(|_| ()), Err(Refused::Underscore));
    }

    #[test]
    fn heads_have_limits() {
        let limits = Limits {
            bytes: 100,
            count: 3,
            ..Limits::default()
        };
        for (text, why) in [
            (format!("GET /{}", "a".repeat(200)), Refused::TooLarge),
            (
                format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(200)),
                Refused::TooLarge,
            ),
            (
                "GET / HTTP/1.1\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\n\r\n".to_owned(),
                Refused::TooMany,
            ),
        ] {
            let refused = request(&mut Bytes::from(text), &limits);
            assert_eq!(refused.map(|_| ()), Err(why));
        }
    }

    #[test]
    fn answers_have_the_framing_that_their_status_and_headers_say() {
        for (text, bodiless, left, keep_alive) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
                false,
                Some(3),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
                true,
                Some(0),
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, Some(0), true),
            (
                "HTTP/1.1 304 x\r\ncontent-length: 3\r\n\r\n",
                false,
                Some(0),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", false, None, false),
            (
                "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n",
                false,
                None,
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n",
                false,
                Some(3),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n",
                false,
                Some(3),
                false,
            ),
        ] {
            let mut input = Bytes::copy_from_slice(text.as_bytes());
            let head = answer(&mut input, &Limits::default(), bodiless);
            let head = head.unwrap().unwrap();
            assert_eq!(
                (head.body.left(), head.keep_alive),
                (left, keep_alive),
                "{text}"
            );
        }
    }
}
