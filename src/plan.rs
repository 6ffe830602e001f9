//! What a run and its seed will do, before it does it: the timeline, the requests, which of them each fault and sample
//! chooses, and what the checks can tell. Pure: it touches nothing but the captures that it reads.
//!
//! A choice is a pure function of the seed, the rule and the request, so the requests that our generator sends are chosen
//! here exactly as the sidecars will choose them, with the same code. The calls of one service to another are not known
//! before they are made; for these the plan tells the share, and that the seed decides.

use std::sync::Arc;

use meshbed_proxy::{
    draw::Seed,
    policy::{
        fault::{Book, Counters, Rule, Rules, Select as ProxySelect, Who, Window},
        matcher::{Compiled as CompiledMatcher, RequestView},
        mirror,
    },
};

use crate::{
    event::{Id, Micros},
    measure::CLIENT,
    replay::schedule::{self, Planned, Schedule, TraceFacts},
    scenario::{Fault, FaultKind, Scenario, Select, Shadow},
};

mod connection;
mod power;
mod show;

pub use connection::{connection_choice, numbers_for};
pub use power::{Need, Power};

/// What a run will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// SHA-256 of the schedule, in hex.
    pub schedule_sha256: String,
    /// Requests in the schedule.
    pub planned: u64,
    /// When the last of them is due.
    pub span_us: Micros,
    /// The sources, in file order.
    pub sources: Vec<SourcePlan>,
    /// The faults, in file order.
    pub faults: Vec<FaultPlan>,
    /// The shadows, in file order.
    pub shadows: Vec<ShadowPlan>,
    /// What stands behind each judgement: steady state, guards, checks.
    pub judgements: Vec<Judgement>,
}

/// A source of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePlan {
    /// Its id.
    pub id: Id,
    /// Where its requests go.
    pub service: Id,
    /// How many, by phase.
    pub requests: Vec<u64>,
    /// What its capture gave.
    pub trace: Option<TraceFacts>,
}

/// What a fault will do.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// Its id.
    pub id: Id,
    /// By caller.
    pub callers: Vec<CallerPlan>,
}

/// What a fault will do to the calls of one caller.
#[derive(Debug, Clone, PartialEq)]
pub struct CallerPlan {
    /// Who calls; `client` is the generator.
    pub caller: Id,
    /// What it chooses; `None`: the calls are not known before they are made.
    pub choice: Option<Choice>,
}

/// Which requests are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Requests that match, in the windows.
    pub considered: u64,
    /// Ordinals of those chosen, ascending.
    pub chosen: Vec<u64>,
}

/// What a shadow's sample will choose.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowPlan {
    /// Its id.
    pub id: Id,
    /// What it chooses of the generator's requests; `None`: traffic does not drive the service.
    pub choice: Option<Choice>,
    /// Services that call it as well, whose calls are not known before they are made.
    pub other_callers: Vec<Id>,
}

/// A condition or check, and the data behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// `check slo`, `guard 1`, `steady state 1`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What its metrics need, and will have.
    pub needs: Vec<Need>,
}

/// Plans a run.
pub fn plan(scenario: &Scenario) -> Result<(Plan, Schedule), Error> {
    let schedule = schedule::build(scenario).map_err(Error::Schedule)?;
    let faults = scenario
        .faults
        .iter()
        .map(|fault| fault_plan(scenario, fault, &schedule))
        .collect::<Result<_, _>>()?;
    let shadows = scenario
        .shadows
        .iter()
        .map(|shadow| shadow_plan(scenario, shadow, &schedule))
        .collect::<Result<_, _>>()?;
    let plan = Plan {
        schedule_sha256: schedule.sha256.clone(),
        planned: schedule.planned.len() as u64,
        span_us: schedule.span_us,
        sources: sources(scenario, &schedule),
        faults,
        shadows,
        judgements: power::judgements(scenario, &schedule),
    };
    Ok((plan, schedule))
}

/// Why there is no plan.
#[derive(Debug)]
pub enum Error {
    /// There is no schedule.
    Schedule(schedule::Error),
    /// A fault or sample cannot be compiled.
    Rule(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schedule(error) => write!(f, "{error}"),
            Self::Rule(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Schedule(error) => error.source(),
            Self::Rule(_) => None,
        }
    }
}

fn sources(scenario: &Scenario, schedule: &Schedule) -> Vec<SourcePlan> {
    schedule
        .sources
        .iter()
        .enumerate()
        .map(|(index, lane)| SourcePlan {
            id: Arc::clone(&lane.id),
            service: Arc::clone(&lane.service),
            requests: scenario
                .phases
                .iter()
                .map(|phase| {
                    let begin = schedule.due_before(phase.begin_us);
                    let end = schedule.due_before(phase.end_us);
                    let due = schedule.planned.get(begin..end).unwrap_or_default();
                    due.iter().filter(|planned| planned.source == index).count() as u64
                })
                .collect(),
            trace: lane.trace.clone(),
        })
        .collect()
}

/// The planned requests that go to a service, each with its time in whole milliseconds.
fn driven<'a>(
    schedule: &'a Schedule,
    service: &'a str,
) -> impl Iterator<Item = (u32, &'a Planned)> {
    schedule
        .planned
        .iter()
        .filter(move |planned| {
            schedule
                .sources
                .get(planned.source)
                .is_some_and(|lane| &*lane.service == service)
        })
        .map(|planned| ((planned.due_us / 1_000) as u32, planned))
}

/// A planned request as conditions look at it.
pub fn view(planned: &Planned) -> RequestView<'_> {
    RequestView {
        method: planned.request.method.as_str(),
        authority: planned.request.authority(),
        path: planned.request.uri.path(),
        query: planned.request.uri.query(),
        headers: &planned.request.headers,
    }
}

/// Ordinals of the requests that `first` and `every` choose, ascending, where traffic drives the fault's target and the
/// generator's calls are among those it is for; `None`: it does not count, or it counts calls that no plan knows.
pub fn ordinals_for(fault: &Fault, schedule: &Schedule) -> Option<Vec<u64>> {
    let keep: fn(u64, u64) -> bool = match fault.select {
        Select::First(_) => |place, count| place < count,
        Select::Every(_) => |place, count| (place + 1).is_multiple_of(count.max(1)),
        Select::Share(_) | Select::Ramp(..) => return None,
    };
    let (Select::First(count) | Select::Every(count)) = fault.select else {
        return None;
    };
    if fault.kind.is_of_connections() {
        return None;
    }
    let matcher = CompiledMatcher::new(&fault.matcher).ok()?;
    let by_client = fault.from.as_deref().is_none_or(|from| from == CLIENT);
    let is_driven = schedule
        .sources
        .iter()
        .any(|lane| lane.service == fault.target);
    (by_client && is_driven).then(|| {
        driven(schedule, &fault.target)
            .filter(|(due_ms, _)| {
                fault
                    .windows
                    .iter()
                    .any(|(begin, end)| (begin..end).contains(&due_ms))
            })
            .filter(|(_, planned)| matcher.matches(&view(planned)))
            .zip(0..)
            .filter(|(_, place)| keep(*place, count))
            .map(|((_, planned), _)| planned.ordinal)
            .collect()
    })
}

/// What names a fault's draws at one caller's sidecar.
fn rule_name(fault: &Fault, caller: &str) -> String {
    format!("{}@{caller}>{}", fault.id, fault.target)
}

/// A fault's rule at one caller's sidecar, on by its windows; `None`: it is not about requests.
///
/// `ordinals` are those that `first` and `every` choose among the caller's requests, where they are known beforehand.
pub fn rule(fault: &Fault, caller: &str, ordinals: Option<Arc<[u64]>>) -> Option<Rule> {
    let FaultKind::Request(kind) = &fault.kind else {
        return None;
    };
    let select = match (fault.select, ordinals) {
        (_, Some(ordinals)) => ProxySelect::Ordinals(ordinals),
        (Select::Share(share), None) => ProxySelect::Share(share),
        (Select::Ramp(from, over, to), None) => ProxySelect::Ramp { from, to, over },
        (Select::First(count), None) => ProxySelect::First(count),
        (Select::Every(count), None) => ProxySelect::Every(count),
    };
    Some(Rule {
        id: Arc::clone(&fault.id),
        name: rule_name(fault, caller),
        windows: fault
            .windows
            .iter()
            .map(|(begin_ms, end_ms)| Window {
                begin_ms: *begin_ms,
                end_ms: *end_ms,
            })
            .collect(),
        matcher: fault.matcher.clone(),
        select,
        max_active: fault.max_active,
        place: fault.place,
        kind: kind.clone(),
        ..Rule::default()
    })
}

fn fault_plan(scenario: &Scenario, fault: &Fault, schedule: &Schedule) -> Result<FaultPlan, Error> {
    let mut plans = Vec::new();
    for caller in callers(scenario, fault) {
        let choice = if &*caller != CLIENT {
            None
        } else if let Some(mut rule) =
            rule(fault, CLIENT, ordinals_for(fault, schedule).map(Arc::from))
        {
            // How many suffer at once is the system's doing; the choice does not depend on it.
            rule.max_active = None;
            Some(choice(scenario.seed, rule, fault, schedule)?)
        } else {
            Some(connection::choice(scenario.seed, fault, schedule)?)
        };
        plans.push(CallerPlan { caller, choice });
    }
    Ok(FaultPlan {
        id: Arc::clone(&fault.id),
        callers: plans,
    })
}

/// The callers that a fault concerns: those of its target, the generator first, or the one that it names.
pub fn callers(scenario: &Scenario, fault: &Fault) -> Vec<Id> {
    let mut callers = callers_of(scenario, &fault.target);
    callers.retain(|caller| fault.from.as_ref().is_none_or(|from| from == caller));
    callers
}

/// Who calls a service, the generator first.
fn callers_of(scenario: &Scenario, service: &str) -> Vec<Id> {
    let client = scenario.is_driven(service).then(|| Id::from(CLIENT));
    let others = scenario
        .services
        .iter()
        .filter(|other| other.calls.iter().any(|(id, _)| &**id == service))
        .map(|other| Arc::clone(&other.id));
    client.into_iter().chain(others).collect()
}

/// Asks the proxy's own rules about each request of the generator.
fn choice(seed: Seed, rule: Rule, fault: &Fault, schedule: &Schedule) -> Result<Choice, Error> {
    let rules = Rules::compile(&[rule], seed).map_err(Error::Rule)?;
    let counters = Counters::new(&rules, &Book::default());
    let mut choice = Choice {
        considered: 0,
        chosen: Vec::new(),
    };
    for (due_ms, planned) in driven(schedule, &fault.target) {
        let who = Who {
            ordinal: planned.ordinal,
            side: 0,
            n: 0,
            attempt: 0,
            intended_ms: Some(due_ms),
        };
        let decision = rules.decide(fault.place, &view(planned), who, &counters);
        choice.considered += decision.considered.len() as u64;
        if !decision.hits.is_empty() {
            choice.chosen.push(planned.ordinal);
        }
    }
    Ok(choice)
}

fn shadow_plan(
    scenario: &Scenario,
    shadow: &Shadow,
    schedule: &Schedule,
) -> Result<ShadowPlan, Error> {
    let sample = mirror::Mirror {
        id: shadow.id.to_string(),
        side: 1,
        matcher: shadow.matcher.clone(),
        share: shadow.percent,
        key: shadow.key.clone(),
        limits: shadow.limits.clone(),
        compare: true,
        ..mirror::Mirror::default()
    };
    let sample = mirror::Compiled::new(&sample, scenario.seed)
        .map_err(|why| Error::Rule(format!("shadow `{}`: {why}", shadow.id)))?;
    let matcher = CompiledMatcher::new(&shadow.matcher)
        .map_err(|why| Error::Rule(format!("shadow `{}`: {why}", shadow.id)))?;
    let choice = scenario.is_driven(&shadow.of).then(|| {
        let matching: Vec<&Planned> = driven(schedule, &shadow.of)
            .map(|(_, planned)| planned)
            .filter(|planned| matcher.matches(&view(planned)))
            .collect();
        Choice {
            considered: matching.len() as u64,
            chosen: matching
                .iter()
                .filter(|planned| sample.chosen(&view(planned), planned.ordinal))
                .map(|planned| planned.ordinal)
                .collect(),
        }
    });
    Ok(ShadowPlan {
        id: Arc::clone(&shadow.id),
        choice,
        other_callers: callers_of(scenario, &shadow.of)
            .into_iter()
            .filter(|caller| &**caller != CLIENT)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::scenario::{self, Overrides};

    /// 2,000 requests in 20 s, and a fault in the middle half.
    fn scenario(fault: &str, seed: u64) -> Scenario {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "name: plan
topology:
  entry: shop
  services:
    shop: {{ address: 127.0.0.1:9001, calls: {{ cart: 127.0.0.1:7001 }} }}
    cart: {{ address: 127.0.0.1:9002 }}
traffic:
  - {{ id: main, generate: {{ rate: 100/s, requests: [{{ path: /a }}, {{ path: /b, method: POST }}] }} }}
shadow:
  - {{ id: few, of: shop, to: {{ address: 127.0.0.1:9003 }}, sample: {{ percent: 5% }} }}
  - {{ id: more, of: shop, to: {{ address: 127.0.0.1:9004 }}, sample: {{ percent: 10% }} }}
phases: [{{ id: calm, for: 5s }}, {{ id: storm, for: 10s }}, {{ id: after, for: 5s }}]
faults: [{{ id: f, target: shop, during: storm, {fault}, abort: {{ status: 503 }} }}]
checks: [{{ id: c, that: \"error_share[shop] < 1%\" }}]
"
        )
        .unwrap();
        let overrides = Overrides {
            seed: Some(seed),
            ..Overrides::default()
        };
        match scenario::load(file.path(), &overrides) {
            Ok((scenario, _)) => scenario,
            Err(problems) => panic!("{problems}"),
        }
    }

    fn choice(fault: &str, seed: u64) -> Choice {
        let (plan, _) = plan(&scenario(fault, seed)).unwrap();
        plan.faults[0].callers[0].choice.clone().unwrap()
    }

    #[test]
    fn a_share_is_chosen_by_seed_within_the_window() {
        let chosen = choice("percent: 20%", 7);
        assert_eq!(chosen.considered, 1_000);
        // 3 sigma of a binomial of 1,000 at 20 % are 38.
        assert!(
            (162..=238).contains(&chosen.chosen.len()),
            "{}",
            chosen.chosen.len()
        );
        assert!(
            chosen
                .chosen
                .iter()
                .all(|ordinal| (500..1_500).contains(ordinal))
        );
        assert_eq!(chosen, choice("percent: 20%", 7));
        assert_ne!(chosen, choice("percent: 20%", 8));
    }

    #[test]
    fn a_choice_is_what_the_contract_says() {
        let scenario = scenario("percent: 20%", 7);
        let (plan, schedule) = plan(&scenario).unwrap();
        let draw = Seed(7).rule("f@client>shop");
        let expected: Vec<u64> = schedule
            .planned
            .iter()
            .filter(|planned| (5_000_000..15_000_000).contains(&planned.due_us))
            .filter(|planned| {
                let key = meshbed_proxy::draw::Key {
                    ordinal: planned.ordinal,
                    n: 0,
                    attempt: 0,
                    method: planned.request.method.as_str(),
                    path: planned.request.uri.path(),
                };
                draw.unit(&key) < 0.2
            })
            .map(|planned| planned.ordinal)
            .collect();
        assert_eq!(
            plan.faults[0].callers[0].choice.as_ref().unwrap().chosen,
            expected
        );
    }

    #[test]
    fn first_and_every_count_by_ordinal() {
        assert_eq!(choice("first: 3", 7).chosen, [500, 501, 502]);
        let every = choice("every: 100", 7);
        assert_eq!(every.chosen.len(), 10);
        assert_eq!(every.chosen[..2], [599, 699]);
        // Only what matches is counted.
        let posts = choice("match: { methods: [POST] }, first: 2", 7);
        assert_eq!(posts.chosen.len(), 2);
        assert!(posts.considered > 2 && posts.considered < 1_000);
    }

    #[test]
    fn calls_of_one_service_to_another_are_not_known() {
        let (plan, _) = plan(&scenario("percent: 20%, from: client", 7)).unwrap();
        assert_eq!(plan.faults[0].callers.len(), 1);
        let mut other = scenario("percent: 20%", 7);
        other.faults[0].target = "cart".into();
        let (plan, _) = super::plan(&other).unwrap();
        assert_eq!(plan.faults[0].callers[0].caller, "shop".into());
        assert_eq!(plan.faults[0].callers[0].choice, None);
    }

    #[test]
    fn a_small_sample_is_part_of_a_larger_one() {
        let (plan, _) = plan(&scenario("first: 1", 7)).unwrap();
        let chosen = |index: usize| plan.shadows[index].choice.clone().unwrap().chosen;
        let (few, more) = (chosen(0), chosen(1));
        assert!(!few.is_empty() && few.len() < more.len());
        assert!(few.iter().all(|ordinal| more.contains(ordinal)));
    }

    #[test]
    fn the_text_tells_what_will_be_missing() {
        let mut scenario = scenario("first: 1", 7);
        scenario.checks[0].that = crate::expr::parse("p99.9[shop] < 1s").unwrap().expr;
        scenario.checks[0].text = "p99.9[shop] < 1s".to_owned();
        let (plan, _) = plan(&scenario).unwrap();
        assert_eq!(
            plan.shortfalls(),
            [
                "check c will be no-data: p99.9[shop] needs 10,000 samples, calm, storm, after will have 2,000"
            ]
        );
        let text = plan.text(&scenario);
        assert!(
            text.contains(
                "p99.9[shop] over calm, storm, after: 2,000 samples of the 10,000 that it needs"
            ),
            "{text}"
        );
    }
}
