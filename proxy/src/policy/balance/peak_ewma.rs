//! To the endpoint that answers soonest, of two that are drawn. An endpoint's cost is its answers' time, as a moving
//! average that follows peaks at once and forgets them slowly, times the requests under way there. Envoy has no such
//! policy; the average is that of Finagle and Linkerd.

use std::time::Duration;

use super::{Ask, Balancer, Candidate};

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// After this long without an answer a peak counts for 1/e.
    pub decay: Duration,
    /// The cost of an endpoint that has not answered yet.
    pub unknown: Duration,
}

impl Default for Settings {
    /// Linkerd's.
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            unknown: Duration::from_millis(30),
        }
    }
}

/// The moving average of one endpoint. Times are since any fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Average {
    /// In seconds; `None`: no answer yet.
    value: Option<f64>,
    at: Duration,
}

impl Average {
    /// An answer took so long.
    pub fn observe(&mut self, took: Duration, now: Duration, settings: &Settings) {
        let took = took.as_secs_f64();
        self.value = Some(match self.value {
            Some(value) if took <= value => {
                let kept = self.kept(now, settings);
                value * kept + took * (1.0 - kept)
            }
            _ => took,
        });
        self.at = now;
    }

    /// What another request would cost, with so many under way.
    pub fn cost(&self, active: u32, now: Duration, settings: &Settings) -> f64 {
        let value = self.value.map_or_else(
            || settings.unknown.as_secs_f64(),
            |value| value * self.kept(now, settings),
        );
        value * f64::from(active.saturating_add(1))
    }

    fn kept(&self, now: Duration, settings: &Settings) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let decay = settings.decay.as_secs_f64().max(f64::MIN_POSITIVE);
        (-passed / decay).exp()
    }
}

/// Peak EWMA over a set of endpoints.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    settings: Settings,
    count: u64,
}

impl PeakEwma {
    /// Over these.
    pub fn new(settings: &Settings, candidates: &[Candidate<'_>]) -> Self {
        Self {
            settings: *settings,
            count: candidates.len() as u64,
        }
    }
}

impl Balancer for PeakEwma {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        let first = (ask.random)().checked_rem(self.count)?;
        let others = self.count - 1;
        let Some(step) = (ask.random)().checked_rem(others) else {
            return Some(first as usize);
        };
        let second = (first + 1 + step) % self.count;
        let (first, second) = (first as usize, second as usize);
        let cost = |index| ask.loads.cost(index, &self.settings);
        Some(if cost(second) < cost(first) {
            second
        } else {
            first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Loads,
            tests::{candidates, random},
        },
        *,
    };

    /// Three endpoints, one slow, under a steady load.
    struct Simulated {
        averages: Vec<Average>,
        active: Vec<u32>,
        now: Duration,
    }

    impl Loads for Simulated {
        fn active(&self, index: usize) -> u32 {
            self.active[index]
        }

        fn active_in_all(&self) -> u32 {
            self.active.iter().sum()
        }

        fn cost(&self, index: usize, settings: &Settings) -> f64 {
            self.averages[index].cost(self.active[index], self.now, settings)
        }

        fn healthy_for(&self, _index: usize) -> Duration {
            Duration::MAX
        }
    }

    #[test]
    fn a_slow_endpoint_gets_less_than_a_tenth() {
        let settings = Settings::default();
        let mut balancer = PeakEwma::new(&settings, &candidates(&[1; 3]));
        let mut world = Simulated {
            averages: vec![Average::default(); 3],
            active: vec![0; 3],
            now: Duration::ZERO,
        };
        let mut random = random(3);
        let mut under_way: Vec<(Duration, Duration, usize)> = Vec::new();
        let mut taken = [0; 3];
        // 20,000 requests, one each 2 ms; two endpoints answer within 5 ms, one within 100.
        for _ in 0..20_000 {
            world.now += Duration::from_millis(2);
            let now = world.now;
            under_way.retain(|(end, took, index)| {
                if *end <= now {
                    world.active[*index] -= 1;
                    world.averages[*index].observe(*took, *end, &settings);
                }
                *end > now
            });
            let picked = balancer
                .pick(&mut Ask {
                    key: None,
                    attempt: 0,
                    loads: &world,
                    random: &mut random,
                })
                .unwrap();
            taken[picked] += 1;
            world.active[picked] += 1;
            let took = Duration::from_millis([5, 5, 100][picked]);
            under_way.push((now + took, took, picked));
        }
        assert!(taken[2] < 2_000, "{taken:?}");
        // In 40 s its peak was forgotten at least once, and it was tried again.
        assert!(taken[2] > 1, "{taken:?}");
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let settings = Settings::default();
        let mut average = Average::default();
        let at = Duration::from_secs;
        average.observe(Duration::from_millis(10), at(1), &settings);
        average.observe(Duration::from_secs(1), at(1), &settings);
        assert!((average.cost(0, at(1), &settings) - 1.0).abs() < 1e-9);
        assert!((average.cost(1, at(1), &settings) - 2.0).abs() < 1e-9);
        // After the decay it counts for 1/e.
        let after = average.cost(0, at(11), &settings);
        assert!((after - (-1.0_f64).exp()).abs() < 1e-9, "{after}");
    }
}
