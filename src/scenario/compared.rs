//! How answers are compared, read on its own: for live traffic, which has no timeline and no checks.

use std::path::Path;

use meshbed_proxy::policy::mirror::Limits;

use super::{
    Diff, Overrides, Problems, Role, Scenario, Warning, file, include, load, read,
    resolve::{Ids, Resolver},
    vars,
};
use crate::event::Id;

/// What a file says of comparing.
#[derive(Debug, Clone)]
pub struct Compared {
    /// How answers are compared.
    pub diff: Diff,
    /// What is not to be shown; `None`: it does not say.
    pub redact: Option<Vec<String>>,
    /// What copies may cost; `None`: it does not say.
    pub limits: Option<Limits>,
}

/// Reads a file with `diff:` and nothing that a run needs; or a whole scenario, of which it takes that and the limits of
/// the first candidate. `control` is the shadow whose differences are noise.
pub fn compared(path: &Path, control: Option<&Id>) -> Result<(Compared, Vec<Warning>), Problems> {
    let mut problems = Vec::new();
    let read = include::read(path, &mut problems);
    let Some(mut root) = read.root else {
        return Err(Problems::new(read.files, problems));
    };
    if root.get("topology").is_some() {
        let (scenario, warnings) = load(path, &Overrides::default())?;
        return Ok((of_scenario(scenario), warnings));
    }
    let env = |name: &str| std::env::var(name).ok();
    vars::fill(&mut root, &[], &env, &mut problems);
    let item = read::read(&root, &file::COMPARED, &mut problems);
    let mut resolver = Resolver {
        root: &item,
        files: &read.files,
        today: jiff::Zoned::now().date(),
        problems,
        warnings: Vec::new(),
        standing: Vec::new(),
    };
    let ids = Ids {
        controls: control.into_iter().cloned().collect(),
        ..Ids::default()
    };
    let diff = resolver.diff(&ids, &[]);
    let redact = item
        .get("report")
        .filter(|report| report.has("redact"))
        .map(|report| report.texts("redact"));
    let Resolver {
        problems, warnings, ..
    } = resolver;
    if !problems.is_empty() {
        return Err(Problems::new(read.files, problems));
    }
    let warnings = warnings
        .into_iter()
        .map(|warning| Warning::new(&read.files, warning))
        .collect();
    let compared = Compared {
        diff,
        redact,
        limits: None,
    };
    Ok((compared, warnings))
}

fn of_scenario(scenario: Scenario) -> Compared {
    let candidate = scenario
        .shadows
        .iter()
        .find(|shadow| shadow.role == Role::Candidate);
    Compared {
        limits: candidate.map(|shadow| shadow.limits.clone()),
        diff: scenario.diff,
        redact: Some(scenario.report.redact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Compared, Vec<Warning>), Problems> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        compared(file.path(), Some(&"control".into()))
    }

    #[test]
    fn a_file_may_say_only_how_answers_are_compared() {
        let (compared, _) = read(
            "diff: { json: { ignore: [{ path: $.at, why: a clock }] }, noise: { alpha: 0.05 } }\n\
             report: { redact: [authorization, $.card] }\n",
        )
        .unwrap();
        assert_eq!(compared.diff.control.as_deref(), Some("control"));
        assert!((compared.diff.alpha - 0.05).abs() < f64::EPSILON);
        assert!((compared.diff.min_effect.get() - 0.001).abs() < f64::EPSILON);
        assert_eq!(compared.redact.unwrap(), ["authorization", "$.card"]);
        assert_eq!(compared.limits, None);
    }

    #[test]
    fn what_is_wrong_is_told_by_name_and_place() {
        let problems =
            read("diff:\n  json: { ignore: [{ path: \"$.x[\", why: w }] }\n  header: {}\n")
                .unwrap_err()
                .to_string();
        assert!(problems.contains("diff.json.ignore[0].path"), "{problems}");
        assert!(problems.contains("header"), "{problems}");
        assert!(problems.contains(":3:"), "{problems}");
        assert!(read("name: x\n").is_err());
    }
}
