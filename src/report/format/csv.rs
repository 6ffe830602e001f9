//! `metrics.csv`: every number of the outcome in one long table (RFC 4180), a value a line, for spreadsheets and data frames.
//!
//! Columns: `what` (latency, count, diff, check, score), `of` (service, shadow or check), `side`, `phase`, `metric`, `unit`,
//! `value`. A value that is not known is empty.

use std::fmt::Write as _;

use crate::report::{Report, format::text::outcome};

/// Makes it.
pub fn write(report: &Report) -> String {
    let run = &report.run;
    let mut table = Table("what,of,side,phase,metric,unit,value\r\n".to_owned());
    for row in &run.latency {
        let mut value = |metric: &str, unit: &str, value: u64| {
            let metric = format!("{}.{metric}", row.kind);
            let cells = [
                "latency",
                &row.service,
                &row.side,
                &row.phase,
                &metric,
                unit,
            ];
            table.line(cells, &value.to_string());
        };
        value("n", "count", row.n);
        for (metric, us) in [
            ("min", row.min),
            ("p50", row.p50),
            ("p90", row.p90),
            ("p99", row.p99),
            ("p999", row.p999),
            ("max", row.max),
        ] {
            value(metric, "us", us);
        }
    }
    for row in &run.counts {
        let mut value = |metric: &str, unit: &str, value: u64| {
            let cells = ["count", &row.service, "primary", &row.phase, metric, unit];
            table.line(cells, &value.to_string());
        };
        value("requests", "count", row.requests);
        value("attempts", "count", row.attempts);
        value("retries", "count", row.retries);
        value("errors", "count", row.errors);
        value("bytes", "bytes", row.bytes);
        for (status, count) in &row.status {
            value(&format!("status.{status}"), "count", *count);
        }
        for (flag, count) in &row.flags {
            value(&format!("flag.{flag}"), "count", *count);
        }
    }
    for (shadow, diffs) in &run.diffs {
        for (metric, value) in [
            ("compared", diffs.compared),
            ("pairs_different", diffs.pairs_different),
            ("material", diffs.material),
        ] {
            let cells = ["diff", shadow, shadow, "recorded", metric, "count"];
            table.line(cells, &value.to_string());
        }
    }
    for check in &run.checks {
        let over = check.over.as_deref().unwrap_or("all");
        let known = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let of = check.id.as_str();
        for (metric, unit, value) in [
            ("value", check.unit.as_str(), known(check.value)),
            (
                "interval.low",
                &check.unit,
                known(check.interval.map(|(low, _)| low)),
            ),
            (
                "interval.high",
                &check.unit,
                known(check.interval.map(|(_, high)| high)),
            ),
            ("n", "count", check.n.to_string()),
            ("outcome", "", outcome(check.outcome).to_owned()),
            ("points", "share", check.points.to_string()),
        ] {
            table.line(["check", of, "", over, metric, unit], &value);
        }
    }
    for (metric, value) in [
        ("low", Some(run.score.low)),
        ("value", run.score.value),
        ("high", Some(run.score.high)),
        ("min", Some(run.score.min)),
    ] {
        let value = value.map_or_else(String::new, |value| value.to_string());
        table.line(["score", "", "", "all", metric, "points"], &value);
    }
    table.0
}

/// The lines so far.
struct Table(String);

impl Table {
    fn line(&mut self, cells: [&str; 6], value: &str) {
        for cell in cells {
            let _ = write!(self.0, "{},", quoted(cell));
        }
        self.0.push_str(&quoted(value));
        self.0.push_str("\r\n");
    }
}

/// A cell; in quotes where it must be.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        assert_eq!(quoted("p99[shop]"), "p99[shop]");
        assert_eq!(quoted("steady,fault"), "\"steady,fault\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
    }
}
