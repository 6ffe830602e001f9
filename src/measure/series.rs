//! What was measured, by the slice of time in which it was due.

use std::collections::BTreeMap;

use crate::{
    event::Micros,
    measure::{Kind, Tally, Window},
    stats::histogram::Histogram,
};

/// What was measured of one subject in one slice, or in several together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// Counts.
    pub tally: Tally,
    /// Only the kinds that occurred.
    latencies: BTreeMap<Kind, Histogram>,
}

impl Cell {
    /// Counts a latency.
    pub fn record(&mut self, kind: Kind, us: Micros) {
        self.latency_mut(kind).record(us);
    }

    /// Counts latencies.
    pub(super) fn merge_latency(&mut self, kind: Kind, latencies: &Histogram) {
        self.latency_mut(kind).merge(latencies);
    }

    /// The latencies of a kind; `None`: there are none.
    pub fn latency(&self, kind: Kind) -> Option<&Histogram> {
        self.latencies.get(&kind)
    }

    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        for (kind, histogram) in &other.latencies {
            self.latency_mut(*kind).merge(histogram);
        }
    }

    fn latency_mut(&mut self, kind: Kind) -> &mut Histogram {
        self.latencies.entry(kind).or_default()
    }
}

/// Cells by where their slice begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Series {
    cells: BTreeMap<Micros, Cell>,
}

impl Series {
    /// The cell of the slice that begins there.
    pub(super) fn cell(&mut self, begin_us: Micros) -> &mut Cell {
        self.cells.entry(begin_us).or_default()
    }

    /// The same in other slices: each cell goes where the beginning of its slice goes.
    pub(super) fn cut(self, slice_of: &dyn Fn(Micros) -> Micros) -> Self {
        let mut cut = Self::default();
        for (begin, cell) in self.cells {
            cut.cell(slice_of(begin)).merge(&cell);
        }
        cut
    }

    /// Cells with where their slice begins, in order of time.
    pub fn cells(&self) -> impl Iterator<Item = (Micros, &Cell)> {
        self.cells.iter().map(|(begin, cell)| (*begin, cell))
    }

    /// All slices that begin in these windows, as one.
    pub fn over(&self, windows: &[Window]) -> Cell {
        let mut all = Cell::default();
        for window in windows {
            for (_, cell) in self
                .cells
                .range(window.begin_us..window.end_us.max(window.begin_us))
            {
                all.merge(cell);
            }
        }
        all
    }
}
