//! `meshbed completions SHELL`.

use std::process::ExitCode;

use clap::CommandFactory;

/// Print shell completions
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "meshbed", &mut text);
    super::print(&text)
}
