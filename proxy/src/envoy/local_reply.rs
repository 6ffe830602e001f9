//! Rules for the answers that the proxy gives itself.

use envoy_types::pb::envoy::{
    config::core::v3::{SubstitutionFormatString, substitution_format_string::Format},
    extensions::filters::network::http_connection_manager::v3::{LocalReplyConfig, ResponseMapper},
};

use super::{Notes, access_log, headers, route};
use crate::config::{BodyFormat, LocalReplies, Mapper};

/// Envoy's bounds on the status that a rule gives.
const STATUS: std::ops::Range<u32> = 200..600;

/// Reads the rules at `path`.
pub(super) fn convert(
    it: Option<&LocalReplyConfig>,
    path: &str,
    notes: &mut Notes,
) -> LocalReplies {
    let Some(it) = it else {
        return LocalReplies::default();
    };
    let mappers = it.mappers.iter().enumerate();
    LocalReplies {
        mappers: mappers
            .filter_map(|(index, it)| mapper(it, &format!("{path}.mappers[{index}]"), notes))
            .collect(),
        format: format(
            it.body_format.as_ref(),
            &format!("{path}.body_format"),
            notes,
        ),
    }
}

fn mapper(it: &ResponseMapper, path: &str, notes: &mut Notes) -> Option<Mapper> {
    let Some(filter) = &it.filter else {
        notes.invalid(format!("{path}.filter"), "it is needed");
        return None;
    };
    let status = it.status_code.map(|status| status.value);
    if let Some(status) = status
        && !STATUS.contains(&status)
    {
        notes.invalid(
            format!("{path}.status_code"),
            format!("{status} must be from 200 to 599"),
        );
    }
    Some(Mapper {
        filter: access_log::filter(filter, &format!("{path}.filter"), notes)?,
        status: status.map(|status| status as u16),
        body: it
            .body
            .as_ref()
            .map(|body| route::data(body, &format!("{path}.body"), notes)),
        format: format(
            it.body_format_override.as_ref(),
            &format!("{path}.body_format_override"),
            notes,
        ),
        add: headers::additions(&it.headers_to_add, &format!("{path}.headers_to_add"), notes),
    })
}

/// How a body is made; `None` where it is not, or cannot be, with the reason among the notes.
pub(super) fn format(
    it: Option<&SubstitutionFormatString>,
    path: &str,
    notes: &mut Notes,
) -> Option<BodyFormat> {
    let it = it?;
    if it.format.is_none() {
        notes.invalid(path, "`text_format_source` or `json_format` is needed");
        return None;
    }
    let content_type = match (it.content_type.as_str(), &it.format) {
        ("", Some(Format::JsonFormat(_))) => "application/json",
        ("", _) => "text/plain",
        (other, _) => other,
    };
    Some(BodyFormat {
        content_type: content_type.to_owned(),
        line: access_log::line(it, path, notes)?,
    })
}
