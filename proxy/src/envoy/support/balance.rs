//! Load balancing.

use super::Row;

pub(super) const ROWS: &[Row] = &[
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
            "hash_balance_factor",
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
        &["use_hostname_for_hashing", "hash_balance_factor"],
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
        &["use_hostname_for_hashing", "hash_balance_factor"],
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
];
