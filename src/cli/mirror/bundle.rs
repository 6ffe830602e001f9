//! The report of a mirror: the same bundle as a scenario's, without a generator.

use std::{path::PathBuf, sync::Arc};

use crate::{
    cli::exit,
    event::{RunEvent, RunState},
    mirror::Mirrored,
    report::{
        self, Facts, Writer,
        run::{Host, Schedule},
    },
    score,
};

/// A report in the making.
pub(super) struct Bundle {
    writer: Writer,
    started: String,
}

impl Bundle {
    /// Begins it.
    pub(super) fn begin(writer: Writer) -> Self {
        Self {
            writer,
            started: jiff::Timestamp::now().to_string(),
        }
    }

    /// Takes an event in.
    pub(super) fn add(&self, event: &RunEvent) {
        self.writer.event(event);
    }

    /// Writes the rest; gives the folder.
    pub(super) fn finish(mut self, mirrored: &Mirrored) -> Result<PathBuf, report::Error> {
        let scenario = &mirrored.scenario;
        let mut ended = (**scenario).clone();
        if let Some(phase) = ended.phases.last_mut() {
            phase.end_us = mirrored.length_us.max(1);
        }
        self.writer.describe(Arc::new(ended));
        let tally = mirrored.tally;
        let facts = Facts {
            state: RunState::Finished,
            exit: exit::PASS.0,
            // What comes when is the clients' doing.
            deterministic: false,
            trace: None,
            schedule: Schedule {
                sha256: String::new(),
                planned: tally.requests,
                span_us: mirrored.length_us,
            },
            host: Host::here(scenario.workers, self.started),
            git: option_env!("MESHBED_GIT").unwrap_or_default().to_owned(),
            sent: tally.requests,
            done: tally.answered,
            drift_us: 0,
            cpu: None,
            faults_on: Vec::new(),
            steady_state: Vec::new(),
            checks: Vec::new(),
            score: score::total(&[], scenario.min_score),
            quality: score::Quality {
                grade: score::Grade::A,
                gates: Vec::new(),
            },
        };
        self.writer.finish(&mirrored.measured, &facts)
    }
}
