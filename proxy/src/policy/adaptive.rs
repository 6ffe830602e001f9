//! Adaptive concurrency: how much may be under way follows from how long it takes. From time to time only little is let
//! through, and the time it takes then is the best that can be had; when it takes longer, less is let through, and more
//! again when it does not. Envoy's gradient controller; time is an argument.

use std::time::Duration;

use crate::unit::Share;

/// How the bound follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which of the times of an interval counts for all.
    pub quantile: Share,
    /// How often the bound moves.
    pub update_every: Duration,
    /// The bound is never above this.
    pub most: u32,
    /// How often the best time is measured anew.
    pub measure_every: Duration,
    /// How many requests it is measured by.
    pub measure_requests: u32,
    /// The bound while it is measured, and below which it never is.
    pub least: u32,
    /// How much longer than the best time is still good.
    pub buffer: Share,
    /// The answer where the bound is reached.
    pub status: u16,
}

impl Default for Settings {
    /// Envoy's.
    fn default() -> Self {
        Self {
            quantile: Share::new(0.5).unwrap_or(Share::ALL),
            update_every: Duration::from_millis(100),
            most: 1000,
            measure_every: Duration::from_mins(1),
            measure_requests: 50,
            least: 3,
            buffer: Share::new(0.25).unwrap_or(Share::ALL),
            status: 503,
        }
    }
}

/// The bound, and what it follows from.
#[derive(Debug)]
pub struct Controller {
    limit: u32,
    under_way: u32,
    /// The best time; `None`: it is being measured.
    best: Option<Duration>,
    times: Vec<Duration>,
    next_update: Duration,
    next_measure: Duration,
    /// Updates in a row that left the bound at its least.
    at_least: u32,
    /// The bound before the best time was measured.
    before: u32,
}

/// Updates at the least bound after which the best time is measured anew: it may have been a lucky one.
const STUCK: u32 = 5;

impl Controller {
    /// Begins by measuring.
    pub fn new(settings: &Settings) -> Self {
        Self {
            limit: settings.least,
            under_way: 0,
            best: None,
            times: Vec::new(),
            next_update: Duration::ZERO,
            next_measure: Duration::ZERO,
            at_least: 0,
            before: settings.least,
        }
    }

    /// How much may be under way.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether one more may begin; then [`Controller::end`] is told of its end.
    pub fn begin(&mut self, now: Duration, settings: &Settings) -> bool {
        self.tick(now, settings);
        if self.under_way >= self.limit {
            return false;
        }
        self.under_way += 1;
        true
    }

    /// One has ended, after so long; `None`: it was broken off, and its time says nothing.
    pub fn end(&mut self, took: Option<Duration>, now: Duration, settings: &Settings) {
        self.under_way = self.under_way.saturating_sub(1);
        self.times.extend(took);
        if self.best.is_none() && self.times.len() >= settings.measure_requests as usize {
            self.best = self.time(settings);
            self.limit = self.before.clamp(settings.least, settings.most);
            self.next_measure = now + settings.measure_every;
            self.next_update = now + settings.update_every;
        }
        self.tick(now, settings);
    }

    fn tick(&mut self, now: Duration, settings: &Settings) {
        let Some(best) = self.best else { return };
        if now >= self.next_measure {
            return self.measure(settings);
        }
        if now < self.next_update {
            return;
        }
        self.next_update = now + settings.update_every;
        let Some(time) = self.time(settings) else {
            return;
        };
        let good = best.as_secs_f64() * (1.0 + settings.buffer.get());
        let gradient = (good / time.as_secs_f64().max(f64::MIN_POSITIVE)).clamp(0.5, 2.0);
        let limit = f64::from(self.limit) * gradient;
        // Room to grow: without it the bound could never be found too low.
        let limit = (limit + limit.sqrt()) as u32;
        self.limit = limit.clamp(settings.least, settings.most);
        self.at_least = if self.limit == settings.least {
            self.at_least + 1
        } else {
            0
        };
        if self.at_least >= STUCK {
            self.measure(settings);
        }
    }

    fn measure(&mut self, settings: &Settings) {
        self.before = self.limit;
        self.limit = settings.least;
        self.best = None;
        self.at_least = 0;
        self.times.clear();
    }

    /// The quantile of the times since the last one, which are forgotten.
    fn time(&mut self, settings: &Settings) -> Option<Duration> {
        self.times.sort_unstable();
        let last = self.times.len().checked_sub(1)?;
        let at = (last as f64 * settings.quantile.get()).round() as usize;
        let time = self.times.get(at).copied();
        self.times.clear();
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A service that does so many at once in 10 ms each, and lets the others wait: the bound after so many steps of
    /// 10 ms, offered far more than that.
    fn settles_at(servers: u32, steps: u64, settings: &Settings) -> (u32, u32) {
        let mut controller = Controller::new(settings);
        let mut under_way: Vec<u64> = Vec::new();
        let (mut lowest, mut highest) = (u32::MAX, 0);
        for step in 0..steps {
            let now = MS(step * 10);
            // As many end as there are servers, those that began first.
            let done = under_way.len().min(servers as usize);
            for begun in under_way.drain(..done) {
                controller.end(Some(MS((step - begun) * 10)), now, settings);
            }
            while under_way.len() < 400 && controller.begin(now, settings) {
                under_way.push(step);
            }
            if step > steps / 2 && controller.best.is_some() {
                lowest = lowest.min(controller.limit());
                highest = highest.max(controller.limit());
            }
        }
        (lowest, highest)
    }

    #[test]
    fn the_bound_settles_near_what_the_service_can_do_at_once() {
        let settings = Settings {
            measure_every: MS(1_000_000),
            ..Settings::default()
        };
        for servers in [10, 40] {
            let (lowest, highest) = settles_at(servers, 2_000, &settings);
            assert!(
                lowest >= servers / 2 && highest <= servers * 3,
                "{servers}: {lowest} to {highest}"
            );
        }
    }

    #[test]
    fn little_is_let_through_while_the_best_time_is_measured() {
        let settings = Settings::default();
        let mut controller = Controller::new(&settings);
        let begun = (0..10).filter(|_| controller.begin(MS(0), &settings));
        assert_eq!(begun.count(), 3);
        // One that was broken off frees its place, and is no measure.
        controller.end(None, MS(1), &settings);
        assert!(controller.begin(MS(1), &settings) && controller.best.is_none());
        for _ in 0..50 {
            controller.end(Some(MS(10)), MS(2), &settings);
        }
        assert_eq!(controller.best, Some(MS(10)));
        assert!(controller.begin(MS(2) + settings.measure_every, &settings));
        assert_eq!((controller.best, controller.limit()), (None, 3));
    }
}
