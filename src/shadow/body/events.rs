//! Server-sent events (WHATWG HTML §9.2), as a list of objects.

use std::borrow::Cow;

use super::super::json::{self, Node};

/// The events of a stream: `event` and `id` as they stand, `data` as JSON where it is an object or an array, else as text.
/// Comments and `retry` are no events. What follows the last blank line never was one either, but it is compared: it is
/// what a cut stream ends with.
pub(super) fn read(text: &str) -> Node<'_> {
    let mut events = Vec::new();
    let mut event = Event::default();
    // A byte order mark is no part of it.
    for line in lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        if line.is_empty() {
            events.extend(std::mem::take(&mut event).node());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = Some(value),
            "id" => event.id = Some(value),
            "data" => {
                event.data = Some(match event.data.take() {
                    None => Cow::Borrowed(value),
                    Some(data) => Cow::Owned(format!("{data}\n{value}")),
                });
            }
            _ => {}
        }
    }
    events.extend(event.node());
    Node::List(events)
}

#[derive(Default)]
struct Event<'a> {
    name: Option<&'a str>,
    id: Option<&'a str>,
    data: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    fn node(self) -> Option<Node<'a>> {
        let text = |text: &'a str| Node::Text(Cow::Borrowed(text));
        let data = self.data.map(|data| match data {
            Cow::Borrowed(data) => structure(data).unwrap_or(Node::Text(Cow::Borrowed(data))),
            // What came in several lines is its own text, from which nothing can be borrowed.
            Cow::Owned(data) => match structure(&data) {
                Some(node) => node.into_owned(),
                None => Node::Text(Cow::Owned(data)),
            },
        });
        let fields = [
            ("event", self.name.map(text)),
            ("id", self.id.map(text)),
            ("data", data),
        ];
        let fields: Vec<_> = fields
            .into_iter()
            .filter_map(|(name, value)| Some((Cow::Borrowed(name), value?)))
            .collect();
        (!fields.is_empty()).then_some(Node::Map(fields))
    }
}

fn structure(data: &str) -> Option<Node<'_>> {
    data.trim_start()
        .starts_with(['{', '['])
        .then(|| json::parse(data))?
}

/// Lines that end in CR LF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = |byte: char| byte == '\n' || byte == '\r';
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.is_empty())?;
        let Some(at) = text.find(ends) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at(at);
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_read_as_browsers_do() {
        let stream = ": hello\nevent: price\ndata: {\"eur\": 5}\nid: 1\n\n\
                      data: one\r\ndata:two\r\rretry: 5\n\ndata\n\ndata: {\ndata: \"a\": 1}\n\ndata: cut";
        let expected = json!([
            { "event": "price", "id": "1", "data": { "eur": 5 } },
            { "data": "one\ntwo" },
            { "data": "" },
            { "data": { "a": 1 } },
            { "data": "cut" },
        ]);
        assert_eq!(read(stream).shown(), expected);
        assert_eq!(read(""), Node::List(Vec::new()));
    }
}
