//! How a cluster spreads its requests: `lb_policy` and its settings, or a list of typed extensions, of which the first
//! that is known counts; common settings; subsets.

use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster, LoadBalancingPolicy,
                cluster::{
                    LbConfig, LbPolicy, LbSubsetConfig, SlowStartConfig, TransportSocketMatch,
                    common_lb_config::LocalityConfigSpecifier,
                    lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy,
                    ring_hash_lb_config,
                },
            },
            core::v3::{Metadata, RuntimeDouble},
            endpoint::v3::{LbEndpoint, LocalityLbEndpoints},
        },
        extensions::load_balancing_policies::{
            common::v3 as common,
            least_request::v3::{LeastRequest, least_request::SelectionMethod},
            maglev::v3::Maglev,
            random::v3::Random,
            ring_hash::v3::{RingHash, ring_hash::HashFunction},
            round_robin::v3::RoundRobin,
            subset::v3::Subset,
        },
        r#type::v3::Percent,
    },
    google::protobuf::{self, Any, Struct, value},
};
use serde_json::Value;

use super::{
    Notes,
    filter::{duration, open},
};
use crate::{
    config::{self, Spread},
    policy::balance::{
        Balance, Bounded, SlowStart,
        hash_key::Hash,
        least_request, maglev, ring_hash, round_robin,
        subset::{self, Fallback, Selector},
    },
};

/// Whose metadata chooses among `transport_socket_matches`.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// Envoy's default of `update_merge_window`.
const MERGE_WINDOW: Duration = Duration::from_secs(1);

/// Balance, spread and subsets of a cluster.
pub(super) fn convert(it: &Cluster, path: &str, notes: &mut Notes, cluster: &mut config::Cluster) {
    spread(it, path, notes, &mut cluster.spread);
    cluster.subsets = it
        .lb_subset_config
        .as_ref()
        .map(|it| of_cluster(it, &format!("{path}.lb_subset_config"), notes));
    if let Some(policy) = &it.load_balancing_policy {
        let path = format!("{path}.load_balancing_policy");
        typed(policy, &path, notes, cluster);
        return;
    }
    let policy = LbPolicy::try_from(it.lb_policy).unwrap_or_default();
    cluster.balance = match (policy, &it.lb_config) {
        (LbPolicy::RoundRobin, config) => {
            let start = match config {
                Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
                _ => None,
            };
            let path = format!("{path}.round_robin_lb_config.slow_start_config");
            Balance::RoundRobin(round_robin::Settings {
                slow_start: start.map(|start| slow_start(&start.into(), &path, notes)),
            })
        }
        (LbPolicy::LeastRequest, config) => {
            let path = format!("{path}.least_request_lb_config");
            let mut settings = least_request::Settings::default();
            if let Some(LbConfig::LeastRequestLbConfig(config)) = config {
                let start = config.slow_start_config.as_ref();
                let choices = config.choice_count.map(|it| it.value);
                settings = least_request::Settings {
                    choices: self::choices(choices, &path, notes),
                    bias: bias(config.active_request_bias.as_ref(), &path, notes),
                    slow_start: start.map(|start| {
                        slow_start(&start.into(), &format!("{path}.slow_start_config"), notes)
                    }),
                    ..settings
                };
            }
            Balance::LeastRequest(settings)
        }
        (LbPolicy::Random, _) => Balance::Random,
        (LbPolicy::RingHash, config) => {
            let path = format!("{path}.ring_hash_lb_config");
            let mut settings = ring_hash::Settings::default();
            if let Some(LbConfig::RingHashLbConfig(config)) = config {
                use ring_hash_lb_config::HashFunction;
                let murmur = config.hash_function == i32::from(HashFunction::MurmurHash2);
                settings = ring(
                    config.minimum_ring_size.map(|it| it.value),
                    config.maximum_ring_size.map(|it| it.value),
                    murmur,
                    &path,
                    notes,
                );
            }
            Balance::RingHash(settings)
        }
        (LbPolicy::Maglev, config) => {
            let size = match config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.map(|it| it.value),
                _ => None,
            };
            Balance::Maglev(table(size, &format!("{path}.maglev_lb_config"), notes))
        }
        (LbPolicy::ClusterProvided | LbPolicy::LoadBalancingPolicyConfig, _) => {
            notes.unsupported(
                format!("{path}.lb_policy"),
                format!("`{}`", policy.as_str_name()),
            );
            Balance::default()
        }
    };
}

/// What is common to all policies.
fn spread(it: &Cluster, path: &str, notes: &mut Notes, spread: &mut Spread) {
    if let Some(policy) = it
        .load_assignment
        .as_ref()
        .and_then(|it| it.policy.as_ref())
    {
        if let Some(factor) = policy.overprovisioning_factor {
            spread.overprovisioning = factor.value;
            if factor.value == 0 {
                let path = format!("{path}.load_assignment.policy.overprovisioning_factor");
                notes.invalid(path, "it must be above 0");
            }
        }
        spread.weighted_priority_health = policy.weighted_priority_health;
    }
    spread.merge_window = MERGE_WINDOW;
    let Some(common) = &it.common_lb_config else {
        return;
    };
    let path = format!("{path}.common_lb_config");
    if let Some(window) = &common.update_merge_window {
        let path = format!("{path}.update_merge_window");
        spread.merge_window = duration(Some(window), &path, notes).unwrap_or_default();
    }
    if let Some(threshold) = common.healthy_panic_threshold {
        // Whole percents, as Envoy.
        spread.panic_threshold = threshold.value.trunc();
        percent(threshold, &format!("{path}.healthy_panic_threshold"), notes);
    }
    spread.ignore_new_until_checked = common.ignore_new_hosts_until_first_hc;
    if let Some(hashing) = &common.consistent_hashing_lb_config {
        spread.hash_by_hostname = hashing.use_hostname_for_hashing;
        let path = format!("{path}.consistent_hashing_lb_config");
        spread.hash_bound = hash_bound(hashing.hash_balance_factor.as_ref(), &path, notes);
    }
    match &common.locality_config_specifier {
        None => {}
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            spread.locality_weighted = true;
        }
        // Zones count only beside a local cluster, which the walk refuses.
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            spread.fail_on_panic = zone.fail_traffic_on_panic;
        }
    }
}

fn percent(it: Percent, path: &str, notes: &mut Notes) {
    if !(0.0..=100.0).contains(&it.value) {
        notes.invalid(path, format!("{} is not a percentage", it.value));
    }
}

fn typed(policy: &LoadBalancingPolicy, path: &str, notes: &mut Notes, to: &mut config::Cluster) {
    let mut names = Vec::new();
    for (index, policy) in policy.policies.iter().enumerate() {
        let Some(config) = &policy.typed_extension_config else {
            continue;
        };
        let path = format!("{path}.policies[{index}].typed_extension_config.typed_config");
        if let Some(any) = &config.typed_config
            && extension(any, &path, notes, to)
        {
            return;
        }
        names.push(format!("`{}`", config.name));
    }
    if names.is_empty() {
        notes.invalid(format!("{path}.policies"), "at least one is needed");
    } else {
        notes.unsupported(format!("{path}.policies"), names.join(", "));
    }
}

/// Whether the extension is one that is known.
#[expect(deprecated, reason = "files may still have the deprecated fields")]
fn extension(any: &Any, path: &str, notes: &mut Notes, to: &mut config::Cluster) -> bool {
    if let Some(it) = open::<RoundRobin>(any) {
        locality(it.locality_lb_config.as_ref(), &mut to.spread);
        let start = it.slow_start_config.as_ref();
        to.balance = Balance::RoundRobin(round_robin::Settings {
            slow_start: start.map(|start| {
                slow_start(&start.into(), &format!("{path}.slow_start_config"), notes)
            }),
        });
    } else if let Some(it) = open::<LeastRequest>(any) {
        locality(it.locality_lb_config.as_ref(), &mut to.spread);
        let start = it.slow_start_config.as_ref();
        let full = it.selection_method == i32::from(SelectionMethod::FullScan);
        to.balance = Balance::LeastRequest(least_request::Settings {
            choices: choices(it.choice_count.map(|it| it.value), path, notes),
            bias: bias(it.active_request_bias.as_ref(), path, notes),
            full_scan: full || it.enable_full_scan.is_some_and(|it| it.value),
            slow_start: start.map(|start| {
                slow_start(&start.into(), &format!("{path}.slow_start_config"), notes)
            }),
        });
    } else if let Some(it) = open::<Random>(any) {
        locality(it.locality_lb_config.as_ref(), &mut to.spread);
        to.balance = Balance::Random;
    } else if let Some(it) = open::<RingHash>(any) {
        to.spread.locality_weighted = it.locality_weighted_lb_config.is_some();
        to.spread.hash_by_hostname = it.use_hostname_for_hashing;
        let own = hash_bound(it.hash_balance_factor.as_ref(), path, notes);
        to.spread.hash_bound = own;
        let hashing = it.consistent_hashing_lb_config.as_ref();
        consistent(hashing, path, notes, &mut to.spread);
        to.balance = Balance::RingHash(ring(
            it.minimum_ring_size.map(|it| it.value),
            it.maximum_ring_size.map(|it| it.value),
            it.hash_function == i32::from(HashFunction::MurmurHash2),
            path,
            notes,
        ));
    } else if let Some(it) = open::<Maglev>(any) {
        to.spread.locality_weighted = it.locality_weighted_lb_config.is_some();
        let hashing = it.consistent_hashing_lb_config.as_ref();
        consistent(hashing, path, notes, &mut to.spread);
        to.balance = Balance::Maglev(table(it.table_size.map(|it| it.value), path, notes));
    } else if let Some(it) = open::<Subset>(any) {
        to.subsets = Some(of_extension(&it, path, notes));
        if let Some(inner) = &it.subset_lb_policy {
            typed(inner, &format!("{path}.subset_lb_policy"), notes, to);
        }
    } else {
        return false;
    }
    true
}

fn locality(it: Option<&common::LocalityLbConfig>, spread: &mut Spread) {
    use common::locality_lb_config::LocalityConfigSpecifier;
    match it.and_then(|it| it.locality_config_specifier.as_ref()) {
        None => {}
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            spread.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            spread.fail_on_panic = zone.fail_traffic_on_panic;
        }
    }
}

fn consistent(
    it: Option<&common::ConsistentHashingLbConfig>,
    path: &str,
    notes: &mut Notes,
    spread: &mut Spread,
) {
    if let Some(it) = it {
        spread.hash_by_hostname = it.use_hostname_for_hashing;
        let path = format!("{path}.consistent_hashing_lb_config");
        spread.hash_bound = hash_bound(it.hash_balance_factor.as_ref(), &path, notes);
    }
}

/// Envoy's least bound is the endpoint's share.
fn hash_bound(it: Option<&protobuf::UInt32Value>, path: &str, notes: &mut Notes) -> Option<u32> {
    let factor = it?.value;
    if factor < Bounded::LEAST {
        let least = Bounded::LEAST;
        notes.invalid(
            format!("{path}.hash_balance_factor"),
            format!("{factor} is below {least}"),
        );
    }
    Some(factor)
}

/// Both messages of a slow start, which are the same but for their names.
struct Start<'a> {
    window: Option<&'a protobuf::Duration>,
    aggression: Option<&'a RuntimeDouble>,
    least: Option<&'a Percent>,
}

impl<'a> From<&'a SlowStartConfig> for Start<'a> {
    fn from(it: &'a SlowStartConfig) -> Self {
        Self {
            window: it.slow_start_window.as_ref(),
            aggression: it.aggression.as_ref(),
            least: it.min_weight_percent.as_ref(),
        }
    }
}

impl<'a> From<&'a common::SlowStartConfig> for Start<'a> {
    fn from(it: &'a common::SlowStartConfig) -> Self {
        Self {
            window: it.slow_start_window.as_ref(),
            aggression: it.aggression.as_ref(),
            least: it.min_weight_percent.as_ref(),
        }
    }
}

fn slow_start(it: &Start<'_>, path: &str, notes: &mut Notes) -> SlowStart {
    let window = duration(it.window, &format!("{path}.slow_start_window"), notes);
    let aggression = it.aggression.map_or(1.0, |it| it.default_value);
    if aggression.is_nan() || aggression <= 0.0 {
        notes.invalid(format!("{path}.aggression"), "it must be above 0");
    }
    if let Some(least) = it.least {
        percent(*least, &format!("{path}.min_weight_percent"), notes);
    }
    SlowStart {
        window: window.unwrap_or(Duration::ZERO),
        aggression,
        least: it.least.map_or(0.1, |it| it.value / 100.0),
    }
}

fn choices(it: Option<u32>, path: &str, notes: &mut Notes) -> u32 {
    let choices = it.unwrap_or(2);
    if choices < 2 {
        notes.invalid(format!("{path}.choice_count"), "it must be at least 2");
    }
    choices
}

fn bias(it: Option<&RuntimeDouble>, path: &str, notes: &mut Notes) -> f64 {
    let bias = it.map_or(1.0, |it| it.default_value);
    if bias.is_nan() || bias < 0.0 {
        let path = format!("{path}.active_request_bias");
        notes.invalid(path, "it must not be below 0");
    }
    bias
}

fn ring(
    least: Option<u64>,
    most: Option<u64>,
    murmur: bool,
    path: &str,
    notes: &mut Notes,
) -> ring_hash::Settings {
    let default = ring_hash::Settings::default();
    let settings = ring_hash::Settings {
        least: least.unwrap_or(default.least),
        most: most.unwrap_or(default.most),
        hash: if murmur { Hash::Murmur2 } else { Hash::Xx },
    };
    let bound = ring_hash::Settings::MOST;
    for (name, size) in [
        ("minimum_ring_size", settings.least),
        ("maximum_ring_size", settings.most),
    ] {
        if !(1..=bound).contains(&size) {
            let path = format!("{path}.{name}");
            notes.invalid(path, format!("{size} must be from 1 to {bound}"));
        }
    }
    if settings.least > settings.most {
        notes.invalid(
            format!("{path}.minimum_ring_size"),
            format!("{} is above the maximum {}", settings.least, settings.most),
        );
    }
    settings
}

fn table(size: Option<u64>, path: &str, notes: &mut Notes) -> maglev::Settings {
    let size = size.unwrap_or(maglev::Settings::default().size);
    let bound = maglev::Settings::MOST;
    let prime = size > 2 && size <= bound && !(2..=size.isqrt()).any(|by| size.is_multiple_of(by));
    if !prime {
        notes.invalid(
            format!("{path}.table_size"),
            format!("{size} is not a prime from 3 to {bound}"),
        );
    }
    maglev::Settings { size }
}

fn of_cluster(it: &LbSubsetConfig, path: &str, notes: &mut Notes) -> subset::Settings {
    let selectors = it.subset_selectors.iter().enumerate().map(|(index, it)| {
        selector(
            &it.keys,
            it.single_host_per_subset,
            it.fallback_policy,
            &it.fallback_keys_subset,
            &format!("{path}.subset_selectors[{index}]"),
            notes,
        )
    });
    subset::Settings {
        selectors: selectors.collect(),
        fallback: fallback(it.fallback_policy),
        default: it
            .default_subset
            .as_ref()
            .map(of_struct)
            .unwrap_or_default(),
        panic_mode_any: it.panic_mode_any,
        list_as_any: it.list_as_any,
        locality_weight_aware: it.locality_weight_aware,
        allow_redundant_keys: false,
    }
}

fn of_extension(it: &Subset, path: &str, notes: &mut Notes) -> subset::Settings {
    let selectors = it.subset_selectors.iter().enumerate().map(|(index, it)| {
        selector(
            &it.keys,
            it.single_host_per_subset,
            it.fallback_policy,
            &it.fallback_keys_subset,
            &format!("{path}.subset_selectors[{index}]"),
            notes,
        )
    });
    subset::Settings {
        selectors: selectors.collect(),
        fallback: fallback(it.fallback_policy),
        default: it
            .default_subset
            .as_ref()
            .map(of_struct)
            .unwrap_or_default(),
        panic_mode_any: it.panic_mode_any,
        list_as_any: it.list_as_any,
        locality_weight_aware: it.locality_weight_aware,
        allow_redundant_keys: it.allow_redundant_keys,
    }
}

/// `NO_FALLBACK`, `ANY_ENDPOINT`, `DEFAULT_SUBSET`: the same numbers in both messages.
fn fallback(policy: i32) -> Fallback {
    match policy {
        1 => Fallback::Any,
        2 => Fallback::Default,
        _ => Fallback::Nothing,
    }
}

/// The numbers of the fallback are the same in both messages.
fn selector(
    keys: &[String],
    single_host: bool,
    fallback: i32,
    fallback_keys: &[String],
    path: &str,
    notes: &mut Notes,
) -> Selector {
    use LbSubsetSelectorFallbackPolicy as Policy;
    if keys.is_empty() {
        notes.invalid(format!("{path}.keys"), "at least one is needed");
    }
    if single_host && keys.len() > 1 {
        notes.invalid(
            format!("{path}.single_host_per_subset"),
            "it is for a selector with one key",
        );
    }
    let policy = Policy::try_from(fallback).unwrap_or_default();
    if policy == Policy::KeysSubset
        && (fallback_keys.is_empty()
            || fallback_keys.len() >= keys.len()
            || !fallback_keys.iter().all(|key| keys.contains(key)))
    {
        notes.invalid(
            format!("{path}.fallback_keys_subset"),
            "it must be some of `keys`, but not all",
        );
    }
    Selector {
        keys: keys.iter().cloned().collect(),
        single_host,
        fallback: match policy {
            Policy::NotDefined => None,
            Policy::NoFallback => Some(Fallback::Nothing),
            Policy::AnyEndpoint => Some(Fallback::Any),
            Policy::DefaultSubset => Some(Fallback::Default),
            Policy::KeysSubset => Some(Fallback::Keys(fallback_keys.iter().cloned().collect())),
        },
    }
}

/// The socket of an endpoint: the first that asks for no more than its metadata, else its locality's, has; `None`: that of
/// the cluster.
pub(super) fn socket(
    matches: &[TransportSocketMatch],
    endpoint: &LbEndpoint,
    locality: &LocalityLbEndpoints,
) -> Option<usize> {
    let of = |it: &Option<Metadata>| {
        let found = it.as_ref()?.filter_metadata.get(SOCKET_MATCH)?;
        (!found.fields.is_empty()).then(|| of_struct(found))
    };
    let has = of(&endpoint.metadata)
        .or_else(|| of(&locality.metadata))
        .unwrap_or_default();
    matches.iter().position(|it| {
        let asked = it.r#match.as_ref().map(of_struct).unwrap_or_default();
        asked.iter().all(|(key, value)| has.get(key) == Some(value))
    })
}

/// Metadata for load balancing: its part `envoy.lb`.
pub(super) fn metadata(it: Option<&Metadata>) -> subset::Metadata {
    it.and_then(|it| it.filter_metadata.get("envoy.lb"))
        .map(of_struct)
        .unwrap_or_default()
}

fn of_struct(it: &Struct) -> subset::Metadata {
    let fields = it.fields.iter();
    fields
        .map(|(key, value)| (key.clone(), of_value(value)))
        .collect()
}

fn of_value(it: &protobuf::Value) -> Value {
    match &it.kind {
        None | Some(value::Kind::NullValue(_)) => Value::Null,
        Some(value::Kind::NumberValue(number)) => Value::from(*number),
        Some(value::Kind::StringValue(text)) => Value::from(text.as_str()),
        Some(value::Kind::BoolValue(is)) => Value::from(*is),
        Some(value::Kind::ListValue(list)) => list.values.iter().map(of_value).collect(),
        Some(value::Kind::StructValue(inner)) => of_struct(inner).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, &str)]) -> Struct {
        let value = |text: &str| protobuf::Value {
            kind: Some(value::Kind::StringValue(text.to_owned())),
        };
        Struct {
            fields: rows
                .iter()
                .map(|(name, text)| ((*name).to_owned(), value(text)))
                .collect(),
        }
    }

    fn metadata(rows: &[(&str, &str)]) -> Metadata {
        let filter_metadata = [(SOCKET_MATCH.to_owned(), of(rows))].into();
        Metadata {
            filter_metadata,
            ..Metadata::default()
        }
    }

    #[test]
    fn an_endpoint_has_the_first_socket_that_asks_for_no_more_than_it_says() {
        let asks = |rows: &[(&str, &str)]| TransportSocketMatch {
            r#match: Some(of(rows)),
            ..TransportSocketMatch::default()
        };
        let two = [
            asks(&[("mode", "istio"), ("x", "y")]),
            asks(&[("mode", "istio")]),
        ];
        let any = [asks(&[("mode", "istio")]), asks(&[])];
        let istio = Some(metadata(&[("mode", "istio")]));
        for (matches, endpoint, locality, expected) in [
            (&two, &istio, &None, Some(1)),
            (
                &two,
                &Some(metadata(&[("x", "y"), ("mode", "istio")])),
                &None,
                Some(0),
            ),
            (&two, &None, &istio, Some(1)),
            (&two, &Some(metadata(&[("mode", "none")])), &istio, None),
            (&two, &None, &None, None),
            (&any, &None, &None, Some(1)),
            (&any, &istio, &None, Some(0)),
        ] {
            let endpoint = LbEndpoint {
                metadata: endpoint.clone(),
                ..LbEndpoint::default()
            };
            let locality = LocalityLbEndpoints {
                metadata: locality.clone(),
                ..LocalityLbEndpoints::default()
            };
            assert_eq!(socket(matches, &endpoint, &locality), expected);
        }
    }
}
