//! The screens: a run folded from fixed events, drawn at three sizes and held against pictures that a person has read.

use std::sync::Arc;

use meshbed::{
    event::{
        Answered, Asked, Attempt, Difference, FaultState, Flags, Hit, Hop, Mirror, MirrorOutcome,
        Outcome, Request, RunEvent, RunState, Scored, SwitchedBy, Tick,
    },
    tui::{
        Again, App, Ending, Facts, Order, Theme, Which,
        app::{CheckFacts, FaultFacts, Screen},
        browse::Pane,
        keymap::{self, Action, BINDINGS, Of},
        update::{Next, update},
        view,
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (160, 45)];

#[test]
fn every_screen_fits_its_sizes() {
    let mut app = played();
    for (width, height) in SIZES {
        for (screen, name) in [
            (Screen::Live, "live"),
            (Screen::Diffs, "diffs"),
            (Screen::Histogram, "histogram"),
            (Screen::Events, "events"),
        ] {
            update(&mut app, Action::Show(screen));
            insta::assert_snapshot!(
                format!("{name}_{width}x{height}"),
                drawn(&app, width, height)
            );
        }
    }
    let mut app = ended();
    for (width, height) in SIZES {
        insta::assert_snapshot!(
            format!("score_{width}x{height}"),
            drawn(&app, width, height)
        );
    }
    update(&mut app, Action::Help);
    insta::assert_snapshot!("help_80x24", drawn(&app, 80, 24));
}

#[test]
fn ascii_screens_hold_ascii_only() {
    let mut app = played();
    let theme = Theme::new(true, true);
    for screen in [
        Screen::Live,
        Screen::Diffs,
        Screen::Histogram,
        Screen::Events,
        Screen::Score,
    ] {
        update(&mut app, Action::Show(screen));
        update(&mut app, Action::Help);
        for _ in 0..2 {
            let text = drawn_with(&app, &theme, 120, 40);
            let strange: Vec<char> = text.chars().filter(|c| !c.is_ascii()).collect();
            assert!(strange.is_empty(), "{screen:?}: {strange:?}");
            app.view.help = false;
        }
    }
}

#[test]
fn a_filter_takes_keys_as_text_until_it_is_kept_or_cleared() {
    let mut app = played();
    let all = drawn(&app, 120, 40);
    let press = |app: &mut App, code: KeyCode| {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        update(app, keymap::action(key, app).unwrap());
    };
    press(&mut app, KeyCode::Char('4'));
    let unfiltered = view::lines(&app);
    for c in "/FAULT1q".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    assert_eq!(
        app.view.screen,
        Screen::Events,
        "digits and letters are text"
    );
    assert_eq!(view::lines(&app), 0);
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Enter);
    let some = view::lines(&app);
    assert!(0 < some && some < unfiltered, "{some} of {unfiltered}");
    press(&mut app, KeyCode::Char('/'));
    press(&mut app, KeyCode::Esc);
    assert_eq!(view::lines(&app), unfiltered);
    press(&mut app, KeyCode::Char('1'));
    assert_eq!(drawn(&app, 120, 40), all);
}

#[test]
fn every_key_of_the_help_changes_what_is_shown_or_asks_something() {
    let (run, over) = (played(), ended());
    for binding in BINDINGS {
        let screens = if binding.screens.is_empty() {
            &[Screen::Live, Screen::Diffs][..]
        } else {
            binding.screens
        };
        for screen in screens {
            let theme = Theme::new(false, true);
            let mut app = if *screen == Screen::Score {
                over.clone()
            } else {
                run.clone()
            };
            if binding.of == Of::Saved {
                app.saved = Some(Vec::new());
            }
            assert!(binding.is_for(&app), "`{}` is in the help", binding.keys);
            update(&mut app, Action::Show(*screen));
            // A list with several lines.
            app.view.browse.pane = Pane::Fields;
            // Something to go back from.
            match binding.action {
                Action::Up | Action::PageUp => drop(update(&mut app, Action::Down)),
                Action::ZoomIn => app.view.zoom = 120,
                Action::Show(same) if same == *screen => {
                    update(&mut app, Action::Show(Screen::Events));
                }
                _ => {}
            }
            let page = matches!(binding.action, Action::Down | Action::PageDown);
            if page && *screen == Screen::Events {
                app.view.line = 0;
            }
            let before = drawn_with(&app, &theme, 80, 24);
            let state = format!("{:?}", (&app.view, app.now_us));
            let next = update(&mut app, binding.action);
            let moved = before != drawn_with(&app, &theme, 80, 24)
                || state != format!("{:?}", (&app.view, app.now_us));
            assert!(
                moved || next != Next::Stay,
                "`{}` does nothing on {screen:?}",
                binding.keys
            );
        }
    }
}

fn press(app: &mut App, code: KeyCode) -> Next {
    let key = KeyEvent::new(code, KeyModifiers::NONE);
    keymap::action(key, app).map_or(Next::Stay, |action| update(app, action))
}

fn typed(app: &mut App, keys: &str) -> Next {
    keys.chars()
        .fold(Next::Stay, |_, c| press(app, KeyCode::Char(c)))
}

#[test]
fn a_difference_is_browsed_copied_replayed_and_ignored() {
    let mut app = ended();
    typed(&mut app, "2");
    for _ in 0..2 {
        press(&mut app, KeyCode::Enter);
    }
    assert_eq!(app.view.browse.pane, Pane::Example);
    typed(&mut app, "c");
    for (width, height) in SIZES {
        insta::assert_snapshot!(
            format!("diffs_example_{width}x{height}"),
            drawn(&app, width, height)
        );
    }
    let Next::Copy(curl) = typed(&mut app, "y") else {
        panic!("`y` copies")
    };
    assert!(curl.contains("'http://127.0.0.1:9001/cart/7'"), "{curl}");
    assert_eq!(app.copied, [curl]);
    insta::assert_snapshot!("diffs_curl_80x24", drawn(&app, 80, 24));
    // Any key takes the overlay away, and does no more than that.
    assert_eq!(typed(&mut app, "q"), Next::Stay);

    press(&mut app, KeyCode::BackTab);
    typed(&mut app, "r");
    insta::assert_snapshot!("diffs_replay_question_80x24", drawn(&app, 80, 24));
    let Next::Ask(Order::Replay(Which::Scheduled(ordinals))) = typed(&mut app, "y") else {
        panic!("`r` asks for a replay")
    };
    assert_eq!(ordinals.len(), 31, "the requests whose tax was missing");
    let again = |app: &mut App, ordinal, differs| {
        let due = ordinal * 10_000;
        let RunEvent::Mirror(mirror) = mirrored(ordinal, due, "candidate", differs) else {
            unreachable!()
        };
        app.replayed(Again::Answer(mirror));
    };
    again(&mut app, ordinals[0], true);
    again(&mut app, ordinals[1], false);
    app.replayed(Again::Over(Ok(())));
    insta::assert_snapshot!("diffs_replayed_80x24", drawn(&app, 80, 24));
    typed(&mut app, "q");

    typed(&mut app, "irounds otherwise");
    insta::assert_snapshot!("diffs_ignore_80x24", drawn(&app, 80, 24));
    assert_eq!(
        press(&mut app, KeyCode::Enter),
        Next::Ask(Order::Ignore {
            path: "$.items[*].tax".to_owned(),
            why: "rounds otherwise".to_owned()
        })
    );
}

#[test]
fn a_replay_waits_for_the_end_of_the_run() {
    let mut app = played();
    typed(&mut app, "2r");
    insta::assert_snapshot!("diffs_replay_later_80x24", drawn(&app, 80, 24));
    assert_eq!(typed(&mut app, "y"), Next::Stay);
    assert_eq!(app.due(), None, "the run is on");
    let step = |app: &App| app.replay.as_ref().map(|replay| replay.step.clone());
    assert_eq!(step(&app).as_deref(), Some("waits for the end of the run"));
    // Once more takes it back.
    typed(&mut app, "r");
    assert_eq!((&app.waiting, step(&app)), (&None, None));
    typed(&mut app, "qry");
    app.end(ended().ending.unwrap());
    let Some(Which::Scheduled(ordinals)) = app.due() else {
        panic!("it has waited")
    };
    assert!(!ordinals.is_empty());
    assert_eq!(app.due(), None, "once");
}

#[test]
fn no_rule_is_written_without_a_reason() {
    let mut app = played();
    typed(&mut app, "2i  ");
    assert_eq!(press(&mut app, KeyCode::Enter), Next::Stay);
    assert!(app.view.question.is_some(), "it waits for a reason");
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.view.question, None);
    assert_eq!(app.view.screen, Screen::Diffs);
}

#[test]
fn a_header_and_a_status_are_ignored_like_fields() {
    for (path, kind) in [("header:content-type", "header"), ("status", "status")] {
        let mut app = played();
        let RunEvent::Mirror(mirror) = mirrored(1, 30_000_000, "candidate", false) else {
            unreachable!()
        };
        let mut mirror = Arc::unwrap_or_clone(mirror);
        mirror.endpoint = "GET /only".to_owned();
        mirror.differences[0].path = path.to_owned();
        mirror.differences[0].kind = kind;
        mirror.differences[0].rule = None;
        app.fold(&RunEvent::Mirror(Arc::new(mirror)));
        typed(&mut app, "2/only");
        press(&mut app, KeyCode::Enter);
        typed(&mut app, "ian other build");
        assert_eq!(
            press(&mut app, KeyCode::Enter),
            Next::Ask(Order::Ignore {
                path: path.to_owned(),
                why: "an other build".to_owned()
            })
        );
    }
}

#[test]
fn one_line_of_a_text_is_ignored_and_not_all() {
    let told = |path: &str, at: &str, kind: &'static str| {
        let mut app = played();
        let RunEvent::Mirror(mirror) = mirrored(1, 30_000_000, "candidate", false) else {
            unreachable!()
        };
        let mut mirror = Arc::unwrap_or_clone(mirror);
        mirror.endpoint = "GET /only".to_owned();
        mirror.differences[0] = Difference {
            path: path.to_owned(),
            at: at.to_owned(),
            kind,
            primary: Some("at 10:00".into()),
            shadow: Some("at 10:01".into()),
            rule: None,
            shape: None,
        };
        app.fold(&RunEvent::Mirror(Arc::new(mirror)));
        typed(&mut app, "2/only");
        press(&mut app, KeyCode::Enter);
        typed(&mut app, "i");
        let asks = app.view.question.is_some();
        typed(&mut app, "a clock");
        (asks, press(&mut app, KeyCode::Enter))
    };
    let rule = Next::Ask(Order::Ignore {
        path: "text['at *']".to_owned(),
        why: "a clock".to_owned(),
    });
    assert_eq!(told("text[*]", "text[3]", "value"), (true, rule));
    let (asks, _) = told("text", "text", "order");
    assert!(!asks, "no rule ignores an order alone");
}

#[test]
fn a_run_is_compared_with_one_beside_it() {
    let mut app = ended();
    typed(&mut app, "cmain-7f3a");
    insta::assert_snapshot!("score_compare_80x24", drawn(&app, 80, 24));
    assert_eq!(
        press(&mut app, KeyCode::Enter),
        Next::Ask(Order::Compare {
            report: "reports/checkout-7f3a".to_owned(),
            with: "reports/main-7f3a".to_owned()
        })
    );
    let mut app = played();
    typed(&mut app, "5c");
    let overlay = app.view.overlay.as_ref().unwrap();
    assert!(overlay.lines[0].contains("no report yet"), "{overlay:?}");
}

#[test]
fn what_is_chosen_stays_chosen_when_others_come_before_it() {
    let mut app = played();
    typed(&mut app, "2");
    press(&mut app, KeyCode::Enter);
    press(&mut app, KeyCode::Down);
    let chosen = |app: &App| {
        let chosen = meshbed::tui::browse::chosen(app, app).unwrap();
        let (line, row) = chosen.row.unwrap();
        (line, row.place.1.clone())
    };
    assert_eq!(chosen(&app), (1, "$.trace_id".to_owned()));
    typed(&mut app, "s");
    assert_eq!(
        chosen(&app),
        (1, "$.trace_id".to_owned()),
        "by name it is second, too"
    );
    typed(&mut app, "n");
    assert_eq!(
        chosen(&app),
        (0, "$.items[*].tax".to_owned()),
        "what is not listed cannot be chosen"
    );
}

#[test]
fn a_frozen_picture_stays_while_events_come() {
    let mut app = played();
    update(&mut app, Action::Freeze);
    let before = drawn(&app, 120, 40);
    app.fold(&RunEvent::Tick(tick(40)));
    assert_eq!(before, drawn(&app, 120, 40));
    update(&mut app, Action::Freeze);
    assert_ne!(before, drawn(&app, 120, 40));
}

fn drawn(app: &App, width: u16, height: u16) -> String {
    drawn_with(app, &Theme::new(false, true), width, height)
}

fn drawn_with(app: &App, theme: &Theme, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view::draw(app, theme, frame))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..height {
        let line: String = (0..width)
            .map(|column| buffer[(column, row)].symbol())
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn facts() -> Facts {
    Facts {
        name: "checkout survives a slow payments service".to_owned(),
        seed: 0x7f3a,
        services: vec![
            (0, "shop".into(), true),
            (1, "catalog".into(), false),
            (1, "cart".into(), false),
            (2, "payments".into(), false),
        ],
        phases: vec![
            ("warmup".into(), 0, 5_000_000, false),
            ("steady".into(), 5_000_000, 25_000_000, true),
            ("fault".into(), 25_000_000, 45_000_000, true),
            ("recovery".into(), 45_000_000, 60_000_000, true),
        ],
        faults: vec![
            FaultFacts {
                id: "slow-payments".into(),
                target: "payments".into(),
                windows: vec![(27_000, 40_000)],
                what: "delay 400ms 50%".to_owned(),
            },
            FaultFacts {
                id: "catalog-503".into(),
                target: "catalog".into(),
                windows: vec![(30_000, 33_000), (36_000, 39_000)],
                what: "abort 503 every 3".to_owned(),
            },
        ],
        shadows: vec![
            ("candidate".into(), "shop".into(), "candidate"),
            ("control".into(), "shop".into(), "control"),
        ],
        addresses: [("shop".into(), "127.0.0.1:9001".to_owned())].into(),
        file: "scenarios/checkout.yaml".to_owned(),
        is_live: false,
        checks: vec![
            check("slo-steady", true, "p99[shop] < 250ms", None, "steady"),
            check(
                "degrade",
                false,
                "p99[shop]",
                Some((600_000.0, 1_500_000.0, "us")),
                "fault",
            ),
            check(
                "same-answers",
                true,
                "diffs[candidate].material == 0",
                None,
                "all",
            ),
            check(
                "recovers",
                true,
                "time_to(p99[shop] < 1.2 * p99[shop]@steady, hold: 5s)",
                Some((5e6, 3e7, "us")),
                "recovery",
            ),
        ],
        min_score: 80.0,
        errors: meshbed::scenario::ErrorRule::default(),
    }
}

fn check(
    id: &str,
    must: bool,
    that: &str,
    bounds: Option<(f64, f64, &'static str)>,
    over: &str,
) -> CheckFacts {
    CheckFacts {
        id: id.into(),
        must,
        weight: 3.0,
        that: that.to_owned(),
        not: None,
        bounds,
        over: over.to_owned(),
    }
}

fn tick(sec: u64) -> Tick {
    Tick {
        t_us: (sec + 1) * 1_000_000,
        sec,
        planned: 100 * (sec + 1),
        sent: 100 * (sec + 1),
        done: 100 * (sec + 1) - 2,
        late_p99_us: 212,
        in_flight: 41,
    }
}

/// 31 seconds of a run: 100 requests a second, half of the payments slow from 27 s on.
fn played() -> App {
    let mut app = App::new(facts());
    app.fold(&RunEvent::Run {
        t_us: 0,
        state: RunState::Playing,
    });
    app.fold(&RunEvent::Phase {
        t_us: 0,
        id: "warmup".into(),
        begun: true,
    });
    for sec in 0..31_u64 {
        if sec == 27 {
            app.fold(&RunEvent::Steady {
                t_us: 25_000_000,
                check: "error_share[shop] < 0.1%".to_owned(),
                held: Some(true),
                value: "0 %".to_owned(),
            });
            app.fold(&RunEvent::Fault {
                t_us: 27_000_000,
                id: "slow-payments".into(),
                state: FaultState::On,
                by: SwitchedBy::Timeline,
            });
        }
        for place in 0..100_u64 {
            let ordinal = sec * 100 + place;
            let slow = sec >= 27 && place.is_multiple_of(2);
            one(&mut app, ordinal, sec * 1_000_000 + place * 10_000, slow);
        }
        app.fold(&RunEvent::Tick(tick(sec)));
    }
    let scored = |outcome, value, unit, n| Scored {
        outcome,
        value: Some(value),
        unit,
        interval: None,
        n,
        points: 1.0,
        why: None,
    };
    app.fold(&RunEvent::Check {
        t_us: 25_000_000,
        index: 0,
        scored: Scored {
            interval: Some((3_900.0, 4_300.0)),
            ..scored(Outcome::Pass, 4_100.0, "us", 2_000)
        },
        provisional: false,
    });
    app.fold(&RunEvent::Check {
        t_us: 31_000_000,
        index: 1,
        scored: scored(Outcome::NoData, 404_000.0, "us", 400),
        provisional: true,
    });
    app.fold(&RunEvent::Check {
        t_us: 31_000_000,
        index: 2,
        scored: Scored {
            points: 0.0,
            why: Some(
                "$.items[*].tax missing in 31 of 310 answers, control 0, p = 0.0000001".to_owned(),
            ),
            ..scored(Outcome::Fail, 1.0, "count", 310)
        },
        provisional: true,
    });
    app
}

fn one(app: &mut App, ordinal: u64, due: u64, slow: bool) {
    let us = 3_000 + ordinal % 11 * 100 + if slow { 400_000 } else { 0 };
    app.fold(&RunEvent::Request(Arc::new(Request {
        ordinal,
        source: "main".into(),
        service: "shop".into(),
        connection: ordinal % 8,
        intended_us: due,
        released_us: due + 80,
        sent_us: Some(due + 90),
        done_us: due + us,
        method: "GET".to_owned(),
        path: "/cart/7".to_owned(),
        status: Some(200),
        complete: true,
        grpc_status: None,
        why: None,
        bytes_out: 0,
        bytes_in: 900,
        flags: Flags::default(),
    })));
    let hop = |service: &str, us: u64, status: u16, hits: Vec<Hit>| {
        RunEvent::Hop(Arc::new(Hop {
            ordinal,
            side: 0,
            intended_ms: Some((due / 1_000) as u32),
            n: 0,
            scheduled: true,
            caller: "shop".into(),
            service: service.into(),
            inbound: false,
            method: "GET".to_owned(),
            path: "/x".to_owned(),
            start_us: due + 200,
            us,
            status: Some(status),
            complete: true,
            flags: Flags::default(),
            bytes_in: 0,
            bytes_out: 300,
            considered: hits.iter().map(|hit| hit.fault.clone()).collect(),
            hits,
            attempts: vec![Attempt {
                endpoint: None,
                us,
                status: Some(status),
                why: None,
            }],
        }))
    };
    let hits = if slow {
        vec![Hit {
            attempt: 0,
            fault: "slow-payments".into(),
            u: Some(0.2),
            p: Some(0.5),
            effect: "applied",
            asked_us: Some(400_000),
            actual_us: Some(400_080),
            status: None,
            why: None,
        }]
    } else {
        Vec::new()
    };
    app.fold(&hop(
        "payments",
        if slow { 401_000 } else { 900 },
        200,
        hits,
    ));
    app.fold(&hop(
        "catalog",
        1_200,
        if ordinal.is_multiple_of(50) { 503 } else { 200 },
        Vec::new(),
    ));
    if ordinal.is_multiple_of(10) {
        mirror(app, ordinal, due, "candidate", ordinal.is_multiple_of(100));
        mirror(app, ordinal, due, "control", false);
    }
}

fn mirror(app: &mut App, ordinal: u64, due: u64, shadow: &str, differs: bool) {
    app.fold(&mirrored(ordinal, due, shadow, differs));
}

fn mirrored(ordinal: u64, due: u64, shadow: &str, differs: bool) -> RunEvent {
    let answered = |us| Answered {
        status: 200,
        us,
        sha256: String::new(),
    };
    let mut differences = vec![Difference {
        path: "$.trace_id".to_owned(),
        at: "$.trace_id".to_owned(),
        kind: "value",
        primary: Some("a1".into()),
        shadow: Some("b2".into()),
        rule: Some("random per answer".to_owned()),
        shape: None,
    }];
    if differs {
        differences.push(Difference {
            path: "$.items[*].tax".to_owned(),
            at: "$.items[0].tax".to_owned(),
            kind: "missing",
            primary: Some(1.2.into()),
            shadow: None,
            rule: None,
            shape: None,
        });
    }
    RunEvent::Mirror(Arc::new(Mirror {
        t_us: due + 9_000,
        ordinal,
        intended_ms: Some((due / 1_000) as u32),
        n: 0,
        caller: "client".into(),
        service: "shop".into(),
        shadow: shadow.into(),
        method: "GET".to_owned(),
        path: "/cart/7".to_owned(),
        endpoint: "GET /cart/{id}".to_owned(),
        first: "primary",
        outcome: MirrorOutcome::Compared,
        why: None,
        primary: Some(answered(3_000)),
        answer: Some(answered(3_100)),
        differences,
        asked: Some(Arc::new(Asked {
            headers: [("accept", "application/json"), ("cookie", "[redacted]")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: Vec::new(),
            length: 0,
        })),
    }))
}

fn ended() -> App {
    let mut app = played();
    app.fold(&RunEvent::Run {
        t_us: 60_000_000,
        state: RunState::Finished,
    });
    app.end(Ending {
        verdict: "fail".to_owned(),
        score: (80.9, Some(80.9), 80.9),
        failed_must: vec!["same-answers".to_owned()],
        grade: "A".to_owned(),
        gates: vec![
            ("load delivered 100 %".to_owned(), true),
            ("late p99 212 µs".to_owned(), true),
            ("cpu 31 %".to_owned(), true),
        ],
        faults: vec![
            (
                "slow-payments: 401 chosen, 401 applied, undone".to_owned(),
                true,
            ),
            ("catalog-503: 0 chosen, no effect".to_owned(), false),
        ],
        report: Some("reports/checkout-7f3a".to_owned()),
        exit: 1,
        requests: (3100, 3100, 3098),
        took_us: 60_000_000,
    });
    app
}
