//! Which HTTP version is spoken, and the bounds of HTTP/2.

use std::{ops::RangeInclusive, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster::ClusterProtocolSelection},
            core::v3::{Http2ProtocolOptions, HttpProtocolOptions as Common, KeepaliveSettings},
            route::v3::route_action::UpgradeConfig,
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
    },
    google::protobuf::UInt32Value,
};

use super::{
    Notes,
    filter::{duration, open, unless_zero},
    http1,
    support::{join, key_step},
};
use crate::{
    config,
    policy::{
        http1::Http1,
        protocol::{Http2, Keepalive, Upgrade, Upstream},
    },
};

/// Envoy's bounds on both windows.
const WINDOW: RangeInclusive<u32> = 65_535..=2_147_483_647;
/// Envoy's bounds on `max_concurrent_streams`.
const STREAMS: RangeInclusive<u32> = 1..=2_147_483_647;

/// What is spoken with a cluster's endpoints, and how long.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) protocol: Upstream,
    pub(super) http2: Http2,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_requests: Option<u64>,
    pub(super) http1: Http1,
}

impl Default for Spoken {
    fn default() -> Self {
        Self {
            protocol: Upstream::default(),
            http2: Http2::default(),
            idle_timeout: Some(config::Cluster::IDLE_TIMEOUT),
            max_requests: None,
            http1: Http1::default(),
        }
    }
}

/// As a cluster says: in its extension options, or in the older fields of its own.
pub(super) fn upstream(it: &Cluster, path: &str, notes: &mut Notes) -> Spoken {
    let mut spoken = Spoken::default();
    older(it, path, &mut spoken, notes);
    for (key, any) in &it.typed_extension_protocol_options {
        let path = join(
            &format!("{path}.typed_extension_protocol_options"),
            &key_step(key),
        );
        // Others are reported by the walk.
        if let Some(options) = open::<HttpProtocolOptions>(any) {
            newer(&options, &path, &mut spoken, notes);
            if spoken.protocol == Upstream::Alpn && it.transport_socket.is_none() {
                notes.invalid(
                    format!("{path}.auto_config"),
                    "a `transport_socket` with TLS is needed, in whose handshake the version is settled",
                );
            }
        }
    }
    spoken
}

fn newer(it: &HttpProtocolOptions, path: &str, spoken: &mut Spoken, notes: &mut Notes) {
    let (protocol, options, step) = match &it.upstream_protocol_options {
        None => (Upstream::Http1, None, ""),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(it)) => match &it.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                (Upstream::Http2, Some(options), "explicit_http_config")
            }
            // HTTP/3 is reported by the walk.
            Some(_) => (Upstream::Http1, None, ""),
            None => {
                notes.invalid(
                    format!("{path}.explicit_http_config"),
                    "a protocol is needed",
                );
                return;
            }
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(it)) => (
            Upstream::Downstream,
            it.http2_protocol_options.as_ref(),
            "use_downstream_protocol_config",
        ),
        Some(UpstreamProtocolOptions::AutoConfig(it)) => (
            Upstream::Alpn,
            it.http2_protocol_options.as_ref(),
            "auto_config",
        ),
    };
    spoken.protocol = protocol;
    let options1 = match &it.upstream_protocol_options {
        None => None,
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(it)) => match &it.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(options)) => Some(options),
            _ => None,
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(it)) => {
            it.http_protocol_options.as_ref()
        }
        Some(UpstreamProtocolOptions::AutoConfig(it)) => it.http_protocol_options.as_ref(),
    };
    if let Some(options) = options1 {
        let at = format!("{path}.http_protocol_options");
        http1::options(options, &at, &mut spoken.http1, notes);
    }
    let at = format!("{path}.{step}.http2_protocol_options");
    spoken.http2 = http2(options, &at, notes);
    if let Some(it) = &it.common_http_protocol_options {
        common(
            it,
            &format!("{path}.common_http_protocol_options"),
            spoken,
            notes,
        );
    }
}

#[expect(deprecated, reason = "files that have the older fields still run")]
fn older(it: &Cluster, path: &str, spoken: &mut Spoken, notes: &mut Notes) {
    if it.http2_protocol_options.is_some() {
        spoken.protocol = Upstream::Http2;
    }
    let selection = ClusterProtocolSelection::try_from(it.protocol_selection).unwrap_or_default();
    if selection == ClusterProtocolSelection::UseDownstreamProtocol {
        spoken.protocol = Upstream::Downstream;
    }
    let at = format!("{path}.http2_protocol_options");
    spoken.http2 = http2(it.http2_protocol_options.as_ref(), &at, notes);
    if let Some(it) = &it.common_http_protocol_options {
        common(
            it,
            &format!("{path}.common_http_protocol_options"),
            spoken,
            notes,
        );
    }
    if let Some(most) = &it.max_requests_per_connection {
        spoken.max_requests = Some(u64::from(most.value)).filter(|most| *most > 0);
    }
}

fn common(it: &Common, path: &str, spoken: &mut Spoken, notes: &mut Notes) {
    let at = format!("{path}.idle_timeout");
    if let Some(idle) = duration(it.idle_timeout.as_ref(), &at, notes) {
        spoken.idle_timeout = unless_zero(idle);
    }
    http1::common(it, path, &mut spoken.http1, notes);
    if spoken.http1.max_requests.is_some() {
        spoken.max_requests = spoken.http1.max_requests;
    }
}

/// What a route says about upgrades.
pub(super) fn upgrades(configs: &[UpgradeConfig], path: &str, notes: &mut Notes) -> Vec<Upgrade> {
    let mut upgrades = Vec::with_capacity(configs.len());
    for (index, it) in configs.iter().enumerate() {
        let upgrade = Upgrade {
            protocol: it.upgrade_type.to_ascii_lowercase(),
            allowed: it.enabled.is_none_or(|enabled| enabled.value),
            terminates: it.connect_config.is_some(),
        };
        if upgrade.terminates && upgrade.protocol != "connect" {
            notes.invalid(
                format!("{path}.upgrade_configs[{index}].connect_config"),
                format!("`{}` is not the upgrade type `CONNECT`", it.upgrade_type),
            );
        }
        upgrades.push(upgrade);
    }
    upgrades
}

/// The bounds of HTTP/2 connections; Envoy's own where the file says nothing.
pub(super) fn http2(it: Option<&Http2ProtocolOptions>, path: &str, notes: &mut Notes) -> Http2 {
    let defaults = Http2::default();
    let Some(it) = it else {
        return defaults;
    };
    let mut within = |it: Option<UInt32Value>, name: &str, range: RangeInclusive<u32>, default| {
        let Some(value) = it.map(|it| it.value) else {
            return default;
        };
        if !range.contains(&value) {
            notes.invalid(
                format!("{path}.{name}"),
                format!("{value} must be from {} to {}", range.start(), range.end()),
            );
        }
        value
    };
    let any = 0..=u32::MAX;
    Http2 {
        hpack_table: within(
            it.hpack_table_size,
            "hpack_table_size",
            any.clone(),
            defaults.hpack_table,
        ),
        max_streams: within(
            it.max_concurrent_streams,
            "max_concurrent_streams",
            STREAMS,
            defaults.max_streams,
        ),
        stream_window: within(
            it.initial_stream_window_size,
            "initial_stream_window_size",
            WINDOW,
            defaults.stream_window,
        ),
        connection_window: within(
            it.initial_connection_window_size,
            "initial_connection_window_size",
            WINDOW,
            defaults.connection_window,
        ),
        max_control_frames: within(
            it.max_outbound_control_frames,
            "max_outbound_control_frames",
            1..=u32::MAX,
            defaults.max_control_frames,
        ),
        max_empty_frames: within(
            it.max_consecutive_inbound_frames_with_empty_payload,
            "max_consecutive_inbound_frames_with_empty_payload",
            any.clone(),
            defaults.max_empty_frames,
        ),
        max_priority_frames: within(
            it.max_inbound_priority_frames_per_stream,
            "max_inbound_priority_frames_per_stream",
            any,
            defaults.max_priority_frames,
        ),
        max_window_updates: within(
            it.max_inbound_window_update_frames_per_data_frame_sent,
            "max_inbound_window_update_frames_per_data_frame_sent",
            1..=u32::MAX,
            defaults.max_window_updates,
        ),
        allow_connect: it.allow_connect,
        stream_error: it
            .override_stream_error_on_invalid_http_message
            .map_or(deprecated_stream_error(it), |it| it.value),
        keepalive: it
            .connection_keepalive
            .as_ref()
            .and_then(|it| keepalive(it, &format!("{path}.connection_keepalive"), notes)),
    }
}

#[expect(deprecated, reason = "files that have the older name still run")]
fn deprecated_stream_error(it: &Http2ProtocolOptions) -> bool {
    it.stream_error_on_invalid_http_messaging
}

fn keepalive(it: &KeepaliveSettings, path: &str, notes: &mut Notes) -> Option<Keepalive> {
    let interval = duration(it.interval.as_ref(), &format!("{path}.interval"), notes);
    let timeout = duration(it.timeout.as_ref(), &format!("{path}.timeout"), notes);
    let Some(timeout) = timeout else {
        notes.invalid(path, "a `timeout` is needed");
        return None;
    };
    let least = Duration::from_millis(1);
    for (name, value) in [("interval", interval), ("timeout", Some(timeout))] {
        if value.is_some_and(|value| value < least) {
            notes.invalid(format!("{path}.{name}"), "it must be 1 ms at least");
        }
    }
    Some(Keepalive {
        interval: interval.and_then(unless_zero)?,
        timeout,
    })
}
