//! A comparison as one page that needs no network.

use std::fmt::Write as _;

use super::{
    Comparison,
    text::{change, headline, marked, over},
};
use crate::report::{
    Report,
    format::{
        html::{STYLE, chart},
        junit::escaped,
        text::quantity,
    },
};

/// Makes it.
pub fn write(comparison: &Comparison, a: &Report, b: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}: {} and {}</title><style>{STYLE}</style></head><body>\n\
         <h1>{}</h1>\n<p>A <code>{}</code> ({})<br>B <code>{}</code> ({})</p>\n\
         <p>One run a side: a change can be suspected, not proved.</p>\n",
        comparison.verdict.name(),
        escaped(&comparison.a.id),
        escaped(&comparison.b.id),
        escaped(&headline(comparison)),
        escaped(&comparison.a.dir),
        escaped(&comparison.a.started),
        escaped(&comparison.b.dir),
        escaped(&comparison.b.started),
    );
    for (what, reasons) in [
        ("Not alike", &comparison.unlike),
        ("Invalid", &comparison.invalid),
        ("Also differs", &comparison.differences),
    ] {
        for reason in reasons {
            let _ = writeln!(html, "<p>{what}: {}</p>", escaped(reason));
        }
    }
    html.push_str(
        "<table><tr><th>service</th><th>phase</th><th>metric</th><th>A</th><th>B</th><th>change [95 %]</th><th>verdict</th></tr>\n",
    );
    for row in &comparison.rows {
        let value = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| quantity(value, row.unit))
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escaped(&row.service),
            escaped(over(row)),
            row.metric,
            value(row.a),
            value(row.b),
            change(row),
            marked(row.verdict),
        );
    }
    html.push_str("</table>\n");
    for service in a.run.driven() {
        let _ = writeln!(
            html,
            "<h2>{}: response time, all recorded phases</h2>",
            escaped(service)
        );
        html.push_str(&chart(&[
            ("A", a.responses(service)),
            ("B", b.responses(service)),
        ]));
    }
    html.push_str("</body></html>\n");
    html
}
