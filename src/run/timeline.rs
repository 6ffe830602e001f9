//! What happens when: a scenario in, a list of steps out. Pure.

use crate::{event::Micros, scenario::Scenario};

/// A step of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A phase begins, by its index.
    PhaseBegins(usize),
    /// A phase ends.
    PhaseEnds(usize),
    /// A fault's window begins, by the fault's index.
    FaultOn(usize),
    /// A fault's window ends.
    FaultOff(usize),
    /// A fault has been on for as long as it may be.
    FaultExpires(usize),
    /// The steady state is judged: the last moment before anything is broken.
    JudgeSteady,
    /// The last phase is over.
    End,
}

/// How long before the first fault the steady state is judged, so that a run that is not steady breaks nothing: a swap of
/// the configuration takes well below this.
const JUDGE_BEFORE: Micros = 20_000;

/// The steps in order of time. At one time things end before others begin.
pub fn steps(scenario: &Scenario) -> Vec<(Micros, Step)> {
    let mut steps = Vec::new();
    for (index, phase) in scenario.phases.iter().enumerate() {
        steps.push((phase.begin_us, Step::PhaseBegins(index)));
        steps.push((phase.end_us, Step::PhaseEnds(index)));
    }
    for (index, fault) in scenario.faults.iter().enumerate() {
        let ttl = fault.ttl.as_micros() as Micros;
        for (begin_ms, end_ms) in &fault.windows {
            let (begin, end) = (u64::from(*begin_ms) * 1000, u64::from(*end_ms) * 1000);
            steps.push((begin, Step::FaultOn(index)));
            if begin + ttl < end {
                steps.push((begin + ttl, Step::FaultExpires(index)));
            }
            steps.push((end, Step::FaultOff(index)));
        }
    }
    if !scenario.steady_state.is_empty() {
        steps.push((judged_at(scenario), Step::JudgeSteady));
    }
    steps.push((scenario.length_us(), Step::End));
    steps.sort_by_key(|(at, step)| (*at, rank(*step)));
    steps
}

/// When the steady state is judged: just before the first fault; without faults at the end of its last phase.
fn judged_at(scenario: &Scenario) -> Micros {
    let first = scenario
        .faults
        .iter()
        .flat_map(|fault| &fault.windows)
        .map(|(begin_ms, _)| u64::from(*begin_ms) * 1000)
        .min();
    match first {
        Some(first) => first.saturating_sub(JUDGE_BEFORE),
        None => scenario
            .steady_state
            .iter()
            .filter_map(|steady| scenario.phases.iter().find(|phase| phase.id == steady.over))
            .map(|phase| phase.end_us)
            .max()
            .unwrap_or_default(),
    }
}

/// The order of what happens at one time.
fn rank(step: Step) -> u8 {
    match step {
        Step::JudgeSteady => 0,
        Step::FaultExpires(_) => 1,
        Step::FaultOff(_) => 2,
        Step::PhaseEnds(_) => 3,
        Step::PhaseBegins(_) => 4,
        Step::FaultOn(_) => 5,
        Step::End => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        expr::{Expr, Unit},
        run::fixture,
        scenario::Steady,
    };

    #[test]
    fn what_ends_at_a_time_comes_before_what_begins_then() {
        let names: Vec<_> = steps(&fixture::scenario());
        assert_eq!(
            names,
            [
                (0, Step::PhaseBegins(0)),
                (2_000_000, Step::PhaseEnds(0)),
                (2_000_000, Step::PhaseBegins(1)),
                (2_000_000, Step::FaultOn(0)),
                (4_000_000, Step::FaultOff(0)),
                (4_000_000, Step::PhaseEnds(1)),
                (4_000_000, Step::PhaseBegins(2)),
                (5_000_000, Step::PhaseEnds(2)),
                (5_000_000, Step::End),
            ]
        );
    }

    #[test]
    fn a_fault_expires_only_within_its_window() {
        let mut scenario = fixture::scenario();
        let expiry = |scenario: &Scenario| {
            steps(scenario)
                .into_iter()
                .find(|(_, step)| matches!(step, Step::FaultExpires(_)))
                .map(|(at, _)| at)
        };
        scenario.faults[0].ttl = Duration::from_secs(2);
        assert_eq!(expiry(&scenario), None);
        scenario.faults[0].ttl = Duration::from_millis(500);
        assert_eq!(expiry(&scenario), Some(2_500_000));
    }

    #[test]
    fn the_steady_state_is_judged_before_anything_is_broken() {
        let mut scenario = fixture::scenario();
        scenario.steady_state.push(Steady {
            check: Expr::Literal(1.0, Unit::Bool),
            text: "true".to_owned(),
            over: "steady".into(),
        });
        let judged = |scenario: &Scenario| {
            steps(scenario)
                .iter()
                .find(|(_, step)| *step == Step::JudgeSteady)
                .map(|(at, _)| *at)
        };
        assert_eq!(judged(&scenario), Some(1_980_000));
        scenario.faults.clear();
        assert_eq!(judged(&scenario), Some(2_000_000));
    }
}
