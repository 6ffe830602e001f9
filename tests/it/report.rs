//! What a run leaves behind: recomputed by a program that shares no code with ours, rendered again, compared.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

/// Works a bundle out again in Python; the error says where it disagrees.
pub(crate) fn recompute(bundle: &Path) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recompute.py");
    let done = Command::new("python3")
        .arg(script)
        .arg(bundle)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    if done.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

fn meshbed(args: &[&str]) -> Output {
    let state = std::env::temp_dir().join("meshbed-report-tests");
    Command::new(env!("CARGO_BIN_EXE_meshbed"))
        .args(args)
        .env("XDG_STATE_HOME", state)
        .output()
        .unwrap()
}

/// A run that has something of everything, made once.
fn wide() -> &'static Path {
    static BUNDLE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, bundle) = BUNDLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("wide");
        let scenario =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/report/wide.yaml");
        let done = meshbed(&[
            "run",
            scenario.to_str().unwrap(),
            "--headless",
            "--out",
            bundle.to_str().unwrap(),
        ]);
        // On a busy machine the generator is late, and the run says so.
        assert!(
            matches!(done.status.code(), Some(0 | 5)),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        (folder, bundle)
    });
    bundle
}

/// A copy of the run, changed.
fn changed(change: impl FnOnce(&Path)) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(wide()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    change(copy.path());
    copy
}

fn edit(bundle: &Path, change: impl FnOnce(&mut Value)) {
    let path = bundle.join("run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut run);
    fs::write(path, run.to_string()).unwrap();
}

/// As on a machine that nobody else used.
fn quiet(run: &mut Value) {
    for (path, value) in [
        ("/generator/valid", true.into()),
        ("/generator/others_cpu", 0.into()),
    ] {
        *run.pointer_mut(path).unwrap() = value;
    }
}

#[test]
fn a_run_is_recomputed_from_its_bundle() {
    let said = recompute(wide()).unwrap();
    // Nothing agrees vacuously: each kind of fact was there to compare.
    for what in [
        "choices",
        "amounts",
        "samples",
        "counts",
        "hlog",
        "latency",
        "check",
        "diffs",
        "p_adjusted",
        "score",
    ] {
        let counted = said.split([' ', ',']).any(|word| word == what);
        assert!(counted, "no {what} compared: {said}");
    }
}

#[test]
fn a_recomputation_notices_what_is_changed() {
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 8] = [
        ("counts cart", |run| {
            let requests = run["counts"][0]["requests"].as_u64().unwrap();
            run["counts"][0]["requests"] = (requests + 1).into();
        }),
        ("latency cart", |run| run["latency"][0]["p90"] = 1.into()),
        ("fault rising applied", |run| {
            run["faults"][2]["applied"] = 0.into();
        }),
        ("shadow candidate chosen", |run| {
            run["shadows"][0]["chosen"] = 0.into();
        }),
        ("p_adjusted candidate", |run| {
            run["diffs"]["candidate"]["fields"][0]["p_adjusted"] = 0.5.into();
        }),
        ("check graded points", |run| {
            run["checks"][1]["points"] = 0.25.into();
        }),
        ("check load value", |run| {
            run["checks"][3]["value"] = 1.into();
        }),
        ("score low", |run| run["score"]["low"] = 100.into()),
    ];
    let copy = changed(|bundle| {
        edit(bundle, |run| {
            for (_, change) in &changes {
                change(run);
            }
        });
    });
    let said = recompute(copy.path()).unwrap_err();
    for (named, _) in changes {
        assert!(said.contains(named), "{named} is not named in: {said}");
    }
    // Under another seed other requests would have been chosen.
    let copy = changed(|bundle| edit(bundle, |run| run["seed"] = 12.into()));
    let said = recompute(copy.path()).unwrap_err();
    assert!(said.contains("should be chosen"), "{said}");
    let copy = changed(|bundle| {
        let path = bundle.join("events.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once("\"kind\":\"hit\"").unwrap();
        fs::write(path, format!("{before}\"kind\":\"hid\"{after}")).unwrap();
    });
    assert!(recompute(copy.path()).unwrap_err().contains("is not told"));
}

#[test]
fn rendering_again_gives_the_same_bytes() {
    let copy = changed(|_| {});
    let read = |name: &str| fs::read(copy.path().join(name)).unwrap();
    let files = ["summary.md", "junit.xml", "report.html"];
    let before = files.map(read);
    fs::write(copy.path().join("summary.md"), "stale").unwrap();
    // The scorecard's folder is the only thing that differs between a bundle and its copy; no rendering names it.
    let done = meshbed(&["report", "render", copy.path().to_str().unwrap()]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(before, files.map(read));
}

#[test]
fn a_run_compared_with_itself_has_no_suspected_regression() {
    let valid = |bundle: &Path| {
        edit(bundle, quiet);
    };
    let (a, b) = (changed(valid), changed(valid));
    let done = meshbed(&[
        "compare",
        a.path().to_str().unwrap(),
        b.path().to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let json = meshbed(&[
        "compare",
        "--json",
        a.path().to_str().unwrap(),
        b.path().to_str().unwrap(),
    ]);
    let comparison: Value = serde_json::from_slice(&json.stdout).unwrap();
    // Where a busy machine made the run uneven, a comparison would not have seen much, and says so.
    let (code, headline) = match comparison["verdict"].as_str() {
        Some("no-suspected-regression") => (0, "NO SUSPECTED REGRESSION"),
        Some("inconclusive") => (5, "INCONCLUSIVE"),
        other => panic!("{other:?}: {said}"),
    };
    assert_eq!(done.status.code(), Some(code), "{said}");
    assert!(said.contains(headline), "{said}");
    let page = a.path().join("page.html");
    let junit = a.path().join("compare.xml");
    meshbed(&[
        "compare",
        a.path().to_str().unwrap(),
        b.path().to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
    ]);
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
    assert!(fs::read_to_string(junit).unwrap().contains("<testcase"));
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_exit_code() {
    let usual = changed(|bundle| edit(bundle, quiet));
    let other = changed(|bundle| {
        edit(bundle, |run| {
            quiet(run);
            run["phases"][1]["id"] = "other".into();
        });
    });
    let invalid = changed(|bundle| {
        edit(bundle, |run| {
            run["generator"]["valid"] = false.into();
            run["generator"]["why"] = serde_json::json!(["lateness"]);
        });
    });
    let path = |dir: &TempDir| dir.path().to_str().unwrap().to_owned();
    let nothing = usual.path().join("nothing");
    let rows = [
        (
            "other phases",
            path(&other),
            2,
            "the runs are not alike, other phases",
        ),
        ("an invalid run", path(&invalid), 5, ""),
        (
            "no report",
            nothing.to_str().unwrap().to_owned(),
            2,
            "cannot read",
        ),
    ];
    for (why, with, code, said) in rows {
        let done = meshbed(&["compare", &path(&usual), &with]);
        assert_eq!(done.status.code(), Some(code), "{why}");
        assert!(
            String::from_utf8_lossy(&done.stderr).contains(said),
            "{why}"
        );
    }
    let forced = meshbed(&["compare", "--force", &path(&usual), &path(&other)]);
    assert_ne!(forced.status.code(), Some(2));
}
