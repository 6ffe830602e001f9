//! A service that is asked by HTTP: with a request that is like the client's. Status 200 lets it pass.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request};

use super::{Asked, Changes, Denial, Names, Verdict, method, path};
use crate::policy::{
    headers::{Append, Mutation, Mutations, Render},
    matcher::Text,
};

/// Told whatever is allowed.
pub(super) const ALWAYS: [&str; 4] = ["authorization", ":method", ":path", ":authority"];
/// Clients are always told these of a refusal.
const TOLD: [&str; 2] = ["www-authenticate", "location"];
/// A list of headers that the request goes on without.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// How such a service is asked, and what is taken of its answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// What comes before the path.
    pub path_prefix: String,
    /// Headers that the question has besides.
    pub add: Vec<Mutation>,
    /// Headers of an answer that replace those of the request.
    pub upstream: Vec<Text>,
    /// Headers of an answer that the request has besides.
    pub upstream_append: Vec<Text>,
    /// Headers of a refusal that the client is told; none: all.
    pub client: Vec<Text>,
    /// Headers of another answer that the client is told.
    pub client_on_success: Vec<Text>,
}

/// [`Settings`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    path_prefix: String,
    add: Mutations,
    upstream: Names,
    upstream_append: Names,
    client: Names,
    client_on_success: Names,
}

impl Compiled {
    /// Compiles the settings; the error names what of them cannot be.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            path_prefix: settings.path_prefix.clone(),
            add: Mutations::new(&settings.add)?,
            upstream: Names::new(&settings.upstream)?,
            upstream_append: Names::new(&settings.upstream_append)?,
            client: Names::new(&settings.client)?,
            client_on_success: Names::new(&settings.client_on_success)?,
        })
    }

    /// The head of the question; `None`: of such a request nothing can be asked.
    pub fn question(
        &self,
        all: &super::Compiled,
        asked: &Asked<'_>,
        render: &impl Render,
    ) -> Option<request::Parts> {
        let (mut head, ()) = Request::new(()).into_parts();
        let mut named = None;
        let mut asks_for = None;
        for (name, value) in all.told(asked) {
            match name {
                ":method" => named = method(&value),
                ":path" => {
                    let text = std::str::from_utf8(&value).ok()?;
                    asks_for = path(&format!("{}{text}", self.path_prefix));
                }
                ":authority" => {
                    let host = HeaderValue::from_bytes(&value).ok()?;
                    head.headers.insert(header::HOST, host);
                }
                name => {
                    let pair = super::changes::pair(name, &value);
                    head.headers.extend(pair);
                }
            }
        }
        // A tunnel to the service would ask it nothing.
        head.method = named.filter(|method| *method != Method::CONNECT)?;
        head.uri = asks_for?;
        let length = asked.body.map_or(0, |body| body.data.len());
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        self.add.apply(&mut head.headers, render);
        Some(head)
    }

    /// What an answer means.
    pub fn verdict(&self, status: StatusCode, headers: &HeaderMap, body: Bytes) -> Verdict {
        let told = headers.iter().filter(|(name, _)| *name != TO_REMOVE);
        let told = told.map(|(name, value)| (name.as_str(), value.as_bytes()));
        if status.is_server_error() || status.is_informational() {
            return Verdict::Failed(None);
        }
        if status != StatusCode::OK {
            let mut denial = Denial {
                status: Some(status),
                body,
                ..Denial::default()
            };
            for (name, value) in told.filter(|(name, _)| self.tells(name)) {
                denial.header(name, value);
            }
            return Verdict::Denied(denial);
        }
        let mut changes = Changes::default();
        for (name, value) in told {
            if self.upstream.has(name) {
                changes.set(name, value);
            }
            if self.upstream_append.has(name) {
                changes.add(name, value);
            }
            if self.client_on_success.has(name) {
                changes.answer(Append::Append, name, value);
            }
        }
        let lists = headers.get_all(TO_REMOVE).iter();
        let lists = lists.filter_map(|list| list.to_str().ok());
        for name in lists.flat_map(|list| list.split(',')) {
            changes.remove(name.trim());
        }
        Verdict::Allowed(Box::new(changes))
    }

    fn tells(&self, name: &str) -> bool {
        self.client.0.is_empty() || self.client.has(name) || TOLD.contains(&name)
    }
}
