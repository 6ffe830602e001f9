//! The report of a replay: the same bundle as a scenario's, without faults, shadows and checks.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    cli::exit::Exit,
    event::{RunEvent, RunState},
    measure::{Kind, Measured},
    replay::{Schedule, Totals},
    report::{
        self, Facts, Writer,
        run::{Host, Schedule as Planned, Trace},
    },
    scenario::Scenario,
    score,
    stats::quantile::Quantile,
};

/// A report in the making.
pub(super) struct Bundle {
    writer: Writer,
    measured: Measured,
    scenario: Arc<Scenario>,
    failures: BTreeMap<String, u64>,
    started: String,
    last_us: u64,
}

impl Bundle {
    /// Begins it in the writer's folder.
    pub(super) fn begin(scenario: &Arc<Scenario>, writer: Writer) -> Self {
        Self {
            writer,
            measured: Measured::new(scenario.measuring()),
            scenario: Arc::clone(scenario),
            failures: BTreeMap::new(),
            started: jiff::Timestamp::now().to_string(),
            last_us: 0,
        }
    }

    /// Tells that requests are about to flow.
    pub(super) fn begun(&mut self) {
        self.add(&RunEvent::Run {
            t_us: 0,
            state: RunState::Playing,
        });
        self.phase(0, true);
    }

    /// Takes an event in.
    pub(super) fn add(&mut self, event: &RunEvent) {
        if let RunEvent::Request(request) = event {
            self.last_us = self.last_us.max(request.done_us);
            if let Some(why) = &request.why {
                *self.failures.entry(why.clone()).or_default() += 1;
            }
        }
        self.measured.add(event);
        self.writer.event(event);
    }

    /// Tells that the last request has ended.
    pub(super) fn ended(&mut self, state: RunState) {
        let t_us = self.last_us;
        self.phase(t_us, false);
        self.add(&RunEvent::Run { t_us, state });
    }

    fn phase(&mut self, t_us: u64, begun: bool) {
        for phase in &Arc::clone(&self.scenario).phases {
            self.add(&RunEvent::Phase {
                t_us,
                id: Arc::clone(&phase.id),
                begun,
            });
        }
    }

    /// What was measured so far.
    pub(super) fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Requests without a whole answer, by reason.
    pub(super) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Writes the rest; gives the folder.
    pub(super) fn finish(
        self,
        schedule: &Schedule,
        totals: &Totals,
        state: RunState,
        exit: Exit,
    ) -> Result<PathBuf, report::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = Some(totals.cpu / cores as f64);
        let all = self.measured.generator(&self.measured.recorded());
        let quality = score::quality(&score::Facts {
            planned: schedule.planned.len() as u64,
            sent: totals.stats.sent,
            lateness_p99_us: Some(totals.lateness_us.p99),
            response_p50_us: all
                .latency(Kind::Response)
                .and_then(|times| times.quantile(Quantile::P50)),
            cpu,
            samples: all.tally.requests,
            identified: 1.0,
            control_structural: None,
            faults: (0, 0),
        });
        let facts = Facts {
            state,
            exit: exit.0,
            deterministic: true,
            trace: schedule
                .sources
                .iter()
                .find_map(|lane| lane.trace.as_ref())
                .map(|trace| Trace {
                    path: trace.path.display().to_string(),
                    sha256: trace.sha256.clone(),
                    exchanges: trace.exchanges,
                    skipped: trace.skipped.clone(),
                }),
            schedule: Planned {
                sha256: schedule.sha256.clone(),
                planned: schedule.planned.len() as u64,
                span_us: schedule.span_us,
            },
            host: Host::here(0, self.started),
            git: option_env!("MESHBED_GIT").unwrap_or_default().to_owned(),
            sent: totals.stats.sent,
            done: totals.stats.done,
            drift_us: i64::try_from(totals.drift_us).unwrap_or(i64::MAX),
            cpu,
            faults_on: Vec::new(),
            steady_state: Vec::new(),
            checks: Vec::new(),
            score: score::total(&[], self.scenario.min_score),
            quality,
        };
        self.writer.finish(&self.measured, &facts)
    }
}
