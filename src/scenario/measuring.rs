//! What measuring must know of a scenario before the first event.

use crate::{
    event::Id,
    expr::{Expr, metric::Metric},
    measure::{Filter, Setup, Window},
    scenario::{Phase, Scenario},
};

impl Phase {
    /// Its window.
    pub fn window(&self) -> Window {
        Window {
            begin_us: self.begin_us,
            end_us: self.end_us,
        }
    }
}

impl Scenario {
    /// What measuring must know before the first event.
    pub fn measuring(&self) -> Setup {
        let mut driven: Vec<Id> = self
            .traffic
            .iter()
            .map(|source| source.to.clone())
            .collect();
        driven.sort();
        driven.dedup();
        let phases = self.phases.iter();
        Setup {
            phases: phases
                .map(|phase| (phase.id.clone(), phase.window(), phase.record))
                .collect(),
            driven,
            opaque: self
                .services
                .iter()
                .filter(|service| !service.protocol.is_http())
                .map(|service| service.id.clone())
                .collect(),
            services: self
                .services
                .iter()
                .map(|service| service.id.clone())
                .collect(),
            faults: self.faults.iter().map(|fault| fault.id.clone()).collect(),
            shadows: self
                .shadows
                .iter()
                .map(|shadow| shadow.id.clone())
                .collect(),
            control: self.diff.control.clone(),
            uncontrolled: self
                .shadows
                .iter()
                .filter(|shadow| self.control_of(shadow).is_none())
                .map(|shadow| shadow.id.clone())
                .collect(),
            timed: self.checks.iter().any(|check| check.not.is_some()),
            alpha: self.diff.alpha,
            margins: self.margins,
            min_effect: self.diff.min_effect.get(),
            filters: self.filters(),
            errors: self.errors.clone(),
        }
    }

    /// The control whose differences are a shadow's noise: one of the same service.
    pub fn control_of(&self, shadow: &super::Shadow) -> Option<&super::Shadow> {
        let control = self.diff.control.as_ref()?;
        let mut shadows = self.shadows.iter();
        shadows.find(|other| other.id == *control && other.of == shadow.of)
    }

    /// The filters that any of its expressions asks for.
    fn filters(&self) -> Vec<(Id, Filter)> {
        let mut filters = Vec::new();
        let checks = self.checks.iter().map(|check| &check.that);
        let guards = self.guards.iter().map(|guard| &guard.when);
        let steady = self.steady_state.iter().map(|steady| &steady.check);
        for expression in checks.chain(guards).chain(steady) {
            for_each_metric(expression, &mut |metric| {
                if let Some(of) = metric
                    .of
                    .clone()
                    .filter(|_| metric.filter != Filter::default())
                {
                    filters.push((of, metric.filter.clone()));
                }
            });
        }
        filters.sort();
        filters.dedup();
        filters
    }
}

/// Shows each metric of an expression.
fn for_each_metric(expression: &Expr, show: &mut impl FnMut(&Metric)) {
    match expression {
        Expr::Literal(..) => {}
        Expr::Metric(metric) => show(metric),
        Expr::Negate(of) | Expr::Not(of) | Expr::TimeTo { condition: of, .. } => {
            for_each_metric(of, show);
        }
        Expr::Arithmetic(_, left, right)
        | Expr::Compare(_, left, right)
        | Expr::And(left, right)
        | Expr::Or(left, right) => {
            for_each_metric(left, show);
            for_each_metric(right, show);
        }
    }
}
