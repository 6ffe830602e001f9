//! Golden signals a service, as a tree of who calls whom, over the trailing ten seconds.

use ratatui::{Frame, layout::Rect, text::Line};

use super::{
    super::app::{Second, TRAIL},
    App, Theme, Tone, line, list, show,
};
use crate::event::{Id, MirrorOutcome};

/// Columns before the sparkline.
const FIXED: usize = 50;

pub(super) fn draw(shown: &App, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2 + FIXED + 1);
    let last = if room >= 14 { "p50 by second" } else { "" };
    let head = format!(
        "{}{}{}{}{} {}",
        show::fitted("", 17),
        show::right("req/s", 7),
        show::right("err", 8),
        show::right("p50", 9),
        show::right("p99", 9),
        show::fitted(last, room),
    );
    let mut lines = vec![line(theme, vec![(head, Tone::Faint)])];
    lines.extend(
        shown
            .facts
            .services
            .iter()
            .map(|(depth, id, driven)| service(shown, theme, *depth, id, *driven, room)),
    );
    for (id, of, role) in &shown.facts.shadows {
        let shadowed = shown.shadowed.get(id);
        let count = |outcome| {
            shadowed
                .and_then(|shadowed| shadowed.outcomes.get(&outcome))
                .copied()
                .unwrap_or(0)
        };
        let text = format!(
            "{role} of {of}: {} compared, {} shed, {} failed",
            count(MirrorOutcome::Compared),
            count(MirrorOutcome::Shed),
            count(MirrorOutcome::Failed)
        );
        let name = show::fitted(&format!("{} {id}", theme.pick("◌", "o")), 16);
        let text = show::cut(&text, usize::from(area.width).saturating_sub(19));
        lines.push(line(theme, vec![(format!("{name} {text}"), Tone::Plain)]));
    }
    let title = format!(
        "services, last {TRAIL} s   {} fault on it   {} worse than steady",
        theme.pick("⚡", "!"),
        theme.pick("▲", "^")
    );
    list(frame, theme, area, &title, lines, None);
}

fn service(
    shown: &App,
    theme: &Theme,
    depth: usize,
    id: &Id,
    driven: bool,
    room: usize,
) -> Line<'static> {
    let hit = shown
        .facts
        .faults
        .iter()
        .any(|fault| fault.target == *id && shown.is_on(&fault.id));
    let branch = match depth {
        0 if driven => theme.pick("● ", "* ").to_owned(),
        0 => theme.pick("○ ", "- ").to_owned(),
        depth => format!("{}{}", "  ".repeat(depth - 1), theme.pick("└▶", "+>")),
    };
    let mark = if hit { theme.pick("⚡", "!") } else { "" };
    let tone = if hit { Tone::Fault } else { Tone::Plain };
    let name = (show::fitted(&format!("{branch}{id}{mark}"), 17), tone);
    let served = shown.served.get(id);
    let Some((served, trailing)) =
        served.and_then(|served| Some((served, served.trailing(shown.now_us)?)))
    else {
        let none = format!("{}  no requests", show::right("0", 7));
        return line(theme, vec![name, (none, Tone::Faint)]);
    };
    let steady = steady(shown, id);
    let worse = |now: Option<f64>, q: f64, floor: f64| {
        steady.and_then(|(steady, _)| {
            let before = steady.value_at_quantile(q) as f64;
            Some(now? > before * 1.2 && now? - before > floor)
        }) == Some(true)
    };
    let cell = |text: Option<String>, worse: bool, width: usize| {
        let text = text.unwrap_or_else(|| "–".to_owned());
        let (text, tone) = if worse {
            (format!("{}{text}", theme.pick("▲", "^")), Tone::Doubtful)
        } else {
            (text, Tone::Plain)
        };
        (show::right(&text, width), tone)
    };
    let now = shown.now_us / 1_000_000;
    let first = now.saturating_sub(room as u64);
    let values: Vec<Option<f64>> = (first..now)
        .map(|second| served.seconds.get(&second).and_then(median_of_bins))
        .collect();
    // From just below the lowest: a step of a quarter decade must be seen, an even row must not look alarming.
    let (low, high) = values
        .iter()
        .flatten()
        .fold((f64::MAX, 0.0_f64), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    let values: Vec<Option<f64>> = values
        .iter()
        .map(|value| value.map(|value| value - low + 1.0))
        .collect();
    let most = (high - low + 1.0).max(4.0);
    let p99 = |us| {
        // Fewer than 1,000 samples: an estimate, and marked as one.
        let about = if trailing.count < 1_000 { "~" } else { "" };
        format!("{about}{}", show::duration(us))
    };
    let worse_errors = steady.is_some_and(|(steady, errors)| {
        trailing.errors > errors as f64 / steady.len().max(1) as f64
    });
    let worse_p50 = worse(trailing.p50_us, 0.5, 500.0);
    let worse_p99 = worse(trailing.p99_us, 0.99, 1_000.0);
    line(
        theme,
        vec![
            name,
            (
                show::right(&format!("{:.0}", trailing.rate), 7),
                Tone::Plain,
            ),
            cell(Some(show::share(trailing.errors)), worse_errors, 8),
            cell(trailing.p50_us.map(show::duration), worse_p50, 9),
            cell(trailing.p99_us.map(p99), worse_p99, 9),
            (format!(" {}", theme.sparkline(&values, most)), Tone::Plain),
        ],
    )
}

/// What to hold now against: latencies and errors of the phase called `steady`, else of the first recorded one, once it
/// is over.
fn steady<'a>(shown: &'a App, id: &str) -> Option<(&'a hdrhistogram::Histogram<u64>, u64)> {
    let phases = &shown.facts.phases;
    let phase = phases
        .iter()
        .find(|phase| &*phase.0 == "steady")
        .or_else(|| phases.iter().find(|phase| phase.3))?;
    if shown.now_us < phase.2 {
        return None;
    }
    let served = shown.served.get(id)?;
    let errors = served.errors.get(&phase.0).copied().unwrap_or(0);
    Some((served.phases.get(&phase.0)?, errors))
}

/// The median by quarter decades: the sparkline is logarithmic for that.
fn median_of_bins(second: &Second) -> Option<f64> {
    let total: u32 = second.bins.iter().sum();
    let mut seen = 0;
    for (index, count) in second.bins.iter().enumerate() {
        seen += count;
        if total > 0 && seen * 2 >= total {
            return Some(index as f64 + 1.0);
        }
    }
    None
}
