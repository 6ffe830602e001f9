//! JSON Web Tokens (RFC 7519) of requests: which are demanded, whether they are good, and what goes on of them, as in
//! Envoy. [`Settings`] is what a file says, [`Compiled`] what is asked for each request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::matcher::{self, Matcher, RequestView, Test, Text};

mod audience;
mod failure;
mod keys;
mod need;
mod place;
mod token;

use audience::Audiences;
use need::{Allow, Need};
use place::{Found, Places, header_name};
use token::Token;

pub use failure::Failure;
pub use keys::{Keys, NoKeys};

/// How far clocks may be apart where nothing is said.
pub const CLOCK_SKEW_S: u32 = 60;

/// What a filter demands of requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Who makes tokens, by the names that requirements have for them; in the order of these.
    pub providers: Vec<(String, Provider)>,
    /// The first whose condition holds counts; a request for which none does needs no token.
    pub rules: Vec<(Matcher, Requirement)>,
    /// Requirements that routes name; in the order of their names.
    pub named: Vec<(String, Requirement)>,
    /// A preflight needs no token.
    pub bypass_preflight: bool,
    /// A refusal does not tell why.
    pub silent: bool,
}

/// Who makes tokens, and what is done with them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provider {
    /// The claim `iss`; empty: anybody's.
    pub issuer: String,
    /// Of the claim `aud` one must be among these; empty: whatever it is.
    pub audiences: Vec<String>,
    /// What the claim `sub` must be.
    pub subject: Option<Text>,
    /// A token must end.
    pub must_end: bool,
    /// A token must end sooner than this from now.
    pub lifetime: Option<Duration>,
    /// How far clocks may be apart, in seconds.
    pub skew_s: u32,
    /// The key set, as JSON; empty: no token is good.
    pub keys: String,
    /// Headers in which tokens are looked for, and what comes before them.
    pub headers: Vec<(String, String)>,
    /// Parameters of the path in which they are.
    pub parameters: Vec<String>,
    /// Cookies in which they are.
    pub cookies: Vec<String>,
    /// The token goes on with the request.
    pub forward: bool,
    /// The header that tells the upstream what the token says, in base64url.
    pub payload_header: Option<String>,
    /// With padding.
    pub pad_payload: bool,
    /// Headers that tell one claim each.
    pub claims: Vec<Claim>,
}

/// A claim that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// By this header.
    pub header: String,
    /// Its name; with dots: the way inward.
    pub name: String,
}

/// Which tokens a request needs.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Requirement {
    /// None.
    #[default]
    Nothing,
    /// One of this provider, for one of these audiences; empty: for the provider's.
    Provider(String, Vec<String>),
    /// One of these.
    Any(Vec<Requirement>),
    /// All of these.
    All(Vec<Requirement>),
    /// What is there must be good, whoever has made it.
    Missing,
    /// Nothing; but what is good goes on.
    MissingOrFailed,
}

/// What a route says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// Nothing: the rules count.
    #[default]
    Rules,
    /// No token is needed.
    Off,
    /// The requirement of this name counts.
    Named(String),
}

/// [`Settings`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    providers: Vec<Ready>,
    rules: Vec<(matcher::Compiled, Need)>,
    named: Vec<(String, Need)>,
    /// What only we say, of all providers.
    ours: Places,
    bypass_preflight: bool,
    /// A refusal does not tell why.
    pub silent: bool,
}

/// A provider that can be asked.
#[derive(Debug)]
struct Ready {
    issuer: String,
    audiences: Audiences,
    subject: Option<Test>,
    must_end: bool,
    lifetime: Option<Duration>,
    skew: u64,
    keys: Keys,
    forward: bool,
    payload: Option<HeaderName>,
    pad: bool,
    claims: Vec<(HeaderName, String)>,
}

/// A request, with all that may change of it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its host.
    pub authority: &'a str,
    /// Its headers.
    pub headers: &'a mut HeaderMap,
    /// What it asks for.
    pub uri: &'a mut Uri,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on: it is a preflight.
    Preflight,
    /// It goes on.
    Allowed,
    /// It is refused.
    Refused(Failure),
    /// Its route names a requirement that there is not; why, in Envoy's words.
    Unknown(String),
}

impl Compiled {
    /// Compiles settings; the error names what cannot be.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let providers = settings
            .providers
            .iter()
            .map(|(name, it)| Ready::new(it).map_err(|what| format!("provider `{name}`: {what}")))
            .collect::<Result<_, _>>()?;
        let need = |it| Need::new(it, &settings.providers);
        Ok(Self {
            providers,
            rules: settings
                .rules
                .iter()
                .map(|(when, it)| Ok((matcher::Compiled::new(when)?, need(it)?)))
                .collect::<Result<_, String>>()?,
            named: settings
                .named
                .iter()
                .map(|(name, it)| Ok((name.clone(), need(it)?)))
                .collect::<Result<_, String>>()?,
            ours: Places::of(settings.providers.iter().map(|(_, it)| it))?,
            bypass_preflight: settings.bypass_preflight,
            silent: settings.silent,
        })
    }

    /// What becomes of a request at a time since 1970; what its tokens say is told by its headers.
    pub fn judge(&self, route: &Route, asked: &mut Asked<'_>, now: Duration) -> Verdict {
        // Also of requests that need no token: an upstream believes these headers.
        self.ours.clear(asked.headers);
        if self.bypass_preflight && is_preflight(asked) {
            return Verdict::Preflight;
        }
        let need = match route {
            Route::Off => None,
            Route::Named(wanted) => match self.named.iter().find(|(name, _)| name == wanted) {
                Some((_, need)) => Some(need),
                None => return Verdict::Unknown(self.unknown(wanted)),
            },
            Route::Rules => {
                let view = RequestView {
                    method: asked.method.as_str(),
                    authority: asked.authority,
                    path: asked.uri.path(),
                    query: asked.uri.query(),
                    headers: asked.headers,
                };
                let mut rules = self.rules.iter();
                rules
                    .find(|(when, _)| when.matches(&view))
                    .map(|(_, need)| need)
            }
        };
        match need.map_or(Ok(()), |need| need.met(self, asked, now)) {
            Ok(()) => Verdict::Allowed,
            Err(failure) => Verdict::Refused(failure),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<_> = self.named.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "Wrong requirement_name: {name}. It should be one of [{}]",
            known.join(",")
        )
    }

    /// Looks at all tokens of some places, the last first. Of a provider each must be good: an upstream may look at
    /// another one of them than we do.
    fn look(
        &self,
        provider: Option<usize>,
        audiences: Option<&Audiences>,
        (places, allow): (&Places, Allow),
        asked: &mut Asked<'_>,
        now: Duration,
    ) -> Result<(), Failure> {
        places.clear(asked.headers);
        let found = places.find(asked.headers, asked.uri);
        let mut last = Err(Failure::Missing);
        for token in found.iter().rev() {
            last = self.check(provider, audiences, token, asked, now);
            if last.is_err() && allow == Allow::Good {
                return last;
            }
        }
        match allow {
            Allow::Anything => Ok(()),
            Allow::Missing if last == Err(Failure::Missing) => Ok(()),
            Allow::Good | Allow::Missing => last,
        }
    }

    fn check(
        &self,
        provider: Option<usize>,
        audiences: Option<&Audiences>,
        found: &Found<'_>,
        asked: &mut Asked<'_>,
        now: Duration,
    ) -> Result<(), Failure> {
        let token: Token = found.text.parse()?;
        if !found.may_be_of(&token.issuer) {
            return Err(Failure::Issuer);
        }
        let ready = match provider {
            Some(index) => self.providers.get(index),
            None => self.of_issuer(&token.issuer),
        };
        let ready = ready.ok_or(Failure::Issuer)?;
        token.in_time(now.as_secs(), ready.skew)?;
        if !audiences
            .unwrap_or(&ready.audiences)
            .allow(&token.audiences)
        {
            return Err(Failure::Audience);
        }
        ready.allows(&token, now)?;
        ready.keys.verify(&token)?;
        ready.tell(&token, asked.headers);
        if !ready.forward {
            found.remove(asked.headers, asked.uri);
        }
        Ok(())
    }

    /// The first that is for an issuer; else the first that is for all.
    fn of_issuer(&self, issuer: &str) -> Option<&Ready> {
        let of = |issuer: &str| self.providers.iter().find(|it| it.issuer == issuer);
        of(issuer).or_else(|| of(""))
    }
}

impl Ready {
    fn new(it: &Provider) -> Result<Self, String> {
        let keys = match it.keys.as_str() {
            // Nobody's tokens are good.
            "" => Ok(Keys::default()),
            text => Keys::read(text),
        };
        let keys = keys.map_err(|why| match why {
            NoKeys::Invalid(what) | NoKeys::Unsupported(what) => what,
        })?;
        Ok(Self {
            issuer: it.issuer.clone(),
            audiences: Audiences::new(&it.audiences),
            subject: it.subject.as_ref().map(Test::new).transpose()?,
            must_end: it.must_end,
            lifetime: it.lifetime,
            skew: it.skew_s.into(),
            keys,
            forward: it.forward,
            payload: it.payload_header.as_deref().map(header_name).transpose()?,
            pad: it.pad_payload,
            claims: it
                .claims
                .iter()
                .map(|claim| Ok((header_name(&claim.header)?, claim.name.clone())))
                .collect::<Result<_, String>>()?,
        })
    }

    /// Whom it is about, and how long it lasts.
    fn allows(&self, token: &Token, now: Duration) -> Result<(), Failure> {
        let subject = self.subject.as_ref();
        let subject = subject.is_none_or(|it| it.holds(token.subject.as_bytes()));
        let left = Duration::from_secs(token.expires).saturating_sub(now);
        let short = match self.lifetime {
            Some(most) => token.expires != 0 && left < most,
            None => token.expires != 0 || !self.must_end,
        };
        if subject && short {
            Ok(())
        } else {
            Err(Failure::Verification)
        }
    }

    fn tell(&self, token: &Token, headers: &mut HeaderMap) {
        // A text that a header cannot have, a line feed in it, is not told.
        let mut add = |name: &HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.append(name, value);
            }
        };
        if let Some(name) = &self.payload {
            let mut text = token.payload.clone();
            while self.pad && !text.len().is_multiple_of(4) {
                text.push('=');
            }
            add(name, &text);
        }
        for (name, claim) in &self.claims {
            if let Some(text) = token.tell(claim) {
                add(name, &text);
            }
        }
    }
}

fn is_preflight(asked: &Asked<'_>) -> bool {
    let has = |name: HeaderName| asked.headers.get(name).is_some_and(|it| !it.is_empty());
    *asked.method == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests;
