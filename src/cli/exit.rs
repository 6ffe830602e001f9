//! Exit codes, as the manual promises them. The first that holds: interrupted, usage, environment, guard, no valid
//! experiment, fail, undecided, pass.

use std::process::ExitCode;

/// An exit code with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

/// Pass; same, improved, or suspect; done.
pub const PASS: Exit = Exit(0);
/// The verdict is fail, or a fault took no effect.
pub const FAIL: Exit = Exit(1);
/// Usage, an invalid file, or a comparison of unlike runs.
pub const USAGE: Exit = Exit(2);
/// The environment failed: port in use, target unreachable before the start, a fault could not be applied.
pub const ENVIRONMENT: Exit = Exit(3);
/// Stopped by a guard.
pub const GUARD: Exit = Exit(4);
/// Inconclusive, or not valid as an experiment.
pub const INCONCLUSIVE: Exit = Exit(5);
/// A comparison found a regression.
pub const REGRESSED: Exit = Exit(6);
/// Interrupted, after rollback.
pub const INTERRUPTED: Exit = Exit(130);

impl Exit {
    /// Which of several outcomes one process reports: the first in the order of the manual.
    pub fn worst(codes: impl IntoIterator<Item = Self>) -> Self {
        const ORDER: [Exit; 8] = [
            INTERRUPTED,
            USAGE,
            ENVIRONMENT,
            GUARD,
            REGRESSED,
            FAIL,
            INCONCLUSIVE,
            PASS,
        ];
        let codes: Vec<Self> = codes.into_iter().collect();
        ORDER
            .into_iter()
            .find(|code| codes.contains(code))
            .unwrap_or(PASS)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_the_order_of_the_manual_wins() {
        assert_eq!(Exit::worst([PASS, FAIL, GUARD]), GUARD);
        assert_eq!(Exit::worst([INCONCLUSIVE, FAIL]), FAIL);
        assert_eq!(Exit::worst([PASS, INTERRUPTED, USAGE]), INTERRUPTED);
        assert_eq!(Exit::worst([]), PASS);
    }
}
