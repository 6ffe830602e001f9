//! An outcome → what the report is told of the run.

use crate::{
    report::{
        Facts,
        run::{Host, Schedule, SteadyPart, Trace},
    },
    run::Outcome,
};

/// When and where a run started; the wall clock is read once.
#[derive(Debug, Clone)]
pub(super) struct Started {
    at: jiff::Timestamp,
}

impl Started {
    pub(super) fn now() -> Self {
        Self {
            at: jiff::Timestamp::now(),
        }
    }
}

/// What the report is told.
pub(super) fn of(outcome: &Outcome, started: &Started, exit: u8) -> Facts {
    let totals = outcome.totals;
    Facts {
        state: outcome.ending.state(),
        exit,
        deterministic: outcome.deterministic,
        trace: outcome.traces.first().map(|trace| Trace {
            path: trace.path.clone(),
            sha256: trace.sha256.clone(),
            exchanges: trace.exchanges,
            skipped: trace.skipped.clone(),
        }),
        schedule: Schedule {
            sha256: outcome.schedule.sha256.clone(),
            planned: outcome.schedule.planned,
            span_us: outcome.schedule.span_us,
        },
        host: Host::here(outcome.workers, started.at.to_string()),
        git: option_env!("MESHBED_GIT").unwrap_or_default().to_owned(),
        sent: totals.map_or(0, |totals| totals.stats.sent),
        done: totals.map_or(0, |totals| totals.stats.done),
        drift_us: totals.map_or(0, |totals| totals.drift_us.cast_signed()),
        cpu: totals.map(|totals| totals.cpu),
        faults_on: outcome
            .faults
            .iter()
            .filter(|fault| fault.on)
            .map(|fault| (fault.id.clone(), fault.undone))
            .collect(),
        steady_state: outcome
            .steady
            .iter()
            .map(|steady| SteadyPart {
                check: steady.check.clone(),
                held: steady.held,
                value: steady.value.clone(),
            })
            .collect(),
        checks: outcome.checks.clone(),
        score: outcome.score.clone(),
        quality: outcome.quality.clone(),
    }
}
