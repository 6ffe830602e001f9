//! Which fields of Envoy's messages are honoured: one table, and a walk that reports every other field that is set.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::{Notes, filter::own};

mod access_log;
mod balance;
mod cluster;
mod filter;
mod health;
mod listener;
mod manager;
mod route;
mod shared;
mod tls;

/// A message, and its fields that are honoured. A `*` after a field: it has no effect on what a proxy does, or none without
/// fields that are not supported, so it is accepted with all that is in it.
type Row = (&'static str, &'static [&'static str]);

/// All rows, by what they describe. A message has one.
const SUPPORTED: &[&[Row]] = &[
    access_log::ROWS,
    balance::ROWS,
    cluster::ROWS,
    filter::ROWS,
    health::ROWS,
    listener::ROWS,
    manager::ROWS,
    route::ROWS,
    shared::ROWS,
    tls::ROWS,
];

fn rows() -> impl Iterator<Item = &'static Row> {
    SUPPORTED.iter().copied().flatten()
}

/// Reports every field that is set, at any depth, and not honoured.
pub(super) fn walk(root: &DynamicMessage, notes: &mut Notes) {
    message(root, "", notes);
}

fn message(it: &DynamicMessage, path: &str, notes: &mut Notes) {
    let descriptor = it.descriptor();
    let name = descriptor.full_name();
    if name == "google.protobuf.Any" {
        return any(it, path, notes);
    }
    if name.starts_with("google.protobuf.") {
        return;
    }
    let Some((_, supported)) = rows().find(|(message, _)| *message == name) else {
        return notes.unsupported(path, format!("`{name}`"));
    };
    for (field, content) in it.fields() {
        let path = join(path, field.name());
        let known = supported
            .iter()
            .find(|supported| supported.trim_end_matches('*') == field.name());
        match known {
            None => notes.unsupported(path, ""),
            Some(known) if known.ends_with('*') => {}
            Some(_) => value(content, &path, notes),
        }
    }
}

fn value(it: &Value, path: &str, notes: &mut Notes) {
    match it {
        Value::Message(inner) => message(inner, path, notes),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                value(item, &format!("{path}[{index}]"), notes);
            }
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| (*key).clone());
            for (key, item) in entries {
                let key = match key {
                    MapKey::String(key) => key.clone(),
                    other => format!("{other:?}"),
                };
                value(item, &join(path, &key_step(&key)), notes);
            }
        }
        _ => {}
    }
}

fn any(it: &DynamicMessage, path: &str, notes: &mut Notes) {
    let field = |name: &str| it.get_field_by_name(name);
    let (Some(url), Some(bytes)) = (field("type_url"), field("value")) else {
        return;
    };
    let (Some(url), Some(bytes)) = (url.as_str(), bytes.as_bytes()) else {
        return;
    };
    let name = url.rsplit('/').next().unwrap_or_default();
    let inner = it
        .descriptor()
        .parent_pool()
        .get_message_by_name(name)
        .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes.clone()).ok());
    match inner {
        // What is in it is told by its own settings' names, so that a reader knows which extension is meant.
        Some(inner) if name == "xds.type.v3.TypedStruct" => {
            let of = inner.get_field_by_name("type_url");
            let of = of.as_ref().and_then(|of| of.as_str()).unwrap_or_default();
            // Our own is read, and checked, where filters are.
            if of.ends_with(own::FAULT) || of.ends_with(own::FALLBACK) {
                return;
            }
            notes.unsupported(path, format!("`{of}`"));
        }
        Some(inner) => message(&inner, path, notes),
        None => notes.invalid(path, format!("`{name}` cannot be decoded")),
    }
}

/// A path and a step further.
pub(super) fn join(path: &str, step: &str) -> String {
    match (path.is_empty(), step.starts_with('[')) {
        (true, _) => step.to_owned(),
        (false, true) => format!("{path}{step}"),
        (false, false) => format!("{path}.{step}"),
    }
}

/// The step into a map: `.key`, or `["a.b"]` where the key would read as several.
pub(super) fn key_step(key: &str) -> String {
    if key.contains(['.', '[', '"']) || key.is_empty() {
        format!("[{key:?}]")
    } else {
        key.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_row_names_a_message_and_fields_that_envoy_has() {
        let pool =
            DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"))[..])
                .unwrap();
        for (message, fields) in rows() {
            let descriptor = pool
                .get_message_by_name(message)
                .unwrap_or_else(|| panic!("{message} is not a message of Envoy"));
            for field in *fields {
                assert!(
                    descriptor
                        .get_field_by_name(field.trim_end_matches('*'))
                        .is_some(),
                    "{message} has no field {field}"
                );
            }
        }
    }

    #[test]
    fn a_message_has_one_row() {
        let mut names: Vec<_> = rows().map(|(message, _)| *message).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_manual_names_every_field_that_is_honoured() {
        let manual = include_str!("../../README.md");
        for (message, fields) in rows() {
            for field in fields.iter().map(|field| field.trim_end_matches('*')) {
                assert!(
                    manual.contains(&format!("`{field}`")),
                    "README.md does not name `{field}` of {message}"
                );
            }
        }
    }
}
