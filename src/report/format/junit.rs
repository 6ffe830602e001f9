//! `junit.xml`: a test case a check, for a CI system. What is not known is skipped, not passed; a partial result is a
//! pass with a note.

use std::fmt::Write as _;

use crate::{
    event::Outcome,
    report::{
        Report,
        format::text::{outcome, row, score, verdict},
        run::Run,
    },
};

/// Makes it.
pub fn write(report: &Report) -> String {
    let run = &report.run;
    let is = |wanted: &dyn Fn(Outcome) -> bool| {
        run.checks
            .iter()
            .filter(|check| wanted(check.outcome))
            .count()
    };
    let failures = is(&|outcome| outcome == Outcome::Fail);
    let skipped = is(&|outcome| {
        matches!(
            outcome,
            Outcome::NoData | Outcome::NotRun | Outcome::Inconclusive
        )
    });
    let error = unfinished(run);
    let errors = usize::from(error.is_some());
    let seconds = run.length_us() as f64 / 1e6;
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let totals = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\"",
        run.checks.len() + errors
    );
    let name = escaped(&run.scenario.name);
    let _ = writeln!(text, "<testsuites name=\"meshbed\" {totals}>");
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" {totals} timestamp=\"{}\">",
        escaped(&run.host.started)
    );
    let _ = writeln!(text, "    <properties>");
    for (key, value) in [
        ("seed", run.seed.to_string()),
        ("score", score(run)),
        ("verdict", verdict(run).to_owned()),
        ("quality", run.quality.grade.letter().to_string()),
        ("exit", run.exit.to_string()),
    ] {
        let _ = writeln!(
            text,
            "      <property name=\"{key}\" value=\"{}\"/>",
            escaped(&value)
        );
    }
    let _ = writeln!(text, "    </properties>");
    for check in &run.checks {
        let row = row(check);
        let _ = write!(
            text,
            "    <testcase classname=\"{name}\" name=\"{}\" time=\"0\"",
            escaped(&check.id)
        );
        let told = escaped(&format!(
            "{}: measured {}, wanted {}",
            check.that, row.measured, row.wanted
        ));
        match check.outcome {
            Outcome::Pass => {
                let _ = writeln!(text, "/>");
            }
            Outcome::Partial => {
                let _ = writeln!(
                    text,
                    ">\n      <system-out>partial, {} points: {told}</system-out>\n    </testcase>",
                    row.points
                );
            }
            Outcome::Fail => {
                let kind = if check.must { "must" } else { "check" };
                let _ = writeln!(
                    text,
                    ">\n      <failure type=\"{kind}\" message=\"{told}\"/>\n    </testcase>"
                );
            }
            Outcome::NoData | Outcome::NotRun | Outcome::Inconclusive => {
                let why = check.why.as_deref().unwrap_or_default();
                let message = escaped(&format!("{} {why}", outcome(check.outcome)));
                let _ = writeln!(
                    text,
                    ">\n      <skipped message=\"{}\"/>\n    </testcase>",
                    message.trim()
                );
            }
        }
    }
    if let Some(error) = error {
        let _ = writeln!(
            text,
            "    <testcase classname=\"{name}\" name=\"run\" time=\"0\">\n      <error type=\"run\" message=\"{}\"/>\n    </testcase>",
            escaped(&error)
        );
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// Why the run as a whole says nothing, if so.
fn unfinished(run: &Run) -> Option<String> {
    match run.state {
        crate::event::RunState::Finished if run.generator.valid => None,
        crate::event::RunState::Finished => Some(format!(
            "invalid as an experiment: {}",
            run.generator.why.join(", ")
        )),
        _ => Some(verdict(run).to_owned()),
    }
}

/// Text as XML allows it in attributes.
pub(in crate::report) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            // XML 1.0 has no control characters, not even escaped.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
