//! Format strings in JSON: a tree whose texts are formats. A text that is one operator and nothing else keeps its type.

use std::borrow::Cow;

use super::{Format, Invalid, Part, Source, Written, field::Message, field::Name};

/// A tree of formats.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// Fields, in the order in which they are written.
    Object(Vec<(String, Json)>),
    /// Items.
    List(Vec<Json>),
    /// A text with operators.
    Text(Format),
    /// Always the same.
    Constant(serde_json::Value),
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Numbers are numbers, and a value that there is not is null; else they are texts.
    pub typed: bool,
    /// A value that there is not is left out, with its name.
    pub omit_empty: bool,
}

impl Json {
    /// Compiles a tree of texts.
    pub fn compile(tree: &serde_json::Value) -> Result<Self, Invalid> {
        Ok(match tree {
            serde_json::Value::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::compile(value)?)))
                    .collect::<Result<_, Invalid>>()?,
            ),
            serde_json::Value::Array(items) => {
                Self::List(items.iter().map(Self::compile).collect::<Result<_, _>>()?)
            }
            serde_json::Value::String(text) => {
                let format = Format::compile(text)?;
                match format.as_literal() {
                    Some(text) => Self::Constant(text.into()),
                    None => Self::Text(format),
                }
            }
            other => Self::Constant(other.clone()),
        })
    }

    /// Appends the line, with its end.
    pub fn render(&self, source: &dyn Source, style: Style, out: &mut Vec<u8>) {
        if !self.write(source, style, out) {
            out.extend_from_slice(b"{}");
        }
        out.push(b'\n');
    }

    /// The headers that it looks at.
    pub fn headers(&self) -> Vec<(Message, Name)> {
        match self {
            Self::Object(fields) => fields.iter().flat_map(|(_, it)| it.headers()).collect(),
            Self::List(items) => items.iter().flat_map(Self::headers).collect(),
            Self::Text(format) => format.headers().collect(),
            Self::Constant(_) => Vec::new(),
        }
    }

    /// Whether there was a value; without one nothing was appended.
    fn write(&self, source: &dyn Source, style: Style, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Object(fields) => {
                out.push(b'{');
                let mut first = true;
                for (name, value) in fields {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    text(name.as_bytes(), out);
                    out.push(b':');
                    if value.write(source, style, out) {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
            }
            Self::List(items) => {
                out.push(b'[');
                let mut first = true;
                for value in items {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    if value.write(source, style, out) {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b']');
            }
            Self::Text(format) => return leaf(format, source, style, out),
            Self::Constant(value) if value.is_null() && style.omit_empty => return false,
            Self::Constant(value) => out.extend_from_slice(value.to_string().as_bytes()),
        }
        true
    }
}

fn leaf(format: &Format, source: &dyn Source, style: Style, out: &mut Vec<u8>) -> bool {
    let mut value = Vec::new();
    if let [Part::Value(operator)] = format.parts() {
        match operator.write(source, &mut value) {
            Written::Unset if style.omit_empty => return false,
            Written::Unset if style.typed => {
                out.extend_from_slice(b"null");
                return true;
            }
            Written::Unset => value.push(b'-'),
            Written::Number if style.typed => {
                out.extend_from_slice(&value);
                return true;
            }
            Written::Number | Written::Text => {}
        }
    } else {
        let unset = if style.omit_empty { "" } else { "-" };
        format.render(source, unset, &mut value);
    }
    text(&value, out);
    true
}

/// A text in quotes; of what is not UTF-8, each byte beyond ASCII is the character of its number, as in Envoy.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    let text: Cow<'_, str> = match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, &text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::Made, *};

    fn rendered(tree: &serde_json::Value, style: Style) -> String {
        let mut out = Vec::new();
        Json::compile(tree).unwrap().render(&Made, style, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bytes_beyond_ascii_are_characters() {
        let mut out = Vec::new();
        text(b"caf\xe9", &mut out);
        assert_eq!(out, "\"caf\u{e9}\"".as_bytes());
    }

    #[test]
    fn a_single_operator_keeps_its_type() {
        let tree = json!({
            "code": "%RESPONSE_CODE%",
            "text": "n=%RESPONSE_CODE% %UPSTREAM_HOST%",
            "none": "%UPSTREAM_HOST%",
            "constant": "a\"b",
            "number": 1.5,
            "yes": true,
            "nested": {"host": "%REQ(:AUTHORITY)%", "none": "%REQ(x-none)%"},
            "list": ["%DURATION%", "%REQ(x-none)%", "%PROTOCOL%"],
        });
        let typed = Style {
            typed: true,
            omit_empty: false,
        };
        assert_eq!(
            rendered(&tree, typed),
            "{\"code\":204,\"text\":\"n=204 -\",\"none\":null,\"constant\":\"a\\\"b\",\"number\":1.5,\"yes\":true,\
             \"nested\":{\"host\":\"shop.test\",\"none\":null},\"list\":[25,null,\"HTTP/1.1\"]}\n"
        );
        let omitting = Style {
            omit_empty: true,
            ..typed
        };
        assert_eq!(
            rendered(&tree, omitting),
            "{\"code\":204,\"text\":\"n=204 \",\"constant\":\"a\\\"b\",\"number\":1.5,\"yes\":true,\
             \"nested\":{\"host\":\"shop.test\"},\"list\":[25,\"HTTP/1.1\"]}\n"
        );
        let nothing = json!({"none": null, "one": 1});
        assert_eq!(rendered(&nothing, omitting), "{\"one\":1}\n");
        let texts = Style {
            typed: false,
            omit_empty: false,
        };
        assert_eq!(
            rendered(
                &json!({"code": "%RESPONSE_CODE%", "none": "%UPSTREAM_HOST%"}),
                texts
            ),
            "{\"code\":\"204\",\"none\":\"-\"}\n"
        );
    }

    #[test]
    fn an_unknown_operator_is_told() {
        let error = Json::compile(&json!({"a": ["%NOPE%"]})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no operator `%NOPE%` (at position 0)"
        );
    }
}
