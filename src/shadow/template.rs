//! Endpoints: a method and a path without its ids.

use std::fmt;

/// An endpoint as a scenario lists it: `GET /cart/{id}`. A segment in braces, or `*`, is any one segment; the method
/// may be `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    method: String,
    segments: Vec<String>,
    text: String,
}

/// Why an endpoint cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEndpoint(String);

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid endpoint `{}`; accepted: METHOD /path/{{id}}",
            self.0
        )
    }
}

impl std::error::Error for InvalidEndpoint {}

/// The shortest hexadecimal segment that is taken for a hash; shorter ones may be words.
const HASH_LENGTH: usize = 8;

/// The shortest segment of letters and digits that is taken for a token.
const TOKEN_LENGTH: usize = 20;

impl Endpoint {
    /// Reads an endpoint.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.to_owned());
        let (method, path) = text.trim().split_once(' ').ok_or_else(invalid)?;
        let path = path.trim_start();
        if method.is_empty() || !path.starts_with('/') || path.contains(['?', ' ']) {
            return Err(invalid());
        }
        let segments = path.split('/').map(str::to_owned).collect();
        Ok(Self {
            method: method.to_owned(),
            segments,
            text: format!("{method} {path}"),
        })
    }

    /// Whether a request belongs to it. `path` is without query.
    fn takes(&self, method: &str, path: &str) -> bool {
        let mut segments = path.split('/');
        let matched = self.segments.iter().all(|wanted| {
            segments.next().is_some_and(|segment| {
                let any = wanted == "*" || (wanted.starts_with('{') && wanted.ends_with('}'));
                wanted == segment || (any && !segment.is_empty())
            })
        });
        matched && segments.next().is_none() && (self.method == "*" || self.method == method)
    }
}

/// The endpoint of a request: the first of the list that takes it, else one found by leaving out what looks like an id.
pub(super) fn endpoint(listed: &[Endpoint], method: &str, target: &str) -> String {
    let path = path_of(target);
    if let Some(endpoint) = listed.iter().find(|endpoint| endpoint.takes(method, path)) {
        return endpoint.text.clone();
    }
    let mut text = String::with_capacity(method.len() + path.len() + 1);
    text.push_str(method);
    text.push(' ');
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            text.push('/');
        }
        text.push_str(if is_id(segment) { "{id}" } else { segment });
    }
    text
}

/// Whether a segment or key is a number, a UUID, a hash, or a token, so that it says which one and not what.
pub(super) fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return false;
    }
    let all = |accepted: fn(&u8) -> bool| bytes.iter().all(accepted);
    digits == bytes.len()
        || is_uuid(text)
        || (bytes.len() >= HASH_LENGTH && all(u8::is_ascii_hexdigit))
        || (bytes.len() >= TOKEN_LENGTH
            && digits >= 3
            && all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))
}

/// Whether a text is a UUID in its usual form, of any version.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A target without query and, in absolute form, without scheme and authority.
fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((_, rest)) if !path.starts_with('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_found() {
        for (target, expected) in [
            ("/", "GET /"),
            ("/item/1042?x=1", "GET /item/{id}"),
            ("/cart/4cbd62c8/items", "GET /cart/{id}/items"),
            (
                "/orders/58843708-37ee-4052-969e-5cb4286e4d3b",
                "GET /orders/{id}",
            ),
            ("/v1/users/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /v1/users/{id}"),
            (
                "/blob/da39a3ee5e6b4b0d3255bfef95601890afd80709/raw",
                "GET /blob/{id}/raw",
            ),
            ("/facade/added", "GET /facade/added"),
            (
                "/a-very-long-but-readable-slug",
                "GET /a-very-long-but-readable-slug",
            ),
            ("http://shop.test/item/7", "GET /item/{id}"),
            ("http://shop.test", "GET /"),
            ("*", "GET *"),
        ] {
            assert_eq!(endpoint(&[], "GET", target), expected);
        }
    }

    #[test]
    fn a_listed_endpoint_wins_over_a_found_one() {
        let listed = [
            Endpoint::parse("GET /item/{sku}").unwrap(),
            Endpoint::parse("* /user/{name}").unwrap(),
        ];
        assert_eq!(endpoint(&listed, "GET", "/item/1042"), "GET /item/{sku}");
        assert_eq!(endpoint(&listed, "POST", "/item/1042"), "POST /item/{id}");
        assert_eq!(endpoint(&listed, "PUT", "/user/ann?x"), "* /user/{name}");
        assert_eq!(endpoint(&listed, "PUT", "/user/"), "PUT /user/");
        assert_eq!(endpoint(&listed, "PUT", "/user/ann/x"), "PUT /user/ann/x");
    }

    #[test]
    fn an_endpoint_needs_a_method_and_a_path() {
        for bad in ["", "/cart", "GET", "GET cart", "GET /a?b"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        let error = Endpoint::parse("/cart").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid endpoint `/cart`; accepted: METHOD /path/{id}"
        );
    }
}
