//! The header mutation filter.

use envoy_types::pb::{
    envoy::{
        config::core::v3::{KeyValueMutation, key_value_append::KeyValueAppendAction},
        extensions::filters::http::header_mutation::v3::Mutations,
    },
    google::protobuf::value::Kind,
};

use super::super::{Notes, headers};
use crate::{
    config::Steps,
    policy::{
        headers::{Addition, Append},
        query::{Change, Changes},
    },
};

pub(super) fn steps(it: &Mutations, path: &str, notes: &mut Notes) -> Steps {
    Steps {
        request: headers::mutations(
            &it.request_mutations,
            &format!("{path}.request_mutations"),
            notes,
        ),
        query: parameters(
            &it.query_parameter_mutations,
            &format!("{path}.query_parameter_mutations"),
            notes,
        ),
        request_trailers: headers::mutations(
            &it.request_trailers_mutations,
            &format!("{path}.request_trailers_mutations"),
            notes,
        ),
        response_trailers: headers::mutations(
            &it.response_trailers_mutations,
            &format!("{path}.response_trailers_mutations"),
            notes,
        ),
        response: headers::mutations(
            &it.response_mutations,
            &format!("{path}.response_mutations"),
            notes,
        ),
    }
}

fn parameters(list: &[KeyValueMutation], path: &str, notes: &mut Notes) -> Vec<Change> {
    list.iter()
        .enumerate()
        .filter_map(|(index, it)| parameter(it, &format!("{path}[{index}]"), notes))
        .collect()
}

fn parameter(it: &KeyValueMutation, path: &str, notes: &mut Notes) -> Option<Change> {
    let append = match (&it.append, it.remove.as_str()) {
        (None, name) if !name.is_empty() => return Some(Change::Remove(name.to_owned())),
        (Some(append), "") => append,
        _ => {
            notes.invalid(path, "one of `append`, `remove` is needed");
            return None;
        }
    };
    let path = format!("{path}.append.record");
    let Some(record) = append.record.as_ref().filter(|it| !it.key.is_empty()) else {
        notes.invalid(path, "a `key` and a `value` are needed");
        return None;
    };
    let value = record.value.as_ref().and_then(|value| value.kind.as_ref());
    let Some(Kind::StringValue(value)) = value else {
        notes.invalid(format!("{path}.value"), "it must be a text");
        return None;
    };
    let change = Change::Add(Addition {
        name: record.key.clone(),
        value: value.clone(),
        how: match append.action() {
            KeyValueAppendAction::AppendIfExistsOrAdd => Append::Append,
            KeyValueAppendAction::AddIfAbsent => Append::IfAbsent,
            KeyValueAppendAction::OverwriteIfExistsOrAdd => Append::Overwrite,
            KeyValueAppendAction::OverwriteIfExists => Append::OverwriteIfPresent,
        },
        keep_empty: true,
    });
    if let Err(what) = Changes::new(std::slice::from_ref(&change)) {
        notes.invalid(format!("{path}.value"), what);
        return None;
    }
    Some(change)
}
