//! Clusters and their endpoints.

use super::Row;

pub(super) const ROWS: &[Row] = &[
    (
        "envoy.config.cluster.v3.Cluster",
        &[
            "name",
            "type",
            "connect_timeout",
            "lb_policy",
            "round_robin_lb_config",
            "least_request_lb_config",
            "ring_hash_lb_config",
            "maglev_lb_config",
            "load_balancing_policy",
            "common_lb_config",
            "lb_subset_config",
            "circuit_breakers",
            "outlier_detection",
            "health_checks",
            "upstream_bind_config",
            "upstream_connection_options",
            "dns_refresh_rate",
            "dns_lookup_family",
            // Nothing is served before the first checks and addresses.
            "wait_for_warm_on_init*",
            "load_assignment",
            // Bodies pass in pieces that are smaller than any bound; it bounds what is kept for retries.
            "per_connection_buffer_limit_bytes",
            "http2_protocol_options",
            "protocol_selection",
            "common_http_protocol_options",
            "typed_extension_protocol_options",
            "metadata*",
            "transport_socket",
            "transport_socket_matches",
            "upstream_http_protocol_options",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.TransportSocketMatch",
        &["name*", "match", "transport_socket"],
    ),
    (
        "envoy.config.cluster.v3.CircuitBreakers",
        &["thresholds", "per_host_thresholds"],
    ),
    (
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        &[
            "priority",
            "max_connections",
            "max_pending_requests",
            "max_requests",
            "max_retries",
            "retry_budget",
            "track_remaining*",
        ],
    ),
    (
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
        &["budget_percent", "min_retry_concurrency"],
    ),
    ("envoy.config.core.v3.BindConfig", &["source_address"]),
    (
        "envoy.config.cluster.v3.UpstreamConnectionOptions",
        &["tcp_keepalive"],
    ),
    (
        "envoy.config.core.v3.TcpKeepalive",
        &["keepalive_probes", "keepalive_time", "keepalive_interval"],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        &[
            "common_http_protocol_options",
            "explicit_http_config",
            "use_downstream_protocol_config",
            "auto_config",
            "upstream_http_protocol_options",
        ],
    ),
    (
        "envoy.config.core.v3.UpstreamHttpProtocolOptions",
        &[
            "auto_sni",
            "auto_san_validation",
            "override_auto_sni_header",
        ],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig",
        &["http_protocol_options", "http2_protocol_options"],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig",
        &["http_protocol_options", "http2_protocol_options"],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig",
        &["http_protocol_options", "http2_protocol_options"],
    ),
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &["cluster_name", "endpoints", "policy"],
    ),
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        &["overprovisioning_factor", "weighted_priority_health"],
    ),
    (
        "envoy.config.endpoint.v3.LocalityLbEndpoints",
        &[
            "lb_endpoints",
            "locality",
            "load_balancing_weight",
            "priority",
            "metadata*",
        ],
    ),
    (
        "envoy.config.endpoint.v3.LbEndpoint",
        &[
            "endpoint",
            "load_balancing_weight",
            "health_status",
            "metadata",
        ],
    ),
    (
        "envoy.config.endpoint.v3.Endpoint",
        &["address", "hostname", "health_check_config"],
    ),
];
