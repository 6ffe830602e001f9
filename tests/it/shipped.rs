//! Every shipped scenario passes, and its twin in `tests/fixtures/negative`, with the fault worse or the shadow wrong,
//! fails by the check it names in its first line (`# must fail: ID`). Scaled down; one at a time, since they measure.
#![expect(clippy::indexing_slicing, reason = "an absent key of JSON is null")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Scenarios with what scales them down.
const SHIPPED: &[(&str, &[&str])] = &[
    (
        "demo",
        &["warmup=1s", "steady=4s", "fault=4s", "recovery=7s"],
    ),
    (
        "slow-payments",
        &["warmup=1s", "steady=3s", "fault=4s", "recovery=7s"],
    ),
    (
        "catalog-errors",
        &["warmup=1s", "steady=3s", "fault=6s", "recovery=3s"],
    ),
    (
        "broken-answers",
        &["warmup=1s", "steady=3s", "fault=6s", "recovery=3s"],
    ),
    (
        "retries",
        &["warmup=1s", "steady=3s", "fault=6s", "recovery=3s"],
    ),
    (
        "broken-connections",
        &["warmup=1s", "steady=3s", "fault=6s", "recovery=3s"],
    ),
    (
        "broken-handshakes",
        &["warmup=1s", "steady=3s", "fault=6s", "recovery=3s"],
    ),
    ("shadow-v2", &["warmup=1s", "steady=10s"]),
    ("same-build", &["warmup=1s", "steady=8s"]),
    // No shorter: seven blocks of 3 s.
    ("shadow-speed", &["warmup=1s", "steady=21s"]),
    ("own-process", &["steady=3s", "fault=4s"]),
    // Its image is the program under test's.
    (
        "containers",
        &["warmup=1s", "steady=8s", "image=meshbed-under-test"],
    ),
    (
        "poisson-load",
        &["warmup=1s", "steady=3s", "fault=5s", "recovery=2s"],
    ),
];

/// A run's exit code, its `run.json`, and what it said.
struct Outcome {
    code: Option<i32>,
    report: Value,
    said: String,
}

impl Outcome {
    /// The checks, for a test that failed.
    fn told(&self) -> String {
        let checks: Vec<_> = self.report["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect();
        let (score, generator) = (&self.report["score"], &self.report["generator"]);
        format!(
            "exit {:?}\n{}\n{score}\n{generator}\n{}",
            self.code,
            checks.join("\n"),
            self.said
        )
    }

    /// Whether it ended as it should. Where the machine was too busy to send on time the run calls itself invalid (exit
    /// 5), which is right and no fault of the scenario; its verdict is there all the same.
    fn ended(&self, code: i32, verdict: &str) -> bool {
        let late = self.report["generator"]["why"] == serde_json::json!(["lateness"]);
        let code = self.code == Some(code) || (self.code == Some(5) && late);
        code && self.report["score"]["verdict"] == verdict
    }

    fn outcome_of(&self, check: &str) -> Option<&str> {
        let checks = self.report["checks"].as_array()?;
        checks.iter().find(|one| one["id"] == check)?["outcome"].as_str()
    }
}

fn run(scenario: &Path, sets: &[&str]) -> Outcome {
    let _alone = crate::support::alone();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshbed"));
    command
        .arg("run")
        .arg(scenario)
        .arg("--headless")
        .arg("--out")
        .arg(&bundle);
    command.env("XDG_STATE_HOME", folder.path());
    for set in sets {
        command.args(["--set", set]);
    }
    let done = command.output().unwrap();
    let report = std::fs::read(bundle.join("run.json")).unwrap_or_default();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    // What is shipped is also what a program that shares no code with ours must agree on.
    if let Err(wrong) = super::report::recompute(&bundle) {
        panic!("{}: {wrong}\n{said}", scenario.display());
    }
    Outcome {
        code: done.status.code(),
        report: serde_json::from_slice(&report).unwrap_or_default(),
        said,
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(name)
        .with_extension("yaml")
}

fn twin(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/negative");
    folder.join(name).with_extension("yaml")
}

fn sets(name: &str) -> &'static [&'static str] {
    SHIPPED.iter().find(|(known, _)| *known == name).unwrap().1
}

#[track_caller]
fn passes(name: &str) {
    if name == "containers" && !crate::docker::is_there() {
        return;
    }
    let outcome = run(&shipped(name), sets(name));
    assert!(outcome.ended(0, "pass"), "{name}: {}", outcome.told());
}

#[track_caller]
fn fails_by_its_check(name: &str) {
    if name == "containers" && !crate::docker::is_there() {
        return;
    }
    let path = twin(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let check = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# must fail: "))
        .unwrap();
    let outcome = run(&path, sets(name));
    assert!(outcome.ended(1, "fail"), "{name}: {}", outcome.told());
    assert_eq!(
        outcome.outcome_of(check),
        Some("fail"),
        "{name}: {check}: {}",
        outcome.told()
    );
}

#[test]
fn every_shipped_scenario_is_run_and_has_a_twin() {
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let yaml = files.filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        });
        yaml.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let known: BTreeSet<_> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(shipped("x").parent().unwrap().into()), known);
    assert_eq!(names(twin("x").parent().unwrap().into()), known);
}

macro_rules! each {
    ($($module:ident $name:literal;)*) => {$(
        mod $module {
            #[test]
            fn passes() {
                super::passes($name);
            }

            #[test]
            fn its_twin_fails_by_its_check() {
                super::fails_by_its_check($name);
            }
        }
    )*};
}

each! {
    demo "demo";
    slow_payments "slow-payments";
    catalog_errors "catalog-errors";
    broken_answers "broken-answers";
    broken_connections "broken-connections";
    broken_handshakes "broken-handshakes";
    retries "retries";
    shadow_v2 "shadow-v2";
    same_build "same-build";
    shadow_speed "shadow-speed";
    own_process "own-process";
    containers "containers";
    poisson_load "poisson-load";
}
