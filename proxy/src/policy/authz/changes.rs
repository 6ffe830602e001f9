//! What becomes of a request that a service has decided on: its head is changed, or its client is answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request};

use super::{Target, method, path};
use crate::policy::headers::{
    Append,
    joined::{self, Of},
};

/// What is changed of a request that goes on, and of its answer. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Headers that are replaced, or added.
    set: Vec<(Target, HeaderValue)>,
    /// Headers that are added.
    add: Vec<(HeaderName, HeaderValue)>,
    /// What is added to values, behind a comma, of headers that there are.
    append: Vec<(HeaderName, HeaderValue)>,
    /// Headers that are taken off.
    remove: Vec<HeaderName>,
    /// Parameters of the path that are replaced, or added.
    set_parameters: Vec<(String, String)>,
    /// Parameters of the path that are taken out.
    remove_parameters: Vec<String>,
    /// Headers of the answer.
    answer: Vec<(Append, HeaderName, HeaderValue)>,
}

/// What a client is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Denial {
    /// The status; `None`: the usual one.
    pub status: Option<StatusCode>,
    /// Headers, in place of others of their names.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// How long a message is, and what becomes of its connection, is for whoever sends it to say: these are never another's.
const OF_THE_HOP: [&str; 6] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// The order in which an answer's headers are changed.
const STEPS: [Append; 4] = [
    Append::Append,
    Append::Overwrite,
    Append::IfAbsent,
    Append::OverwriteIfPresent,
];

impl Changes {
    /// Nothing is done to the answer.
    pub fn spares_answer(&self) -> bool {
        self.answer.is_empty()
    }

    /// The route may be another one with them: as Envoy, not where headers are but added.
    pub fn may_reroute(&self) -> bool {
        !(self.set.is_empty()
            && self.append.is_empty()
            && self.remove.is_empty()
            && self.set_parameters.is_empty()
            && self.remove_parameters.is_empty())
    }

    /// Changes the request. What no head can have is left as it was.
    pub fn apply(&self, head: &mut request::Parts) {
        for (target, value) in &self.set {
            match target {
                Target::Header(name) => {
                    head.headers.insert(name.clone(), value.clone());
                }
                Target::Authority => {
                    head.headers.insert(header::HOST, value.clone());
                }
                Target::Method => {
                    if let Some(method) = method(value.as_bytes()) {
                        head.method = method;
                    }
                }
                Target::Path => {
                    let text = value.to_str().ok().filter(|text| text.starts_with('/'));
                    if let Some(uri) = text.and_then(path) {
                        head.uri = uri;
                    }
                }
            }
        }
        for (name, value) in &self.add {
            head.headers.append(name.clone(), value.clone());
        }
        for (name, value) in &self.append {
            append(&mut head.headers, name, value);
        }
        for name in &self.remove {
            head.headers.remove(name);
        }
        joined::join(Of::Request, &mut head.headers);
        self.apply_to_parameters(head);
    }

    fn apply_to_parameters(&self, head: &mut request::Parts) {
        if self.set_parameters.is_empty() && self.remove_parameters.is_empty() {
            return;
        }
        let Some(before) = head.uri.path_and_query() else {
            return;
        };
        // As Envoy has them: by name, and those of a name in their order.
        let mut parameters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for text in before.query().unwrap_or_default().split('&') {
            if before.query().is_none_or(str::is_empty) {
                break;
            }
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            parameters.entry(name).or_default().push(value);
        }
        for (name, value) in &self.set_parameters {
            parameters.insert(name, vec![value]);
        }
        for name in &self.remove_parameters {
            parameters.remove(name.as_str());
        }
        let mut made = before.path().to_owned();
        let mut before = '?';
        for (name, values) in parameters {
            for value in values {
                made.push(before);
                before = '&';
                made.push_str(name);
                made.push('=');
                made.push_str(value);
            }
        }
        if let Some(uri) = path(&made) {
            head.uri = uri;
        }
    }

    /// Changes the answer's headers.
    pub fn apply_to_answer(&self, headers: &mut HeaderMap) {
        for step in STEPS {
            for (_, name, value) in self.answer.iter().filter(|(how, ..)| *how == step) {
                let there = headers.contains_key(name);
                match how_now(step, there) {
                    Some(true) => {
                        headers.insert(name.clone(), value.clone());
                    }
                    Some(false) => {
                        headers.append(name.clone(), value.clone());
                    }
                    None => {}
                }
            }
        }
        joined::join(Of::Answer, headers);
    }

    pub(super) fn set(&mut self, name: &str, value: &[u8]) {
        let target = Target::new(name).filter(|target| match target {
            Target::Header(name) => !is_of_the_hop(name),
            _ => true,
        });
        self.set
            .extend(target.zip(HeaderValue::from_bytes(value).ok()));
    }

    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.add.extend(pair(name, value));
    }

    pub(super) fn append(&mut self, name: &str, value: &[u8]) {
        self.append.extend(pair(name, value));
    }

    /// A name of HTTP/2's own, or the host, stays: without it there is no request.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(Target::Header(name)) = Target::new(name) {
            self.remove.push(name);
        }
    }

    pub(super) fn set_parameter(&mut self, name: String, value: String) {
        self.set_parameters.push((name, value));
    }

    pub(super) fn remove_parameter(&mut self, name: String) {
        self.remove_parameters.push(name);
    }

    pub(super) fn answer(&mut self, how: Append, name: &str, value: &[u8]) {
        let pair = pair(name, value);
        self.answer
            .extend(pair.map(|(name, value)| (how, name, value)));
    }
}

impl Denial {
    /// Puts its headers in place of others of their names.
    pub fn dress(self, headers: &mut HeaderMap) {
        for (name, _) in &self.headers {
            headers.remove(name);
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        joined::join(Of::Answer, headers);
    }

    /// One more header. When it was sent is for whoever sends it to say.
    pub(super) fn header(&mut self, name: &str, value: &[u8]) {
        let pair = pair(name, value);
        self.headers
            .extend(pair.filter(|(name, _)| *name != header::DATE));
    }
}

/// Whether it is put in place of others, or added to them; `None`: neither.
fn how_now(how: Append, there: bool) -> Option<bool> {
    match how {
        Append::Append => Some(false),
        Append::Overwrite => Some(true),
        Append::IfAbsent => (!there).then_some(false),
        Append::OverwriteIfPresent => there.then_some(true),
    }
}

fn is_of_the_hop(name: &HeaderName) -> bool {
    OF_THE_HOP.contains(&name.as_str())
}

/// What no header can be, or only its sender can say, is left out.
pub(super) fn pair(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok();
    let name = name.filter(|name| !is_of_the_hop(name))?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

/// Adds to the first of the values.
fn append(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    if let Some(first) = headers.get_mut(name) {
        let both = [first.as_bytes(), b",", value.as_bytes()].concat();
        if let Ok(both) = HeaderValue::from_bytes(&both) {
            *first = both;
        }
    }
}
