//! Names of headers. Those that most messages carry are found by their length, without reading them into lower case and
//! hashing them first; and those among them that `http` does not know are not copied for each message.

use http::HeaderName;

/// The longest of them. All are compared at this length: a few instructions, and no loop.
const LONGEST: usize = 32;

/// A name's text, and spaces behind it.
type Padded = [u8; LONGEST];

const fn padded(name: &str) -> Padded {
    let mut padded = [b' '; LONGEST];
    let (room, _) = padded.split_at_mut(name.len());
    room.copy_from_slice(name.as_bytes());
    padded
}

/// Names of this length; the likelier first.
fn likely(length: usize) -> &'static [(Padded, HeaderName)] {
    macro_rules! names {
        ($($name:expr),+) => {{
            static NAMES: [(Padded, HeaderName); [$($name),+].len()] =
                [$((padded($name), HeaderName::from_static($name))),+];
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

/// In lower case, where all of it may be in a name that is known: those have letters, digits and hyphens only, which one bit
/// tells from nothing but control characters.
fn lower(text: &[u8]) -> Option<Padded> {
    let mut padded = [b' '; LONGEST];
    padded.get_mut(..text.len())?.copy_from_slice(text);
    let mut control = false;
    for byte in &mut padded {
        control |= *byte < b' ';
        *byte |= b' ';
    }
    (!control).then_some(padded)
}

/// The name with this text, in any case; `None`: it is none.
pub(super) fn read(text: &[u8]) -> Option<HeaderName> {
    let likely = likely(text.len());
    if !likely.is_empty()
        && let Some(text) = lower(text)
        && let Some((_, known)) = likely.iter().find(|(known, _)| *known == text)
    {
        return Some(known.clone());
    }
    HeaderName::from_bytes(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_stand_at_their_length() {
        for length in 0..64 {
            for (text, name) in likely(length) {
                assert_eq!(
                    (name.as_str().len(), *text),
                    (length, padded(name.as_str()))
                );
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
