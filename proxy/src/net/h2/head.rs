//! What header sections say (RFC 9113 §8): requests, answers and trailers, checked.

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header, request, response, uri::Authority,
};

use super::hpack::{Field, Name, Read};
use crate::net::{hop::is_of_connection, target};

/// What a field counts besides its name and value, where all that a section makes is bounded (RFC 9113 §10.5.1).
const OVERHEAD: usize = 32;

/// A section's fields as they come.
#[derive(Debug)]
pub(super) struct Section {
    headers: HeaderMap,
    method: Option<HeaderValue>,
    scheme: Option<HeaderValue>,
    authority: Option<HeaderValue>,
    path: Option<HeaderValue>,
    protocol: Option<HeaderValue>,
    status: Option<HeaderValue>,
    /// A header has come: no pseudo header may follow.
    begun: bool,
    malformed: bool,
    /// Bytes of headers and path, and of all that is kept for them.
    length: usize,
    kept: usize,
    most: usize,
    /// How many fields there are, and may be.
    fields: usize,
    most_fields: usize,
}

/// The message is none (RFC 9113 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Section {
    /// One whose headers and path are no more than so many bytes, and which has no more than so many fields.
    pub(super) fn new(most: usize, most_fields: usize) -> Self {
        Self {
            headers: HeaderMap::new(),
            method: None,
            scheme: None,
            authority: None,
            path: None,
            protocol: None,
            status: None,
            begun: false,
            malformed: false,
            length: 0,
            kept: 0,
            most,
            fields: 0,
            most_fields,
        }
    }

    /// It is larger than it may be; what came since was not kept.
    pub(super) fn is_too_large(&self) -> bool {
        self.length > self.most || self.kept > 2 * self.most || self.has_too_many()
    }

    /// It has more fields than it may.
    pub(super) fn has_too_many(&self) -> bool {
        self.fields > self.most_fields
    }

    /// Takes the next field.
    pub(super) fn take(&mut self, field: Read<'_>) {
        let known = field.get();
        self.kept += known.length + OVERHEAD;
        self.fields += 1;
        match known.name {
            Name::Header(_) | Name::Bad(_) => self.length += known.length,
            Name::Path => self.length += known.value.as_ref().map_or(0, HeaderValue::len),
            _ => {}
        }
        if self.malformed || self.is_too_large() {
            return;
        }
        let Field { name, value, .. } = field.into_owned();
        if self.put(name, value).is_none() {
            self.malformed = true;
        }
    }

    /// `None`: such a field may not stand here.
    fn put(&mut self, name: Name, value: Option<HeaderValue>) -> Option<()> {
        let value = value?;
        let pseudo = match name {
            Name::Header(name) => {
                if is_of_connection(&name) || (name == header::TE && value != "trailers") {
                    return None;
                }
                self.begun = true;
                return self.headers.try_append(name, value).ok().map(drop);
            }
            Name::Authority => &mut self.authority,
            Name::Method => &mut self.method,
            Name::Path => &mut self.path,
            Name::Protocol => &mut self.protocol,
            Name::Scheme => &mut self.scheme,
            Name::Status => &mut self.status,
            Name::Bad(_) => return None,
        };
        (!self.begun && pseudo.is_none()).then(|| *pseudo = Some(value))
    }

    /// The request that it is the head of, as the pipeline knows it: an extended `CONNECT` (RFC 8441 §5), where such are
    /// taken, is an upgrade of HTTP/1.
    pub(super) fn request(self, extended: bool) -> Result<Box<request::Parts>, Malformed> {
        if self.malformed || self.status.is_some() {
            return Err(Malformed);
        }
        let method = self.method.ok_or(Malformed)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed)?;
        let mut head = Box::new(Request::new(()).into_parts().0);
        head.version = Version::HTTP_2;
        head.headers = self.headers;
        let connects = method == Method::CONNECT;
        head.method = method;
        if connects && self.protocol.is_none() {
            // RFC 9113 §8.5: it has neither scheme nor path.
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Malformed);
            }
            let authority = self.authority.filter(is_authority).ok_or(Malformed)?;
            let authority = Bytes::copy_from_slice(authority.as_bytes());
            let authority = Authority::from_maybe_shared(authority).map_err(|_| Malformed)?;
            head.uri = Uri::from(authority);
            return Ok(head);
        }
        let scheme = self.scheme.ok_or(Malformed)?;
        if !scheme.as_bytes().iter().all(|byte| is_of_scheme(*byte)) || scheme.is_empty() {
            return Err(Malformed);
        }
        head.uri = path(&self.path.ok_or(Malformed)?, &mut head.extensions)?;
        if let Some(value) = self.authority {
            // RFC 9113 §8.3.1: it is what HTTP/1 calls the host. Several hosts stay what they are: an error.
            if !is_authority(&value) {
                return Err(Malformed);
            }
            if head.headers.get_all(header::HOST).iter().nth(1).is_none() {
                head.headers.insert(header::HOST, value);
            }
        }
        if let Some(protocol) = self.protocol {
            if !connects || !extended {
                return Err(Malformed);
            }
            head.method = Method::GET;
            head.headers.insert(header::UPGRADE, protocol);
            head.headers
                .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        join_cookies(&mut head.headers);
        Ok(head)
    }

    /// The answer that it is the head of.
    pub(super) fn answer(self) -> Result<response::Parts, Malformed> {
        let others = [
            self.method,
            self.scheme,
            self.authority,
            self.path,
            self.protocol,
        ];
        if self.malformed || others.iter().any(Option::is_some) {
            return Err(Malformed);
        }
        let status = self.status.ok_or(Malformed)?;
        let status = StatusCode::from_bytes(status.as_bytes()).map_err(|_| Malformed)?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.version = Version::HTTP_2;
        head.status = status;
        head.headers = self.headers;
        Ok(head)
    }

    /// The trailers that it is.
    pub(super) fn trailers(self) -> Result<HeaderMap, Malformed> {
        let pseudo = [
            self.method,
            self.scheme,
            self.authority,
            self.path,
            self.protocol,
            self.status,
        ];
        if self.malformed || pseudo.iter().any(Option::is_some) {
            return Err(Malformed);
        }
        Ok(self.headers)
    }
}

/// What `content-length` says; several have to say the same (RFC 9110 §8.6).
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        let said = value.to_str().ok().and_then(|text| text.parse().ok());
        let said: u64 = said.ok_or(Malformed)?;
        if length.is_some_and(|known| known != said) {
            return Err(Malformed);
        }
        length = Some(said);
    }
    Ok(length)
}

fn is_of_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// RFC 3986 §3.2, without what names a user (RFC 9113 §8.3.1).
fn is_authority(value: &HeaderValue) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    !value.is_empty() && value.as_bytes().iter().all(is)
}

fn path(value: &HeaderValue, extensions: &mut Extensions) -> Result<Uri, Malformed> {
    let bytes = value.as_bytes();
    if !bytes.starts_with(b"/") && bytes != b"*" {
        return Err(Malformed);
    }
    target::path(Bytes::copy_from_slice(bytes), bytes, extensions).map_err(|_| Malformed)
}

/// RFC 9113 §8.2.3: crumbs become one header for whoever does not speak HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut all = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        all.extend_from_slice(b"; ");
        all.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(all)) {
        headers.insert(header::COOKIE, joined);
    }
}
