//! `meshbed view`: reopens a saved run in the same screens.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args as ClapArgs;

use super::{Global, complain, exit};
use crate::{report, tui};

/// Reopen a saved run in the same screens.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The run's report folder.
    dir: PathBuf,
}

/// Shows the run until the person leaves.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let app = match report::read(&args.dir).and_then(|report| tui::saved::open(&report)) {
        Ok(app) => app,
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
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let theme = tui::Theme::new(global.ascii, no_color);
    // Nothing more happens in a saved run, and nothing can be asked of it.
    let (_, inputs) = tokio::sync::mpsc::unbounded_channel();
    match tui::run(app, &theme, inputs, drop) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot use the terminal: {error}");
            exit::ENVIRONMENT.into()
        }
    }
}
