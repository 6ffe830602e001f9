//! `meshbed report render`: rebuild every rendering from the bundle.

use std::{path::PathBuf, process::ExitCode};

use super::{complain, exit};
use crate::report;

/// Work on the report of a run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the readable forms again from the bundle: the same bytes
    Render {
        /// Folder of the report
        #[arg(value_name = "REPORT")]
        dir: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Command::Render { dir } = &args.command;
    match report::render(dir) {
        Ok(written) => {
            for path in written {
                eprintln!("wrote {}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error @ report::Error::Unwritable { .. }) => {
            complain(&error);
            exit::ENVIRONMENT.into()
        }
        Err(error) => {
            complain(&error);
            exit::USAGE.into()
        }
    }
}
