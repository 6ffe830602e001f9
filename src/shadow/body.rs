//! What a body is: its content coding undone, its content type read.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use super::json::{self, Node};
use super::{Answer, Rules, grpc};

pub(super) mod coding;
mod events;
mod form;

/// A body as far as it can be looked into.
#[derive(Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// One value; for lines of JSON, events and streamed messages the array of them.
    Json(Node<'a>),
    /// The array of the lines; with the reason, where it should have been something else.
    Text(Node<'a>, Option<Unread>),
    /// Nothing known; with the reason, where it should have been something else.
    Bytes(Option<Unread>),
}

impl Content<'_> {
    /// Why it is not what it should be.
    pub(super) fn why(&self) -> Option<Unread> {
        match self {
            Self::Json(_) => None,
            Self::Text(_, why) | Self::Bytes(why) => *why,
        }
    }
}

/// Why a body is not looked into as what it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// A content coding that is unknown, or not what the body is.
    Coding,
    /// Undoing its coding takes too much memory.
    TooLarge,
    /// No UTF-8.
    NotUtf8,
    /// No JSON.
    NotJson,
    /// JSON that nests too deep.
    TooDeep,
    /// No gRPC messages.
    Frames,
    /// A gRPC message that is not of its type.
    Message,
    /// Only its beginning was kept.
    Truncated,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coding => "coding",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::Frames => "grpc_frames",
            Self::Message => "grpc_message",
            Self::Truncated => "truncated",
        })
    }
}

/// A body's bytes, made readable.
#[derive(Debug)]
pub(super) struct Readable<'a> {
    bytes: Cow<'a, [u8]>,
    form: Form,
}

/// What a body says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    JsonLines,
    Events,
    Fields,
    Lines,
    Bytes,
}

impl<'a> Readable<'a> {
    /// Undoes the coding; messages of gRPC become JSON. `target` says of which call.
    pub(super) fn of(answer: &'a Answer, target: &str, rules: &Rules) -> Result<Self, Unread> {
        let codings = answer.header("content-encoding").unwrap_or_default();
        let bytes = coding::undone(codings, &answer.body)?;
        let kind = answer.header("content-type").unwrap_or_default();
        if grpc::is_grpc(kind) && !bytes.is_empty() {
            let text = grpc::messages(answer, &bytes, target, rules.descriptors())?;
            return Ok(Self {
                bytes: Cow::Owned(text.into_bytes()),
                form: Form::Json,
            });
        }
        Ok(Self {
            form: form_of(kind, &bytes),
            bytes,
        })
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Looks into it.
    pub(super) fn content(&self) -> Content<'_> {
        if self.form == Form::Bytes {
            return Content::Bytes(None);
        }
        let Ok(text) = std::str::from_utf8(&self.bytes) else {
            return Content::Bytes(Some(Unread::NotUtf8));
        };
        match self.form {
            Form::Json => match json::read(text) {
                Ok(node) => Content::Json(node),
                Err(why) => Content::Text(lines_of(text), Some(why)),
            },
            Form::JsonLines => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                match lines.map(json::read).collect() {
                    Ok(lines) => Content::Json(Node::List(lines)),
                    Err(why) => Content::Text(lines_of(text), Some(why)),
                }
            }
            Form::Events => Content::Json(events::read(text)),
            Form::Fields => Content::Json(form::read(text)),
            Form::Lines | Form::Bytes => Content::Text(lines_of(text), None),
        }
    }
}

/// A content type without its parameters, in lower case.
pub(super) fn media_type(content_type: &[u8]) -> Vec<u8> {
    let mut parts = content_type.split(|byte| *byte == b';');
    let kind = parts.next().unwrap_or_default();
    kind.trim_ascii().to_ascii_lowercase()
}

/// By the content type, or without one by the first byte.
fn form_of(kind: &[u8], body: &[u8]) -> Form {
    match media_type(kind).as_slice() {
        b"application/json" | b"text/json" => Form::Json,
        b"application/x-ndjson"
        | b"application/ndjson"
        | b"application/jsonl"
        | b"application/x-jsonlines" => Form::JsonLines,
        b"text/event-stream" => Form::Events,
        b"application/x-www-form-urlencoded" => Form::Fields,
        b"" if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) => Form::Json,
        other if other.ends_with(b"+json") => Form::Json,
        other
            if other.starts_with(b"text/")
                || other.ends_with(b"+xml")
                || other.ends_with(b"/xml")
                || other.ends_with(b"/javascript") =>
        {
            Form::Lines
        }
        _ => Form::Bytes,
    }
}

/// What stands for a body that is not looked into.
pub(super) fn summary(answer: &Answer) -> Value {
    let kind = answer.header("content-type");
    let kind = kind.map(|kind| json::cut(&String::from_utf8_lossy(kind)));
    let mut summary = json!({ "type": kind, "bytes": answer.length, "sha256": answer.sha256() });
    if let (Some(fields), Some(rest)) = (summary.as_object_mut(), answer.rest) {
        fields.insert("rest_xxh3".to_owned(), format!("{rest:016x}").into());
    }
    summary
}

fn lines_of(text: &str) -> Node<'_> {
    Node::List(
        text.lines()
            .map(|line| Node::Text(Cow::Borrowed(line)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, compare};
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn typed(kind: &str, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        Answer {
            status: 200,
            headers: vec![("content-type".to_owned(), kind.as_bytes().to_owned())],
            length: body.len() as u64,
            body,
            ..Answer::default()
        }
    }

    fn told(primary: &Answer, candidate: &Answer) -> Vec<String> {
        let found = compare("/", primary, candidate, &Rules::default());
        let told = found.iter();
        told.map(|difference| format!("{} {}", difference.kind, difference.template))
            .collect()
    }

    #[test]
    fn every_kind_of_body_is_compared_by_its_parts() {
        for (kind, primary, candidate, expected) in [
            (
                "application/problem+json; charset=utf-8",
                "{\"a\":1}",
                "{\"a\":2}",
                "value $.a",
            ),
            (
                "application/x-ndjson",
                "{\"a\":1}\n{\"a\":2}",
                "{\"a\":1}\n{}\n",
                "missing $[*].a",
            ),
            (
                "text/event-stream",
                "data: {\"a\":1}\n\n",
                "data: {\"a\":2}\n\n",
                "value $[*].data.a",
            ),
            (
                "text/event-stream",
                "event: a\n\n",
                "event: a\n\nevent: b\n\n",
                "extra $[*]",
            ),
            (
                "application/x-www-form-urlencoded",
                "a=1&b=2",
                "b=2&a=3",
                "value $.a",
            ),
            ("text/html", "<p>\n<b>", "<p>\n<i>", "value text[*]"),
            ("image/svg+xml", "<a/>", "<b/>", "value text[*]"),
            ("image/png", "a", "b", "value body"),
            ("", "[1]", "[2]", "value $[*]"),
            ("", "a", "b", "value body"),
        ] {
            let said = told(&typed(kind, primary), &typed(kind, candidate));
            assert_eq!(said.first().map(String::as_str), Some(expected), "{kind}");
            assert!(told(&typed(kind, primary), &typed(kind, primary)).is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_reason() {
        let json = |body: &'static [u8]| typed("application/json", body);
        let coded = |coding: &str, body: &'static [u8]| {
            let mut answer = json(body);
            let header = ("content-encoding".to_owned(), coding.as_bytes().to_owned());
            answer.headers.push(header);
            answer
        };
        let deep = typed("application/json", "[".repeat(200) + &"]".repeat(200));
        for (primary, candidate, expected) in [
            (json(b"{}"), json(b"<html>"), "type body:not_json"),
            (json(b"{}"), json(b"\xff\xfe"), "type body:not_utf8"),
            (json(b"\xff"), json(b"\xfe"), "value body:not_utf8"),
            (json(b"{}"), deep, "type body:too_deep"),
            (json(b"{}"), coded("gzip", b"{}"), "type body:coding"),
            (
                coded("gzip", b"{}"),
                coded("gzip", b"[]"),
                "value body:coding",
            ),
            (
                coded("x-own", b"a"),
                coded("x-own", b"b"),
                "value body:coding",
            ),
            (json(b"{}"), typed("image/png", "{}x"), "type body"),
            (json(b"{}"), typed("text/html", "<p>"), "type body"),
            (
                json(b"{}"),
                typed("application/grpc", "{}x"),
                "type body:grpc_frames",
            ),
        ] {
            let said = told(&primary, &candidate);
            assert_eq!(said.last().map(String::as_str), Some(expected));
            let found = compare("/", &primary, &candidate, &Rules::default());
            let body = found.last().unwrap();
            assert_eq!(body.candidate.as_ref().unwrap()["bytes"], candidate.length);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            kind in 0..7_usize, coding in 0..5_usize,
            primary in prop::collection::vec(any::<u8>(), 0..60), candidate in prop::collection::vec(any::<u8>(), 0..60)
        ) {
            let kinds = ["application/json", "application/x-ndjson", "text/event-stream", "application/grpc",
                "application/x-www-form-urlencoded", "text/plain", ""];
            let codings = ["", "gzip", "deflate", "br", "zstd"];
            let answer = |body: &[u8]| {
                let mut answer = typed(kinds[kind], body.to_vec());
                answer.headers.push(("content-encoding".to_owned(), codings[coding].into()));
                answer
            };
            let found = compare("/a.B/C", &answer(&primary), &answer(&candidate), &Rules::default());
            prop_assert!(found.iter().all(|difference| difference.kind != Kind::Shape));
            prop_assert!(compare("/", &answer(&primary), &answer(&primary), &Rules::default()).is_empty());
        }
    }
}
