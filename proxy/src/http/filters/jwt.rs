//! Refuses requests without the tokens that they need.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request};

use super::{
    super::{log::Log, view::wall_clock},
    Reply,
};
use crate::{
    observe::Flags,
    policy::jwt::{Asked, Compiled, Failure, Route, Verdict},
};

/// `x-envoy-original-path`.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// How much of a path a client is told of.
const PATH_MOST: usize = 256;

/// The answer of a request that has no good token.
pub(super) fn ask(
    log: &Log,
    head: &mut request::Parts,
    tokens: &Compiled,
    route: &Route,
) -> Option<Reply> {
    let metrics = &log.client.metrics;
    let uri = uri(head);
    let host = head.headers.get(header::HOST).cloned();
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let mut asked = Asked {
        method: &head.method,
        authority: host.unwrap_or_default(),
        headers: &mut head.headers,
        uri: &mut head.uri,
    };
    // Of a clock before 1970 nothing is believed that ends.
    let now = wall_clock().unwrap_or(Duration::MAX);
    let (status, body, headers, why) = match tokens.judge(route, &mut asked, now) {
        Verdict::Preflight => {
            metrics.jwt_preflights.inc();
            metrics.jwt_allowed.inc();
            return None;
        }
        Verdict::Allowed => {
            metrics.jwt_allowed.inc();
            return None;
        }
        Verdict::Refused(failure) => {
            let status = match failure {
                Failure::Audience => StatusCode::FORBIDDEN,
                _ => StatusCode::UNAUTHORIZED,
            };
            let challenge = (!tokens.silent).then(|| challenge(&uri, failure)).flatten();
            let headers = challenge.map(|value| (header::WWW_AUTHENTICATE, value));
            let why = failure.to_string();
            (status, why.clone(), headers.into_iter().collect(), why)
        }
        Verdict::Unknown(why) => {
            let body = format!("Failed JWT authentication: {why}");
            (StatusCode::FORBIDDEN, body, Vec::new(), why)
        }
    };
    metrics.jwt_denied.inc();
    // In one word, for logs whose fields are.
    let why = why.replace(char::is_whitespace, "_");
    Some(Reply {
        status,
        body: if tokens.silent {
            Bytes::new()
        } else {
            body.into()
        },
        grpc_status: None,
        headers,
        flags: Flags::default(),
        details: format!("jwt_authn_access_denied{{{why}}}").into(),
    })
}

/// What it has asked for.
fn uri(head: &request::Parts) -> Vec<u8> {
    let original = head.headers.get(ORIGINAL_PATH).map(HeaderValue::as_bytes);
    let path = head
        .uri
        .path_and_query()
        .map(|path| path.as_str().as_bytes());
    let Some(path) = path.filter(|_| head.method != Method::CONNECT) else {
        return Vec::new();
    };
    let path = original.unwrap_or(path);
    let view = super::view(head);
    let scheme = if view.is_secure() { "https" } else { "http" };
    let path = path.get(..PATH_MOST).unwrap_or(path);
    [scheme.as_bytes(), b"://", view.authority.as_bytes(), path].concat()
}

fn challenge(uri: &[u8], failure: Failure) -> Option<HeaderValue> {
    let mut text = b"Bearer realm=\"".to_vec();
    text.extend_from_slice(uri);
    text.push(b'"');
    if failure != Failure::Missing {
        text.extend_from_slice(b", error=\"invalid_token\"");
    }
    HeaderValue::from_bytes(&text).ok()
}
