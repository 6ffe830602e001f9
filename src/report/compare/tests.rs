use super::*;
use crate::{
    event::RunState,
    report::{
        Interval, Tag,
        run::{
            Build, Counts, Generator, Host, Latency, PhasePart, RequestsPart, ScenarioPart,
            Schedule, Spread as Three, Trace,
        },
    },
    score::{Grade, Quality, Score, Verdict as Scored},
    stats::histogram::Histogram,
};

/// Chance that follows from a number, for made-up runs.
fn chance(seed: u64) -> impl FnMut() -> f64 {
    let draw = Seed(seed).rule("made-up run");
    let mut counter = 0_u64;
    move || {
        counter += 1;
        draw.unit_of(&counter.to_le_bytes())
    }
}

/// A run of two recorded phases of 20 s, 200 requests a second. `latency` says how long one takes, in µs, of chance and
/// the second.
fn run(seed: u64, latency: impl Fn(&mut dyn FnMut() -> f64, u64) -> f64) -> Report {
    let mut chance = chance(seed);
    let phases = [
        ("warmup", 0, 2, false),
        ("steady", 2, 22, true),
        ("fault", 22, 42, true),
    ];
    let mut intervals = Vec::new();
    for (phase, begin, end, _) in phases {
        for second in begin..end {
            let mut histogram = Histogram::default();
            for _ in 0..200 {
                histogram.record(latency(&mut chance, second).max(0.0) as u64);
            }
            intervals.push(Interval {
                tag: Tag {
                    service: "shop".into(),
                    side: "primary".into(),
                    phase: phase.into(),
                    kind: Kind::Response,
                },
                begin_us: second * 1_000_000,
                length_us: 1_000_000,
                histogram,
            });
        }
    }
    let latency = Latency {
        service: "shop".into(),
        side: "primary".into(),
        phase: "steady".into(),
        kind: "response".into(),
        tag: "shop/primary/steady/response".into(),
        n: 1,
        clipped: 0,
        min: 0,
        p50: 0,
        p90: 0,
        p99: 0,
        p999: 0,
        max: 0,
    };
    let counts = Counts {
        service: "shop".into(),
        phase: "steady".into(),
        place: "client".into(),
        requests: 8000,
        attempts: 8000,
        retries: 0,
        errors: 0,
        bytes: 0,
        status: std::collections::BTreeMap::new(),
        flags: std::collections::BTreeMap::new(),
    };
    Report {
        dir: format!("reports/run-{seed}").into(),
        intervals,
        run: Run {
            schema: 1,
            id: format!("run-{seed}"),
            state: RunState::Finished,
            exit: 0,
            seed,
            deterministic: true,
            unidentified: 0.0,
            scenario: ScenarioPart {
                name: "run".into(),
                description: String::new(),
                file: String::new(),
                sha256: "c".repeat(64),
                resolved: serde_json::Value::Null,
            },
            trace: Some(Trace {
                path: "captures/shop.pcap".into(),
                sha256: "a".repeat(64),
                exchanges: 8400,
                skipped: std::collections::BTreeMap::new(),
            }),
            schedule: Schedule {
                sha256: "b".repeat(64),
                planned: 8400,
                span_us: 42_000_000,
            },
            build: Build {
                version: "0.1.0".into(),
                git: String::new(),
            },
            host: Host {
                cores: 2,
                workers: 1,
                kernel: "6".into(),
                started: "2026-01-01T00:00:00Z".into(),
            },
            phases: phases
                .iter()
                .map(|(id, begin, end, record)| PhasePart {
                    id: (*id).into(),
                    begin_us: begin * 1_000_000,
                    end_us: end * 1_000_000,
                    record: *record,
                })
                .collect(),
            generator: Generator {
                planned: 8400,
                sent: 8400,
                done: 8400,
                overflow: 0,
                no_response: 0,
                lateness_us: Three::default(),
                blocked_us: Three::default(),
                drift_us: 0,
                cpu: None,
                others_cpu: Some(0.01),
                valid: true,
                why: Vec::new(),
            },
            faults: Vec::new(),
            shadows: Vec::new(),
            latency: vec![latency],
            counts: vec![counts],
            diffs: std::collections::BTreeMap::new(),
            steady_state: Vec::new(),
            checks: Vec::new(),
            score: Score {
                low: 100.0,
                value: Some(100.0),
                high: 100.0,
                min: 100.0,
                verdict: Scored::Pass,
                failed_must: Vec::new(),
            },
            quality: Quality {
                grade: Grade::A,
                gates: Vec::new(),
            },
            requests: RequestsPart {
                kept: "none".into(),
                written: 0,
                of: 8400,
            },
            events: None,
            notes: Vec::new(),
        },
    }
}

/// About log-normal around 10 ms; each second has its own weather, and `slower` of all is added.
fn shop(slower: f64) -> impl Fn(&mut dyn FnMut() -> f64, u64) -> f64 {
    move |chance, second| {
        let weather =
            (f64::from(u32::try_from(second * 2_654_435_761 % 97).unwrap()) / 97.0 - 0.5) * 0.06;
        let normal: f64 = (0..12).map(|_| chance()).sum::<f64>() - 6.0;
        10_000.0 * (1.0 + slower) * (0.35 * normal + weather).exp()
    }
}

fn worst(comparison: &Comparison) -> Vec<String> {
    let suspect = comparison
        .rows
        .iter()
        .filter(|row| row.verdict == RowVerdict::Suspect);
    suspect
        .map(|row| format!("{} {:?} {}", row.service, row.phase, row.metric))
        .collect()
}

#[test]
fn runs_of_the_same_thing_are_not_suspect() {
    for seed in 0..25 {
        let comparison = compare(&run(seed, shop(0.0)), &run(seed + 1000, shop(0.0)), false);
        assert_eq!(
            comparison.verdict,
            Verdict::NoSuspectedRegression,
            "{seed}: {:?}",
            worst(&comparison)
        );
    }
}

#[test]
fn a_run_is_the_same_as_itself() {
    let comparison = compare(&run(1, shop(0.0)), &run(1, shop(0.0)), false);
    assert!(comparison.rows.iter().all(|row| row.change == Some(0.0)));
    assert!(
        comparison
            .rows
            .iter()
            .all(|row| row.verdict != RowVerdict::Suspect)
    );
    let (first, again) = (run(1, shop(0.0)), run(2, shop(0.0)));
    assert_eq!(
        compare(&first, &again, false),
        compare(&first, &again, false),
        "the same bundles, the same verdict"
    );
}

#[test]
fn a_quarter_slower_is_suspect_and_a_quarter_faster_is_not() {
    let (usual, slow) = (run(1, shop(0.0)), run(2, shop(0.25)));
    let comparison = compare(&usual, &slow, false);
    assert_eq!(comparison.verdict, Verdict::Suspect);
    let p50 = comparison
        .rows
        .iter()
        .find(|row| row.metric == "p50" && row.phase.is_none())
        .unwrap();
    let (low, high) = p50.interval.unwrap();
    assert!(low < 0.25 && 0.25 < high, "{low} {high}");
    let comparison = compare(&slow, &usual, false);
    assert_eq!(comparison.verdict, Verdict::NoSuspectedRegression);
    assert!(
        comparison
            .rows
            .iter()
            .any(|row| row.verdict == RowVerdict::SuspectImproved)
    );
}

#[test]
fn the_second_run_says_what_change_matters() {
    let (usual, mut slow) = (run(1, shop(0.0)), run(2, shop(0.25)));
    let margins = serde_json::json!({ "p50": "40%", "p90": "40%", "p99": 0.5 });
    slow.run.scenario.resolved = serde_json::json!({ "compare": { "margins": margins } });
    let comparison = compare(&usual, &slow, false);
    assert_eq!(worst(&comparison), Vec::<String>::new());
    let margins: Vec<f64> = comparison.rows.iter().map(|row| row.margin).collect();
    assert_eq!(margins[..3], [0.4, 0.4, 0.5]);
    assert!(comparison.rows[0].verdict == RowVerdict::Same);
    // A change of the margin's size would have been seen, and a smaller one, too.
    assert_eq!(comparison.verdict, Verdict::NoSuspectedRegression);
    let seen = comparison.rows[0].detectable.unwrap();
    assert!(seen < 0.2, "{seen}");
    let told = "margins: p50 5 %, p90 5 %, p99 10 % and p50 40 %, p90 40 %, p99 50 %";
    assert!(comparison.differences.iter().any(|it| it == told));
    // The run that it is held against does not.
    let back = compare(&slow, &usual, false);
    assert!((back.rows[0].margin - 0.05).abs() < 1e-12);
}

#[test]
fn a_longer_injected_delay_shows_in_its_phase() {
    // In `fault` a quarter of the requests wait for 400 ms, then for 500 ms.
    let delayed = |delay: f64| {
        move |chance: &mut dyn FnMut() -> f64, second: u64| {
            let hit = second >= 22 && chance() < 0.25;
            shop(0.0)(chance, second) + if hit { delay } else { 0.0 }
        }
    };
    let comparison = compare(
        &run(1, delayed(400_000.0)),
        &run(2, delayed(500_000.0)),
        false,
    );
    assert_eq!(comparison.verdict, Verdict::Suspect);
    assert!(
        worst(&comparison).contains(&"shop Some(\"fault\") p90".to_owned()),
        "{:?}",
        worst(&comparison)
    );
    let same = compare(
        &run(1, delayed(400_000.0)),
        &run(2, delayed(400_000.0)),
        false,
    );
    assert_eq!(
        same.verdict,
        Verdict::NoSuspectedRegression,
        "{:?}",
        worst(&same)
    );
}

#[test]
fn what_is_below_the_floor_is_not_suspect() {
    // A quarter slower, but only by 25 µs.
    let fast = |slower: f64| {
        move |chance: &mut dyn FnMut() -> f64, second: u64| shop(slower)(chance, second) / 100.0
    };
    let comparison = compare(&run(1, fast(0.0)), &run(2, fast(0.25)), false);
    assert_eq!(worst(&comparison), Vec::<String>::new());
}

/// A reason, and what makes a run unlike for it.
type Change<'a> = (&'a str, Box<dyn Fn(&mut Run)>);

#[test]
fn unlike_runs_are_refused_with_the_reason() {
    let usual = run(1, shop(0.0));
    let change = |change: &dyn Fn(&mut Run)| {
        let mut other = run(2, shop(0.0));
        change(&mut other.run);
        other
    };
    let rows: [Change<'_>; 3] = [
        (
            "other trace: captures/shop.pcap (aaaaaaaaaaaa) and no trace",
            Box::new(|run| run.trace = None),
        ),
        (
            "other offered rate: 200.0/s and 400.0/s",
            Box::new(|run| {
                run.schedule.sha256 = "d".repeat(64);
                run.schedule.planned = 16_800;
            }),
        ),
        (
            "other phases: warmup 2 s, steady 20 s, fault 20 s and warmup 2 s, steady 20 s",
            Box::new(|run| run.phases.truncate(2)),
        ),
    ];
    for (reason, changed) in rows {
        let other = change(&*changed);
        let comparison = compare(&usual, &other, false);
        assert_eq!(
            (comparison.verdict, comparison.unlike),
            (Verdict::Unlike, vec![reason.to_owned()])
        );
        let forced = compare(&usual, &other, true);
        assert_ne!(forced.verdict, Verdict::Unlike, "{reason}");
        assert!(!forced.rows.is_empty());
    }
    // Another schedule at the same rate is told, not refused.
    let other = change(&|run| run.schedule.sha256 = "d".repeat(64));
    let comparison = compare(&usual, &other, false);
    assert_eq!(comparison.verdict, Verdict::NoSuspectedRegression);
    assert!(
        comparison
            .differences
            .contains(&"schedule: bbbbbbbbbbbb and dddddddddddd".to_owned())
    );
}

#[test]
fn an_invalid_run_gives_no_verdict_on_the_system() {
    let usual = run(1, shop(0.0));
    let mut late = run(2, shop(0.25));
    late.run.generator.valid = false;
    late.run.generator.why = vec!["lateness".into()];
    let comparison = compare(&usual, &late, false);
    assert_eq!(comparison.verdict, Verdict::Invalid);
    assert_eq!(
        comparison.invalid,
        ["reports/run-2 failed its gates: lateness"]
    );
}

#[test]
fn a_machine_that_others_used_gives_no_verdict_either() {
    let usual = run(1, shop(0.0));
    let mut shared = run(2, shop(0.25));
    shared.run.generator.others_cpu = Some(0.8);
    let comparison = compare(&usual, &shared, false);
    assert_eq!(comparison.verdict, Verdict::Invalid);
    assert_eq!(
        comparison.invalid,
        ["other programs used 80 % of the processors during reports/run-2"]
    );
}

#[test]
fn more_errors_are_suspect() {
    let usual = run(1, shop(0.0));
    let mut failing = run(2, shop(0.0));
    failing.run.counts[0].errors = 80;
    let comparison = compare(&usual, &failing, false);
    let row = comparison
        .rows
        .iter()
        .find(|row| row.metric == "error_share")
        .unwrap();
    assert_eq!((row.verdict, row.change), (RowVerdict::Suspect, Some(0.01)));
}

#[test]
fn the_text_fits_its_width() {
    use unicode_width::UnicodeWidthStr;
    let (usual, slow) = (run(1, shop(0.0)), run(2, shop(0.25)));
    let comparison = compare(&usual, &slow, false);
    for width in [80, 120, 160] {
        let text = text::write(&comparison, &usual, &slow, width);
        for line in text
            .lines()
            .filter(|line| !line.starts_with("also differs"))
        {
            assert!(line.width() <= width, "{width}: {line}");
        }
        assert!(text.contains("SUSPECT") && text.contains('█'), "{text}");
    }
}
