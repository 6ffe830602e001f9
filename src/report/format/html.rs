//! `report.html`: one file that needs no network, with histograms as inline SVG.

use std::fmt::Write as _;

use crate::{
    measure::Kind,
    report::{
        Report,
        format::{
            junit::escaped,
            name,
            text::{
                compared, distribution, duration, failed_musts, gate, losses, outcome, p_value,
                rounded, row, score, verdict,
            },
        },
        run::Run,
    },
    stats::histogram::{Histogram, bounds_of},
};

pub(in crate::report) const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{text-align:left;padding:.2rem .7rem;border-bottom:1px solid #ddd;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}h1 small{font-weight:normal;color:#666}.pass{color:#17692a}.fail{color:#a4161a}\
.other{color:#7a5a00}svg{background:#fafafa;border:1px solid #ddd}code{font-size:.95em}\
@media(prefers-color-scheme:dark){body{background:#181a1b;color:#ddd}th,td{border-color:#444}svg{background:#222;border-color:#444}.pass{color:#6cc57b}.fail{color:#ff7b7b}.other{color:#e0b84a}text{fill:#ccc}}";

/// Makes it.
pub fn write(report: &Report) -> String {
    let run = &report.run;
    let mut html = String::new();
    let class = if verdict(run).starts_with('✔') {
        "pass"
    } else if verdict(run).starts_with('✘') {
        "fail"
    } else {
        "other"
    };
    let name = escaped(&run.scenario.name);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}: {}</title><style>{STYLE}</style></head><body>\n<h1>{name} <span class=\"{class}\">{}</span></h1>\n\
         <p>Score <b>{}</b>, needs {}. Run <code>{}</code>, {}, seed <code>{}</code>, exit {}, started {}.</p>\n",
        verdict(run),
        verdict(run),
        score(run),
        rounded(run.score.min),
        escaped(&run.id),
        duration(run.length_us() as f64),
        run.seed,
        run.exit,
        escaped(&run.host.started),
    );
    if !run.scenario.description.is_empty() {
        let _ = writeln!(html, "<p>{}</p>", escaped(&run.scenario.description));
    }
    for failed in failed_musts(run) {
        let _ = writeln!(
            html,
            "<p class=\"fail\"><b>Must failed:</b> {}</p>",
            escaped(&failed)
        );
    }
    checks(&mut html, run);
    let _ = writeln!(
        html,
        "<h2>Experiment quality {}</h2>\n<ul>",
        run.quality.grade.letter()
    );
    for each in &run.quality.gates {
        let _ = writeln!(html, "<li>{}</li>", escaped(&gate(each)));
    }
    html.push_str("</ul>\n");
    faults(&mut html, run);
    latencies(&mut html, report);
    diffs(&mut html, run);
    let _ = writeln!(
        html,
        "<p><small>meshbed {}, {} cores, {} workers, kernel {}</small></p>\n</body></html>",
        escaped(&run.build.version),
        run.host.cores,
        run.host.workers,
        escaped(&run.host.kernel)
    );
    html
}

fn checks(html: &mut String, run: &Run) {
    head(
        html,
        "Checks",
        &[
            "", "check", "must", "measured", "wanted", "margin", "points", "over", "outcome",
        ],
    );
    for check in &run.checks {
        let row = row(check);
        let class = match row.mark {
            "✔" => "pass",
            "✘" => "fail",
            _ => "other",
        };
        let why = check
            .why
            .as_ref()
            .map(|why| format!(": {}", escaped(why)))
            .unwrap_or_default();
        let _ = writeln!(
            html,
            "<tr><td class=\"{class}\">{}</td><td title=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td>{}</td><td>{}{why}</td></tr>",
            row.mark,
            escaped(&check.that),
            escaped(&row.id),
            if row.must { "must" } else { "" },
            escaped(&row.measured),
            escaped(&row.wanted),
            escaped(&row.margin),
            row.points,
            escaped(&row.over),
            outcome(check.outcome),
        );
    }
    html.push_str("</table>\n");
}

fn faults(html: &mut String, run: &Run) {
    if run.faults.is_empty() {
        return;
    }
    let columns = [
        "fault",
        "target",
        "kind",
        "from",
        "to",
        "considered",
        "chosen",
        "applied",
        "superseded",
        "effect",
        "undone",
    ];
    head(html, "Faults", &columns);
    for fault in &run.faults {
        let [begin, end] = fault.window_us;
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&fault.id),
            escaped(&fault.target),
            fault.kind,
            duration(begin as f64),
            duration(end as f64),
            fault.considered,
            fault.chosen,
            fault.applied,
            fault.superseded,
            fault.effect.name(),
            if fault.undone { "yes" } else { "no" },
        );
    }
    html.push_str("</table>\n");
}

fn latencies(html: &mut String, report: &Report) {
    let run = &report.run;
    let columns = [
        "service", "side", "phase", "kind", "n", "p50", "p90", "p99", "p99.9", "max",
    ];
    head(html, "Latency", &columns);
    for row in &run.latency {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>",
            escaped(&row.service),
            escaped(&row.side),
            escaped(&row.phase),
            row.kind,
            row.n
        );
        for value in [row.p50, row.p90, row.p99, row.p999, row.max] {
            let _ = write!(html, "<td class=\"n\">{}</td>", duration(value as f64));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    for service in run.driven() {
        let phases: Vec<(&str, Histogram)> = run
            .phases
            .iter()
            .map(|phase| {
                (
                    phase.id.as_str(),
                    report.latency(service, "primary", Kind::Response, &[&phase.id]),
                )
            })
            .filter(|(_, histogram)| !histogram.is_empty())
            .collect();
        let _ = writeln!(
            html,
            "<h3>{}: response time by phase</h3>",
            escaped(service)
        );
        html.push_str(&chart(&phases));
    }
}

fn diffs(html: &mut String, run: &Run) {
    for line in losses(run) {
        let _ = writeln!(html, "<p>Copies of {}</p>", escaped(&line));
    }
    for (shadow, diffs) in &run.diffs {
        let _ = writeln!(
            html,
            "<h2>Shadow {}</h2>\n<p>{}.</p>",
            escaped(shadow),
            compared(diffs)
        );
        if diffs.fields.is_empty() {
            continue;
        }
        let columns = [
            "class",
            "endpoint",
            "path",
            "kind",
            "only candidate",
            "only control",
            "both",
            "of",
            "p (adjusted)",
        ];
        html.push_str("<table><tr>");
        for column in columns {
            let _ = write!(html, "<th>{column}</th>");
        }
        html.push_str("</tr>\n");
        for field in diffs.ranked() {
            let class = format!("{:?}", field.class).to_lowercase();
            let _ = writeln!(
                html,
                "<tr><td class=\"{}\">{class}</td><td>{}</td><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                if class == "material" { "fail" } else { "other" },
                escaped(&name(&field.endpoint)),
                escaped(&name(&field.path)),
                field.kind,
                field.b,
                field.c,
                field.both,
                field.total,
                p_value(field.p_adjusted),
            );
        }
        html.push_str("</table>\n");
        for one in diffs
            .distributions
            .iter()
            .filter(|one| one.class == crate::measure::Class::Material)
        {
            let _ = writeln!(
                html,
                "<p class=\"fail\">{}</p>",
                escaped(&distribution(one))
            );
        }
    }
}

fn head(html: &mut String, title: &str, columns: &[&str]) {
    let _ = write!(html, "<h2>{title}</h2>\n<table><tr>");
    for column in columns {
        let _ = write!(html, "<th>{column}</th>");
    }
    html.push_str("</tr>\n");
}

/// Colours that stay apart without red and green.
const COLOURS: [&str; 6] = [
    "#0b6fb8", "#d1495b", "#8a6d00", "#5c4d9b", "#1b8a6b", "#555",
];
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const BARS: usize = 120;

/// Histograms over one another: share of requests by time, on a logarithmic axis.
pub(in crate::report) fn chart(series: &[(&str, Histogram)]) -> String {
    let Some((low, high)) = range(series) else {
        return String::from("<p>no data</p>\n");
    };
    let step = (high / low).ln() / BARS as f64;
    let shares: Vec<Vec<f64>> = series
        .iter()
        .map(|(_, histogram)| binned(histogram, low, step))
        .collect();
    let top = shares
        .iter()
        .flatten()
        .copied()
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"histogram of times\">\n",
        HEIGHT + 50.0
    );
    for (index, values) in shares.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"#555");
        let mut points = String::new();
        for (bar, value) in values.iter().enumerate() {
            let (left, right) = (
                WIDTH * bar as f64 / BARS as f64,
                WIDTH * (bar + 1) as f64 / BARS as f64,
            );
            let y = HEIGHT - (HEIGHT - 10.0) * value / top;
            let _ = write!(points, "{left:.1},{y:.1} {right:.1},{y:.1} ");
        }
        let _ = writeln!(
            svg,
            "<polyline fill=\"{colour}\" fill-opacity=\".15\" stroke=\"{colour}\" points=\"0,{HEIGHT} {points}{WIDTH},{HEIGHT}\"/>"
        );
    }
    for (position, label) in ticks(low, high) {
        let x = WIDTH * position;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\" stroke=\"#8884\"/>\
             <text x=\"{x:.1}\" y=\"{}\" font-size=\"11\" text-anchor=\"middle\">{label}</text>",
            HEIGHT + 14.0
        );
    }
    for (index, (name, histogram)) in series.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"#555");
        let x = 4.0 + 170.0 * index as f64;
        let y = HEIGHT + 36.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{y}\" font-size=\"12\">{} ({})</text>",
            y - 10.0,
            x + 14.0,
            escaped(name),
            histogram.count()
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// From where to where all values lie, with a little room.
pub(in crate::report) fn range(series: &[(&str, Histogram)]) -> Option<(f64, f64)> {
    let low = series
        .iter()
        .filter_map(|(_, histogram)| histogram.min())
        .min()?;
    let high = series
        .iter()
        .filter_map(|(_, histogram)| histogram.max())
        .max()?;
    let low = (low.max(1) as f64) * 0.9;
    Some((low, (high as f64 * 1.1).max(low * 2.0)))
}

/// Share of the values in each of [`BARS`] bars of equal ratio.
fn binned(histogram: &Histogram, low: f64, step: f64) -> Vec<f64> {
    bars(histogram, low, step, BARS)
}

/// Share of the values in each bar; a bar is `e^step` times as far out as the one before.
pub(in crate::report) fn bars(
    histogram: &Histogram,
    low: f64,
    step: f64,
    count: usize,
) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    let total = histogram.count().max(1) as f64;
    for (bucket, n) in histogram.buckets() {
        let (lowest, highest) = bounds_of(bucket);
        let middle = (lowest + highest) as f64 / 2.0;
        let bar = ((middle.max(1.0) / low).ln() / step).max(0.0) as usize;
        if let Some(share) = shares.get_mut(bar.min(count - 1)) {
            *share += f64::from(n) / total;
        }
    }
    shares
}

/// Round times on a logarithmic axis, by their place on it from 0 to 1.
pub(in crate::report) fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let few = (high / low).log10() > 2.5;
    let mut ticks = Vec::new();
    let mut decade = 1.0;
    while decade <= high {
        for factor in [1.0, 2.0, 5.0] {
            let value = decade * factor;
            if value >= low && value <= high && (!few || factor < 1.5) {
                ticks.push(((value / low).ln() / (high / low).ln(), duration(value)));
            }
        }
        decade *= 10.0;
    }
    ticks
}
