//! `meshbed cleanup`.

use std::process::ExitCode;

use super::{exit, run::tell_undone};
use crate::journal;

/// Undo whatever a killed run has left: processes, half-written reports
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> ExitCode {
    let folder = journal::folder();
    match journal::recover(&folder) {
        Ok(undone) => {
            tell_undone("left by a killed run", &undone);
            if undone.is_empty() {
                eprintln!("nothing to undo");
            }
            if undone.iter().all(|undone| undone.ok) {
                ExitCode::SUCCESS
            } else {
                exit::ENVIRONMENT.into()
            }
        }
        Err(error) => {
            eprintln!(
                "error: cannot read the journals in {}: {error}",
                folder.display()
            );
            exit::ENVIRONMENT.into()
        }
    }
}
