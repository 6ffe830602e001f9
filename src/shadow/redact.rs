//! Keeps secrets out of examples.

use serde_json::Value;

use super::path::Step;
use super::{Difference, InvalidPath, Pattern};

/// What stands in place of a redacted value.
pub const REDACTED: &str = "[redacted]";

/// What a scenario's `report.redact` names: headers by name, JSON by path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Redaction {
    headers: Vec<String>,
    paths: Vec<Pattern>,
}

impl Redaction {
    /// Reads the list: what begins with `$` is a path, anything else a header's name.
    pub fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, InvalidPath> {
        let mut redaction = Self::default();
        for name in names.iter().map(AsRef::as_ref) {
            if name.starts_with('$') {
                redaction.paths.push(Pattern::parse(name)?);
            } else {
                redaction.headers.push(name.to_ascii_lowercase());
            }
        }
        Ok(redaction)
    }

    /// Whether a header's value must not be shown.
    pub fn hides_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|hidden| hidden.eq_ignore_ascii_case(name))
    }

    /// Takes the values out of an example that must not be shown. Paths stay: they say where the difference is.
    pub fn apply(&self, difference: &mut Difference) {
        let (place, name) = difference.path.split_once(':').unwrap_or_default();
        let is_field = matches!(place, "header" | "trailer");
        // What should have been JSON and is compared as text has no paths by which it could be told what to hide.
        let of_json = difference.path.starts_with("text[")
            && !self.paths.is_empty()
            && is_like_json(difference);
        if of_json || (is_field && self.hides_header(name)) {
            for side in [&mut difference.primary, &mut difference.candidate]
                .into_iter()
                .flatten()
            {
                *side = Value::from(REDACTED);
            }
        }
        // A difference's own path is a path like any other, but names in it may need quoting: read it back.
        let Ok(place) = Pattern::parse(&difference.path) else {
            return;
        };
        let Some(trail) = place.trail() else { return };
        for side in [&mut difference.primary, &mut difference.candidate]
            .into_iter()
            .flatten()
        {
            self.hide(side, &mut trail.clone());
        }
        // A number's size is the number.
        if let Some(shape) = &mut difference.shape
            && self.covers(&trail)
        {
            shape.sizes = None;
        }
    }

    /// A JSON body without the values that must not be shown; `None`: it has none, or is no JSON.
    pub fn body(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.paths.is_empty() {
            return None;
        }
        let whole: Value = serde_json::from_slice(body).ok()?;
        let mut shown = whole.clone();
        self.hide(&mut shown, &mut Vec::new());
        (shown != whole).then(|| shown.to_string().into_bytes())
    }

    /// Whether a body that is not whole may hold what must not be shown.
    pub fn hides_in_bodies(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Whether what is here must not be shown. In bodies that are lists of documents (lines of JSON, messages, events with
    /// `data`) the paths hold for each of them too.
    fn covers(&self, trail: &[Step<'_>]) -> bool {
        let within = match trail {
            [Step::Index(_), Step::Key("data"), rest @ ..] => {
                [trail.get(1..).unwrap_or_default(), rest]
            }
            [Step::Index(_), rest @ ..] => [rest, rest],
            _ => [trail, trail],
        };
        let mut trails = [trail].into_iter().chain(within);
        trails.any(|trail| self.paths.iter().any(|path| path.covers(trail)))
    }

    /// Hides what the paths cover in a JSON document or a part of one that lies at `trail`.
    fn hide(&self, value: &mut Value, trail: &mut Vec<Step<'_>>) {
        if self.covers(trail) {
            *value = Value::from(REDACTED);
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    // The name lives only as long as this turn, the trail outlives it.
                    let mut below: Vec<Step<'_>> = trail.clone();
                    below.push(Step::Key(name));
                    self.hide(value, &mut below);
                }
            }
            Value::Array(elements) => {
                for (place, value) in elements.iter_mut().enumerate() {
                    trail.push(Step::Index(place));
                    self.hide(value, trail);
                    trail.pop();
                }
            }
            _ => {}
        }
    }
}

fn is_like_json(difference: &Difference) -> bool {
    let sides = [&difference.primary, &difference.candidate];
    let mut texts = sides.into_iter().flatten().filter_map(Value::as_str);
    texts.any(|text| text.contains("\":") || text.contains("\" :"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::Kind;
    use serde_json::json;

    fn difference(path: &str, value: Value) -> Difference {
        Difference {
            path: path.into(),
            template: path.into(),
            kind: Kind::Value,
            primary: Some(value.clone()),
            candidate: Some(value),
            shape: None,
            ignored_by: None,
        }
    }

    #[test]
    fn values_at_and_below_a_path_are_hidden() {
        let redaction = Redaction::parse(&["authorization", "$.card", "$.users[*].name"]).unwrap();
        for (path, value, expected) in [
            ("$.card.number", json!("4111"), json!(REDACTED)),
            ("$.card", json!({ "number": "4111" }), json!(REDACTED)),
            ("$.total", json!(3), json!(3)),
            (
                "$.users[2]",
                json!({ "name": "Ann", "id": 1 }),
                json!({ "name": REDACTED, "id": 1 }),
            ),
            (
                "$",
                json!({ "card": 1, "users": [{ "name": "Ann" }] }),
                json!({ "card": REDACTED, "users": [{ "name": REDACTED }] }),
            ),
            ("header:authorization", json!("Bearer x"), json!(REDACTED)),
            ("header:location", json!("/x"), json!("/x")),
            ("trailer:authorization", json!("x"), json!(REDACTED)),
            ("$[2].card.number", json!("4111"), json!(REDACTED)),
            ("$[2].data.card", json!("4111"), json!(REDACTED)),
            (
                "$[2]",
                json!({ "card": 1, "id": 2 }),
                json!({ "card": REDACTED, "id": 2 }),
            ),
            ("$.data.card", json!("x"), json!("x")),
            ("text[3]", json!("{\"card\": \"4111\""), json!(REDACTED)),
            (
                "text[3]",
                json!("a line: of text"),
                json!("a line: of text"),
            ),
        ] {
            let mut example = difference(path, value);
            redaction.apply(&mut example);
            assert_eq!(
                (example.primary, example.candidate),
                (Some(expected.clone()), Some(expected)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_body_is_shown_without_its_secrets() {
        let redaction = Redaction::parse(&["cookie", "$.card.number"]).unwrap();
        let shown = |body: &str| {
            let shown = redaction.body(body.as_bytes());
            shown.map(|body| String::from_utf8(body).unwrap())
        };
        assert_eq!(
            shown(r#"{"qty":2,"card":{"number":"4111"}}"#).as_deref(),
            Some(r#"{"qty":2,"card":{"number":"[redacted]"}}"#)
        );
        assert_eq!(shown(r#"{"qty":2}"#), None, "as it is");
        assert_eq!(shown("qty=2"), None, "no JSON");
    }

    #[test]
    fn a_bad_path_is_refused() {
        assert!(Redaction::parse(&["$card"]).is_err());
    }
}
