//! Header operations of routes, hosts and filters.

use std::sync::Arc;

use envoy_types::pb::envoy::config::{
    common::mutation_rules::v3::{HeaderMutation, header_mutation},
    core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction},
};

use super::{Notes, route};
use crate::policy::headers::{Addition, Append, Compiled, Edit, Edits, Mutation};

/// One level's operations, by the names that all levels have for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operations<'a> {
    pub request_add: &'a [HeaderValueOption],
    pub request_remove: &'a [String],
    pub response_add: &'a [HeaderValueOption],
    pub response_remove: &'a [String],
}

/// The operations of a message that has them.
macro_rules! operations {
    ($it:expr) => {
        $crate::envoy::headers::Operations {
            request_add: &$it.request_headers_to_add,
            request_remove: &$it.request_headers_to_remove,
            response_add: &$it.response_headers_to_add,
            response_remove: &$it.response_headers_to_remove,
        }
    };
}
pub(super) use operations;

/// `None`: there are none.
pub(super) fn edits(it: Operations<'_>, path: &str, notes: &mut Notes) -> Option<Arc<Edits>> {
    let edits = Edits {
        request: edit(it.request_add, it.request_remove, "request", path, notes),
        response: edit(it.response_add, it.response_remove, "response", path, notes),
    };
    (!edits.is_empty()).then(|| Arc::new(edits))
}

fn edit(
    add: &[HeaderValueOption],
    remove: &[String],
    of: &str,
    path: &str,
    notes: &mut Notes,
) -> Edit {
    let mut edit = Edit::default();
    for (index, name) in remove.iter().enumerate() {
        let one = Edit {
            remove: vec![name.to_ascii_lowercase()],
            ..Edit::default()
        };
        let path = format!("{path}.{of}_headers_to_remove[{index}]");
        if let Err(what) = Compiled::new(&one) {
            notes.invalid(path, what);
        } else {
            edit.remove.extend(one.remove);
        }
    }
    edit.add = additions(add, &format!("{path}.{of}_headers_to_add"), notes);
    edit
}

/// A list of headers to add.
pub(super) fn additions(
    list: &[HeaderValueOption],
    path: &str,
    notes: &mut Notes,
) -> Vec<Addition> {
    list.iter()
        .enumerate()
        .filter_map(|(index, it)| addition(it, &format!("{path}[{index}]"), notes))
        .collect()
}

#[expect(
    deprecated,
    reason = "files in use still have the older form, and Envoy takes it"
)]
fn addition(it: &HeaderValueOption, path: &str, notes: &mut Notes) -> Option<Addition> {
    let Some(header) = &it.header else {
        notes.invalid(format!("{path}.header"), "it is needed");
        return None;
    };
    let action = HeaderAppendAction::try_from(it.append_action).unwrap_or_default();
    let addition = Addition {
        name: header.key.to_ascii_lowercase(),
        value: header.value.clone(),
        how: match (it.append.map(|append| append.value), action) {
            (Some(true), _) | (None, HeaderAppendAction::AppendIfExistsOrAdd) => Append::Append,
            (Some(false), _) | (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => {
                Append::Overwrite
            }
            (None, HeaderAppendAction::AddIfAbsent) => Append::IfAbsent,
            (None, HeaderAppendAction::OverwriteIfExists) => Append::OverwriteIfPresent,
        },
        keep_empty: it.keep_empty_value,
    };
    let one = Edit {
        add: vec![addition],
        ..Edit::default()
    };
    if let Err(what) = Compiled::new(&one) {
        notes.invalid(format!("{path}.header"), what);
        return None;
    }
    one.add.into_iter().next()
}

/// The steps of a filter or a mirror.
pub(super) fn mutations(list: &[HeaderMutation], path: &str, notes: &mut Notes) -> Vec<Mutation> {
    list.iter()
        .enumerate()
        .filter_map(|(index, it)| mutation(it, &format!("{path}[{index}]"), notes))
        .collect()
}

fn mutation(it: &HeaderMutation, path: &str, notes: &mut Notes) -> Option<Mutation> {
    match &it.action {
        Some(header_mutation::Action::Remove(name)) => {
            let one = Edit {
                remove: vec![name.to_ascii_lowercase()],
                ..Edit::default()
            };
            if let Err(what) = Compiled::new(&one) {
                notes.invalid(format!("{path}.remove"), what);
            }
            Some(Mutation::Remove(name.to_ascii_lowercase()))
        }
        Some(header_mutation::Action::Append(append)) => {
            addition(append, &format!("{path}.append"), notes).map(Mutation::Add)
        }
        Some(header_mutation::Action::RemoveOnMatch(remove)) => {
            let path = format!("{path}.remove_on_match.key_matcher");
            let Some(matcher) = &remove.key_matcher else {
                notes.invalid(path, "it is needed");
                return None;
            };
            route::string(matcher, &path, notes).map(Mutation::RemoveMatching)
        }
        None => {
            notes.invalid(
                path,
                "one of `remove`, `append`, `remove_on_match` is needed",
            );
            None
        }
    }
}
