//! How HTTP/1 is spoken, and whom a connection manager believes about its clients.

use envoy_types::pb::envoy::{
    config::core::v3::{
        Http1ProtocolOptions, HttpProtocolOptions as Common,
        http_protocol_options::HeadersWithUnderscoresAction,
        http1_protocol_options::header_key_format::HeaderFormat,
    },
    extensions::{
        filters::network::http_connection_manager::v3::HttpConnectionManager,
        http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig,
    },
};

use super::{
    Notes, chain,
    filter::{duration, open, unless_zero},
};
use crate::policy::{
    http1::{Http1, Names, Underscores},
    origin::Origin,
};

/// Envoy's bounds on `max_response_headers_kb`.
const ANSWER_KB: std::ops::RangeInclusive<u32> = 1..=8192;

/// As a connection manager says.
pub(super) fn downstream(it: &HttpConnectionManager, path: &str, notes: &mut Notes) -> Http1 {
    let mut http1 = Http1 {
        pass_continue: it.proxy_100_continue,
        ..Http1::default()
    };
    if let Some(it) = &it.http_protocol_options {
        options(
            it,
            &format!("{path}.http_protocol_options"),
            &mut http1,
            notes,
        );
    }
    if let Some(it) = &it.common_http_protocol_options {
        let path = format!("{path}.common_http_protocol_options");
        common(it, &path, &mut http1, notes);
    }
    let mut time = |it: Option<&_>, name: &str| duration(it, &format!("{path}.{name}"), notes);
    if let Some(drain) = time(it.drain_timeout.as_ref(), "drain_timeout") {
        http1.drain = drain;
    }
    if let Some(delayed) = time(it.delayed_close_timeout.as_ref(), "delayed_close_timeout") {
        http1.delayed_close = delayed;
    }
    http1
}

/// `http_protocol_options`.
pub(super) fn options(it: &Http1ProtocolOptions, path: &str, http1: &mut Http1, notes: &mut Notes) {
    http1.default_host = Some(it.default_host_for_http_10.clone()).filter(|host| !host.is_empty());
    http1.absolute_targets = it.allow_absolute_url.is_none_or(|it| it.value);
    http1.trailers = it.enable_trailers;
    http1.chunked_length = it.allow_chunked_length;
    http1.custom_methods = it.allow_custom_methods;
    let format = it.header_key_format.as_ref();
    http1.names = match format.and_then(|it| it.header_format.as_ref()) {
        None => Names::Lower,
        Some(HeaderFormat::ProperCaseWords(_)) => Names::Words,
        Some(HeaderFormat::StatefulFormatter(it)) => {
            let any = it.typed_config.as_ref();
            if any.and_then(open::<PreserveCaseFormatterConfig>).is_none() {
                notes.unsupported(
                    format!("{path}.header_key_format.stateful_formatter"),
                    format!("`{}`", it.name),
                );
            }
            Names::AsSent
        }
    };
}

/// `common_http_protocol_options`, as far as HTTP/1 goes.
pub(super) fn common(it: &Common, path: &str, http1: &mut Http1, notes: &mut Notes) {
    if let Some(most) = &it.max_headers_count {
        if most.value == 0 {
            notes.invalid(format!("{path}.max_headers_count"), "it must be above 0");
        }
        http1.max_headers = most.value;
    }
    if let Some(kib) = &it.max_response_headers_kb {
        if !ANSWER_KB.contains(&kib.value) {
            notes.invalid(
                format!("{path}.max_response_headers_kb"),
                format!(
                    "{} must be from {} to {}",
                    kib.value,
                    ANSWER_KB.start(),
                    ANSWER_KB.end()
                ),
            );
        }
        http1.max_answer_head = (kib.value as usize) << 10;
    }
    if let Some(most) = &it.max_requests_per_connection {
        http1.max_requests = Some(u64::from(most.value)).filter(|most| *most > 0);
    }
    let age = format!("{path}.max_connection_duration");
    http1.max_age =
        duration(it.max_connection_duration.as_ref(), &age, notes).and_then(unless_zero);
    let underscores = HeadersWithUnderscoresAction::try_from(it.headers_with_underscores_action);
    http1.underscores = match underscores.unwrap_or_default() {
        HeadersWithUnderscoresAction::Allow => Underscores::Allow,
        HeadersWithUnderscoresAction::DropHeader => Underscores::Drop,
        HeadersWithUnderscoresAction::RejectRequest => Underscores::Reject,
    };
}

/// Whom it believes about its clients.
pub(super) fn origin(it: &HttpConnectionManager, path: &str, notes: &mut Notes) -> Origin {
    let internal = it.internal_address_config.as_ref();
    let at = format!("{path}.internal_address_config");
    if internal.is_some_and(|it| it.unix_sockets) {
        notes.unsupported(format!("{at}.unix_sockets"), "`true`");
    }
    Origin {
        use_remote_address: it.use_remote_address.is_some_and(|it| it.value),
        trusted_hops: it.xff_num_trusted_hops,
        skip_append: it.skip_xff_append,
        internal: internal.map_or_else(Vec::new, |it| {
            chain::ranges(&it.cidr_ranges, &at, "cidr_ranges", notes)
        }),
    }
}
