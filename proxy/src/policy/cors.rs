//! Cross-origin requests (the Fetch standard's CORS protocol), as Envoy's filter answers them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::matcher::{self, Text};

/// `access-control-request-private-network`.
const REQUEST_PRIVATE: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
/// `access-control-allow-private-network`.
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Who may do what from another origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Origins that may.
    pub origins: Vec<Text>,
    /// `access-control-allow-methods`; empty: not said.
    pub methods: String,
    /// `access-control-allow-headers`; empty: not said.
    pub headers: String,
    /// `access-control-expose-headers`; empty: not said.
    pub expose: String,
    /// `access-control-max-age`; empty: not said.
    pub max_age: String,
    /// Credentials may be sent.
    pub credentials: bool,
    /// Addresses of private networks may be asked for.
    pub private_network: bool,
    /// A preflight of an origin that may not goes to the upstream; else it is answered here.
    pub forward_others: bool,
}

/// A [`Policy`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    origins: Vec<matcher::Test>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    private_network: bool,
    forward_others: bool,
}

/// What a request is, for a policy.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Nothing of the policy's concern.
    Plain,
    /// A request of this origin, which may: its answer says so.
    Allowed(HeaderValue),
    /// A preflight of an origin that may, or may not: it is answered with these headers.
    Preflight(Option<HeaderValue>, HeaderMap),
}

impl Compiled {
    /// Compiles a policy; the error names what cannot be.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let value = |text: &String| {
            if text.is_empty() {
                return Ok(None);
            }
            HeaderValue::from_str(text).map(Some).map_err(|_| {
                let text = text.escape_debug();
                format!("`{text}` is not a value that a header can have")
            })
        };
        Ok(Self {
            origins: policy
                .origins
                .iter()
                .map(matcher::Test::new)
                .collect::<Result<_, _>>()?,
            methods: value(&policy.methods)?,
            headers: value(&policy.headers)?,
            expose: value(&policy.expose)?,
            max_age: value(&policy.max_age)?,
            credentials: policy.credentials,
            private_network: policy.private_network,
            forward_others: policy.forward_others,
        })
    }

    /// What the request is.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let Some(origin) = headers
            .get(header::ORIGIN)
            .filter(|origin| !origin.is_empty())
        else {
            return Verdict::Plain;
        };
        let allowed = self.origins.iter().any(|it| it.holds(origin.as_bytes()));
        let preflight = *method == Method::OPTIONS
            && headers
                .get(header::ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        match (allowed, preflight) {
            (true, false) => Verdict::Allowed(origin.clone()),
            (false, false) => Verdict::Plain,
            (false, true) if self.forward_others => Verdict::Plain,
            (false, true) => Verdict::Preflight(None, HeaderMap::new()),
            (true, true) => Verdict::Preflight(Some(origin.clone()), self.preflight(headers)),
        }
    }

    /// But for what all answers to the origin are marked with.
    fn preflight(&self, asked: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ] {
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        }
        if self.private_network && asked.get(REQUEST_PRIVATE) == Some(&TRUE) {
            answer.insert(ALLOW_PRIVATE, TRUE);
        }
        answer
    }

    /// Tells the client that the origin may read the answer.
    pub fn mark(&self, origin: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(expose) = &self.expose {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}
