//! `meshbed schema`.

use std::process::ExitCode;

use crate::scenario::schema;

/// Print the JSON Schema of scenario files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> ExitCode {
    let mut text = format!("{:#}", schema::schema());
    text.push('\n');
    super::print(text.as_bytes())
}
