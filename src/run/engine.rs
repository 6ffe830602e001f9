//! Brings everything up, walks the timeline, tears everything down. Decisions are made elsewhere (`timeline`, `guard`,
//! `judge`, `outcome`); here they are carried out.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use meshbed_proxy::config::tls;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{Instant, sleep_until},
};

use self::{sidecars::Sidecars, stop::Stop};
use super::{
    Command, Failure, Options, Outcome, chain,
    collect::Origin,
    guard, judge,
    mesh::{self, Party, Switch, Trust, Wiring},
    outcome::{Ending, SteadyFacts},
    services::{self, Services},
    timeline::{self, Step},
};
use crate::{
    event::{FaultState, Id, Micros, RunEvent, RunState, SwitchedBy},
    measure::Measured,
    plan,
    replay::{self, Drive, Driving, Schedule, Totals, schedule},
    scenario::{Fault, Scenario},
};

mod ending;
mod sidecars;
mod stop;
mod switches;

/// From the moment that everything is ready to the first due time: the generator opens its first connections in it.
const LEAD: Duration = replay::AHEAD;

/// Events taken in at once, before the clock is looked at again: about a millisecond of work.
const BATCH: usize = 1024;

/// A second, in which the generator is asked how it does and checks are judged for now.
const SECOND: Micros = 1_000_000;

/// Brings a scenario up, plays it, and tears it down; blocks its thread, and returns after rollback.
///
/// # Errors
/// When there was nothing to play: the environment failed before the first request, or the schedule cannot be made.
pub fn execute(
    scenario: &Scenario,
    options: Options<'_>,
    events: UnboundedSender<RunEvent>,
    commands: UnboundedReceiver<Command>,
) -> Result<Outcome, Failure> {
    execute_given(scenario, Given::default(), options, events, commands)
}

/// What a run is given that its scenario does not say.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// In place of the scenario's own.
    pub(super) schedule: Option<Schedule>,
    /// How parties are spoken to that speak TLS themselves, by label.
    pub(super) ends: BTreeMap<String, tls::Client>,
}

/// The same with what it is given.
pub(super) fn execute_given(
    scenario: &Scenario,
    given: Given,
    options: Options<'_>,
    events: UnboundedSender<RunEvent>,
    commands: UnboundedReceiver<Command>,
) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Environment(format!("cannot start the engine: {error}")))?;
    let outcome = runtime.block_on(run(scenario, given, options, events, commands));
    // A schedule that is still being read when the run is interrupted is not waited for.
    runtime.shutdown_background();
    outcome
}

async fn run(
    scenario: &Scenario,
    given: Given,
    options: Options<'_>,
    events: UnboundedSender<RunEvent>,
    commands: UnboundedReceiver<Command>,
) -> Result<Outcome, Failure> {
    let mut stop = Stop::new(commands);
    let mut engine = Engine::new(scenario, events);
    engine.emit(RunEvent::Run {
        t_us: 0,
        state: RunState::Starting,
    });

    let schedule = match given.schedule {
        Some(schedule) => Ok(schedule),
        None => match stop.or(read_schedule(scenario)).await {
            Some(schedule) => schedule,
            None => return Ok(engine.outcome(options, None, None)),
        },
    };
    let schedule = Arc::new(schedule?);
    let trust = Trust::new(scenario)
        .map_err(|wrong| Failure::Environment(format!("cannot make certificates: {wrong}")))?;
    let mut wiring = Wiring {
        run: options.run,
        trust: trust.clone(),
        ends: given.ends,
        ordinals: chosen(scenario, |fault| plan::ordinals_for(fault, &schedule)),
        numbers: chosen(scenario, |fault| plan::numbers_for(fault, &schedule)),
        ..Wiring::default()
    };
    let parties = mesh::parties(scenario);
    let ports = services::choose(&parties)?;
    wiring.endpoints = ports.addresses()?;

    let mut behind = Services::new(options.journal);
    let base = scenario.file.parent().unwrap_or(std::path::Path::new("."));
    let place = services::Place {
        base,
        logs: options.logs,
        seed: scenario.seed.0,
        trust: &trust,
    };
    let prepared = stop.or(behind.prepare(&parties, place)).await;
    let started = prepared.map(|gateway| {
        wiring.gateway = gateway?;
        Sidecars::start(scenario, options, &wiring, &engine.origin)
    });
    let mut sidecars = match started.transpose() {
        Ok(Some(sidecars)) => sidecars,
        other => {
            engine.end_services(behind, &stop).await;
            return other.map(|_| engine.outcome(options, Some(&schedule), None));
        }
    };
    let listeners = sidecars.listeners();
    engine.wiring = wiring;
    let brought_up = stop
        .or(engine.bring_up(&mut behind, &parties, ports, &listeners, place, &sidecars))
        .await;
    let driving = brought_up.map(|up| {
        up?;
        engine.start(&schedule, &listeners, &sidecars)
    });
    let mut totals = None;
    match driving.transpose() {
        Ok(Some(driving)) => {
            totals = engine
                .play(driving, &schedule, &mut sidecars, &mut behind, &mut stop)
                .await;
        }
        Ok(None) => engine.end(Ending::Interrupted),
        Err(failure) => {
            // Whatever has come up goes down before the failure is told.
            engine.roll_back(sidecars, behind, &mut stop).await;
            return Err(failure);
        }
    }
    engine.roll_back(sidecars, behind, &mut stop).await;
    Ok(engine.outcome(options, Some(&schedule), totals))
}

/// Builds the schedule on another thread: a large capture takes seconds, in which a person may change their mind.
async fn read_schedule(scenario: &Scenario) -> Result<Schedule, Failure> {
    let own = scenario.clone();
    let built = tokio::task::spawn_blocking(move || schedule::build(&own)).await;
    match built {
        Ok(Ok(schedule)) => Ok(schedule),
        Ok(Err(error)) => {
            let place = scenario.standing.place(&error.part());
            Err(Failure::Scenario(format!("{place}: {}", chain(&error))))
        }
        Err(error) => Err(Failure::Environment(format!(
            "cannot read the schedule: {error}"
        ))),
    }
}

/// What `first` and `every` choose of what the generator does, by fault.
fn chosen(
    scenario: &Scenario,
    of: impl Fn(&Fault) -> Option<Vec<u64>>,
) -> BTreeMap<Id, Arc<[u64]>> {
    let faults = scenario.faults.iter();
    faults
        .filter_map(|fault| Some((fault.id.clone(), of(fault)?.into())))
        .collect()
}

/// A run under way.
struct Engine<'a> {
    scenario: &'a Scenario,
    events: UnboundedSender<RunEvent>,
    measured: Measured,
    wiring: Wiring,
    origin: Origin,
    switched: Vec<Switched>,
    steady: Vec<SteadyFacts>,
    ending: Option<Ending>,
    began: bool,
}

/// Where a fault's switch is.
#[derive(Debug, Clone, Copy, Default)]
struct Switched {
    on: bool,
    ever: bool,
    undone: bool,
}

impl<'a> Engine<'a> {
    fn new(scenario: &'a Scenario, events: UnboundedSender<RunEvent>) -> Self {
        Self {
            scenario,
            events,
            measured: Measured::new(scenario.measuring()),
            wiring: Wiring::default(),
            origin: Origin::default(),
            switched: vec![Switched::default(); scenario.faults.len()],
            steady: Vec::new(),
            ending: None,
            began: false,
        }
    }

    fn now_us(&self) -> Micros {
        self.origin.micros(Instant::now())
    }

    /// Measures an event and hands it on.
    fn emit(&mut self, event: RunEvent) {
        self.measured.add(&event);
        // Nobody may be listening; the run goes on.
        let _ = self.events.send(event);
    }

    fn note(&mut self, text: String) {
        let t_us = self.now_us();
        self.emit(RunEvent::Note { t_us, text });
    }

    /// Says how the run ends; the first to say so is right, but for a failure after its last phase.
    fn end(&mut self, ending: Ending) {
        if self
            .ending
            .as_ref()
            .is_none_or(|it| it.gives_way_to(&ending))
        {
            self.ending = Some(ending);
        }
    }

    /// Starts what is behind the sidecars, and waits until it is ready.
    async fn bring_up(
        &mut self,
        behind: &mut Services<'_>,
        parties: &[Party<'_>],
        ports: services::Ports,
        listeners: &BTreeMap<String, SocketAddr>,
        place: services::Place<'_>,
        sidecars: &Sidecars,
    ) -> Result<(), Failure> {
        let found = behind.start(parties, ports, listeners, place).await?;
        for warning in behind.warnings() {
            self.note(warning);
        }
        if !found.is_empty() {
            self.wiring.endpoints.extend(found);
            self.publish(sidecars).map_err(|wrong| {
                let what = "the sidecars cannot be told where the containers are";
                Failure::Environment(format!("{what}: {wrong}"))
            })?;
        }
        behind.ready().await
    }

    /// Sets the clock and lets the generator go.
    fn start(
        &mut self,
        schedule: &Arc<Schedule>,
        listeners: &BTreeMap<String, SocketAddr>,
        sidecars: &Sidecars,
    ) -> Result<Driving, Failure> {
        let targets = mesh::driven(self.scenario)
            .into_iter()
            .filter_map(|id| Some((id.clone(), *listeners.get(&mesh::entrance(id))?)))
            .collect();
        let origin = Instant::now() + LEAD;
        self.origin.set(origin);
        let drive = Drive {
            targets,
            run: self.wiring.run,
            origin,
            tls: self.wiring.trust.clients(),
            numbers: self
                .scenario
                .breaks_connections()
                .then(|| sidecars.numbers.clone()),
        };
        let tell = sidecars.tell.clone();
        let driving = replay::start(schedule.clone(), &drive, move |event| {
            let _ = tell.send(event);
        })
        .map_err(|error| Failure::Environment(chain(&error)))?;
        self.began = true;
        self.emit(RunEvent::Run {
            t_us: 0,
            state: RunState::Playing,
        });
        Ok(driving)
    }

    /// Walks the timeline, then waits for what is under way.
    async fn play(
        &mut self,
        driving: Driving,
        schedule: &Schedule,
        sidecars: &mut Sidecars,
        behind: &mut Services<'_>,
        stop: &mut Stop,
    ) -> Option<Totals> {
        let steps = timeline::steps(self.scenario);
        let mut steps = steps.into_iter().peekable();
        let mut second = 0;
        let mut guard_at = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        let at = |us: Micros| move |origin: Instant| origin + Duration::from_micros(us);
        let origin = Instant::now() + self.origin.until();
        while self.ending.is_none() {
            let next_step = steps
                .peek()
                .map_or(Instant::now(), |(us, _)| at(*us)(origin));
            let next_second = at((second + 1) * SECOND)(origin);
            let mut next = next_step.min(next_second);
            if !self.scenario.guards.is_empty() {
                next = next.min(guard_at);
            }
            tokio::select! {
                biased;
                command = stop.next() => self.command(command, sidecars),
                () = behind.changed() => self.follow(behind, sidecars),
                () = sleep_until(next) => {}
                _ = sidecars.told.recv_many(&mut batch, BATCH) => {
                    for event in batch.drain(..) {
                        self.emit(event);
                    }
                }
            }
            let now = Instant::now();
            if now >= guard_at && !self.scenario.guards.is_empty() {
                guard_at = now + guard::LOOK;
                self.guard(sidecars);
            }
            if now >= next_second {
                self.emit(RunEvent::Tick(driving.tick(second)));
                second += 1;
                self.judge_for_now();
                self.follow(behind, sidecars);
            }
            if now >= next_step
                && self.ending.is_none()
                && let Some((_, step)) = steps.next()
            {
                self.step(step, sidecars);
            }
        }
        self.drain(driving, schedule, sidecars, behind, stop).await
    }

    /// Tells what has become of services, and sends their callers where they are now.
    fn follow(&mut self, behind: &mut Services<'_>, sidecars: &Sidecars) {
        for text in behind.news() {
            self.note(text);
        }
        let moved = behind.moved();
        if !moved.is_empty() {
            self.wiring.endpoints.extend(moved);
            if let Err(wrong) = self.publish(sidecars) {
                let why = format!("the sidecars cannot be told where the containers are: {wrong}");
                self.end(Ending::Failed(why));
            }
        }
    }

    fn step(&mut self, step: Step, sidecars: &Sidecars) {
        let t_us = self.now_us();
        let phase = |index: usize| {
            self.scenario
                .phases
                .get(index)
                .map(|phase| phase.id.clone())
        };
        match step {
            Step::PhaseBegins(index) => {
                if let Some(id) = phase(index) {
                    self.emit(RunEvent::Phase {
                        t_us,
                        id,
                        begun: true,
                    });
                }
            }
            Step::PhaseEnds(index) => {
                if let Some(id) = phase(index) {
                    self.emit(RunEvent::Phase {
                        t_us,
                        id,
                        begun: false,
                    });
                }
            }
            Step::FaultOn(index) => {
                if self.stands(index) == Switch::Timeline {
                    self.by_the_clock(index, true, sidecars);
                    self.tell_fault(index, FaultState::On, SwitchedBy::Timeline);
                }
            }
            Step::FaultOff(index) => {
                if self.stands(index) == Switch::Timeline {
                    self.by_the_clock(index, false, sidecars);
                    self.tell_fault(index, FaultState::Off, SwitchedBy::Timeline);
                }
            }
            Step::FaultExpires(index) => {
                if self.stands(index) != Switch::Off {
                    self.throw([index], Switch::Off, sidecars);
                    self.tell_fault(index, FaultState::Expired, SwitchedBy::Ttl);
                }
            }
            Step::JudgeSteady => self.judge_steady(sidecars),
            Step::End => self.end(Ending::Finished),
        }
    }

    fn command(&mut self, command: Command, sidecars: &Sidecars) {
        match command {
            Command::Stop => {
                self.all_off(SwitchedBy::User, sidecars);
                self.end(Ending::Interrupted);
            }
            Command::SwitchFault(id, on) => {
                let found = self.scenario.faults.iter().position(|fault| fault.id == id);
                let Some(index) = found else {
                    self.note(format!("there is no fault `{id}`"));
                    return;
                };
                let (to, state) = if on {
                    (Switch::On, FaultState::On)
                } else {
                    (Switch::Off, FaultState::Off)
                };
                self.throw([index], to, sidecars);
                self.tell_fault(index, state, SwitchedBy::User);
            }
        }
    }

    fn guard(&mut self, sidecars: &Sidecars) {
        let now = self.now_us();
        if let Some(tripped) = guard::tripped(self.scenario, &self.measured, now) {
            self.all_off(SwitchedBy::Guard, sidecars);
            let t_us = self.now_us();
            self.end(Ending::Guarded(format!(
                "{} ({})",
                tripped.when, tripped.value
            )));
            self.emit(RunEvent::Guard {
                t_us,
                when: tripped.when,
                value: tripped.value,
            });
        }
    }

    /// Nothing is broken unless every condition is known to hold.
    fn judge_steady(&mut self, sidecars: &Sidecars) {
        let now = self.now_us();
        let mut why = Vec::new();
        for steady in &self.scenario.steady_state {
            let window = self.measured.phase(&steady.over);
            let windows: Vec<_> = window.into_iter().collect();
            let (held, value) =
                judge::holds(self.scenario, &self.measured, &steady.check, &windows, now);
            if held != Some(true) {
                why.push(format!("{} ({value})", steady.text));
            }
            self.steady.push(SteadyFacts {
                check: steady.text.clone(),
                held,
                value: value.clone(),
            });
            self.emit(RunEvent::Steady {
                t_us: now,
                check: steady.text.clone(),
                held,
                value,
            });
        }
        if !why.is_empty() {
            self.all_off(SwitchedBy::Timeline, sidecars);
            self.end(Ending::Unsteady(why.join("; ")));
        }
    }

    fn judge_for_now(&mut self) {
        let t_us = self.now_us();
        for (index, check) in self.scenario.checks.iter().enumerate() {
            let scored = judge::check(self.scenario, &self.measured, check, t_us);
            self.emit(RunEvent::Check {
                t_us,
                index,
                scored,
                provisional: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{journal::Journal, run::fixture};

    fn play(scenario: &Scenario) -> (Result<Outcome, Failure>, Vec<RunEvent>) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("state"), "t-engine").unwrap();
        let options = Options {
            run: 0x12_3456_789a,
            logs: folder.path(),
            journal: &journal,
        };
        let (events, mut told) = unbounded_channel();
        let (_commands, to_engine) = unbounded_channel();
        let outcome = execute(scenario, options, events, to_engine);
        let mut all = Vec::new();
        while let Ok(event) = told.try_recv() {
            all.push(event);
        }
        (outcome, all)
    }

    #[test]
    fn a_run_meets_its_fault_and_its_shadow() {
        let scenario = fixture::scenario();
        let (outcome, events) = play(&scenario);
        let outcome = outcome.unwrap();
        assert_eq!(outcome.ending, Ending::Finished, "{events:?}");
        let totals = outcome.totals.unwrap();
        assert_eq!((outcome.schedule.planned, totals.stats.done), (250, 250));
        let fault = &outcome.faults[0];
        assert!(fault.on && fault.undone && fault.applied > 0, "{fault:?}");
        let faulted = &outcome.measured.faults()[0];
        assert_eq!(faulted.considered, 100, "two seconds at 50/s");
        // 3 sigma of 100 draws at a half.
        assert!((35..=65).contains(&faulted.chosen), "{faulted:?}");
        // client > shop > cart > catalog, and the copy: candidate > catalog; each seen by the caller's sidecar, where it has
        // one, and by the callee's.
        let hops = events
            .iter()
            .filter(|event| matches!(event, RunEvent::Hop(_)))
            .count();
        assert_eq!(hops, 250 * 9);
        let whole = [crate::measure::Window {
            begin_us: 0,
            end_us: u64::MAX,
        }];
        let mirrored = outcome.measured.shadows().over("candidate", &whole);
        assert_eq!((mirrored.chosen, mirrored.compared), (250, 250));
        assert_eq!(outcome.measured.identified(), (250 * 9, 0));
    }
}
