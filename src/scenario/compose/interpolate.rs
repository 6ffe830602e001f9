//! `$NAME`, `${NAME}`, `${NAME:-default}` and their like, as Compose fills them in. `$$` is a dollar sign. `${MESHBED_…}` stays:
//! where a peer is, only the run knows.

use crate::scenario::{
    problem::Problem,
    yaml::{Data, Node},
};

/// The beginning of the names that a run fills in.
const LATER: &str = "MESHBED_";

/// Fills in all values of a tree; keys stay.
pub(super) fn fill(
    node: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) {
    match &mut node.data {
        Data::Scalar(scalar) => {
            if !scalar.text.contains('$') {
                return;
            }
            match filled(&scalar.text, env) {
                Ok(text) => {
                    // What comes from the environment may be a secret.
                    scalar.shown = Some(std::mem::replace(&mut scalar.text, text));
                    scalar.columns.clear();
                }
                Err(what) => {
                    scalar.told = true;
                    problems.push(Problem::at(node.at, what).help(
                        "`${NAME}`, `${NAME:-default}`, `${NAME:?message}`; `$$` is a dollar sign",
                    ));
                }
            }
        }
        Data::List(items) => {
            for item in items {
                fill(item, env, problems);
            }
        }
        Data::Map(entries) => {
            for (_, node) in entries {
                fill(node, env, problems);
            }
        }
    }
}

fn filled(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| format!("`{text}` lacks a `}}`"))?;
            let (inner, after) = inner.split_at(end);
            out.push_str(&braced(inner, env)?);
            rest = after.get(1..).unwrap_or_default();
        } else {
            let (name, after) = rest.split_at(name_length(rest));
            if name.is_empty() {
                return Err(format!("`{text}` has a `$` without a name"));
            }
            out.push_str(&value(name, env));
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace closes that has been opened.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn braced(inner: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, how) = inner.split_at(name_length(inner));
    if name.is_empty() {
        return Err(format!("`${{{inner}}}` has no name"));
    }
    if how.is_empty() {
        return Ok(value(name, env));
    }
    let (empty_counts, how) = match how.strip_prefix(':') {
        Some(how) => (false, how),
        None => (true, how),
    };
    let set = env(name).filter(|value| empty_counts || !value.is_empty());
    let mut signs = how.chars();
    let sign = signs.next();
    let argument = signs.as_str();
    match (sign, set) {
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => filled(argument, env),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) if argument.is_empty() => {
            Err(format!("the environment lacks the variable {name}"))
        }
        (Some('?'), None) => Err(format!(
            "the environment lacks the variable {name}: {argument}"
        )),
        _ => Err(format!("`${{{inner}}}` is not understood")),
    }
}

fn value(name: &str, env: &dyn Fn(&str) -> Option<String>) -> String {
    match env(name) {
        Some(value) => value,
        None if name.starts_with(LATER) => format!("${{{name}}}"),
        None => String::new(),
    }
}

fn name_length(text: &str) -> usize {
    let begins = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_as_compose_does() {
        let env = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("x$A.y", Ok("x1.y")),
            ("${A}2", Ok("12")),
            ("${B}", Ok("")),
            ("${B:-two}", Ok("two")),
            ("${EMPTY:-two}${EMPTY-three}", Ok("two")),
            ("${B:-${A}}", Ok("1")),
            ("${A:+set}${B:+set}", Ok("set")),
            ("$$A", Ok("$A")),
            ("${MESHBED_CART_URL}/x", Ok("${MESHBED_CART_URL}/x")),
            (
                "${B:?say so}",
                Err("the environment lacks the variable B: say so"),
            ),
            ("${A", Err("`${A` lacks a `}`")),
            ("5$", Err("`5$` has a `$` without a name")),
        ] {
            let found = filled(text, &env);
            let found = found.as_deref().map_err(String::as_str);
            assert_eq!(found, expected, "{text}");
        }
    }
}
