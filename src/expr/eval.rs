//! Works out what an expression amounts to. What is not known stays unknown: it is never taken for 0.

use super::{
    Arithmetic, Comparison, Expr, Unit,
    metric::{Metrics, Reading},
    parse::combined,
};
use crate::{event::Id, measure::Window};

/// How often a condition of `time_to` is tested.
const STEP_US: u64 = 1_000_000;

/// What an expression is about.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The windows of metrics without `@`.
    pub windows: &'a [Window],
    /// The windows of the phases, by id.
    pub phases: &'a [(Id, Window)],
    /// The moment that `time_to` counts from.
    pub from_us: Option<u64>,
    /// Up to where it is measured, in full: no test of `time_to` looks beyond.
    pub now_us: u64,
}

/// What an expression amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The number, in `unit`; for a condition 1 or 0. `None`: not known.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Unit,
    /// 95 % interval, where all that it is made of has one.
    pub interval: Option<(f64, f64)>,
    /// Samples behind the weakest metric in it.
    pub n: u64,
    /// Whether it is known, or why not.
    pub state: State,
    /// For a condition: whether it holds; `None`: not known, or no condition.
    pub truth: Option<bool>,
}

/// Whether something is known.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It is.
    Known,
    /// A metric has too little data.
    NoData {
        /// Which.
        metric: String,
        /// Samples it has.
        have: u64,
        /// Samples it needs.
        need: u64,
        /// What the expression would be by the little there is.
        so_far: Option<f64>,
    },
    /// The condition of `time_to` did not hold while it was watched: the number is more than `value`.
    AtLeast,
    /// It has no value.
    Undefined {
        /// Why.
        why: &'static str,
    },
}

impl Evaluated {
    /// Why it is not known; `None`: it is.
    pub fn why(&self) -> Option<String> {
        match &self.state {
            State::Known => None,
            State::NoData {
                metric, have, need, ..
            } => Some(format!(
                "{metric} has {have} of the {need} samples that it needs"
            )),
            State::AtLeast => Some("the condition did not hold while it was watched".to_owned()),
            State::Undefined { why } => Some((*why).to_owned()),
        }
    }

    fn literal(value: f64, unit: Unit) -> Self {
        Self {
            value: Some(value),
            unit,
            interval: Some((value, value)),
            n: u64::MAX,
            state: State::Known,
            truth: None,
        }
    }

    fn unknown(unit: Unit, n: u64, state: State) -> Self {
        Self {
            value: None,
            unit,
            interval: None,
            n,
            state,
            truth: None,
        }
    }

    /// A condition; the interval of a truth says nothing.
    fn truth(truth: bool, n: u64) -> Self {
        Self {
            value: Some(f64::from(u8::from(truth))),
            unit: Unit::Bool,
            interval: None,
            n,
            state: State::Known,
            truth: Some(truth),
        }
    }

    fn so_far(&self) -> Option<f64> {
        match &self.state {
            State::NoData { so_far, .. } => *so_far,
            _ => self.value,
        }
    }
}

/// Works out an expression.
pub fn evaluate(expr: &Expr, metrics: &dyn Metrics, context: &Context<'_>) -> Evaluated {
    let mut evaluated = work_out(expr, metrics, context);
    // An expression of literals alone has no samples behind it.
    if evaluated.n == u64::MAX {
        evaluated.n = 0;
    }
    evaluated
}

fn work_out(expr: &Expr, metrics: &dyn Metrics, context: &Context<'_>) -> Evaluated {
    match expr {
        Expr::Literal(number, unit) => Evaluated::literal(*number, *unit),
        Expr::Metric(metric) => {
            let own;
            let windows = match &metric.phase {
                None => context.windows,
                Some(phase) => {
                    own = context
                        .phases
                        .iter()
                        .find(|(id, _)| id == phase)
                        .map(|(_, window)| *window);
                    own.as_slice()
                }
            };
            let unit = super::metric::known(&metric.name).map_or(Unit::Ratio, |spec| spec.unit);
            match metrics.read(metric, windows) {
                Reading::Known { value, interval, n } => Evaluated {
                    value: Some(value),
                    unit,
                    interval,
                    n,
                    state: State::Known,
                    truth: None,
                },
                Reading::NoData { value, have, need } => Evaluated::unknown(
                    unit,
                    have,
                    State::NoData {
                        metric: metric.to_string(),
                        have,
                        need,
                        so_far: value,
                    },
                ),
            }
        }
        Expr::Negate(inner) => {
            let inner = work_out(inner, metrics, context);
            map(inner, |value| -value, |(low, high)| (-high, -low))
        }
        Expr::Arithmetic(operator, left, right) => arithmetic(
            *operator,
            &work_out(left, metrics, context),
            &work_out(right, metrics, context),
        ),
        Expr::Compare(comparison, left, right) => compare(
            *comparison,
            &work_out(left, metrics, context),
            &work_out(right, metrics, context),
        ),
        Expr::Not(inner) => {
            let inner = work_out(inner, metrics, context);
            match inner.truth {
                Some(truth) => Evaluated::truth(!truth, inner.n),
                None => inner,
            }
        }
        Expr::And(left, right) => logic(left, right, false, metrics, context),
        Expr::Or(left, right) => logic(left, right, true, metrics, context),
        Expr::TimeTo { condition, hold_us } => time_to(condition, *hold_us, metrics, context),
    }
}

fn map(
    evaluated: Evaluated,
    value: fn(f64) -> f64,
    interval: fn((f64, f64)) -> (f64, f64),
) -> Evaluated {
    let state = match evaluated.state {
        State::NoData {
            metric,
            have,
            need,
            so_far,
        } => State::NoData {
            metric,
            have,
            need,
            so_far: so_far.map(value),
        },
        // More than x becomes less than -x, which no state says.
        State::AtLeast => State::Undefined {
            why: "the condition did not hold while it was watched",
        },
        other => other,
    };
    Evaluated {
        value: evaluated
            .value
            .filter(|_| !matches!(state, State::Undefined { .. }))
            .map(value),
        interval: evaluated.interval.map(interval),
        state,
        ..evaluated
    }
}

/// The state of two together, if it is not known: the first that is not.
fn unknown_of(left: &Evaluated, right: &Evaluated, so_far: Option<f64>) -> Option<State> {
    let state = [left, right]
        .into_iter()
        .map(|side| &side.state)
        .find(|state| !matches!(state, State::Known))?;
    Some(match state.clone() {
        State::NoData {
            metric, have, need, ..
        } => State::NoData {
            metric,
            have,
            need,
            so_far,
        },
        State::AtLeast => State::Undefined {
            why: "the condition did not hold while it was watched",
        },
        other => other,
    })
}

fn arithmetic(operator: Arithmetic, left: &Evaluated, right: &Evaluated) -> Evaluated {
    let unit = combined(operator, left.unit, right.unit).unwrap_or(left.unit);
    let apply = |a: f64, b: f64| {
        let value = match operator {
            Arithmetic::Add => a + b,
            Arithmetic::Subtract => a - b,
            Arithmetic::Multiply => a * b,
            Arithmetic::Divide => a / b,
        };
        value.is_finite().then_some(value)
    };
    let n = left.n.min(right.n);
    let so_far = left
        .so_far()
        .zip(right.so_far())
        .and_then(|(a, b)| apply(a, b));
    if let Some(state) = unknown_of(left, right, so_far) {
        return Evaluated::unknown(unit, n, state);
    }
    let Some(value) = so_far else {
        let why = "it divides by 0";
        return Evaluated::unknown(unit, n, State::Undefined { why });
    };
    let interval = left
        .interval
        .zip(right.interval)
        .and_then(|((a, b), (c, d))| {
            // A divisor that may be 0 leaves no bounds.
            if operator == Arithmetic::Divide && c <= 0.0 && d >= 0.0 {
                return None;
            }
            let corners = match operator {
                Arithmetic::Subtract => [apply(a, d)?, apply(b, c)?, apply(a, d)?, apply(b, c)?],
                Arithmetic::Add => [apply(a, c)?, apply(b, d)?, apply(a, c)?, apply(b, d)?],
                _ => [apply(a, c)?, apply(a, d)?, apply(b, c)?, apply(b, d)?],
            };
            Some((
                corners.into_iter().fold(f64::INFINITY, f64::min),
                corners.into_iter().fold(f64::NEG_INFINITY, f64::max),
            ))
        });
    Evaluated {
        value: Some(value),
        unit,
        interval,
        n,
        state: State::Known,
        truth: None,
    }
}

fn compare(comparison: Comparison, left: &Evaluated, right: &Evaluated) -> Evaluated {
    let holds = |a: f64, b: f64| match comparison {
        Comparison::Less => a < b,
        Comparison::AtMost => a <= b,
        Comparison::More => a > b,
        Comparison::AtLeast => a >= b,
        #[expect(clippy::float_cmp, reason = "`== 0` of counts is what people write")]
        Comparison::Equal => a == b,
        #[expect(clippy::float_cmp, reason = "`!= 0` of counts is what people write")]
        Comparison::Unequal => a != b,
    };
    let n = left.n.min(right.n);
    if let (State::AtLeast, Some(least), State::Known, Some(bound)) =
        (&left.state, left.value, &right.state, right.value)
    {
        // More than `least` is surely not below what `least` is not below.
        if matches!(comparison, Comparison::Less | Comparison::AtMost) && least >= bound {
            return Evaluated::truth(false, n);
        }
        if matches!(comparison, Comparison::More | Comparison::AtLeast) && least >= bound {
            return Evaluated::truth(true, n);
        }
    }
    let so_far = left
        .so_far()
        .zip(right.so_far())
        .map(|(a, b)| f64::from(u8::from(holds(a, b))));
    if let Some(state) = unknown_of(left, right, so_far) {
        return Evaluated::unknown(Unit::Bool, n, state);
    }
    match left.value.zip(right.value) {
        Some((a, b)) => Evaluated::truth(holds(a, b), n),
        None => Evaluated::unknown(
            Unit::Bool,
            n,
            State::Undefined {
                why: "it has no value",
            },
        ),
    }
}

/// `and` and `or` of conditions that may be unknown: one side can settle it alone.
fn logic(
    left: &Expr,
    right: &Expr,
    settles: bool,
    metrics: &dyn Metrics,
    context: &Context<'_>,
) -> Evaluated {
    let left = work_out(left, metrics, context);
    let right = work_out(right, metrics, context);
    for side in [&left, &right] {
        if side.truth == Some(settles) {
            return side.clone();
        }
    }
    match (left.truth, right.truth) {
        (None, _) => left,
        (_, None) => right,
        _ => Evaluated::truth(!settles, left.n.min(right.n)),
    }
}

/// Tests the condition each second, over the trailing `hold`, from `from + hold` on: the first test that holds says how
/// long it took from `from`.
fn time_to(
    condition: &Expr,
    hold_us: u64,
    metrics: &dyn Metrics,
    context: &Context<'_>,
) -> Evaluated {
    let Some(from_us) = context.from_us else {
        let why = "`time_to` has no moment to count from";
        return Evaluated::unknown(Unit::Micros, 0, State::Undefined { why });
    };
    // Measurements are kept by the second.
    let mut at_us = (from_us + hold_us).next_multiple_of(STEP_US);
    let mut missing: Option<Evaluated> = None;
    let mut weakest = u64::MAX;
    while at_us <= context.now_us {
        let window = Window {
            begin_us: at_us - hold_us,
            end_us: at_us,
        };
        let tested = work_out(
            condition,
            metrics,
            &Context {
                windows: &[window],
                ..*context
            },
        );
        weakest = weakest.min(tested.n);
        match tested.truth {
            Some(true) => {
                let took = (at_us - from_us) as f64;
                return Evaluated {
                    value: Some(took),
                    unit: Unit::Micros,
                    interval: None,
                    n: tested.n,
                    state: State::Known,
                    truth: None,
                };
            }
            Some(false) => {}
            None => missing = Some(tested),
        }
        at_us += STEP_US;
    }
    if let Some(missing) = missing {
        // It may have held where too little was measured to tell.
        let state = match missing.state {
            State::NoData {
                metric, have, need, ..
            } => State::NoData {
                metric,
                have,
                need,
                so_far: None,
            },
            other => other,
        };
        return Evaluated::unknown(Unit::Micros, missing.n, state);
    }
    Evaluated {
        value: Some(context.now_us.saturating_sub(from_us) as f64),
        unit: Unit::Micros,
        interval: None,
        n: if weakest == u64::MAX { 0 } else { weakest },
        state: State::AtLeast,
        truth: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::expr::{metric::Metric, parse};

    /// Readings by metric; `ramp` falls by 10 ms each second of its window's begin, from 100 ms.
    struct Table(BTreeMap<&'static str, Reading>);

    impl Metrics for Table {
        fn read(&self, metric: &Metric, windows: &[Window]) -> Reading {
            if metric.of.as_deref() == Some("ramp") {
                let second = windows[0].begin_us / 1_000_000;
                return Reading::Known {
                    value: 100_000.0 - 10_000.0 * second as f64,
                    interval: None,
                    n: 50,
                };
            }
            let text = metric.to_string();
            *self
                .0
                .get(text.as_str())
                .unwrap_or_else(|| panic!("no {text}"))
        }
    }

    fn known(value: f64) -> Reading {
        Reading::Known {
            value,
            interval: Some((value * 0.9, value * 1.1)),
            n: 200,
        }
    }

    fn at(text: &str, from_us: Option<u64>, now_us: u64) -> Evaluated {
        let table = Table(
            [
                ("p99[a]", known(100.0)),
                ("p50[a]", known(40.0)),
                ("errors[a]", known(0.0)),
                ("error_share[a]", known(0.25)),
                (
                    "p99[few]",
                    Reading::NoData {
                        value: Some(70.0),
                        have: 12,
                        need: 1_000,
                    },
                ),
                ("p99[a]@steady", known(50.0)),
            ]
            .into(),
        );
        let window = Window {
            begin_us: 0,
            end_us: 60_000_000,
        };
        let expr = parse(text).unwrap().expr;
        evaluate(
            &expr,
            &table,
            &Context {
                windows: &[window],
                phases: &[("steady".into(), window)],
                from_us,
                now_us,
            },
        )
    }

    fn now(text: &str) -> Evaluated {
        at(text, None, 60_000_000)
    }

    #[test]
    fn numbers_and_their_intervals_are_worked_out() {
        let sum = now("p99[a] + p50[a]");
        assert_eq!(
            (sum.value, sum.unit, sum.n),
            (Some(140.0), Unit::Micros, 200)
        );
        let (low, high) = sum.interval.unwrap();
        assert!((low - 126.0).abs() < 1e-9 && (high - 154.0).abs() < 1e-9);
        let ratio = now("p99[a] / p99[a]@steady");
        assert_eq!((ratio.value, ratio.unit), (Some(2.0), Unit::Ratio));
        let (low, high) = ratio.interval.unwrap();
        assert!((low - 90.0 / 55.0).abs() < 1e-9 && (high - 110.0 / 45.0).abs() < 1e-9);
        assert_eq!(now("-p99[a] - 2 * 5us").value, Some(-110.0));
        assert_eq!(now("error_share[a] * 2").unit, Unit::Share);
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, truth) in [
            ("p99[a] < 101us", true),
            ("p99[a] < 100us", false),
            ("p99[a] <= 100us", true),
            ("errors[a] == 0", true),
            ("errors[a] != 0", false),
            ("not (p99[a] > 100us)", true),
            ("p99[a] > 5us and error_share[a] < 10%", false),
            ("p99[a] > 5us or error_share[a] < 10%", true),
        ] {
            assert_eq!(now(text).truth, Some(truth), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_taken_for_zero() {
        let evaluated = now("p99[few] + 1us");
        assert_eq!(evaluated.value, None);
        assert_eq!(
            evaluated.state,
            State::NoData {
                metric: "p99[few]".to_owned(),
                have: 12,
                need: 1_000,
                so_far: Some(71.0),
            }
        );
        assert_eq!(now("p99[few] < 1s").truth, None);
        // One side settles it alone.
        assert_eq!(now("p99[few] < 1s and p99[a] < 1us").truth, Some(false));
        assert_eq!(now("p99[few] < 1s or p99[a] > 1us").truth, Some(true));
        assert_eq!(now("p99[few] < 1s or p99[a] < 1us").truth, None);
        assert_eq!(
            now("p99[few] < 1s").why().unwrap(),
            "p99[few] has 12 of the 1000 samples that it needs"
        );
    }

    #[test]
    fn division_by_nothing_has_no_value() {
        let evaluated = now("p99[a] / errors[a]");
        assert_eq!(evaluated.value, None);
        assert_eq!(evaluated.why().unwrap(), "it divides by 0");
    }

    #[test]
    fn time_to_is_the_first_second_whose_trailing_window_holds() {
        // Windows begin at 0 s, 1 s, …: 100 ms, 90 ms, …; 45 ms is passed by the one that begins at 6 s and ends at 11 s.
        let evaluated = at("time_to(p99[ramp] < 45ms, hold: 5s)", Some(0), 60_000_000);
        assert_eq!((evaluated.value, evaluated.n), (Some(11e6), 50));
        // From the middle of a second the first test waits for the next one.
        let evaluated = at(
            "time_to(p99[ramp] < 1s, hold: 5s)",
            Some(500_000),
            60_000_000,
        );
        assert_eq!(evaluated.value, Some(5.5e6));
    }

    #[test]
    fn time_to_that_never_held_is_at_least_the_time_watched() {
        let evaluated = at("time_to(p99[ramp] < 45ms, hold: 5s)", Some(0), 9_000_000);
        assert_eq!(
            (evaluated.value, evaluated.state),
            (Some(9e6), State::AtLeast)
        );
        assert_eq!(
            at(
                "time_to(p99[ramp] < 45ms, hold: 5s) < 8s",
                Some(0),
                9_000_000
            )
            .truth,
            Some(false)
        );
        assert_eq!(
            at(
                "time_to(p99[ramp] < 45ms, hold: 5s) < 10s",
                Some(0),
                9_000_000
            )
            .truth,
            None
        );
    }

    #[test]
    fn time_to_without_data_is_not_known() {
        let evaluated = at("time_to(p99[few] < 45ms, hold: 5s)", Some(0), 9_000_000);
        assert!(matches!(evaluated.state, State::NoData { need: 1_000, .. }));
    }
}
