//! Heads as nearly all of them are, in one pass: whole, HTTP/1.1, a path for a target, lines that end as they should. What
//! is taken here is what [the strict reader](super::head) takes, to the same parts; whatever else there is, every refusal
//! among it, is left to that one.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, request, response,
    uri::{PathAndQuery, Uri},
};

use super::{
    head::{Limits, METHODS, Seen},
    name, spare,
};
use crate::policy::http1::{Names, Underscores};

const CRLF: usize = 2;

/// The head of a request at the input's begin, what its headers say, and how long it is.
pub(super) fn request(
    input: &Bytes,
    limits: &Limits,
) -> Option<(Box<request::Parts>, Seen, usize)> {
    let line = line(input)?;
    let words = line.strip_suffix(b" HTTP/1.1")?;
    let space = words.iter().position(|byte| *byte == b' ')?;
    let (method, target) = words.split_at_checked(space)?;
    let target = target.get(1..)?;
    // Bytes of a fragment, of another word and of no character of ASCII are the strict reader's.
    let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    if !METHODS.contains(&method) || target.first() != Some(&b'/') || !target.iter().all(plain) {
        return None;
    }
    let (headers, seen, length) = headers(input, line.len(), limits)?;
    let mut parts = Box::new(http::Request::new(()).into_parts().0);
    parts.method = Method::from_bytes(method).ok()?;
    parts.uri = Uri::from(PathAndQuery::from_maybe_shared(input.slice_ref(target)).ok()?);
    parts.headers = headers;
    Some((parts, seen, length)).filter(|(parts, ..)| parts.method != Method::CONNECT)
}

/// The same for an answer.
pub(super) fn answer(input: &Bytes, limits: &Limits) -> Option<(response::Parts, Seen, usize)> {
    let line = line(input)?;
    let (code, reason) = line.strip_prefix(b"HTTP/1.1 ")?.split_at_checked(3)?;
    let plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(plain) {
        return None;
    }
    let (headers, seen, length) = headers(input, line.len(), limits)?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_bytes(code).ok()?;
    parts.headers = headers;
    Some((parts, seen, length))
}

/// A line up to its CRLF.
fn line(text: &[u8]) -> Option<&[u8]> {
    let feed = memchr::memchr(b'\n', text)?;
    text.get(..feed)?.strip_suffix(b"\r")
}

/// The headers behind a first line of so many bytes, what they say, and the length of the head.
fn headers(input: &Bytes, first: usize, limits: &Limits) -> Option<(HeaderMap, Seen, usize)> {
    if limits.underscores != Underscores::Allow || limits.names == Names::AsSent {
        return None;
    }
    let mut headers = spare::take();
    let read = rows(input, first + CRLF, limits, &mut headers);
    let Some((seen, length)) = read else {
        spare::give_back(headers);
        return None;
    };
    Some((headers, seen, length))
}

fn rows(
    input: &Bytes,
    mut at: usize,
    limits: &Limits,
    headers: &mut HeaderMap,
) -> Option<(Seen, usize)> {
    let mut seen = Seen::default();
    loop {
        let line = line(input.get(at..)?)?;
        at += line.len() + CRLF;
        if at > limits.bytes {
            return None;
        }
        if line.is_empty() {
            return Some((seen, at));
        }
        if headers.len() >= limits.count {
            return None;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = name::read(line.get(..colon)?)?;
        let value = trim(line.get(colon + 1..)?);
        let value = HeaderValue::from_maybe_shared(input.slice_ref(value)).ok()?;
        seen.look(&name, value.as_bytes()).ok()?;
        headers.try_append(name, value).ok()?;
    }
}

/// RFC 9110 §5.6.3: white space is these two.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::head::{strict_answer, strict_request},
        *,
    };

    /// Mostly the first; now and then another.
    fn mostly(
        usual: &'static str,
        others: &'static [&'static str],
    ) -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            12 => Just(usual.as_bytes().to_vec()),
            1 => prop::sample::select(others).prop_map(|text| text.as_bytes().to_vec()),
        ]
    }

    /// What a value has, and now and then what it must not have.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            20 => b' '..=b'~',
            4 => Just(b'\t'),
            1 => prop::sample::select(&b"\x00\x0b\x0c\r\n\x1f\x7f\x80\xff"[..]),
        ];
        prop::collection::vec(byte, 0..6)
    }

    fn row() -> impl Strategy<Value = Vec<u8>> {
        let names = &[
            "host",
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "expect",
            "upgrade",
            "x_y",
            "x y",
            "x ",
            " x",
            "",
            "h\u{f}st",
            "d\rte",
        ];
        let values = &[
            "3",
            "+3",
            "chunked",
            "x, Close",
            "100-continue",
            "a:1",
            "a/b",
        ];
        let said = (
            mostly("x-a", names),
            mostly(":", &[": ", ":\t ", " :", "", "::"]),
        );
        let said = (
            said,
            prop_oneof![value(), mostly("3", values)],
            mostly("", &[" ", "\t ", "\x0c"]),
        );
        said.prop_map(|((name, colon), value, behind)| [name, colon, value, behind].concat())
    }

    fn text(first: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let feed = || mostly("\r\n", &["\n", "\r", "\r\r\n", "\r\n\r\n", "\r\n "]);
        let line = (row(), feed()).prop_map(|(row, feed)| [row, feed].concat());
        let rows = prop::collection::vec(line, 0..5).prop_map(|rows| rows.concat());
        let ends = mostly("\r\n", &["", "\r", "\n", "\r\nGET / HTTP/1.1\r\n\r\n"]);
        (mostly("", &["\r\n", "\n"]), first, feed(), rows, ends)
            .prop_map(|(begin, first, feed, rows, ends)| [begin, first, feed, rows, ends].concat())
    }

    fn asked() -> impl Strategy<Value = Vec<u8>> {
        let space = || mostly(" ", &["", "  ", "\t"]);
        let methods = &["POST", "CONNECT", "OPTIONS", "FOO", "get", "", "G(T"];
        let targets = &[
            "/",
            "/a?b",
            "/a#b",
            "*",
            "http://x/",
            "x",
            "/\u{e9}",
            "/\u{7f}",
            "/\"",
            "/<",
            "/a?{",
            "",
        ];
        let versions = &[
            "HTTP/1.0",
            "HTTP/1.2",
            "HTTP/2.0",
            "http/1.1",
            "HTTP/1.1 ",
            "",
        ];
        let line = (
            (mostly("GET", methods), space()),
            (mostly("/a", targets), space()),
            mostly("HTTP/1.1", versions),
        );
        line.prop_map(|((method, a), (target, b), version)| {
            [method, a, target, b, version].concat()
        })
    }

    fn told() -> impl Strategy<Value = Vec<u8>> {
        let codes = &["101", "204", "304", "099", "1000", "20", "2x0", ""];
        let reasons = &["", " ", "  No", " \u{e9}", "\tx", "x", " \u{0}", " \u{7f}"];
        let line = (
            mostly("HTTP/1.1 ", &["HTTP/1.0 ", "HTTP/1.1", "HTTP/1.1  "]),
            mostly("200", codes),
            mostly(" OK", reasons),
        );
        line.prop_map(|(version, code, reason)| [version, code, reason].concat())
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (
            any::<[bool; 2]>(),
            prop_oneof![Just(100), Just(2)],
            40..400_usize,
        )
            .prop_map(|([chunked_length, http_10], count, bytes)| Limits {
                bytes,
                count,
                chunked_length,
                http_10,
                ..Limits::default()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30_000))]

        #[test]
        fn what_is_taken_of_requests_is_what_the_strict_reader_takes(
            text in text(asked()), limits in limits(),
        ) {
            let input = Bytes::from(text);
            if let Some((parts, seen, length)) = request(&input, &limits) {
                let mut rest = input.clone();
                let strict = strict_request(&mut rest, &limits);
                let quick = super::super::head::requested(parts, &seen, &limits);
                prop_assert_eq!(format!("{quick:?}"), format!("{:?}", strict.map(Option::unwrap)));
                if quick.is_ok() {
                    prop_assert_eq!(rest.len(), input.len() - length);
                }
            }
        }

        #[test]
        fn what_is_taken_of_answers_is_what_the_strict_reader_takes(
            text in text(told()), limits in limits(), bodiless: bool,
        ) {
            let input = Bytes::from(text);
            if let Some((parts, seen, length)) = answer(&input, &limits) {
                let mut rest = input.clone();
                let strict = strict_answer(&mut rest, &limits, bodiless);
                let quick = super::super::head::answered(parts, &seen, &limits, bodiless);
                prop_assert_eq!(format!("{quick:?}"), format!("{:?}", strict.map(Option::unwrap)));
                if quick.is_ok() {
                    prop_assert_eq!(rest.len(), input.len() - length);
                }
            }
        }
    }

    #[test]
    fn what_is_plain_is_taken() {
        let text = "GET /a?b HTTP/1.1\r\nHost: x\r\nX-A:\t1 \r\ncontent-length: 0\r\n\r\nGET";
        let (parts, _, length) =
            request(&Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        assert_eq!(
            (parts.uri.path(), parts.headers["x-a"].as_bytes()),
            ("/a", &b"1"[..])
        );
        assert_eq!(length, text.len() - 3);
        let text = "HTTP/1.1 204\r\ndate: x\r\n\r\n";
        let (parts, ..) = answer(&Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        assert_eq!(parts.status, StatusCode::NO_CONTENT);
    }

    #[test]
    fn what_has_too_many_headers_is_left_before_they_are_kept() {
        let rows: Vec<_> = (0..10_000).map(|n| format!("{n:x}:\r\n")).collect();
        // Without an end: a reader that looks for one first would ask for more.
        let text = Bytes::from(["GET / HTTP/1.1\r\n", &rows.concat()].concat());
        assert!(request(&text, &Limits::default()).is_none());
        let mut headers = HeaderMap::new();
        assert!(super::rows(&text, 16, &Limits::default(), &mut headers).is_none());
        assert_eq!(headers.len(), 100);
    }
}
