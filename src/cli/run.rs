//! `meshbed run`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tokio::sync::mpsc::unbounded_channel;

mod facts;
mod show;
mod signals;

use super::{
    Global, complain,
    exit::{self, Exit},
};
use crate::{
    event::RunEvent,
    journal::{self, Effect, Journal, Undone},
    report::{self, Writer},
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
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
    /// Write the report into this folder; DIR-2, DIR-3, … when it is there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Set a variable of the scenario
    #[arg(long, value_name = "VAR=V", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Event loops of the proxies, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
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
    let overrides = Overrides {
        seed: args.seed,
        set: args.set.clone(),
        workers: args.workers.map(usize::from),
    };
    let mut scenarios = Vec::new();
    let mut refused = false;
    for path in &args.scenarios {
        match scenario::load(path, &overrides) {
            Ok((scenario, warnings)) => {
                for warning in warnings {
                    eprintln!("{warning}");
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
        let code = play(&scenario, args, global);
        codes.push(code);
        if code == exit::INTERRUPTED {
            break;
        }
    }
    Exit::worst(codes).into()
}

/// Plays one scenario and writes its report.
fn play(scenario: &Arc<Scenario>, args: &Args, global: &Global) -> Exit {
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
    let code = match Writer::create(scenario, args.out.as_deref()) {
        Ok(writer) => {
            let partial = absolute(writer.partial());
            match journal.intend(Effect::Folder, &partial.to_string_lossy()) {
                Ok(entry) => {
                    let code =
                        report_on(scenario, args, global, &started, number, &journal, writer);
                    // Renamed, or removed with the writer.
                    if !partial.exists() {
                        let _ = journal.undone(entry);
                    }
                    code
                }
                Err(error) => {
                    eprintln!("error: cannot write the journal: {error}");
                    exit::ENVIRONMENT
                }
            }
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

/// Plays one scenario into a report that has been begun.
fn report_on(
    scenario: &Arc<Scenario>,
    args: &Args,
    global: &Global,
    started: &facts::Started,
    number: u64,
    journal: &Journal,
    writer: Writer,
) -> Exit {
    let logs = writer.partial().join("logs");
    let has_processes = run::mesh::parties(scenario)
        .iter()
        .any(|party| matches!(party.backing(), Backing::Process(_)));
    if has_processes && let Err(error) = std::fs::create_dir(&logs) {
        eprintln!("error: cannot make {}: {error}", logs.display());
        return exit::ENVIRONMENT;
    }
    let options = Options {
        run: number,
        logs: &logs,
        journal,
    };
    match watch(scenario, options, args, global, &writer) {
        Ok((outcome, screens)) => {
            let code = code(&outcome, args.inconclusive);
            let told = facts::of(&outcome, started, code.0);
            let whole = match writer.finish(&outcome.measured, &told) {
                Ok(whole) => whole,
                Err(error) => {
                    screens.close();
                    complain(&error);
                    return exit::ENVIRONMENT;
                }
            };
            screens.end(scenario, &outcome, &whole, code.0);
            explain(&outcome);
            match report::read(&whole) {
                Ok(report) => {
                    eprint!(
                        "{}",
                        report::format::text::scorecard(&report, show::columns())
                    );
                    code
                }
                Err(error) => {
                    complain(&error);
                    exit::ENVIRONMENT
                }
            }
        }
        Err(failure) => {
            complain(&failure);
            match failure {
                Failure::Environment(_) => exit::ENVIRONMENT,
                Failure::Scenario(_) => exit::USAGE,
            }
        }
    }
}

/// Runs the engine on a thread of its own, and shows what it tells.
fn watch(
    scenario: &Arc<Scenario>,
    options: Options<'_>,
    args: &Args,
    global: &Global,
    writer: &Writer,
) -> Result<(Outcome, show::Shown), Failure> {
    let cannot = |what: &str, error: &dyn std::error::Error| {
        Failure::Environment(format!("cannot {what}: {error}"))
    };
    let (events, mut told) = unbounded_channel::<RunEvent>();
    let (command, commands) = unbounded_channel::<Command>();
    let mut shown = show::Shown::start(scenario, args.headless, global, command.clone());
    std::thread::scope(|scope| {
        let engine = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn_scoped(scope, || run::execute(scenario, options, events, commands))
            .map_err(|error| cannot("start the engine", &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot("watch the run", &error))?;
        runtime.block_on(async {
            let mut signals = match signals::Signals::new() {
                Ok(signals) => signals,
                Err(error) => {
                    let _ = command.send(Command::Stop);
                    return Err(cannot("catch signals", &error));
                }
            };
            let mut asked = 0_u32;
            loop {
                tokio::select! {
                    event = told.recv() => match event {
                        Some(event) => {
                            writer.event(&event);
                            shown.event(event);
                        }
                        None => return Ok(()),
                    },
                    () = signals.next() => {
                        asked += 1;
                        if asked > PATIENCE {
                            // The journal has what is left; the next run or `cleanup` undoes it.
                            std::process::exit(i32::from(exit::INTERRUPTED.0));
                        }
                        let _ = command.send(Command::Stop);
                    }
                }
            }
        })?;
        match engine.join() {
            Ok(Ok(outcome)) => Ok((outcome, shown)),
            Ok(Err(failure)) => {
                shown.close();
                Err(failure)
            }
            Err(_) => {
                shown.close();
                Err(Failure::Environment("the engine has died".to_owned()))
            }
        }
    })
}

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
fn run_number(scenario: &Scenario) -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    let key = format!("{now} {} {}", std::process::id(), scenario.sha256);
    xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), scenario.seed.0) >> 24
}

fn absolute(path: &Path) -> PathBuf {
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
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is not a seed, accepted: 0 to 2^64-1, also as 0x…"))
}

fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not VAR=VALUE"))
}
