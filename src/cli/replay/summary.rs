//! What a replay came to, for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use meshbed_proxy::unit::show_duration;

use super::plan::{MAX_IN_FLIGHT, target};
use crate::{
    event::{Micros, Tick},
    measure::{Cell, Kind, Measured, Subject},
    replay::{Schedule, Totals},
    stats::quantile::Quantile,
};

/// What a replay came to.
pub(super) struct Summary<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) totals: Totals,
    pub(super) measured: &'a Measured,
    /// Requests without a whole answer, by reason.
    pub(super) failures: &'a BTreeMap<String, u64>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = self.measured.recorded();
        let cell = self.measured.over(&Subject::primary(&target()), &windows);
        self.head(f)?;
        times(&cell, f)?;
        self.answers(&cell, f)
    }
}

impl Summary<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.totals.stats;
        let planned = &self.schedule.planned;
        let connections: BTreeSet<u64> = planned.iter().map(|one| one.connection).collect();
        writeln!(
            f,
            "\n{} of {} requests sent, {} answered in full; {} connections; the last due at {}",
            stats.sent,
            planned.len(),
            stats.done,
            connections.len(),
            micros(self.schedule.span_us),
        )?;
        let traces = self.schedule.sources.iter();
        for trace in traces.filter_map(|lane| lane.trace.as_ref()) {
            for (reason, count) in &trace.skipped {
                writeln!(f, "left out of the schedule: {count} {reason}")?;
            }
        }
        writeln!(f)
    }

    fn answers(&self, cell: &Cell, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nstatus")?;
        for (status, count) in &cell.tally.status {
            match status {
                0 => write!(f, "  none: {count}")?,
                status => write!(f, "  {status}: {count}")?,
            }
        }
        writeln!(f)?;
        for (why, count) in self.failures {
            writeln!(f, "no response: {count} {why}")?;
        }
        if self.totals.stats.overflow > 0 {
            writeln!(
                f,
                "{} requests waited because {MAX_IN_FLIGHT} were under way: the server could not keep up",
                self.totals.stats.overflow
            )?;
        }
        Ok(())
    }
}

/// Response and service time side by side, and what lies between them.
fn times(cell: &Cell, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:<10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for (kind, means) in [
        (
            Kind::Response,
            "from when a request was due to its answer's end",
        ),
        (Kind::Service, "from when it was sent"),
        (Kind::Blocked, "waiting for its connection"),
        (Kind::Lateness, "the generator's own delay"),
    ] {
        write!(f, "{:<10}", kind.name())?;
        let times = cell.latency(kind);
        for value in [
            times.and_then(|times| times.quantile(Quantile::P50)),
            times.and_then(|times| times.quantile(Quantile::P90)),
            times.and_then(|times| times.quantile(Quantile::P99)),
            times.and_then(|times| times.quantile(Quantile::P999)),
            times.and_then(crate::stats::histogram::Histogram::max),
        ] {
            write!(f, "{:>10}", value.map_or_else(|| "-".to_owned(), micros))?;
        }
        writeln!(f, "  {means}")?;
    }
    Ok(())
}

/// A second of the generator.
pub(super) fn line(tick: &Tick) -> String {
    format!(
        "{:>4}s  due {}  sent {}  done {}  under way {}  late p99 {}",
        tick.sec + 1,
        tick.planned,
        tick.sent,
        tick.done,
        tick.in_flight,
        micros(tick.late_p99_us),
    )
}

/// Microseconds in a unit that needs three digits before the point at most.
fn micros(us: Micros) -> String {
    match us {
        // More decimals than three digits hold say nothing.
        10_000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.2}s", us as f64 / 1e6),
        _ => show_duration(Duration::from_micros(us)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_precisely_as_they_are_known() {
        for (us, shown) in [
            (0, "0s"),
            (999, "999us"),
            (1_234, "1.234ms"),
            (87_679, "87.7ms"),
            (1_050_000, "1.05s"),
        ] {
            assert_eq!(micros(us), shown);
        }
    }
}
