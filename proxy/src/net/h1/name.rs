//! Names of headers. Those that most messages carry are found by their length, without reading them into lower case and
//! hashing them first; and those among them that `http` does not know are not copied for each message.

use http::HeaderName;

/// A name that most messages carry. Its text stands beside it, since to ask for it costs a call.
type Known = (&'static str, HeaderName);

/// Names of this length; the likelier first.
fn likely(length: usize) -> &'static [Known] {
    macro_rules! names {
        ($($name:expr),+) => {{
            static NAMES: [Known; [$($name),+].len()] = [$(($name, HeaderName::from_static($name))),+];
            &NAMES
        }};
    }
    match length {
        2 => names!["te"],
        3 => names!["age", "via"],
        4 => names!["host", "date", "etag", "vary"],
        5 => names!["allow"],
        6 => names!["accept", "server", "cookie", "origin", "expect"],
        7 => names!["expires", "referer", "upgrade", "trailer"],
        8 => names!["location"],
        10 => names![
            "connection",
            "user-agent",
            "tracestate",
            "keep-alive",
            "set-cookie"
        ],
        11 => names!["traceparent", "grpc-status", "retry-after"],
        12 => names![
            "content-type",
            "x-request-id",
            "grpc-message",
            "grpc-timeout"
        ],
        13 => names![
            "cache-control",
            "accept-ranges",
            "authorization",
            "last-modified",
            "if-none-match"
        ],
        14 => names!["content-length", "accept-charset"],
        15 => names!["accept-encoding", "accept-language", "x-forwarded-for"],
        16 => names!["content-encoding", "x-envoy-internal"],
        17 => names![
            "transfer-encoding",
            "if-modified-since",
            "x-forwarded-proto"
        ],
        19 => names!["content-disposition"],
        21 => names!["x-envoy-attempt-count"],
        29 => names!["x-envoy-upstream-service-time"],
        30 => names!["x-envoy-expected-rq-timeout-ms"],
        _ => &[],
    }
}

/// Both are as long as each other, and the same in lower case. What is known has letters, digits and hyphens only: what
/// differs from these in this one bit is the same letter, or a control character. Without a branch for each byte.
fn is_same(known: &[u8], text: &[u8]) -> bool {
    // Most that are not the same differ in their first letter.
    if let (Some(known), Some(first)) = (known.first(), text.first())
        && (known ^ first) & !0x20 != 0
    {
        return false;
    }
    let pairs = known.iter().zip(text);
    let other = pairs.fold(0, |other, (known, byte)| {
        other | ((known ^ byte) & !0x20) | u8::from(*byte < b' ')
    });
    other == 0
}

/// The name with this text, in any case; `None`: it is none.
pub(super) fn read(text: &[u8]) -> Option<HeaderName> {
    let known = likely(text.len())
        .iter()
        .find(|(known, _)| is_same(known.as_bytes(), text));
    match known {
        Some((_, known)) => Some(known.clone()),
        None => HeaderName::from_bytes(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_stand_at_their_length() {
        for length in 0..64 {
            for (text, name) in likely(length) {
                assert_eq!((text.len(), *text), (length, name.as_str()));
            }
        }
    }

    #[test]
    fn a_name_is_read_in_any_case() {
        for text in [
            "Host",
            "X-Request-ID",
            "x-envoy-upstream-service-time",
            "X-Other",
            "TE",
            "a",
        ] {
            let read = read(text.as_bytes());
            assert_eq!(read, HeaderName::from_bytes(text.as_bytes()).ok());
        }
        for text in ["", "a b", "a:", "é", "accept\rranges", "\u{14}e"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
