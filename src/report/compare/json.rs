//! A comparison for programs.

use serde_json::{Value, json};

use super::Comparison;
use crate::report::{
    Report,
    format::html::{bars, range},
};

/// Bars of the overlaid histograms.
const BARS: usize = 60;

/// All of it, with the histograms of the driven services over the recorded phases.
pub fn write(comparison: &Comparison, a: &Report, b: &Report) -> Value {
    let mut value = serde_json::to_value(comparison).unwrap_or(Value::Null);
    if let Some(fields) = value.as_object_mut() {
        let driven = a.run.driven();
        let overlays = driven
            .iter()
            .filter_map(|service| overlay(a, b, service))
            .collect();
        fields.insert("histograms".to_owned(), overlays);
    }
    value
}

fn overlay(a: &Report, b: &Report, service: &str) -> Option<Value> {
    let series = [("a", a.responses(service)), ("b", b.responses(service))];
    let (low, high) = range(&series)?;
    let step = (high / low).ln() / BARS as f64;
    let edges: Vec<f64> = (0..=BARS)
        .map(|bar| low * (step * bar as f64).exp())
        .collect();
    let [(_, first), (_, second)] = &series;
    Some(json!({
        "service": service, "kind": "response", "unit": "us", "edges": edges,
        "a": bars(first, low, step, BARS), "b": bars(second, low, step, BARS),
    }))
}
