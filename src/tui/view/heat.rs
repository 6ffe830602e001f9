//! Response time over time: a heat map, a column a span of time, a row a span of latency.

use ratatui::{Frame, layout::Rect, text::Line};

use super::{
    super::app::{BINS, Served},
    App, Theme, Tone, line, list, show,
};

/// Columns of the axis.
const AXIS: usize = 8;

/// What a heat map covers, and how large it is.
struct Grid {
    now: u64,
    span: usize,
    logarithmic: bool,
    rows: usize,
    columns: usize,
}

pub(super) fn draw(app: &App, shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let services = &shown.facts.services;
    // Live traffic is nobody's here: then it is the first service's.
    let driven = services.iter().find(|(_, _, driven)| *driven);
    let Some((_, id, _)) = driven.or(services.first()) else {
        list(frame, theme, area, "response time", Vec::new(), None);
        return;
    };
    let grid = Grid {
        now: shown.now_us / 1_000_000,
        span: app.view.zoom,
        logarithmic: app.view.logarithmic,
        rows: usize::from(area.height.saturating_sub(3)),
        columns: usize::from(area.width).saturating_sub(2 + AXIS),
    };
    let scale = if grid.logarithmic { "log" } else { "linear" };
    let title = format!("{id} response time, last {} s, {scale}", grid.span);
    let mut lines = shown
        .served
        .get(id)
        .map(|served| map(served, &grid, theme))
        .unwrap_or_default();
    if lines.is_empty() {
        lines.push(line(
            theme,
            vec![("no requests yet".to_owned(), Tone::Faint)],
        ));
    } else {
        let from = show::fitted(&format!("-{} s", grid.span), grid.columns.saturating_sub(3));
        let axis = format!("{}{from}now", " ".repeat(AXIS));
        lines.push(line(theme, vec![(axis, Tone::Faint)]));
    }
    list(frame, theme, area, &title, lines, None);
}

fn map(served: &Served, grid: &Grid, theme: &Theme) -> Vec<Line<'static>> {
    let first = grid.now.saturating_sub(grid.span as u64);
    let used: Vec<usize> = served
        .seconds
        .range(first..grid.now)
        .flat_map(|(_, second)| second.bins.iter().enumerate())
        .filter(|(_, count)| **count > 0)
        .map(|(index, _)| index)
        .collect();
    let (Some(low), Some(high)) = (used.iter().min().copied(), used.iter().max().copied()) else {
        return Vec::new();
    };
    if grid.rows == 0 || grid.columns == 0 {
        return Vec::new();
    }
    // Logarithmic: a row is one or more quarter decades. Linear: equal spans of time from 0 to the highest bin's end.
    let bins = high - low + 1;
    let rows = if grid.logarithmic {
        grid.rows.min(bins)
    } else {
        grid.rows
    };
    let row_of = |bin: usize| {
        let row = if grid.logarithmic {
            (bin - low) * rows / bins
        } else {
            let middle = f64::midpoint(edge(bin), edge(bin + 1));
            (middle / edge(high + 1) * rows as f64) as usize
        };
        row.min(rows - 1)
    };
    let mut cells = vec![vec![0_u64; grid.columns]; rows];
    let mut totals = vec![0_u64; grid.columns];
    for (second, values) in served.seconds.range(first..grid.now) {
        let offset = (*second + grid.span as u64 - grid.now) as usize;
        // A column may be a part of a second, or several.
        let from = offset * grid.columns / grid.span;
        let to = ((offset + 1) * grid.columns / grid.span).max(from + 1);
        for (bin, count) in values.bins.iter().enumerate().take(BINS) {
            let row = cells.get_mut(row_of(bin.clamp(low, high)));
            let row = row.into_iter().flatten().enumerate();
            for (column, cell) in row.skip(from).take(to - from) {
                *cell += u64::from(*count);
                if let Some(total) = totals.get_mut(column) {
                    *total += u64::from(*count);
                }
            }
        }
    }
    let label = |row: usize| {
        let us = if grid.logarithmic {
            edge(low + (row * bins).div_ceil(rows))
        } else {
            edge(high + 1) * row as f64 / rows as f64
        };
        show::right(&show::duration(us), AXIS - 1) + theme.pick("┤", "|")
    };
    cells
        .iter()
        .enumerate()
        .rev()
        .map(|(row, cells)| {
            let shades: String = cells
                .iter()
                .zip(&totals)
                .map(|(count, total)| {
                    theme.shade(if *total == 0 {
                        0.0
                    } else {
                        *count as f64 / *total as f64
                    })
                })
                .collect();
            line(
                theme,
                vec![(label(row), Tone::Faint), (shades, Tone::First)],
            )
        })
        .collect()
}

/// Lower edge of a quarter decade, in µs.
fn edge(bin: usize) -> f64 {
    if bin == 0 {
        0.0
    } else {
        10.0 * 10_f64.powf(bin as f64 / 4.0)
    }
}
