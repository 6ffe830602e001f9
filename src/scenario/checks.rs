//! What is judged: steady state, guards, checks.

use std::time::Duration;

use meshbed_proxy::unit::show_duration;

use super::{
    Called, Check, Fault, Graded, Guard, Moment, Phase, Steady,
    problem::suggest,
    read::unit_words,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};
use crate::{
    event::Id,
    expr::{Expr, Unit, parse::common},
    measure::{Window, speed},
};

impl Resolver<'_> {
    pub(super) fn steady_state(
        &mut self,
        ids: &Ids,
        phases: &[Phase],
        faults: &[Fault],
    ) -> Vec<Steady> {
        let first = faults
            .iter()
            .filter_map(|fault| Some((fault.windows.first()?.0, &fault.id)))
            .min();
        let mut list = Vec::new();
        for item in self.root.list("steady_state") {
            let check = item
                .get("check")
                .and_then(|check| self.condition(check, ids));
            let over = self.reference(item, "over", "phase", &ids.phases);
            let phase = over
                .as_ref()
                .and_then(|over| phases.iter().find(|phase| phase.id == *over));
            if let (Some((begin_ms, fault)), Some(phase), Some(at)) =
                (first, phase, item.get("over"))
                && phase.end_us > u64::from(begin_ms) * 1_000
            {
                self.tell(
                    at,
                    format!(
                        "the phase `{}` ends after the fault `{fault}` has begun",
                        phase.id
                    ),
                    "a phase before the first fault",
                );
            }
            if let (Some((check, text)), Some(over)) = (check, over) {
                list.push(Steady { check, text, over });
            }
        }
        list
    }

    pub(super) fn guards(&mut self, ids: &Ids) -> Vec<Guard> {
        let mut list = Vec::new();
        for item in self.root.list("guard") {
            let when = item.get("when").and_then(|when| self.condition(when, ids));
            let hold = item.duration("for");
            if let (Some(length), Some(at)) = (hold, item.get("for"))
                && length < Duration::from_secs(1)
            {
                self.tell(at, "a guard looks at whole seconds", "at least `1s`");
            }
            if let (Some((when, text)), Some(hold)) = (when, hold) {
                list.push(Guard { when, text, hold });
            }
        }
        list
    }

    pub(super) fn checks(&mut self, ids: &Ids, phases: &[Phase], faults: &[Fault]) -> Vec<Check> {
        let Some(checks) = self.root.get("checks") else {
            return Vec::new();
        };
        if checks.items().is_empty() {
            self.tell(
                checks,
                "there is no check",
                "at least one: a run that judges nothing proves nothing",
            );
        }
        let mut list = Vec::new();
        for item in checks.items() {
            let that = item.get("that").and_then(|that| self.expression(that, ids));
            let mut over = Vec::new();
            for phase in item.list("over") {
                over.extend(self.known(phase, "phase", &ids.phases));
            }
            let weight = item.number("weight");
            if let (Some(at), Some(number)) = (item.get("weight"), weight)
                && number <= 0.0
            {
                self.tell(at, "a check of no weight", "a number above 0");
            }
            let from = item
                .get("from")
                .and_then(|from| self.moment(from, ids, faults));
            let graded = that
                .as_ref()
                .and_then(|(_, unit, _)| self.graded(item, *unit));
            let not = that
                .as_ref()
                .and_then(|(expr, _, _)| self.ruled_out(item, expr, &over, phases));
            if let Some((expr, _, _)) = &that {
                self.time_to_and_from(item, expr.has_time_to());
            }
            if let (Some(from), Some(Graded { fail, .. }), Some(at)) =
                (&from, &graded, item.get("fail"))
            {
                let left = phases
                    .last()
                    .map_or(0, |phase| phase.end_us)
                    .saturating_sub(from.at_us);
                if (left as f64) < *fail {
                    self.warn(
                        at,
                        format!(
                            "only {} are left after {}: {} cannot be seen",
                            show_duration(Duration::from_micros(left)),
                            from.text,
                            show_duration(Duration::from_micros(*fail as u64)),
                        ),
                        "a longer last phase",
                    );
                }
            }
            if let (Some(id), Some((that, _, text)), Some(weight), Some(must)) =
                (item.id("id"), that, weight, item.flag("must"))
            {
                list.push(Check {
                    id: id.clone(),
                    must,
                    weight,
                    that,
                    text,
                    graded,
                    not,
                    over,
                    from,
                });
            }
        }
        list
    }

    fn time_to_and_from(&mut self, item: &Item, has_time_to: bool) {
        match (has_time_to, item.get("from")) {
            (true, None) => self.tell(
                item,
                "`time_to` counts from which moment?",
                "`from: \"end(FAULT)\"` or `from: \"start(FAULT)\"`",
            ),
            (false, Some(from)) => self.tell(
                from,
                "`from` is for `time_to`, which `that` does not have",
                "leave it out; the window of a check is `over`",
            ),
            _ => {}
        }
    }

    /// What a verdict must not be. One that can never be known is warned of.
    fn ruled_out(
        &mut self,
        item: &Item,
        expr: &Expr,
        over: &[Id],
        phases: &[Phase],
    ) -> Option<Called> {
        let that = item.get("that").unwrap_or(item);
        let unit = expr.unit();
        match (unit, item.get("not")) {
            (Unit::Verdict, Some(not)) => {
                let own = match expr {
                    Expr::Metric(metric) => metric.phase.as_ref(),
                    _ => None,
                };
                let windows: Vec<Window> = phases
                    .iter()
                    .filter(|phase| match (own, over) {
                        (Some(own), _) => phase.id == *own,
                        (None, []) => phase.record,
                        (None, over) => over.contains(&phase.id),
                    })
                    .map(Phase::window)
                    .collect();
                let (have, need) = (speed::blocks(&windows).len(), speed::least_blocks());
                if have < need {
                    self.warn(
                        that,
                        format!("a verdict needs {need} blocks of 3 s, its phases have {have}"),
                        format!("{} s in all, or more", 3 * need),
                    );
                }
                Called::named(not.as_text()?)
            }
            (Unit::Verdict, None) => {
                // A wrong one was told already.
                if !item.has("not") {
                    self.tell(
                        that,
                        "`that` is a verdict: what must it not be?",
                        "`not: regressed` beside it",
                    );
                }
                None
            }
            (_, Some(not)) => {
                self.tell(
                    not,
                    format!("`that` is {}, and `not` is for a verdict", unit_words(unit)),
                    "leave it out, or a verdict such as `compare[candidate]`",
                );
                None
            }
            (_, None) => None,
        }
    }

    /// The bounds of a check, which must be of the unit of what is judged.
    fn graded(&mut self, item: &Item, unit: Unit) -> Option<Graded> {
        let bounds = (item.get("pass"), item.get("fail"));
        let (pass, fail) =
            match bounds {
                (None, None) => {
                    if unit.is_number() && !item.has("pass") && !item.has("fail") {
                        self.tell(
                        item.get("that").unwrap_or(item),
                        format!("`that` is {}: what is good and what is bad?", unit_words(unit)),
                        "a condition such as `p99[shop] < 250ms`, or `pass` and `fail` beside it",
                    );
                    }
                    return None;
                }
                (Some(pass), Some(fail)) => (pass, fail),
                (Some(one), None) | (None, Some(one)) => {
                    // The other may be there and wrong, which was told.
                    if !(item.has("pass") && item.has("fail")) {
                        self.tell(
                            one,
                            "`pass` and `fail` come together",
                            "both bounds, or neither",
                        );
                    }
                    return None;
                }
            };
        if !unit.is_number() {
            self.tell(
                pass,
                format!("`that` is {}, which has no bounds", unit_words(unit)),
                "leave `pass` and `fail` out",
            );
            return None;
        }
        let mut bound = |at: &Item| match at.value {
            Value::Bound(number, own) if common(own, unit) == Some(unit) => Some(number),
            Value::Bound(number, own) => {
                self.tell(
                    at,
                    format!(
                        "`{}` does not fit what is judged",
                        crate::expr::show_literal(number, own)
                    ),
                    format!("accepted: {}", unit_words(unit)),
                );
                None
            }
            _ => None,
        };
        let (pass_value, fail_value) = (bound(pass)?, bound(fail)?);
        if (pass_value - fail_value).abs() < f64::EPSILON {
            self.tell(
                fail,
                "`pass` and `fail` are the same",
                "a condition says that more plainly",
            );
            return None;
        }
        Some(Graded {
            pass: pass_value,
            fail: fail_value,
        })
    }

    /// `start(FAULT)` or `end(FAULT)`.
    fn moment(&mut self, item: &Item, ids: &Ids, faults: &[Fault]) -> Option<Moment> {
        let text = item.as_text()?.trim();
        let parts = text
            .strip_suffix(')')
            .and_then(|text| text.split_once('('))
            .map(|(which, fault)| (which.trim(), fault.trim()));
        let Some((which @ ("start" | "end"), id)) = parts else {
            self.tell(
                item,
                format!("`{text}` is not a moment"),
                "accepted: `start(FAULT)` or `end(FAULT)`",
            );
            return None;
        };
        let Some(fault) = faults.iter().find(|fault| *fault.id == *id) else {
            // A fault that is there, but wrong, was told.
            if !ids.faults.iter().any(|known| **known == *id) {
                self.tell(
                    item,
                    format!("there is no fault `{id}`"),
                    suggest(id, ids.faults.iter().map(|id| &**id)),
                );
            }
            return None;
        };
        let at_ms = if which == "start" {
            fault.windows.first()?.0
        } else {
            fault.windows.last()?.1
        };
        Some(Moment {
            text: text.to_owned(),
            at_us: u64::from(at_ms) * 1_000,
        })
    }
}
