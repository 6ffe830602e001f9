//! Compares the answers of a primary and a shadow. Pure: no sockets, no clocks.
//!
//! [`compare`] takes two [`Answer`]s and the [`Rules`] of a scenario's `diff:` section and says how they differ, a
//! [`Difference`] a place. Counted over a run, per endpoint, field and kind, beside those of the control, [`judge`]
//! tells what is material from what the baseline does to itself.
//!
//! ```text
//! primary ──┐
//!           ├─ compare ─► differences ─┐
//! candidate ┘                          ├─ counted ─► judge: material | noise | ignored
//! primary ──┐                          │
//!           ├─ compare ─► differences ─┘
//! control ──┘
//! ```

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use meshbed_proxy::observe;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

mod array;
mod body;
mod diff;
mod format;
mod grpc;
mod json;
mod lines;
mod noise;
mod path;
mod redact;
mod rules;
mod shape;
mod shift;
mod sift;
mod template;
mod walk;

pub use diff::{MAX_DIFFERENCES, compare};
pub use format::{Format, Forms};
pub use grpc::Descriptors;
pub use lines::narrow;
pub use noise::{Class, Counted, MIN_STRUCTURAL, Noise, Verdict, judge};
pub use path::{InvalidPath, Pattern};
pub use redact::{REDACTED, Redaction};
pub use rules::{Arrays, DEFAULT_HEADERS, Ignore, Problem, Rules, Settings, Tolerance};
pub use shape::{Measure, Shape};
pub use shift::{Shift, Sizes, Trend, is_noise_only, judge_shifts, shift};
pub use template::{Endpoint, InvalidEndpoint};

/// An answer as far as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The final status.
    pub status: u16,
    /// Header names in lower case, in the order of arrival; a name may repeat.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Fields after the body, names in lower case.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// The body's first bytes, as they came, content coding included.
    pub body: Bytes,
    /// Length of the whole body.
    pub length: u64,
    /// A hash of what of the body was not kept, where it is known.
    pub rest: Option<u64>,
}

impl Answer {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    /// Whether only the beginning of the body was kept.
    pub fn is_truncated(&self) -> bool {
        self.length > self.body.len() as u64
    }

    /// SHA-256 of the body as far as it was kept, in hex.
    pub fn sha256(&self) -> String {
        sha256(&self.body)
    }
}

/// SHA-256, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Two digests for every answer that is compared: no formatting.
    let digit = |nibble: u8| {
        DIGITS
            .get(usize::from(nibble))
            .map_or('0', |digit| char::from(*digit))
    };
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hex.push(digit(byte >> 4));
        hex.push(digit(byte & 15));
    }
    hex
}

impl From<&observe::Answer> for Answer {
    fn from(answer: &observe::Answer) -> Self {
        let fields = |map: &HeaderMap| {
            let fields = map.iter();
            fields
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()))
                .collect()
        };
        Self {
            status: answer.status.as_u16(),
            headers: fields(&answer.headers),
            trailers: answer.trailers.as_deref().map_or_else(Vec::new, fields),
            body: answer.body.clone(),
            length: answer.length,
            rest: answer.rest,
        }
    }
}

/// How two answers differ at one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The candidate lacks it.
    Missing,
    /// Only the candidate has it.
    Extra,
    /// Of another JSON type, or JSON on one side only.
    Type,
    /// Another value of the same type.
    Value,
    /// The same elements in another order.
    Order,
    /// Another status. Nothing else of such a pair is compared.
    Status,
    /// Another header, or one that only one side has.
    Header,
    /// Values that differ and have another form too: [`Shape::same`]. It is counted where a control's values differ as
    /// well, so that it is only their form that can be compared.
    Shape,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Extra,
        Self::Type,
        Self::Value,
        Self::Order,
        Self::Status,
        Self::Header,
        Self::Shape,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Value => "value",
            Self::Order => "order",
            Self::Status => "status",
            Self::Header => "header",
            Self::Shape => "shape",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether clients break on it: another status, another type, a missing field.
    pub fn is_structural(self) -> bool {
        matches!(self, Self::Status | Self::Type | Self::Missing)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One difference of a pair of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where: `$.items[3].tax` in JSON, forms, events and messages (an index is the primary's, or the candidate's for what
    /// only that has), `text[4]` in lines of text, `body`, `body:REASON` where it cannot be read, `status`, `grpc-status`,
    /// `header:NAME`, `trailer:NAME`.
    pub path: String,
    /// The path without what varies from answer to answer: `$.items[*].tax`.
    pub template: String,
    /// How.
    pub kind: Kind,
    /// What the primary has; long values are cut. Bytes show as their length and hash.
    pub primary: Option<Value>,
    /// What the shadow has.
    pub candidate: Option<Value>,
    /// Of two texts or two numbers, what they have in common.
    pub shape: Option<Shape>,
    /// The rule that ignores it, in words; `None` if it counts.
    pub ignored_by: Option<String>,
}
