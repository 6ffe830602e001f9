//! What a person sees of a run: the screens on a terminal, else one status line a second on stderr.

use std::{io, path::Path, sync::Arc};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    cli::{Global, browse::Desk, screens::Screens},
    event::{FaultState, Id, Outcome as Check, RunEvent, RunState},
    run::{Command, Outcome},
    scenario::Scenario,
    tui,
};

/// Columns of a scorecard where there is no terminal to ask.
const COLUMNS: usize = 100;

/// Columns of the terminal at stderr.
pub(super) fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(COLUMNS)
}

/// Where a run is shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// On the screens.
    Screens {
        screens: Screens,
        command: UnboundedSender<Command>,
    },
    /// In lines.
    Lines(Box<Lines>),
    /// Nowhere.
    Quiet,
}

impl Shown {
    /// Begins to show a run.
    pub(super) fn start(
        scenario: &Arc<Scenario>,
        headless: bool,
        global: &Global,
        command: UnboundedSender<Command>,
    ) -> Self {
        if !Screens::fit(headless) {
            return if global.quiet {
                Self::Quiet
            } else {
                Self::Lines(Box::new(Lines::new(scenario)))
            };
        }
        let told = command.clone();
        let screens = Screens::start(
            scenario,
            global,
            |inputs| Desk::of(scenario, inputs),
            move |order| drop(told.send(order)),
        );
        match screens {
            Ok(screens) => Self::Screens { screens, command },
            Err(_) => Self::Lines(Box::new(Lines::new(scenario))),
        }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: RunEvent) {
        match self {
            Self::Screens { screens, command } => {
                if !screens.event(event) {
                    let _ = command.send(Command::Stop);
                }
            }
            Self::Lines(lines) => lines.event(&event),
            Self::Quiet => {}
        }
    }

    /// Shows what the run has come to.
    pub(super) fn end(&mut self, scenario: &Scenario, outcome: &Outcome, report: &Path, exit: u8) {
        if let Self::Screens { screens, .. } = self {
            screens.end(ending(scenario, outcome, report, exit));
        }
    }

    /// Whether the person has left; where there are no screens, nobody has to.
    pub(super) fn is_left(&self) -> bool {
        match self {
            Self::Screens { screens, .. } => screens.are_left(),
            Self::Lines(_) | Self::Quiet => true,
        }
    }

    /// Gives the terminal back.
    pub(super) fn close(self) {
        if let Self::Screens { screens, .. } = self {
            screens.close();
        }
    }
}

fn ending(scenario: &Scenario, outcome: &Outcome, report: &Path, exit: u8) -> tui::Ending {
    let score = &outcome.score;
    let stats = outcome.totals.map(|totals| totals.stats);
    tui::Ending {
        verdict: match outcome.ending.state() {
            RunState::Finished => score.verdict.name().to_owned(),
            RunState::Guarded => "stopped by a guard".to_owned(),
            RunState::Interrupted => "interrupted".to_owned(),
            _ => "failed".to_owned(),
        },
        score: (score.low, score.value, score.high),
        failed_must: score.failed_must.clone(),
        grade: outcome.quality.grade.letter().to_string(),
        gates: outcome.quality.gates.iter().map(tui::show::gate).collect(),
        faults: outcome
            .faults
            .iter()
            .map(|fault| {
                let how = match (fault.on, fault.applied) {
                    (false, _) => "never on".to_owned(),
                    (true, 0) => "took no effect".to_owned(),
                    (true, applied) => format!("hit {applied} requests"),
                };
                (format!("{}: {how}", fault.id), !fault.took_no_effect())
            })
            .collect(),
        report: Some(report.display().to_string()),
        exit,
        requests: (
            outcome.schedule.planned,
            stats.map_or(0, |stats| stats.sent),
            stats.map_or(0, |stats| stats.done),
        ),
        took_us: match outcome.ending.state() {
            RunState::Finished => scenario.length_us(),
            // As far as it came: the screens know.
            _ => 0,
        },
    }
}

/// The status as lines.
#[derive(Debug)]
pub(super) struct Lines {
    checks: Vec<(Id, Option<Check>)>,
    phase: Option<Id>,
    on: Vec<Id>,
}

impl Lines {
    fn new(scenario: &Scenario) -> Self {
        Self {
            checks: scenario
                .checks
                .iter()
                .map(|check| (check.id.clone(), None))
                .collect(),
            phase: None,
            on: Vec::new(),
        }
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Phase { id, begun, .. } => self.phase = begun.then(|| id.clone()),
            RunEvent::Fault { id, state, .. } => {
                self.on.retain(|on| on != id);
                if *state == FaultState::On {
                    self.on.push(id.clone());
                }
            }
            RunEvent::Check { index, scored, .. } => {
                if let Some((_, outcome)) = self.checks.get_mut(*index) {
                    *outcome = Some(scored.outcome);
                }
            }
            RunEvent::Run { state, .. } => match state {
                RunState::Starting => eprintln!("starting"),
                RunState::Draining => eprintln!("waiting for what is under way"),
                _ => {}
            },
            RunEvent::Note { text, .. } => eprintln!("note: {text}"),
            RunEvent::Guard { when, value, .. } => eprintln!("guard: {when}, saw {value}"),
            RunEvent::Tick(tick) => eprintln!("{}", self.line(tick)),
            _ => {}
        }
    }

    fn line(&self, tick: &crate::event::Tick) -> String {
        let mut line = format!(
            "{:>4}s {:<10} {} due, {} sent, {} done, {} in flight, late p99 {:.1} ms",
            tick.sec + 1,
            self.phase.as_deref().unwrap_or("-"),
            tick.planned,
            tick.sent,
            tick.done,
            tick.in_flight,
            tick.late_p99_us as f64 / 1000.0
        );
        if !self.on.is_empty() {
            line.push_str(&format!(", on: {}", self.on.join(" ")));
        }
        let failing: Vec<&str> = self
            .checks
            .iter()
            .filter(|(_, outcome)| *outcome == Some(Check::Fail))
            .map(|(id, _)| &**id)
            .collect();
        if !failing.is_empty() {
            line.push_str(&format!(", failing: {}", failing.join(" ")));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SwitchedBy, Tick};

    #[test]
    fn a_status_line_says_what_is_on_and_what_fails() {
        let mut lines = Lines {
            checks: vec![("slo".into(), None), ("same".into(), Some(Check::Fail))],
            phase: Some("fault".into()),
            on: Vec::new(),
        };
        lines.event(&RunEvent::Fault {
            t_us: 0,
            id: "slow".into(),
            state: FaultState::On,
            by: SwitchedBy::Timeline,
        });
        let line = lines.line(&Tick {
            t_us: 12_000_000,
            sec: 11,
            planned: 480,
            sent: 480,
            done: 476,
            late_p99_us: 212,
            in_flight: 4,
        });
        assert_eq!(
            line,
            "  12s fault      480 due, 480 sent, 476 done, 4 in flight, late p99 0.2 ms, on: slow, failing: same"
        );
    }
}
