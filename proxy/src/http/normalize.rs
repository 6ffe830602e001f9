//! Headers between hop and hop: what is for this hop alone is taken off, the host is settled, the request gets its id.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version, header, request,
    uri::{PathAndQuery, Uri},
};

use super::{client::Client, identity, origin, xfcc};
use crate::{
    error::Error,
    net::hop::{KEEP_ALIVE, PROXY_CONNECTION},
    policy::headers::joined::{self, Of},
    snapshot::Manager,
};

/// `x-request-id`.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-forwarded-proto`.
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `traceparent`.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORCE_TRACE: HeaderName = HeaderName::from_static("x-envoy-force-trace");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a look at all header names found.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    upgrade: bool,
    te: bool,
    transfer_encoding: bool,
    keep_alive: bool,
    proxy_connection: bool,
    http2_settings: bool,
    expect: bool,
    request_id: bool,
    forwarded_proto: bool,
    client_cert: bool,
    forwarded_for: bool,
    envoys: bool,
    hosts: usize,
}

/// What is known of a request once its head is settled.
#[derive(Debug)]
pub(super) struct Settled {
    /// The upgrade that it asks for, lower case, if there is one.
    pub(super) upgrade: Option<String>,
    /// Its client, where it is not the connection's peer.
    pub(super) client: Option<SocketAddr>,
    /// The client is one of the mesh's own.
    pub(super) internal: bool,
    /// It is to be traced, so the answer names its id.
    pub(super) traced: bool,
}

/// Makes the head what is sent on.
pub(super) fn request(
    head: &mut request::Parts,
    client: &Client,
    manager: &Manager,
) -> Result<Settled, Error> {
    joined::join(Of::Request, &mut head.headers);
    let seen = Seen::look(&head.headers);
    settle_host(head, &seen, manager)?;
    let upgrade = settle_connection(head, &seen);
    if seen.expect && !manager.http1.pass_continue {
        // Answered here, when the body is first asked for.
        head.headers.remove(header::EXPECT);
    }
    let found = if manager.origin.use_remote_address || seen.forwarded_for || seen.envoys {
        let headers = &mut head.headers;
        origin::settle(
            headers,
            client,
            &manager.origin,
            seen.forwarded_for,
            seen.envoys,
        )
    } else {
        manager.origin.find(client.peer.ip(), None)
    };
    let untrusted = manager.origin.use_remote_address && manager.origin.trusted_hops == 0;
    if !seen.forwarded_proto || untrusted {
        head.headers
            .insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    }
    let session = client.tls.as_deref();
    xfcc::settle(
        &mut head.headers,
        seen.client_cert,
        session,
        manager.client_cert,
    );
    if let Some(via) = &manager.via {
        append_via(&mut head.headers, via);
    }
    let known = seen.request_id && (!found.edge || manager.preserve_request_id);
    if !known && manager.generate_request_id {
        head.headers
            .insert(REQUEST_ID, request_id(client.core.random()));
    }
    head.version = Version::HTTP_11;
    let client = found.client.filter(|found| *found != client.peer.ip());
    Ok(Settled {
        upgrade,
        client: client.map(|address| SocketAddr::new(address, 0)),
        internal: found.internal,
        traced: seen.envoys && head.headers.contains_key(FORCE_TRACE),
    })
}

/// Takes off an answer's headers that are for this hop alone, and joins those that it has one row of.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    joined::join(Of::Answer, headers);
    let seen = Seen::look(headers);
    strip(headers, &seen);
}

/// Puts another side into the copy's trace id.
pub(super) fn replace_side(headers: &mut HeaderMap, side: u8) {
    let value = headers
        .get(TRACEPARENT)
        .and_then(|value| identity::with_side(value.as_bytes(), side));
    if let Some(value) = value {
        headers.insert(TRACEPARENT, value);
    }
}

impl Seen {
    fn look(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, _) in headers {
            match *name {
                header::HOST => seen.hosts += 1,
                header::CONNECTION => seen.connections += 1,
                header::UPGRADE => seen.upgrade = true,
                header::TE => seen.te = true,
                header::TRANSFER_ENCODING => seen.transfer_encoding = true,
                header::EXPECT => seen.expect = true,
                // Most others are of no interest, which their first letter tells.
                _ if name.as_str().starts_with(['x', 'k', 'p', 'h']) => {
                    seen.look_at_text(name.as_str());
                }
                _ => {}
            }
        }
        seen
    }

    fn look_at_text(&mut self, name: &str) {
        match name {
            "keep-alive" => self.keep_alive = true,
            "x-request-id" => self.request_id = true,
            "http2-settings" => self.http2_settings = true,
            "proxy-connection" => self.proxy_connection = true,
            "x-forwarded-proto" => self.forwarded_proto = true,
            "x-forwarded-client-cert" => self.client_cert = true,
            "x-forwarded-for" => self.forwarded_for = true,
            _ => self.envoys |= name.starts_with("x-envoy-"),
        }
    }
}

/// RFC 9112 §3.2: a request has one host; an absolute target's takes its place.
fn settle_host(head: &mut request::Parts, seen: &Seen, manager: &Manager) -> Result<(), Error> {
    if seen.hosts > 1 {
        return Err(Error::ManyHosts);
    }
    let absolute = head.uri.scheme().is_some() && head.version < Version::HTTP_2;
    if head.uri.path() == "*" || (absolute && !manager.http1.absolute_targets) {
        return Err(Error::NoPath);
    }
    if let Some(authority) = head.uri.authority() {
        let value = HeaderValue::from_str(authority.as_str()).map_err(|_| Error::MissingHost)?;
        head.headers.insert(header::HOST, value);
        if head.method != Method::CONNECT {
            let path = head.uri.path_and_query().cloned();
            head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        }
    } else if seen.hosts == 0 {
        let default = manager.http1.default_host.as_deref();
        let default = default.filter(|_| head.version == Version::HTTP_10);
        let value = default.and_then(|host| HeaderValue::from_str(host).ok());
        let value = value.ok_or(Error::MissingHost)?;
        head.headers.insert(header::HOST, value);
    }
    Ok(())
}

fn settle_connection(head: &mut request::Parts, seen: &Seen) -> Option<String> {
    let wanted = if seen.upgrade && seen.connections > 0 {
        wanted_upgrade(&head.headers)
    } else {
        None
    };
    let trailers = seen.te
        && tokens(&head.headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip(&mut head.headers, seen);
    if trailers {
        head.headers
            .insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if head.method == Method::CONNECT {
        return Some("connect".to_owned());
    }
    // RFC 9113 §3.1 took `h2c` back: it is not passed on, and the request is one like any other.
    let wanted = wanted.filter(|wanted| wanted.name != "h2c")?;
    head.headers.insert(header::CONNECTION, wanted.connection);
    head.headers.insert(header::UPGRADE, wanted.value);
    Some(wanted.name)
}

/// An upgrade that is asked for. Both headers go on as they came.
struct Wanted {
    name: String,
    connection: HeaderValue,
    value: HeaderValue,
}

fn wanted_upgrade(headers: &HeaderMap) -> Option<Wanted> {
    let asked =
        tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let value = headers.get(header::UPGRADE).filter(|_| asked)?;
    let name = value.to_str().ok()?.trim().to_ascii_lowercase();
    Some(Wanted {
        name,
        connection: headers.get(header::CONNECTION)?.clone(),
        value: value.clone(),
    })
}

/// RFC 9110 §7.6.1: the headers of this hop, and those that `connection` names.
fn strip(headers: &mut HeaderMap, seen: &Seen) {
    if seen.connections > 0
        && let Some(value) = headers.get(header::CONNECTION)
    {
        // What most servers say names no other header.
        let plain = seen.connections == 1
            && [&b"keep-alive"[..], b"close"]
                .iter()
                .any(|known| value.as_bytes().eq_ignore_ascii_case(known));
        if !plain {
            remove_nominated(headers);
        }
        headers.remove(header::CONNECTION);
    }
    // One comparison for most messages.
    if !(seen.upgrade
        || seen.te
        || seen.transfer_encoding
        || seen.keep_alive
        || seen.proxy_connection
        || seen.http2_settings)
    {
        return;
    }
    for name in [
        header::UPGRADE,
        header::TE,
        header::TRANSFER_ENCODING,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter(|token| {
            // What every connection says, and what no client may have taken off its own request.
            ![
                "close",
                "keep-alive",
                "upgrade",
                "host",
                "content-length",
                "x-forwarded-for",
                "x-forwarded-proto",
            ]
            .iter()
            .any(|kept| token.eq_ignore_ascii_case(kept))
        })
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Appends what stands between two hops (RFC 9110 §7.6.3).
pub(super) fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    let known = headers.get(header::VIA).filter(|known| !known.is_empty());
    let value = match known {
        Some(known) => HeaderValue::from_bytes(&[known.as_bytes(), b", ", via.as_bytes()].concat()),
        None => Ok(via.clone()),
    };
    if let Ok(value) = value {
        headers.insert(header::VIA, value);
    }
}

/// A version 4 UUID (RFC 9562 §5.4).
fn request_id(random: u128) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let bytes = random.to_be_bytes();
    // Where the two digits of each byte stand, between the hyphens.
    let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    for (byte, at) in bytes.into_iter().zip(places) {
        if let Some([high, low]) = text.get_mut(at..at + 2) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
        .unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_of_the_hop_are_taken_off() {
        let mut all = headers(&[
            ("host", "a"),
            ("connection", "x-drop, Keep-Alive,host"),
            ("connection", "close"),
            ("x-drop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "y"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("trailer", "x"),
            ("accept", "*/*"),
        ]);
        strip_answer(&mut all);
        assert_eq!(
            all,
            headers(&[("host", "a"), ("trailer", "x"), ("accept", "*/*")])
        );
    }

    #[test]
    fn a_request_id_is_a_random_uuid() {
        assert_eq!(
            request_id(u128::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(
            request_id(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }
}
