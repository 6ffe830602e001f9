//! Which requests are shadowed, to which cluster, within which limits.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    headers::Mutation,
    matcher::{self, Matcher, RequestView},
};
use crate::{
    draw::{Draw, Seed},
    unit::{ByteSize, Share},
};

/// One shadow of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// Name of the shadow, in records and metrics.
    pub id: String,
    /// Number of its side in trace ids, from 1; 0: the copy keeps the primary's trace id (a stand-alone proxy).
    pub side: u8,
    /// Where the copies go.
    pub cluster: String,
    /// Header of the request that names the cluster instead; without it, or where there is no such cluster, nothing is
    /// copied.
    pub cluster_header: Option<String>,
    /// Which requests are looked at.
    pub matcher: Matcher,
    /// Of those, requests that may change something (RFC 9110 §9.2.1) are refused, and counted as skipped.
    pub safe_only: bool,
    /// Share of them that is copied.
    pub share: Share,
    /// What the draw is keyed by.
    pub key: SampleKey,
    /// Suffix of the copy's host, before the port: Envoy's `-shadow`; empty: none.
    pub host_suffix: String,
    /// Headers set on the copy, in order.
    pub set_headers: Vec<(String, String)>,
    /// Headers removed from the copy.
    pub remove_headers: Vec<String>,
    /// What else is done to the copy's headers, after all of that.
    pub mutations: Vec<Mutation>,
    /// The copy's host, in place of the primary's.
    pub host: Option<String>,
    /// The copy says that it comes from within, as Envoy's: `x-envoy-internal`, and our address in `x-forwarded-for`.
    pub internal: bool,
    /// What a copy may cost.
    pub limits: Limits,
    /// Whether both answers are captured and told to the observer in full.
    pub compare: bool,
}

/// What the draw of a sample is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SampleKey {
    /// The request's ordinal.
    #[default]
    Ordinal,
    /// The value of this header; a request without it is drawn by ordinal.
    Header(String),
    /// The value of this cookie; a request without it is drawn by ordinal.
    Cookie(String),
}

/// What the copies of one shadow may cost, per event loop where it is a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Copies under way at once; more wait in the queue.
    pub in_flight: u32,
    /// Copies waiting; more are shed.
    pub queue: u32,
    /// Time from the copy's beginning to the end of its answer.
    pub deadline: Duration,
    /// Longest request body that is copied; a request with a longer one is not mirrored (counted).
    pub request_body: ByteSize,
    /// Bytes of an answer's body that are kept for comparison; beyond it only length and hash count.
    pub response_body: ByteSize,
    /// After a failed connect, copies are shed for this long.
    pub connect_backoff: Duration,
}

/// All requests, without comparison.
impl Default for Mirror {
    fn default() -> Self {
        Self {
            id: String::new(),
            side: 0,
            cluster: String::new(),
            cluster_header: None,
            matcher: Matcher::default(),
            safe_only: false,
            share: Share::ALL,
            key: SampleKey::default(),
            host_suffix: String::new(),
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            mutations: Vec::new(),
            host: None,
            internal: false,
            limits: Limits::default(),
            compare: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 64,
            queue: 256,
            deadline: Duration::from_secs(2),
            request_body: ByteSize(1 << 20),
            response_body: ByteSize(256 << 10),
            connect_backoff: Duration::from_millis(500),
        }
    }
}

/// A [`Mirror`]'s choice, ready to be asked.
#[derive(Debug, Clone)]
pub struct Compiled {
    matcher: matcher::Compiled,
    share: f64,
    key: CompiledKey,
    draw: Draw,
    order: Draw,
}

#[derive(Debug, Clone)]
enum CompiledKey {
    Ordinal,
    Header(HeaderName),
    Cookie(String),
}

/// What names the draws of every shadow's sample: the same for all, so that 5 % of the requests are among 10 % of them.
pub const SAMPLE_RULE: &str = "sample";

/// What names the draws of which side goes first.
pub const ORDER_RULE: &str = "order";

impl Compiled {
    /// Compiles the choice; the error names the condition or the header that cannot be.
    pub fn new(mirror: &Mirror, seed: Seed) -> Result<Self, String> {
        Ok(Self {
            matcher: matcher::Compiled::new(&mirror.matcher)?,
            share: mirror.share.get(),
            key: match &mirror.key {
                SampleKey::Ordinal => CompiledKey::Ordinal,
                SampleKey::Header(name) => CompiledKey::Header(
                    HeaderName::try_from(name)
                        .map_err(|_| format!("`{name}` is not the name of a header"))?,
                ),
                SampleKey::Cookie(name) => CompiledKey::Cookie(name.clone()),
            },
            draw: seed.rule(SAMPLE_RULE),
            order: seed.rule(ORDER_RULE),
        })
    }

    /// Whether the request with this ordinal is copied.
    pub fn chosen(&self, request: &RequestView<'_>, ordinal: u64) -> bool {
        self.matcher.matches(request) && self.unit(request, ordinal) < self.share
    }

    /// Whether the copy of the request with this ordinal is to be sent before the primary's: half of them are, so that
    /// neither side always finds the caches warm. Drawn, not every other one: traffic may alternate by itself.
    pub fn goes_first(&self, ordinal: u64) -> bool {
        self.order.unit_of(&ordinal.to_le_bytes()) < 0.5
    }

    fn unit(&self, request: &RequestView<'_>, ordinal: u64) -> f64 {
        let value = match &self.key {
            CompiledKey::Ordinal => None,
            CompiledKey::Header(name) => request.headers.get(name).map(HeaderValue::as_bytes),
            CompiledKey::Cookie(name) => matcher::cookie(request.headers, name.as_bytes()),
        };
        match value {
            Some(value) => self.draw.unit_of(value),
            None => self.draw.unit_of(&ordinal.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::*;

    fn mirror(share: f64, key: SampleKey) -> Mirror {
        Mirror {
            id: "candidate".to_owned(),
            side: 1,
            cluster: "v2".to_owned(),
            share: Share::new(share).unwrap(),
            key,
            compare: true,
            ..Mirror::default()
        }
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

    #[test]
    fn a_smaller_sample_is_part_of_a_larger_one() {
        let headers = HeaderMap::new();
        let small = Compiled::new(&mirror(0.05, SampleKey::Ordinal), Seed(3)).unwrap();
        let large = Compiled::new(&mirror(0.10, SampleKey::Ordinal), Seed(3)).unwrap();
        let mut chosen = [0, 0];
        for ordinal in 0..20_000 {
            let (a, b) = (
                small.chosen(&view(&headers), ordinal),
                large.chosen(&view(&headers), ordinal),
            );
            assert!(!a || b, "{ordinal} is in 5 % but not in 10 %");
            chosen[0] += u32::from(a);
            chosen[1] += u32::from(b);
        }
        // 3 sigma of 20,000 draws: 92.5 and 127.3.
        assert!((f64::from(chosen[0]) - 1000.0).abs() < 92.5, "{chosen:?}");
        assert!((f64::from(chosen[1]) - 2000.0).abs() < 127.3, "{chosen:?}");
    }

    #[test]
    fn a_sample_by_user_takes_all_or_none_of_a_users_requests() {
        for key in [
            SampleKey::Header("x-user".to_owned()),
            SampleKey::Cookie("user".to_owned()),
        ] {
            let compiled = Compiled::new(&mirror(0.5, key), Seed(9)).unwrap();
            let mut sides = [0, 0];
            for user in 0..200 {
                let mut headers = HeaderMap::new();
                let id = format!("u{user}");
                headers.insert("x-user", HeaderValue::try_from(&id).unwrap());
                headers.insert(
                    header::COOKIE,
                    HeaderValue::try_from(format!("other=1; user=\"{id}\"; user2=z")).unwrap(),
                );
                let first = compiled.chosen(&view(&headers), 0);
                assert!((1..20).all(|ordinal| compiled.chosen(&view(&headers), ordinal) == first));
                sides[usize::from(first)] += 1;
            }
            assert!(sides[0] > 60 && sides[1] > 60, "{sides:?}");
        }
    }

    #[test]
    fn a_request_without_the_key_is_drawn_by_its_ordinal() {
        let headers = HeaderMap::new();
        let by_user = Compiled::new(
            &mirror(0.5, SampleKey::Header("x-user".to_owned())),
            Seed(1),
        )
        .unwrap();
        let by_ordinal = Compiled::new(&mirror(0.5, SampleKey::Ordinal), Seed(1)).unwrap();
        assert!((0..500).all(|ordinal| {
            by_user.chosen(&view(&headers), ordinal) == by_ordinal.chosen(&view(&headers), ordinal)
        }));
    }
}
