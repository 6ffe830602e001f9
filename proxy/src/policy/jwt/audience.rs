//! Whom tokens are for.

use std::collections::BTreeSet;

/// Audiences that are taken; none: whatever a token says.
#[derive(Debug)]
pub(super) struct Audiences(BTreeSet<String>);

impl Audiences {
    pub(super) fn new(list: &[String]) -> Self {
        Self(list.iter().map(|it| bare(it).to_owned()).collect())
    }

    pub(super) fn allow(&self, said: &[String]) -> bool {
        self.0.is_empty() || said.iter().any(|it| self.0.contains(bare(it)))
    }
}

/// Without what Envoy does not compare: the scheme, and a slash at the end.
fn bare(text: &str) -> &str {
    let text = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text)
}
