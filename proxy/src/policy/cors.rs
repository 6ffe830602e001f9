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
    /// Requests are looked at.
    pub enabled: bool,
    /// Origins that may; one that matches `*` is for all. Empty: not said.
    pub origins: Vec<Text>,
    /// `access-control-allow-methods`; `*`: the one that is asked for; empty: not said.
    pub methods: String,
    /// `access-control-allow-headers`; `*`: those that are asked for; empty: not said.
    pub headers: String,
    /// `access-control-expose-headers`; empty: not said.
    pub expose: String,
    /// `access-control-max-age`; empty: not said.
    pub max_age: String,
    /// Credentials may be sent; `None`: not said, so no.
    pub credentials: Option<bool>,
    /// Addresses of private networks may be asked for; `None`: not said, so no.
    pub private_network: Option<bool>,
    /// A preflight of an origin that may not goes to the upstream, else it is answered here; `None`: not said, so it goes.
    pub forward_others: Option<bool>,
}

impl Policy {
    /// What a route says, and its host where the route says nothing. Whether it is enabled is the route's to say.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        let text = |inner: &String, outer: &String| {
            let said = if inner.is_empty() { outer } else { inner };
            said.clone()
        };
        let origins = if self.origins.is_empty() {
            &outer.origins
        } else {
            &self.origins
        };
        Self {
            enabled: self.enabled,
            origins: origins.clone(),
            methods: text(&self.methods, &outer.methods),
            headers: text(&self.headers, &outer.headers),
            expose: text(&self.expose, &outer.expose),
            max_age: text(&self.max_age, &outer.max_age),
            credentials: self.credentials.or(outer.credentials),
            private_network: self.private_network.or(outer.private_network),
            forward_others: self.forward_others.or(outer.forward_others),
        }
    }
}

/// A [`Policy`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    all: bool,
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
        let origins = policy.origins.iter().map(matcher::Test::new);
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            all: origins.iter().any(|it| it.holds(b"*")),
            origins,
            methods: value(&policy.methods)?,
            headers: value(&policy.headers)?,
            expose: value(&policy.expose)?,
            max_age: value(&policy.max_age)?,
            credentials: policy.credentials.unwrap_or(false),
            private_network: policy.private_network.unwrap_or(false),
            forward_others: policy.forward_others.unwrap_or(true),
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
        let allowed = self.all || self.origins.iter().any(|it| it.holds(origin.as_bytes()));
        let preflight = *method == Method::OPTIONS
            && headers
                .get(header::ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        match (allowed, preflight) {
            (true, false) => Verdict::Allowed(origin.clone()),
            (false, false) => Verdict::Plain,
            (false, true) if self.forward_others => Verdict::Plain,
            (false, true) => Verdict::Preflight(None, self.preflight(headers)),
            (true, true) => Verdict::Preflight(Some(origin.clone()), self.preflight(headers)),
        }
    }

    /// But for what all answers to the origin are marked with.
    fn preflight(&self, asked: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        for (name, value, of) in [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                &self.methods,
                Some(header::ACCESS_CONTROL_REQUEST_METHOD),
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                &self.headers,
                Some(header::ACCESS_CONTROL_REQUEST_HEADERS),
            ),
            (header::ACCESS_CONTROL_MAX_AGE, &self.max_age, None),
        ] {
            let Some(value) = value else {
                continue;
            };
            let empty = HeaderValue::from_static("");
            let value = match of {
                Some(of) if value == "*" => asked.get(of).cloned().unwrap_or(empty),
                _ => value.clone(),
            };
            answer.insert(name, value);
        }
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
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

#[cfg(test)]
mod tests {
    use super::{super::matcher::How, *};

    fn policy(origin: &str) -> Policy {
        let how = How::Exact(origin.to_owned());
        let ignore_case = false;
        Policy {
            enabled: true,
            origins: vec![Text { how, ignore_case }],
            methods: "*".to_owned(),
            headers: "*".to_owned(),
            expose: String::new(),
            max_age: "10".to_owned(),
            credentials: Some(true),
            private_network: None,
            forward_others: None,
        }
    }

    fn asked(origin: &'static str) -> HeaderMap {
        [
            (header::ORIGIN, origin),
            (header::ACCESS_CONTROL_REQUEST_METHOD, "PUT"),
        ]
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect()
    }

    #[test]
    fn an_origin_that_is_a_star_is_for_all() {
        let all = Compiled::new(&policy("*")).unwrap();
        let verdict = all.judge(&Method::GET, &asked("https://b.test"));
        assert!(
            matches!(verdict, Verdict::Allowed(origin) if origin == "https://b.test"),
            "a star allows every origin"
        );
    }

    #[test]
    fn a_star_answers_with_what_was_asked_for() {
        let all = Compiled::new(&policy("*")).unwrap();
        let verdict = all.judge(&Method::OPTIONS, &asked("https://b.test"));
        let Verdict::Preflight(Some(_), headers) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "");
    }

    #[test]
    fn an_answered_preflight_of_another_origin_says_all_but_the_origin() {
        let mut policy = policy("https://a.test");
        policy.forward_others = Some(false);
        let verdict = Compiled::new(&policy)
            .unwrap()
            .judge(&Method::OPTIONS, &asked("https://b.test"));
        let Verdict::Preflight(None, headers) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "10");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    }

    #[test]
    fn what_a_route_leaves_open_its_host_says() {
        let mut route = policy("https://a.test");
        route.methods = String::new();
        route.credentials = Some(false);
        let mut host = policy("https://b.test");
        host.methods = "DELETE".to_owned();
        host.enabled = false;
        let both = route.over(&host);
        assert!(both.enabled);
        assert_eq!(both.origins, route.origins);
        assert_eq!(both.methods, "DELETE");
        assert_eq!(both.credentials, Some(false));
    }
}
