//! Screen 3: a service's latencies by phase, one above the other on one axis, with the quantiles beside.

use hdrhistogram::Histogram;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
};

use super::{App, Theme, Tone, line, list, show};
use crate::event::Id;

/// Columns of the axis.
const AXIS: usize = 10;

/// The services that have latencies, in order.
pub(super) fn services(shown: &App) -> Vec<Id> {
    shown
        .facts
        .services
        .iter()
        .map(|(_, id, _)| id.clone())
        .filter(|id| shown.served.contains_key(id))
        .collect()
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let services = services(shown);
    let Some(id) = services.get(app.view.focus.min(services.len().saturating_sub(1))) else {
        let none = line(theme, vec![("no requests yet".to_owned(), Tone::Faint)]);
        list(frame, theme, area, "histograms", vec![none], None);
        return;
    };
    let Some(served) = shown.served.get(id) else {
        return;
    };
    let phases: Vec<(&Id, &Histogram<u64>)> = shown
        .facts
        .phases
        .iter()
        .filter_map(|phase| Some((&phase.0, served.phases.get(&phase.0)?)))
        .collect();
    let rows = phases.len() as u16 + 3;
    let [table, charts] =
        Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(area);
    let title = format!(
        "{id}, {} of {}   tab: next service",
        app.view.focus.min(services.len() - 1) + 1,
        services.len()
    );
    list(
        frame,
        theme,
        table,
        &title,
        quantiles(shown, id, &phases, theme),
        None,
    );
    let columns = Layout::horizontal(phases.iter().map(|_| Constraint::Fill(1))).split(charts);
    let low = phases
        .iter()
        .map(|(_, histogram)| histogram.min())
        .min()
        .unwrap_or(1)
        .max(1);
    let high = phases
        .iter()
        .map(|(_, histogram)| histogram.max())
        .max()
        .unwrap_or(1)
        .max(low + 1);
    for ((phase, histogram), area) in phases.iter().zip(columns.iter()) {
        let rows = usize::from(area.height.saturating_sub(2));
        let bars = bars(
            histogram,
            low,
            high,
            rows,
            usize::from(area.width),
            app.view.logarithmic,
            theme,
        );
        let scale = if app.view.logarithmic {
            "log"
        } else {
            "linear"
        };
        list(
            frame,
            theme,
            *area,
            &format!("{phase}, {scale}"),
            bars,
            None,
        );
    }
}

fn quantiles(
    shown: &App,
    id: &Id,
    phases: &[(&Id, &Histogram<u64>)],
    theme: &Theme,
) -> Vec<Line<'static>> {
    let mut head = show::fitted("phase", 14);
    for name in ["n", "errors", "p50", "p90", "p99", "max"] {
        head += &show::right(name, 10);
    }
    let mut lines = vec![line(theme, vec![(head, Tone::Faint)])];
    for (phase, histogram) in phases {
        let n = histogram.len();
        let errors = shown
            .served
            .get(id)
            .and_then(|served| served.errors.get(*phase))
            .copied();
        // A quantile with too few samples beyond it is not called known.
        let quantile = |q: f64, need: u64| {
            if n >= need {
                show::duration(histogram.value_at_quantile(q) as f64)
            } else {
                "–".to_owned()
            }
        };
        let mut text = show::fitted(phase, 14);
        for cell in [
            n.to_string(),
            errors.unwrap_or(0).to_string(),
            quantile(0.5, 20),
            quantile(0.9, 100),
            quantile(0.99, 1_000),
            show::duration(histogram.max() as f64),
        ] {
            text += &show::right(&cell, 10);
        }
        lines.push(line(theme, vec![(text, Tone::Plain)]));
    }
    lines
}

/// A horizontal bar a row of latency, the slowest at the top; lengths are shares of the phase's own requests.
fn bars(
    histogram: &Histogram<u64>,
    low: u64,
    high: u64,
    rows: usize,
    width: usize,
    logarithmic: bool,
    theme: &Theme,
) -> Vec<Line<'static>> {
    if rows == 0 || histogram.is_empty() {
        return Vec::new();
    }
    let edge = |row: usize| {
        let part = row as f64 / rows as f64;
        if logarithmic {
            low as f64 * (high as f64 / low as f64).powf(part)
        } else {
            low as f64 + (high - low) as f64 * part
        }
    };
    let mut counts = vec![0_u64; rows];
    for value in histogram.iter_recorded() {
        let at = value.value_iterated_to() as f64;
        let part = if logarithmic {
            (at / low as f64).ln() / (high as f64 / low as f64).ln()
        } else {
            (at - low as f64) / (high - low) as f64
        };
        let row = ((part * rows as f64) as usize).min(rows - 1);
        if let Some(count) = counts.get_mut(row) {
            *count += value.count_since_last_iteration();
        }
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let room = width.saturating_sub(2 + AXIS + PERCENT);
    counts
        .iter()
        .enumerate()
        .rev()
        .map(|(row, count)| {
            let share = *count as f64 / histogram.len() as f64;
            let length = (*count as f64 / most as f64 * room as f64).ceil() as usize;
            let text = if *count > 0 {
                percent(share)
            } else {
                String::new()
            };
            line(
                theme,
                vec![
                    (
                        show::right(&show::duration(edge(row)), AXIS - 1) + theme.pick("┤", "|"),
                        Tone::Faint,
                    ),
                    (theme.pick("█", "#").repeat(length), Tone::First),
                    (text, Tone::Faint),
                ],
            )
        })
        .collect()
}

/// Columns of a share beside a bar.
const PERCENT: usize = 5;

/// A share in at most [`PERCENT`] columns: ` 100%`, ` 7.4%`, ` <.1%`.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 0.1 => " <.1%".to_owned(),
        percent if percent < 9.95 => format!(" {percent:.1}%"),
        percent => format!(" {percent:.0}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fit_beside_their_bars() {
        for (share, text) in [
            (0.00089, " <.1%"),
            (0.001, " 0.1%"),
            (0.0704, " 7.0%"),
            (0.0996, " 10%"),
            (0.457, " 46%"),
            (1.0, " 100%"),
        ] {
            assert_eq!(percent(share), text);
            assert!(text.len() <= PERCENT);
        }
    }
}
