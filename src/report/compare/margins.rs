//! What a run's scenario says of which changes matter.

use meshbed_proxy::unit::Share;
use serde_json::Value;

use crate::{report::run::Run, stats::margins::Margins};

/// The margins of a run; those of a scenario that says nothing where it says nothing, as runs before there were margins.
pub(super) fn of(run: &Run) -> Margins {
    let said = run.scenario.resolved.pointer("/compare/margins");
    let of = |name: &str, own: f64| said.and_then(|it| share(it.get(name)?)).unwrap_or(own);
    let own = Margins::default();
    Margins {
        p50: of("p50", own.p50),
        p90: of("p90", own.p90),
        p99: of("p99", own.p99),
    }
}

fn share(said: &Value) -> Option<f64> {
    let text = match said {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let share = Share::parse(&text).ok()?.get();
    (share > 0.0).then_some(share)
}

/// In words, for who reads why two runs are judged as they are.
pub(super) fn words(margins: Margins) -> String {
    let percent = |share: f64| format!("{} %", (share * 1e4).round() / 100.0);
    let Margins { p50, p90, p99 } = margins;
    format!(
        "p50 {}, p90 {}, p99 {}",
        percent(p50),
        percent(p90),
        percent(p99)
    )
}
