//! To the endpoint with the fewest requests under way, of a few that are drawn (power of two choices); with weights that
//! differ, in turn by `weight / (active + 1)^bias`. Both as Envoy.

use super::{Ask, Balancer, Candidate, SlowStart, schedule::Schedule};

/// Its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many are drawn, at least 2.
    pub choices: u32,
    /// How much requests under way count against a weight.
    pub bias: f64,
    /// All are looked at, in place of a few.
    pub full_scan: bool,
    /// New endpoints begin slowly.
    pub slow_start: Option<SlowStart>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            choices: 2,
            bias: 1.0,
            full_scan: false,
            slow_start: None,
        }
    }
}

/// Least requests over a set of endpoints.
#[derive(Debug, Clone)]
pub struct LeastRequest {
    settings: Settings,
    weights: Vec<f64>,
    /// Where weights differ or grow.
    schedule: Option<Schedule>,
}

impl LeastRequest {
    /// Over these.
    pub fn new(settings: &Settings, candidates: &[Candidate<'_>]) -> Self {
        let weights: Vec<_> = candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .collect();
        let equal = candidates
            .windows(2)
            .all(|two| two.first().map(|it| it.weight) == two.last().map(|it| it.weight));
        Self {
            schedule: (!equal || settings.slow_start.is_some())
                .then(|| Schedule::new(weights.iter().copied())),
            settings: settings.clone(),
            weights,
        }
    }
}

impl Balancer for LeastRequest {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<usize> {
        let Self {
            settings,
            weights,
            schedule,
        } = self;
        if let Some(schedule) = schedule {
            return schedule.next(|index| {
                let weight = weights.get(index).copied().unwrap_or(1.0);
                let busy = f64::from(ask.loads.active(index)) + 1.0;
                let start = settings
                    .slow_start
                    .map_or(1.0, |start| start.factor(ask.loads.healthy_for(index)));
                weight * start / busy.powf(settings.bias)
            });
        }
        let count = weights.len();
        if settings.full_scan {
            // Of equal ones, any: begin at a drawn one.
            let first = ((ask.random)() as usize).checked_rem(count)?;
            return (0..count)
                .map(|step| (first + step) % count)
                .min_by_key(|index| ask.loads.active(*index));
        }
        let mut best = ((ask.random)() as usize).checked_rem(count)?;
        for _ in 1..settings.choices.max(2) {
            let other = ((ask.random)() as usize).checked_rem(count)?;
            if ask.loads.active(other) < ask.loads.active(best) {
                best = other;
            }
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Fixed, candidates, shares},
        *,
    };

    fn taken(settings: &Settings, weights: &[u32], active: &[u32]) -> Vec<usize> {
        let mut balancer = LeastRequest::new(settings, &candidates(weights));
        let loads = Fixed {
            active: active.to_vec(),
            ..Fixed::default()
        };
        shares(&mut balancer, &loads, weights.len(), 12_000)
    }

    #[test]
    fn a_busy_endpoint_is_taken_only_when_it_is_drawn_twice() {
        let taken = taken(&Settings::default(), &[1, 1, 1], &[0, 0, 9]);
        // 1/9 of 12,000 is 1,333; three deviations are 103.
        assert!((1_230..1_437).contains(&taken[2]), "{taken:?}");
    }

    #[test]
    fn more_choices_or_all_find_the_idle_one() {
        let active = [3, 3, 0, 3];
        let many = Settings {
            choices: 32,
            ..Settings::default()
        };
        let all = Settings {
            full_scan: true,
            ..Settings::default()
        };
        assert!(taken(&many, &[1; 4], &active)[2] > 11_900);
        assert_eq!(taken(&all, &[1; 4], &active), [0, 0, 12_000, 0]);
    }

    #[test]
    fn weights_are_divided_by_what_is_under_way() {
        // 4 / (1 + 1) against 1: two thirds and one.
        let taken_biased = taken(&Settings::default(), &[4, 1], &[1, 0]);
        assert!(
            (7_950..8_050).contains(&taken_biased[0]),
            "{taken_biased:?}"
        );
        let unbiased = Settings {
            bias: 0.0,
            ..Settings::default()
        };
        let taken = taken(&unbiased, &[4, 1], &[1, 0]);
        assert!((9_550..9_650).contains(&taken[0]), "{taken:?}");
    }
}
