//! `meshbed man`.

use std::{path::PathBuf, process::ExitCode};

use clap::CommandFactory;

/// Print the manual page, or write one a subcommand into a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to write `meshbed.1`, `meshbed-run.1`, … into
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let command = super::Cli::command();
    if let Some(folder) = &args.out {
        return match clap_mangen::generate_to(command, folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!(
                    "error: cannot write manual pages to {}: {error}",
                    folder.display()
                );
                super::exit::ENVIRONMENT.into()
            }
        };
    }
    let mut text = Vec::new();
    match clap_mangen::Man::new(command).render(&mut text) {
        Ok(()) => super::print(&text),
        Err(error) => {
            eprintln!("error: cannot render the manual page: {error}");
            super::exit::ENVIRONMENT.into()
        }
    }
}
