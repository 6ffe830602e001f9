//! Where tokens are found in a request, and how they are taken out.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::{
    super::{
        format::field::decode,
        matcher::cookie,
        query::{Change, Changes},
    },
    Provider,
};

/// What a token in `authorization` comes after.
const BEARER: &str = "Bearer ";
/// The parameter in which a token is looked for where nothing else is said.
const PARAMETER: &str = "access_token";

/// Where tokens of some providers are looked for.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By what names them, as in Envoy: the name and what comes before the token.
    headers: BTreeMap<String, (Header, Issuers)>,
    parameters: BTreeMap<String, Issuers>,
    cookies: BTreeMap<String, Issuers>,
    /// What only we say: a client's is taken off.
    ours: Vec<HeaderName>,
}

/// A token that a request has.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The token, whatever it is.
    pub text: String,
    issuers: &'a Issuers,
    at: At<'a>,
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    prefix: String,
}

#[derive(Debug, Default)]
struct Issuers {
    any: bool,
    some: BTreeSet<String>,
}

#[derive(Debug)]
enum At<'a> {
    Header(&'a HeaderName),
    Parameter(&'a str),
    Cookie,
}

impl Places {
    /// Those of providers; the error names the header that cannot be.
    pub(super) fn of<'p>(
        providers: impl IntoIterator<Item = &'p Provider>,
    ) -> Result<Self, String> {
        let mut places = Self::default();
        for provider in providers {
            places.add(provider)?;
        }
        Ok(places)
    }

    fn add(&mut self, it: &Provider) -> Result<(), String> {
        for (name, prefix) in &it.headers {
            self.header(header_name(name)?, prefix, &it.issuer);
        }
        for name in &it.parameters {
            self.parameters
                .entry(name.clone())
                .or_default()
                .add(&it.issuer);
        }
        for name in &it.cookies {
            self.cookies
                .entry(name.clone())
                .or_default()
                .add(&it.issuer);
        }
        if it.headers.is_empty() && it.parameters.is_empty() && it.cookies.is_empty() {
            self.header(header::AUTHORIZATION, BEARER, &it.issuer);
            self.parameters
                .entry(PARAMETER.to_owned())
                .or_default()
                .add(&it.issuer);
        }
        for name in it
            .payload_header
            .iter()
            .chain(it.claims.iter().map(|it| &it.header))
        {
            self.ours.push(header_name(name)?);
        }
        Ok(())
    }

    fn header(&mut self, name: HeaderName, prefix: &str, issuer: &str) {
        let key = format!("{name}{prefix}");
        let (_, issuers) = self.headers.entry(key).or_insert_with(|| {
            let header = Header {
                name,
                prefix: prefix.to_owned(),
            };
            (header, Issuers::default())
        });
        issuers.add(issuer);
    }

    /// Takes off what only we say.
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        for name in &self.ours {
            headers.remove(name);
        }
    }

    /// The tokens of a request.
    pub(super) fn find(&self, headers: &HeaderMap, uri: &Uri) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for (place, issuers) in self.headers.values() {
            for value in values(headers, &place.name) {
                let value = String::from_utf8_lossy(&value);
                let Some(text) = after(&value, &place.prefix) else {
                    continue;
                };
                found.push(Found {
                    text: text.to_owned(),
                    issuers,
                    at: At::Header(&place.name),
                });
            }
        }
        for (name, issuers) in &self.parameters {
            if let Some(text) = parameter(uri.query().unwrap_or_default(), name) {
                found.push(Found {
                    text,
                    issuers,
                    at: At::Parameter(name),
                });
            }
        }
        for (name, issuers) in &self.cookies {
            if let Some(value) = cookie(headers, name.as_bytes()) {
                found.push(Found {
                    text: String::from_utf8_lossy(value).into_owned(),
                    issuers,
                    at: At::Cookie,
                });
            }
        }
        found
    }
}

impl Found<'_> {
    /// Whether this issuer's tokens are expected here.
    pub(super) fn may_be_of(&self, issuer: &str) -> bool {
        self.issuers.any || self.issuers.some.contains(issuer)
    }

    /// Takes it out of the request; cookies stay, as in Envoy.
    pub(super) fn remove(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        match self.at {
            At::Header(name) => {
                headers.remove(name);
            }
            At::Parameter(name) => {
                let removal = Changes::new(&[Change::Remove(name.to_owned())]);
                let made = uri
                    .path_and_query()
                    .zip(removal.ok())
                    .map(|(path, removal)| removal.apply(path.as_str(), |_, _| {}));
                if let Some(made) = made.and_then(|made| Uri::try_from(made).ok()) {
                    *uri = made;
                }
            }
            At::Cookie => {}
        }
    }
}

impl Issuers {
    fn add(&mut self, issuer: &str) {
        if issuer.is_empty() {
            self.any = true;
        } else {
            self.some.insert(issuer.to_owned());
        }
    }
}

/// The name of a header that can be.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))
}

/// The values of a header. Several of `authorization` are one that is no token, as in Envoy: an upstream may look at
/// another one of them than we do.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Cow<'a, [u8]>> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if *name == header::AUTHORIZATION && values.len() > 1 {
        return vec![Cow::Owned(values.join(&b','))];
    }
    values.into_iter().map(Cow::Borrowed).collect()
}

/// What comes after the prefix, wherever that is, from the first byte on that a token may have.
fn after<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(value);
    }
    let rest = value.split_once(prefix)?.1;
    let token = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    Some(
        rest.find(token)
            .and_then(|at| rest.get(at..))
            .unwrap_or(value),
    )
}

/// The first value of a parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut bytes = Vec::new();
        decode(key.as_bytes(), &mut bytes);
        if bytes != name.as_bytes() {
            return None;
        }
        bytes.clear();
        decode(value.as_bytes(), &mut bytes);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
}
