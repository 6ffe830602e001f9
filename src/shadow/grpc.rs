//! Messages of gRPC, as JSON: with descriptors by the names of their fields, without by what the wire shows.
//!
//! A body is a run of frames: a byte that says whether the message is compressed, four of its length, the message
//! ([PROTOCOL-HTTP2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)). A call that answers with one message, by
//! its descriptor, is that message; else the array of them.

use std::borrow::Cow;
use std::fmt;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::Value;

use super::Answer;
use super::body::{Unread, coding, media_type};

mod wire;

/// Types of messages, as a file descriptor set holds them (`protoc --include_imports --descriptor_set_out`).
#[derive(Clone)]
pub struct Descriptors {
    pool: DescriptorPool,
    /// What they were read from.
    set: Vec<u8>,
}

impl Descriptors {
    /// Reads a file descriptor set; the error says what is wrong with it.
    pub fn read(set: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(set).map_err(|error| error.to_string())?;
        if pool.services().len() == 0 {
            return Err("it describes no service".to_owned());
        }
        Ok(Self {
            pool,
            set: set.to_vec(),
        })
    }

    /// The method of a call by its path: `/shop.Cart/Get`.
    fn method(&self, target: &str) -> Option<MethodDescriptor> {
        let path = target.split('?').next().unwrap_or_default();
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.pool.get_service_by_name(service)?;
        service.methods().find(|known| known.name() == method)
    }
}

impl PartialEq for Descriptors {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self
            .pool
            .services()
            .map(|service| service.full_name().to_owned());
        f.debug_list().entries(services).finish()
    }
}

/// Whether a content type is gRPC's over HTTP/2, with messages of Protocol Buffers.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    matches!(
        media_type(content_type).as_slice(),
        b"application/grpc" | b"application/grpc+proto"
    )
}

/// The messages of a body, as a text of JSON.
pub(super) fn messages(
    answer: &Answer,
    body: &[u8],
    target: &str,
    descriptors: Option<&Descriptors>,
) -> Result<String, Unread> {
    let codings = answer.header("grpc-encoding").unwrap_or_default();
    let method = descriptors.and_then(|descriptors| descriptors.method(target));
    let mut texts = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (message, after) = frame(rest, codings)?;
        texts.push(match &method {
            Some(method) => by_name(method, &message)?,
            None => wire::read(&message).to_string(),
        });
        rest = after;
    }
    let is_one = method.is_some_and(|method| !method.is_server_streaming());
    Ok(match texts.as_slice() {
        [only] if is_one => only.clone(),
        all => format!("[{}]", all.join(",")),
    })
}

fn frame<'a>(bytes: &'a [u8], codings: &[u8]) -> Result<(Cow<'a, [u8]>, &'a [u8]), Unread> {
    let ([compressed, length @ ..], rest) = bytes.split_first_chunk::<5>().ok_or(Unread::Frames)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (message, after) = rest.split_at_checked(length).ok_or(Unread::Frames)?;
    let message = match compressed {
        0 => Cow::Borrowed(message),
        1 => coding::undone(codings, message)?,
        _ => return Err(Unread::Frames),
    };
    Ok((message, after))
}

/// A message by its type: fields by the names of the `.proto` file, those without a value left out.
fn by_name(method: &MethodDescriptor, message: &[u8]) -> Result<String, Unread> {
    let message = DynamicMessage::decode(method.output(), message).map_err(|_| Unread::Message)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    message
        .serialize_with_options(&mut serializer, &options)
        .map_err(|_: serde_json::Error| Unread::Message)?;
    // Fields that this type does not know are compared by their numbers.
    let mut text = String::from_utf8(text).map_err(|_| Unread::Message)?;
    let unknown: Vec<u8> = message
        .unknown_fields()
        .fold(Vec::new(), |mut bytes, field| {
            field.encode(&mut bytes);
            bytes
        });
    if let Value::Object(fields) = wire::read(&unknown)
        && !fields.is_empty()
        && text.ends_with('}')
    {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        text.pop();
        if text != "{" {
            text.push(',');
        }
        text.push_str(&fields.join(","));
        text.push('}');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Rules, Settings, compare};
    use super::*;
    use bytes::Bytes;
    use prost_reflect::prost::Message;
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MethodDescriptorProto, ServiceDescriptorProto,
    };

    /// `service Cart { rpc Get(Item) returns (Item); rpc Watch(Item) returns (stream Item); }` of package `shop`, with
    /// `message Item { string sku = 1; double price = 2; repeated string tags = 3; uint64 at_ms = 4; }`.
    fn descriptors() -> Descriptors {
        let field = |name: &str, number: i32, kind: i32, label: i32| FieldDescriptorProto {
            name: Some(name.into()),
            number: Some(number),
            r#type: Some(kind),
            label: Some(label),
            ..FieldDescriptorProto::default()
        };
        let item = DescriptorProto {
            name: Some("Item".into()),
            field: vec![
                field("sku", 1, 9, 1),
                field("price", 2, 1, 1),
                field("tags", 3, 9, 3),
                field("at_ms", 4, 4, 1),
            ],
            ..DescriptorProto::default()
        };
        let method = |name: &str, streams: bool| MethodDescriptorProto {
            name: Some(name.into()),
            input_type: Some(".shop.Item".into()),
            output_type: Some(".shop.Item".into()),
            server_streaming: Some(streams),
            ..MethodDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("shop.proto".into()),
            package: Some("shop".into()),
            syntax: Some("proto3".into()),
            message_type: vec![item],
            service: vec![ServiceDescriptorProto {
                name: Some("Cart".into()),
                method: vec![method("Get", false), method("Watch", true)],
                ..ServiceDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        Descriptors::read(&FileDescriptorSet { file: vec![file] }.encode_to_vec()).unwrap()
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![flag];
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(message);
        frame
    }

    fn item(sku: &str, price: f64, tags: &[&str]) -> Vec<u8> {
        let mut message = vec![0x0a, sku.len() as u8];
        message.extend_from_slice(sku.as_bytes());
        message.push(0x11);
        message.extend_from_slice(&price.to_le_bytes());
        for tag in tags {
            message.extend_from_slice(&[0x1a, tag.len() as u8]);
            message.extend_from_slice(tag.as_bytes());
        }
        message
    }

    fn answer(body: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            headers: vec![
                (
                    "content-type".to_owned(),
                    b"application/grpc+proto".to_vec(),
                ),
                ("grpc-encoding".to_owned(), b"gzip".to_vec()),
            ],
            trailers: vec![("grpc-status".to_owned(), b"0".to_vec())],
            length: body.len() as u64,
            body: Bytes::from(body),
            rest: None,
        }
    }

    fn told(target: &str, typed: bool, primary: Vec<u8>, candidate: Vec<u8>) -> Vec<String> {
        let settings = Settings {
            descriptors: typed.then(descriptors),
            ..Settings::default()
        };
        let rules = Rules::compile(&settings, jiff::civil::date(2026, 1, 1)).unwrap();
        let found = compare(target, &answer(primary), &answer(candidate), &rules);
        let told = found.iter();
        told.map(|difference| format!("{} {}", difference.kind, difference.template))
            .collect()
    }

    #[test]
    fn messages_with_descriptors_are_compared_by_the_names_of_their_fields() {
        let (one, two) = (item("a1", 2.5, &["new"]), item("a1", 3.5, &["new", "oak"]));
        let said = told("/shop.Cart/Get?x", true, framed(0, &one), framed(0, &two));
        assert_eq!(said, ["value $.price", "extra $.tags[*]"]);
        let watched = [framed(0, &one), framed(0, &two)].concat();
        let said = told("/shop.Cart/Watch", true, watched, framed(0, &one));
        assert_eq!(said, ["missing $[*]"]);
        // A field that the type does not know: 9, varint 1.
        let more = [item("a1", 2.5, &["new"]), vec![0x48, 0x01]].concat();
        let said = told("/shop.Cart/Get", true, framed(0, &one), framed(0, &more));
        assert_eq!(said, ["extra $.f9"]);
    }

    #[test]
    fn messages_without_descriptors_are_compared_by_number() {
        let (one, two) = (item("a1", 2.5, &[]), item("a2", 2.5, &["oak"]));
        for (target, typed) in [("/shop.Cart/Get", false), ("/shop.Other/Get", true)] {
            let said = told(target, typed, framed(0, &one), framed(0, &two));
            assert_eq!(said, ["value $[*].f1", "extra $[*].f3"], "{target}");
        }
    }

    #[test]
    fn compressed_messages_are_compared_by_what_they_hold() {
        let packed = |message: &[u8], level: u32| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            std::io::Write::write_all(&mut encoder, message).unwrap();
            framed(1, &encoder.finish().unwrap())
        };
        let (one, two) = (item("a1", 2.5, &[]), item("a1", 3.5, &[]));
        let said = told("/shop.Cart/Get", true, packed(&one, 0), packed(&one, 9));
        assert_eq!(said, Vec::<String>::new());
        let said = told("/shop.Cart/Get", true, packed(&one, 0), framed(0, &two));
        assert_eq!(said, ["value $.price"]);
    }

    #[test]
    fn what_are_no_messages_is_told_with_its_reason() {
        let one = framed(0, &item("a1", 2.5, &[]));
        let cut = one[..one.len() - 1].to_vec();
        for (typed, body, expected) in [
            (true, cut.clone(), "type body:grpc_frames"),
            (false, cut, "type body:grpc_frames"),
            (true, framed(7, b"x"), "type body:grpc_frames"),
            (true, framed(1, b"x"), "type body:coding"),
            (true, framed(0, b"\x0a\x01\xff"), "type body:grpc_message"),
        ] {
            assert_eq!(told("/shop.Cart/Get", typed, one.clone(), body), [expected]);
        }
    }

    #[test]
    fn a_set_without_services_is_refused() {
        assert!(Descriptors::read(b"garbage").is_err());
        assert_eq!(
            Descriptors::read(b"").unwrap_err(),
            "it describes no service"
        );
    }
}
