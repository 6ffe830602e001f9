//! What the checks can tell: the samples that each metric needs, and those that the schedule will give it.

use crate::{
    event::Id,
    expr::{
        Expr,
        metric::{self, Metric, Of, Read, Statistic},
    },
    measure::{Filter, Window},
    replay::schedule::Schedule,
    scenario::Scenario,
    stats::quantile::Quantile,
};

use super::{Judgement, driven};

/// What one metric of a judgement needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// The metric, as written.
    pub metric: String,
    /// Over what: the phases, or `any 5s` for a trailing window.
    pub window: String,
    /// Samples that it needs to be known.
    pub needs: u64,
    /// Samples that the schedule will give it; `None`: that depends on what the services do.
    pub expected: Option<u64>,
    /// What that many samples can tell; `None`: nothing to say.
    pub power: Option<Power>,
}

impl Need {
    /// It is sure to stay unknown.
    pub fn falls_short(&self) -> bool {
        self.expected.is_some_and(|expected| expected < self.needs)
    }
}

/// What a number of samples can tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Power {
    /// The 95 % interval of a quantile lies between these quantiles of what would be seen for ever; `None`: there is no
    /// bound on that side.
    Quantiles(Option<f64>, Option<f64>),
    /// A share of which none is seen is below this with 95 % (rule of three).
    ShareBelow(f64),
}

/// The judgements of a scenario, each with what its metrics need.
pub(super) fn judgements(scenario: &Scenario, schedule: &Schedule) -> Vec<Judgement> {
    let recorded: Vec<Id> = scenario
        .phases
        .iter()
        .filter(|phase| phase.record)
        .map(|phase| phase.id.clone())
        .collect();
    let teller = Teller { scenario, schedule };
    let mut judgements = Vec::new();
    for (number, steady) in scenario.steady_state.iter().enumerate() {
        judgements.push(Judgement {
            name: format!("steady state {}", number + 1),
            text: steady.text.clone(),
            needs: teller.needs(&steady.check, std::slice::from_ref(&steady.over)),
        });
    }
    for (number, guard) in scenario.guards.iter().enumerate() {
        judgements.push(Judgement {
            name: format!("guard {}", number + 1),
            text: guard.text.clone(),
            needs: teller.trailing(&guard.when, guard.hold.as_micros() as u64, 0),
        });
    }
    for check in &scenario.checks {
        let over = if check.over.is_empty() {
            &recorded
        } else {
            &check.over
        };
        let from_us = check.from.as_ref().map_or(0, |from| from.at_us);
        let mut needs = Vec::new();
        teller.walk(&check.that, over, from_us, &mut needs);
        judgements.push(Judgement {
            name: format!("check {}", check.id),
            text: check.text.clone(),
            needs,
        });
    }
    judgements
}

struct Teller<'a> {
    scenario: &'a Scenario,
    schedule: &'a Schedule,
}

impl Teller<'_> {
    fn needs(&self, expr: &Expr, over: &[Id]) -> Vec<Need> {
        let mut needs = Vec::new();
        self.walk(expr, over, 0, &mut needs);
        needs
    }

    /// The metrics of a condition that is tested over trailing windows.
    fn trailing(&self, expr: &Expr, hold_us: u64, from_us: u64) -> Vec<Need> {
        expr.metrics()
            .into_iter()
            .filter_map(|metric| {
                if let Some(phase) = &metric.phase {
                    return self.need(metric, std::slice::from_ref(phase), None);
                }
                self.need(metric, &[], Some((hold_us, from_us)))
            })
            .collect()
    }

    fn walk(&self, expr: &Expr, over: &[Id], from_us: u64, needs: &mut Vec<Need>) {
        match expr {
            Expr::Literal(..) => {}
            Expr::Metric(metric) => {
                let over = metric.phase.as_ref().map_or(over, std::slice::from_ref);
                needs.extend(self.need(metric, over, None));
            }
            Expr::Negate(inner) | Expr::Not(inner) => self.walk(inner, over, from_us, needs),
            Expr::Arithmetic(_, a, b)
            | Expr::Compare(_, a, b)
            | Expr::And(a, b)
            | Expr::Or(a, b) => {
                self.walk(a, over, from_us, needs);
                self.walk(b, over, from_us, needs);
            }
            Expr::TimeTo { condition, hold_us } => {
                needs.extend(self.trailing(condition, *hold_us, from_us));
            }
        }
    }

    /// `None`: the metric needs nothing.
    fn need(&self, metric: &Metric, over: &[Id], trailing: Option<(u64, u64)>) -> Option<Need> {
        let spec = metric::known(&metric.name)?;
        if spec.needs == 0 {
            return None;
        }
        let (window, expected) = if let Some((hold_us, from_us)) = trailing {
            let expected = self.count(metric, spec.of, &[], Some((hold_us, from_us)));
            let hold = crate::expr::show_literal(hold_us as f64, crate::expr::Unit::Micros);
            (format!("any {hold}"), expected)
        } else {
            let windows: Vec<Window> = self
                .scenario
                .phases
                .iter()
                .filter(|phase| over.contains(&phase.id))
                .map(crate::scenario::Phase::window)
                .collect();
            let names: Vec<&str> = over.iter().map(|id| &**id).collect();
            (
                names.join(", "),
                self.count(metric, spec.of, &windows, None),
            )
        };
        Some(Need {
            metric: metric.to_string(),
            window,
            needs: spec.needs,
            expected,
            power: expected.and_then(|expected| power(spec.read, expected)),
        })
    }

    /// Requests that a metric will be made of.
    fn count(
        &self,
        metric: &Metric,
        of: Of,
        windows: &[Window],
        trailing: Option<(u64, u64)>,
    ) -> Option<u64> {
        let filter = &metric.filter;
        // What is answered is not known before.
        if filter.status.is_some() {
            return None;
        }
        let due: Vec<u64> = match (of, metric.of.as_deref()) {
            (Of::Service, Some(service)) if self.scenario.is_driven(service) => {
                driven(self.schedule, service)
                    .filter(|(_, planned)| {
                        matches(
                            filter,
                            planned.request.method.as_str(),
                            planned.request.uri.path(),
                        )
                    })
                    .map(|(_, planned)| planned.due_us)
                    .collect()
            }
            (Of::Nothing, _) => self
                .schedule
                .planned
                .iter()
                .map(|planned| planned.due_us)
                .collect(),
            // Which calls other services make, and how many copies are compared, is the system's doing.
            _ => return None,
        };
        let within = |begin: u64, end: u64| {
            let before = |us: u64| due.partition_point(|due| *due < us) as u64;
            before(end) - before(begin)
        };
        Some(match trailing {
            None => windows
                .iter()
                .map(|window| within(window.begin_us, window.end_us))
                .sum(),
            Some((hold_us, from_us)) => {
                let length = self.scenario.length_us();
                let mut at = (from_us + hold_us).next_multiple_of(1_000_000);
                let mut least = None;
                while at <= length {
                    let count = within(at - hold_us, at);
                    least = Some(least.map_or(count, |least: u64| least.min(count)));
                    at += 1_000_000;
                }
                least.unwrap_or(0)
            }
        })
    }
}

fn matches(filter: &Filter, method: &str, path: &str) -> bool {
    filter
        .method
        .as_deref()
        .is_none_or(|wanted| wanted == method)
        && filter.path.as_deref().is_none_or(|glob| fits(glob, path))
}

/// A whole match where `*` is any run of characters.
fn fits(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn power(read: Read, n: u64) -> Option<Power> {
    let quantile: Quantile = match read {
        Read::Latency(_, Statistic::Quantile(quantile))
        | Read::Lateness(quantile)
        | Read::Delta(quantile) => quantile,
        Read::ErrorShare if n > 0 => return Some(Power::ShareBelow((3.0 / n as f64).min(1.0))),
        _ => return None,
    };
    if n < quantile.needs() {
        return None;
    }
    let (low, high) = quantile.interval_ranks(n);
    let share = |rank: u64| rank as f64 / n as f64;
    Some(Power::Quantiles(low.map(share), high.map(share)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (glob, text, expected) in [
            ("/cart/*", "/cart/7", true),
            ("/cart/*", "/cart", false),
            ("*", "", true),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b*c", "/axxbyycd", false),
            ("/a", "/a", true),
            ("/a", "/ab", false),
        ] {
            assert_eq!(fits(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn more_samples_enclose_a_quantile_more_tightly() {
        let p99 = Quantile::parse("99").unwrap();
        let read = Read::Lateness(p99);
        assert_eq!(power(read, 999), None);
        let width = |n| match power(read, n) {
            Some(Power::Quantiles(Some(low), high)) => high.unwrap_or(1.0) - low,
            other => panic!("{other:?}"),
        };
        assert!(width(1_000) > width(10_000));
        // Normal approximation: 2 * 1.96 * sqrt(0.99 * 0.01 / 10,000) = 0.0039.
        assert!((width(10_000) - 0.0039).abs() < 0.0004);
    }

    #[test]
    fn a_share_of_which_none_is_seen_is_small() {
        assert_eq!(power(Read::ErrorShare, 300), Some(Power::ShareBelow(0.01)));
        assert_eq!(power(Read::ErrorShare, 0), None);
    }
}
