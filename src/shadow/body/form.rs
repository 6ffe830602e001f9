//! Forms (`application/x-www-form-urlencoded`, WHATWG URL §5.1), as an object of texts.

use std::borrow::Cow;

use super::super::json::Node;

/// The fields of a form; the values of a name that repeats are a list.
pub(super) fn read(text: &str) -> Node<'_> {
    let mut fields: Vec<(Cow<'_, str>, Node<'_>)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.push((decoded(name), Node::Text(decoded(value))));
    }
    // Stable, so that the values of one name keep their order.
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut grouped: Vec<(Cow<'_, str>, Node<'_>)> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        match grouped.last_mut().filter(|(last, _)| *last == name) {
            None => grouped.push((name, value)),
            Some((_, Node::List(values))) => values.push(value),
            Some((_, only)) => {
                let first = std::mem::replace(only, Node::Null);
                *only = Node::List(vec![first, value]);
            }
        }
    }
    Node::Map(grouped)
}

/// `+` is a blank, `%41` a byte; what is no byte stays as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let coded = (first == b'%').then(|| after.first_chunk::<2>()).flatten();
        if let Some(byte) = coded.and_then(|digits| hex(*digits)) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? * 16 + low?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_are_read() {
        let form = "name=J%C3%BCrgen+O&tag=a&city=&tag=b%2&flag&&tag=%zz";
        let expected =
            json!({ "city": "", "flag": "", "name": "Jürgen O", "tag": ["a", "b%2", "%zz"] });
        assert_eq!(read(form).shown(), expected);
        assert_eq!(read(""), Node::Map(Vec::new()));
    }
}
