//! How good the experiment itself was: whether its numbers mean what they say, whatever they are.

use serde::{Deserialize, Serialize};

/// What a run says about itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Requests of the schedule.
    pub planned: u64,
    /// Requests sent.
    pub sent: u64,
    /// 99th percentile of the generator's lateness; `None`: nothing was sent.
    pub lateness_p99_us: Option<u64>,
    /// Median of what a user waits, in the recorded phases.
    pub response_p50_us: Option<u64>,
    /// Share of the processors that the generator's process used; `None`: not known.
    pub cpu: Option<f64>,
    /// Requests of the recorded phases, for the least of the driven services.
    pub samples: u64,
    /// Share of requests whose ordinal is the schedule's.
    pub identified: f64,
    /// Places where the control's answers differ from the primary's in status, type, or a missing field; `None`: none was
    /// held against it.
    pub control_structural: Option<u64>,
    /// Faults that were applied, and how many of them are undone; (0, 0): there were none.
    pub faults: (u64, u64),
}

/// A condition on the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name.
    pub id: String,
    /// What was seen.
    pub value: Option<f64>,
    /// What it was held against.
    pub bound: f64,
    /// Whether it holds.
    pub ok: bool,
    /// Without it the run is invalid as an experiment.
    pub must: bool,
}

/// How good the experiment was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// In one letter.
    pub grade: Grade,
    /// Why.
    pub gates: Vec<Gate>,
}

/// How good the experiment was, in one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grade {
    /// All gates hold.
    A,
    /// One does not.
    B,
    /// Several do not.
    C,
    /// One without which nothing can be concluded does not.
    F,
}

impl Grade {
    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'A',
            Self::B => 'B',
            Self::C => 'C',
            Self::F => 'F',
        }
    }
}

/// A generator later than this cannot tell milliseconds apart.
const LATENESS_US: f64 = 1000.0;
/// Beside long answers, this share of their median is not seen.
const LATENESS_SHARE: f64 = 0.05;
/// Less than this of the schedule is another experiment.
const DELIVERED: f64 = 0.99;
/// Beyond it the generator measures itself.
const CPU: f64 = 0.85;
/// A p99 needs them.
const SAMPLES: f64 = 1000.0;

impl Quality {
    /// Whether the run is valid as an experiment.
    pub fn is_valid(&self) -> bool {
        self.grade != Grade::F
    }

    /// Names of the gates that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|gate| !gate.ok)
    }
}

/// Grades an experiment.
pub fn quality(facts: &Facts) -> Quality {
    let lateness_bound = facts.response_p50_us.map_or(LATENESS_US, |p50| {
        LATENESS_US.max(LATENESS_SHARE * p50 as f64)
    });
    let delivered = (facts.planned > 0).then(|| facts.sent as f64 / facts.planned as f64);
    let mut gates = vec![
        at_most(
            "lateness",
            facts.lateness_p99_us.map(|us| us as f64),
            lateness_bound,
            true,
        ),
        at_least("delivered", delivered, DELIVERED, true),
    ];
    if facts.cpu.is_some() {
        gates.push(at_most("generator_cpu", facts.cpu, CPU, true));
    }
    gates.push(at_least(
        "samples",
        Some(facts.samples as f64),
        SAMPLES,
        false,
    ));
    gates.push(at_least("identified", Some(facts.identified), 1.0, false));
    if let Some(places) = facts.control_structural {
        gates.push(at_most("control_same", Some(places as f64), 0.0, false));
    }
    if facts.faults.0 > 0 {
        let (applied, undone) = facts.faults;
        gates.push(at_least(
            "faults_undone",
            Some(undone as f64),
            applied as f64,
            false,
        ));
    }
    let failed = gates.iter().filter(|gate| !gate.ok).count();
    let grade = match failed {
        _ if gates.iter().any(|gate| gate.must && !gate.ok) => Grade::F,
        0 => Grade::A,
        1 => Grade::B,
        _ => Grade::C,
    };
    Quality { grade, gates }
}

fn at_most(id: &str, value: Option<f64>, bound: f64, must: bool) -> Gate {
    gate(
        id,
        value,
        bound,
        must,
        value.is_some_and(|value| value <= bound),
    )
}

fn at_least(id: &str, value: Option<f64>, bound: f64, must: bool) -> Gate {
    gate(
        id,
        value,
        bound,
        must,
        value.is_some_and(|value| value >= bound),
    )
}

fn gate(id: &str, value: Option<f64>, bound: f64, must: bool, ok: bool) -> Gate {
    Gate {
        id: id.to_owned(),
        value,
        bound,
        ok,
        must,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            planned: 4000,
            sent: 4000,
            lateness_p99_us: Some(212),
            response_p50_us: Some(1800),
            cpu: Some(0.31),
            samples: 4000,
            identified: 1.0,
            control_structural: Some(0),
            faults: (2, 2),
        }
    }

    #[test]
    fn grades_follow_the_gates() {
        let rows = [
            ("all hold", good(), Grade::A, ""),
            (
                "a fault is left behind",
                Facts {
                    faults: (2, 1),
                    ..good()
                },
                Grade::B,
                "faults_undone",
            ),
            (
                "too few samples",
                Facts {
                    samples: 999,
                    ..good()
                },
                Grade::B,
                "samples",
            ),
            (
                "the control differs",
                Facts {
                    control_structural: Some(1),
                    identified: 0.9,
                    ..good()
                },
                Grade::C,
                "identified,control_same",
            ),
            (
                "late",
                Facts {
                    lateness_p99_us: Some(1001),
                    ..good()
                },
                Grade::F,
                "lateness",
            ),
            (
                "late beside long answers",
                Facts {
                    lateness_p99_us: Some(1001),
                    response_p50_us: Some(40_000),
                    ..good()
                },
                Grade::A,
                "",
            ),
            (
                "load not delivered",
                Facts {
                    sent: 3959,
                    ..good()
                },
                Grade::F,
                "delivered",
            ),
            (
                "nothing sent",
                Facts {
                    lateness_p99_us: None,
                    sent: 0,
                    ..good()
                },
                Grade::F,
                "lateness,delivered",
            ),
            (
                "a busy generator",
                Facts {
                    cpu: Some(0.9),
                    ..good()
                },
                Grade::F,
                "generator_cpu",
            ),
        ];
        for (why, facts, grade, failed) in rows {
            let quality = quality(&facts);
            let names: Vec<&str> = quality.failed().map(|gate| gate.id.as_str()).collect();
            assert_eq!(
                (quality.grade, names.join(",").as_str()),
                (grade, failed),
                "{why}"
            );
        }
    }
}
