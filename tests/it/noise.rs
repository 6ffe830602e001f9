//! What the comparison finds in answers made for it, and what it leaves alone: a primary, a candidate and a control that
//! put random ids and times into every answer.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use meshbed::{
    event::{Answered, Difference, Mirror, MirrorOutcome, RunEvent},
    measure::{Class, ErrorRule, Measured, Setup, Window},
    shadow::{self, Answer, Counted, Kind, Noise, Rules},
    stats::margins::Margins,
};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Requests of a run.
const REQUESTS: u64 = 2_500;

/// Who answers.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Primary,
    Candidate,
    Control,
}

/// What a candidate does otherwise.
#[derive(Clone, Copy, PartialEq)]
enum Build {
    /// Nothing.
    Same,
    /// Each kind of difference in 1 % of the answers.
    Planted,
    /// The noise itself: another form, another size, another time.
    Noise,
}

struct World {
    seed: u64,
    build: Build,
}

impl World {
    fn draw(&self, what: &str, ordinal: u64, who: Option<Who>) -> u64 {
        let who = who.map_or(9, |who| who as u64);
        xxh3_64_with_seed(format!("{what} {ordinal} {who}").as_bytes(), self.seed)
    }

    fn answer(&self, ordinal: u64, who: Who) -> Answer {
        let own = |what: &str| self.draw(what, ordinal, Some(who));
        let other = who == Who::Candidate && self.build == Build::Noise;
        let plant = match (who, self.build) {
            (Who::Candidate, Build::Planted) => self.draw("plant", ordinal, None) % 100,
            _ => 99,
        };
        let id = format!("{:016x}{:016x}", own("id"), own("more"));
        let dashed = format!(
            "{}-{}-{}-{}-{}",
            &id[..8],
            &id[8..12],
            &id[12..16],
            &id[16..20],
            &id[20..]
        );
        let hour = if other { 3_600 } else { 0 };
        let at = 1_795_262_768_000 + ordinal as i64 * 12 + (own("late") % 40) as i64 + hour * 1_000;
        let load = (own("load") % 10_000) as f64 / 10_000.0;
        let lines: Vec<Value> = (0..4)
            .map(|line| json!({ "sku": line * 7, "price": 100 + ordinal % 13 + line, "key": format!("{:08x}", own("key") + line) }))
            .collect();
        let mut tags = vec!["new", "sale", "oak", "gift"];
        if plant == 3 {
            tags.reverse();
        }
        let mut body = json!({
            "id": if other { id } else { dashed },
            "at": Timestamp::from_millisecond(at).unwrap().to_string(),
            "epoch_ms": at,
            "load": if other { load * 100.0 } else { load },
            "served": ordinal * 2 + own("order") % 5 + 1_000 * who as u64,
            "nonce": "x".repeat(1 + (own("nonce") % 9) as usize),
            "total": 40 + ordinal % 17 + u64::from(plant == 0),
            "count": if plant == 2 { json!("4") } else { json!(4) },
            "tax": ordinal % 5,
            "tags": tags,
            "lines": lines,
        });
        // Comes and goes by itself, in every build.
        let fields = body.as_object_mut().unwrap();
        if own("flaky") % 10 == 0 {
            fields.insert("debug".to_owned(), json!(true));
        }
        if plant == 1 {
            fields.remove("tax");
        }
        let content_type = match plant {
            4 => "application/json; charset=utf-8",
            _ => "application/json",
        };
        let body = Bytes::from(body.to_string());
        Answer {
            status: if plant == 5 { 202 } else { 200 },
            headers: vec![
                ("content-type".to_owned(), content_type.into()),
                ("date".to_owned(), at.to_string().into()),
            ],
            length: body.len() as u64,
            body,
            ..Answer::default()
        }
    }

    /// A run of them: what is said of its fields (path, kind, class), and of their distributions (path, class).
    fn run(&self, controlled: bool) -> Vec<(String, String, Class)> {
        let window = Window {
            begin_us: 0,
            end_us: 60_000_000,
        };
        let mut measured = Measured::new(Setup {
            phases: vec![("steady".into(), window, true)],
            driven: vec!["shop".into()],
            opaque: Vec::new(),
            services: vec!["shop".into()],
            faults: Vec::new(),
            shadows: vec!["candidate".into(), "control".into()],
            control: controlled.then(|| "control".into()),
            uncontrolled: Vec::new(),
            timed: false,
            margins: Margins::default(),
            alpha: 0.01,
            min_effect: 0.001,
            filters: Vec::new(),
            errors: ErrorRule::default(),
        });
        let rules = Rules::default();
        for ordinal in 0..REQUESTS {
            let primary = self.answer(ordinal, Who::Primary);
            let mut told: Vec<_> = [(Who::Candidate, "candidate"), (Who::Control, "control")]
                .into_iter()
                .filter(|(who, _)| controlled || *who == Who::Candidate)
                .map(|(who, shadow)| {
                    let answer = self.answer(ordinal, who);
                    let found = shadow::compare("/", &primary, &answer, &rules);
                    mirror(shadow, ordinal, &found)
                })
                .collect();
            if ordinal % 2 == 1 {
                told.reverse();
            }
            for event in &told {
                measured.add(event);
            }
        }
        let mirrored = measured.shadows().over("candidate", &[window]);
        assert_eq!(mirrored.paired, REQUESTS);
        let fields = measured.differences(&mirrored).into_iter();
        let fields = fields.map(|field| (field.place.path, field.place.kind, field.verdict.class));
        let shifts = measured.distributions(&mirrored).into_iter();
        let shifts = shifts.map(|one| (one.place.path, "distribution".to_owned(), one.class));
        fields.chain(shifts).collect()
    }

    fn material(&self, controlled: bool) -> Vec<(String, String)> {
        let said = self.run(controlled).into_iter();
        said.filter(|(_, _, class)| *class == Class::Material)
            .map(|(path, kind, _)| (path, kind))
            .collect()
    }
}

fn mirror(shadow: &str, ordinal: u64, found: &[shadow::Difference]) -> RunEvent {
    let answered = Answered {
        status: 200,
        us: 900,
        sha256: String::new(),
    };
    let told = |difference: &shadow::Difference| Difference {
        path: difference.template.clone(),
        at: difference.path.clone(),
        kind: difference.kind.name(),
        primary: difference.primary.clone(),
        shadow: difference.candidate.clone(),
        rule: difference.ignored_by.clone(),
        shape: difference.shape,
    };
    RunEvent::Mirror(Arc::new(Mirror {
        t_us: ordinal * 12_000 + 900,
        ordinal,
        intended_ms: Some((ordinal * 12) as u32),
        n: 0,
        caller: "client".into(),
        service: "shop".into(),
        shadow: shadow.into(),
        method: "GET".to_owned(),
        path: format!("/orders/{ordinal}"),
        endpoint: "GET /orders/{id}".to_owned(),
        outcome: MirrorOutcome::Compared,
        why: None,
        primary: Some(answered.clone()),
        first: "primary",
        asked: None,
        answer: Some(answered),
        differences: found.iter().map(told).collect(),
    }))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = expected.iter();
    pairs
        .map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned()))
        .collect()
}

#[test]
fn planted_differences_are_found_and_no_noise_is_material_in_20_seeds() {
    let expected = pairs(&[
        ("$.count", "type"),
        ("$.tags", "order"),
        ("$.tax", "missing"),
        ("$.total", "value"),
        ("header:content-type", "header"),
        ("status", "status"),
    ]);
    let (mut said, mut flaky) = (Vec::new(), 0);
    for seed in 0..20 {
        let build = if seed % 2 == 0 {
            Build::Planted
        } else {
            Build::Same
        };
        let mut material = World { seed, build }.material(true);
        let before = material.len();
        material.retain(|(path, _)| path != "$.debug");
        flaky += before - material.len();
        said.push((seed, material));
    }
    for (seed, material) in said {
        let expected = if seed % 2 == 0 { &expected[..] } else { &[] };
        assert_eq!(material, expected, "seed {seed}");
    }
    // A field that comes and goes by itself is compared by counts, and one run in a hundred may err in it (alpha).
    assert!(flaky <= 1, "{flaky}");
}

#[test]
fn noise_of_another_form_size_or_time_is_found() {
    let world = World {
        seed: 7,
        build: Build::Noise,
    };
    let expected = [
        // Now and then primary and control answer in the same millisecond; an hour off, never.
        ("$.at", "value"),
        ("$.epoch_ms", "value"),
        ("$.id", "shape"),
        ("$.at", "distribution"),
        ("$.epoch_ms", "distribution"),
        ("$.id", "distribution"),
        ("$.load", "distribution"),
    ];
    assert_eq!(world.material(true), pairs(&expected));
}

#[test]
fn without_a_control_ids_and_times_are_told_by_their_form() {
    let world = World {
        seed: 3,
        build: Build::Same,
    };
    // A counter, random numbers and texts are not: without a control nothing says that they are made anew.
    let expected = [
        ("$.lines[*].key", "value"),
        ("$.load", "value"),
        ("$.nonce", "value"),
        ("$.served", "value"),
    ];
    let mut material = world.material(false);
    material.retain(|(path, _)| path != "$.debug");
    assert_eq!(material, pairs(&expected));
}

#[test]
fn fields_are_judged_as_the_shared_vectors_say() {
    let shared = std::env::var_os("MESHBED_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read(shared.join("corpus/vectors/stats_vectors.json")) else {
        eprintln!("absent: the shared statistics vectors");
        return;
    };
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let cases = vectors["response_diff_noise"]["cases"].as_array().unwrap();
    let mut compared = 0;
    for case in cases {
        let count = |name: &str| case[name].as_u64().unwrap();
        let counted = Counted {
            kind: Kind::Value,
            ignored: false,
            learnt: false,
            b: count("only_candidate_differs"),
            c: count("only_secondary_differs"),
            both: count("both_differ"),
            total: count("total"),
        };
        let noise = Noise {
            alpha: 0.01,
            min_effect: 0.0,
        };
        let verdict = shadow::judge(&[counted], noise)[0];
        let expected = case["mcnemar_exact_one_sided_p"].as_f64().unwrap();
        assert!((verdict.p - expected).abs() <= 1e-9 * expected, "{case}");
        let flagged = case["flag_at_0.01"].as_bool().unwrap();
        assert_eq!(verdict.class == Class::Material, flagged, "{case}");
        // Where all differ in both, only the shape can tell.
        let silent = count("both_differ") == count("total");
        let differs = counted.c + counted.both;
        assert_eq!(
            shadow::is_noise_only(differs, counted.total),
            silent,
            "{case}"
        );
        compared += 1;
    }
    assert!(compared > 0, "nothing to compare");
}
