//! The command line: one file a subcommand, each with its `Args` and a `run`.

use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::{run::chain, tui};

mod browse;
mod builtin;
mod check;
mod cleanup;
mod compare;
mod completions;
pub mod exit;
mod inspect;
mod man;
mod mirror;
mod proxy;
#[cfg(feature = "live")]
mod record;
mod replay;
mod report;
mod run;
mod schema;
mod screens;
mod view;

/// Replay, shadow, break, score and compare traffic through a service-mesh proxy.
#[derive(Debug, Parser)]
#[command(name = "meshbed", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand understands.
#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// Say less on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Draw with ASCII characters only
    #[arg(long, global = true)]
    pub ascii: bool,
}

impl Global {
    /// How screens are drawn.
    fn theme(&self) -> tui::Theme {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        tui::Theme::new(self.ascii, no_color)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Builtin(builtin::Args),
    Check(check::Args),
    Cleanup(cleanup::Args),
    Compare(compare::Args),
    Completions(completions::Args),
    Inspect(inspect::Args),
    Man(man::Args),
    Mirror(Box<mirror::Args>),
    Proxy(proxy::Args),
    #[cfg(feature = "live")]
    Record(record::Args),
    Replay(replay::Args),
    Report(report::Args),
    Run(run::Args),
    Schema(schema::Args),
    View(view::Args),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe (`meshbed --help | head -1`) is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() {
                exit::USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Builtin(args) => builtin::run(&args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Mirror(args) => mirror::run(&args, &cli.global),
        Command::Proxy(args) => proxy::run(&args, &cli.global),
        Command::Replay(args) => replay::run(&args, &cli.global),
        Command::View(args) => view::run(&args, &cli.global),
        Command::Run(args) => run::run(&args, &cli.global),
        Command::Report(args) => report::run(&args),
        #[cfg(feature = "live")]
        Command::Record(args) => record::run(&args, cli.global.quiet),
        Command::Schema(args) => schema::run(&args),
    }
}

/// Prints an error and everything that it came from, as `error: …: …`.
pub fn complain(error: &dyn std::error::Error) {
    eprintln!("error: {}", chain(error));
}

/// Writes to standard output; a reader that has gone away (`| head`) ends the program quietly.
pub fn print(bytes: &[u8]) -> ExitCode {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            exit::ENVIRONMENT.into()
        }
    }
}
