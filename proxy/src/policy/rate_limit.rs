//! Local rate limits: buckets of tokens that fill with time, one for all requests and some for those that are described
//! so and so. Time is an argument, in seconds since any moment that stays the same.

use std::sync::{Arc, Mutex, PoisonError};

use crate::unit::Share;

mod bucket;
mod describe;

pub use bucket::{Bucket, Fill};
pub use describe::{Action, Compiled as Describe, Described, Subject};

/// A limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of its statistics.
    pub stat_prefix: String,
    /// The bucket of all requests; `None`: nothing is limited, but for descriptors.
    pub fill: Option<Fill>,
    /// Buckets of requests that are described so; each a list of keys and values, where an empty value stands for any, and
    /// each has a bucket of its own.
    pub descriptors: Vec<(Vec<(String, String)>, Fill)>,
    /// The bucket of all requests is asked also where a descriptor's was.
    pub always_all: bool,
    /// The share of the requests that are counted.
    pub enabled: Share,
    /// The share of those that are refused where nothing is left.
    pub enforced: Share,
    /// What a refused request is answered.
    pub status: u16,
    /// gRPC clients are told `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    pub resource_exhausted: bool,
    /// Headers of the answer to a refused request.
    pub answer_headers: Vec<(String, String)>,
    /// Headers of a request that would have been refused.
    pub request_headers: Vec<(String, String)>,
    /// Answers tell in `x-ratelimit-*` what is left.
    pub tells: bool,
    /// Every connection has buckets of its own.
    pub per_connection: bool,
}

impl Settings {
    /// Envoy's answer to a refused request.
    pub const STATUS: u16 = 429;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stat_prefix: String::new(),
            fill: None,
            descriptors: Vec::new(),
            always_all: true,
            enabled: Share::NONE,
            enforced: Share::NONE,
            status: Self::STATUS,
            resource_exhausted: false,
            answer_headers: Vec::new(),
            request_headers: Vec::new(),
            tells: false,
            per_connection: false,
        }
    }
}

/// Values that have a bucket of their own at once, where a descriptor leaves the value open; the one that was asked
/// longest ago makes place. Envoy's default.
const MOST_VALUES: usize = 20;

/// The buckets of a limit.
#[derive(Debug)]
pub struct Buckets {
    all: Option<Bucket>,
    always_all: bool,
    /// The slowest first.
    described: Vec<Descriptor>,
}

/// The buckets of a descriptor.
#[derive(Debug)]
struct Descriptor {
    entries: Vec<(String, String)>,
    fill: Fill,
    own: Own,
}

#[derive(Debug)]
enum Own {
    One(Arc<Bucket>),
    /// One for each value, those that were asked last at the end.
    Each(Mutex<Vec<(Described, Arc<Bucket>)>>),
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// It may go on.
    pub allowed: bool,
    /// The bucket that counts for it; `None`: there is none.
    pub left: Option<Left>,
}

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Tokens that fit.
    pub most: u64,
    /// Tokens that are there.
    pub tokens: u64,
    /// Seconds until it is full.
    pub full_in_s: u64,
}

impl Buckets {
    /// Full buckets.
    pub fn new(settings: &Settings) -> Self {
        let mut described: Vec<_> = settings
            .descriptors
            .iter()
            .map(|(entries, fill)| Descriptor::new(entries.clone(), *fill))
            .collect();
        described.sort_by(|a, b| a.fill.per_second().total_cmp(&b.fill.per_second()));
        Self {
            all: settings.fill.map(Bucket::new),
            always_all: settings.always_all,
            described,
        }
    }

    /// Takes a token for a request that is described so.
    pub fn take(&self, described: &[Described], now_s: f64) -> Verdict {
        let mut of = None;
        for descriptor in &self.described {
            // A request that is described twice in the same way takes two tokens.
            for it in described.iter().filter(|it| it.is(&descriptor.entries)) {
                let bucket = descriptor.bucket(it);
                if !bucket.take(now_s) {
                    return Verdict::of(false, &bucket, now_s);
                }
                of = of.or(Some(bucket));
            }
        }
        if let Some(all) = self
            .all
            .as_ref()
            .filter(|_| of.is_none() || self.always_all)
        {
            let allowed = all.take(now_s);
            if !allowed || of.is_none() {
                return Verdict::of(allowed, all, now_s);
            }
        }
        Verdict {
            allowed: true,
            left: of.map(|bucket| bucket.left(now_s)),
        }
    }
}

impl Descriptor {
    fn new(entries: Vec<(String, String)>, fill: Fill) -> Self {
        let own = if entries.iter().any(|(_, value)| value.is_empty()) {
            Own::Each(Mutex::default())
        } else {
            Own::One(Arc::new(Bucket::new(fill)))
        };
        Self { entries, fill, own }
    }

    fn bucket(&self, described: &Described) -> Arc<Bucket> {
        let each = match &self.own {
            Own::One(bucket) => return Arc::clone(bucket),
            Own::Each(each) => each,
        };
        let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
        let known = each.iter().position(|(it, _)| it == described);
        let entry = match known {
            Some(at) => each.remove(at),
            None => (described.clone(), Arc::new(Bucket::new(self.fill))),
        };
        let bucket = Arc::clone(&entry.1);
        if each.len() == MOST_VALUES {
            each.remove(0);
        }
        each.push(entry);
        bucket
    }
}

impl Verdict {
    fn of(allowed: bool, bucket: &Bucket, now_s: f64) -> Self {
        Self {
            allowed,
            left: Some(bucket.left(now_s)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(most: u64, interval_s: f64) -> Fill {
        Fill {
            most,
            tokens: most,
            interval_s,
        }
    }

    fn described(pairs: &[(&str, &str)]) -> Described {
        Described(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        described(pairs).0
    }

    #[test]
    fn all_requests_share_a_bucket() {
        let buckets = Buckets::new(&Settings {
            fill: Some(fill(2, 60.0)),
            ..Settings::default()
        });
        let verdicts = [0.0, 0.0, 0.0, 30.0, 30.0].map(|now| buckets.take(&[], now).allowed);
        assert_eq!(verdicts, [true, true, false, true, false]);
        let open = Buckets::new(&Settings::default());
        assert_eq!(
            open.take(&[], 0.0),
            Verdict {
                allowed: true,
                left: None
            }
        );
    }

    #[test]
    fn a_described_request_needs_a_token_of_its_own_bucket_too() {
        for (always_all, verdicts) in [
            (true, [true, true, false, false]),
            (false, [true, true, false, true]),
        ] {
            let buckets = Buckets::new(&Settings {
                fill: Some(fill(2, 60.0)),
                descriptors: vec![(owned(&[("user", "a")]), fill(2, 60.0))],
                always_all,
                ..Settings::default()
            });
            let a = [described(&[("user", "a")])];
            let b = [described(&[("user", "b")])];
            let got = [&a, &a, &a, &b].map(|who| buckets.take(who, 0.0).allowed);
            assert_eq!(got, verdicts, "{always_all}");
        }
    }

    #[test]
    fn a_request_that_is_described_twice_takes_two_tokens() {
        let buckets = Buckets::new(&Settings {
            descriptors: vec![(owned(&[("user", "a")]), fill(3, 60.0))],
            ..Settings::default()
        });
        let twice = [described(&[("user", "a")]), described(&[("user", "a")])];
        let got = [0.0, 0.0].map(|now| buckets.take(&twice, now).allowed);
        assert_eq!(got, [true, false]);
    }

    #[test]
    fn where_a_descriptor_leaves_the_value_open_each_has_a_bucket() {
        let buckets = Buckets::new(&Settings {
            descriptors: vec![(owned(&[("user", "")]), fill(1, 60.0))],
            ..Settings::default()
        });
        let take = |user: &str| buckets.take(&[described(&[("user", user)])], 0.0).allowed;
        assert_eq!(["a", "b", "a", "b"].map(take), [true, true, false, false]);
        // Memory is bounded: of more users than that, the first is forgotten.
        for user in 0..MOST_VALUES {
            assert!(take(&user.to_string()));
        }
        assert!(take("a") && !take("19"));
    }

    #[test]
    fn the_slowest_bucket_is_asked_first() {
        let buckets = Buckets::new(&Settings {
            descriptors: vec![
                (owned(&[("a", "1")]), fill(9, 1.0)),
                (owned(&[("b", "1")]), fill(1, 60.0)),
            ],
            ..Settings::default()
        });
        let both = [described(&[("a", "1")]), described(&[("b", "1")])];
        assert!(buckets.take(&both, 0.0).allowed);
        let refused = buckets.take(&both, 0.0);
        assert!(!refused.allowed);
        let left = refused.left.unwrap();
        assert_eq!((left.most, left.tokens, left.full_in_s), (1, 0, 60));
        // The other bucket was not asked in vain.
        let one = buckets.take(&both[..1], 0.0).left.unwrap();
        assert_eq!(one.tokens, 7);
    }
}
