//! Docker Compose files (<https://github.com/compose-spec/compose-spec>) as services in containers. A service of the file
//! becomes the same tree of nodes as if it stood in `topology.services`, each node with its place in the Compose file, so that
//! whatever is wrong with it later is told there.
//!
//! What cannot be honoured is never dropped in silence: what a service cannot do without (a volume, a secret) is an error, what
//! only concerns how it is run outside of a test bed (a restart policy, a published port) is a warning.

use std::{collections::BTreeMap, path::Path};

use super::{
    include::merge,
    problem::{Files, Place, Problem, suggest},
    resolve::clean,
    yaml::{self, Data, Key, Node, Scalar},
};

mod interpolate;
mod service;

/// Keys of the whole file that mean nothing here, and say nothing of what a service does.
const NAMED: [&str; 2] = ["version", "name"];

/// Keys of the whole file that are for other ways to run it.
const ASIDE: [&str; 2] = ["networks", "volumes"];

/// Takes the services of `topology.compose`, if there is one, beneath those of `topology.services`.
pub(super) fn take(
    root: &mut Node,
    files: &mut Files,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let Some(compose) = root
        .get("topology")
        .and_then(|topology| topology.get("compose"))
    else {
        return;
    };
    // A wrong shape is told when the scenario is held against its tables.
    let Some(scalar) = compose.scalar().filter(|scalar| !scalar.is_null()) else {
        return;
    };
    let at = compose.at;
    let folder = files
        .0
        .get(usize::from(at.file))
        .and_then(|(path, _)| path.parent())
        .unwrap_or(Path::new(""));
    let path = clean(&folder.join(&scalar.text));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(
                Problem::at(at, format!("cannot read {}: {error}", path.display()))
                    .path("topology.compose")
                    .help("a Docker Compose file, relative to the file that names it"),
            );
            return;
        }
    };
    let dotenv = dotenv(&path);
    let number = files.0.len() as u16;
    let node = yaml::read(&text, number, problems);
    files.0.push((path, text));
    let Some(mut file) = node else {
        return;
    };
    // The environment wins over the file, as with Compose.
    let lookup = |name: &str| env(name).or_else(|| dotenv.get(name).cloned());
    expand(&mut file);
    interpolate::fill(&mut file, &lookup, problems);
    let mut taken = Taken {
        problems,
        warnings,
        env: &lookup,
        own: own(root),
    };
    let services = taken.file(&file);
    put(root, services, at);
}

/// What a file's services become, and what is told meanwhile.
struct Taken<'a> {
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Services that the scenario has of its own: their ids, and whether they bring what runs them.
    own: BTreeMap<String, Own>,
}

/// What the scenario itself says of a service.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// It is no container: what the Compose file says is not looked at.
    backed: bool,
    /// It says where the container listens.
    port: bool,
}

fn own(root: &Node) -> BTreeMap<String, Own> {
    let services = root
        .get("topology")
        .and_then(|topology| topology.get("services"));
    let Some(Data::Map(entries)) = services.map(|services| &services.data) else {
        return BTreeMap::new();
    };
    entries
        .iter()
        .map(|(key, node)| {
            let backed = ["builtin", "process", "address", "recorded"]
                .iter()
                .any(|backing| node.get(backing).is_some());
            let port = node
                .get("container")
                .is_some_and(|container| container.get("port").is_some());
            (key.name.clone(), Own { backed, port })
        })
        .collect()
}

impl Taken<'_> {
    fn file(&mut self, file: &Node) -> Vec<(Key, Node)> {
        let Data::Map(entries) = &file.data else {
            self.refuse(
                file.at,
                "",
                format!("a Compose file is a map, this is {}", file.shape()),
                "`services:` and so on",
            );
            return Vec::new();
        };
        for (key, node) in entries {
            let name = key.name.as_str();
            if ASIDE.contains(&name) {
                self.warn(
                    key.at,
                    name,
                    format!("`{name}` is not looked at"),
                    "the containers of a run stand on a network of its own, without volumes",
                );
            } else if !NAMED.contains(&name) && name != "services" && !name.starts_with("x-") {
                let what = format!("not supported yet: `{name}` of a Compose file");
                self.refuse(key.at, name, what, "leave it out");
            } else if name == "services" && !matches!(node.data, Data::Map(_)) {
                let what = format!("`services` is a map, this is {}", node.shape());
                self.refuse(node.at, name, what, "services by their names");
            }
        }
        let Some(Data::Map(services)) = file.get("services").map(|services| &services.data) else {
            if file.get("services").is_none() {
                self.refuse(
                    file.at,
                    "",
                    "a Compose file without `services`".to_owned(),
                    "services by their names",
                );
            }
            return Vec::new();
        };
        let ports: BTreeMap<String, String> = services
            .iter()
            .filter_map(|(key, node)| Some((key.name.clone(), service::port(node)?.0)))
            .collect();
        let mut taken = Vec::new();
        for (key, node) in services {
            if self.own.get(&key.name).is_some_and(|own| own.backed) {
                continue;
            }
            if let Some(node) = self.service(key, node, &ports) {
                taken.push((key.clone(), node));
            }
        }
        taken
    }

    fn refuse(&mut self, at: Place, path: &str, what: String, help: &str) {
        self.problems
            .push(Problem::at(at, what).path(path).help(help));
    }

    fn warn(&mut self, at: Place, path: &str, what: String, help: &str) {
        self.warnings
            .push(Problem::at(at, what).path(path).help(help));
    }

    fn unknown(&mut self, key: &Key, path: &str, known: &[&str]) {
        self.problems.push(
            Problem::at(key.at, format!("unknown key `{}`", key.name))
                .path(path)
                .help(suggest(&key.name, known.iter().copied())),
        );
    }
}

/// Puts services beneath those of the scenario.
fn put(root: &mut Node, services: Vec<(Key, Node)>, at: Place) {
    let Data::Map(top) = &mut root.data else {
        return;
    };
    let topology = top.iter_mut().find(|(key, _)| key.name == "topology");
    let Some((_, topology)) = topology else {
        return;
    };
    let Data::Map(entries) = &mut topology.data else {
        return;
    };
    let earlier = Node {
        at,
        data: Data::Map(services),
    };
    match entries.iter_mut().find(|(key, _)| key.name == "services") {
        Some((_, own)) => {
            let later = std::mem::replace(own, Node::null(at));
            *own = merge(earlier, later);
        }
        None => entries.push((named("services", at), earlier)),
    }
}

/// Carries out `<<: *anchor`: what it names goes beneath what stands beside it.
fn expand(node: &mut Node) {
    match &mut node.data {
        Data::Scalar(_) => {}
        Data::List(items) => items.iter_mut().for_each(expand),
        Data::Map(entries) => {
            for (_, node) in entries.iter_mut() {
                expand(node);
            }
            let Some(place) = entries.iter().position(|(key, _)| key.name == "<<") else {
                return;
            };
            let (_, merged) = entries.remove(place);
            let maps = match merged.data {
                Data::List(items) => items,
                _ => vec![merged],
            };
            for map in maps {
                let Data::Map(others) = map.data else {
                    continue;
                };
                for (key, node) in others {
                    if !entries.iter().any(|(own, _)| own.name == key.name) {
                        entries.push((key, node));
                    }
                }
            }
        }
    }
}

/// The `.env` file beside a Compose file: `NAME=VALUE` lines.
fn dotenv(compose: &Path) -> BTreeMap<String, String> {
    let path = compose.parent().unwrap_or(Path::new("")).join(".env");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let value = value.trim();
            let bare = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .or_else(|| {
                    value
                        .strip_prefix('\'')
                        .and_then(|rest| rest.strip_suffix('\''))
                });
            let name = name.trim().trim_start_matches("export ").trim();
            (name.to_owned(), bare.unwrap_or(value).to_owned())
        })
        .collect()
}

fn named(name: &str, at: Place) -> Key {
    Key {
        name: name.to_owned(),
        at,
    }
}

/// A text, which stays one whatever it looks like.
fn text(at: Place, text: impl Into<String>) -> Node {
    Node {
        at,
        data: Data::Scalar(Scalar {
            text: text.into(),
            quoted: true,
            ..Scalar::default()
        }),
    }
}

/// A value that may be a number.
fn bare(at: Place, text: impl Into<String>) -> Node {
    Node {
        at,
        data: Data::Scalar(Scalar {
            text: text.into(),
            ..Scalar::default()
        }),
    }
}

fn map(at: Place, entries: Vec<(Key, Node)>) -> Node {
    Node {
        at,
        data: Data::Map(entries),
    }
}

fn list(at: Place, items: Vec<Node>) -> Node {
    Node {
        at,
        data: Data::List(items),
    }
}
