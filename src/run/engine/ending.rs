//! The end of a run: what is under way ends, everything goes down, and it is summed up.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, timeout};

use super::{BATCH, Engine, Sidecars, Stop};
use crate::{
    event::{FaultState, RunEvent, RunState, SwitchedBy},
    replay::{Driving, Schedule, Totals},
    run::{
        Options, Outcome, judge,
        outcome::{self, End, Ending, ScheduleFacts, TraceFacts},
        services::Services,
    },
    score,
};

/// After a guard, requests under way may take this long.
const GUARD_GRACE: Duration = Duration::from_secs(1);

/// Nothing has been told for so long: what was under way at the sidecars has ended.
const QUIET: Duration = Duration::from_millis(100);

/// What is under way at the sidecars after the generator's end is waited for at most so long, beside the deadlines of the
/// shadows.
const SETTLE: Duration = Duration::from_secs(5);

/// So often it is asked what has become of processes: they do not say so by themselves.
const NEWS: Duration = Duration::from_secs(1);

/// The sidecars are waited for in slices of this.
const DRAIN_SLICE: Duration = Duration::from_millis(50);

impl Engine<'_> {
    /// Waits until what is under way has ended, at the generator and at the sidecars.
    pub(super) async fn drain(
        &mut self,
        driving: Driving,
        schedule: &Schedule,
        sidecars: &mut Sidecars,
        behind: &mut Services<'_>,
        stop: &mut Stop,
    ) -> Option<Totals> {
        let t_us = self.now_us();
        self.emit(RunEvent::Run {
            t_us,
            state: RunState::Draining,
        });
        match self.ending {
            Some(Ending::Interrupted | Ending::Failed(_)) => driving.stop(Duration::ZERO),
            Some(Ending::Guarded(_) | Ending::Unsteady(_)) => driving.stop(GUARD_GRACE),
            _ => {}
        }
        let mut batch = Vec::with_capacity(BATCH);
        let mut next_news = Instant::now() + NEWS;
        loop {
            if Instant::now() >= next_news {
                next_news = Instant::now() + NEWS;
                self.follow(behind, sidecars);
            }
            let stats = driving.stats();
            let all = stats.released >= schedule.planned.len() as u64;
            let stopped = !matches!(self.ending, Some(Ending::Finished));
            if (all || stopped) && stats.done + stats.no_response >= stats.released {
                break;
            }
            tokio::select! {
                biased;
                command = stop.next() => {
                    self.command(command, sidecars);
                    if stop.asked > 0 {
                        if !matches!(self.ending, Some(Ending::Failed(_))) {
                            self.ending = Some(Ending::Interrupted);
                        }
                        driving.stop(Duration::ZERO);
                    }
                }
                () = behind.changed() => self.follow(behind, sidecars),
                _ = sidecars.told.recv_many(&mut batch, BATCH) => {}
                () = tokio::time::sleep(QUIET) => {}
            }
            for event in batch.drain(..) {
                self.emit(event);
            }
        }
        // Also of those that have died since.
        self.follow(behind, sidecars);
        if matches!(self.ending, Some(Ending::Failed(_))) {
            driving.stop(Duration::ZERO);
        }
        let totals = match driving.join().await {
            Ok(totals) => Some(totals),
            Err(died) => {
                self.ending = Some(Ending::Failed(died.to_string()));
                None
            }
        };
        let end = Instant::now() + SETTLE;
        while Instant::now() < end && !stop.is_hurried() {
            match timeout(QUIET, sidecars.told.recv_many(&mut batch, BATCH)).await {
                Ok(_) => {
                    for event in batch.drain(..) {
                        self.emit(event);
                    }
                }
                Err(_) => break,
            }
        }
        totals
    }

    /// Takes everything down: sidecars when what is under way has ended, then what is behind them.
    pub(super) async fn roll_back(
        &mut self,
        sidecars: Sidecars,
        behind: Services<'_>,
        stop: &mut Stop,
    ) {
        let Sidecars {
            proxy,
            comparing,
            mut told,
            tell,
            numbers: _,
        } = sidecars;
        let deadlines = self.scenario.shadows.iter().map(|one| one.limits.deadline);
        let within = if matches!(self.ending, Some(Ending::Finished)) {
            SETTLE + deadlines.max().unwrap_or_default()
        } else {
            QUIET
        };
        let end = Instant::now() + within;
        // In slices: it blocks, and a person may be in a hurry.
        while !proxy.drain(DRAIN_SLICE) && Instant::now() < end && !stop.is_hurried() {
            let _ = timeout(Duration::ZERO, stop.next()).await;
        }
        drop(proxy);
        drop(tell);
        comparing.join();
        // Everybody who could tell something is gone, so this ends.
        while let Ok(Some(event)) = timeout(SETTLE, told.recv()).await {
            self.emit(event);
        }
        let ever: Vec<usize> = (0..)
            .zip(&self.switched)
            .filter(|(_, switched)| switched.ever)
            .map(|(index, _)| index)
            .collect();
        for index in ever {
            self.tell_fault(index, FaultState::Undone, SwitchedBy::Timeline);
        }
        self.end_services(behind, stop).await;
    }

    /// Takes down what is behind the sidecars.
    pub(super) async fn end_services(&mut self, mut behind: Services<'_>, stop: &Stop) {
        for undone in behind.stop(stop.is_hurried()).await {
            let t_us = self.now_us();
            self.emit(RunEvent::Undo {
                t_us,
                what: undone.what,
                id: undone.id,
                ok: undone.ok,
            });
        }
    }

    /// Sums up. Everything is down.
    pub(super) fn outcome(
        mut self,
        options: Options<'_>,
        schedule: Option<&Schedule>,
        totals: Option<Totals>,
    ) -> Outcome {
        let t_us = self.now_us();
        let ending = self.ending.take().unwrap_or(Ending::Interrupted);
        let mut checks = Vec::new();
        for (index, check) in self.scenario.checks.iter().enumerate() {
            let scored = match ending.not_run() {
                Some(why) => score::not_run(judge::unit(&check.that).name(), why),
                None => judge::check(
                    self.scenario,
                    &self.measured,
                    check,
                    self.scenario.length_us(),
                ),
            };
            self.emit(RunEvent::Check {
                t_us,
                index,
                scored: scored.clone(),
                provisional: false,
            });
            checks.push(scored);
        }
        let state = ending.state();
        self.emit(RunEvent::Run { t_us, state });
        outcome::sum_up(
            self.scenario,
            self.measured,
            End {
                run: options.run,
                ending,
                steady: self.steady,
                workers: self.scenario.workers,
                on: self
                    .switched
                    .iter()
                    .map(|switched| (switched.ever, switched.undone))
                    .collect(),
                schedule: schedule.map(facts).unwrap_or_default(),
                traces: schedule.map(traces).unwrap_or_default(),
                totals,
                checks,
            },
        )
    }
}

fn facts(schedule: &Schedule) -> ScheduleFacts {
    ScheduleFacts {
        sha256: schedule.sha256.clone(),
        planned: schedule.planned.len() as u64,
        span_us: schedule.span_us,
    }
}

fn traces(schedule: &Schedule) -> Vec<TraceFacts> {
    let paths: BTreeSet<_> = schedule
        .sources
        .iter()
        .filter_map(|lane| lane.trace.as_ref())
        .map(|trace| TraceFacts {
            path: trace.path.display().to_string(),
            sha256: trace.sha256.clone(),
            exchanges: trace.exchanges,
            skipped: trace.skipped.clone(),
        })
        .collect();
    paths.into_iter().collect()
}
