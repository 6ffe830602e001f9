//! A recorded or templated request, made ready to be sent: host, path and headers changed as the scenario says, and what
//! belonged to the recorded connection left out. Pure.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{AsHeaderName, CONNECTION, CONTENT_LENGTH, HOST},
    uri::PathAndQuery,
};
use http_body_util::Full;
use regex::Regex;

use crate::scenario::Rewrite;

/// A request, ready to be sent but for the headers that tell who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Method.
    pub method: Method,
    /// Path and query, in origin form (or `*`).
    pub uri: Uri,
    /// End-to-end headers, with `host`, without framing.
    pub headers: HeaderMap,
    /// Body, to be framed by its length.
    pub body: Bytes,
}

impl Prepared {
    /// Path and query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// As HTTP/1.1, framed by its length; a method that expects content says so even of an empty body (RFC 9110 §8.6).
    pub fn to_http(&self) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        let expects = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if self.body.is_empty() && expects {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request
    }

    /// As HTTP/2 without TLS: the host is the target's authority (RFC 9113 §8.3.1), and what is for a hop is left out.
    pub fn to_http2(&self) -> http::Request<Full<Bytes>> {
        let mut request = self.to_http();
        let authority = self.authority().to_owned();
        let target = format!("http://{authority}{}", self.path());
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
            request.headers_mut().remove(HOST);
        }
        *request.version_mut() = http::Version::HTTP_2;
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ] {
            request.headers_mut().remove(name);
        }
        request
    }

    /// The host asked for; empty if it is not text.
    pub fn authority(&self) -> &str {
        self.headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default()
    }
}

/// A request as it was recorded or written in a template.
#[derive(Debug, Clone)]
pub struct Raw<'a, H> {
    /// Method.
    pub method: &'a str,
    /// Target, verbatim.
    pub target: &'a [u8],
    /// The host asked for; may be empty.
    pub authority: &'a [u8],
    /// Names and values, in order.
    pub headers: H,
    /// Body, whole.
    pub body: Bytes,
}

/// Why a request cannot be sent again; the name is a key of what was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsendable {
    /// CONNECT makes a tunnel, not an exchange.
    Connect,
    /// It asked for another protocol: what follows is no HTTP exchange.
    Upgrade,
    /// The target is no path, or has bytes that a path cannot have.
    Target,
    /// A header's name or value, or the method, has bytes that it cannot have.
    Header,
}

impl Unsendable {
    /// Its name among the reasons.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
            Self::Target => "unsendable_target",
            Self::Header => "unsendable_header",
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRewrite(pub String);

impl fmt::Display for InvalidRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRewrite {}

/// A source's [`Rewrite`], compiled.
#[derive(Debug, Clone)]
pub struct Rewriter {
    host: Option<HeaderValue>,
    fallback: HeaderValue,
    path: Vec<(Regex, String)>,
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// What belongs to one connection (RFC 9110 §7.6.1), frames the body there, or tells of the recorded trace: none of it is
/// sent again.
const LEFT_OUT: [&str; 12] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

impl Rewriter {
    /// Compiles the settings. `fallback` is the host of requests that name none.
    pub fn new(rewrite: &Rewrite, fallback: &str) -> Result<Self, InvalidRewrite> {
        Ok(Self {
            host: rewrite.host.as_deref().map(value).transpose()?,
            fallback: value(fallback)?,
            path: rewrite
                .path
                .iter()
                .map(|(pattern, with)| {
                    let regex = Regex::new(pattern).map_err(|error| {
                        InvalidRewrite(format!("`{pattern}` is not a regular expression: {error}"))
                    })?;
                    Ok((regex, with.clone()))
                })
                .collect::<Result<_, _>>()?,
            set: rewrite
                .set
                .iter()
                .map(|(key, text)| Ok((name(key)?, value(text)?)))
                .collect::<Result<_, _>>()?,
            remove: rewrite
                .remove
                .iter()
                .map(|key| name(key))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Makes a request ready to be sent, in this order: what belonged to the recorded connection is left out, the host
    /// and the path are rewritten, headers are removed, then set.
    pub fn prepare<'h, H>(&self, raw: Raw<'_, H>) -> Result<Prepared, Unsendable>
    where
        H: IntoIterator<Item = (&'h [u8], &'h [u8])>,
    {
        let method = Method::from_bytes(raw.method.as_bytes()).map_err(|_| Unsendable::Header)?;
        if method == Method::CONNECT {
            return Err(Unsendable::Connect);
        }
        let mut headers = HeaderMap::new();
        for (key, text) in raw.headers {
            let key = HeaderName::from_bytes(key).map_err(|_| Unsendable::Header)?;
            let text = HeaderValue::from_bytes(text).map_err(|_| Unsendable::Header)?;
            headers.append(key, text);
        }
        if headers.contains_key("upgrade") {
            return Err(Unsendable::Upgrade);
        }
        let host = match &self.host {
            Some(host) => host.clone(),
            None if raw.authority.is_empty() => self.fallback.clone(),
            None => HeaderValue::from_bytes(raw.authority).map_err(|_| Unsendable::Header)?,
        };
        without_connection(&mut headers, LEFT_OUT);
        headers.insert(HOST, host);
        for key in &self.remove {
            headers.remove(key);
        }
        for (key, text) in &self.set {
            headers.insert(key, text.clone());
        }
        Ok(Prepared {
            method,
            uri: self.uri(raw.target)?,
            headers,
            body: raw.body,
        })
    }

    /// The target in origin form, changed by the first expression that matches it.
    fn uri(&self, target: &[u8]) -> Result<Uri, Unsendable> {
        let target = std::str::from_utf8(target).map_err(|_| Unsendable::Target)?;
        let path = origin_form(target).ok_or(Unsendable::Target)?;
        let changed = self
            .path
            .iter()
            .find(|(regex, _)| path != "*" && regex.is_match(&path))
            .map(|(regex, with)| regex.replace(&path, with.as_str()).into_owned());
        let path = changed.unwrap_or(path);
        let uri: Uri = path.parse().map_err(|_| Unsendable::Target)?;
        // A fragment, say, would get lost: better not sent than sent as something else.
        let whole = uri.authority().is_none()
            && uri.path_and_query().map(PathAndQuery::as_str) == Some(&*path);
        if whole {
            Ok(uri)
        } else {
            Err(Unsendable::Target)
        }
    }
}

/// Path and query of a target: `/x` and `*` as they are, `http://host/x` without scheme and host.
fn origin_form(target: &str) -> Option<String> {
    if target.starts_with('/') || target == "*" {
        return Some(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    match rest.find(['/', '?']) {
        None => Some("/".to_owned()),
        Some(at) => {
            let path = rest.get(at..)?;
            Some(if path.starts_with('?') {
                format!("/{path}")
            } else {
                path.to_owned()
            })
        }
    }
}

/// Removes these headers, and those that `Connection` names.
pub(crate) fn without_connection<K: AsHeaderName>(
    headers: &mut HeaderMap,
    names: impl IntoIterator<Item = K>,
) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .collect();
    for key in named {
        headers.remove(key);
    }
    for key in names {
        headers.remove(key);
    }
}

fn name(text: &str) -> Result<HeaderName, InvalidRewrite> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| InvalidRewrite(format!("`{text}` is not the name of a header")))
}

fn value(text: &str) -> Result<HeaderValue, InvalidRewrite> {
    HeaderValue::from_str(text).map_err(|_| {
        InvalidRewrite(format!(
            "`{}` is not the value of a header",
            text.escape_debug()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter(rewrite: &Rewrite) -> Rewriter {
        Rewriter::new(rewrite, "shop").unwrap()
    }

    fn raw<'a>(
        method: &'a str,
        target: &'a str,
        headers: &[(&'a str, &'a str)],
    ) -> Raw<'a, Vec<(&'a [u8], &'a [u8])>> {
        let authority = headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("host"))
            .map_or("", |(_, value)| value);
        Raw {
            method,
            target: target.as_bytes(),
            authority: authority.as_bytes(),
            headers: headers
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
                .collect(),
            body: Bytes::new(),
        }
    }

    fn shown(prepared: &Prepared) -> Vec<(&str, &str)> {
        prepared
            .headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn what_belonged_to_the_recorded_connection_is_left_out() {
        let prepared = rewriter(&Rewrite::default())
            .prepare(raw(
                "POST",
                "/pay?x=1",
                &[
                    ("Host", "shop.example"),
                    ("Connection", "keep-alive, X-Hop"),
                    ("Keep-Alive", "timeout=5"),
                    ("X-Hop", "1"),
                    ("Transfer-Encoding", "chunked"),
                    ("Trailer", "x-sum"),
                    ("TE", "trailers"),
                    ("traceparent", "00-1-2-01"),
                    ("tracestate", "a=b"),
                    ("X-Request-Id", "old"),
                    ("Cookie", "a=1"),
                    ("Cookie", "b=2"),
                ],
            ))
            .unwrap();
        assert_eq!(prepared.path(), "/pay?x=1");
        assert_eq!(prepared.authority(), "shop.example");
        let mut headers = shown(&prepared);
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("host", "shop.example")
            ]
        );
    }

    #[test]
    fn host_path_and_headers_are_rewritten() {
        let rewriter = rewriter(&Rewrite {
            host: Some("shop.test".to_owned()),
            path: vec![
                ("^/v1/(.*)".to_owned(), "/$1".to_owned()),
                ("(.*)".to_owned(), "/never$1".to_owned()),
            ],
            set: vec![("Authorization".to_owned(), "Bearer new".to_owned())],
            remove: vec!["cookie".to_owned()],
        });
        let prepared = rewriter
            .prepare(raw(
                "GET",
                "/v1/cart/7?a=b",
                &[
                    ("host", "old"),
                    ("cookie", "a=1"),
                    ("authorization", "Bearer old"),
                ],
            ))
            .unwrap();
        // `*` names the server, not a path.
        assert_eq!(
            rewriter.prepare(raw("OPTIONS", "*", &[])).unwrap().path(),
            "*"
        );
        // Only the first expression that matches is applied.
        assert_eq!(prepared.path(), "/cart/7?a=b");
        let mut headers = shown(&prepared);
        headers.sort_unstable();
        assert_eq!(
            headers,
            [("authorization", "Bearer new"), ("host", "shop.test")]
        );
    }

    #[test]
    fn targets_become_origin_form_or_are_refused() {
        let rewriter = rewriter(&Rewrite::default());
        for (target, path) in [
            ("/", Some("/")),
            ("*", Some("*")),
            ("http://shop.example/a?b", Some("/a?b")),
            ("HTTP://shop.example", Some("/")),
            ("http://shop.example?q", Some("/?q")),
            ("//double/slash", Some("//double/slash")),
            ("/a|b{c}", Some("/a|b{c}")),
            ("/a#b", None),
            ("/a b", None),
            ("ftp://shop/a", None),
            ("shop:80", None),
            ("", None),
        ] {
            let prepared = rewriter.prepare(raw("GET", target, &[]));
            match path {
                Some(path) => {
                    let prepared = prepared.unwrap();
                    assert_eq!(prepared.path(), path, "{target}");
                    // Nothing named a host, so the service's name stands in.
                    assert_eq!(prepared.authority(), "shop");
                }
                None => assert_eq!(prepared, Err(Unsendable::Target), "{target}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_again_says_why() {
        let rewriter = rewriter(&Rewrite::default());
        for (request, why) in [
            (raw("CONNECT", "shop:443", &[]), "connect"),
            (raw("GET", "/chat", &[("Upgrade", "websocket")]), "upgrade"),
            (raw("GET", "/", &[("a b", "c")]), "unsendable_header"),
            (raw("GET", "/", &[("a", "b\nc")]), "unsendable_header"),
            (raw("G T", "/", &[]), "unsendable_header"),
        ] {
            assert_eq!(rewriter.prepare(request).unwrap_err().name(), why);
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        for (rewrite, says) in [
            (
                Rewrite {
                    path: vec![("(".to_owned(), String::new())],
                    ..Rewrite::default()
                },
                "`(` is not a regular expression",
            ),
            (
                Rewrite {
                    remove: vec!["a b".to_owned()],
                    ..Rewrite::default()
                },
                "`a b` is not the name of a header",
            ),
            (
                Rewrite {
                    host: Some("a\nb".to_owned()),
                    ..Rewrite::default()
                },
                r"`a\nb` is not the value of a header",
            ),
        ] {
            let error = Rewriter::new(&rewrite, "shop").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
