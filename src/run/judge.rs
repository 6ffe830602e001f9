//! Holds conditions and checks against what was measured. Pure.

use crate::{
    event::{Id, Micros, Scored},
    expr::{Context, Expr, State, Unit, evaluate, show_literal},
    measure::{Measured, Window},
    scenario::{Check, Phase, Scenario},
    score::{self, Bounds, Evidence},
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
            known,
            why: truth.why(),
        },
        bounds,
    )
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
