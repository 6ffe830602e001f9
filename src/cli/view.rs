//! `meshbed view`: reopens a saved run in the same screens.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args as ClapArgs;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Global,
    browse::{Desk, print_copied},
    complain, exit,
    run::signals::Signals,
};
use crate::{report, tui};

/// Reopen a saved run in the same screens.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The run's report folder.
    dir: PathBuf,
}

/// Shows the run until the person leaves.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let read = report::read(&args.dir)
        .and_then(|report| tui::saved::open(&report).map(|app| (app, report)));
    let (app, report) = match read {
        Ok(read) => read,
        Err(error) => {
            complain(&error);
            return exit::USAGE.into();
        }
    };
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        eprintln!(
            "error: `view` needs a terminal; {} says the same in text",
            args.dir.join("summary.md").display()
        );
        return exit::USAGE.into();
    }
    let theme = global.theme();
    let (input, inputs) = tokio::sync::mpsc::unbounded_channel();
    let signalled = match leave_on_a_signal(input.clone()) {
        Ok(signalled) => signalled,
        Err(error) => {
            eprintln!("error: cannot catch signals: {error}");
            return exit::ENVIRONMENT.into();
        }
    };
    let mut desk = Desk::of_saved(&report.run, input);
    let left = tui::run(app, &theme, inputs, |order| drop(desk.order(order)));
    // A replay that is under way is rolled back first.
    drop(desk);
    match left {
        Ok(_) if signalled.load(Ordering::Relaxed) => exit::INTERRUPTED.into(),
        Ok(app) => {
            print_copied(&app);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: cannot use the terminal: {error}");
            exit::ENVIRONMENT.into()
        }
    }
}

/// A signal ends the screens, so that whatever was started is rolled back; a second one ends the program as it is. Tells
/// whether one came.
fn leave_on_a_signal(input: UnboundedSender<tui::Input>) -> io::Result<Arc<AtomicBool>> {
    let (runtime, mut signals) = Signals::alone()?;
    let signalled = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&signalled);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(signals.next());
            told.store(true, Ordering::Relaxed);
            let _ = input.send(tui::Input::Leave);
            runtime.block_on(signals.next());
            tui::terminal::restore();
            // The journal has what is left; the next run or `cleanup` undoes it.
            std::process::exit(i32::from(exit::INTERRUPTED.0));
        })?;
    Ok(signalled)
}
