//! Which fields of Envoy's messages are honoured: one table, and a walk that reports every other field that is set.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::{Notes, filter::own};

/// By message: its fields that are honoured. A `*` after a field: it has no effect on what a proxy does, or none without
/// fields that are not supported, so it is accepted with all that is in it.
const SUPPORTED: &[(&str, &[&str])] = &[
    (
        "envoy.config.bootstrap.v3.Bootstrap",
        &["node*", "static_resources", "admin"],
    ),
    (
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
        &["listeners", "clusters", "secrets"],
    ),
    ("envoy.config.bootstrap.v3.Admin", &["address"]),
    ("envoy.config.core.v3.Address", &["socket_address"]),
    (
        "envoy.config.core.v3.SocketAddress",
        &["protocol", "address", "port_value"],
    ),
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
    ("envoy.type.v3.Int32Range", &["start", "end"]),
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
    (
        "envoy.config.core.v3.CidrRange",
        &["address_prefix", "prefix_len"],
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
    ("envoy.type.v3.HashPolicy", &["source_ip"]),
    ("envoy.type.v3.HashPolicy.SourceIp", &[]),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[
            "codec_type",
            "stat_prefix",
            "route_config",
            "http_filters",
            "server_name",
            "server_header_transformation",
            "via",
            "generate_request_id",
            "use_remote_address",
            "proxy_100_continue",
            "xff_num_trusted_hops",
            "skip_xff_append",
            "internal_address_config",
            "preserve_external_request_id",
            "always_set_request_id_in_response",
            "delayed_close_timeout",
            "drain_timeout",
            "common_http_protocol_options",
            "http_protocol_options",
            "http2_protocol_options",
            "stream_idle_timeout",
            "request_timeout",
            "request_headers_timeout",
            "max_request_headers_kb",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "strip_matching_host_port",
            "strip_any_host_port",
            "strip_trailing_host_dot",
            "upgrade_configs",
            "access_log",
            "local_reply_config",
            "forward_client_cert_details",
            "set_current_client_cert_details",
        ],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails",
        &["subject", "cert", "chain", "dns", "uri"],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        &["upgrade_type", "enabled"],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        &["name", "typed_config", "disabled", "is_optional*"],
    ),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_stream_duration",
            "max_connection_duration",
            "max_headers_count",
            "max_requests_per_connection",
            "max_response_headers_kb",
            "max_stream_duration",
            "headers_with_underscores_action",
            "max_stream_duration",
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            "accept_http_10",
            "default_host_for_http_10",
            "allow_absolute_url",
            "allow_chunked_length",
            "allow_custom_methods",
            "enable_trailers",
            "header_key_format",
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
        &["proper_case_words", "stateful_formatter"],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords",
        &[],
    ),
    (
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        &[],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
        &["unix_sockets", "cidr_ranges"],
    ),
    (
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            "hpack_table_size",
            "max_concurrent_streams",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "allow_connect",
            "max_outbound_frames*",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "override_stream_error_on_invalid_http_message",
            "stream_error_on_invalid_http_messaging",
            "connection_keepalive",
        ],
    ),
    (
        "envoy.config.core.v3.KeepaliveSettings",
        &["interval", "timeout"],
    ),
    (
        "envoy.extensions.filters.http.router.v3.Router",
        // Nothing is traced, and counts are always kept.
        &[
            "suppress_envoy_headers",
            "respect_expected_rq_timeout",
            "dynamic_stats*",
            "start_child_span*",
        ],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        &[
            "delay",
            "abort",
            "upstream_cluster",
            "headers",
            "downstream_nodes",
            "max_active_faults",
            "response_rate_limit",
            // Without layers of runtime they have nothing to override.
            "delay_percent_runtime*",
            "abort_percent_runtime*",
            "delay_duration_runtime*",
            "abort_http_status_runtime*",
            "max_active_faults_runtime*",
            "response_rate_limit_percent_runtime*",
            "abort_grpc_status_runtime*",
            "disable_downstream_cluster_stats*",
        ],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultDelay",
        &["fixed_delay", "header_delay", "percentage"],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay",
        &[],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultRateLimit",
        &["fixed_limit", "header_limit", "percentage"],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit",
        &["limit_kbps"],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit",
        &[],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.FaultAbort",
        &[
            "http_status",
            "grpc_status",
            "header_abort",
            "percentage",
            "response_body",
        ],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort",
        &[],
    ),
    (
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        &[
            "stat_prefix",
            "status",
            "token_bucket",
            "filter_enabled",
            "filter_enforced",
            "request_headers_to_add_when_not_enforced",
            "response_headers_to_add",
            "descriptors",
            "stage",
            "enable_x_ratelimit_headers",
            "vh_rate_limits",
            "always_consume_default_token_bucket",
            "rate_limited_as_resource_exhausted",
            "rate_limits",
        ],
    ),
    ("envoy.type.v3.HttpStatus", &["code"]),
    (
        "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
        &[
            "gradient_controller_config",
            "enabled",
            "concurrency_limit_exceeded_status",
        ],
    ),
    (
        "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig",
        &[
            "sample_aggregate_percentile",
            "concurrency_limit_params",
            "min_rtt_calc_params",
        ],
    ),
    (
        "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig.ConcurrencyLimitCalculationParams",
        &["max_concurrency_limit", "concurrency_update_interval"],
    ),
    (
        "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig.MinimumRTTCalculationParams",
        &[
            "interval",
            "request_count",
            "min_concurrency",
            "buffer",
            // It only shifts when the best time is measured.
            "jitter*",
        ],
    ),
    (
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
        &[
            "enabled",
            "success_criteria",
            "sampling_window",
            "aggression",
            "sr_threshold",
            "rps_threshold",
            "max_rejection_probability",
        ],
    ),
    (
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl.SuccessCriteria",
        &["http_criteria"],
    ),
    (
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl.SuccessCriteria.HttpCriteria",
        &["http_success_status"],
    ),
    ("envoy.type.v3.Int32Range", &["start", "end"]),
    (
        "envoy.config.core.v3.RuntimeFeatureFlag",
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.config.core.v3.RuntimePercent",
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.config.core.v3.RuntimeDouble",
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.config.core.v3.RuntimeUInt32",
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.type.v3.TokenBucket",
        &["max_tokens", "tokens_per_fill", "fill_interval"],
    ),
    (
        "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        &["entries", "token_bucket"],
    ),
    (
        "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry",
        &["key", "value"],
    ),
    (
        "envoy.config.route.v3.RateLimit",
        &["stage", "actions", "disable_key*"],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action",
        &[
            "destination_cluster",
            "request_headers",
            "query_parameters",
            "remote_address",
            "generic_key",
            "header_value_match",
            "query_parameter_value_match",
            "masked_remote_address",
        ],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.DestinationCluster",
        &[],
    ),
    ("envoy.config.route.v3.RateLimit.Action.RemoteAddress", &[]),
    (
        "envoy.config.route.v3.RateLimit.Action.RequestHeaders",
        &["header_name", "descriptor_key", "skip_if_absent"],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.QueryParameters",
        &["query_parameter_name", "descriptor_key", "skip_if_absent"],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.GenericKey",
        &["descriptor_value", "descriptor_key"],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch",
        &[
            "descriptor_value",
            "descriptor_key",
            "expect_match",
            "headers",
        ],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch",
        &[
            "descriptor_value",
            "descriptor_key",
            "expect_match",
            "query_parameters",
        ],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress",
        &["v4_prefix_mask_len", "v6_prefix_mask_len"],
    ),
    ("envoy.extensions.filters.http.grpc_web.v3.GrpcWeb", &[]),
    (
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        &["max_request_bytes"],
    ),
    (
        "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        &["disabled", "buffer"],
    ),
    (
        "envoy.type.v3.FractionalPercent",
        &["numerator", "denominator"],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig",
        &["mappers", "body_format"],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper",
        &[
            "filter",
            "status_code",
            "body",
            "body_format_override",
            "headers_to_add",
        ],
    ),
    (
        "envoy.config.accesslog.v3.AccessLog",
        &["name*", "filter", "typed_config"],
    ),
    (
        "envoy.config.accesslog.v3.AccessLogFilter",
        &[
            "status_code_filter",
            "duration_filter",
            "not_health_check_filter",
            "traceable_filter",
            "runtime_filter",
            "and_filter",
            "or_filter",
            "header_filter",
            "response_flag_filter",
            "grpc_status_filter",
        ],
    ),
    (
        "envoy.config.accesslog.v3.StatusCodeFilter",
        &["comparison"],
    ),
    ("envoy.config.accesslog.v3.DurationFilter", &["comparison"]),
    (
        "envoy.config.accesslog.v3.ComparisonFilter",
        &["op", "value"],
    ),
    (
        // Without layers of runtime, which are not supported, the default is what counts.
        "envoy.config.core.v3.RuntimeUInt32",
        &["default_value", "runtime_key*"],
    ),
    ("envoy.config.accesslog.v3.NotHealthCheckFilter", &[]),
    ("envoy.config.accesslog.v3.TraceableFilter", &[]),
    (
        "envoy.config.accesslog.v3.RuntimeFilter",
        &[
            "runtime_key*",
            "percent_sampled",
            "use_independent_randomness",
        ],
    ),
    ("envoy.config.accesslog.v3.AndFilter", &["filters"]),
    ("envoy.config.accesslog.v3.OrFilter", &["filters"]),
    ("envoy.config.accesslog.v3.HeaderFilter", &["header"]),
    ("envoy.config.accesslog.v3.ResponseFlagFilter", &["flags"]),
    (
        "envoy.config.accesslog.v3.GrpcStatusFilter",
        &["statuses", "exclude"],
    ),
    (
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        &[
            "path",
            "format",
            "json_format",
            "typed_json_format",
            "log_format",
        ],
    ),
    (
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        &["log_format"],
    ),
    (
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        &["log_format"],
    ),
    (
        "envoy.config.core.v3.SubstitutionFormatString",
        &[
            "text_format",
            "text_format_source",
            "json_format",
            // Fields are always in the order of their names.
            "json_format_options*",
            "omit_empty_values",
            "content_type*",
        ],
    ),
    (
        "envoy.config.route.v3.RouteConfiguration",
        &[
            "name",
            "virtual_hosts",
            "validate_clusters",
            "typed_per_filter_config",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "most_specific_header_mutations_wins",
            "request_mirror_policies",
            "ignore_port_in_host_matching",
            "metadata*",
        ],
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        &[
            "name",
            "domains",
            "routes",
            "require_tls",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "request_mirror_policies",
            "typed_per_filter_config",
            "retry_policy",
            "hedge_policy",
            "include_request_attempt_count",
            "include_attempt_count_in_response",
            "per_request_buffer_limit_bytes",
            "rate_limits",
            "metadata*",
        ],
    ),
    (
        "envoy.config.route.v3.Route",
        &[
            "per_request_buffer_limit_bytes",
            "name",
            "match",
            "route",
            "redirect",
            "direct_response",
            "non_forwarding_action",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "typed_per_filter_config",
            "metadata*",
        ],
    ),
    (
        "envoy.config.route.v3.FilterConfig",
        &["config", "disabled", "is_optional*"],
    ),
    (
        "envoy.config.route.v3.RouteMatch",
        &[
            "prefix",
            "path",
            "safe_regex",
            "path_separated_prefix",
            "path_match_policy",
            "connect_matcher",
            "case_sensitive",
            "headers",
            "query_parameters",
            "cookies",
            "grpc",
            "runtime_fraction",
        ],
    ),
    (
        "envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions",
        &[],
    ),
    ("envoy.config.route.v3.RouteMatch.ConnectMatcher", &[]),
    (
        "envoy.config.core.v3.TypedExtensionConfig",
        &["name", "typed_config"],
    ),
    (
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        &["path_template"],
    ),
    (
        "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
        &["path_template_rewrite"],
    ),
    (
        "envoy.config.route.v3.CookieMatcher",
        &["name", "string_match", "invert_match"],
    ),
    ("envoy.config.route.v3.NonForwardingAction", &[]),
    (
        "envoy.config.route.v3.RedirectAction",
        &[
            "https_redirect",
            "scheme_redirect",
            "host_redirect",
            "port_redirect",
            "path_redirect",
            "prefix_rewrite",
            "regex_rewrite",
            "response_code",
            "strip_query",
        ],
    ),
    (
        "envoy.type.matcher.v3.RegexMatchAndSubstitute",
        &["pattern", "substitution"],
    ),
    ("envoy.extensions.filters.http.cors.v3.Cors", &[]),
    (
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        // A policy that is only watched does nothing but count.
        &[
            "allow_origin_string_match",
            "allow_methods",
            "allow_headers",
            "expose_headers",
            "max_age",
            "allow_credentials",
            "filter_enabled",
            "shadow_enabled*",
            "allow_private_network_access",
            "forward_not_matching_preflights",
        ],
    ),
    (
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        &["mutations", "most_specific_header_mutations_wins"],
    ),
    (
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        &["mutations"],
    ),
    (
        "envoy.extensions.filters.http.header_mutation.v3.Mutations",
        &["request_mutations", "response_mutations"],
    ),
    (
        "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch",
        &["key_matcher"],
    ),
    (
        "envoy.type.matcher.v3.RegexMatcher",
        &["regex", "google_re2*"],
    ),
    (
        "envoy.type.matcher.v3.StringMatcher",
        &[
            "exact",
            "prefix",
            "suffix",
            "safe_regex",
            "contains",
            "ignore_case",
        ],
    ),
    ("envoy.type.v3.Int64Range", &["start", "end"]),
    (
        "envoy.config.route.v3.HeaderMatcher",
        &[
            "name",
            "exact_match",
            "safe_regex_match",
            "range_match",
            "present_match",
            "prefix_match",
            "suffix_match",
            "contains_match",
            "string_match",
            "invert_match",
            "treat_missing_header_as_empty",
        ],
    ),
    (
        "envoy.config.route.v3.QueryParameterMatcher",
        &["name", "string_match", "present_match"],
    ),
    (
        "envoy.config.route.v3.RouteAction",
        &[
            "cluster",
            "cluster_header",
            "weighted_clusters",
            "cluster_not_found_response_code",
            "timeout",
            "idle_timeout",
            "prefix_rewrite",
            "regex_rewrite",
            "path_rewrite_policy",
            "host_rewrite_literal",
            "host_rewrite_header",
            "host_rewrite_path_regex",
            "auto_host_rewrite",
            "append_x_forwarded_host",
            "request_mirror_policies",
            "hash_policy",
            "metadata_match",
            "priority",
            "internal_redirect_policy",
            "upgrade_configs",
            "retry_policy",
            "hedge_policy",
            "max_stream_duration",
            "rate_limits",
            "include_vh_rate_limits",
        ],
    ),
    (
        "envoy.config.route.v3.InternalRedirectPolicy",
        &[
            "max_internal_redirects",
            "redirect_response_codes",
            "predicates",
            "allow_cross_scheme_redirect",
            "response_headers_to_copy",
        ],
    ),
    (
        "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig",
        &[],
    ),
    (
        "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
        &["allowed_route_names"],
    ),
    (
        "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig",
        &[],
    ),
    (
        "envoy.config.route.v3.RouteAction.UpgradeConfig",
        &["upgrade_type", "enabled", "connect_config"],
    ),
    (
        "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig",
        &[],
    ),
    (
        "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        &[
            "max_stream_duration",
            "grpc_timeout_header_max",
            "grpc_timeout_header_offset",
        ],
    ),
    (
        "envoy.config.route.v3.RetryPolicy",
        &[
            "retry_on",
            "num_retries",
            "per_try_timeout",
            "per_try_idle_timeout",
            "retry_priority",
            "retry_host_predicate",
            "host_selection_retry_max_attempts",
            "retriable_status_codes",
            "retry_back_off",
            "rate_limited_retry_back_off",
            "retriable_headers",
            "retriable_request_headers",
        ],
    ),
    (
        "envoy.config.route.v3.RetryPolicy.RetryPriority",
        &["name", "typed_config"],
    ),
    (
        "envoy.config.route.v3.RetryPolicy.RetryHostPredicate",
        &["name", "typed_config"],
    ),
    (
        "envoy.config.route.v3.RetryPolicy.RetryBackOff",
        &["base_interval", "max_interval"],
    ),
    (
        "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff",
        &["reset_headers", "max_interval"],
    ),
    (
        "envoy.config.route.v3.RetryPolicy.ResetHeader",
        &["name", "format"],
    ),
    (
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        &[],
    ),
    (
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        &["update_frequency"],
    ),
    (
        "envoy.config.route.v3.HedgePolicy",
        // Envoy has two more fields, and ignores them.
        &[
            "hedge_on_per_try_timeout",
            "initial_requests*",
            "additional_request_chance*",
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster",
        // The sum of the weights is what counts, and there is no runtime to change them.
        &[
            "clusters",
            "total_weight*",
            "runtime_key_prefix*",
            "header_name",
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        &[
            "name",
            "cluster_header",
            "weight",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "host_rewrite_literal",
            "metadata_match",
            "typed_per_filter_config",
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy",
        &[
            "header",
            "cookie",
            "connection_properties",
            "query_parameter",
            "terminal",
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.Header",
        &["header_name", "regex_rewrite"],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
        &["name", "ttl", "path", "attributes"],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute",
        &["name", "value"],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties",
        &["source_ip"],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter",
        &["name"],
    ),
    (
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        &[
            "cluster",
            "cluster_header",
            "runtime_fraction",
            // Nothing is traced.
            "trace_sampled*",
            "disable_shadow_host_suffix_append",
            "request_headers_mutations",
            "host_rewrite_literal",
        ],
    ),
    (
        "envoy.config.core.v3.RuntimeFractionalPercent",
        // Without layers of runtime, which are not supported, the default is what counts.
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.config.common.mutation_rules.v3.HeaderMutation",
        &["remove", "append", "remove_on_match"],
    ),
    (
        "envoy.config.core.v3.HeaderValueOption",
        &["header", "append", "append_action", "keep_empty_value"],
    ),
    (
        "envoy.config.core.v3.HeaderValue",
        &["key", "value", "raw_value"],
    ),
    (
        "envoy.config.route.v3.DirectResponseAction",
        &["status", "body", "body_format"],
    ),
    (
        "envoy.config.core.v3.DataSource",
        &[
            "inline_string",
            "inline_bytes",
            "filename",
            "environment_variable",
        ],
    ),
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
            "upstream_http_protocol_options",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
        &["slow_start_config"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        &["choice_count", "active_request_bias", "slow_start_config"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        &["slow_start_window", "aggression", "min_weight_percent"],
    ),
    (
        "envoy.config.core.v3.RuntimeDouble",
        &["default_value", "runtime_key*"],
    ),
    ("envoy.type.v3.Percent", &["value"]),
    (
        "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        &["minimum_ring_size", "maximum_ring_size", "hash_function"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
        &["table_size"],
    ),
    ("envoy.config.cluster.v3.LoadBalancingPolicy", &["policies"]),
    (
        "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
        &["typed_extension_config"],
    ),
    (
        "envoy.config.core.v3.TypedExtensionConfig",
        &["name", "typed_config"],
    ),
    (
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        &["slow_start_config", "locality_lb_config"],
    ),
    (
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        &[
            "choice_count",
            "active_request_bias",
            "slow_start_config",
            "locality_lb_config",
            "enable_full_scan",
            "selection_method",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.random.v3.Random",
        &["locality_lb_config"],
    ),
    (
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
        &[
            "hash_function",
            "minimum_ring_size",
            "maximum_ring_size",
            "use_hostname_for_hashing",
            "consistent_hashing_lb_config",
            "locality_weighted_lb_config",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
        &[
            "table_size",
            "consistent_hashing_lb_config",
            "locality_weighted_lb_config",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        &[
            "fallback_policy",
            "default_subset",
            "subset_selectors",
            "allow_redundant_keys",
            "panic_mode_any",
            "list_as_any",
            "subset_lb_policy",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
        &[
            "keys",
            "single_host_per_subset",
            "fallback_policy",
            "fallback_keys_subset",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
        &["zone_aware_lb_config", "locality_weighted_lb_config"],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig",
        &[],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig",
        &["fail_traffic_on_panic"],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        &["slow_start_window", "aggression", "min_weight_percent"],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig",
        &["use_hostname_for_hashing"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        &[
            "healthy_panic_threshold",
            // Changes count at once.
            "update_merge_window*",
            "ignore_new_hosts_until_first_hc",
            "consistent_hashing_lb_config",
            "locality_weighted_lb_config",
            "zone_aware_lb_config",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
        &["use_hostname_for_hashing"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig",
        &[],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
        // Zones count only beside a local cluster, which is not supported.
        &[
            "fail_traffic_on_panic",
            "routing_enabled*",
            "min_cluster_size*",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
        &[
            "fallback_policy",
            "default_subset",
            "subset_selectors",
            "panic_mode_any",
            "list_as_any",
            "locality_weight_aware",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        &[
            "keys",
            "single_host_per_subset",
            "fallback_policy",
            "fallback_keys_subset",
        ],
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
    (
        "envoy.config.cluster.v3.OutlierDetection",
        &[
            "consecutive_5xx",
            "interval",
            "base_ejection_time",
            "max_ejection_percent",
            "enforcing_consecutive_5xx",
            "enforcing_success_rate",
            "success_rate_minimum_hosts",
            "success_rate_request_volume",
            "success_rate_stdev_factor",
            "consecutive_gateway_failure",
            "enforcing_consecutive_gateway_failure",
            "split_external_local_origin_errors",
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
            "enforcing_local_origin_success_rate",
            "failure_percentage_threshold",
            "enforcing_failure_percentage",
            "enforcing_failure_percentage_local_origin",
            "failure_percentage_minimum_hosts",
            "failure_percentage_request_volume",
            "max_ejection_time",
            "max_ejection_time_jitter",
            "successful_active_health_check_uneject_host",
            "always_eject_one_host",
        ],
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
        "envoy.config.core.v3.HealthCheck",
        &[
            "timeout",
            "interval",
            "initial_jitter",
            "interval_jitter",
            "interval_jitter_percent",
            "unhealthy_threshold",
            "healthy_threshold",
            "reuse_connection",
            "no_traffic_interval",
            "no_traffic_healthy_interval",
            "unhealthy_interval",
            "unhealthy_edge_interval",
            "healthy_edge_interval",
            "http_health_check",
            "tcp_health_check",
            "grpc_health_check",
            // There is no log of checks, which these would add to.
            "always_log_health_check_failures*",
            "always_log_health_check_success*",
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        &[
            "host",
            "path",
            "method",
            "request_headers_to_add",
            "request_headers_to_remove",
            "expected_statuses",
            "retriable_statuses",
            "codec_client_type",
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck.TcpHealthCheck",
        &["send", "receive"],
    ),
    (
        "envoy.config.core.v3.HealthCheck.GrpcHealthCheck",
        &["service_name", "authority"],
    ),
    (
        "envoy.config.core.v3.HealthCheck.Payload",
        &["text", "binary"],
    ),
    (
        "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig",
        &["port_value", "hostname", "disable_active_health_check"],
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
        "envoy.config.core.v3.Locality",
        &["region", "zone", "sub_zone"],
    ),
    ("envoy.config.core.v3.Metadata", &["filter_metadata"]),
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
    (
        "envoy.config.core.v3.TransportSocket",
        &["name*", "typed_config"],
    ),
    (
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        &[],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        &[
            "common_tls_context",
            "require_client_certificate",
            "full_scan_certs_on_sni_mismatch",
            "prefer_client_ciphers",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
            "session_timeout",
            "ocsp_staple_policy",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        &[
            "common_tls_context",
            "sni",
            "auto_host_sni",
            "auto_sni_san_validation",
            "max_session_keys",
            "enforce_rsa_key_usage",
            // TLS 1.3 has no renegotiation, and no server needs it of us in 1.2.
            "allow_renegotiation*",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "alpn_protocols",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
        &[
            "default_validation_context",
            "validation_context_sds_secret_config",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
        &[
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        &[
            "certificate_chain",
            "private_key",
            "ocsp_staple",
            "watched_directory",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        &[
            "trusted_ca",
            "crl",
            "only_verify_leaf_cert_crl",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "verify_certificate_hash",
            "verify_certificate_spki",
            "trust_chain_verification",
            "allow_expired_certificate",
            "suppress_client_ca_list",
            "custom_validator_config",
            "watched_directory",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
        &["san_type", "matcher"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        &["trust_domains"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain",
        &["name", "trust_bundle"],
    ),
    (
        "envoy.config.core.v3.TypedExtensionConfig",
        &["name*", "typed_config"],
    ),
    ("envoy.config.core.v3.WatchedDirectory", &["path"]),
    (
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        &["name", "tls_certificate", "validation_context"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
        &["name", "sds_config"],
    ),
    (
        "envoy.service.discovery.v3.DiscoveryResponse",
        &["resources", "version_info*", "type_url*", "nonce*"],
    ),
    (
        "envoy.config.core.v3.ConfigSource",
        &[
            "path",
            "path_config_source",
            "resource_api_version*",
            "initial_fetch_timeout*",
        ],
    ),
    (
        "envoy.config.core.v3.PathConfigSource",
        &["path", "watched_directory*"],
    ),
];

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
    let Some((_, supported)) = SUPPORTED.iter().find(|(message, _)| *message == name) else {
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
        for (message, fields) in SUPPORTED {
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
    fn the_manual_names_every_field_that_is_honoured() {
        let manual = include_str!("../../README.md");
        for (message, fields) in SUPPORTED {
            for field in fields.iter().map(|field| field.trim_end_matches('*')) {
                assert!(
                    manual.contains(&format!("`{field}`")),
                    "README.md does not name `{field}` of {message}"
                );
            }
        }
    }
}
