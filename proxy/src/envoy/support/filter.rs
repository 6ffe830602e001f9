//! HTTP filters.

use super::Row;

pub(super) const ROWS: &[Row] = &[
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
    (
        "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        &["entries", "token_bucket"],
    ),
    (
        "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry",
        &["key", "value"],
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
        &[
            "request_mutations",
            "query_parameter_mutations",
            "request_trailers_mutations",
            "response_mutations",
            "response_trailers_mutations",
        ],
    ),
    (
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        &["rules", "shadow_rules"],
    ),
    (
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        &["rbac"],
    ),
    ("envoy.config.rbac.v3.RBAC", &["action", "policies"]),
    (
        "envoy.config.rbac.v3.Policy",
        &["permissions", "principals"],
    ),
    (
        "envoy.config.rbac.v3.Permission",
        &[
            "and_rules",
            "or_rules",
            "not_rule",
            "any",
            "header",
            "url_path",
            "destination_ip",
            "destination_port",
            "destination_port_range",
            "requested_server_name",
        ],
    ),
    ("envoy.config.rbac.v3.Permission.Set", &["rules"]),
    (
        "envoy.config.rbac.v3.Principal",
        &[
            "and_ids",
            "or_ids",
            "not_id",
            "any",
            "authenticated",
            "source_ip",
            "direct_remote_ip",
            "remote_ip",
            "header",
            "url_path",
        ],
    ),
    ("envoy.config.rbac.v3.Principal.Set", &["ids"]),
    (
        "envoy.config.rbac.v3.Principal.Authenticated",
        &["principal_name"],
    ),
    ("envoy.type.matcher.v3.PathMatcher", &["path"]),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        &[
            "providers",
            "rules",
            "requirement_map",
            "bypass_cors_preflight",
            "strip_failure_response",
        ],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider",
        &[
            "issuer",
            "audiences",
            "subjects",
            "require_expiration",
            "max_lifetime",
            "clock_skew_seconds",
            "local_jwks",
            "from_headers",
            "from_params",
            "from_cookies",
            "forward",
            "forward_payload_header",
            "pad_forward_payload_header",
            "claim_to_headers",
            // Each token is looked at anew, with the same result.
            "jwt_cache_config*",
        ],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtHeader",
        &["name", "value_prefix"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader",
        &["header_name", "claim_name"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule",
        &["match", "requires", "requirement_name"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement",
        &[
            "provider_name",
            "provider_and_audiences",
            "requires_any",
            "requires_all",
            "allow_missing",
            "allow_missing_or_failed",
        ],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences",
        &["provider_name", "audiences"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList",
        &["requirements"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList",
        &["requirements"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        &["disabled", "requirement_name"],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        &[
            "grpc_service",
            "http_service",
            // There is one version only.
            "transport_api_version*",
            "failure_mode_allow",
            "failure_mode_allow_header_add",
            "with_request_body",
            "clear_route_cache",
            "status_on_error",
            "filter_enabled",
            "deny_at_disable",
            "include_peer_certificate",
            "include_tls_session",
            "stat_prefix",
            "allowed_headers",
            "disallowed_headers",
            // Nothing is traced.
            "emit_client_span*",
        ],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.BufferSettings",
        &[
            "max_request_bytes",
            "allow_partial_message",
            "pack_as_bytes",
        ],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.HttpService",
        &[
            "server_uri",
            "path_prefix",
            "authorization_request",
            "authorization_response",
        ],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest",
        &["allowed_headers", "headers_to_add"],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse",
        &[
            "allowed_upstream_headers",
            "allowed_upstream_headers_to_append",
            "allowed_client_headers",
            "allowed_client_headers_on_success",
        ],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        &["disabled", "check_settings"],
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.CheckSettings",
        &[
            "context_extensions",
            "disable_request_body_buffering",
            "with_request_body",
        ],
    ),
    (
        // The cluster says where requests go.
        "envoy.config.core.v3.HttpUri",
        &["uri*", "cluster", "timeout"],
    ),
    (
        "envoy.config.core.v3.GrpcService",
        &["envoy_grpc", "timeout", "initial_metadata"],
    ),
    (
        "envoy.config.core.v3.GrpcService.EnvoyGrpc",
        &["cluster_name", "authority"],
    ),
    ("envoy.type.matcher.v3.ListStringMatcher", &["patterns"]),
    (
        "envoy.config.core.v3.KeyValueMutation",
        &["append", "remove"],
    ),
    ("envoy.config.core.v3.KeyValueAppend", &["record", "action"]),
    ("envoy.config.core.v3.KeyValuePair", &["key", "value"]),
];
