//! Admission control: the lower the share of requests that succeed, the more new ones are turned away at once, so that a
//! service in trouble is left room to recover. Envoy's filter of that name; time is an argument.

use std::{collections::VecDeque, time::Duration};

use crate::unit::Share;

/// When requests are turned away.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How far back successes are counted.
    pub window: Duration,
    /// Below this share of successes requests are turned away.
    pub threshold: Share,
    /// How steeply more are turned away; at least 1.
    pub aggression: f64,
    /// At most this share is turned away.
    pub most: Share,
    /// Below this many requests a second none is turned away.
    pub requests_per_second: u32,
    /// Statuses that are successes, each from (including) to (excluding).
    pub successes: Vec<(u16, u16)>,
}

impl Default for Settings {
    /// Envoy's.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            threshold: Share::new(0.95).unwrap_or(Share::ALL),
            aggression: 1.0,
            most: Share::new(0.8).unwrap_or(Share::ALL),
            requests_per_second: 0,
            successes: vec![(100, 500)],
        }
    }
}

impl Settings {
    /// Whether an answer of this status is a success.
    pub fn is_success(&self, status: u16) -> bool {
        let mut ranges = self.successes.iter();
        ranges.any(|(from, to)| (*from..*to).contains(&status))
    }
}

/// What became of the requests of the last while: a count a second.
#[derive(Debug, Default)]
pub struct Record {
    seconds: VecDeque<Second>,
    requests: u64,
    successes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Second {
    at: u64,
    requests: u64,
    successes: u64,
}

impl Record {
    /// A request has ended, so long after the begin of the count.
    pub fn count(&mut self, success: bool, now: Duration, settings: &Settings) {
        self.forget(now, settings);
        let at = now.as_secs();
        if self.seconds.back().is_none_or(|second| second.at != at) {
            self.seconds.push_back(Second {
                at,
                requests: 0,
                successes: 0,
            });
        }
        if let Some(second) = self.seconds.back_mut() {
            second.requests += 1;
            second.successes += u64::from(success);
        }
        self.requests += 1;
        self.successes += u64::from(success);
    }

    /// The chance that the next request is turned away:
    /// `((requests - successes / threshold) / (requests + 1)) ^ (1 / aggression)`.
    pub fn rejects(&mut self, now: Duration, settings: &Settings) -> f64 {
        self.forget(now, settings);
        let requests = self.requests as f64;
        let rate = requests / settings.window.as_secs_f64();
        if rate < f64::from(settings.requests_per_second) {
            return 0.0;
        }
        let expected = self.successes as f64 / settings.threshold.get().max(f64::MIN_POSITIVE);
        let missing = ((requests - expected) / (requests + 1.0)).max(0.0);
        let chance = missing.powf(1.0 / settings.aggression.max(1.0));
        chance.min(settings.most.get())
    }

    fn forget(&mut self, now: Duration, settings: &Settings) {
        while let Some(oldest) = self.seconds.front()
            && Duration::from_secs(oldest.at) + settings.window < now
        {
            self.requests -= oldest.requests;
            self.successes -= oldest.successes;
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn after(successes: u32, failures: u32, settings: &Settings) -> f64 {
        let mut record = Record::default();
        for n in 0..successes + failures {
            record.count(n < successes, S(1), settings);
        }
        record.rejects(S(1), settings)
    }

    #[test]
    fn the_less_succeeds_the_more_is_turned_away() {
        let settings = Settings::default();
        for (successes, failures, chance) in [
            (0, 0, 0.0),
            (100, 0, 0.0),
            (95, 5, 0.0),
            // (100 - 50 / 0.95) / 101
            (50, 50, 0.469_0),
            (0, 100, 0.8),
        ] {
            let got = after(successes, failures, &settings);
            assert!((got - chance).abs() < 1e-3, "{successes}/{failures}: {got}");
        }
        let steep = Settings {
            aggression: 2.0,
            ..Settings::default()
        };
        assert!(after(50, 50, &steep) > after(50, 50, &settings));
    }

    #[test]
    fn few_requests_are_never_turned_away_and_old_ones_forgotten() {
        let quiet = Settings {
            requests_per_second: 10,
            ..Settings::default()
        };
        assert!(after(0, 100, &quiet).abs() < f64::EPSILON);
        let settings = Settings::default();
        let mut record = Record::default();
        record.count(false, S(1), &settings);
        assert!(record.rejects(S(31), &settings) > 0.0);
        assert!(record.rejects(S(32), &settings).abs() < f64::EPSILON);
    }

    #[test]
    fn a_service_that_fails_is_spared_four_fifths_of_its_load_and_then_recovers() {
        let settings = Settings {
            window: S(5),
            ..Settings::default()
        };
        let draw = crate::draw::Seed(3).rule("admission");
        let mut record = Record::default();
        let mut sent_in = |from: u64, to: u64, works: bool| {
            let mut sent = 0_u32;
            for request in from * 100..to * 100 {
                let now = Duration::from_millis(request * 10);
                if draw.unit_of(&request.to_le_bytes()) >= record.rejects(now, &settings) {
                    sent += 1;
                    record.count(works, now, &settings);
                }
            }
            f64::from(sent) / ((to - from) * 100) as f64
        };
        assert!(sent_in(0, 5, true) > 0.999);
        sent_in(5, 15, false);
        let spared = sent_in(15, 25, false);
        assert!((0.15..0.25).contains(&spared), "{spared}");
        sent_in(25, 40, true);
        assert!(sent_in(40, 45, true) > 0.95);
    }
}
