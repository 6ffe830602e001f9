//! `meshbed run`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

mod facts;
mod show;
pub(super) mod signals;

use super::{
    Global, check, complain,
    exit::{self, Exit},
};
use crate::{
    event::RunEvent,
    journal::{self, Effect, Entry, Journal, Undone},
    report::{self, Report, Writer, compare},
    run::{self, Command, Failure, Options, Outcome, outcome},
    scenario::{self, Backing, Overrides, Scenario},
};

/// Play scenarios: bring services up, replay, shadow, break, score
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenario files; several are played one after the other
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Show no screens, only one status line a second
    #[arg(long)]
    headless: bool,
    /// The seed of all choices, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = check::seed)]
    seed: Option<u64>,
    /// Write the report into this folder; DIR-2, DIR-3, … when it is there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Set a variable of the scenario
    #[arg(long, value_name = "VAR=V", value_parser = check::variable)]
    set: Vec<(String, String)>,
    /// Event loops of the proxies, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Compare with this report at the end; it does not change the exit code
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// What an undecided verdict counts as
    #[arg(long, value_name = "pass|fail")]
    inconclusive: Option<Undecided>,
}

/// What an undecided verdict counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Undecided {
    /// Exit 0.
    Pass,
    /// Exit 1.
    Fail,
}

pub(crate) fn run(args: &Args, global: &Global) -> ExitCode {
    // First of all, so that from here on a signal rolls back whatever there is.
    let mut watcher = match Watcher::new() {
        Ok(watcher) => watcher,
        Err(error) => {
            eprintln!("error: cannot catch signals: {error}");
            return exit::ENVIRONMENT.into();
        }
    };
    let overrides = Overrides {
        seed: args.seed,
        set: args.set.clone(),
        workers: args.workers.map(usize::from),
    };
    let mut scenarios = Vec::new();
    // Before anything starts: a run takes minutes, and a wrong folder is seen at once.
    let mut refused = args.baseline.as_ref().is_some_and(|baseline| {
        report::read(baseline)
            .inspect_err(|error| complain(error))
            .is_err()
    });
    for path in &args.scenarios {
        match scenario::load(path, &overrides) {
            Ok((scenario, warnings)) => {
                for warning in warnings {
                    eprintln!("{warning}");
                }
                let unknown = check::builtins(&scenario);
                if !unknown.is_empty() {
                    eprintln!("{}", scenario.standing.problems(unknown));
                    refused = true;
                }
                scenarios.push(Arc::new(scenario));
            }
            Err(problems) => {
                eprintln!("{problems}");
                refused = true;
            }
        }
    }
    if refused {
        return exit::USAGE.into();
    }
    match journal::recover(&journal::folder()) {
        Ok(undone) => tell_undone("left by a killed run", &undone),
        Err(error) => {
            eprintln!(
                "error: cannot read the journals in {}: {error}",
                journal::folder().display()
            );
            return exit::ENVIRONMENT.into();
        }
    }
    let mut codes = Vec::new();
    for scenario in scenarios {
        let code = play(&scenario, args, global, &mut watcher);
        codes.push(code);
        if code == exit::INTERRUPTED {
            break;
        }
    }
    Exit::worst(codes).into()
}

/// Plays one scenario and writes its report.
fn play(scenario: &Arc<Scenario>, args: &Args, global: &Global, watcher: &mut Watcher) -> Exit {
    let started = facts::Started::now();
    let number = run_number(scenario);
    let mark = format!("{number:010x}");
    let journal = match Journal::open(&journal::folder(), &mark) {
        Ok(journal) => journal,
        Err(error) => {
            let folder = journal::folder();
            eprintln!(
                "error: cannot write a journal in {}: {error}",
                folder.display()
            );
            return exit::ENVIRONMENT;
        }
    };
    let code = match begin(scenario, args.out.as_deref(), &journal) {
        Ok((writer, entry)) => {
            let partial = absolute(writer.partial());
            let bed = Bed {
                scenario,
                number,
                journal: &journal,
                started: &started,
            };
            let code = bed.report(args, global, watcher, writer);
            // Renamed, or removed with the writer.
            if let Some(entry) = entry.filter(|_| !partial.exists()) {
                let _ = journal.undone(entry);
            }
            code
        }
        Err(error) => {
            complain(&error);
            exit::ENVIRONMENT
        }
    };
    let left = journal.close();
    tell_undone("left by this run", &left);
    if left.iter().all(|undone| undone.ok) {
        code
    } else {
        Exit::worst([code, exit::ENVIRONMENT])
    }
}

/// Begins a report whose folder the journal knows of before it is made.
pub(super) fn begin(
    scenario: &Arc<Scenario>,
    out: Option<&Path>,
    journal: &Journal,
) -> Result<(Writer, Option<Entry>), report::Error> {
    let mut entry = None;
    let writer = Writer::create_after(scenario, out, &mut |partial| {
        let id = absolute(partial);
        // Of two folders in a row the first was another's, made meanwhile.
        if let Some(other) = entry.replace(journal.intend(Effect::Folder, &id.to_string_lossy())?) {
            journal.undone(other)?;
        }
        Ok(())
    })?;
    Ok((writer, entry))
}

/// One run: what it plays, and what it is known by.
#[derive(Clone, Copy)]
struct Bed<'a> {
    scenario: &'a Arc<Scenario>,
    number: u64,
    journal: &'a Journal,
    started: &'a facts::Started,
}

impl Bed<'_> {
    /// Plays into a report that has been begun.
    fn report(self, args: &Args, global: &Global, watcher: &mut Watcher, writer: Writer) -> Exit {
        let logs = writer.partial().join("logs");
        let has_output = run::mesh::parties(self.scenario)
            .iter()
            .any(|party| matches!(party.backing(), Backing::Process(_) | Backing::Container(_)));
        if has_output && let Err(error) = std::fs::create_dir(&logs) {
            eprintln!("error: cannot make {}: {error}", logs.display());
            return exit::ENVIRONMENT;
        }
        let options = Options {
            run: self.number,
            logs: &logs,
            journal: self.journal,
        };
        let (command, commands) = unbounded_channel();
        let mut shown = show::Shown::start(self.scenario, args.headless, global, command.clone());
        let played = watcher.watch(self.scenario, options, (command, commands), |event| {
            writer.event(&event);
            shown.event(event);
        });
        match played {
            Ok(outcome) => self.finish(&outcome, args, watcher, writer, shown),
            Err(failure) => {
                shown.close();
                complain(&failure);
                match failure {
                    Failure::Environment(_) => exit::ENVIRONMENT,
                    Failure::Scenario(_) => exit::USAGE,
                }
            }
        }
    }

    /// Writes the report and shows what it says.
    fn finish(
        self,
        outcome: &Outcome,
        args: &Args,
        watcher: &mut Watcher,
        writer: Writer,
        mut shown: show::Shown,
    ) -> Exit {
        let code = code(outcome, args.inconclusive);
        let told = facts::of(outcome, self.started, code.0);
        let report = writer
            .finish(&outcome.measured, &told)
            .and_then(|whole| report::read(&whole));
        match report {
            Ok(report) => {
                shown.end(self.scenario, outcome, &report.dir, code.0);
                watcher.wait_until(|| shown.is_left());
                shown.close();
                explain(outcome);
                eprint!(
                    "{}",
                    report::format::text::scorecard(&report, show::columns())
                );
                self.compare(args, &report);
                code
            }
            Err(error) => {
                shown.close();
                complain(&error);
                exit::ENVIRONMENT
            }
        }
    }
}

impl Bed<'_> {
    /// Compares with the baseline, where there is one.
    fn compare(self, args: &Args, report: &Report) {
        let Some(baseline) = args
            .baseline
            .as_ref()
            .or(self.scenario.report.baseline.as_ref())
        else {
            return;
        };
        match report::read(baseline) {
            Ok(baseline) => {
                let comparison = compare::compare(&baseline, report, false);
                eprint!(
                    "\n{}",
                    compare::text::write(&comparison, &baseline, report, show::columns())
                );
            }
            Err(error) => complain(&error),
        }
    }
}

/// Catches signals and events, as long as the program lives.
struct Watcher {
    runtime: tokio::runtime::Runtime,
    signals: signals::Signals,
    /// One came: nobody is asked for more.
    signalled: bool,
}

impl Watcher {
    fn new() -> std::io::Result<Self> {
        let (runtime, signals) = signals::Signals::alone()?;
        Ok(Self {
            runtime,
            signals,
            signalled: false,
        })
    }

    /// Waits until it is done, or a signal comes.
    fn wait_until(&mut self, is_done: impl Fn() -> bool) {
        let (signals, signalled) = (&mut self.signals, &mut self.signalled);
        self.runtime.block_on(async {
            while !*signalled && !is_done() {
                tokio::select! {
                    () = signals.next() => *signalled = true,
                    () = tokio::time::sleep(PEEK) => {}
                }
            }
        });
    }

    /// Runs the engine on a thread of its own, and hands on what it tells.
    fn watch(
        &mut self,
        scenario: &Scenario,
        options: Options<'_>,
        (command, commands): (UnboundedSender<Command>, UnboundedReceiver<Command>),
        mut show: impl FnMut(RunEvent),
    ) -> Result<Outcome, Failure> {
        let (events, mut told) = unbounded_channel();
        let (signals, signalled) = (&mut self.signals, &mut self.signalled);
        std::thread::scope(|scope| {
            let engine = std::thread::Builder::new()
                .name("engine".to_owned())
                .spawn_scoped(scope, || run::execute(scenario, options, events, commands))
                .map_err(|error| {
                    Failure::Environment(format!("cannot start the engine: {error}"))
                })?;
            self.runtime.block_on(async {
                let mut asked = 0_u32;
                loop {
                    tokio::select! {
                        event = told.recv() => match event {
                            Some(event) => show(event),
                            None => return,
                        },
                        () = signals.next() => {
                            asked += 1;
                            *signalled = true;
                            if asked > PATIENCE {
                                crate::tui::terminal::restore();
                                // The journal has what is left; the next run or `cleanup` undoes it.
                                std::process::exit(i32::from(exit::INTERRUPTED.0));
                            }
                            let _ = command.send(Command::Stop);
                        }
                    }
                }
            });
            engine
                .join()
                .unwrap_or_else(|_| Err(Failure::Environment("the engine has died".to_owned())))
        })
    }
}

/// Between two looks whether a person has left the screens.
const PEEK: std::time::Duration = std::time::Duration::from_millis(50);

/// The first signal rolls back, the second does so without waiting, one more ends the program as it is.
const PATIENCE: u32 = 2;

/// The exit code of a run.
fn code(outcome: &Outcome, undecided: Option<Undecided>) -> Exit {
    match (outcome.result(), undecided) {
        (outcome::Result::Interrupted, _) => exit::INTERRUPTED,
        (outcome::Result::Environment, _) => exit::ENVIRONMENT,
        (outcome::Result::Guarded, _) => exit::GUARD,
        (outcome::Result::Fail, _) => exit::FAIL,
        (outcome::Result::Pass, _) => exit::PASS,
        (outcome::Result::Invalid | outcome::Result::Inconclusive, None) => exit::INCONCLUSIVE,
        (outcome::Result::Invalid | outcome::Result::Inconclusive, Some(Undecided::Pass)) => {
            exit::PASS
        }
        (outcome::Result::Invalid | outcome::Result::Inconclusive, Some(Undecided::Fail)) => {
            exit::FAIL
        }
    }
}

/// Says in words why a run ended as it did, where the scorecard alone would leave one guessing.
fn explain(outcome: &Outcome) {
    match &outcome.ending {
        outcome::Ending::Finished | outcome::Ending::Interrupted => {}
        outcome::Ending::Guarded(what) => eprintln!("stopped by a guard: {what}"),
        outcome::Ending::Unsteady(what) => {
            eprintln!("the steady state did not hold, nothing was broken: {what}");
        }
        outcome::Ending::Failed(what) => eprintln!("error: {what}"),
    }
    if outcome.ending == outcome::Ending::Finished {
        for fault in outcome.faults.iter().filter(|fault| fault.took_no_effect()) {
            eprintln!(
                "fault `{}` took no effect: it was on, and hit no request",
                fault.id
            );
        }
    }
}

/// A number that no other run has had: 40 bits of where, when and what.
pub(super) fn run_number(scenario: &Scenario) -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    let key = format!("{now} {} {}", std::process::id(), scenario.sha256);
    xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), scenario.seed.0) >> 24
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Tells what was undone, and what could not be.
pub(super) fn tell_undone(whose: &str, undone: &[Undone]) {
    for one in undone {
        if one.ok {
            eprintln!("undone: {} {}, {whose}", one.what, one.id);
        } else {
            eprintln!("error: cannot undo {} {}, {whose}", one.what, one.id);
        }
    }
    if undone.iter().any(|one| !one.ok) {
        eprintln!("note: `meshbed cleanup` tries again");
    }
}
