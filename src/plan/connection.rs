//! Faults that choose connections: their rules, and which of the generator's connections they will choose.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meshbed_proxy::{
    draw::Seed,
    policy::fault::tcp::{Fault as Kind, Number, Rule, Rules, Select as ProxySelect},
};

use super::{Choice, Error, driven, rule_name};
use crate::{
    measure::CLIENT,
    replay::{AHEAD, Schedule},
    scenario::{Connections, Fault, FaultKind, Select},
};

/// A connection that the generator will open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    number: u64,
    /// From its opening to its last request.
    ms: (u32, u32),
}

/// The generator's connections to a service, by number.
fn connections(schedule: &Schedule, service: &str) -> Vec<Planned> {
    let mut spans: BTreeMap<u64, (usize, u32, u32)> = BTreeMap::new();
    for (due_ms, planned) in driven(schedule, service) {
        let ahead = due_ms.saturating_sub(AHEAD.as_millis() as u32);
        let span = spans
            .entry(planned.connection)
            .or_insert((planned.source, ahead, due_ms));
        span.2 = span.2.max(due_ms);
    }
    let mut connections = Vec::new();
    for (number, (source, begin, end)) in spans {
        let lane = schedule.sources.get(source);
        let many = match lane.map(|lane| lane.connections) {
            Some(Connections::Pool(many)) => u64::from(many.max(1)),
            _ => 1,
        };
        connections.extend((number..number + many).map(|number| Planned {
            number,
            ms: (begin, end),
        }));
    }
    connections
}

/// The generator's connections that will be there in a fault's windows; for a fault of beginnings: that will be opened in
/// them.
fn meeting(fault: &Fault, schedule: &Schedule) -> Vec<u64> {
    let of_begin = matches!(
        fault.kind,
        FaultKind::Connection(Kind::Refuse | Kind::SlowAccept(_), _) | FaultKind::Handshake(_)
    );
    let meets = |it: &Planned| {
        let last = if of_begin { it.ms.0 } else { it.ms.1 };
        let mut windows = fault.windows.iter();
        windows.any(|(begin, end)| it.ms.0 < *end && *begin <= last)
    };
    let connections = connections(schedule, &fault.target).into_iter();
    connections.filter(meets).map(|it| it.number).collect()
}

/// Numbers of the generator's connections that `first` and `every` choose, where they are known beforehand.
pub fn numbers_for(fault: &Fault, schedule: &Schedule) -> Option<Vec<u64>> {
    let by_client = fault.from.as_deref().is_none_or(|from| from == CLIENT);
    if !fault.kind.is_of_connections() || !by_client {
        return None;
    }
    let meeting = meeting(fault, schedule).into_iter();
    match fault.select {
        Select::First(count) => Some(meeting.take(count as usize).collect()),
        Select::Every(count) => {
            let nth = (count as usize).max(1);
            Some(meeting.skip(nth - 1).step_by(nth).collect())
        }
        Select::Share(_) | Select::Ramp(..) => None,
    }
}

/// What names a fault's draws at one caller's sidecar, and which connections it chooses there. `numbers`: see [`numbers_for`].
pub fn connection_choice(
    fault: &Fault,
    caller: &str,
    numbers: Option<Arc<[u64]>>,
) -> (String, ProxySelect) {
    (rule_name(fault, caller), select(fault.select, numbers))
}

fn select(select: Select, numbers: Option<Arc<[u64]>>) -> ProxySelect {
    match (select, numbers) {
        (_, Some(numbers)) => ProxySelect::Numbers(numbers),
        (Select::Share(share) | Select::Ramp(_, _, share), None) => ProxySelect::Share(share),
        (Select::First(count), None) => ProxySelect::First(count),
        (Select::Every(count), None) => ProxySelect::Every(count),
    }
}

/// Asks the proxy's own rules about each connection that the generator will open, at its first opening.
pub(super) fn choice(seed: Seed, fault: &Fault, schedule: &Schedule) -> Result<Choice, Error> {
    let numbers = numbers_for(fault, schedule).map(Arc::from);
    let (name, select) = connection_choice(fault, CLIENT, numbers);
    let rule = Rule {
        id: Arc::clone(&fault.id),
        name,
        select,
        direction: meshbed_proxy::policy::fault::tcp::Direction::Both,
        // Which connections are chosen does not depend on what is done to them.
        kind: Kind::Refuse,
    };
    let rules = Rules::compile(&[rule], seed).map_err(Error::Rule)?;
    let meeting = meeting(fault, schedule);
    let chosen = |connection: &u64| {
        let number = Number {
            connection: *connection,
            reopenings: 0,
        };
        !rules.decide(number, Duration::ZERO).is_empty()
    };
    Ok(Choice {
        considered: meeting.len() as u64,
        chosen: meeting.into_iter().filter(chosen).collect(),
    })
}
