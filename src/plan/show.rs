//! A plan as JSON for programs and as text for people.

use std::fmt::Write as _;

use meshbed_proxy::{
    policy::fault::{Fault as Request, delay::Delay},
    unit::show_duration,
};
use serde_json::{Value, json};

use super::{Choice, Need, Plan, Power, rule_name};
use crate::{
    event::Micros,
    scenario::{Fault, FaultKind, Place, Scenario, Select},
};

/// Ordinals that are shown of each choice; `--json` has all.
const SHOWN: usize = 8;

impl Plan {
    /// The whole plan, all ordinals included.
    pub fn json(&self, scenario: &Scenario) -> Value {
        let choice = |choice: &Option<Choice>| {
            choice.as_ref().map(|choice| {
                json!({"considered": choice.considered, "count": choice.chosen.len(), "chosen": choice.chosen})
            })
        };
        json!({
            "name": scenario.name,
            "file": scenario.file,
            "sha256": scenario.sha256,
            "seed": scenario.seed.0,
            "schedule": {"sha256": self.schedule_sha256, "planned": self.planned, "span_us": self.span_us},
            "phases": scenario.phases.iter().map(|phase| json!({
                "id": &*phase.id, "begin_us": phase.begin_us, "end_us": phase.end_us, "record": phase.record,
            })).collect::<Vec<_>>(),
            "traffic": self.sources.iter().map(|source| json!({
                "id": &*source.id,
                "to": &*source.service,
                "requests": scenario.phases.iter().zip(&source.requests)
                    .map(|(phase, count)| (phase.id.to_string(), Value::from(*count)))
                    .collect::<serde_json::Map<_, _>>(),
                "trace": source.trace.as_ref().map(|trace| json!({
                    "path": trace.path, "sha256": trace.sha256, "exchanges": trace.exchanges, "skipped": trace.skipped,
                })),
            })).collect::<Vec<_>>(),
            "faults": scenario.faults.iter().zip(&self.faults).map(|(fault, plan)| json!({
                "id": &*fault.id,
                "target": &*fault.target,
                "what": what(fault),
                "windows_ms": fault.windows,
                "callers": plan.callers.iter().map(|caller| json!({
                    "caller": &*caller.caller,
                    "rule": rule_name(fault, &caller.caller),
                    "choice": choice(&caller.choice),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "shadows": scenario.shadows.iter().zip(&self.shadows).map(|(shadow, plan)| json!({
                "id": &*shadow.id,
                "of": &*shadow.of,
                "role": shadow.role.name(),
                "percent": shadow.percent.to_string(),
                "choice": choice(&plan.choice),
                "other_callers": plan.other_callers.iter().map(|id| &**id).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "judgements": self.judgements.iter().map(|judgement| json!({
                "name": judgement.name,
                "text": judgement.text,
                "metrics": judgement.needs.iter().map(|need| json!({
                    "metric": need.metric,
                    "window": need.window,
                    "needs": need.needs,
                    "expected": need.expected,
                    "enough": need.expected.map(|_| !need.falls_short()),
                    "power": need.power.map(tells),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }

    /// What is sure to be missing at the end: one line each.
    pub fn shortfalls(&self) -> Vec<String> {
        self.judgements
            .iter()
            .flat_map(|judgement| {
                judgement
                    .needs
                    .iter()
                    .filter(|need| need.falls_short())
                    .map(|need| {
                        format!(
                            "{} will be no-data: {} needs {} samples, {} will have {}",
                            judgement.name,
                            need.metric,
                            thousands(need.needs),
                            need.window,
                            thousands(need.expected.unwrap_or(0)),
                        )
                    })
            })
            .collect()
    }

    /// The plan for people.
    pub fn text(&self, scenario: &Scenario) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{}   seed {}   {}   {} requests",
            scenario.name,
            scenario.seed.0,
            time(scenario.length_us()),
            thousands(self.planned),
        );
        timeline(scenario, &mut text);
        self.traffic(scenario, &mut text);
        self.breakage(scenario, &mut text);
        self.copies(scenario, &mut text);
        self.judged(&mut text);
        text
    }

    fn traffic(&self, scenario: &Scenario, text: &mut String) {
        let _ = writeln!(text, "\ntraffic");
        for source in &self.sources {
            let counts: Vec<String> = scenario
                .phases
                .iter()
                .zip(&source.requests)
                .map(|(phase, count)| format!("{} {}", phase.id, thousands(*count)))
                .collect();
            let _ = writeln!(
                text,
                "  {} → {}   {}",
                source.id,
                source.service,
                counts.join("   ")
            );
            if let Some(trace) = &source.trace {
                let skipped: u64 = trace.skipped.values().sum();
                let reasons: Vec<String> = trace
                    .skipped
                    .iter()
                    .map(|(reason, count)| format!("{reason} {count}"))
                    .collect();
                let _ = write!(
                    text,
                    "    {}: {} exchanges",
                    trace.path.display(),
                    thousands(trace.exchanges)
                );
                let _ = if skipped == 0 {
                    writeln!(text)
                } else {
                    writeln!(text, ", skipped: {}", reasons.join(", "))
                };
            }
        }
    }

    fn breakage(&self, scenario: &Scenario, text: &mut String) {
        if self.faults.is_empty() {
            return;
        }
        let _ = writeln!(text, "\nfaults");
        for (fault, plan) in scenario.faults.iter().zip(&self.faults) {
            for caller in &plan.callers {
                let said = match &caller.choice {
                    Some(choice) if fault.kind.is_of_connections() => {
                        format!(
                            "at their first opening it {}",
                            chosen(choice, "connections")
                        )
                    }
                    None if fault.kind.is_of_connections() => format!(
                        "{} of the connections, by the order in which they come",
                        portion(fault.select)
                    ),
                    Some(choice) => chosen(choice, "requests"),
                    None => format!(
                        "{} of the calls; which calls there will be is not known before, the seed decides on each",
                        portion(fault.select)
                    ),
                };
                let _ = writeln!(
                    text,
                    "  {}   {} → {}: {said}",
                    fault.id, caller.caller, fault.target
                );
            }
        }
    }

    fn copies(&self, scenario: &Scenario, text: &mut String) {
        if self.shadows.is_empty() {
            return;
        }
        let _ = writeln!(text, "\nshadows");
        for (shadow, plan) in scenario.shadows.iter().zip(&self.shadows) {
            let said = match &plan.choice {
                Some(choice) => chosen(choice, "requests"),
                None => format!(
                    "{} of the calls; which calls there will be is not known before, the seed decides on each",
                    shadow.percent
                ),
            };
            let _ = writeln!(
                text,
                "  {}   {} of {}: {said}",
                shadow.id,
                shadow.role.name(),
                shadow.of
            );
            if plan.choice.is_some() && !plan.other_callers.is_empty() {
                let others: Vec<&str> = plan.other_callers.iter().map(|id| &**id).collect();
                let _ = writeln!(
                    text,
                    "    and {} of the calls by {}",
                    shadow.percent,
                    others.join(", ")
                );
            }
        }
    }

    fn judged(&self, text: &mut String) {
        let _ = writeln!(text, "\nwhat the judgements can tell");
        for judgement in &self.judgements {
            let _ = writeln!(text, "  {}: {}", judgement.name, judgement.text);
            for need in &judgement.needs {
                let _ = writeln!(text, "    {}", sentence(need));
            }
        }
    }
}

fn timeline(scenario: &Scenario, text: &mut String) {
    let _ = writeln!(text, "\ntimeline");
    let names = scenario
        .phases
        .iter()
        .map(|phase| phase.id.len())
        .chain(scenario.faults.iter().map(|fault| fault.id.len() + 2));
    let width = names.max().unwrap_or(0);
    let mut row = |name: &str, begin: Micros, end: Micros, note: &str| {
        let line = format!(
            "  {name:width$}  {:>8} – {:<8}  {note}",
            time(begin),
            time(end)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    };
    for phase in &scenario.phases {
        let note = if phase.record { "" } else { "not recorded" };
        row(&phase.id, phase.begin_us, phase.end_us, note);
        let within = scenario
            .faults
            .iter()
            .filter(|fault| fault.during == phase.id);
        for fault in within {
            let begin = fault.windows.first().map_or(0, |window| window.0);
            let end = fault.windows.last().map_or(0, |window| window.1);
            let note = match fault.windows.len() {
                1 => what(fault),
                times => format!("{}, {times} times", what(fault)),
            };
            let millis = |ms: u32| u64::from(ms) * 1_000;
            row(
                &format!("  {}", fault.id),
                millis(begin),
                millis(end),
                &note,
            );
        }
    }
}

fn sentence(need: &Need) -> String {
    let begin = format!("{} over {}: ", need.metric, need.window);
    let Some(expected) = need.expected else {
        let samples = if need.needs == 1 { "sample" } else { "samples" };
        return format!(
            "{begin}needs {} {samples}; how many there will be depends on the services",
            thousands(need.needs)
        );
    };
    if need.falls_short() {
        return format!(
            "{begin}{} samples of the {} that it needs: it will be no-data",
            thousands(expected),
            thousands(need.needs)
        );
    }
    match need.power {
        Some(power) => format!("{begin}{} samples; {}", thousands(expected), tells(power)),
        None => format!("{begin}{} samples", thousands(expected)),
    }
}

/// What a number of samples can tell, in words.
fn tells(power: Power) -> String {
    let quantile = |share: f64| format!("p{}", trimmed(share * 100.0, 2));
    match power {
        Power::Quantiles(Some(low), Some(high)) => format!(
            "its 95 % interval will span what is {} to {} in truth",
            quantile(low),
            quantile(high)
        ),
        Power::Quantiles(Some(low), None) => format!(
            "its 95 % interval will begin at what is {} in truth and have no upper bound",
            quantile(low)
        ),
        Power::Quantiles(None, _) => "its 95 % interval will have no lower bound".to_owned(),
        Power::ShareBelow(share) => {
            format!(
                "if none is seen, the share is below {}% with 95 %",
                trimmed(share * 100.0, 3)
            )
        }
    }
}

fn trimmed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn chosen(choice: &Choice, things: &str) -> String {
    let first: Vec<String> = choice
        .chosen
        .iter()
        .take(SHOWN)
        .map(u64::to_string)
        .collect();
    let dots = if choice.chosen.len() > SHOWN {
        " …"
    } else {
        ""
    };
    let which = if first.is_empty() {
        String::new()
    } else {
        format!(": {things} {}{dots}", first.join(" "))
    };
    if choice.considered > 0 && choice.chosen.len() as u64 == choice.considered {
        return format!("chooses all {}", thousands(choice.considered));
    }
    format!(
        "chooses {} of {}{which}",
        thousands(choice.chosen.len() as u64),
        thousands(choice.considered)
    )
}

fn portion(select: Select) -> String {
    match select {
        Select::Share(share) => share.to_string(),
        Select::Ramp(from, over, to) => {
            format!("{from} growing to {to} over {}", show_duration(over))
        }
        Select::First(count) => format!("the first {count}"),
        Select::Every(count) => format!("every {count}."),
    }
}

/// What a fault does, in words.
fn what(fault: &Fault) -> String {
    let kind = match &fault.kind {
        FaultKind::Request(Request::Delay(delay)) => match delay {
            Delay::Fixed(fixed) => format!("delay {}", show_duration(*fixed)),
            Delay::Uniform { low, high } => {
                format!("delay {}..{}", show_duration(*low), show_duration(*high))
            }
            Delay::Normal { mean, sd } => {
                format!("delay {} ± {}", show_duration(*mean), show_duration(*sd))
            }
            Delay::Exponential { mean } => {
                format!("delay of mean {}, exponential", show_duration(*mean))
            }
            Delay::Pareto { scale, shape } => {
                format!("delay from {}, Pareto {shape}", show_duration(*scale))
            }
            Delay::Table(points) => format!("delay by a table of {} quantiles", points.len()),
        },
        other => other.words(),
    };
    let by = fault
        .from
        .as_ref()
        .map_or_else(String::new, |from| format!(" by {from}"));
    let kind = match fault.place {
        Place::Request => kind,
        Place::Attempt => format!("{kind} in attempts"),
    };
    let things = if fault.kind.is_of_connections() {
        "connections"
    } else {
        "calls"
    };
    format!(
        "{kind} for {} of {things} to {}{by}",
        portion(fault.select),
        fault.target
    )
}

fn time(us: Micros) -> String {
    show_duration(std::time::Duration::from_micros(us))
}

/// `12,345`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
