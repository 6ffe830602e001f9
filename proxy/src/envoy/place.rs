//! Where in the file a path is: line and column of its key, or of the nearest part of it that is there.

use saphyr::{LoadableYamlNode, MarkedYaml, Marker};

use super::{Problem, support};

/// The reader's words for it.
const DUPLICATE: &str = "duplicated key in mapping";

/// The file's path of a path of [`Config`](crate::config::Config).
pub(super) fn in_file(path: &str) -> String {
    // Of several weighted clusters, or one: the message names it.
    let path = match path.split_once(".action.clusters") {
        Some((route, _)) => format!("{route}.route"),
        None => path.to_owned(),
    };
    let path = path
        .replace(".default_chain.", ".default_filter_chain.")
        .replace(".chains", ".filter_chains")
        .replace(".matches", ".filter_chain_match")
        .replace(".http.", ".filters[0].typed_config.")
        .replace(".tcp.", ".filters[0].typed_config.")
        .replace(
            ".typed_config.virtual_hosts",
            ".typed_config.route_config.virtual_hosts",
        )
        .replace(".typed_config.faults", ".typed_config.http_filters")
        .replace(".action.mirrors[", ".route.request_mirror_policies[")
        .replace(".action.host_rewrite", ".route.host_rewrite_literal")
        .replace(".action", ".route")
        .replace(".matcher", ".match")
        .replace(".endpoints[", ".load_assignment.endpoints[");
    if path.starts_with("listeners") || path.starts_with("clusters") {
        format!("static_resources.{path}")
    } else {
        path
    }
}

/// Gives each problem its place, as far as it is known.
pub(super) fn locate(text: &str, problems: &mut [Problem]) {
    if problems.iter().all(|problem| problem.path.is_empty()) {
        return;
    }
    let Ok(documents) = MarkedYaml::load_from_str(text) else {
        return;
    };
    let Some(root) = documents.first() else {
        return;
    };
    for problem in problems
        .iter_mut()
        .filter(|problem| !problem.path.is_empty())
    {
        problem.place = find(root, &problem.path).map(|marker| (marker.line(), marker.col() + 1));
    }
    // The walk, the conversion and the check each go through the file: put what they found in its order.
    problems.sort_by_key(|problem| problem.place);
}

/// A key that a mapping has twice. The decoder takes the last and says nothing.
pub(super) fn twice(text: &str) -> Option<Problem> {
    match MarkedYaml::load_from_str(text) {
        Err(error) if error.info() == DUPLICATE => Some(Problem {
            place: Some((error.marker().line(), error.marker().col() + 1)),
            ..Problem::invalid("", "the mapping has this key twice")
        }),
        _ => None,
    }
}

/// What the parser said. It places an unknown field at the mapping that has it; the field itself is easier to see.
pub(super) fn unreadable(text: &str, what: String) -> Problem {
    let mut problem = Problem::invalid("", what);
    let field = problem
        .what
        .split_once(": unrecognized field name '")
        .and_then(|(path, rest)| Some((path, rest.split_once("' at line ")?.0)));
    let Some((path, name)) = field else {
        return problem;
    };
    let place = MarkedYaml::load_from_str(text).ok().and_then(|documents| {
        find_all(
            documents.first()?,
            &support::join(path, &support::key_step(name)),
        )
    });
    if let Some(marker) = place {
        problem = Problem {
            place: Some((marker.line(), marker.col() + 1)),
            ..Problem::invalid(path, format!("unrecognized field name '{name}'"))
        };
    }
    problem
}

fn find(root: &MarkedYaml<'_>, path: &str) -> Option<Marker> {
    follow(root, path).0
}

/// Only where all of the path is there.
fn find_all(root: &MarkedYaml<'_>, path: &str) -> Option<Marker> {
    let (marker, all) = follow(root, path);
    marker.filter(|_| all)
}

fn follow(root: &MarkedYaml<'_>, path: &str) -> (Option<Marker>, bool) {
    let mut node = root;
    let mut found = None;
    for step in steps(path) {
        let next = match step {
            Step::Index(index) => node
                .data
                .as_sequence()
                .and_then(|items| items.get(index))
                .map(|item| (item.span.start, item)),
            Step::Key(key) => node.data.as_mapping().and_then(|entries| {
                entries
                    .iter()
                    .find(|(name, _)| name.data.as_str().is_some_and(|name| same(name, &key)))
                    .map(|(name, value)| (name.span.start, value))
            }),
        };
        let Some((marker, inner)) = next else {
            return (found, false);
        };
        found = Some(marker);
        node = inner;
    }
    (found, true)
}

/// The file may have the field's JSON name: `portValue` for `port_value`.
fn same(name: &str, key: &str) -> bool {
    name == key || {
        let mut camel = String::with_capacity(key.len());
        for part in key.split('_') {
            let mut chars = part.chars();
            match chars.next() {
                Some(first) if !camel.is_empty() => camel.push(first.to_ascii_uppercase()),
                Some(first) => camel.push(first),
                None => {}
            }
            camel.push_str(chars.as_str());
        }
        name == camel
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The steps of `a.b[0]["c.d"]`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[\"") {
            let Some((key, after)) = after.split_once("\"]") else {
                break;
            };
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some((index, after)) = after.split_once(']') else {
                break;
            };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_at_its_key_or_at_the_nearest_that_is_there() {
        let text = "a:\n  b:\n  - c: 1\n    portValue: 2\n  - {\"d.e\": {f: 3}}\n";
        let documents = MarkedYaml::load_from_str(text).unwrap();
        for (path, place) in [
            ("a.b[0].c", Some((3, 5))),
            ("a.b[0].port_value", Some((4, 5))),
            ("a.b[0].missing", Some((3, 5))),
            ("a.b[1][\"d.e\"].f", Some((5, 14))),
            ("z", None),
        ] {
            let found = find(&documents[0], path).map(|marker| (marker.line(), marker.col() + 1));
            assert_eq!(found, place, "{path}");
        }
    }
}
