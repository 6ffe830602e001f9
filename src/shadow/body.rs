//! What a body is: its content coding undone, its content type read.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde_json::{Value, json};

use super::Answer;
use super::json::{self, Node};

/// The most that a compressed body may become. Larger ones are compared by hash: a small one can hold gigabytes.
const MAX_DECODED: u64 = 4 << 20;

/// A body as far as it can be looked into.
#[derive(Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// One value, or for lines of JSON the array of them.
    Json(Node<'a>),
    /// The array of the lines.
    Text(Node<'a>),
    /// Nothing known.
    Bytes,
}

/// The body with its content coding undone; `None` if it cannot be.
pub(super) fn decoded(answer: &Answer) -> Option<Cow<'_, [u8]>> {
    let coding = answer
        .header("content-encoding")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let body = answer.body.as_ref();
    match coding.as_slice() {
        b"" | b"identity" => Some(Cow::Borrowed(body)),
        b"gzip" | b"x-gzip" => read(MultiGzDecoder::new(body)),
        b"deflate" => read(ZlibDecoder::new(body)),
        b"zstd" => read(zstd::Decoder::new(body).ok()?),
        _ => None,
    }
}

/// Looks into a decoded body, by the content type, or without one by the first byte.
pub(super) fn content<'a>(answer: &Answer, body: &'a [u8]) -> Content<'a> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Content::Bytes;
    };
    let kind = String::from_utf8_lossy(answer.header("content-type").unwrap_or_default());
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let by_lines = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
    ];
    if by_lines.contains(&kind.as_str()) {
        let lines: Option<Vec<_>> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(json::parse)
            .collect();
        return lines.map_or_else(|| lines_of(text), |lines| Content::Json(Node::List(lines)));
    }
    let untyped = kind.is_empty() && text.trim_start().starts_with(['{', '[']);
    if kind == "application/json" || kind.ends_with("+json") || kind == "text/json" || untyped {
        return json::parse(text).map_or_else(|| lines_of(text), Content::Json);
    }
    let is_text = kind.starts_with("text/") || kind.ends_with("+xml") || kind.ends_with("/xml");
    if is_text || kind.ends_with("/javascript") || kind == "application/x-www-form-urlencoded" {
        return lines_of(text);
    }
    Content::Bytes
}

/// What stands for a body that is not looked into.
pub(super) fn summary(answer: &Answer) -> Value {
    json!({ "bytes": answer.length, "sha256": answer.sha256() })
}

fn lines_of(text: &str) -> Content<'_> {
    Content::Text(Node::List(
        text.lines()
            .map(|line| Node::Text(Cow::Borrowed(line)))
            .collect(),
    ))
}

fn read(decoder: impl Read) -> Option<Cow<'static, [u8]>> {
    let mut body = Vec::new();
    let length = decoder.take(MAX_DECODED + 1).read_to_end(&mut body).ok()?;
    (length as u64 <= MAX_DECODED).then_some(Cow::Owned(body))
}
