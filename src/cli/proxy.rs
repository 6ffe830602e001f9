//! `meshbed proxy`: the same as the binary `meshbed-proxy`.

use std::process::ExitCode;

pub(crate) use meshbed_proxy::cli::Args;

use super::Global;

pub(crate) fn run(args: &Args, global: &Global) -> ExitCode {
    meshbed_proxy::cli::run(args, global.quiet)
}
