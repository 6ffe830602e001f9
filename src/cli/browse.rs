//! What a person asks of the screen of differences: carried out here, since the screens touch neither files nor sockets.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

mod mirrored;
mod reached;

use self::reached::Reached;
use super::run::run_number;
use crate::{
    event::{Mirror, RunEvent},
    journal::{self, Effect, Journal},
    mirror::ends::Ends,
    replay::Prepared,
    report::{self, Run, compare},
    run::{Command, Options, again, chain, outcome::Ending},
    scenario::{self, Overrides, Scenario, ignore},
    shadow::Ignore,
    tui::{Again, App, Input, Order, Which, again::Known, view::OVERLAY},
};

/// How long a rule holds: what it hides is looked at again by then.
const HOLDS_DAYS: i64 = 90;

/// What a person asks of a run is carried out here; what only a run under way can do is not. Dropped, it ends a replay that is under way and waits for its rollback.
#[derive(Debug)]
pub(super) struct Desk {
    source: Source,
    /// The scenario's file, and the SHA-256 of it and all that it includes, as far as only we have changed them; `None`: it
    /// may be another by now.
    file: PathBuf,
    sha256: Option<String>,
    /// SHA-256 of the run's schedule; `None`: not known yet, and the scenario is the run's own.
    schedule: Option<String>,
    inputs: UnboundedSender<Input>,
    replay: Option<Replaying>,
}

/// The scenario of a run.
#[derive(Debug, Clone)]
enum Source {
    /// As it was run, and how its ends are spoken to.
    Loaded(Arc<Scenario>, Arc<Ends>),
    /// To be read from its file again, with the run's seed.
    Saved {
        file: PathBuf,
        sha256: String,
        seed: u64,
    },
    /// A saved mirror: what it was asked.
    Mirror { asked: serde_json::Value, seed: u64 },
}

#[derive(Debug)]
struct Replaying {
    command: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl Desk {
    /// For the screens of a run of this scenario.
    pub(super) fn of(scenario: &Arc<Scenario>, inputs: UnboundedSender<Input>) -> Self {
        Self {
            source: Source::Loaded(Arc::clone(scenario), Arc::default()),
            file: scenario.file.clone(),
            sha256: Some(scenario.sha256.clone()),
            schedule: None,
            inputs,
            replay: None,
        }
    }

    /// For the screens of a mirror. It follows its `--diff` file, so that the file may have changed since it began.
    pub(super) fn of_mirror(
        scenario: &Arc<Scenario>,
        ends: &Ends,
        inputs: UnboundedSender<Input>,
    ) -> Self {
        let mut desk = Self::of(scenario, inputs);
        desk.source = Source::Loaded(Arc::clone(scenario), Arc::new(ends.clone()));
        desk.sha256 = None;
        desk
    }

    /// For the screens of a saved run.
    pub(super) fn of_saved(run: &Run, inputs: UnboundedSender<Input>) -> Self {
        Self {
            source: match run.scenario.resolved.get("mirror") {
                Some(asked) => Source::Mirror {
                    asked: asked.clone(),
                    seed: run.seed,
                },
                None => Source::Saved {
                    file: PathBuf::from(&run.scenario.file),
                    sha256: run.scenario.sha256.clone(),
                    seed: run.seed,
                },
            },
            file: PathBuf::from(&run.scenario.file),
            // A mirror's own is of what it was asked, not of a file.
            sha256: match run.scenario.resolved.get("mirror") {
                Some(_) => None,
                None => Some(run.scenario.sha256.clone()),
            },
            schedule: Some(run.schedule.sha256.clone()),
            inputs,
            replay: None,
        }
    }

    /// Carries out what is asked, or hands back what only a run under way can do.
    pub(super) fn order(&mut self, order: Order) -> Option<Command> {
        match order {
            Order::Stop => return Some(Command::Stop),
            Order::Switch(fault, on) => return Some(Command::SwitchFault(fault, on)),
            Order::Replay(which) => self.replay(which),
            Order::Ignore { path, why } => self.ignore(&path, &why),
            Order::Compare { report, with } => self.compare(&report, &with),
        }
        None
    }

    /// Replays these requests on a thread of its own.
    fn replay(&mut self, which: Which) {
        self.end_replay();
        let (command, commands) = unbounded_channel();
        let job = Job {
            source: self.source.clone(),
            schedule: self.schedule.clone(),
            which,
            inputs: self.inputs.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("replay".to_owned())
            .spawn(move || {
                let how = job.run(commands);
                job.tell(Again::Over(how));
            });
        match thread {
            Ok(thread) => self.replay = Some(Replaying { command, thread }),
            Err(error) => {
                let over = Again::Over(Err(format!("cannot start a thread: {error}")));
                let _ = self.inputs.send(Input::Replayed(over));
            }
        }
    }

    /// Compares this run with another, which is the first side: what was there before.
    fn compare(&self, this: &str, with: &str) {
        let read = |dir: &str| report::read(Path::new(dir)).map_err(|error| chain(&error));
        let lines = match read(with).and_then(|other| Ok((other, read(this)?))) {
            Ok((other, this)) => {
                let comparison = compare::compare(&other, &this, false);
                let columns = ratatui::crossterm::terminal::size().map_or(OVERLAY, |size| size.0);
                let width = usize::from(columns.min(OVERLAY)).saturating_sub(2);
                let text = compare::text::write(&comparison, &other, &this, width);
                text.lines().map(str::to_owned).collect()
            }
            Err(why) => vec![why],
        };
        let said = Input::Said("compare".to_owned(), lines);
        // Nobody listens when the screens have been left.
        let _ = self.inputs.send(said);
    }

    /// Writes a rule into the scenario, and tells where it is, or why it is not.
    fn ignore(&mut self, path: &str, why: &str) {
        let until = jiff::Zoned::now()
            .date()
            .checked_add(jiff::Span::new().days(HOLDS_DAYS))
            .ok();
        let rule = Ignore {
            path: path.to_owned(),
            why: why.to_owned(),
            until,
        };
        let lines = match ignore::write(&self.file, self.sha256.as_deref(), &rule) {
            Ok(written) => {
                self.sha256 = self.sha256.is_some().then_some(written.sha256);
                vec![
                    format!(
                        "written into {}, line {}:",
                        written.file.display(),
                        written.line
                    ),
                    format!("  {}", written.rule),
                    "It holds for the runs to come; this one stays as it was judged.".to_owned(),
                ]
            }
            Err(refused) => vec![
                format!("not written: {}", chain(&refused)),
                "The rule, to be written by hand under `diff.json.ignore`:".to_owned(),
                format!("  - {}", ignore::written(&rule)),
            ],
        };
        let _ = self.inputs.send(Input::Said("ignore".to_owned(), lines));
    }

    fn end_replay(&mut self) {
        if let Some(replay) = self.replay.take() {
            let _ = replay.command.send(Command::Stop);
            // What it has to say is said.
            let _ = replay.thread.join();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.end_replay();
    }
}

/// Prints the commands that were copied: a terminal without a clipboard has them all the same.
pub(super) fn print_copied(app: &App) {
    for text in &app.copied {
        eprint!("{text}");
    }
}

/// Requests as they are sent.
fn prepared(known: &[Known]) -> Result<Vec<(u64, Prepared)>, String> {
    let one = |known: &Known| {
        let mut headers = http::HeaderMap::new();
        for (name, value) in &known.asked.headers {
            let name = http::HeaderName::try_from(name).ok()?;
            headers.append(name, http::HeaderValue::try_from(value).ok()?);
        }
        let request = Prepared {
            method: known.method.parse().ok()?,
            uri: known.target.parse().ok()?,
            headers,
            body: known.asked.body.clone().into(),
        };
        Some((known.ordinal, request))
    };
    let requests = known.iter().map(|known| {
        one(known).ok_or_else(|| format!("request #{} cannot be sent again", known.ordinal))
    });
    requests.collect()
}

/// A replay.
struct Job {
    source: Source,
    schedule: Option<String>,
    which: Which,
    inputs: UnboundedSender<Input>,
}

impl Job {
    fn tell(&self, again: Again) {
        // Nobody listens when the screens have been left.
        let _ = self.inputs.send(Input::Replayed(again));
    }

    fn step(&self, step: &str) {
        self.tell(Again::Step(step.to_owned()));
    }

    /// Replays, and tells what comes of it; `Err`: why nothing can be said.
    fn run(&self, commands: UnboundedReceiver<Command>) -> Result<(), String> {
        self.step("reading the scenario and its capture");
        let (scenario, ends) = self.scenario()?;
        let chosen = match &self.which {
            Which::Scheduled(ordinals) => {
                let ordinals: BTreeSet<u64> = ordinals.iter().copied().collect();
                again::Chosen::of(&scenario, self.schedule.as_deref(), &ordinals)
            }
            Which::Known(known) => again::Chosen::given(&scenario, prepared(known)?),
        }
        .map_err(|error| chain(&error))?
        .over_tls(ends.by_party(&scenario));
        journal::recover(&journal::folder())
            .map_err(|error| format!("cannot read the journals: {error}"))?;
        let number = run_number(&scenario);
        let mark = format!("{number:010x}");
        let journal = Journal::open(&journal::folder(), &mark)
            .map_err(|error| format!("cannot write a journal: {error}"))?;
        let reached = Reached::new(scenario.shadows.iter().map(|it| it.id.clone()), &ends);
        let played = self.play(&scenario, (chosen, reached), number, &journal, commands);
        // The services' logs, too: who wants them runs the scenario.
        let left = journal.close();
        match left.iter().find(|undone| !undone.ok) {
            Some(undone) => Err(format!("cannot undo {} {}", undone.what, undone.id)),
            None => played,
        }
    }

    fn scenario(&self) -> Result<(Arc<Scenario>, Arc<Ends>), String> {
        let (file, sha256, seed) = match &self.source {
            Source::Loaded(scenario, ends) => return Ok((Arc::clone(scenario), Arc::clone(ends))),
            Source::Mirror { asked, seed } => {
                let (scenario, ends) = mirrored::scenario(asked, *seed)?;
                return Ok((Arc::new(scenario), Arc::new(ends)));
            }
            Source::Saved { file, sha256, seed } => (file, sha256, seed),
        };
        let overrides = Overrides {
            seed: Some(*seed),
            ..Overrides::default()
        };
        let (scenario, _) =
            scenario::load(file, &overrides).map_err(|problems| problems.to_string())?;
        if scenario.sha256 != *sha256 {
            self.step("the scenario has changed since the run: it comes up as it is now");
        }
        Ok((Arc::new(scenario), Arc::default()))
    }

    fn play(
        &self,
        scenario: &Scenario,
        (chosen, mut reached): (again::Chosen, Reached),
        number: u64,
        journal: &Journal,
        commands: UnboundedReceiver<Command>,
    ) -> Result<(), String> {
        let logs = std::env::temp_dir().join(format!("meshbed-replay-{number:010x}"));
        journal
            .intend(Effect::Folder, &logs.to_string_lossy())
            .and_then(|_| std::fs::create_dir(&logs))
            .map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
        let options = Options {
            run: number,
            logs: &logs,
            journal,
        };
        let count = chosen.len();
        self.step("services and shadows come up");
        let (events, mut told) = unbounded_channel();
        let outcome = std::thread::scope(|scope| {
            let engine =
                scope.spawn(|| again::execute(scenario, chosen, options, events, commands));
            let mut done = 0_u64;
            let tell = |answers: Vec<Arc<Mirror>>| {
                for answer in answers {
                    self.tell(Again::Answer(answer));
                }
            };
            while let Some(event) = told.blocking_recv() {
                match event {
                    RunEvent::Request(_) => {
                        done += 1;
                        self.tell(Again::Step(format!("{done} of {count} answered")));
                    }
                    RunEvent::Mirror(mirror) => reached.answer(mirror),
                    RunEvent::Hop(hop) => reached.hop(&hop),
                    _ => continue,
                }
                tell(reached.known());
            }
            tell(reached.rest());
            engine.join()
        });
        match outcome {
            Ok(Ok(outcome)) => match outcome.ending {
                Ending::Finished => Ok(()),
                Ending::Interrupted => Err("it was stopped".to_owned()),
                Ending::Guarded(why) | Ending::Unsteady(why) | Ending::Failed(why) => Err(why),
            },
            Ok(Err(failure)) => Err(chain(&failure)),
            Err(_) => Err("the engine has died".to_owned()),
        }
    }
}
