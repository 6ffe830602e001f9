//! Holds conditions and checks against what was measured. Pure.

use crate::{
    event::{Id, Micros, Scored},
    expr::{Context, Expr, State, Unit, evaluate, metric::Metric, show_literal},
    measure::{
        Measured, Window,
        speed::{self, Speed},
    },
    scenario::{Called, Check, Phase, Scenario},
    score::{self, Bounds, Evidence, Standing},
    stats::paired::{Change, LEAST_SAMPLES, MOST_BLOCKS},
};

/// A condition, held against what was measured: whether it holds (`None`: too little data), and what was seen.
pub fn holds(
    scenario: &Scenario,
    measured: &Measured,
    condition: &Expr,
    windows: &[Window],
    now_us: Micros,
) -> (Option<bool>, String) {
    let phases = phases(scenario);
    let context = Context {
        windows,
        phases: &phases,
        from_us: None,
        now_us,
    };
    let truth = evaluate(condition, measured, &context);
    let seen = evaluate(subject(condition), measured, &context);
    let value = match (seen.value, truth.why()) {
        (_, Some(why)) => why,
        (Some(value), None) => show_literal(value, seen.unit),
        (None, None) => "nothing".to_owned(),
    };
    (truth.truth, value)
}

/// A check, held against what was measured up to a moment.
pub fn check(scenario: &Scenario, measured: &Measured, check: &Check, now_us: Micros) -> Scored {
    let phases = phases(scenario);
    let windows: Vec<Window> = scenario
        .phases
        .iter()
        .filter(|phase| {
            if check.over.is_empty() {
                phase.record
            } else {
                check.over.contains(&phase.id)
            }
        })
        .map(Phase::window)
        .collect();
    let context = Context {
        windows: &windows,
        phases: &phases,
        from_us: check.from.as_ref().map(|from| from.at_us),
        now_us,
    };
    if let (Some(not), Expr::Metric(metric)) = (check.not, &check.that) {
        return verdict(measured, metric, not, &context);
    }
    let bounds = check.graded.map(|graded| Bounds {
        pass: graded.pass,
        fail: graded.fail,
    });
    let truth = evaluate(&check.that, measured, &context);
    let seen = evaluate(subject(&check.that), measured, &context);
    let known = match (&truth.state, truth.value, bounds) {
        (State::Known, _, _) => true,
        // The number is more than this, and this earns nothing already.
        (State::AtLeast, Some(least), Some(bounds)) => {
            bounds.fail > bounds.pass && least >= bounds.fail
        }
        _ => false,
    };
    let so_far = match &seen.state {
        State::NoData { so_far, .. } => *so_far,
        _ => seen.value,
    };
    score::judge(
        &Evidence {
            value: so_far,
            unit: seen.unit.name(),
            interval: seen.interval,
            n: seen.n,
            holds: truth.truth,
            standing: if known {
                Standing::Known
            } else {
                Standing::NoData
            },
            why: truth.why(),
        },
        bounds,
    )
}

/// A verdict on a shadow's speed, and whether it is the one that must not be.
fn verdict(measured: &Measured, metric: &Metric, not: Called, context: &Context<'_>) -> Scored {
    let own = metric.phase.as_ref().and_then(|phase| {
        let mut phases = context.phases.iter();
        phases
            .find(|(id, _)| id == phase)
            .map(|(_, window)| *window)
    });
    let windows = match metric.phase {
        Some(_) => own.as_slice(),
        None => context.windows,
    };
    let shadow = metric.of.clone().unwrap_or_else(|| "".into());
    let speed = measured.speed(&shadow, windows);
    let called = speed.called();
    score::judge(
        &Evidence {
            value: called.map(Called::number),
            unit: Unit::Verdict.name(),
            interval: None,
            n: measured.shadows().pairs(&shadow, windows),
            holds: called.map(|called| called != not),
            standing: match speed {
                _ if called.is_some() => Standing::Known,
                Speed::Insufficient { .. } => Standing::NoData,
                Speed::Judged(_) | Speed::Invalid(_) | Speed::Lost { .. } => Standing::Open,
            },
            why: Some(words(&speed)),
        },
        None,
    )
}

/// What a verdict rests on: `p50 10 ms → 12 ms, +20 % …`.
fn words(speed: &Speed) -> String {
    let percent = |share: f64| format!("{:+.1} %", share * 100.0);
    let one = |change: &Change| {
        let us = |us: u64| show_literal(us as f64, Unit::Micros);
        let open = match change.called {
            Some(_) => String::new(),
            // Longer runs have longer blocks, not more.
            None if change.blocks > MOST_BLOCKS => ", open".to_owned(),
            None => format!(", open: about {} blocks would tell", change.blocks),
        };
        format!(
            "{} {} to {}, {} (95 %: {} to {}; p {:.4}; {} matters, {} would be seen{open})",
            change.name,
            us(change.us.0),
            us(change.us.1),
            percent(change.change),
            percent(change.interval.0),
            percent(change.interval.1),
            change.p_adjusted,
            percent(change.matters),
            percent(change.detectable),
        )
    };
    let all = |changes: &[Change]| changes.iter().map(one).collect::<Vec<_>>().join("; ");
    match speed {
        Speed::Judged(changes) => all(changes),
        Speed::Insufficient { blocks, pairs } => format!(
            "{blocks} blocks with {pairs} pairs of answers, of the {} and {LEAST_SAMPLES} that it needs",
            speed::least_blocks(),
        ),
        Speed::Invalid(changes) => {
            format!(
                "the control is not as fast as its primary itself: {}",
                all(changes)
            )
        }
        Speed::Lost { lost, chosen } => format!(
            "{lost} of {chosen} copies were not sent or not answered in full: the slowest may be among them"
        ),
    }
}

/// What an expression's value counts, as a check shows it.
pub fn unit(expr: &Expr) -> Unit {
    subject(expr).unit()
}

/// What is shown of a condition: the left side of a comparison; of anything else itself.
fn subject(expr: &Expr) -> &Expr {
    match expr {
        Expr::Compare(_, left, _) => left,
        other => other,
    }
}

fn phases(scenario: &Scenario) -> Vec<(Id, Window)> {
    scenario
        .phases
        .iter()
        .map(|phase| (phase.id.clone(), phase.window()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Outcome,
        measure::fixture::{setup, timed},
        run::fixture,
    };

    /// The fixture in which a candidate takes so many times as long for so many seconds, and a control so many.
    fn judged(candidate: f64, control: f64, seconds: u64) -> Scored {
        let mut scenario = fixture::scenario();
        scenario.phases = vec![Phase::alone("steady", 30_000_000)];
        let check = Check {
            id: "speed".into(),
            must: true,
            weight: 1.0,
            that: crate::expr::parse("compare[candidate]").unwrap().expr,
            text: "compare[candidate]".to_owned(),
            graded: None,
            not: Some(Called::Regressed),
            over: Vec::new(),
            from: None,
        };
        let mut measured = Measured::new(setup());
        for ordinal in 0..seconds * 100 {
            let us = 10_000 + ordinal * 7_919 % 300;
            for (shadow, factor) in [("candidate", candidate), ("control", control)] {
                let answer = (us as f64 * factor) as u64;
                measured.add(&timed(shadow, ordinal, 10 * ordinal as u32, (us, answer)));
            }
        }
        super::check(&scenario, &measured, &check, 30_000_000)
    }

    #[test]
    fn a_verdict_passes_fails_or_stays_open() {
        for (candidate, control, seconds, outcome, value) in [
            (1.0, 1.0, 30, Outcome::Pass, Some(0.0)),
            (1.3, 1.0, 30, Outcome::Fail, Some(1.0)),
            (0.7, 1.0, 30, Outcome::Pass, Some(-1.0)),
            (1.3, 1.0, 15, Outcome::NoData, None),
            (1.3, 1.3, 30, Outcome::Inconclusive, None),
        ] {
            let scored = judged(candidate, control, seconds);
            assert_eq!(
                (scored.outcome, scored.value),
                (outcome, value),
                "{scored:?}"
            );
            assert_eq!((scored.unit, scored.n), ("verdict", seconds * 100));
        }
    }

    #[test]
    fn a_verdict_says_what_it_rests_on() {
        let why = judged(1.3, 1.0, 30).why.unwrap();
        assert!(why.starts_with("p50 ") && why.contains("; p90 "), "{why}");
        assert!(
            why.contains("+30.0 %") && why.contains("+5.0 % matters"),
            "{why}"
        );
        let why = judged(1.3, 1.0, 15).why.unwrap();
        let few = "5 blocks with 1500 pairs of answers, of the 7 and 1000 that it needs";
        assert_eq!(why, few);
        assert!(
            judged(1.3, 1.3, 30)
                .why
                .unwrap()
                .starts_with("the control is not as fast as its primary itself: p50 ")
        );
    }
}
