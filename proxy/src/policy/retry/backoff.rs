//! How long is waited before a retry: an exponential with full jitter, or what the answer asks for.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// Envoy's default first interval.
const BASE: Duration = Duration::from_millis(25);
/// Envoy's default longest interval, in first ones.
const LONGEST: u32 = 10;
/// Envoy's default for the longest wait that an answer may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// A wait that doubles with every retry; how much of it is waited is drawn anew each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first interval.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
}

/// Waits that answers ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimited {
    /// The headers that say how long, in the order in which they are looked for.
    pub headers: Vec<(HeaderName, ResetFormat)>,
    /// What asks for more is not followed.
    pub max: Duration,
}

/// What a header's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// A time of day, in seconds since 1970.
    UnixTimestamp,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::from_base(BASE)
    }
}

impl Backoff {
    /// Envoy's longest interval for a first one.
    pub fn from_base(base: Duration) -> Self {
        Self {
            base,
            max: base * LONGEST,
        }
    }

    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        if self.base.is_zero() {
            return Err("the base interval of a backoff must be above 0".to_owned());
        }
        if self.max < self.base {
            return Err(format!(
                "the longest interval {:?} of a backoff must not be below its base interval {:?}",
                self.max, self.base
            ));
        }
        Ok(())
    }

    /// The wait before the n-th retry, from 1; `chance` is in [0, 1).
    pub(super) fn wait(&self, n: u32, chance: f64) -> Duration {
        let doublings = n.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(chance.clamp(0.0, 1.0))
    }
}

impl Default for RateLimited {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            max: LONGEST_ASKED,
        }
    }
}

impl RateLimited {
    /// What the answer asks for, and up to half as much again, so that not all come back at once; `None`: it does not
    /// ask, or for too long.
    pub(super) fn wait(&self, headers: &HeaderMap, chance: f64, now_s: u64) -> Option<Duration> {
        let asked = self.headers.iter().find_map(|(name, format)| {
            let number: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            let seconds = match format {
                ResetFormat::Seconds => number,
                ResetFormat::UnixTimestamp => number.checked_sub(now_s)?,
            };
            Some(Duration::from_secs(seconds)).filter(|asked| *asked <= self.max)
        })?;
        Some(asked + asked.mul_f64(chance.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_double_up_to_the_longest_and_are_drawn_from_nothing_to_all() {
        let backoff = Backoff {
            base: MS(25),
            max: MS(90),
        };
        for (n, most) in [(1, 25), (2, 50), (3, 90), (4, 90), (40, 90)] {
            assert_eq!(backoff.wait(n, 0.0), Duration::ZERO);
            assert_eq!(backoff.wait(n, 0.5), MS(most) / 2);
            assert!(backoff.wait(n, 1.0 - f64::EPSILON) <= MS(most));
        }
    }

    #[test]
    fn many_clients_are_spread_over_the_interval() {
        // The point of jitter: of 1,000 clients that fail together, no millisecond of 25 sees more than a tenth again.
        let draw = crate::draw::Seed(1).rule("jitter");
        let mut slots = [0_u32; 25];
        for client in 0..1_000_u64 {
            let wait = Backoff::default().wait(1, draw.unit_of(&client.to_le_bytes()));
            slots[wait.as_millis() as usize] += 1;
        }
        assert!(
            slots.iter().all(|count| (15..=70).contains(count)),
            "{slots:?}"
        );
    }

    #[test]
    fn an_answer_may_say_how_long() {
        let limited = RateLimited {
            headers: vec![
                (HeaderName::from_static("retry-after"), ResetFormat::Seconds),
                (
                    HeaderName::from_static("x-ratelimit-reset"),
                    ResetFormat::UnixTimestamp,
                ),
            ],
            max: MS(5_000),
        };
        let wait = |name: &'static str, value: &str, chance| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            limited.wait(&headers, chance, 1_000)
        };
        assert_eq!(wait("retry-after", "2", 0.0), Some(MS(2_000)));
        assert_eq!(wait("retry-after", "2", 0.5), Some(MS(2_500)));
        assert_eq!(wait("retry-after", "6", 0.0), None);
        assert_eq!(wait("retry-after", "soon", 0.0), None);
        assert_eq!(wait("x-ratelimit-reset", "1003", 0.0), Some(MS(3_000)));
        assert_eq!(wait("x-ratelimit-reset", "900", 0.0), None);
        assert_eq!(wait("x-other", "1", 0.0), None);
    }
}
