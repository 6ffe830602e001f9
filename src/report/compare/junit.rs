//! A comparison for a CI system: a test case a row. A suspicion is a pass with a note, since one run a side proves
//! nothing; what is undecided is skipped.

use std::fmt::Write as _;

use super::{
    Comparison, Row, RowVerdict, Verdict,
    text::{change, over},
};
use crate::report::format::{junit::escaped, text::quantity};

/// Makes it.
pub fn write(comparison: &Comparison) -> String {
    let skipped = comparison
        .rows
        .iter()
        .filter(|row| {
            matches!(
                row.verdict,
                RowVerdict::Inconclusive | RowVerdict::Insufficient
            )
        })
        .count();
    let refused = match comparison.verdict {
        Verdict::Unlike => Some(comparison.unlike.join("; ")),
        Verdict::Invalid => Some(comparison.invalid.join("; ")),
        Verdict::Suspect | Verdict::NoSuspectedRegression | Verdict::Inconclusive => None,
    };
    let errors = usize::from(refused.is_some());
    let totals = format!(
        "tests=\"{}\" failures=\"0\" errors=\"{errors}\" skipped=\"{skipped}\"",
        comparison.rows.len() + errors
    );
    let name = escaped(&format!("{} against {}", comparison.b.id, comparison.a.id));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"meshbed compare\" {totals}>\n  <testsuite name=\"{name}\" {totals}>\n"
    );
    for row in &comparison.rows {
        let case = escaped(&format!("{} {} {}", row.service, over(row), row.metric));
        let _ = write!(
            text,
            "    <testcase classname=\"{name}\" name=\"{case}\" time=\"0\""
        );
        let told = escaped(&told(row));
        let _ = match row.verdict {
            RowVerdict::Same => writeln!(text, "/>"),
            RowVerdict::Suspect | RowVerdict::SuspectImproved => {
                writeln!(
                    text,
                    ">\n      <system-out>{}: {told}</system-out>\n    </testcase>",
                    row.verdict.name()
                )
            }
            RowVerdict::Inconclusive | RowVerdict::Insufficient => {
                writeln!(
                    text,
                    ">\n      <skipped message=\"{}: {told}\"/>\n    </testcase>",
                    row.verdict.name()
                )
            }
        };
    }
    if let Some(reason) = refused {
        let _ = writeln!(
            text,
            "    <testcase classname=\"{name}\" name=\"comparison\" time=\"0\">\n      <error type=\"{}\" message=\"{}\"/>\n    </testcase>",
            comparison.verdict.name(),
            escaped(&reason)
        );
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn told(row: &Row) -> String {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| quantity(value, row.unit))
    };
    format!("{} → {}, {}", value(row.a), value(row.b), change(row))
}
