//! Envoy's substitution format strings, `%REQ(:METHOD)% %DURATION%`: compiled once, rendered for a [`Source`]. Access logs
//! render them at a request's end, header operations while it is under way. Pure: what the values are, the source knows.

use std::fmt;

pub mod clock;
pub mod field;
pub mod json;

use field::{Field, Message, Name, Point};

/// A format string, ready to be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    parts: Vec<Part>,
}

/// What a format string is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A value.
    Value(Operator),
}

/// A value in a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Which.
    pub field: Field,
    /// At most so many bytes of it.
    pub most: Option<usize>,
}

/// Why a format string cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where in the string, in bytes from 0.
    pub position: usize,
    /// What is wrong.
    pub what: String,
    /// Envoy knows it; we don't yet.
    pub unsupported: bool,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There is none; nothing was written.
    Unset,
    /// It is a text.
    Text,
    /// It is a number.
    Number,
}

/// Where values come from. What a method appends to `out` is the value; with `false` there is none, and nothing is appended.
pub trait Source {
    /// The first header of this name.
    fn header(&self, of: Message, name: &Name, out: &mut Vec<u8>) -> bool;
    /// A text.
    fn text(&self, of: field::Text, out: &mut Vec<u8>) -> bool;
    /// A number; `None`: there is none.
    fn count(&self, of: field::Count) -> Option<u64>;
    /// An address.
    fn address(&self, of: field::Peer) -> Option<std::net::SocketAddr>;
    /// A time of day, since the Unix epoch.
    fn time(&self, of: field::Moment) -> Option<std::time::Duration>;
    /// How long after the request's start something happened.
    fn reached(&self, point: &Point) -> Option<std::time::Duration>;
}

impl Format {
    /// Envoy's default access log line.
    pub const DEFAULT: &'static str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

    /// Compiles a format string.
    pub fn compile(text: &str) -> Result<Self, Invalid> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = rest.find('%').unwrap_or(rest.len());
            literal.push_str(rest.get(..plain).unwrap_or_default());
            at += plain;
            let Some(rest) = rest.get(plain..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            if rest.starts_with("%%") {
                literal.push('%');
                at += 2;
                continue;
            }
            let (operator, length) = Operator::read(rest).map_err(|what| Invalid {
                position: at,
                ..what
            })?;
            at += length;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Value(operator));
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// A text without operators.
    pub fn literal(text: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::Text(text.into())],
        }
    }

    /// What it is made of.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, where it has no operators.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text to `out`; a value that there is not becomes `unset`: `-` in logs, nothing in headers.
    pub fn render(&self, source: &dyn Source, unset: &str, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Value(operator) => {
                    if operator.write(source, out) == Written::Unset {
                        out.extend_from_slice(unset.as_bytes());
                    }
                }
            }
        }
    }

    /// The headers that it looks at.
    pub fn headers(&self) -> impl Iterator<Item = (Message, Name)> {
        self.parts.iter().flat_map(|part| match part {
            Part::Text(_) => Vec::new(),
            Part::Value(operator) => operator.field.headers(),
        })
    }
}

impl Operator {
    /// Appends the value to `out`.
    pub fn write(&self, source: &dyn Source, out: &mut Vec<u8>) -> Written {
        let before = out.len();
        let written = self.field.write(source, out);
        if let Some(most) = self.most {
            out.truncate(before + most.min(out.len() - before));
        }
        written
    }

    /// The operator at the beginning of `text`, and how long it is.
    fn read(text: &str) -> Result<(Self, usize), Invalid> {
        let lone =
            || invalid("`%` begins no operator such as `%DURATION%`; a percent sign is `%%`");
        let rest = text.get(1..).unwrap_or_default();
        let end = rest
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .filter(|end| *end > 0)
            .ok_or_else(lone)?;
        let (name, rest) = rest.split_at(end);
        let mut length = 1 + end;
        let mut argument = None;
        let mut tail = rest;
        if rest.starts_with('(') {
            // The argument may hold `)` and `%`: it ends at the first `)` that the operator can end after.
            let (end, after) = rest
                .match_indices(')')
                .filter_map(|(at, _)| Some((at, rest.get(at + 1..)?)))
                .find(|(_, after)| ends(after))
                .ok_or_else(|| invalid(format!("`%{name}(` has no closing `)%`")))?;
            argument = rest.get(1..end);
            length += end + 1;
            tail = after;
        }
        let mut most = None;
        if let Some(after) = tail.strip_prefix(':') {
            let digits = after
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(after.len());
            let (number, after) = after.split_at(digits);
            most = Some(number.parse().map_err(|_| {
                invalid(format!(
                    "`%{name}` has a length `{number}` that is not a number"
                ))
            })?);
            length += 1 + digits;
            tail = after;
        }
        if !tail.starts_with('%') {
            return Err(lone());
        }
        let field = Field::named(name, argument, most.is_some())?;
        Ok((Self { field, most }, length + 1))
    }
}

/// After an argument: `%`, or `:12%`.
fn ends(after: &str) -> bool {
    let after = match after.strip_prefix(':') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => after,
    };
    after.starts_with('%')
}

fn invalid(what: impl Into<String>) -> Invalid {
    Invalid {
        position: 0,
        what: what.into(),
        unsupported: false,
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at position {})", self.what, self.position)
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
pub(super) mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;

    /// A request whose values are made up.
    pub(super) struct Made;

    impl Source for Made {
        fn header(&self, of: Message, name: &Name, out: &mut Vec<u8>) -> bool {
            let value = match (of, name.as_str()) {
                (Message::Request, ":method") => "GET",
                (Message::Request, ":path") => "/new?q=1&empty=&flag",
                (Message::Request, ":authority") => "shop.test",
                (Message::Request, "x-envoy-original-path") => "/old?a=b",
                (Message::Request, "x-long") => "0123456789",
                (Message::Request, "content-type") => "application/grpc+proto",
                (Message::Answer, "x-a") => "answer",
                (Message::Trailer, "grpc-status") => "4",
                (Message::Trailer, "x-t") => "trailer",
                _ => return false,
            };
            out.extend_from_slice(value.as_bytes());
            true
        }

        fn text(&self, of: field::Text, out: &mut Vec<u8>) -> bool {
            let value = match of {
                field::Text::Protocol => "HTTP/1.1",
                field::Text::Details => "a b{c d}",
                field::Text::Flags => "UF,URX",
                _ => return false,
            };
            out.extend_from_slice(value.as_bytes());
            true
        }

        fn count(&self, of: field::Count) -> Option<u64> {
            match of {
                field::Count::Status => Some(204),
                field::Count::BytesReceived => Some(7),
                _ => None,
            }
        }

        fn address(&self, of: field::Peer) -> Option<SocketAddr> {
            match of {
                field::Peer::DownstreamRemote => Some(([10, 0, 0, 1], 99).into()),
                field::Peer::DownstreamLocal => Some("[::1]:80".parse().unwrap()),
                _ => None,
            }
        }

        fn time(&self, _of: field::Moment) -> Option<Duration> {
            Some(Duration::new(1_527_590_590, 528_111_222))
        }

        fn reached(&self, point: &Point) -> Option<Duration> {
            match point {
                Point::Start => Some(Duration::ZERO),
                Point::AnswerBegin => Some(Duration::from_micros(1_999)),
                Point::End => Some(Duration::from_millis(25)),
                _ => None,
            }
        }
    }

    fn rendered(format: &str) -> String {
        let mut out = Vec::new();
        let compiled = Format::compile(format).unwrap_or_else(|error| panic!("{format}: {error}"));
        compiled.render(&Made, "-", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn operators_are_replaced_by_their_values() {
        for (format, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("100%% of %PROTOCOL%\n", "100% of HTTP/1.1\n"),
            ("%REQ(:METHOD)% %REQ(:path)%", "GET /new?q=1&empty=&flag"),
            ("%REQ(HOST)%", "shop.test"),
            ("%REQ(X-Envoy-Original-Path?:PATH)%", "/old?a=b"),
            ("%REQ(X-NONE?:PATH):4%", "/new"),
            ("%REQ(X-NONE?X-NEITHER)%|%REQ(X-NONE):3%", "-|-"),
            ("%REQ(X-LONG):3%%REQ(X-LONG):30%", "0120123456789"),
            ("%RESP(X-A)% %TRAILER(X-T)% %RESP(X-T)%", "answer trailer -"),
            (
                "%REQUEST_HEADER(X-LONG):1%%RESPONSE_HEADER(X-A)%%RESPONSE_TRAILER(X-T)%",
                "0answertrailer",
            ),
            ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/old"),
            ("%PATH%", "/old?a=b"),
            (
                "%PATH(NQ)% %PATH(WQ:PATH)% %PATH(NQ:ORIG)% %PATH(WQ:PATH):2%",
                "/old /new?q=1&empty=&flag /old /n",
            ),
            (
                "%QUERY_PARAM(q)% %QUERY_PARAM(none)% %QUERY_PARAM(empty)%|",
                "1 - |",
            ),
            ("%RESPONSE_CODE% %BYTES_RECEIVED%", "204 7"),
            ("%RESPONSE_CODE_DETAILS%", "a_b{c_d}"),
            ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "a b{c d}"),
            ("%RESPONSE_FLAGS%", "UF,URX"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:99"),
            (
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%",
                "10.0.0.1 99",
            ),
            (
                "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
                "[::1]:80 ::1",
            ),
            ("%UPSTREAM_HOST%", "-"),
            (
                "%DURATION% %RESPONSE_DURATION% %REQUEST_DURATION%",
                "25 1 -",
            ),
            ("%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%", "1999"),
            ("%COMMON_DURATION(US_RX_BEG:DS_RX_BEG)%", "-"),
            ("%START_TIME%", "2018-05-29T10:43:10.528Z"),
            (
                "%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%",
                "2018/05/29T10:43:10+0000 1527590590",
            ),
            (
                "%START_TIME(%s.%3f)% %START_TIME(%s.%6f)% %EMIT_TIME(%f)%",
                "1527590590.528 1527590590.528111 528111222",
            ),
            (
                "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%",
                "DeadlineExceeded DEADLINE_EXCEEDED 4",
            ),
            (
                "%DYNAMIC_METADATA(a.b:c:d):9% %FILTER_STATE(k:PLAIN)% %UPSTREAM_METADATA(a)%",
                "- - -",
            ),
            ("%ENVIRONMENT(NOT_SET_AT_ALL)%", "-"),
            ("%HOSTNAME", "%HOSTNAME"),
        ] {
            if format == "%HOSTNAME" {
                assert!(Format::compile(format).is_err());
                continue;
            }
            assert_eq!(rendered(format), expected, "{format}");
        }
        assert!(!rendered("%HOSTNAME%").is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_position() {
        for (format, expected) in [
            ("ab %NOPE%", "there is no operator `%NOPE%` (at position 3)"),
            (
                "50% off",
                "`%` begins no operator such as `%DURATION%`; a percent sign is `%%` (at position 2)",
            ),
            (
                "%PROTOCOL",
                "`%` begins no operator such as `%DURATION%`; a percent sign is `%%` (at position 0)",
            ),
            ("%REQ(X%", "`%REQ(` has no closing `)%` (at position 0)"),
            ("%REQ%", "`%REQ%` needs an argument (at position 0)"),
            (
                "%PROTOCOL(x)%",
                "`%PROTOCOL%` takes no argument (at position 0)",
            ),
            (
                "%PROTOCOL:3%",
                "`%PROTOCOL%` takes no length (at position 0)",
            ),
            (
                "%REQ(A?B?C)%",
                "`A?B?C` names more than one alternative header (at position 0)",
            ),
            (
                "%REQ(A B)%",
                "`A B` is not the name of a header (at position 0)",
            ),
            (
                "%GRPC_STATUS(x)%",
                "`x` is not CAMEL_STRING, SNAKE_STRING or NUMBER (at position 0)",
            ),
            (
                "%START_TIME(%n)%",
                "a time cannot have a line break (at position 0)",
            ),
            (
                "%START_TIME(%Q)%",
                "`%Q` is not a part of a time (at position 0)",
            ),
            (
                "%COMMON_DURATION(a)%",
                "`a` is not two points of time such as `DS_RX_BEG:DS_TX_END:ms` (at position 0)",
            ),
            (
                "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%",
                "`h` is not ms, us or ns (at position 0)",
            ),
        ] {
            let error = Format::compile(format).unwrap_err();
            assert_eq!(error.to_string(), expected, "{format}");
        }
    }

    #[test]
    fn an_unset_value_is_empty_in_a_header() {
        let mut out = Vec::new();
        let format = Format::compile("a%REQ(x-none)%b").unwrap();
        format.render(&Made, "", &mut out);
        assert_eq!(out, b"ab");
    }

    #[test]
    fn the_headers_that_a_format_looks_at_are_known() {
        let format = Format::compile("%REQ(A?:PATH)%%RESP(B)%%QUERY_PARAM(c)%%PATH%").unwrap();
        let names: Vec<_> = format
            .headers()
            .map(|(of, name)| format!("{of:?} {}", name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                "Request a",
                "Request :path",
                "Answer b",
                "Request :path",
                "Request x-envoy-original-path",
                "Request :path"
            ]
        );
    }

    #[test]
    fn envoys_default_format_compiles() {
        assert_eq!(
            rendered(Format::DEFAULT),
            "[2018-05-29T10:43:10.528Z] \"GET /old?a=b HTTP/1.1\" 204 UF,URX 7 - 25 - \"-\" \"-\" \"-\" \"shop.test\" \"-\"\n"
        );
    }
}
