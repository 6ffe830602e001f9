//! A module may name only modules that stand before it: one bottom-up list a crate, a total order, hence no cycles.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PROXY: &str = "unit draw drain error | policy config envoy | observe metrics net access_log | cluster snapshot | http tcp | \
                     xds listener admin | app cli main";
const TESTBED: &str = "stats capture session shadow | event measure | expr score | scenario | replay plan backend journal \
                       container disturb toxiproxy | run mirror | report tui cli main";

/// Upward names that are right all the same, with the reason: `(file ending, module)`.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn modules_name_only_what_stands_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (folder, order) in [("proxy/src", PROXY), ("src", TESTBED)] {
        let order: Vec<&str> = order
            .split(['|', ' '])
            .filter(|name| !name.is_empty())
            .collect();
        let files = sources(&root.join(folder));
        assert!(files.len() > 5, "{folder} has no sources");
        for file in files {
            let inside = file.strip_prefix(root.join(folder)).unwrap();
            let module = inside
                .iter()
                .next()
                .unwrap()
                .to_str()
                .unwrap()
                .trim_end_matches(".rs");
            if module == "lib" {
                continue;
            }
            let Some(place) = order.iter().position(|name| *name == module) else {
                wrong.push(format!(
                    "{folder}/{}: `{module}` has no place in the order",
                    inside.display()
                ));
                continue;
            };
            for named in named_modules(&fs::read_to_string(&file).unwrap()) {
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|(end, name)| inside.ends_with(end) && *name == named);
                match order.iter().position(|name| **name == named) {
                    Some(other) if other > place && !excepted => {
                        wrong.push(format!(
                            "{folder}/{} names `{named}`, which stands above it",
                            inside.display()
                        ));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_guard_sees_nested_groups_inline_paths_and_no_comments() {
    let text = "use crate::{event::{Id, Hop}, report::{self, format::*}};\n// crate::tui\nfn f() { crate::score::x(\"crate::cli\") }";
    let names: Vec<String> = named_modules(text).into_iter().collect();
    assert_eq!(names, ["event", "report", "score"]);
}

/// The first module of every path that begins with `crate::`, in code that is not a test.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code = without_comments_and_strings(text);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + found.len()..];
        if !rest.trim_start().starts_with('{') {
            names.insert(identifier(rest));
            continue;
        }
        // In a group, the names at depth 1 are modules of the crate.
        let mut depth = 0;
        let mut expect = false;
        let mut chars = rest.char_indices();
        for (index, c) in chars.by_ref() {
            match c {
                '{' => {
                    depth += 1;
                    expect = depth == 1;
                }
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ',' => expect = depth == 1,
                c if expect && (c.is_alphabetic() || c == '_') => {
                    names.insert(identifier(&rest[index..]));
                    expect = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut previous = ' ';
        for c in line.chars() {
            match c {
                '/' if previous == '/' && !in_string => {
                    out.pop();
                    break;
                }
                '"' if previous != '\\' && previous != '\'' => in_string = !in_string,
                _ if in_string => {}
                _ => out.push(c),
            }
            previous = c;
        }
        out.push('\n');
    }
    out
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}
