//! What a run's scenario says of which changes matter.

use meshbed_proxy::unit::Share;
use serde_json::Value;

use crate::{report::run::Run, stats::margins::Margins};

/// The margins of a run; those of a scenario that says nothing where it says nothing, as runs before there were margins.
pub(super) fn of(run: &Run) -> Margins {
    let said = &run.scenario.resolved["compare"]["margins"];
    let own = Margins::default();
    Margins {
        p50: share(&said["p50"]).unwrap_or(own.p50),
        p90: share(&said["p90"]).unwrap_or(own.p90),
        p99: share(&said["p99"]).unwrap_or(own.p99),
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
