//! Access logs: where, what, and which requests.

use envoy_types::pb::{
    envoy::{
        config::{
            accesslog::v3::{
                AccessLog, AccessLogFilter, ComparisonFilter, access_log::ConfigType,
                access_log_filter::FilterSpecifier, comparison_filter::Op,
            },
            core::v3::{
                SubstitutionFormatString, data_source::Specifier, substitution_format_string,
            },
        },
        extensions::access_loggers::{
            file::v3::{FileAccessLog, file_access_log::AccessLogFormat},
            stream::v3::{StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log},
        },
        r#type::v3::fractional_percent::DenominatorType,
    },
    google::protobuf::{Struct, Value, value},
};

use super::{Notes, filter::open, route};
use crate::{
    config::{
        self,
        access_log::{Compare, Comparison, Filter, Line, Target},
    },
    policy::{
        flag::Flags,
        format::{
            Format, Invalid,
            json::{Json, Style},
        },
    },
};

/// Reads the access logs at `path`.
pub(super) fn convert(logs: &[AccessLog], path: &str, notes: &mut Notes) -> Vec<config::AccessLog> {
    let mut converted = Vec::new();
    for (index, it) in logs.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(ConfigType::TypedConfig(any)) = &it.config_type else {
            notes.invalid(&path, "a `typed_config` is needed");
            continue;
        };
        let at = format!("{path}.typed_config");
        // Loggers of other types are reported by the walk.
        let made = if let Some(file) = open::<FileAccessLog>(any) {
            if file.path.is_empty() {
                notes.invalid(format!("{at}.path"), "it must not be empty");
            }
            let line = file_line(file.access_log_format.as_ref(), &at, notes);
            line.map(|line| (Target::File(file.path.into()), line))
        } else if let Some(stdout) = open::<StdoutAccessLog>(any) {
            let stdout_access_log::AccessLogFormat::LogFormat(format) =
                stdout.access_log_format.unwrap_or_else(|| {
                    stdout_access_log::AccessLogFormat::LogFormat(
                        SubstitutionFormatString::default(),
                    )
                });
            line(&format, &format!("{at}.log_format"), notes).map(|line| (Target::Stdout, line))
        } else if let Some(stderr) = open::<StderrAccessLog>(any) {
            let stderr_access_log::AccessLogFormat::LogFormat(format) =
                stderr.access_log_format.unwrap_or_else(|| {
                    stderr_access_log::AccessLogFormat::LogFormat(
                        SubstitutionFormatString::default(),
                    )
                });
            line(&format, &format!("{at}.log_format"), notes).map(|line| (Target::Stderr, line))
        } else {
            None
        };
        let filter = it.filter.as_ref().and_then(|it| {
            let path = format!("{path}.filter");
            filter(it, &path, notes)
        });
        if let Some((target, line)) = made {
            converted.push(config::AccessLog {
                target,
                line,
                filter,
            });
        }
    }
    converted
}

#[expect(
    deprecated,
    reason = "files in use still have the older forms, and Envoy takes them"
)]
fn file_line(format: Option<&AccessLogFormat>, path: &str, notes: &mut Notes) -> Option<Line> {
    match format {
        None => Some(Line::default()),
        Some(AccessLogFormat::Format(text)) if text.is_empty() => Some(Line::default()),
        Some(AccessLogFormat::Format(text)) => {
            text_line(text, false, &format!("{path}.format"), notes)
        }
        Some(AccessLogFormat::LogFormat(format)) => {
            line(format, &format!("{path}.log_format"), notes)
        }
        Some(AccessLogFormat::JsonFormat(tree)) => {
            let style = Style {
                typed: true,
                omit_empty: false,
            };
            json_line(tree, style, &format!("{path}.json_format"), notes)
        }
        Some(AccessLogFormat::TypedJsonFormat(tree)) => {
            let style = Style {
                typed: true,
                omit_empty: false,
            };
            json_line(tree, style, &format!("{path}.typed_json_format"), notes)
        }
    }
}

/// What a line says; `None` where it cannot be, with the reason among the notes.
#[expect(
    deprecated,
    reason = "files in use still have the older forms, and Envoy takes them"
)]
pub(super) fn line(it: &SubstitutionFormatString, path: &str, notes: &mut Notes) -> Option<Line> {
    let omit = it.omit_empty_values;
    match &it.format {
        None => Some(Line::default()),
        Some(substitution_format_string::Format::TextFormat(text)) => {
            text_line(text, omit, &format!("{path}.text_format"), notes)
        }
        Some(substitution_format_string::Format::TextFormatSource(source)) => {
            let path = format!("{path}.text_format_source");
            let text = match &source.specifier {
                Some(Specifier::InlineString(text)) => text.clone(),
                _ => route::data(source, &path, notes),
            };
            text_line(&text, omit, &path, notes)
        }
        Some(substitution_format_string::Format::JsonFormat(tree)) => {
            let style = Style {
                typed: true,
                omit_empty: omit,
            };
            json_line(tree, style, &format!("{path}.json_format"), notes)
        }
    }
}

fn text_line(text: &str, omit_empty: bool, path: &str, notes: &mut Notes) -> Option<Line> {
    let unset = if omit_empty { "" } else { "-" };
    Format::compile(text)
        .map(|format| Line::Text { format, unset })
        .map_err(|error| refuse(&error, path, notes))
        .ok()
}

fn json_line(tree: &Struct, style: Style, path: &str, notes: &mut Notes) -> Option<Line> {
    let tree = object(tree);
    Json::compile(&tree)
        .map(|format| Line::Json { format, style })
        .map_err(|error| refuse(&error, path, notes))
        .ok()
}

fn refuse(error: &Invalid, path: &str, notes: &mut Notes) {
    if error.unsupported {
        notes.unsupported(path, error.to_string());
    } else {
        notes.invalid(path, error.to_string());
    }
}

/// Fields come in the order of their names, which the message does not keep otherwise.
fn object(it: &Struct) -> serde_json::Value {
    let mut fields: Vec<_> = it.fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
        .into_iter()
        .map(|(name, value)| (name.clone(), json(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn json(it: &Value) -> serde_json::Value {
    match &it.kind {
        None | Some(value::Kind::NullValue(_)) => serde_json::Value::Null,
        Some(value::Kind::BoolValue(it)) => (*it).into(),
        // Whole numbers have no fraction in JSON.
        Some(value::Kind::NumberValue(it)) if it.fract().abs() < f64::EPSILON => {
            (*it as i64).into()
        }
        Some(value::Kind::NumberValue(it)) => (*it).into(),
        Some(value::Kind::StringValue(it)) => it.clone().into(),
        Some(value::Kind::StructValue(it)) => object(it),
        Some(value::Kind::ListValue(it)) => it.values.iter().map(json).collect::<Vec<_>>().into(),
    }
}

/// `None` where it cannot be made, with the reason among the notes.
pub(super) fn filter(it: &AccessLogFilter, path: &str, notes: &mut Notes) -> Option<Filter> {
    let all = |them: &[AccessLogFilter], name: &str, notes: &mut Notes| {
        let path = format!("{path}.{name}.filters");
        if them.len() < 2 {
            notes.invalid(&path, "at least two filters are needed");
        }
        them.iter()
            .enumerate()
            .map(|(index, it)| filter(it, &format!("{path}[{index}]"), notes))
            .collect::<Option<Vec<_>>>()
    };
    Some(match it.filter_specifier.as_ref() {
        None => {
            notes.invalid(path, "a filter is needed, such as `status_code_filter`");
            return None;
        }
        Some(FilterSpecifier::StatusCodeFilter(it)) => Filter::Status(comparison(
            it.comparison.as_ref(),
            &format!("{path}.status_code_filter"),
            notes,
        )?),
        Some(FilterSpecifier::DurationFilter(it)) => Filter::Duration(comparison(
            it.comparison.as_ref(),
            &format!("{path}.duration_filter"),
            notes,
        )?),
        Some(FilterSpecifier::NotHealthCheckFilter(_)) => Filter::NotHealthCheck,
        Some(FilterSpecifier::TraceableFilter(_)) => Filter::Traceable,
        Some(FilterSpecifier::RuntimeFilter(it)) => {
            let percent = it.percent_sampled.unwrap_or_default();
            Filter::Share {
                numerator: percent.numerator,
                denominator: match DenominatorType::try_from(percent.denominator) {
                    Ok(DenominatorType::TenThousand) => 10_000,
                    Ok(DenominatorType::Million) => 1_000_000,
                    _ => 100,
                },
                independent: it.use_independent_randomness,
            }
        }
        Some(FilterSpecifier::AndFilter(it)) => Filter::All(all(&it.filters, "and_filter", notes)?),
        Some(FilterSpecifier::OrFilter(it)) => Filter::Any(all(&it.filters, "or_filter", notes)?),
        Some(FilterSpecifier::HeaderFilter(it)) => {
            let path = format!("{path}.header_filter.header");
            let Some(header) = &it.header else {
                notes.invalid(path, "it is needed");
                return None;
            };
            Filter::Header(route::header(header, &path, notes)?)
        }
        Some(FilterSpecifier::ResponseFlagFilter(it)) => {
            for (index, flag) in it.flags.iter().enumerate() {
                if Flags::named(flag).is_none() {
                    notes.invalid(
                        format!("{path}.response_flag_filter.flags[{index}]"),
                        format!("`{flag}` is not a flag such as `UH`"),
                    );
                }
            }
            Filter::Flags(it.flags.clone())
        }
        Some(FilterSpecifier::GrpcStatusFilter(it)) => Filter::GrpcStatus {
            statuses: it.statuses.iter().map(|status| *status as u32).collect(),
            exclude: it.exclude,
        },
        // Reported by the walk.
        Some(
            FilterSpecifier::ExtensionFilter(_)
            | FilterSpecifier::MetadataFilter(_)
            | FilterSpecifier::LogTypeFilter(_),
        ) => return None,
    })
}

fn comparison(it: Option<&ComparisonFilter>, path: &str, notes: &mut Notes) -> Option<Comparison> {
    let Some((it, value)) = it.and_then(|it| Some((it, it.value.as_ref()?))) else {
        notes.invalid(path, "a `comparison` with a `value` is needed");
        return None;
    };
    let how = match Op::try_from(it.op).unwrap_or_default() {
        Op::Eq => Compare::Equal,
        Op::Ge => Compare::AtLeast,
        Op::Le => Compare::AtMost,
        Op::Ne => Compare::NotEqual,
    };
    Some(Comparison {
        how,
        value: value.default_value.into(),
    })
}
