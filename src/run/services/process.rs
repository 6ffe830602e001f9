//! A service that is a program: started in a process group of its own, ended with all that is in it.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use super::{Environment, Place, environment, filled};
use crate::{
    container::last_lines,
    journal::{Effect, Entry, Journal, MARK, Undone, process::ProcessId},
    run::Failure,
    scenario::Process,
};

/// A program that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) label: String,
    child: Child,
    id: Option<ProcessId>,
    entry: Entry,
    log: PathBuf,
    pub(super) reported: bool,
}

impl Started {
    /// Starts it.
    pub(super) fn spawn(
        journal: &Journal,
        label: String,
        process: &Process,
        address: SocketAddr,
        peers: &Environment,
        place: Place<'_>,
    ) -> Result<Self, Failure> {
        let Some((program, arguments)) = process.command.split_first() else {
            return Err(Failure::Scenario(format!(
                "service `{label}`: its command is empty"
            )));
        };
        let failed = |what: &str, error: &std::io::Error| environment(&label, what, error);
        let log = place.log(&label, "");
        let output =
            File::create(&log).map_err(|error| failed("cannot keep its output", &error))?;
        let errors = output
            .try_clone()
            .map_err(|error| failed("cannot keep its output", &error))?;
        let entry = journal
            .intend(Effect::Process, &label)
            .map_err(|error| failed("cannot write the journal", &error))?;
        let child = std::process::Command::new(located(program, place.base))
            .args(arguments)
            .envs(peers)
            .env("PORT", address.port().to_string())
            .envs(filled(&process.env, peers))
            .env(MARK, journal.mark())
            .current_dir(place.base.join(&process.cwd))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                let _ = journal.undone(entry);
                return Err(failed(&format!("cannot start `{program}`"), &error));
            }
        };
        let id = ProcessId::of(child.id());
        let mut started = Self {
            label,
            child,
            id,
            entry,
            log,
            reported: false,
        };
        if let Some(id) = id
            && let Err(error) = journal.made(entry, id)
        {
            started.end(journal);
            return Err(environment(
                &started.label,
                "cannot write the journal",
                &error,
            ));
        }
        Ok(started)
    }

    fn group(&self) -> Option<rustix::process::Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
    }

    /// Asks the process and its children to end. Its number is its own as long as it has not been reaped.
    pub(super) fn ask(&mut self) {
        if let (Ok(None), Some(group)) = (self.child.try_wait(), self.group()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
    }

    /// Kills what is left of it, reaps it, and strikes it from the journal.
    pub(super) fn end(&mut self, journal: &Journal) -> Undone {
        // Children of it may outlive it in its group. The group's number cannot be another's while they do; once it has
        // been reaped and the group is empty, the journal's mark is what finds the rest.
        if let (Ok(None), Some(group)) = (self.child.try_wait(), self.group()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let reaped = self.child.wait().is_ok();
        let gone = self.id.is_none_or(|id| !id.is_alive());
        let ok = reaped && gone;
        if ok {
            // Not written: the journal's close looks, and finds nothing.
            let _ = journal.undone(self.entry);
        }
        Undone {
            what: Effect::Process.name(),
            id: format!("{} (pid {})", self.label, self.child.id()),
            ok,
        }
    }

    /// The end of what it printed, for a message.
    pub(super) fn last_output(&self) -> String {
        last_lines(&self.log)
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(status.to_string()),
            _ => None,
        }
    }
}

/// A program with a slash in its name is looked for from the scenario's folder; others on the PATH.
fn located(program: &str, base: &Path) -> PathBuf {
    if program.contains('/') {
        base.join(program)
    } else {
        PathBuf::from(program)
    }
}
