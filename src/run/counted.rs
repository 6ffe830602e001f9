//! The requests that `first` and `every` choose among the generator's: counted by ordinal, so known before the run. Pure.

use meshbed_proxy::policy::matcher::{Compiled, RequestView};

use super::mesh::CLIENT;
use crate::{
    replay::{Planned, Schedule},
    scenario::{Fault, Select},
};

/// Ordinals of the requests that a counting fault chooses, ascending; `None`: it does not count, or not the generator's.
pub fn ordinals(fault: &Fault, schedule: &Schedule) -> Option<Vec<u64>> {
    let keep: fn(usize, u64) -> bool = match fault.select {
        Select::First(_) => |index, count| (index as u64) < count,
        Select::Every(_) => |index, count| (index as u64 + 1).is_multiple_of(count.max(1)),
        Select::Share(_) | Select::Ramp(..) => return None,
    };
    let (Select::First(count) | Select::Every(count)) = fault.select else {
        return None;
    };
    if fault.from.as_deref().is_some_and(|from| from != CLIENT) {
        return None;
    }
    let matcher = Compiled::new(&fault.matcher).ok()?;
    let driven = schedule
        .sources
        .iter()
        .any(|lane| lane.service == fault.target);
    driven.then(|| {
        schedule
            .planned
            .iter()
            .filter(|planned| concerns(fault, &matcher, planned, schedule))
            .enumerate()
            .filter(|(index, _)| keep(*index, count))
            .map(|(_, planned)| planned.ordinal)
            .collect()
    })
}

fn concerns(fault: &Fault, matcher: &Compiled, planned: &Planned, schedule: &Schedule) -> bool {
    let due_ms = planned.due_us / 1000;
    let lane = schedule.sources.get(planned.source);
    let in_window = fault
        .windows
        .iter()
        .any(|(begin, end)| (u64::from(*begin)..u64::from(*end)).contains(&due_ms));
    in_window
        && lane.is_some_and(|lane| lane.service == fault.target)
        && matcher.matches(&RequestView {
            method: planned.request.method.as_str(),
            authority: planned.request.authority(),
            path: planned.request.uri.path(),
            query: planned.request.uri.query(),
            headers: &planned.request.headers,
        })
}
