//! The `meshbed-proxy` binary: `meshbed proxy` alone, small, for sidecar images.

use std::process::ExitCode;

use clap::Parser;
use meshbed_proxy::cli;

/// A service-mesh proxy that reads Envoy's files, with reproducible faults and mirrors
#[derive(Debug, Parser)]
#[command(name = "meshbed-proxy", version, arg_required_else_help = true)]
struct Cli {
    /// Say less on stderr
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli::run(&cli.args, cli.quiet),
        Err(error) => {
            // A closed pipe (`meshbed-proxy --help | head -1`) is no reason to fail.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}
