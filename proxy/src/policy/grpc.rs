//! gRPC's words over HTTP: how a call is known, and what an answer of the proxy's own says in them.

use http::HeaderMap;

pub mod deadline;
pub mod web;

/// A gRPC status code.
pub type Status = u32;

/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: Status = 4;
/// `UNKNOWN`.
pub const UNKNOWN: Status = 2;

/// The content type is gRPC's: `application/grpc`, or that with a message format, `application/grpc+proto`.
pub fn is_call(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || rest.starts_with(b"+"),
        None => false,
    }
}

/// What an HTTP status is to gRPC
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub fn of_http(status: u16) -> Status {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    }
}

/// What a gRPC status is to HTTP, for those who judge by that
/// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
pub fn to_http(status: Status) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The status that headers or trailers have; `None`: they have none that can be read.
pub fn status(headers: &HeaderMap) -> Option<Status> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A message as `grpc-message` has it: percent-encoded, but for printable ASCII.
pub fn message(text: &[u8]) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b' '..=b'}') && *byte != b'%' {
            message.push(char::from(*byte));
        } else {
            message.push_str(&format!("%{byte:02X}"));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(content_type.as_bytes()), expected, "{content_type}");
        }
    }

    #[test]
    fn a_message_is_printable_ascii() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("100 %", "100 %25"),
            ("a\nb~", "a%0Ab%7E"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(message(text.as_bytes()), expected);
        }
    }
}
