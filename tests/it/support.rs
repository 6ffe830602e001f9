//! The real binary, in a folder of its own.
#![expect(clippy::panic, reason = "helpers of tests fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tempfile::TempDir;

/// Runs measure, so they go one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder with a scenario, a state folder and reports.
pub(crate) struct Bed {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// What a run has left.
pub(crate) struct Done {
    /// The exit code; `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard error.
    pub(crate) said: String,
    /// The bundle's folder, whether it is there or not.
    pub(crate) bundle: PathBuf,
}

impl Bed {
    /// A bed with a scenario.
    pub(crate) fn with(scenario: &str) -> Self {
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("scenario.yaml"), scenario).unwrap();
        Self {
            folder,
            _alone: alone,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Journals that are left.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("state/meshbed"));
        entries
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    /// Reports, whole or partial.
    pub(crate) fn reports(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("out"));
        entries
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// `meshbed` with these arguments, in this bed.
    pub(crate) fn meshbed(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshbed"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Begins to play the scenario into `out/NAME`.
    pub(crate) fn begin(&self, name: &str, arguments: &[&str]) -> Child {
        let out = format!("out/{name}");
        let mut all = vec!["run", "scenario.yaml", "--headless", "--out", &out];
        all.extend(arguments);
        self.meshbed(&all).spawn().unwrap()
    }

    /// Waits for what has begun.
    pub(crate) fn end(&self, name: &str, child: Child) -> Done {
        let output = child.wait_with_output().unwrap();
        let done = Done {
            code: output.status.code(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            bundle: self.path().join("out").join(name),
        };
        assert!(!done.said.contains("panicked"), "{}", done.said);
        done
    }

    /// Plays the scenario.
    pub(crate) fn play(&self, name: &str, arguments: &[&str]) -> Done {
        let child = self.begin(name, arguments);
        self.end(name, child)
    }
}

impl Done {
    /// `run.json`.
    pub(crate) fn run(&self) -> Value {
        let text = fs::read(self.bundle.join("run.json"));
        let text = text.unwrap_or_else(|error| panic!("no run.json ({error}):\n{}", self.said));
        serde_json::from_slice(&text).unwrap()
    }

    /// The events of a kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        fs::read_to_string(self.bundle.join("events.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["kind"] == kind)
            .collect()
    }

    /// The requests, each with its hops.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let file = fs::File::open(self.bundle.join("requests.jsonl.zst")).unwrap();
        let bytes = zstd::decode_all(file).unwrap();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
