//! Fills in `$(var)`, `$(env.NAME)` and `$(name)`; `$$(` is a literal `$(`. A value that is only `$(x)` takes the whole of
//! x, quotes included, so that a number stays a number.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    key::Kind,
    problem::{Place, Problem, meant, suggest},
    read,
    yaml::{Data, Node, Scalar},
};

/// A variable of the scenario.
struct Variable {
    at: Place,
    kind: Option<Kind>,
    value: Option<Scalar>,
}

/// Fills in a whole tree. `set` are the values of the command line, `env` reads the environment.
pub(super) fn fill(
    root: &mut Node,
    set: &[(String, String)],
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) {
    let mut filler = Filler {
        variables: BTreeMap::new(),
        used: RefCell::new(BTreeSet::new()),
        name: None,
        env,
        problems: RefCell::new(Vec::new()),
    };
    filler.declare(root, set);
    filler.settle();
    if let Data::Map(entries) = &mut root.data {
        // The name comes first: `$(name)` is made of it.
        for (_, node) in entries.iter_mut().filter(|(key, _)| key.name == "name") {
            filler.walk(node, "name");
            filler.name = node.scalar().map(|scalar| file_name(&scalar.text));
        }
        for (key, node) in entries.iter_mut() {
            if !matches!(key.name.as_str(), "vars" | "name" | "include") {
                filler.walk(node, &key.name);
            }
        }
    }
    let used = filler.used.into_inner();
    problems.append(&mut filler.problems.into_inner());
    for (name, variable) in &filler.variables {
        if !used.contains(name) {
            problems.push(
                Problem::at(variable.at, format!("the variable `{name}` is never used"))
                    .path(&format!("vars.{name}"))
                    .help(format!("use it as `$({name})`, or remove it")),
            );
        }
    }
}

/// A text as the name of a file: small letters, digits and `-`.
pub(super) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        "scenario".to_owned()
    } else {
        name.to_owned()
    }
}

struct Filler<'a> {
    variables: BTreeMap<String, Variable>,
    used: RefCell<BTreeSet<String>>,
    name: Option<String>,
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<Problem>>,
}

/// What a reference stands for.
struct Found {
    scalar: Scalar,
}

impl Filler<'_> {
    fn tell(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Reads `vars:`; its shape is held against the table later.
    fn declare(&mut self, root: &Node, set: &[(String, String)]) {
        if let Some(Node {
            data: Data::Map(entries),
            ..
        }) = root.get("vars")
        {
            for (key, node) in entries {
                let (kind, value) = match &node.data {
                    Data::Scalar(scalar) => (None, Some(scalar.clone())),
                    _ => (
                        node.get("type")
                            .and_then(Node::scalar)
                            .and_then(|scalar| kind_of(&scalar.text)),
                        node.get("default").and_then(Node::scalar).cloned(),
                    ),
                };
                if let (Some(kind), Some(value), Some(at)) =
                    (&kind, &value, node.get("default").map(|node| node.at))
                    && !value.text.contains("$(")
                    && let Err(accepted) = read::is_of(value, kind)
                {
                    self.tell(
                        Problem::at(at, format!("`{}` is not accepted", value.text))
                            .path(&format!("vars.{}.default", key.name))
                            .help(format!("accepted: {accepted}")),
                    );
                }
                let variable = Variable {
                    at: key.at,
                    kind,
                    value,
                };
                self.variables.insert(key.name.clone(), variable);
            }
        }
        for (name, text) in set {
            let names: Vec<String> = self.variables.keys().cloned().collect();
            let option = format!("--set {name}={text}");
            let Some(variable) = self.variables.get_mut(name) else {
                let help = suggest(name, names.iter().map(String::as_str));
                self.tell(
                    Problem::anywhere(format!("there is no variable `{name}`"))
                        .path(&option)
                        .help(help),
                );
                continue;
            };
            let scalar = Scalar {
                text: text.clone(),
                // A text stays one even if it looks like a number.
                quoted: matches!(variable.kind, Some(Kind::Text)),
                ..Scalar::default()
            };
            if let Some(kind) = &variable.kind
                && let Err(accepted) = read::is_of(&scalar, kind)
            {
                let problem = Problem::anywhere(format!("`{text}` is not accepted"))
                    .path(&option)
                    .help(format!("accepted: {accepted}"));
                self.problems.borrow_mut().push(problem);
            }
            variable.value = Some(scalar);
        }
    }

    /// Fills in what variables say of one another.
    fn settle(&mut self) {
        // All from what was typed: a value that is settled already may hold a literal `$(`.
        let settled: Vec<(String, Option<Scalar>)> = self
            .variables
            .keys()
            .map(|name| (name.clone(), self.settled(name, &mut vec![name.clone()])))
            .collect();
        for (name, value) in settled {
            if let Some(variable) = self.variables.get_mut(&name) {
                variable.value = value;
            }
        }
    }

    fn settled(&self, name: &str, chain: &mut Vec<String>) -> Option<Scalar> {
        let variable = self.variables.get(name)?;
        let value = variable.value.as_ref()?;
        let mut value = value.clone();
        self.scalar(&mut value, variable.at, &format!("vars.{name}"), chain);
        value.columns.clear();
        Some(value)
    }

    fn walk(&self, node: &mut Node, path: &str) {
        match &mut node.data {
            Data::Scalar(scalar) => {
                let mut chain = Vec::new();
                self.scalar(scalar, node.at, path, &mut chain);
            }
            Data::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let label = match item.get("id").and_then(Node::scalar) {
                        Some(id) => id.text.clone(),
                        None => index.to_string(),
                    };
                    self.walk(item, &format!("{path}[{label}]"));
                }
            }
            Data::Map(entries) => {
                for (key, node) in entries {
                    self.walk(node, &format!("{path}.{}", key.name));
                }
            }
        }
    }

    /// Fills in one text.
    fn scalar(&self, scalar: &mut Scalar, at: Place, path: &str, chain: &mut Vec<String>) {
        if !scalar.text.contains("$(") {
            return;
        }
        if let Some(reference) = whole(&scalar.text) {
            match self.look_up(reference, at, path, chain) {
                // Where x stands is where its value is wrong, if it is.
                Some(found) => {
                    *scalar = Scalar {
                        columns: Vec::new(),
                        ..found.scalar
                    }
                }
                None => scalar.told = true,
            }
            return;
        }
        let mut text = String::new();
        let mut shown = String::new();
        let mut columns = Vec::new();
        let source = scalar.columns.clone();
        let column = |place: usize| source.get(place).copied();
        let mut rest = scalar.text.as_str();
        let mut place = 0;
        let keep = |piece: &str, from: usize, columns: &mut Vec<u32>| {
            for offset in 0..piece.chars().count() {
                columns.extend(column(from + offset));
            }
        };
        while let Some(found) = rest.find("$(") {
            let (before, after) = rest.split_at(found);
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str("$(");
                shown.push_str(before);
                shown.push_str("$(");
                let length = before.chars().count();
                keep(before, place, &mut columns);
                columns.extend(
                    [column(place + length + 1), column(place + length + 2)]
                        .iter()
                        .flatten(),
                );
                place += length + 3;
                rest = after.get(2..).unwrap_or("");
                continue;
            }
            text.push_str(before);
            shown.push_str(before);
            keep(before, place, &mut columns);
            place += before.chars().count();
            let Some((reference, next)) = after.get(2..).and_then(|after| after.split_once(')'))
            else {
                self.tell(
                    Problem::at(at, "`$(` has no `)`")
                        .path(path)
                        .help("`$(variable)`, or `$$(` for a literal `$(`"),
                );
                scalar.told = true;
                return;
            };
            // Where the reference itself stands, where that is known.
            let spot = column(place).map_or(at, |first| Place {
                column: at.column + first,
                width: reference.chars().count() as u32 + 3,
                ..at
            });
            let found = self.look_up(reference.trim(), spot, path, chain);
            scalar.told |= found.is_none();
            if let Some(found) = found {
                scalar.told |= found.scalar.told;
                let length = found.scalar.text.chars().count();
                columns.extend(std::iter::repeat_n(column(place), length).flatten());
                text.push_str(&found.scalar.text);
                shown.push_str(found.scalar.shown());
            }
            place += reference.chars().count() + 3;
            rest = next;
        }
        keep(rest, place, &mut columns);
        text.push_str(rest);
        shown.push_str(rest);
        if columns.len() != text.chars().count() {
            columns.clear();
        }
        scalar.shown = (shown != text).then_some(shown);
        scalar.text = text;
        scalar.columns = columns;
    }

    fn look_up(
        &self,
        reference: &str,
        at: Place,
        path: &str,
        chain: &mut Vec<String>,
    ) -> Option<Found> {
        if let Some(name) = reference.strip_prefix("env.") {
            let Some(value) = (self.env)(name) else {
                self.tell(
                    Problem::at(at, format!("the environment has no variable `{name}`"))
                        .path(path)
                        .help(format!("set it: `{name}=… meshbed …`")),
                );
                return None;
            };
            return Some(Found {
                scalar: Scalar {
                    text: value,
                    // A report must not hold what the environment keeps secret.
                    shown: Some(format!("$({reference})")),
                    ..Scalar::default()
                },
            });
        }
        if reference.starts_with("row.") || reference.starts_with("matrix.") {
            self.tell(
                Problem::at(at, format!("not supported yet: $({reference})"))
                    .path(path)
                    .help("variables of `vars:`, `$(env.NAME)` and `$(name)` are"),
            );
            return None;
        }
        let Some(variable) = self.variables.get(reference) else {
            if reference == "name" && self.name.is_some() {
                return self.name.clone().map(|text| Found {
                    scalar: Scalar {
                        text,
                        ..Scalar::default()
                    },
                });
            }
            let names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
            let close = meant(reference, names.iter().copied())
                .map_or_else(String::new, |close| format!("did you mean `$({close})`? "));
            let known = if names.is_empty() {
                "`vars:` declares none".to_owned()
            } else {
                format!("`vars:` declares {}", names.join(", "))
            };
            self.tell(
                Problem::at(at, format!("there is no variable `{reference}`"))
                    .path(path)
                    .help(format!("{close}{known}; a literal `$(` is written `$$(`")),
            );
            return None;
        };
        self.used.borrow_mut().insert(reference.to_owned());
        // Variables name one another only while `vars:` itself is settled; later all values are final.
        if !chain.is_empty() {
            if chain.iter().any(|name| name == reference) {
                // Every one of the circle comes here; it is told where its first name begins it.
                if chain.first().is_some_and(|first| first == reference)
                    && chain.iter().all(|name| name.as_str() >= reference)
                {
                    let circle = format!("{} -> {reference}", chain.join(" -> "));
                    self.tell(
                        Problem::at(at, format!("variables name one another: {circle}"))
                            .path(path)
                            .help("give one of them a value"),
                    );
                }
                return None;
            }
            chain.push(reference.to_owned());
            let settled = self.settled(reference, chain);
            chain.pop();
            return settled.map(|scalar| Found { scalar });
        }
        let Some(value) = &variable.value else {
            self.tell(
                Problem::at(at, format!("the variable `{reference}` has no value"))
                    .path(path)
                    .help(format!("`--set {reference}=…`, or a `default` in `vars:`")),
            );
            return None;
        };
        Some(Found {
            scalar: value.clone(),
        })
    }
}

/// The reference of a text that is only `$(x)`.
fn whole(text: &str) -> Option<&str> {
    let reference = text.strip_prefix("$(")?.strip_suffix(')')?;
    (!reference.contains([')', '('])).then_some(reference.trim())
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "duration" => Kind::Duration,
        "rate" => Kind::Rate,
        "size" => Kind::Size,
        "share" => Kind::Share,
        "int" => Kind::Whole(0, u64::MAX),
        "number" => Kind::Number(f64::MIN),
        "string" => Kind::Text,
        "bool" => Kind::Flag,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::yaml;

    fn filled(text: &str, set: &[(&str, &str)]) -> (serde_json::Value, Vec<String>) {
        let mut root = yaml::read(text, 0, &mut Vec::new()).unwrap();
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut problems = Vec::new();
        let env = |name: &str| (name == "TOKEN").then(|| "secret".to_owned());
        fill(&mut root, &set, &env, &mut problems);
        let what = problems
            .iter()
            .map(|problem| format!("{} | {}", problem.what, problem.help))
            .collect();
        (read::json(&root), what)
    }

    #[test]
    fn a_value_that_is_only_a_variable_keeps_its_type() {
        let (json, problems) = filled(
            "vars: { n: 5, s: '5' }\na: $(n)\nb: \"$(n)\"\nc: $(s)\nd: x$(n)y$$(z)",
            &[],
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(json["a"], 5);
        assert_eq!(json["b"], 5);
        assert_eq!(json["c"], "5");
        assert_eq!(json["d"], "x5y$(z)");
    }

    #[test]
    fn unknown_and_unused_variables_are_told() {
        let (_, problems) = filled(
            "vars: { rate: 5/s, slow: 1s }\na: $(rte)\n",
            &[("slwo", "2s")],
        );
        assert!(
            problems
                .iter()
                .any(|text| text.contains("did you mean `$(rate)`?"))
        );
        assert!(
            problems
                .iter()
                .any(|text| text.contains("`slow` is never used"))
        );
        assert!(
            problems
                .iter()
                .any(|text| text.contains("there is no variable `slwo` | did you mean `slow`?"))
        );
    }

    #[test]
    fn the_command_line_must_keep_the_type() {
        let text = "vars: { rate: { type: rate, default: 5/s } }\na: $(rate)\n";
        assert_eq!(filled(text, &[("rate", "7/s")]).0["a"], "7/s");
        assert!(
            filled(text, &[("rate", "7")]).1[0]
                .starts_with("`7` is not accepted | accepted: a rate")
        );
    }

    #[test]
    fn variables_may_name_others_but_not_in_a_circle() {
        let (json, problems) = filled("vars: { a: 1$(b), b: 2 }\nx: $(a)\n", &[("b", "3")]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(json["x"], 13);
        let (_, problems) = filled("vars: { a: $(b), b: $(a) }\nx: $(a)\n", &[]);
        assert!(problems[0].contains("variables name one another: a -> b -> a"));
    }

    #[test]
    fn the_environment_is_used_and_not_shown() {
        let mut root = yaml::read(
            "a: \"Bearer $(env.TOKEN)\"\nb: $(env.NONE)\n",
            0,
            &mut Vec::new(),
        )
        .unwrap();
        let mut problems = Vec::new();
        let env = |name: &str| (name == "TOKEN").then(|| "secret".to_owned());
        fill(&mut root, &[], &env, &mut problems);
        let scalar = root.get("a").unwrap().scalar().unwrap();
        assert_eq!(scalar.text, "Bearer secret");
        assert_eq!(scalar.shown(), "Bearer $(env.TOKEN)");
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_name_becomes_a_file_name() {
        let (json, _) = filled(
            "name: Shop, slow payments!\nreport: \"reports/$(name)\"\n",
            &[],
        );
        assert_eq!(json["report"], "reports/shop-slow-payments");
    }
}
