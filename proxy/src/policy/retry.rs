//! Retries: which failures are worth another try, how many, after how long. Envoy's conditions and limits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::{
    grpc,
    matcher::{self, Matcher, Named, RequestView},
};

mod backoff;
mod budget;
mod condition;

pub use backoff::{Backoff, RateLimited, ResetFormat};
pub use budget::{Budget, Limit};
pub use condition::On;

/// When and how often a request is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What is worth another try; empty: nothing, unless a client that may asks for it.
    pub on: On,
    /// Tries after the first.
    pub retries: u32,
    /// An attempt's answer must have begun within this; `None`: no bound but the request's.
    pub per_try_timeout: Option<Duration>,
    /// An attempt on which nothing moves for so long has failed.
    pub per_try_idle_timeout: Option<Duration>,
    /// How long is waited before a retry.
    pub backoff: Backoff,
    /// How long, where the answer says how long.
    pub rate_limited: Option<RateLimited>,
    /// For [`On::STATUSES`].
    pub statuses: Vec<u16>,
    /// For [`On::HEADERS`]: any of these conditions on the answer's headers.
    pub headers: Vec<Named>,
    /// Only requests of which any of these conditions holds are retried; empty: all.
    pub request_headers: Vec<Named>,
    /// Endpoints that were tried already are passed over.
    pub other_hosts: bool,
    /// How often another endpoint is picked in place of one that was tried, before that is taken after all.
    pub host_picks: u32,
    /// After so many attempts, the priorities that were tried are passed over; `None`: they are not.
    pub other_priorities: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on: On::NOTHING,
            retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            backoff: Backoff::default(),
            rate_limited: None,
            statuses: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            other_hosts: false,
            host_picks: 1,
            other_priorities: None,
        }
    }
}

/// A [`Policy`] that can be asked.
#[derive(Debug, Default)]
pub struct Compiled {
    /// What it was compiled from.
    pub policy: Policy,
    headers: Vec<matcher::Compiled>,
    request_headers: Vec<matcher::Compiled>,
}

/// The retries of one request.
#[derive(Debug)]
pub struct Retries<'a> {
    policy: &'a Compiled,
    on: On,
    left: u32,
    statuses: Vec<u16>,
    headers: Vec<HeaderName>,
    /// Retries so far.
    done: u32,
}

/// What a client that may asks for.
#[derive(Debug, Default)]
pub struct Wish {
    /// More conditions.
    pub on: On,
    /// In place of the policy's number.
    pub retries: Option<u32>,
    /// More statuses.
    pub statuses: Vec<u16>,
    /// More headers of answers; their presence counts.
    pub headers: Vec<HeaderName>,
}

/// How an attempt without an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// No connection could be made.
    Connect,
    /// The upstream did not process it and said so (HTTP/2's `REFUSED_STREAM`).
    Refused,
    /// It broke before the request was sent.
    Unsent,
    /// It broke, or what came was no answer.
    Broken,
    /// Its own time was over.
    TimedOut,
    /// A limit of ours was reached.
    Overflow,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With an answer.
    Answer(StatusCode, &'a HeaderMap),
    /// Without one.
    Reset(Reset),
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Stands,
    /// It would be tried again, but it was often enough.
    Exhausted,
    /// It is tried again.
    Again,
}

impl Compiled {
    /// Compiles the policy; the error names the condition that cannot be.
    pub fn new(policy: Policy) -> Result<Self, String> {
        let each = |conditions: &[Named]| {
            conditions
                .iter()
                .map(|condition| {
                    matcher::Compiled::new(&Matcher {
                        headers: vec![condition.clone()],
                        ..Matcher::default()
                    })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        policy.backoff.check()?;
        Ok(Self {
            headers: each(&policy.headers)?,
            request_headers: each(&policy.request_headers)?,
            policy,
        })
    }

    /// The retries of a request; `None`: it has none, whatever comes.
    pub fn begin(&self, request: &RequestView<'_>, wish: Wish) -> Option<Retries<'_>> {
        let on = self.policy.on.or(wish.on);
        let held = self.request_headers.is_empty()
            || self.request_headers.iter().any(|it| it.matches(request));
        if on.is_empty() || !held {
            return None;
        }
        let mut statuses = wish.statuses;
        statuses.extend(&self.policy.statuses);
        Some(Retries {
            policy: self,
            on,
            left: wish.retries.unwrap_or(self.policy.retries),
            statuses,
            headers: wish.headers,
            done: 0,
        })
    }
}

impl Retries<'_> {
    /// What is done about an attempt's end. Where it is tried again, one retry less is left.
    pub fn verdict(&mut self, outcome: Outcome<'_>) -> Verdict {
        if self.is_worth_it(outcome) {
            self.hedge()
        } else {
            Verdict::Stands
        }
    }

    /// How many more endpoints are picked for one that was not tried yet; `None`: it makes no difference.
    pub fn other_hosts(&self) -> Option<u32> {
        let policy = &self.policy.policy;
        policy.other_hosts.then_some(policy.host_picks)
    }

    /// After how many attempts the priorities that were tried are passed over; `None`: they are not.
    pub fn other_priorities(&self) -> Option<u32> {
        self.policy.policy.other_priorities
    }

    /// What would be done about an attempt's end, were it not followed by another one already.
    pub fn would(&self, outcome: Outcome<'_>) -> Verdict {
        if self.is_worth_it(outcome) {
            Verdict::Exhausted
        } else {
            Verdict::Stands
        }
    }

    fn is_worth_it(&self, outcome: Outcome<'_>) -> bool {
        match outcome {
            Outcome::Answer(status, headers) => self.is_worth(status, headers),
            Outcome::Reset(reset) => self.on.has_reset(reset),
        }
    }

    /// Whether an attempt whose time is over may be joined by another one, and if so, one retry less is left.
    pub fn hedge(&mut self) -> Verdict {
        match self.left.checked_sub(1) {
            None => Verdict::Exhausted,
            Some(left) => {
                self.left = left;
                self.done += 1;
                Verdict::Again
            }
        }
    }

    /// How long is waited before the retry that was just granted; `chance` is in [0, 1), `now_s` the time of day.
    pub fn wait(&self, outcome: Outcome<'_>, chance: f64, now_s: u64) -> Duration {
        let told = match (&self.policy.policy.rate_limited, outcome) {
            (Some(limited), Outcome::Answer(_, headers)) => limited.wait(headers, chance, now_s),
            _ => None,
        };
        told.unwrap_or_else(|| self.policy.policy.backoff.wait(self.done, chance))
    }

    fn is_worth(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if headers.contains_key("x-envoy-ratelimited") {
            return self.on.has(On::RATE_LIMITED);
        }
        let code = status.as_u16();
        (self.on.has(On::SERVER_ERROR) && status.is_server_error())
            || (self.on.has(On::GATEWAY_ERROR) && matches!(code, 502..=504))
            || (self.on.has(On::CONFLICT) && code == 409)
            || (self.on.has(On::STATUSES) && self.statuses.contains(&code))
            || (self.on.has(On::HEADERS) && self.asks(headers))
            || self.on.has_grpc(grpc::status(headers))
    }

    fn asks(&self, headers: &HeaderMap) -> bool {
        let view = RequestView {
            method: "",
            authority: "",
            path: "",
            query: None,
            headers,
        };
        self.headers.iter().any(|name| headers.contains_key(name))
            || self.policy.headers.iter().any(|it| it.matches(&view))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::policy::matcher::{How, Text};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn view(headers: &HeaderMap) -> RequestView<'_> {
        RequestView {
            method: "GET",
            authority: "shop.test",
            path: "/",
            query: None,
            headers,
        }
    }

    fn named(name: &str, value: Option<&str>) -> Named {
        Named {
            name: name.to_owned(),
            value: value.map(|value| Text {
                how: How::Exact(value.to_owned()),
                ignore_case: false,
            }),
            invert: false,
            absent_as: None,
        }
    }

    fn policy(on: &str) -> Policy {
        Policy {
            on: On::parse(on),
            statuses: vec![418],
            headers: vec![named("x-again", Some("yes"))],
            ..Policy::default()
        }
    }

    fn answers(on: &str, status: u16, with: &[(&'static str, &str)]) -> bool {
        let compiled = Compiled::new(policy(on)).unwrap();
        let none = HeaderMap::new();
        let mut retries = compiled.begin(&view(&none), Wish::default()).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        retries.verdict(Outcome::Answer(status, &headers(with))) == Verdict::Again
    }

    #[test]
    fn answers_are_retried_by_condition() {
        for (on, yes, no) in [
            ("5xx", &[500, 501, 503, 599][..], &[200, 409, 418, 499][..]),
            ("gateway-error", &[502, 503, 504], &[500, 501, 505]),
            ("retriable-4xx", &[409], &[400, 404, 429]),
            ("retriable-status-codes", &[418], &[417, 503]),
            ("connect-failure", &[], &[503, 504]),
        ] {
            for status in yes {
                assert!(answers(on, *status, &[]), "{on} {status}");
            }
            for status in no {
                assert!(!answers(on, *status, &[]), "{on} {status}");
            }
        }
        assert!(answers("retriable-headers", 200, &[("x-again", "yes")]));
        assert!(!answers("retriable-headers", 200, &[("x-again", "no")]));
        // An answer that was limited is retried for that alone.
        assert!(!answers("5xx", 503, &[("x-envoy-ratelimited", "true")]));
        assert!(answers(
            "envoy-ratelimited",
            200,
            &[("x-envoy-ratelimited", "true")]
        ));
    }

    #[test]
    fn grpc_statuses_are_retried_by_name() {
        for (on, status) in [
            ("cancelled", "1"),
            ("deadline-exceeded", "4"),
            ("resource-exhausted", "8"),
            ("internal", "13"),
            ("unavailable", "14"),
        ] {
            for other in ["0", "1", "4", "8", "13", "14", "junk"] {
                assert_eq!(
                    answers(on, 200, &[("grpc-status", other)]),
                    other == status,
                    "{on} {other}"
                );
            }
        }
    }

    #[test]
    fn resets_are_retried_by_condition() {
        use Reset::*;
        let all = [Connect, Refused, Unsent, Broken, TimedOut, Overflow];
        for (on, yes) in [
            ("5xx", &[Connect, Refused, Unsent, Broken, TimedOut][..]),
            (
                "gateway-error",
                &[Connect, Refused, Unsent, Broken, TimedOut],
            ),
            ("reset", &[Connect, Refused, Unsent, Broken, TimedOut]),
            ("reset-before-request", &[Connect, Unsent]),
            ("connect-failure", &[Connect]),
            ("refused-stream", &[Refused]),
            ("retriable-4xx", &[]),
            ("unavailable", &[]),
        ] {
            let compiled = Compiled::new(policy(on)).unwrap();
            for reset in all {
                let none = HeaderMap::new();
                let mut retries = compiled.begin(&view(&none), Wish::default()).unwrap();
                let again = retries.verdict(Outcome::Reset(reset)) == Verdict::Again;
                assert_eq!(again, yes.contains(&reset), "{on} {reset:?}");
            }
        }
    }

    #[test]
    fn retries_are_counted() {
        let compiled = Compiled::new(Policy {
            retries: 2,
            ..policy("5xx")
        })
        .unwrap();
        let none = HeaderMap::new();
        let broken = Outcome::Reset(Reset::Broken);
        let mut retries = compiled.begin(&view(&none), Wish::default()).unwrap();
        let verdicts = [broken; 3].map(|outcome| retries.verdict(outcome));
        assert_eq!(
            verdicts,
            [Verdict::Again, Verdict::Again, Verdict::Exhausted]
        );
        let fine = Outcome::Answer(StatusCode::OK, &none);
        assert_eq!(retries.verdict(fine), Verdict::Stands);
    }

    #[test]
    fn a_client_that_may_adds_conditions_and_sets_the_number() {
        let compiled = Compiled::new(Policy::default()).unwrap();
        let none = HeaderMap::new();
        assert!(compiled.begin(&view(&none), Wish::default()).is_none());
        let wish = Wish {
            on: On::parse("retriable-status-codes,retriable-headers"),
            retries: Some(3),
            statuses: vec![425],
            headers: vec![HeaderName::from_static("x-more")],
        };
        let mut retries = compiled.begin(&view(&none), wish).unwrap();
        let mut verdict = |status: u16, with: &[(&'static str, &str)]| {
            let status = StatusCode::from_u16(status).unwrap();
            retries.verdict(Outcome::Answer(status, &headers(with)))
        };
        assert_eq!(verdict(503, &[]), Verdict::Stands);
        assert_eq!(verdict(425, &[]), Verdict::Again);
        assert_eq!(verdict(200, &[("x-more", "")]), Verdict::Again);
        assert_eq!(verdict(425, &[]), Verdict::Again);
        assert_eq!(verdict(425, &[]), Verdict::Exhausted);
    }

    #[test]
    fn requests_may_be_told_apart_by_their_headers() {
        let compiled = Compiled::new(Policy {
            request_headers: vec![named("x-may", None)],
            ..policy("5xx")
        })
        .unwrap();
        let (without, with) = (HeaderMap::new(), headers(&[("x-may", "")]));
        assert!(compiled.begin(&view(&without), Wish::default()).is_none());
        assert!(compiled.begin(&view(&with), Wish::default()).is_some());
    }
}
