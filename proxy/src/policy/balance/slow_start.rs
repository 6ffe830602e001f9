//! An endpoint that has just become healthy begins with a small part of its weight, and has all of it after a while.

use std::time::Duration;

/// How an endpoint's weight grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// Above 1 the weight grows faster at first: it is `time^(1 / aggression)`.
    pub aggression: f64,
    /// It begins with at least this part, from 0 to 1.
    pub least: f64,
}

impl Default for SlowStart {
    /// Envoy's, but for the window, which has none.
    fn default() -> Self {
        Self {
            window: Duration::ZERO,
            aggression: 1.0,
            least: 0.1,
        }
    }
}

impl SlowStart {
    /// The part of its weight that an endpoint has which has been healthy for so long.
    pub fn factor(&self, healthy_for: Duration) -> f64 {
        if healthy_for >= self.window {
            return 1.0;
        }
        // As Envoy: the first second counts as one.
        let time =
            healthy_for.max(Duration::from_secs(1)).as_secs_f64() / self.window.as_secs_f64();
        time.min(1.0).powf(1.0 / self.aggression).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_grows_from_the_least_to_all() {
        let start = SlowStart {
            window: Duration::from_secs(100),
            ..SlowStart::default()
        };
        let fast = SlowStart {
            aggression: 2.0,
            ..start
        };
        for (seconds, linear, root) in [
            (0, 0.1, 0.1),
            (9, 0.1, 0.3),
            (25, 0.25, 0.5),
            (64, 0.64, 0.8),
            (100, 1.0, 1.0),
            (500, 1.0, 1.0),
        ] {
            let after = Duration::from_secs(seconds);
            assert!((start.factor(after) - linear).abs() < 1e-9, "{seconds}");
            assert!((fast.factor(after) - root).abs() < 1e-9, "{seconds}");
        }
    }
}
