//! A message of Protocol Buffers without its type: fields by number (`f1`), as the wire shows them.

use serde_json::{Map, Value, json};

use crate::shadow::sha256;

/// Messages in messages are read as such up to this depth; deeper ones are bytes.
const MAX_DEPTH: usize = 32;

/// The fields of a message. A field that repeats is an array; one that is delimited is a text if it is printable UTF-8, else
/// a message if it reads as one, else bytes: length and hash. What is no message at all is bytes too.
pub(super) fn read(bytes: &[u8]) -> Value {
    message(bytes, 0).map_or_else(|| summary(bytes), Value::Object)
}

fn message(mut bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let value = match tag & 7 {
            0 => Value::from(varint(&mut bytes)?),
            1 => json!(u64::from_le_bytes(*fixed(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                delimited(value, depth)
            }
            5 => json!(u32::from_le_bytes(*fixed(&mut bytes)?)),
            // Groups: gone since proto3.
            _ => return None,
        };
        let name = format!("f{number}");
        match fields.get_mut(&name) {
            None => {
                fields.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Some(fields)
}

fn delimited(bytes: &[u8], depth: usize) -> Value {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text
            .chars()
            .any(|char| char.is_control() && !matches!(char, '\n' | '\r' | '\t'))
        && !text.starts_with(['\n', '\r', '\t'])
    {
        return Value::from(text);
    }
    let inner = (depth < MAX_DEPTH)
        .then(|| message(bytes, depth + 1))
        .flatten();
    inner.map_or_else(|| summary(bytes), Value::Object)
}

fn summary(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "sha256": sha256(bytes) })
}

fn fixed<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (value, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(value)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_by_its_numbers() {
        // 1: "oak", 2: 300, 3: { 1: 7 }, 4: fixed32 5, 2: 1, 6: two bytes that are neither.
        let bytes =
            b"\x0a\x03oak\x10\xac\x02\x1a\x02\x08\x07\x25\x05\x00\x00\x00\x10\x01\x32\x02\xff\xff";
        let read = read(bytes);
        assert_eq!(read["f1"], "oak");
        assert_eq!(read["f2"], json!([300, 1]));
        assert_eq!(read["f3"], json!({ "f1": 7 }));
        assert_eq!(read["f4"], 5);
        assert_eq!(read["f6"]["bytes"], 2);
    }

    #[test]
    fn what_is_no_message_is_bytes() {
        for bytes in [
            &b"\x0a\x09oak"[..],
            b"\x07",
            b"\x00\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ] {
            assert_eq!(read(bytes)["bytes"], bytes.len(), "{bytes:?}");
        }
        assert_eq!(read(b""), json!({}));
    }

    #[test]
    fn nesting_is_bounded() {
        // Each level: field 1, delimited.
        let mut bytes = vec![0xff; 2];
        for _ in 0..5_000 {
            let mut outer = vec![0x0a];
            let mut length = bytes.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend_from_slice(&bytes);
            bytes = outer;
        }
        let mut value = &read(&bytes);
        let mut depth = 0;
        while let Some(inner) = value.get("f1") {
            value = inner;
            depth += 1;
        }
        assert_eq!(depth, MAX_DEPTH + 1);
        assert!(value["bytes"].as_u64().unwrap() > 1_000);
    }
}
