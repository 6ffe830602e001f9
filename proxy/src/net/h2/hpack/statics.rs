//! The static table (RFC 7541 Appendix A).

use http::{HeaderName, HeaderValue, header};

use super::Name;

/// Its length: the index after it is the dynamic table's first.
pub(super) const COUNT: usize = 61;

/// The entry of that index, from 1 on.
pub(super) fn get(index: usize) -> Option<(Name, HeaderValue)> {
    let (name, value) = match index {
        1 => (Name::Authority, ""),
        2 => (Name::Method, "GET"),
        3 => (Name::Method, "POST"),
        4 => (Name::Path, "/"),
        5 => (Name::Path, "/index.html"),
        6 => (Name::Scheme, "http"),
        7 => (Name::Scheme, "https"),
        8 => (Name::Status, "200"),
        9 => (Name::Status, "204"),
        10 => (Name::Status, "206"),
        11 => (Name::Status, "304"),
        12 => (Name::Status, "400"),
        13 => (Name::Status, "404"),
        14 => (Name::Status, "500"),
        16 => (Name::Header(header::ACCEPT_ENCODING), "gzip, deflate"),
        _ => (Name::Header(header(index)?), ""),
    };
    Some((name, HeaderValue::from_static(value)))
}

/// The header of that index.
fn header(index: usize) -> Option<HeaderName> {
    Some(match index {
        15 => header::ACCEPT_CHARSET,
        16 => header::ACCEPT_ENCODING,
        17 => header::ACCEPT_LANGUAGE,
        18 => header::ACCEPT_RANGES,
        19 => header::ACCEPT,
        20 => header::ACCESS_CONTROL_ALLOW_ORIGIN,
        21 => header::AGE,
        22 => header::ALLOW,
        23 => header::AUTHORIZATION,
        24 => header::CACHE_CONTROL,
        25 => header::CONTENT_DISPOSITION,
        26 => header::CONTENT_ENCODING,
        27 => header::CONTENT_LANGUAGE,
        28 => header::CONTENT_LENGTH,
        29 => header::CONTENT_LOCATION,
        30 => header::CONTENT_RANGE,
        31 => header::CONTENT_TYPE,
        32 => header::COOKIE,
        33 => header::DATE,
        34 => header::ETAG,
        35 => header::EXPECT,
        36 => header::EXPIRES,
        37 => header::FROM,
        38 => header::HOST,
        39 => header::IF_MATCH,
        40 => header::IF_MODIFIED_SINCE,
        41 => header::IF_NONE_MATCH,
        42 => header::IF_RANGE,
        43 => header::IF_UNMODIFIED_SINCE,
        44 => header::LAST_MODIFIED,
        45 => header::LINK,
        46 => header::LOCATION,
        47 => header::MAX_FORWARDS,
        48 => header::PROXY_AUTHENTICATE,
        49 => header::PROXY_AUTHORIZATION,
        50 => header::RANGE,
        51 => header::REFERER,
        52 => header::REFRESH,
        53 => header::RETRY_AFTER,
        54 => header::SERVER,
        55 => header::SET_COOKIE,
        56 => header::STRICT_TRANSPORT_SECURITY,
        57 => header::TRANSFER_ENCODING,
        58 => header::USER_AGENT,
        59 => header::VARY,
        60 => header::VIA,
        61 => header::WWW_AUTHENTICATE,
        _ => return None,
    })
}

/// All headers, with their indices.
pub(super) fn headers() -> impl Iterator<Item = (usize, HeaderName)> {
    (15..=COUNT).filter_map(|index| Some((index, header(index)?)))
}
