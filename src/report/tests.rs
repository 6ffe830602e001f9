use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::{
    event::{Outcome, RunEvent, RunState, Scored, Tick},
    measure::{
        Kind, Measured,
        fixture::{hit, hop, mirror, request, request_with},
    },
    report::run::{Effect, Host, Schedule, SteadyPart},
    scenario::{self, Overrides, Scenario},
    score,
};

const SCENARIO: &str = r#"
version: 1
name: Small shop
description: a shop, <slow> & small
seed: 32570
topology:
  entry: shop
  services:
    shop: { builtin: { app: shop, version: v1 }, calls: [pay] }
    pay: { builtin: { app: payments, version: v1 } }
traffic:
  - id: main
    to: shop
    generate: { rate: 20/s, arrival: constant, requests: [ { method: GET, path: /cart/1 } ] }
    rewrite: { headers: { set: { authorization: Bearer secret } } }
shadow:
  - { id: candidate, of: shop, role: candidate, to: { builtin: { app: shop, version: v2 } }, sample: { percent: 100% } }
  - { id: control, of: shop, role: control, to: { builtin: { app: shop, version: v1 } }, sample: { percent: 100% } }
diff: { noise: { control: control } }
phases:
  - { id: warmup, for: 1s, record: false }
  - { id: steady, for: 2s }
  - { id: fault, for: 2s }
faults:
  - { id: slow, target: pay, during: fault, percent: 50%, delay: 400ms }
checks:
  - { id: quick, must: true, that: "p50[shop] < 250ms", over: steady }
  - { id: degrade, weight: 3, that: "p90[shop]", pass: 600ms, fail: 1500ms, over: fault }
"#;

fn scenario(dir: &Path) -> Arc<Scenario> {
    let file = dir.join("small.yaml");
    fs::write(
        &file,
        format!(
            "{SCENARIO}report: {{ dir: {}, redact: [authorization], formats: [md, junit, html, csv] }}\n",
            dir.join("reports").display()
        ),
    )
    .unwrap();
    match scenario::load(&file, &Overrides::default()) {
        Ok((scenario, _)) => Arc::new(scenario),
        Err(problems) => panic!("{problems}"),
    }
}

fn facts(state: RunState) -> Facts {
    let scored = |outcome, value, points| Scored {
        outcome,
        value: Some(value),
        unit: "us",
        interval: Some((value * 0.9, value * 1.1)),
        n: 40,
        points,
        why: None,
    };
    let parts = [
        (true, 1.0, Outcome::Pass, 1.0),
        (false, 3.0, Outcome::Partial, 0.5),
    ]
    .map(|(must, weight, outcome, points)| score::Part {
        id: "a".into(),
        must,
        weight,
        outcome,
        points,
    });
    Facts {
        state,
        exit: 1,
        deterministic: true,
        trace: None,
        schedule: Schedule {
            sha256: "b".repeat(64),
            planned: 100,
            span_us: 5_000_000,
        },
        host: Host {
            cores: 2,
            workers: 1,
            kernel: "6.1".into(),
            started: "2026-03-02T10:00:00Z".into(),
        },
        git: String::new(),
        sent: 3,
        done: 3,
        drift_us: 12,
        cpu: Some(0.25),
        faults_on: vec![("slow".into(), true)],
        steady_state: vec![SteadyPart {
            check: "error_share[shop] < 1%".into(),
            held: Some(true),
            value: "0".into(),
        }],
        checks: vec![
            scored(Outcome::Pass, 188_000.0, 1.0),
            scored(Outcome::Partial, 1_050_000.0, 0.5),
        ],
        score: score::total(&parts, 80.0),
        quality: score::quality(&score::Facts {
            planned: 100,
            sent: 100,
            lateness_p99_us: Some(212),
            samples: 100,
            identified: 1.0,
            ..score::Facts::default()
        }),
    }
}

/// A run of three requests, of which one has a hop that ends late, and of twelve pairs.
fn events() -> Vec<RunEvent> {
    let mut events = vec![
        RunEvent::Run {
            t_us: 0,
            state: RunState::Playing,
        },
        RunEvent::Phase {
            t_us: 1_000_000,
            id: "steady".into(),
            begun: true,
        },
        hop("client", "shop", 0, |_| {}),
        hop("shop", "pay", 0, |hop| {
            hop.considered = vec!["slow".into()];
            hop.hits = vec![hit("slow", "applied")];
        }),
        request(0, 1_500_000, 655_000, 200),
        request(1, 3_200_000, 900, 503),
        request_with(2, 3_300_000, 5_000, |request| {
            request.status = None;
            request.complete = false;
        }),
        hop("shop", "pay", 0, |hop| {
            hop.ordinal = 9;
            hop.scheduled = false;
            hop.intended_ms = None;
        }),
        RunEvent::Tick(Tick {
            t_us: 5_000_000,
            sec: 4,
            planned: 3,
            sent: 3,
            done: 3,
            late_p99_us: 40,
            in_flight: 0,
        }),
        hop("shop", "pay", 0, |hop| hop.n = 1),
    ];
    for ordinal in 0..12 {
        events.push(mirror("candidate", ordinal, &[("$.tax", "missing")]));
        events.push(mirror("control", ordinal, &[]));
    }
    events
}

fn written(dir: &Path, state: RunState) -> Report {
    let scenario = scenario(dir);
    let writer = Writer::create(&scenario, None).unwrap();
    let mut measured = Measured::new(scenario.measuring());
    for event in events() {
        writer.event(&event);
        measured.add(&event);
    }
    read(&writer.finish(&measured, &facts(state)).unwrap()).unwrap()
}

#[test]
fn a_bundle_holds_all_files_under_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    assert_eq!(report.dir, dir.path().join("reports/small-shop-7f3a"));
    let mut files: Vec<String> = fs::read_dir(&report.dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "diffs.jsonl",
        "events.jsonl",
        "junit.xml",
        "latency.hlog",
        "metrics.csv",
        "report.html",
        "requests.jsonl.zst",
        "run.json",
        "summary.md",
    ];
    assert_eq!(files, expected);
    let again = written(dir.path(), RunState::Interrupted);
    assert_eq!(again.dir, dir.path().join("reports/small-shop-7f3a-2"));
    assert_eq!(again.run.state, RunState::Interrupted);
    assert!(
        fs::read_to_string(again.dir.join("summary.md"))
            .unwrap()
            .contains("INTERRUPTED")
    );
    let left = fs::read_dir(dir.path().join("reports")).unwrap().count();
    assert_eq!(left, 2, "no partial folder is left");
}

#[test]
fn a_log_that_was_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let log = report.dir.join("latency.hlog");
    let whole = fs::read_to_string(&log).unwrap();
    let cut: Vec<&str> = whole.lines().take(whole.lines().count() - 1).collect();
    fs::write(&log, cut.join("\n") + "\n").unwrap();
    let error = read(&report.dir).unwrap_err().to_string();
    assert!(
        error.contains("latency.hlog") && error.contains("and run.json says"),
        "{error}"
    );
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = scenario(dir.path());
    let writer = Writer::create(&scenario, Some(&dir.path().join("out"))).unwrap();
    assert!(dir.path().join(".out.partial").exists());
    writer.event(&request(0, 0, 1, 200));
    drop(writer);
    assert!(!dir.path().join(".out.partial").exists() && !dir.path().join("out").exists());
}

#[test]
fn hops_are_joined_to_their_request_or_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let lines: Vec<_> = report.requests().unwrap().map(Result::unwrap).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let hops = line
                .get("hops")
                .or(line.get("late"))
                .unwrap()
                .as_array()
                .unwrap();
            let to: Vec<String> = hops
                .iter()
                .map(|hop| format!("{}#{}", hop["service"].as_str().unwrap(), hop["n"]))
                .collect();
            format!(
                "{} {} {}",
                line["ord"],
                line.get("late").is_some(),
                to.join(" ")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "0 false shop#0 pay#0",
            "null true pay#0",
            "1 false ",
            "2 false ",
            "0 true pay#1"
        ]
    );
    assert_eq!(lines[0]["phase"], "steady");
    assert_eq!(
        (&lines[2]["error"], &lines[3]["error"]),
        (&true.into(), &true.into())
    );
    assert_eq!(lines[0]["hops"][1]["considered"][0], "slow");
    assert_eq!(
        (
            report.run.requests.kept.as_str(),
            report.run.requests.written
        ),
        ("all", 3)
    );
}

#[test]
fn events_are_numbered_and_tell_each_choice() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let lines: Vec<_> = report.events().unwrap().map(Result::unwrap).collect();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], index);
        assert!(line["t_us"].is_u64());
    }
    let hit = lines.iter().find(|line| line["kind"] == "hit").unwrap();
    assert_eq!(
        (&hit["ord"], &hit["path"], &hit["u"]),
        (&0.into(), &"/pay/1".into(), &0.25.into())
    );
    assert_eq!(
        lines.iter().filter(|line| line["kind"] == "mirror").count(),
        24
    );
}

#[test]
fn the_table_is_what_the_log_merges_to() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    assert!(!report.run.latency.is_empty());
    for row in &report.run.latency {
        let kind = Kind::named(&row.kind).unwrap();
        let merged = report.latency(&row.service, &row.side, kind, &[&row.phase]);
        let at = |quantile| merged.quantile(quantile).unwrap();
        assert_eq!(
            (
                merged.count(),
                merged.min().unwrap(),
                at(crate::stats::quantile::Quantile::P50),
                merged.max().unwrap()
            ),
            (row.n, row.min, row.p50, row.max),
            "{}",
            row.tag
        );
    }
    let row = report
        .run
        .latency
        .iter()
        .find(|row| row.tag == "shop/primary/steady/response")
        .unwrap();
    assert_eq!(
        (row.n, row.p50),
        (1, 655_359),
        "the greatest value of its bucket"
    );
}

#[test]
fn what_came_of_faults_shadows_and_differences_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = written(dir.path(), RunState::Finished).run;
    assert_eq!(
        (
            run.faults[0].considered,
            run.faults[0].applied,
            run.faults[0].effect
        ),
        (1, 1, Effect::Applied)
    );
    assert_eq!(run.faults[0].window_us, [3_000_000, 5_000_000]);
    assert_eq!(
        (
            run.shadows[0].compared,
            run.shadows[0].delta_us.unwrap().p50
        ),
        (12, 150)
    );
    let diffs = &run.diffs["candidate"];
    assert_eq!(
        (diffs.compared, diffs.pairs_different, diffs.material),
        (12, 12, 1)
    );
    assert!((diffs.fields[0].p - 0.000_244_140_625).abs() < 1e-15);
    assert!(!run.diffs.contains_key("control"));
    assert!(!run.deterministic, "a hop had no trace id of this run");
    let text = serde_json::to_string(&run.scenario.resolved).unwrap();
    assert!(
        !text.contains("secret") && text.contains("[redacted]"),
        "{text}"
    );
}

#[test]
fn examples_are_kept_evenly_with_what_the_control_has() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let lines: Vec<_> = report.diffs().unwrap().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 12);
    for line in lines {
        assert_eq!(
            (&line["class"], &line["template"], &line["control"]),
            (&"material".into(), &"$.tax".into(), &1.into())
        );
    }
}

#[test]
fn rendering_again_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let bytes = || format::FORMATS.map(|format| fs::read(report.dir.join(format.file)).unwrap());
    let before = bytes();
    let rendered = render(&report.dir).unwrap();
    assert_eq!(rendered.len(), format::FORMATS.len());
    assert_eq!(before, bytes());
}

#[test]
fn a_newer_report_is_refused_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let report = written(dir.path(), RunState::Finished);
    let path = report.dir.join(RUN);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replacen("\"schema\": 1", "\"schema\": 2", 1);
    fs::write(&path, text).unwrap();
    let error = read(&report.dir).unwrap_err().to_string();
    assert!(
        error.ends_with("has schema 2, this build reads schema 1"),
        "{error}"
    );
    assert!(
        read(dir.path())
            .unwrap_err()
            .to_string()
            .starts_with("cannot read")
    );
}

#[test]
fn the_scorecard_names_what_decided() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = written(dir.path(), RunState::Finished);
    report.run.generator.others_cpu = Some(0.01);
    report.dir = "reports/small-shop-7f3a".into();
    insta::assert_snapshot!("scorecard_80", format::text::scorecard(&report, 80));
    insta::assert_snapshot!("scorecard_120", format::text::scorecard(&report, 120));
    insta::assert_snapshot!("junit", format::junit::write(&report));
    insta::assert_snapshot!("summary", format::markdown::write(&report));
    insta::assert_snapshot!("metrics", format::csv::write(&report).replace('\r', ""));
}

#[test]
fn the_page_is_one_file_without_network() {
    let dir = tempfile::tempdir().unwrap();
    let page = format::html::write(&written(dir.path(), RunState::Finished));
    assert!(page.contains("<svg") && page.contains("a shop, &lt;slow&gt; &amp; small"));
    for outside in ["http://", "https://", "<script", "<link", "<img", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn fields_of_long_names_are_cut_and_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = written(dir.path(), RunState::Finished);
    let fields = &mut report.run.diffs.get_mut("candidate").unwrap().fields;
    fields.push(fields[0].clone());
    for (field, end) in fields.iter_mut().zip(["1", "2"]) {
        field.path = format!("$.{}{end}", "a".repeat(100_000));
    }
    let summary = format::markdown::write(&report);
    let page = format::html::write(&report);
    for text in [&summary, &page] {
        let mut rows: Vec<&str> = text.lines().filter(|it| it.contains("$.aaa")).collect();
        assert!(rows.iter().all(|row| row.len() < 1_000), "{rows:?}");
        assert!(
            rows.iter().all(|row| row.contains("… (100003 bytes")),
            "{rows:?}"
        );
        let all = rows.len();
        rows.sort_unstable();
        rows.dedup();
        assert!(all >= 2 && rows.len() == all, "{rows:?}");
    }
}
