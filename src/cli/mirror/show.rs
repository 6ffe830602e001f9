//! What a person sees of a mirror: the screens on a terminal, else one status line a second on stderr.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    cli::{Global, browse::Desk, screens::Screens},
    event::{Id, Mirror, MirrorOutcome, RunEvent, RunState, Tick},
    measure::{Class, Kind, Mirrored as Copies, Subject, Window},
    mirror::{LIVE, Mirrored, Order, ends::Ends},
    report::format::name,
    run::Command,
    scenario::Scenario,
    stats::quantile::Quantile,
    tui::show::duration,
};

/// Fields that a summary lists for each shadow.
const LISTED: usize = 20;

/// Where a mirror is shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// On the screens.
    Screens {
        screens: Screens,
        order: UnboundedSender<Order>,
    },
    /// In lines.
    Lines(Lines),
    /// Nowhere.
    Quiet,
}

impl Shown {
    /// Begins to show it.
    pub(super) fn start(
        scenario: &Arc<Scenario>,
        ends: &Ends,
        headless: bool,
        global: &Global,
        order: UnboundedSender<Order>,
    ) -> Self {
        if !Screens::fit(headless) {
            return if global.quiet {
                Self::Quiet
            } else {
                Self::Lines(Lines::new(scenario))
            };
        }
        let told = order.clone();
        let screens = Screens::start(
            scenario,
            global,
            |inputs| Desk::of_mirror(scenario, ends, inputs),
            move |command| {
                // There is no fault to switch.
                if let Command::Stop = command {
                    let _ = told.send(Order::Stop);
                }
            },
        );
        match screens {
            Ok(screens) => Self::Screens { screens, order },
            Err(_) => Self::Lines(Lines::new(scenario)),
        }
    }

    /// Says where the traffic comes from.
    pub(super) fn begins(&self, from: &str) {
        if let Self::Lines(_) = self {
            eprintln!("{from}");
        }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: &RunEvent) {
        match self {
            Self::Screens { screens, order } => {
                if !screens.event(event.clone()) {
                    let _ = order.send(Order::Stop);
                }
            }
            Self::Lines(lines) => lines.event(event),
            Self::Quiet => {}
        }
    }

    /// Gives the terminal back.
    pub(super) fn close(self) {
        if let Self::Screens { screens, .. } = self {
            screens.close();
        }
    }
}

/// The status as lines.
#[derive(Debug)]
pub(super) struct Lines {
    shadows: Vec<(Id, Counts)>,
    before: u64,
}

/// A shadow's copies so far.
#[derive(Debug, Default)]
struct Counts {
    compared: u64,
    different: u64,
    lost: BTreeMap<String, u64>,
}

impl Lines {
    fn new(scenario: &Scenario) -> Self {
        let shadows = scenario.shadows.iter();
        Self {
            shadows: shadows
                .map(|shadow| (shadow.id.clone(), Counts::default()))
                .collect(),
            before: 0,
        }
    }

    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Mirror(mirror) => self.count(mirror),
            RunEvent::Tick(tick) => {
                eprintln!("{}", self.line(tick));
                self.before = tick.done;
            }
            RunEvent::Note { text, .. } => eprintln!("note: {text}"),
            RunEvent::Run {
                state: RunState::Draining,
                ..
            } => eprintln!("waiting for what is under way"),
            _ => {}
        }
    }

    fn count(&mut self, mirror: &Mirror) {
        let found = self.shadows.iter_mut().find(|(id, _)| *id == mirror.shadow);
        let Some((_, counts)) = found else {
            return;
        };
        if mirror.outcome == MirrorOutcome::Compared {
            counts.compared += 1;
            let counted = |difference: &crate::event::Difference| difference.rule.is_none();
            counts.different += u64::from(mirror.differences.iter().any(counted));
        } else {
            let why = mirror.why.clone().unwrap_or_default();
            *counts.lost.entry(why).or_default() += 1;
        }
    }

    fn line(&self, tick: &Tick) -> String {
        let mut line = format!(
            "{:>4}s {} requests, {}/s",
            tick.sec + 1,
            tick.planned,
            tick.done.saturating_sub(self.before)
        );
        for (id, counts) in &self.shadows {
            let _ = write!(
                line,
                "; {id}: {} compared, {} differ",
                counts.compared, counts.different
            );
            if !counts.lost.is_empty() {
                let _ = write!(line, ", not compared: {}", reasons(&counts.lost));
            }
        }
        line
    }
}

fn reasons(lost: &BTreeMap<String, u64>) -> String {
    let reasons: Vec<String> = lost
        .iter()
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    reasons.join(", ")
}

/// What a mirror came to, for people.
pub(super) fn summary(mirrored: &Mirrored) -> String {
    let measured = &mirrored.measured;
    let whole = [Window {
        begin_us: 0,
        end_us: u64::MAX,
    }];
    let mut text = format!(
        "\n{} requests in {}, {} answered in full\n",
        mirrored.tally.requests,
        duration(mirrored.length_us as f64),
        mirrored.tally.answered
    );
    let cell = measured.over(&Subject::primary(&LIVE.into()), &whole);
    let at = |quantile| {
        cell.latency(Kind::Service)
            .and_then(|latency| latency.quantile(quantile))
    };
    if let (Some(p50), Some(p90), Some(p99)) =
        (at(Quantile::P50), at(Quantile::P90), at(Quantile::P99))
    {
        let _ = writeln!(
            text,
            "primary: p50 {}, p90 {}, p99 {}",
            duration(p50 as f64),
            duration(p90 as f64),
            duration(p99 as f64)
        );
    }
    for shadow in &mirrored.scenario.shadows {
        let copies = measured.shadows().over(&shadow.id, &whole);
        let _ = writeln!(
            text,
            "{} ({}): {}",
            shadow.id,
            shadow.role.name(),
            became(&copies)
        );
        if mirrored.scenario.diff.control.as_ref() == Some(&shadow.id) {
            continue;
        }
        let fields = measured.differences(&copies);
        let counting: Vec<_> = fields
            .iter()
            .filter(|field| field.verdict.class != Class::Ignored)
            .collect();
        for field in counting.iter().take(LISTED) {
            let _ = writeln!(
                text,
                "  {} {:<7} {} {}: {} of {} ({} in the control)",
                match field.verdict.class {
                    Class::Material => "differs",
                    _ => "noise  ",
                },
                field.place.kind,
                name(&field.place.endpoint),
                name(&field.place.path),
                field.counts.b + field.counts.both,
                field.total,
                field.counts.c + field.counts.both,
            );
        }
        if counting.len() > LISTED {
            let _ = writeln!(text, "  … and {} more", counting.len() - LISTED);
        }
    }
    text
}

/// What became of a shadow's copies.
fn became(copies: &Copies) -> String {
    let mut text = format!(
        "{} chosen, {} sent, {} compared, {} differ",
        copies.chosen,
        copies.sent(),
        copies.compared,
        copies.different
    );
    for (what, counts) in [
        ("shed", &copies.shed),
        ("failed", &copies.failed),
        ("skipped", &copies.skipped),
    ] {
        if !counts.is_empty() {
            let _ = write!(text, "; {what}: {}", reasons(counts));
        }
    }
    if let (Some(p50), Some(p99)) = (
        copies.delta.quantile(Quantile::P50),
        copies.delta.quantile(Quantile::P99),
    ) {
        let signed = |us: i64| {
            let sign = if us < 0 { '−' } else { '+' };
            format!("{sign}{}", duration(us.unsigned_abs() as f64))
        };
        let _ = write!(
            text,
            "; time against the primary's, request by request: p50 {}, p99 {}",
            signed(p50),
            signed(p99)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_says_what_differs_and_what_was_lost() {
        let mut lines = Lines {
            shadows: vec![(
                "candidate".into(),
                Counts {
                    compared: 40,
                    different: 3,
                    lost: [("timeout".to_owned(), 2)].into(),
                },
            )],
            before: 380,
        };
        let tick = Tick {
            t_us: 12_000_000,
            sec: 11,
            planned: 480,
            sent: 480,
            done: 480,
            late_p99_us: 0,
            in_flight: 0,
        };
        assert_eq!(
            lines.line(&tick),
            "  12s 480 requests, 100/s; candidate: 40 compared, 3 differ, not compared: 2 timeout"
        );
        lines.event(&RunEvent::Tick(tick));
        assert_eq!(lines.before, 480);
    }
}
