//! `summary.md`: the scorecard for a pull request.

use std::fmt::Write as _;

use crate::report::{
    Report,
    format::{
        name,
        text::{
            compared, duration, failed_musts, gate, losses, material, outcome, p_value, rounded,
            row, score, verdict,
        },
    },
};

/// Makes it.
pub fn write(report: &Report) -> String {
    let run = &report.run;
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("# {}: {}", run.scenario.name, verdict(run)));
    line(String::new());
    line(format!(
        "Score **{}**, needs {}. Run `{}`, {}, seed `{}`, exit {}.",
        score(run),
        rounded(run.score.min),
        run.id,
        duration(run.length_us() as f64),
        run.seed,
        run.exit
    ));
    if !run.scenario.description.is_empty() {
        line(String::new());
        line(cell(&run.scenario.description));
    }
    for failed in failed_musts(run) {
        line(String::new());
        line(format!("**Must failed:** {}", cell(&failed)));
    }
    line(String::new());
    line("| | check | must | measured | wanted | margin | points | over | outcome |".to_owned());
    line("|---|---|---|---|---|---|---|---|---|".to_owned());
    for check in &run.checks {
        let row = row(check);
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.mark,
            row.id,
            if row.must { "must" } else { "" },
            cell(&row.measured),
            cell(&row.wanted),
            row.margin,
            row.points,
            row.over,
            match &check.why {
                Some(why) => format!("{}: {}", outcome(check.outcome), cell(why)),
                None => outcome(check.outcome).to_owned(),
            },
        ));
    }
    line(String::new());
    line(format!(
        "## Experiment quality {}",
        run.quality.grade.letter()
    ));
    line(String::new());
    for each in &run.quality.gates {
        line(format!("- {}", gate(each)));
    }
    if !run.steady_state.is_empty() {
        line(String::new());
        line("## Steady state".to_owned());
        line(String::new());
        for steady in &run.steady_state {
            let held = match steady.held {
                Some(true) => "✔",
                Some(false) => "✘",
                None => "?",
            };
            line(format!(
                "- {held} {} ({})",
                cell(&steady.check),
                cell(&steady.value)
            ));
        }
    }
    if !run.faults.is_empty() {
        line(String::new());
        line("## Faults".to_owned());
        line(String::new());
        line("| fault | target | kind | considered | chosen | applied | superseded | effect | undone |".to_owned());
        line("|---|---|---|---|---|---|---|---|---|".to_owned());
        for fault in &run.faults {
            line(format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                fault.id,
                fault.target,
                fault.kind,
                fault.considered,
                fault.chosen,
                fault.applied,
                fault.superseded,
                fault.effect.name(),
                if fault.undone { "yes" } else { "no" },
            ));
        }
    }
    if !run.notes.is_empty() {
        line(String::new());
        line("## Notes".to_owned());
        line(String::new());
        for note in &run.notes {
            let at = duration(note.t_us as f64);
            line(format!("- at {at}: {}", cell(&note.text)));
        }
    }
    line(String::new());
    line("## Latency".to_owned());
    line(String::new());
    line("| service | side | phase | kind | n | p50 | p90 | p99 | p99.9 | max |".to_owned());
    line("|---|---|---|---|---|---|---|---|---|---|".to_owned());
    for row in run
        .latency
        .iter()
        .filter(|row| matches!(row.kind.as_str(), "response" | "service"))
    {
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.service,
            row.side,
            row.phase,
            row.kind,
            row.n,
            duration(row.p50 as f64),
            duration(row.p90 as f64),
            duration(row.p99 as f64),
            duration(row.p999 as f64),
            duration(row.max as f64),
        ));
    }
    for (shadow, diffs) in &run.diffs {
        line(String::new());
        line(format!("## Shadow {shadow}: {}", compared(diffs)));
        if diffs.fields.is_empty() {
            continue;
        }
        line(String::new());
        line("| class | endpoint | path | kind | only candidate | only control | both | of | p (adjusted) |".to_owned());
        line("|---|---|---|---|---|---|---|---|---|".to_owned());
        for field in diffs.ranked() {
            line(format!(
                "| {} | {} | `{}` | {} | {} | {} | {} | {} | {} |",
                format!("{:?}", field.class).to_lowercase(),
                cell(&name(&field.endpoint)),
                cell(&name(&field.path)),
                field.kind,
                field.b,
                field.c,
                field.both,
                field.total,
                p_value(field.p_adjusted),
            ));
        }
    }
    let losses = losses(run);
    if !losses.is_empty() {
        line(String::new());
        line("Copies that were not compared:".to_owned());
        line(String::new());
        for each in losses {
            line(format!("- {}", cell(&each)));
        }
    }
    let material = material(run);
    if !material.is_empty() {
        line(String::new());
        line("Material:".to_owned());
        line(String::new());
        for each in material {
            line(format!("- {}", cell(&each)));
        }
    }
    let _ = writeln!(
        text,
        "\nmeshbed {}, {} cores, {}.",
        run.build.version, run.host.cores, run.host.started
    );
    text
}

/// Text that keeps a table whole, and is no markup.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace(['\n', '\r'], " ")
}
