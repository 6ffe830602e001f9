//! Listeners, their filter chains, and the filters of connections.

use super::Row;

pub(super) const ROWS: &[Row] = &[
    (
        "envoy.config.listener.v3.Listener",
        &[
            "name",
            "address",
            "filter_chains",
            "default_filter_chain",
            "additional_addresses",
            "stat_prefix",
            "tcp_backlog_size",
            "freebind",
            "bind_to_port",
            // What is read and not written yet is bounded by one buffer, or pipe, a connection.
            "per_connection_buffer_limit_bytes*",
            "max_connections_to_accept_per_socket_event*",
            "drain_type*",
            "listener_filters",
            "listener_filters_timeout",
            "continue_on_listener_filters_timeout",
            "enable_reuse_port",
            "access_log",
            "traffic_direction*",
            "metadata*",
        ],
    ),
    (
        "envoy.config.listener.v3.FilterChain",
        &[
            "filter_chain_match",
            "filters",
            "name",
            "metadata*",
            "transport_socket",
            "transport_socket_connect_timeout",
        ],
    ),
    ("envoy.config.listener.v3.AdditionalAddress", &["address"]),
    (
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        &["stat_prefix", "max_connections", "delay"],
    ),
    (
        "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
        &[],
    ),
    (
        "envoy.config.listener.v3.ListenerFilter",
        &["name*", "typed_config", "filter_disabled"],
    ),
    (
        "envoy.config.listener.v3.ListenerFilterChainMatchPredicate",
        &[
            "or_match",
            "and_match",
            "not_match",
            "any_match",
            "destination_port_range",
        ],
    ),
    (
        "envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet",
        &["rules"],
    ),
    (
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        &["initial_read_buffer_size*", "max_client_hello_size"],
    ),
    (
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        &[],
    ),
    (
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        &["allow_requests_without_proxy_protocol"],
    ),
    (
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        &[],
    ),
    (
        "envoy.config.listener.v3.FilterChainMatch",
        &[
            "destination_port",
            "prefix_ranges",
            "direct_source_prefix_ranges",
            "source_type",
            "source_prefix_ranges",
            "source_ports",
            "server_names",
            "transport_protocol",
            "application_protocols",
        ],
    ),
    ("envoy.config.listener.v3.Filter", &["name", "typed_config"]),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        &[
            "stat_prefix",
            "cluster",
            "weighted_clusters",
            "idle_timeout",
            "max_connect_attempts",
            "max_downstream_connection_duration",
            "hash_policy",
            "access_log",
        ],
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster",
        &["clusters"],
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        &["name", "weight"],
    ),
];
