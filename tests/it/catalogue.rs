//! Every kind in a table has what a user needs of it: a name in the manual, an example that loads, a shipped scenario.
//! (Keys and metrics of scenarios are held to their manual beside the tables that it is made from: `scenario.rs`.)

use std::{fs, path::Path};

use meshbed::{capture, report, scenario, tui::keymap};
use meshbed_proxy::policy::fault;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn shipped() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn every_fault_kind_has_an_example_that_loads_and_a_shipped_scenario() {
    let (manual, shipped) = (read("scenarios/README.md"), shipped());
    let kinds = fault::KINDS.iter().chain(fault::tcp::KINDS);
    for (kind, examples) in kinds.chain(&[("tls", fault::tls::EXAMPLES)]) {
        assert!(
            manual.contains(&format!("`{kind}`")),
            "`{kind}` is not in the manual"
        );
        assert!(
            shipped.contains(&format!("{kind}: ")),
            "no shipped scenario uses `{kind}`"
        );
        for example in *examples {
            assert!(shipped.contains(example) || *kind != "tls", "{example}");
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("example.yaml");
            fs::write(&file, with_fault(kind, example)).unwrap();
            let loaded = scenario::load(&file, &scenario::Overrides::default());
            assert!(loaded.is_ok(), "{example}: {}", loaded.err().unwrap());
        }
    }
}

#[test]
fn a_shipped_scenario_judges_a_shadows_speed() {
    let shipped = shipped();
    assert!(shipped.contains("that: \"compare[candidate]\", not: regressed"));
}

#[test]
fn every_format_is_in_a_manual() {
    let (captures, reports) = (read("captures/README.md"), read("reports/README.md"));
    for format in capture::FORMATS {
        assert!(
            captures.contains(&format!("`{}`", format.name)),
            "`{}`",
            format.name
        );
    }
    for format in report::format::FORMATS {
        assert!(
            reports.contains(&format!("`{}`", format.file)),
            "`{}`",
            format.file
        );
    }
}

#[test]
fn every_key_is_in_the_readme() {
    let readme = read("README.md");
    for binding in keymap::BINDINGS {
        let row = format!("| {} | {} |", binding.keys, binding.help);
        assert!(readme.contains(&row), "no row `{row}`");
    }
}

fn with_fault(kind: &str, fault: &str) -> String {
    let protocol = if kind == "tls" { "tls" } else { "auto" };
    format!(
        "version: 1
name: example
topology:
  services:
    shop: {{ protocol: {protocol}, builtin: {{ app: shop, version: v1 }} }}
traffic:
  - id: main
    to: shop
    generate: {{ rate: 10/s, arrival: constant, requests: [ {{ weight: 1, method: GET, path: / }} ] }}
phases:
  - {{ id: steady, for: 1s }}
faults:
  - id: example
    target: shop
    during: steady
    {fault}
checks:
  - {{ id: any, that: \"requests[shop] > 0\" }}
"
    )
}
