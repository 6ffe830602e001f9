//! Scenario files: every wrong one with what is said of it, every shipped one, and what the manual promises.

use std::{fs, path::PathBuf, process::Command};

use meshbed::scenario::{self, Overrides, schema};

/// Files of a folder of the package with this ending, in order. Paths are relative to the package, where tests run, so
/// that messages do not depend on where the package is.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|other| other == ending))
        .collect();
    files.sort();
    files
}

/// Holds a file against what it should be; with `MESHBED_BLESS=1` it is written instead, to be read before it is kept.
fn hold_against(path: &PathBuf, text: &str) -> Option<String> {
    if std::env::var_os("MESHBED_BLESS").is_some() {
        fs::write(path, text).unwrap();
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != text).then(|| {
        format!(
            "{} should say:\n{expected}\nbut says:\n{text}",
            path.display()
        )
    })
}

#[test]
fn every_wrong_scenario_is_told_in_full() {
    let files = files("tests/fixtures/scenarios", "yaml");
    assert!(files.len() > 15, "the fixtures are gone");
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let said = match scenario::load(path, &Overrides::default()) {
                Ok(_) => return Some(format!("{} is accepted", path.display())),
                Err(problems) => problems.to_string(),
            };
            hold_against(&path.with_extension("err"), &format!("{said}\n"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_shipped_scenario_is_accepted_without_a_warning() {
    let files = files("scenarios", "yaml");
    assert!(files.len() >= 4, "there are {} scenarios", files.len());
    for path in &files {
        match scenario::load(path, &Overrides::default()) {
            Ok((scenario, warnings)) => {
                assert!(warnings.is_empty(), "{}: {}", path.display(), warnings[0]);
                assert!(!scenario.checks.is_empty() && !scenario.phases.is_empty());
                assert_eq!(scenario.sha256.len(), 64);
            }
            Err(problems) => panic!("{problems}"),
        }
    }
}

/// Puts what the tables say between two marks of the manual.
fn between(text: &str, what: &str, made: &str) -> String {
    let end = format!("<!-- end of {what} -->");
    let begin = text.find(&format!("<!-- {what}: ")).unwrap();
    let begin = begin + text[begin..].find('\n').unwrap() + 1;
    let finish = text.find(&end).unwrap();
    format!("{}{made}{}", &text[..begin], &text[finish..])
}

#[test]
fn the_manual_is_what_the_tables_say() {
    let path = PathBuf::from("scenarios/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let text = between(&text, "keys", &schema::manual());
    let text = between(&text, "metrics", &schema::metrics());
    if let Some(wrong) = hold_against(&path, &text) {
        panic!("{wrong}");
    }
}

fn meshbed(arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

const GOOD: &str = "tests/fixtures/scenarios/fragments/base.yaml";

#[test]
fn check_tells_a_plan_and_exits_0() {
    let (code, out, error) = meshbed(&["check", GOOD, "--seed", "9"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.starts_with("fixture   seed 9   40s   4,000 requests\n"),
        "{out}"
    );
}

#[test]
fn check_of_a_wrong_scenario_exits_2_and_prints_nothing() {
    let (code, out, error) = meshbed(&["check", "tests/fixtures/scenarios/faults.yaml"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        error.contains("tests/fixtures/scenarios/faults.yaml:"),
        "{error}"
    );
    let (code, _, error) = meshbed(&["check", "no-such.yaml"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot read no-such.yaml"), "{error}");
}

#[test]
fn check_as_json_has_problems_with_their_places() {
    let (code, out, _) = meshbed(&[
        "check",
        "--json",
        "tests/fixtures/scenarios/include-wrong.yaml",
    ]);
    assert_eq!(code, Some(2));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    let problem = &object["problems"][0];
    assert_eq!(
        problem["file"],
        "tests/fixtures/scenarios/include-wrong.yaml"
    );
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(2), Some(21))
    );
    assert_eq!(
        object["problems"][1]["file"],
        "tests/fixtures/scenarios/fragments/wrong.yaml"
    );
    let (code, out, _) = meshbed(&["check", "--json", GOOD]);
    assert_eq!(code, Some(0));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["schedule"]["planned"], 4_000);
}

#[test]
fn check_finds_builtins_that_there_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let base = fs::canonicalize(GOOD).unwrap();
    fs::write(
        &path,
        format!("include: [{}]\ntopology: {{ services: {{ payments: {{ builtin: {{ app: bank }} }} }} }}\n", base.display()),
    )
    .unwrap();
    let (code, _, error) = meshbed(&["check", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("(topology.services.payments.builtin)") && error.contains("`bank`"),
        "{error}"
    );
}

#[test]
fn the_schema_is_json() {
    let (code, out, _) = meshbed(&["schema"]);
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        schema["properties"]["name"]["description"]
            .as_str()
            .unwrap()
            .split(' ')
            .next(),
        Some("what")
    );
}

/// What `check` foretells is what a run does: the ordinals of each fault's hits and of the sample, on the same schedule.
#[test]
fn the_plan_is_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("planned.yaml");
    let shop = fs::canonicalize("scenarios/fragments/shop.yaml").unwrap();
    fs::write(
        &path,
        format!(
            "name: planned
include: [{}]
seed: 7
traffic: [{{ id: main, generate: {{ rate: 100/s, arrival: poisson, requests: [{{ path: /items, weight: 2 }}, {{ path: /health }}] }} }}]
phases: [{{ id: steady, for: 500ms }}, {{ id: fault, for: 2s }}]
shadow: [{{ id: candidate, of: shop, to: {{ builtin: {{ app: shop, version: v2 }} }}, sample: {{ percent: 20% }} }}]
faults:
  - {{ id: share, target: shop, during: fault, percent: 30%, match: {{ path: /items }}, delay: 5ms }}
  - {{ id: ramp, target: shop, during: fault, percent: 60%, ramp: {{ over: 1s }}, delay: 5ms }}
  - {{ id: third, target: shop, during: fault, every: 3, delay: 5ms }}
  - {{ id: first, target: shop, during: fault, at: +1s, first: 4, match: {{ path: /items }}, delay: 5ms }}
  - {{ id: blip, target: shop, during: fault, repeat: {{ every: 1s, for: 200ms }}, delay: 5ms }}
checks: [{{ id: works, that: \"error_share[shop] < 50%\" }}]
",
            shop.display()
        ),
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let (code, plan, error) = meshbed(&["check", "--json", path]);
    assert_eq!(code, Some(0), "{error}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let out = folder.path().join("out");
    let done = Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(["run", "--headless", "--out"])
        .arg(&out)
        .arg(path)
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .unwrap();
    assert!(out.exists(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(report["schedule"]["sha256"], plan["schedule"]["sha256"]);
    let events: Vec<serde_json::Value> = fs::read_to_string(out.join("events.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ordinals = |kind: &str, key: &str, id: &str| -> Vec<u64> {
        let mut ordinals: Vec<u64> = events
            .iter()
            .filter(|event| event["kind"] == kind && event[key] == id)
            .filter(|event| event["side"].as_u64().unwrap_or(0) == 0)
            .map(|event| event["ord"].as_u64().unwrap())
            .collect();
        ordinals.sort_unstable();
        ordinals
    };
    let foretold = |choice: &serde_json::Value| -> Vec<u64> {
        let chosen = choice["chosen"].as_array().unwrap();
        chosen
            .iter()
            .map(|ordinal| ordinal.as_u64().unwrap())
            .collect()
    };
    for fault in plan["faults"].as_array().unwrap() {
        let id = fault["id"].as_str().unwrap();
        let foretold = foretold(&fault["callers"][0]["choice"]);
        assert!(!foretold.is_empty(), "{id}");
        assert_eq!(foretold, ordinals("hit", "fault", id), "{id}");
    }
    let foretold = foretold(&plan["shadows"][0]["choice"]);
    assert!(!foretold.is_empty());
    assert_eq!(foretold, ordinals("mirror", "shadow", "candidate"));
}
