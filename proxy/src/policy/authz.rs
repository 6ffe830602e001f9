//! Asking another service whether a request may go on, as Envoy's external authorization does: what the service is told
//! of the request, and what its answer means.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{HeaderName, Method, StatusCode, Uri, header, request, uri::PathAndQuery};

use super::matcher::{Test, Text};
use crate::unit::Share;

mod changes;
pub mod grpc;
pub mod web;

pub use changes::{Changes, Denial};

/// Tells the service whether what it has of a body is all of it; what a client says of that is not passed on.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// Who is asked what of which requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What comes before the names of its counts; empty: nothing.
    pub stat_prefix: String,
    /// The cluster of the service.
    pub cluster: String,
    /// How long an answer may take; `None`: for ever.
    pub timeout: Option<Duration>,
    /// How the service is asked.
    pub service: Service,
    /// Of which requests it is asked.
    pub enabled: Share,
    /// Others are refused.
    pub refuses_others: bool,
    /// What becomes of requests where there is no answer.
    pub on_error: OnError,
    /// The status of those that are refused then.
    pub error_status: u16,
    /// How much of a body the service is told; `None`: nothing.
    pub body: Option<Body>,
    /// Only headers with such names are told, and to a service of HTTP a few more; `None`: all, or only these few.
    pub allowed: Option<Vec<Text>>,
    /// Headers with such names are not told.
    pub disallowed: Vec<Text>,
    /// Where the answer has changed the request, its route is looked up anew.
    pub reroutes: bool,
}

/// How a service is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// By a request that is like the client's.
    Web(web::Settings),
    /// By a call.
    Grpc(grpc::Settings),
}

/// What becomes of a request that nobody has decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is refused.
    Refuse,
    /// It goes on; `told`: with a header that says so.
    Allow {
        /// Whether its upstream is told.
        told: bool,
    },
}

/// How much of a body a service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// So many bytes, above 0.
    pub most: u32,
    /// Of a longer one these; else it is answered 413.
    pub partial: bool,
}

/// What a route says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The service is not asked.
    pub off: bool,
    /// What the service is told of the route.
    pub context: BTreeMap<String, String>,
    /// In place of the filter's own.
    pub body: Option<Body>,
    /// The service is told no body.
    pub bodiless: bool,
}

/// A request, as far as a service is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its head.
    pub head: &'a request::Parts,
    /// What is there of its body; `None`: the service is told none.
    pub body: Option<Beginning<'a>>,
}

/// The beginning of a body, or all of it.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// It.
    pub data: &'a [u8],
    /// There is more of it.
    pub partial: bool,
}

/// [`Settings`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    /// The settings.
    pub settings: Settings,
    /// How the service is asked.
    pub service: CompiledService,
    /// What requests are refused with where there is no answer.
    pub error_status: StatusCode,
    allowed: Option<Names>,
    disallowed: Names,
}

/// A [`Service`] that can be asked.
#[derive(Debug)]
pub enum CompiledService {
    /// By a request.
    Web(web::Compiled),
    /// By a call.
    Grpc(grpc::Compiled),
}

/// What a service has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on, changed so.
    Allowed(Box<Changes>),
    /// The client is answered this.
    Denied(Denial),
    /// Nothing that counts; the client may be answered this.
    Failed(Option<Denial>),
}

/// A header's name and value, as services are told.
type Told<'a> = (&'a str, Cow<'a, [u8]>);

/// Names of headers.
#[derive(Debug, Default)]
struct Names(Vec<Test>);

impl Names {
    fn new(texts: &[Text]) -> Result<Self, String> {
        texts
            .iter()
            .map(Test::new)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|test| test.holds(name.as_bytes()))
    }
}

impl Route {
    /// What it says, over what was said outside of it.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        let mut context = outer.context.clone();
        context.extend(self.context.clone());
        Self {
            context,
            ..self.clone()
        }
    }

    /// How much of a body the service is told.
    pub fn body(&self, own: Option<Body>) -> Option<Body> {
        self.body.or(own).filter(|_| !self.bodiless)
    }
}

impl Compiled {
    /// Compiles the settings; the error names what of them cannot be.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            allowed: settings.allowed.as_deref().map(Names::new).transpose()?,
            disallowed: Names::new(&settings.disallowed)?,
            service: match &settings.service {
                Service::Web(web) => CompiledService::Web(web::Compiled::new(web)?),
                Service::Grpc(grpc) => CompiledService::Grpc(grpc::Compiled::new(grpc)?),
            },
            error_status: StatusCode::from_u16(settings.error_status)
                .map_err(|_| format!("{} is not a status", settings.error_status))?,
            settings: settings.clone(),
        })
    }

    /// The headers that the service is told, as Envoy names them; those of a name are one.
    fn told<'a>(&self, asked: &Asked<'a>) -> Vec<Told<'a>> {
        let head = asked.head;
        let path = head.uri.path_and_query().map(PathAndQuery::as_str);
        let scheme = head.headers.get("x-forwarded-proto");
        let pseudo = [
            (
                ":authority",
                head.headers
                    .get(header::HOST)
                    .map(http::HeaderValue::as_bytes),
            ),
            (":path", path.map(str::as_bytes)),
            (":method", Some(head.method.as_str().as_bytes())),
            (":scheme", Some(scheme.map_or(b"http", |it| it.as_bytes()))),
        ];
        let mut told: Vec<Told<'a>> = pseudo
            .into_iter()
            .filter_map(|(name, value)| Some((name, Cow::Borrowed(value?))))
            .filter(|(name, _)| self.tells(name))
            .collect();
        let names = head.headers.keys().filter(|name| **name != header::HOST);
        for name in names.filter(|name| name.as_str() != PARTIAL_BODY && self.tells(name.as_str()))
        {
            let mut values = head.headers.get_all(name).iter();
            let first = values
                .next()
                .map_or(b"".as_slice(), |value| value.as_bytes());
            let mut value = Cow::Borrowed(first);
            for more in values {
                let value = value.to_mut();
                value.push(b',');
                value.extend_from_slice(more.as_bytes());
            }
            told.push((name.as_str(), value));
        }
        if let Some(body) = asked.body {
            let partial: &[u8] = if body.partial { b"true" } else { b"false" };
            told.push((PARTIAL_BODY, Cow::Borrowed(partial)));
        }
        told
    }

    fn tells(&self, name: &str) -> bool {
        if self.disallowed.has(name) {
            return false;
        }
        let always = matches!(self.service, CompiledService::Web(_));
        match &self.allowed {
            None if !always => true,
            None => web::ALWAYS.contains(&name),
            Some(allowed) => allowed.has(name) || (always && web::ALWAYS.contains(&name)),
        }
    }
}

/// Makes the path of what may have bytes that no path has: those are encoded.
fn path(text: &str) -> Option<Uri> {
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' | b'#' => made.push_str(&format!("%{byte:02X}")),
            byte => made.push(char::from(byte)),
        }
    }
    Uri::try_from(made)
        .ok()
        .filter(|uri| uri.authority().is_none())
}

/// What a service names: a header, or what HTTP/2 has instead.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Method,
    Path,
    Authority,
    Header(HeaderName),
}

impl Target {
    /// `None`: there is no such thing.
    fn new(name: &str) -> Option<Self> {
        Some(match name {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" => Self::Authority,
            _ if name.eq_ignore_ascii_case("host") => Self::Authority,
            name => Self::Header(HeaderName::try_from(name).ok()?),
        })
    }
}

fn method(value: &[u8]) -> Option<Method> {
    Method::from_bytes(value).ok()
}

#[cfg(test)]
mod tests;
