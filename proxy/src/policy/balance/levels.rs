//! Priorities: how load spills over from one to the next, and when so few endpoints are healthy that all are used
//! (panic). All of it as Envoy, in its whole percents.

/// How many endpoints of a priority are what; or, where weights count, their weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// All.
    pub all: u64,
    /// Those that are healthy.
    pub healthy: u64,
    /// Those that are degraded.
    pub degraded: u64,
    /// Those that don't count yet.
    pub excluded: u64,
}

/// Which endpoints of a priority are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// All: it is in panic.
    All,
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
}

/// How load is spread over priorities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    census: Vec<Census>,
    overprovisioning: u32,
    healthy: Vec<u32>,
    degraded: Vec<u32>,
    panic: Vec<bool>,
}

impl Levels {
    /// `overprovisioning` in percent: a priority takes all of its load until `100 / overprovisioning` of it are healthy.
    /// `panic` in percent: below it all endpoints are used; 0: never.
    pub fn new(census: Vec<Census>, overprovisioning: u32, panic: f64) -> Self {
        let (health, degraded) = availability(&census, overprovisioning);
        let available = health.iter().chain(&degraded).sum::<u32>().min(100);
        let mut load = Self {
            healthy: vec![0; census.len()],
            degraded: vec![0; census.len()],
            panic: census
                .iter()
                .map(|census| available < 100 && in_panic(census, panic))
                .collect(),
            census,
            overprovisioning,
        };
        if !load.panic.is_empty() && load.panic.iter().all(|panic| *panic) {
            load.by_size();
        } else if available == 0 {
            load.first();
        } else {
            load.spread(&health, &degraded, available);
        }
        load
    }

    /// The spread of a retry that passes over the priorities that were tried, which it learns of after each so many tries;
    /// when none is left, it begins anew. `None`: nothing is passed over.
    pub fn elsewhere(&self, tried: &[u32], after: usize) -> Option<Self> {
        let (health, degraded) = availability(&self.census, self.overprovisioning);
        let mut attempted: Vec<usize> = Vec::new();
        let mut spread = None;
        for priority in tried {
            attempted.push(*priority as usize);
            if !attempted.len().is_multiple_of(after.max(1)) {
                continue;
            }
            let left = |shares: &[u32]| -> Vec<u32> {
                let shares = shares.iter().enumerate();
                shares
                    .map(|(at, share)| if attempted.contains(&at) { 0 } else { *share })
                    .collect()
            };
            let (health, degraded) = (left(&health), left(&degraded));
            let available = health.iter().chain(&degraded).sum::<u32>().min(100);
            if available == 0 {
                attempted.clear();
                spread = None;
                continue;
            }
            let mut load = Self {
                healthy: vec![0; self.healthy.len()],
                degraded: vec![0; self.degraded.len()],
                ..self.clone()
            };
            load.spread(&health, &degraded, available);
            spread = Some(load);
        }
        spread
    }

    fn spread(&mut self, health: &[u32], degraded: &[u32], available: u32) {
        let left = distribute(&mut self.healthy, health, 100, available);
        let left = distribute(&mut self.degraded, degraded, left, available);
        // What rounding left goes to the first that has anything.
        let first = health.iter().position(|health| *health > 0);
        let rest = match first {
            Some(first) => self.healthy.get_mut(first),
            None => degraded
                .iter()
                .position(|it| *it > 0)
                .and_then(|first| self.degraded.get_mut(first)),
        };
        if let Some(rest) = rest {
            *rest += left;
        }
    }

    /// The priority of a request with this draw or key, and which of its endpoints.
    pub fn choose(&self, draw: u64) -> (usize, Among) {
        let draw = (draw % 100 + 1) as u32;
        let mut sum = 0;
        let healthy = self.healthy.iter().map(|load| (load, Among::Healthy));
        let degraded = self.degraded.iter().map(|load| (load, Among::Degraded));
        for (at, (load, among)) in healthy.enumerate().chain(degraded.enumerate()) {
            sum += load;
            if draw <= sum {
                return match self.panic.get(at) {
                    Some(true) => (at, Among::All),
                    _ => (at, among),
                };
            }
        }
        (0, Among::Healthy)
    }

    /// The one that [`Levels::choose`] gives for every draw, if there is one.
    pub fn only(&self) -> Option<(usize, Among)> {
        let full = |loads: &[u32]| loads.contains(&100);
        (full(&self.healthy) || full(&self.degraded)).then(|| self.choose(0))
    }

    /// Everything is terrible: load by size.
    fn by_size(&mut self) {
        let levels = &self.census;
        let all: u64 = levels.iter().map(|census| census.all).sum();
        let mut left = 100;
        for (load, census) in self.healthy.iter_mut().zip(levels) {
            *load = (100 * census.all).checked_div(all).unwrap_or(0) as u32;
            left -= *load;
        }
        let first = levels.iter().position(|census| census.all > 0).unwrap_or(0);
        if let Some(load) = self.healthy.get_mut(first) {
            *load += left;
        }
    }

    fn first(&mut self) {
        if let Some(first) = self.healthy.first_mut() {
            *first = 100;
        }
    }
}

/// How much of the load each priority can take, in percent: its healthy endpoints, its degraded ones.
fn availability(levels: &[Census], overprovisioning: u32) -> (Vec<u32>, Vec<u32>) {
    let share = |part: u64, census: &Census| {
        let of = census.all - census.excluded;
        (u64::from(overprovisioning) * part)
            .checked_div(of)
            .map_or(0, |share| share.min(100) as u32)
    };
    (
        levels.iter().map(|it| share(it.healthy, it)).collect(),
        levels.iter().map(|it| share(it.degraded, it)).collect(),
    )
}

fn in_panic(census: &Census, threshold: f64) -> bool {
    let of = census.all - census.excluded;
    let usable = if of == 0 {
        0.0
    } else {
        100.0 * (census.healthy + census.degraded) as f64 / of as f64
    };
    usable < threshold
}

/// What is left of `load`.
fn distribute(loads: &mut [u32], availability: &[u32], load: u32, available: u32) -> u32 {
    let mut left = load;
    for (load, availability) in loads.iter_mut().zip(availability) {
        *load = left.min(availability * 100 / available);
        left -= *load;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(all: u64, healthy: u64, degraded: u64) -> Census {
        Census {
            all,
            healthy,
            degraded,
            excluded: 0,
        }
    }

    #[test]
    fn load_spills_over_when_less_than_five_sevenths_are_healthy() {
        // From the tables of Envoy's manual on priority levels and on degraded endpoints.
        for (levels, healthy, degraded) in [
            (
                vec![census(100, 100, 0), census(100, 100, 0)],
                [100, 0],
                [0, 0],
            ),
            (
                vec![census(100, 72, 0), census(100, 100, 0)],
                [100, 0],
                [0, 0],
            ),
            (
                vec![census(100, 71, 0), census(100, 100, 0)],
                [99, 1],
                [0, 0],
            ),
            (
                vec![census(100, 50, 0), census(100, 100, 0)],
                [70, 30],
                [0, 0],
            ),
            (
                vec![census(100, 25, 0), census(100, 100, 0)],
                [35, 65],
                [0, 0],
            ),
            (
                vec![census(100, 0, 0), census(100, 100, 0)],
                [0, 100],
                [0, 0],
            ),
            (
                vec![census(100, 25, 0), census(100, 25, 0)],
                [50, 50],
                [0, 0],
            ),
            (vec![census(2, 1, 0), census(1, 1, 0)], [70, 30], [0, 0]),
            (
                vec![census(100, 0, 100), census(100, 100, 0)],
                [0, 100],
                [0, 0],
            ),
            (
                vec![census(100, 0, 100), census(100, 50, 50)],
                [0, 70],
                [30, 0],
            ),
        ] {
            let it = Levels::new(levels, 140, 0.0);
            assert_eq!(
                (it.healthy, it.degraded),
                (healthy.to_vec(), degraded.to_vec()),
                "{:?}",
                it.census
            );
        }
    }

    #[test]
    fn a_priority_is_in_panic_when_few_are_healthy_and_the_others_cannot_help() {
        for (levels, threshold, panic, healthy) in [
            (vec![census(3, 1, 0)], 50.0, vec![true], vec![100]),
            (vec![census(2, 1, 0)], 50.0, vec![false], vec![100]),
            (vec![census(3, 1, 0)], 0.0, vec![false], vec![100]),
            (
                vec![census(100, 25, 0), census(100, 100, 0)],
                50.0,
                vec![false, false],
                vec![35, 65],
            ),
            (
                vec![census(100, 5, 0), census(100, 65, 0)],
                50.0,
                vec![true, false],
                vec![8, 92],
            ),
            // All in panic: by size.
            (
                vec![census(30, 0, 0), census(10, 0, 0)],
                50.0,
                vec![true, true],
                vec![75, 25],
            ),
            (
                vec![census(4, 0, 0), census(4, 0, 0)],
                0.0,
                vec![false, false],
                vec![100, 0],
            ),
        ] {
            let it = Levels::new(levels, 140, threshold);
            assert_eq!((it.panic, it.healthy), (panic, healthy), "{:?}", it.census);
        }
    }

    #[test]
    fn endpoints_that_were_not_checked_yet_do_not_count() {
        let levels = vec![Census {
            all: 4,
            healthy: 1,
            degraded: 0,
            excluded: 3,
        }];
        let it = Levels::new(levels, 140, 50.0);
        assert_eq!((it.panic, it.healthy), (vec![false], vec![100]));
    }

    #[test]
    fn a_retry_passes_over_the_priorities_that_were_tried_until_none_is_left() {
        let all = vec![census(1, 1, 0), census(1, 1, 0), census(1, 1, 0)];
        let levels = Levels::new(all, 140, 50.0);
        let first = |tried: &[u32], after| {
            let elsewhere = levels.elsewhere(tried, after);
            elsewhere.unwrap_or_else(|| levels.clone()).choose(0).0
        };
        assert_eq!(first(&[], 1), 0);
        assert_eq!(first(&[0], 1), 1);
        assert_eq!(first(&[0, 1], 1), 2);
        // All were tried: it begins anew, with what is tried from here on.
        assert_eq!(first(&[0, 1, 2], 1), 0);
        assert_eq!(first(&[0, 1, 2, 0], 1), 1);
        // Only after each second try.
        assert_eq!(first(&[0], 2), 0);
        assert_eq!(first(&[0, 0], 2), 1);
        assert_eq!(first(&[0, 0, 1], 2), 1);
        assert_eq!(first(&[0, 0, 1, 1], 2), 2);
    }

    #[test]
    fn draws_are_spread_by_load() {
        let it = Levels::new(vec![census(2, 1, 0), census(1, 1, 0)], 140, 50.0);
        let first = (0..100).filter(|draw| it.choose(*draw).0 == 0).count();
        assert_eq!((first, it.only()), (70, None));
        let it = Levels::new(vec![census(3, 1, 0)], 140, 50.0);
        assert_eq!(it.only(), Some((0, Among::All)));
    }
}
