//! Whether a guard's condition has held for long enough. Pure.

use super::judge;
use crate::{
    event::Micros,
    measure::{Measured, Window},
    scenario::Scenario,
};

/// How often guards are looked at: faults are off within 250 ms of the moment that a condition has held long enough.
pub const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// A guard that has tripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    /// Its condition.
    pub when: String,
    /// What it saw.
    pub value: String,
}

/// The first guard whose condition holds over the time that it asks for, up to now. Too little data trips nothing, and nor
/// does a run that is younger than that time.
pub fn tripped(scenario: &Scenario, measured: &Measured, now_us: Micros) -> Option<Tripped> {
    scenario.guards.iter().find_map(|guard| {
        let hold = guard.hold.as_micros() as Micros;
        let window = Window {
            begin_us: now_us.checked_sub(hold)?,
            end_us: now_us,
        };
        let (holds, value) = judge::holds(scenario, measured, &guard.when, &[window], now_us);
        (holds == Some(true)).then(|| Tripped {
            when: guard.text.clone(),
            value,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        event::{Flags, Request, RunEvent},
        expr::{Comparison, Expr, Unit, metric::Metric},
        measure::Filter,
        run::fixture,
        scenario::Guard,
    };

    fn request(ordinal: u64, intended_us: Micros, status: u16) -> RunEvent {
        RunEvent::Request(Arc::new(Request {
            ordinal,
            source: "main".into(),
            service: "shop".into(),
            connection: 0,
            intended_us,
            released_us: intended_us,
            sent_us: Some(intended_us),
            done_us: intended_us + 1_000,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            status: Some(status),
            complete: true,
            grpc_status: None,
            why: None,
            bytes_out: 0,
            bytes_in: 0,
            flags: Flags::default(),
        }))
    }

    #[test]
    fn a_guard_looks_at_its_own_trailing_time_only() {
        let mut scenario = fixture::scenario();
        let share = Metric {
            name: "error_share".to_owned(),
            of: Some("shop".into()),
            filter: Filter::default(),
            phase: None,
        };
        scenario.guards.push(Guard {
            when: Expr::Compare(
                Comparison::More,
                Box::new(Expr::Metric(share)),
                Box::new(Expr::Literal(0.3, Unit::Share)),
            ),
            text: "error_share[shop] > 30%".to_owned(),
            hold: Duration::from_secs(1),
        });
        let mut measured = Measured::new(scenario.measuring());
        // 20 requests a second: fine, then a second of errors, then fine.
        for ordinal in 0..80 {
            let bad = (20..40).contains(&ordinal);
            measured.add(&request(
                ordinal,
                ordinal * 50_000,
                if bad { 503 } else { 200 },
            ));
        }
        let at = |now_us| tripped(&scenario, &measured, now_us).map(|tripped| tripped.when);
        assert_eq!(at(500_000), None, "younger than its time");
        assert_eq!(at(1_200_000), None, "20 % of the last second");
        assert_eq!(at(1_500_000).as_deref(), Some("error_share[shop] > 30%"));
        assert_eq!(at(3_500_000), None, "long over");
    }
}
