//! Listeners and their HTTP connection manager.

use std::sync::Arc;

use envoy_types::pb::envoy::{
    config::listener::v3::Listener,
    extensions::filters::{
        http::router::v3::Router,
        network::http_connection_manager::v3::{
            HttpConnectionManager,
            http_connection_manager::{
                CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
                ServerHeaderTransformation, StripPortMode, UpgradeConfig,
            },
            http_filter,
        },
    },
};

use super::{
    Notes, access_log, chain, endpoint,
    filter::{self, duration, unless_zero},
    http1, inspect, local_reply, protocol, retry, route,
    secret::Secrets,
};
use crate::{
    config::{self, ClientCert, ForwardClientCert, HttpManager, Port, Routing, Signature},
    policy::{
        path::{EscapedSlashes, Normalization},
        protocol::Codec,
    },
    unit::ByteSize,
};

/// Envoy's bounds on `max_request_headers_kb`.
const HEADERS_KB: std::ops::RangeInclusive<u32> = 1..=8192;

/// A listener; `None` where it cannot be made, with the reason among the notes.
pub(super) fn convert(
    it: &Listener,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Option<config::Listener> {
    let address = if let Some(address) = &it.address {
        endpoint::socket(address, &format!("{path}.address"), notes)
    } else {
        notes.invalid(path, "an `address` is needed");
        None
    };
    if it.enable_reuse_port.is_some_and(|reuse| !reuse.value) {
        notes.unsupported(
            format!("{path}.enable_reuse_port"),
            "`false`: every event loop listens for itself",
        );
    }
    if it.bind_to_port.is_some_and(|bind| !bind.value) {
        notes.unsupported(format!("{path}.bind_to_port"), "`false`");
    }
    let name = match (it.name.as_str(), address) {
        ("", Some(address)) => address.to_string(),
        (name, _) => name.to_owned(),
    };
    let mut chains: Vec<_> = it
        .filter_chains
        .iter()
        .enumerate()
        .filter_map(|(index, it)| {
            chain::convert(
                it,
                secrets,
                &name,
                &format!("{path}.filter_chains[{index}]"),
                notes,
            )
        })
        .collect();
    let mut default_chain = it.default_filter_chain.as_ref().and_then(|it| {
        chain::convert(
            it,
            secrets,
            &name,
            &format!("{path}.default_filter_chain"),
            notes,
        )
    });
    if it.filter_chains.is_empty() && it.default_filter_chain.is_none() {
        notes.invalid(format!("{path}.filter_chains"), "a filter chain is needed");
    }
    if let Some(limit) = it.per_connection_buffer_limit_bytes {
        for chain in chains.iter_mut().chain(default_chain.as_mut()) {
            if let config::Serve::Http(manager) = &mut chain.serve {
                retry::bound_bodies(manager, ByteSize(limit.value.into()));
            }
        }
    }
    // Read leniently, what is left of a listener may be nothing.
    if chains.is_empty() && default_chain.is_none() {
        return None;
    }
    Some(config::Listener {
        name: Arc::from(name),
        address: address?,
        more_addresses: it
            .additional_addresses
            .iter()
            .enumerate()
            .filter_map(|(index, it)| {
                let path = format!("{path}.additional_addresses[{index}].address");
                endpoint::socket(it.address.as_ref()?, &path, notes)
            })
            .collect(),
        stat_prefix: Some(it.stat_prefix.clone()).filter(|it| !it.is_empty()),
        backlog: it.tcp_backlog_size.map(|it| it.value),
        freebind: it.freebind.is_some_and(|it| it.value),
        place: None,
        inspect: inspect::convert(it, path, notes),
        chains,
        default_chain,
        access_logs: access_log::convert(&it.access_log, &format!("{path}.access_log"), notes),
    })
}

/// An HTTP connection manager.
pub(super) fn http(
    it: &HttpConnectionManager,
    listener: &str,
    path: &str,
    notes: &mut Notes,
) -> HttpManager {
    let defaults = HttpManager::default();
    if it.stat_prefix.is_empty() {
        notes.invalid(format!("{path}.stat_prefix"), "it must not be empty");
    }
    let codec = CodecType::try_from(it.codec_type).unwrap_or_default();
    let codec = match codec {
        CodecType::Auto => Codec::Auto,
        CodecType::Http1 => Codec::Http1,
        CodecType::Http2 => Codec::Http2,
        CodecType::Http3 => {
            notes.unsupported(
                format!("{path}.codec_type"),
                format!("`{}`", codec.as_str_name()),
            );
            Codec::Auto
        }
    };
    let http2 = protocol::http2(
        it.http2_protocol_options.as_ref(),
        &format!("{path}.http2_protocol_options"),
        notes,
    );
    let faults = filter::convert(
        &it.http_filters,
        listener,
        &format!("{path}.http_filters"),
        notes,
    );
    let manager_faults = faults.manager(notes);
    let virtual_hosts = match &it.route_specifier {
        Some(RouteSpecifier::RouteConfig(routes)) => {
            route::convert(routes, &faults, &format!("{path}.route_config"), notes)
        }
        None => {
            notes.invalid(path, "a `route_config` is needed");
            Vec::new()
        }
        // Reported by the walk.
        Some(_) => Vec::new(),
    };
    let mut timeout = |it: Option<&_>, name: &str, default| match duration(
        it,
        &format!("{path}.{name}"),
        notes,
    ) {
        Some(set) => unless_zero(set),
        None => default,
    };
    let common = it.common_http_protocol_options.as_ref();
    HttpManager {
        stat_prefix: it.stat_prefix.clone(),
        idle_timeout: timeout(
            common.and_then(|common| common.idle_timeout.as_ref()),
            "common_http_protocol_options.idle_timeout",
            defaults.idle_timeout,
        ),
        stream_idle_timeout: timeout(
            it.stream_idle_timeout.as_ref(),
            "stream_idle_timeout",
            defaults.stream_idle_timeout,
        ),
        max_stream_duration: timeout(
            common.and_then(|common| common.max_stream_duration.as_ref()),
            "common_http_protocol_options.max_stream_duration",
            None,
        ),
        request_timeout: timeout(it.request_timeout.as_ref(), "request_timeout", None),
        request_headers_timeout: timeout(
            it.request_headers_timeout.as_ref(),
            "request_headers_timeout",
            None,
        ),
        server_name: server_name(it, defaults.server_name),
        generate_request_id: it.generate_request_id.is_none_or(|it| it.value),
        preserve_request_id: it.preserve_external_request_id,
        answer_request_id: it.always_set_request_id_in_response,
        origin: http1::origin(it, path, notes),
        virtual_hosts,
        routing: routing(it),
        signature: signature(it),
        upgrades: upgrades(&it.upgrade_configs),
        max_request_headers: headers_size(it, path, notes).unwrap_or(defaults.max_request_headers),
        accept_http_10: it
            .http_protocol_options
            .as_ref()
            .is_some_and(|http1| http1.accept_http_10),
        codec,
        http1: http1::downstream(it, path, notes),
        http2,
        local_replies: local_reply::convert(
            it.local_reply_config.as_ref(),
            &format!("{path}.local_reply_config"),
            notes,
        ),
        access_logs: access_log::convert(&it.access_log, &format!("{path}.access_log"), notes),
        faults: manager_faults,
        client_cert: client_cert(it),
        filters: faults.of_manager(),
    }
}

fn routing(it: &HttpConnectionManager) -> Routing {
    let routes = match &it.route_specifier {
        Some(RouteSpecifier::RouteConfig(routes)) => Some(routes),
        _ => None,
    };
    Routing {
        path: Normalization {
            normalize: it.normalize_path.is_some_and(|it| it.value),
            merge_slashes: it.merge_slashes,
            escaped_slashes: match it.path_with_escaped_slashes_action() {
                PathWithEscapedSlashesAction::ImplementationSpecificDefault
                | PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
                PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
                PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::Redirect,
                PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::Unescape,
            },
        },
        port: match it.strip_port_mode {
            Some(StripPortMode::StripAnyHostPort(true)) => Port::Strip,
            _ if it.strip_matching_host_port => Port::StripOwn,
            _ => Port::Keep,
        },
        strip_trailing_dot: it.strip_trailing_host_dot,
        ignore_port: routes.is_some_and(|routes| routes.ignore_port_in_host_matching),
        unknown_clusters: routes
            .and_then(|routes| routes.validate_clusters)
            .is_some_and(|validate| !validate.value),
    }
}

fn server_name(it: &HttpConnectionManager, default: Option<String>) -> Option<String> {
    match it.server_header_transformation() {
        ServerHeaderTransformation::PassThrough => None,
        _ if it.server_name.is_empty() => default,
        _ => Some(it.server_name.clone()),
    }
}

fn signature(it: &HttpConnectionManager) -> Signature {
    let router = it.http_filters.iter().find_map(|filter| {
        let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        filter::open::<Router>(any)
    });
    Signature {
        server_if_absent: it.server_header_transformation()
            == ServerHeaderTransformation::AppendIfAbsent,
        via: Some(it.via.clone()).filter(|via| !via.is_empty()),
        quiet: router
            .as_ref()
            .is_some_and(|router| router.suppress_envoy_headers),
        respects_expected_timeout: router.is_some_and(|router| router.respect_expected_rq_timeout),
    }
}

fn client_cert(it: &HttpConnectionManager) -> ClientCert {
    let forward = match ForwardClientCertDetails::try_from(it.forward_client_cert_details)
        .unwrap_or_default()
    {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForward,
    };
    let details = it.set_current_client_cert_details.unwrap_or_default();
    ClientCert {
        forward,
        cert: details.cert,
        chain: details.chain,
        subject: details.subject.is_some_and(|it| it.value),
        uri: details.uri,
        dns: details.dns,
    }
}

fn headers_size(it: &HttpConnectionManager, path: &str, notes: &mut Notes) -> Option<ByteSize> {
    let kib = it.max_request_headers_kb?.value;
    if !HEADERS_KB.contains(&kib) {
        notes.invalid(
            format!("{path}.max_request_headers_kb"),
            format!(
                "{kib} must be from {} to {}",
                HEADERS_KB.start(),
                HEADERS_KB.end()
            ),
        );
    }
    Some(ByteSize(u64::from(kib) << 10))
}

fn upgrades(configs: &[UpgradeConfig]) -> Vec<String> {
    configs
        .iter()
        .filter(|it| it.enabled.is_none_or(|enabled| enabled.value))
        .map(|it| it.upgrade_type.to_ascii_lowercase())
        .collect()
}
