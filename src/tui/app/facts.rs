//! What is known of a run before its first event.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::{Id, Micros},
    measure::ErrorRule,
    scenario::{Role, Scenario},
    tui::{saved, show},
};

/// What is known before the first event.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Services as a tree: depth, id, whether traffic drives it.
    pub services: Vec<(usize, Id, bool)>,
    /// Phases: id, begin, end, whether it is recorded.
    pub phases: Vec<(Id, Micros, Micros, bool)>,
    /// Faults.
    pub faults: Vec<FaultFacts>,
    /// Shadows: id, the service, its role.
    pub shadows: Vec<(Id, Id, &'static str)>,
    /// Where services and shadows are that run by themselves: `127.0.0.1:9001`.
    pub addresses: BTreeMap<Id, String>,
    /// The scenario's file; empty: there is none.
    pub file: String,
    /// Its traffic is live: it has no schedule from which requests could be had again.
    pub is_live: bool,
    /// Checks.
    pub checks: Vec<CheckFacts>,
    /// The least score that passes.
    pub min_score: f64,
    /// What counts as an error.
    pub errors: ErrorRule,
}

/// What is known of a fault.
#[derive(Debug, Clone)]
pub struct FaultFacts {
    /// Its id.
    pub id: Id,
    /// The service it hits.
    pub target: Id,
    /// When it is active, in ms.
    pub windows: Vec<(u32, u32)>,
    /// What it does, in a few words: `delay 400ms 50%`.
    pub what: String,
}

/// What is known of a check.
#[derive(Debug, Clone)]
pub struct CheckFacts {
    /// Its id.
    pub id: Id,
    /// It decides by itself.
    pub must: bool,
    /// Its weight.
    pub weight: f64,
    /// The expression.
    pub that: String,
    /// What its verdict must not be; `None`: it is none.
    pub not: Option<String>,
    /// The bounds of a graded check: full points, none; and their unit.
    pub bounds: Option<(f64, f64, &'static str)>,
    /// The phases it is judged over.
    pub over: String,
}

impl Facts {
    /// The facts of a scenario.
    pub fn of(scenario: &Scenario) -> Self {
        let services: Vec<(Id, Vec<Id>)> = scenario
            .services
            .iter()
            .map(|service| {
                let calls = service.calls.iter().map(|(peer, _)| peer.clone());
                (service.id.clone(), calls.collect())
            })
            .collect();
        let driven: BTreeSet<Id> = scenario
            .traffic
            .iter()
            .map(|source| source.to.clone())
            .collect();
        Self {
            name: scenario.name.clone(),
            seed: scenario.seed.0,
            services: Self::tree(&services, &driven),
            phases: scenario
                .phases
                .iter()
                .map(|phase| (phase.id.clone(), phase.begin_us, phase.end_us, phase.record))
                .collect(),
            faults: scenario
                .faults
                .iter()
                .map(|fault| FaultFacts {
                    id: fault.id.clone(),
                    target: fault.target.clone(),
                    windows: fault.windows.clone(),
                    what: show::fault(fault),
                })
                .collect(),
            shadows: scenario
                .shadows
                .iter()
                .map(|shadow| (shadow.id.clone(), shadow.of.clone(), shadow.role.name()))
                .collect(),
            addresses: addresses(scenario),
            file: scenario.file.display().to_string(),
            is_live: scenario.traffic.is_empty(),
            checks: scenario
                .checks
                .iter()
                .map(|check| CheckFacts {
                    id: check.id.clone(),
                    must: check.must,
                    weight: check.weight,
                    that: check.text.clone(),
                    not: check.not.map(|not| not.name().to_owned()),
                    bounds: check
                        .graded
                        .map(|graded| (graded.pass, graded.fail, check.that.unit().name())),
                    over: if check.over.is_empty() {
                        "all".to_owned()
                    } else {
                        check.over.join(" ")
                    },
                })
                .collect(),
            min_score: scenario.min_score,
            errors: scenario.errors.clone(),
        }
    }

    /// Services with what they call, as a tree from those that traffic drives; each once, and none forgotten.
    pub(in crate::tui) fn tree(
        services: &[(Id, Vec<Id>)],
        driven: &BTreeSet<Id>,
    ) -> Vec<(usize, Id, bool)> {
        let mut tree = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack: Vec<(usize, Id)> = Vec::new();
        let rest = services.iter().map(|(id, _)| id);
        for root in driven.iter().chain(rest) {
            stack.push((0, root.clone()));
            while let Some((depth, id)) = stack.pop() {
                if !seen.insert(id.clone()) {
                    continue;
                }
                let calls = services.iter().find(|(service, _)| *service == id);
                for peer in calls.into_iter().flat_map(|(_, calls)| calls).rev() {
                    stack.push((depth + 1, peer.clone()));
                }
                tree.push((depth, id.clone(), driven.contains(&id)));
            }
        }
        tree
    }

    /// The shadow that shows the noise.
    pub fn control(&self) -> Option<&Id> {
        let mut shadows = self.shadows.iter();
        let (id, _, _) = shadows.find(|(_, _, role)| *role == Role::Control.name())?;
        Some(id)
    }

    /// Whether traffic drives this service.
    pub fn is_driven(&self, service: &str) -> bool {
        self.services
            .iter()
            .any(|(_, id, driven)| *driven && &**id == service)
    }

    /// The phase of this moment.
    pub fn phase_at(&self, t_us: Micros) -> Option<Id> {
        let mut phases = self.phases.iter();
        let phase = phases.find(|phase| (phase.1..phase.2).contains(&t_us));
        phase.map(|phase| phase.0.clone())
    }

    /// The end of the last phase.
    pub fn length_us(&self) -> Micros {
        self.phases.last().map_or(0, |phase| phase.2)
    }
}

fn addresses(scenario: &Scenario) -> BTreeMap<Id, String> {
    let services = scenario
        .services
        .iter()
        .map(|service| (&service.id, &service.backing));
    let shadows = scenario
        .shadows
        .iter()
        .map(|shadow| (&shadow.id, &shadow.backing));
    services
        .chain(shadows)
        .filter_map(|(id, backing)| Some((id.clone(), backing.addresses().first()?.to_string())))
        // How a mirror's ends are spoken to is in how they were written.
        .chain(saved::ends(&scenario.resolved))
        .collect()
}
