//! What becomes of the answers that the proxy gives itself.

use super::access_log::{Filter, Line};
use crate::policy::headers::Addition;

/// Rules for our own answers; the default leaves them as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalReplies {
    /// The first whose filter passes is followed.
    pub mappers: Vec<Mapper>,
    /// How the body is written where the rule does not say.
    pub format: Option<BodyFormat>,
}

/// A rule for some answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapper {
    /// Which.
    pub filter: Filter,
    /// Another status.
    pub status: Option<u16>,
    /// Another body.
    pub body: Option<String>,
    /// How the body is written.
    pub format: Option<BodyFormat>,
    /// Headers that are added.
    pub add: Vec<Addition>,
}

/// How a body is written.
#[derive(Debug, Clone, PartialEq)]
pub struct BodyFormat {
    /// The text; `%LOCAL_REPLY_BODY%` is the body as it was.
    pub line: Line,
    /// Its type.
    pub content_type: String,
}

impl LocalReplies {
    /// They leave all answers as they are.
    pub fn is_empty(&self) -> bool {
        self.mappers.is_empty() && self.format.is_none()
    }
}
