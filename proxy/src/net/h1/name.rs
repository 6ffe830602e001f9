//! Names of headers. Those that most messages carry are found by their length, without reading them into lower case and
//! hashing them first; and those among them that `http` does not know are not copied for each message.

use http::{HeaderName, header};

const fn own(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Names of this length; the likelier first.
fn likely(length: usize) -> &'static [HeaderName] {
    macro_rules! names {
        ($($name:expr),+) => {{
            static NAMES: [HeaderName; [$(stringify!($name)),+].len()] = [$($name),+];
            &NAMES
        }};
    }
    match length {
        2 => names![header::TE],
        3 => names![header::AGE, header::VIA],
        4 => names![header::HOST, header::DATE, header::ETAG, header::VARY],
        5 => names![header::ALLOW],
        6 => names![
            header::ACCEPT,
            header::SERVER,
            header::COOKIE,
            header::ORIGIN,
            header::EXPECT
        ],
        7 => names![
            header::EXPIRES,
            header::REFERER,
            header::UPGRADE,
            header::TRAILER
        ],
        8 => names![header::LOCATION],
        10 => names![
            header::CONNECTION,
            header::USER_AGENT,
            own("tracestate"),
            own("keep-alive"),
            header::SET_COOKIE
        ],
        11 => names![own("traceparent"), own("grpc-status"), header::RETRY_AFTER],
        12 => names![
            header::CONTENT_TYPE,
            own("x-request-id"),
            own("grpc-message"),
            own("grpc-timeout")
        ],
        13 => names![
            header::CACHE_CONTROL,
            header::ACCEPT_RANGES,
            header::AUTHORIZATION,
            header::LAST_MODIFIED,
            header::IF_NONE_MATCH
        ],
        14 => names![header::CONTENT_LENGTH, header::ACCEPT_CHARSET],
        15 => names![
            header::ACCEPT_ENCODING,
            header::ACCEPT_LANGUAGE,
            own("x-forwarded-for")
        ],
        16 => names![header::CONTENT_ENCODING, own("x-envoy-internal")],
        17 => names![
            header::TRANSFER_ENCODING,
            header::IF_MODIFIED_SINCE,
            own("x-forwarded-proto")
        ],
        19 => names![header::CONTENT_DISPOSITION],
        21 => names![own("x-envoy-attempt-count")],
        29 => names![own("x-envoy-upstream-service-time")],
        30 => names![own("x-envoy-expected-rq-timeout-ms")],
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
        .find(|known| is_same(known.as_str().as_bytes(), text));
    match known {
        Some(known) => Some(known.clone()),
        None => HeaderName::from_bytes(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_stand_at_their_length() {
        for length in 0..64 {
            for name in likely(length) {
                assert_eq!(name.as_str().len(), length, "{name}");
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
