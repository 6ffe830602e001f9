//! The query of an admin path.

use std::collections::BTreeMap;

use regex::Regex;

use crate::metrics::report::{Kind, Selection};

/// Parameters by name, decoded; the first of a name counts.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads what stands after `?`.
    pub(super) fn read(text: &str) -> Self {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.0.entry(decode(name)).or_insert_with(|| decode(value));
        }
        query
    }

    /// Whether it is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A regular expression; the error is Envoy's.
    pub(super) fn regex(&self, name: &str) -> Result<Option<Regex>, String> {
        self.get(name)
            .filter(|text| !text.is_empty())
            .map(Regex::new)
            .transpose()
            .map_err(|error| format!("Invalid re2 regex: {error}\n"))
    }

    /// Which numbers `/stats` tells.
    pub(super) fn selection(&self) -> Result<Selection, String> {
        let kind = match self.get("type") {
            None | Some("All") => None,
            Some("Counters") => Some(Kind::Counter),
            Some("Gauges") => Some(Kind::Gauge),
            Some("Histograms") => Some(Kind::Histogram),
            Some(_) => {
                return Err(
                    "invalid &type= param; use All, Counters, Gauges or Histograms\n".to_owned(),
                );
            }
        };
        Ok(Selection {
            used_only: self.has("usedonly"),
            filter: self.regex("filter")?,
            inverted: self.has("invert_filter"),
            kind,
        })
    }
}

/// Percent-decoding; what is not `%` and two digits stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let nibble = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if let (b'%', Some((high, low))) = (byte, nibble(at + 1).zip(nibble(at + 2))) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_counts() {
        let query = Query::read("usedonly&filter=a%2Eb%5E%zz&filter=c&x=");
        assert!(query.has("usedonly") && query.has("x") && !query.has("y"));
        assert_eq!(query.get("filter"), Some("a.b^%zz"));
    }

    #[test]
    fn what_cannot_be_selected_is_told() {
        for (text, expected) in [
            ("filter=(", "Invalid re2 regex"),
            ("type=Some", "invalid &type= param"),
        ] {
            let error = Query::read(text).selection().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
