//! Reads a scenario file and what it includes, and merges them: maps by key, lists of things by `id`, the later wins.

use std::path::{Path, PathBuf};

use super::{
    problem::{Files, Place, Problem},
    yaml::{self, Data, Node},
};

/// Files within files; deeper than anyone writes, and cycles are found before.
const MAX_FILES: usize = 200;

/// What was read.
pub(super) struct Read {
    /// Everything merged; `None`: nothing could be read.
    pub(super) root: Option<Node>,
    pub(super) files: Files,
}

/// Reads a file and all that it includes.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Read {
    let mut reader = Reader {
        files: Files::default(),
        chain: Vec::new(),
        problems,
    };
    let root = reader.file(path, None);
    Read {
        root,
        files: reader.files,
    }
}

struct Reader<'a> {
    files: Files,
    /// The files that include one another, outermost first.
    chain: Vec<PathBuf>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, named_at: Option<Place>) -> Option<Node> {
        let place = |what: String| match named_at {
            Some(at) => Problem::at(at, what).path("include"),
            None => Problem::anywhere(what),
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.problems.push(
                    place(format!("cannot read {}: {error}", path.display()))
                        .help("a path to a file; what `include` names is looked for beside the file that names it"),
                );
                return None;
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.problems.push(
                    place(format!("{} is not UTF-8 from byte {at} on", path.display()))
                        .help("a scenario is YAML in UTF-8"),
                );
                return None;
            }
        };
        let number = self.files.0.len();
        if number >= MAX_FILES {
            self.problems
                .push(place(format!("more than {MAX_FILES} files are included")));
            return None;
        }
        self.files.0.push((path.to_owned(), text.clone()));
        let node = yaml::read(&text, number as u16, self.problems)?;
        let Data::Map(_) = node.data else {
            self.problems.push(
                Problem::at(
                    node.at,
                    format!("a scenario is a map, this is {}", node.shape()),
                )
                .help("`name: …`, `topology: …` and so on"),
            );
            return None;
        };
        // The canonical name, so that `a/../a.yaml` is a cycle, too.
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.chain.push(canonical);
        let mut merged: Option<Node> = None;
        for (included, at) in included(&node) {
            let below = path.parent().unwrap_or(Path::new("")).join(included);
            let canonical = below.canonicalize().unwrap_or_else(|_| below.clone());
            if let Some(first) = self.chain.iter().position(|file| *file == canonical) {
                let chain: Vec<String> = self
                    .chain
                    .iter()
                    .skip(first)
                    .chain([&canonical])
                    .map(|file| {
                        file.file_name()
                            .unwrap_or(file.as_os_str())
                            .to_string_lossy()
                            .into_owned()
                    })
                    .collect();
                self.problems.push(
                    Problem::at(
                        at,
                        format!("files include one another: {}", chain.join(" -> ")),
                    )
                    .path("include")
                    .help("leave one of them out"),
                );
                continue;
            }
            if let Some(other) = self.file(&below, Some(at)) {
                merged = Some(match merged {
                    Some(before) => merge(before, other),
                    None => other,
                });
            }
        }
        self.chain.pop();
        Some(match merged {
            Some(before) => merge(before, node),
            None => node,
        })
    }
}

/// The files that a file names.
fn included(node: &Node) -> Vec<(String, Place)> {
    let Some(include) = node.get("include") else {
        return Vec::new();
    };
    match &include.data {
        Data::List(items) => items
            .iter()
            .filter_map(|item| Some((item.scalar()?.text.clone(), item.at)))
            .collect(),
        // A wrong shape is told when the file is held against its tables.
        _ => Vec::new(),
    }
}

/// Merges two trees, the later into the earlier.
pub(super) fn merge(earlier: Node, later: Node) -> Node {
    let at = later.at;
    match (earlier.data, later.data) {
        (Data::Map(mut entries), Data::Map(others)) => {
            for (key, node) in others {
                match entries.iter_mut().find(|(other, _)| other.name == key.name) {
                    Some((old_key, old)) => {
                        let before = std::mem::replace(old, Node::null(at));
                        *old = merge(before, node);
                        *old_key = key;
                    }
                    None => entries.push((key, node)),
                }
            }
            Node {
                at,
                data: Data::Map(entries),
            }
        }
        (Data::List(mut items), Data::List(others))
            if items.iter().chain(&others).all(|item| id(item).is_some()) =>
        {
            let before = items.len();
            for node in others {
                // Only with what an earlier file has: two equal ids of one file are told as such.
                let found = items
                    .iter()
                    .take(before)
                    .position(|item| id(item) == id(&node));
                match found.and_then(|index| items.get_mut(index)) {
                    Some(old) => {
                        let earlier = std::mem::replace(old, Node::null(at));
                        *old = merge(earlier, node);
                    }
                    None => items.push(node),
                }
            }
            Node {
                at,
                data: Data::List(items),
            }
        }
        (_, data) => Node { at, data },
    }
}

fn id(node: &Node) -> Option<&str> {
    Some(node.get("id")?.scalar()?.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        yaml::read(text, 0, &mut Vec::new()).unwrap()
    }

    fn merged(earlier: &str, later: &str) -> serde_json::Value {
        super::super::read::json(&merge(tree(earlier), tree(later)))
    }

    #[test]
    fn maps_merge_by_key_and_things_by_id() {
        assert_eq!(
            merged(
                "{ a: 1, b: { x: 1, y: 2 }, c: [1, 2], d: [{ id: p, for: 1s }, { id: q }] }",
                "{ b: { y: 3 }, c: [4], d: [{ id: p, for: 2s }, { id: r }], e: 5 }"
            ),
            serde_json::json!({
                "a": 1, "b": { "x": 1, "y": 3 }, "c": [4],
                "d": [{ "id": "p", "for": "2s" }, { "id": "q" }, { "id": "r" }], "e": 5,
            })
        );
    }

    #[test]
    fn cycles_are_told_with_their_chain() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "include: [b.yaml]\nname: a\n");
        write("b.yaml", "include: [c.yaml]\n");
        write("c.yaml", "include: [a.yaml]\n");
        let mut problems = Vec::new();
        let read = read(&folder.path().join("a.yaml"), &mut problems);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].what(),
            "files include one another: a.yaml -> b.yaml -> c.yaml -> a.yaml"
        );
        assert_eq!(read.files.0.len(), 3);
    }

    #[test]
    fn a_file_that_two_include_is_no_cycle() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "include: [b.yaml, c.yaml]\nname: a\n");
        write("b.yaml", "include: [c.yaml]\nseed: 1\n");
        write("c.yaml", "seed: 2\n");
        let mut problems = Vec::new();
        let read = read(&folder.path().join("a.yaml"), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        // b before c, and c says 2.
        assert_eq!(
            read.root
                .unwrap()
                .get("seed")
                .unwrap()
                .scalar()
                .unwrap()
                .text,
            "2"
        );
    }
}
