//! What several kinds of settings are made of: addresses, headers, matchers, numbers that may change at run time; and the file itself.

use super::Row;

pub(super) const ROWS: &[Row] = &[
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
    ("envoy.type.v3.Int32Range", &["start", "end"]),
    (
        "envoy.config.core.v3.CidrRange",
        &["address_prefix", "prefix_len"],
    ),
    ("envoy.type.v3.HashPolicy", &["source_ip"]),
    ("envoy.type.v3.HashPolicy.SourceIp", &[]),
    ("envoy.type.v3.HttpStatus", &["code"]),
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
        // Without layers of runtime, which are not supported, the default is what counts.
        "envoy.config.core.v3.RuntimeUInt32",
        &["default_value", "runtime_key*"],
    ),
    (
        "envoy.type.v3.TokenBucket",
        &["max_tokens", "tokens_per_fill", "fill_interval"],
    ),
    (
        "envoy.type.v3.FractionalPercent",
        &["numerator", "denominator"],
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
        "envoy.config.core.v3.TypedExtensionConfig",
        &["name", "typed_config"],
    ),
    (
        "envoy.type.matcher.v3.RegexMatchAndSubstitute",
        &["pattern", "substitution"],
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
        // Envoy adds a raw value in other places only.
        &["key", "value", "raw_value*"],
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
    ("envoy.type.v3.Percent", &["value"]),
    (
        "envoy.config.core.v3.Locality",
        &["region", "zone", "sub_zone"],
    ),
    ("envoy.config.core.v3.Metadata", &["filter_metadata"]),
];
