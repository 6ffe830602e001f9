//! An answer's body that comes slowly: a bucket that fills 16 times a second, as Envoy's.

use std::time::Duration;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["throttle: { rate: 64KiB/s }"];

/// Fills a second.
const FILLS: u64 = 16;

/// The rate of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Throttle {
    /// Bytes a second, above 0.
    pub bytes_per_second: u64,
}

/// How far a body is that comes so slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    throttle: Throttle,
    /// Slices of a sixteenth of a second that were let through.
    slices: u64,
    /// Bytes left of the last slice.
    left: u64,
}

impl Throttle {
    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        if self.bytes_per_second == 0 {
            return Err("the rate of a throttle must be above 0".to_owned());
        }
        Ok(())
    }

    /// A body that begins now.
    pub fn begin(self) -> Pace {
        Pace {
            throttle: self,
            slices: 0,
            left: 0,
        }
    }
}

impl Pace {
    /// How many of so many bytes may go on, when the body began so long ago; 0: none before [`Pace::next`].
    pub fn allow(&mut self, since: Duration, bytes: usize) -> usize {
        // The first slice is there at once.
        let due = (since.as_nanos() * u128::from(FILLS) / 1_000_000_000) as u64 + 1;
        // What was not asked for is not saved for longer than a second.
        self.slices = self.slices.max(due.saturating_sub(FILLS));
        // Slices of the slowest rates may be empty.
        while self.left == 0 && self.slices < due {
            self.slices += 1;
            self.left = self.slice();
        }
        let allowed = bytes.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= allowed as u64;
        allowed
    }

    /// When the next slice comes, counted from the body's begin.
    pub fn next(&self) -> Duration {
        Duration::from_nanos(self.slices.saturating_mul(1_000_000_000) / FILLS)
    }

    /// Slices of slow rates differ by a byte, so that the sum is right.
    fn slice(&self) -> u64 {
        let upto = |slices: u64| slices * self.throttle.bytes_per_second / FILLS;
        upto(self.slices) - upto(self.slices - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the last of so many bytes passes.
    fn took(bytes_per_second: u64, bytes: usize) -> Duration {
        let mut pace = Throttle { bytes_per_second }.begin();
        let (mut now, mut left) = (Duration::ZERO, bytes);
        while left > 0 {
            match pace.allow(now, left) {
                0 => now = now.max(pace.next()),
                passed => left -= passed,
            }
        }
        now
    }

    #[test]
    fn a_body_takes_as_long_as_its_rate_says() {
        // Envoy's own case: of 127 bytes at 1 KiB/s, 64 come at once and the rest 63 ms later.
        assert_eq!(took(1024, 64), Duration::ZERO);
        assert_eq!(took(1024, 127), Duration::from_micros(62_500));
        for (rate, bytes) in [
            (1_000, 5_000),
            (65_536, 655_360),
            (7, 70),
            (1_000_000, 3_000_000),
        ] {
            let expected = bytes as f64 / rate as f64;
            let took = took(rate, bytes).as_secs_f64();
            assert!((took - expected).abs() < 0.2, "{rate} {bytes}: {took}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_by_a_second_at_most() {
        let mut pace = Throttle {
            bytes_per_second: 1_600,
        }
        .begin();
        let mut passed = 0;
        loop {
            match pace.allow(Duration::from_mins(1), 10_000) {
                0 => break,
                more => passed += more,
            }
        }
        assert_eq!(passed, 1_600);
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        let nothing = Throttle {
            bytes_per_second: 0,
        };
        assert!(nothing.check().is_err());
    }
}
