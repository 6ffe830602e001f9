//! `meshbed check SCENARIO...`.

use std::{path::PathBuf, process::ExitCode};

use serde_json::{Value, json};

use super::exit::{self, Exit};
use crate::{
    backend, plan,
    run::chain,
    scenario::{self, Backing, Overrides, Part, Problem, Scenario, Warning},
};

/// Validate scenarios and print what a run would do; touches nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// The seed, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
    /// Set a variable of `vars:`
    #[arg(long, value_name = "VAR=VALUE", value_parser = variable)]
    set: Vec<(String, String)>,
    /// Print one JSON object a scenario, with all chosen requests
    #[arg(long)]
    json: bool,
}

/// Reads `VAR=VALUE`.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not VAR=VALUE")),
    }
}

/// Reads a seed.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is not a seed, accepted: 0 to 2^64-1, also as 0x…"))
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let overrides = Overrides {
        seed: args.seed,
        set: args.set.clone(),
        workers: None,
    };
    let mut codes = Vec::new();
    let mut out = String::new();
    for (index, path) in args.scenarios.iter().enumerate() {
        if index > 0 && !args.json {
            out.push('\n');
        }
        codes.push(match scenario::load(path, &overrides) {
            Err(problems) => {
                if args.json {
                    out.push_str(&format!(
                        "{}\n",
                        json!({"file": path, "problems": problems.json()})
                    ));
                } else {
                    eprintln!("{problems}");
                }
                exit::USAGE
            }
            Ok((scenario, warnings)) => check(&scenario, &warnings, args.json, &mut out),
        });
    }
    let printed = super::print(out.as_bytes());
    match Exit::worst(codes) {
        exit::PASS => printed,
        code => code.into(),
    }
}

fn check(scenario: &Scenario, warnings: &[Warning], as_json: bool, out: &mut String) -> Exit {
    let mut problems = builtins(scenario);
    let plan = match plan::plan(scenario) {
        Ok((plan, _)) => Some(plan),
        Err(error) => {
            problems.push(unplanned(scenario, &error));
            None
        }
    };
    if let (Some(plan), true) = (&plan, problems.is_empty()) {
        if as_json {
            let mut object = plan.json(scenario);
            let shortfalls = plan.shortfalls().into_iter();
            let list: Vec<Value> = warnings
                .iter()
                .map(Warning::json)
                .chain(shortfalls.map(|what| json!({"what": what})))
                .collect();
            if let Some(object) = object.as_object_mut() {
                object.insert("warnings".to_owned(), list.into());
            }
            out.push_str(&format!("{object}\n"));
        } else {
            for warning in warnings {
                eprintln!("{warning}\n");
            }
            out.push_str(&plan.text(scenario));
            for line in plan.shortfalls() {
                eprintln!("warning: {line}");
            }
        }
        return exit::PASS;
    }
    let problems = scenario.standing.problems(problems);
    if as_json {
        out.push_str(&format!(
            "{}\n",
            json!({"file": scenario.file, "problems": problems.json()})
        ));
    } else {
        eprintln!("{problems}");
    }
    exit::USAGE
}

/// What a plan could not be made of.
fn unplanned(scenario: &Scenario, error: &plan::Error) -> Problem {
    let what = chain(error);
    match error {
        plan::Error::Schedule(cause) => scenario.standing.problem(&cause.part(), what),
        plan::Error::Rule(_) => Problem::anywhere(what),
    }
}

/// Builtin services that there are not.
pub(super) fn builtins(scenario: &Scenario) -> Vec<Problem> {
    let services = scenario.services.iter().map(|service| {
        let part = Part::Service(service.id.clone());
        (part, &service.id, &service.backing)
    });
    let shadows = scenario.shadows.iter().map(|shadow| {
        let part = Part::Shadow(shadow.id.clone());
        (part, &shadow.of, &shadow.backing)
    });
    services
        .chain(shadows)
        .filter_map(|(part, service, backing)| {
            let Backing::Builtin { app, version } = backing else {
                return None;
            };
            let spec = backend::Builtin {
                app: app.clone(),
                version: version.clone(),
                service: service.to_string(),
            };
            backend::find(&spec)
                .err()
                .map(|error| scenario.standing.problem(&part, chain(&error)))
        })
        .collect()
}
