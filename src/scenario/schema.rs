//! The tables of keys as JSON Schema (2020-12) and as the reference in the manual.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    file::ROOT,
    key::{Key, Kind, Naming, Need, Table, Word},
};
use crate::expr::{
    self,
    metric::{self, METRICS, Of},
};

/// The schema of a scenario file. Editors use it; what it cannot say (references, times within phases) `check` does.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let root = table(&ROOT, &mut definitions);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meshbed scenario",
    });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
        // What `include` brings need not be there.
        schema.remove("required");
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn table(table: &Table, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for key in table.keys.iter().filter(|key| key.built) {
        properties.insert(key.name.to_owned(), property(key, definitions));
        match key.need {
            Need::Required => required.push(key.name),
            Need::OneOf(group) if !groups.contains(&group) => groups.push(group),
            _ => {}
        }
    }
    let mut object = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(object) = object.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".to_owned(), required.into());
        }
        for group in groups {
            let choices: Vec<Value> = table
                .keys
                .iter()
                .filter(|key| key.built && key.need == Need::OneOf(group))
                .map(|key| json!({"required": [key.name]}))
                .collect();
            object.insert("oneOf".to_owned(), choices.into());
        }
    }
    object
}

fn property(key: &Key, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = kind(&key.kind, definitions);
    if let Some(object) = schema.as_object_mut() {
        let mut text = key.doc.to_owned();
        if let Need::Optional(absent) = key.need {
            let _ = write!(text, " (default: {absent})");
        }
        object.insert("description".to_owned(), text.into());
        if let Need::Default(default) = key.need
            && let Some(node) = super::yaml::read(default, 0, &mut Vec::new())
        {
            object.insert("default".to_owned(), super::read::json(&node));
        }
    }
    schema
}

/// A reference to a table, which is defined once however often it is used.
fn reference(of: &Table, definitions: &mut Map<String, Value>) -> Value {
    let name = of.name.replace(' ', "_");
    if !definitions.contains_key(&name) {
        // Before what it holds, so that a table within itself ends.
        definitions.insert(name.clone(), Value::Null);
        let schema = table(of, definitions);
        definitions.insert(name.clone(), schema);
    }
    json!({"$ref": format!("#/$defs/{name}")})
}

fn kind(of: &Kind, definitions: &mut Map<String, Value>) -> Value {
    // A value may always be a variable.
    const VARIABLE: &str = r"\$\(";
    let pattern =
        |pattern: &str| json!({"type": "string", "pattern": format!("({pattern})|{VARIABLE}")});
    let number =
        |schema: Value| json!({"anyOf": [schema, {"type": "string", "pattern": VARIABLE}]});
    match of {
        Kind::Text => json!({"type": ["string", "number", "boolean"]}),
        Kind::Id => pattern("^[a-z][a-z0-9-]*$"),
        Kind::Flag => number(json!({"type": "boolean"})),
        Kind::Whole(low, u64::MAX) => number(json!({"type": "integer", "minimum": low})),
        Kind::Whole(low, high) => {
            number(json!({"type": "integer", "minimum": low, "maximum": high}))
        }
        Kind::Number(low) => number(json!({"type": "number", "minimum": low})),
        Kind::Duration => pattern(r"^([0-9.]+ ?(ns|us|µs|ms|s|m|min|h))+$"),
        Kind::Rate => pattern(r"^[0-9.]+ ?/ ?(s|min|m|h)$"),
        Kind::Size => pattern(r"^[0-9.]+ ?(B|KB|kB|MB|GB|KiB|MiB|GiB)$"),
        Kind::Share => {
            json!({"anyOf": [pattern(r"^[0-9.]+ ?%$"), {"type": "number", "minimum": 0, "maximum": 1}]})
        }
        Kind::Offset => pattern(r"^\+"),
        Kind::Span => pattern(r"^.+\.\..+$"),
        Kind::Bound => json!({"type": ["string", "number"]}),
        Kind::Address => pattern(r":[0-9]+$"),
        Kind::Date => pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        Kind::HttpPath => pattern("^/"),
        Kind::Method => pattern("^[A-Z-]+$"),
        Kind::ErrorClass => {
            json!({"anyOf": [pattern("^([1-5]xx|[1-5][0-9]{2}|no_response|grpc_nonzero)$"), {"type": "integer"}]})
        }
        Kind::Path | Kind::Header | Kind::Regex | Kind::Expression => json!({"type": "string"}),
        Kind::Word(words) => {
            json!({"anyOf": [{"enum": Word::built(words)}, {"type": "string", "pattern": VARIABLE}]})
        }
        Kind::List(of) => json!({"type": "array", "items": kind(of, definitions)}),
        Kind::OneOrMore(of) => {
            let one = kind(of, definitions);
            json!({"anyOf": [one.clone(), {"type": "array", "items": one}]})
        }
        Kind::Named(naming, of) => {
            let mut schema =
                json!({"type": "object", "additionalProperties": kind(of, definitions)});
            if let (Some(object), true) = (schema.as_object_mut(), *naming == Naming::Id) {
                object.insert(
                    "propertyNames".to_owned(),
                    json!({"pattern": "^[a-z][a-z0-9-]*$"}),
                );
            }
            schema
        }
        Kind::Map(table) => reference(table, definitions),
        Kind::Things(table) => json!({"type": "array", "items": reference(table, definitions)}),
        Kind::Either(kinds) => {
            let any: Vec<Value> = kinds.iter().map(|of| kind(of, definitions)).collect();
            json!({"anyOf": any})
        }
        Kind::Anything => json!({}),
    }
}

/// The reference of all keys, as the manual has it.
pub fn manual() -> String {
    let mut text = String::new();
    let mut done: Vec<&str> = Vec::new();
    section("", &ROOT, &mut done, &mut text);
    text
}

/// The reference of all metrics, as the manual has it.
pub fn metrics() -> String {
    let mut text = String::from("| metric | of | unit | samples | what |\n|---|---|---|---|---|\n");
    for row in METRICS {
        // One of those that the pattern stands for.
        let example = row.name.replace("NN", "99").replace("FLAG", "DI");
        let Some(spec) = metric::known(&example) else {
            continue;
        };
        let of = match spec.of {
            Of::Service => "a service",
            Of::Shadow => "a shadow",
            Of::Nothing => "the generator",
        };
        let samples = match spec.needs {
            _ if row.name.ends_with("NN") => "10/(1−q)".to_owned(),
            needs => needs.to_string(),
        };
        let unit = super::read::unit_words(spec.unit);
        let name = match spec.of {
            Of::Service => expr::bracketed(row.name, "svc"),
            Of::Shadow => expr::bracketed(row.name, "shadow"),
            Of::Nothing => row.name.to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{name}` | {of} | {unit} | {samples} | {} |",
            row.help
        );
    }
    text
}

fn section(path: &str, table: &'static Table, done: &mut Vec<&'static str>, text: &mut String) {
    done.push(table.name);
    let title = if path.is_empty() {
        "top level".to_owned()
    } else {
        format!("`{path}`")
    };
    let _ = write!(
        text,
        "### {title}\n\n| key | what | accepted | default |\n|---|---|---|---|\n"
    );
    let mut below = Vec::new();
    for key in table.keys {
        row(key, text);
        if key.built {
            let path = if path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{path}.{}", key.name)
            };
            tables(&path, &key.kind, &mut below);
        }
    }
    text.push('\n');
    for (path, table) in below {
        if !done.contains(&table.name) {
            section(&path, table, done, text);
        }
    }
}

/// The tables within a kind, each with where it stands.
fn tables(path: &str, kind: &'static Kind, found: &mut Vec<(String, &'static Table)>) {
    match kind {
        Kind::Map(table) => found.push((path.to_owned(), table)),
        Kind::Things(table) => found.push((format!("{path}[]"), table)),
        Kind::List(of) | Kind::OneOrMore(of) => tables(&format!("{path}[]"), of, found),
        Kind::Named(_, of) => tables(&format!("{path}.NAME"), of, found),
        Kind::Either(kinds) => {
            for kind in *kinds {
                tables(path, kind, found);
            }
        }
        _ => {}
    }
}

fn row(key: &Key, text: &mut String) {
    let cell = |text: &str| text.replace('|', "\\|");
    if !key.built {
        let _ = writeln!(
            text,
            "| `{}` | {} | *not supported yet* | |",
            key.name,
            cell(key.doc)
        );
        return;
    }
    let accepted = match &key.kind {
        Kind::Map(_) => "a map, below".to_owned(),
        Kind::Things(_) | Kind::List(Kind::Map(_)) => "a list of maps, below".to_owned(),
        Kind::Word(words) => {
            let names: Vec<String> = words
                .iter()
                .map(|word| {
                    if word.built {
                        format!("`{}`", word.name)
                    } else {
                        format!("(`{}`: not supported yet)", word.name)
                    }
                })
                .collect();
            names.join(", ")
        }
        kind => kind.accepted(),
    };
    let example = match key.example {
        "" => String::new(),
        example => format!("; `{}: {example}`", key.name),
    };
    let default = match key.need {
        Need::Required => "**needed**".to_owned(),
        Need::Default("\"\"") => "empty".to_owned(),
        Need::Default(default) => format!("`{default}`"),
        Need::Optional(absent) => absent.to_owned(),
        Need::OneOf(_) => "**exactly one**".to_owned(),
    };
    let _ = writeln!(
        text,
        "| `{}` | {} | {} | {} |",
        key.name,
        cell(key.doc),
        cell(&format!("{accepted}{example}")),
        cell(&default)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every table of the grammar.
    fn every(table: &'static Table, found: &mut Vec<&'static Table>) {
        if let Some(other) = found.iter().find(|other| other.name == table.name) {
            let names =
                |table: &Table| -> Vec<&str> { table.keys.iter().map(|key| key.name).collect() };
            assert_eq!(
                names(other),
                names(table),
                "two tables are called {}",
                table.name
            );
            return;
        }
        found.push(table);
        for key in table.keys {
            let mut below = Vec::new();
            tables("", &key.kind, &mut below);
            for (_, table) in below {
                every(table, found);
            }
        }
    }

    #[test]
    fn tables_have_their_own_names_and_keys_are_unique() {
        let mut found = Vec::new();
        every(&ROOT, &mut found);
        assert!(found.len() > 30);
        for table in found {
            for (place, key) in table.keys.iter().enumerate() {
                assert!(!key.doc.is_empty(), "{} {}", table.name, key.name);
                assert!(
                    !table.keys[..place]
                        .iter()
                        .any(|other| other.name == key.name),
                    "{} {}",
                    table.name,
                    key.name
                );
                // YAML 1.1 readers take these for booleans.
                assert!(
                    !["on", "off", "yes", "no", "y", "n"].contains(&key.name),
                    "{}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn defaults_and_examples_are_accepted_by_their_kind() {
        let mut found = Vec::new();
        every(&ROOT, &mut found);
        for table in found {
            for key in table.keys.iter().filter(|key| key.built) {
                let Need::Default(default) = key.need else {
                    continue;
                };
                let mut problems = Vec::new();
                let node = super::super::yaml::read(default, 0, &mut problems).unwrap();
                super::super::read::read_as(&node, &key.kind, &mut problems);
                assert!(
                    problems.is_empty(),
                    "{} {}: {problems:?}",
                    table.name,
                    key.name
                );
            }
            for key in table
                .keys
                .iter()
                .filter(|key| key.built && !key.example.is_empty())
            {
                let mut problems = Vec::new();
                let node = super::super::yaml::read(key.example, 0, &mut problems)
                    .unwrap_or_else(|| panic!("{} {}: {}", table.name, key.name, key.example));
                super::super::read::read_as(&node, &key.kind, &mut problems);
                assert!(
                    problems.is_empty(),
                    "{} {}: {problems:?}",
                    table.name,
                    key.name
                );
            }
        }
    }

    #[test]
    fn the_schema_names_every_built_key_and_no_other() {
        let text = schema().to_string();
        for (key, there) in [
            ("max_in_flight", true),
            ("steady_state", true),
            ("blackhole", true),
            ("partition", false),
            ("matrix", false),
        ] {
            assert_eq!(text.contains(&format!("\"{key}\"")), there, "{key}");
        }
        assert!(
            !text.contains("null,")
                || !schema()["$defs"]
                    .as_object()
                    .unwrap()
                    .values()
                    .any(Value::is_null)
        );
    }
}
