//! What the requests of a weighted cluster pass, where it overrides what its route says.

use envoy_types::pb::envoy::config::route::v3::{
    Route, VirtualHost, route::Action, route_action::ClusterSpecifier,
};

use super::{
    Notes,
    filter::{Faults, Overrides, lay_over, overrides},
};
use crate::config;

/// Reads the `typed_per_filter_config` of the route's weighted clusters, for which `outer` is said.
pub(super) fn apply(
    faults: &Faults,
    outer: &Overrides,
    host: (&VirtualHost, &str),
    route: (&Route, &str),
    made: &mut config::Route,
    notes: &mut Notes,
) {
    let config::Action::Forward(forward) = &mut made.action else {
        return;
    };
    let Some(Action::Route(action)) = &route.0.action else {
        return;
    };
    let Some(ClusterSpecifier::WeightedClusters(them)) = &action.cluster_specifier else {
        return;
    };
    // Its problems were told with the route's.
    let mut told = Notes(Vec::new());
    let targets = forward.clusters.iter_mut();
    for (index, (it, target)) in them.clusters.iter().zip(targets).enumerate() {
        if it.typed_per_filter_config.is_empty() {
            continue;
        }
        let path = format!("{}.route.weighted_clusters.clusters[{index}]", route.1);
        let mut laid = outer.clone();
        lay_over(
            &mut laid,
            overrides(&it.typed_per_filter_config, faults, &path, notes),
        );
        let cluster = target.name().unwrap_or_default().to_owned();
        let scope = format!("{}/{}/{index}", host.0.name, made.name);
        target.faults = faults.of_route(&laid, &[(cluster, target.weight)], &scope, notes);
        target.filters = Some(faults.passed(&laid, host, route, &mut told));
    }
}
