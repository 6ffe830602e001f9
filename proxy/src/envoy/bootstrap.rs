//! A bootstrap: admin, listeners, clusters.

use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;

use super::{Notes, cluster, endpoint, listener, secret::Secrets};
use crate::{config::Config, draw::Seed};

pub(super) fn convert(bootstrap: &Bootstrap, seed: Seed, notes: &mut Notes) -> Config {
    let admin = bootstrap
        .admin
        .as_ref()
        .and_then(|admin| admin.address.as_ref())
        .and_then(|address| endpoint::socket(address, "admin.address", notes));
    let mut config = Config {
        seed,
        run: None,
        listeners: Vec::new(),
        clusters: Vec::new(),
        admin,
    };
    let Some(resources) = &bootstrap.static_resources else {
        notes.invalid(
            "static_resources",
            "it is missing: nothing to listen to, nowhere to send",
        );
        return config;
    };
    let secrets = Secrets::read(&resources.secrets, notes);
    for (index, it) in resources.listeners.iter().enumerate() {
        let path = format!("static_resources.listeners[{index}]");
        let listener = listener::convert(it, &secrets, &path, notes);
        config.listeners.extend(listener);
    }
    for (index, it) in resources.clusters.iter().enumerate() {
        let path = format!("static_resources.clusters[{index}]");
        let cluster = cluster::convert(it, &secrets, &path, notes);
        config.clusters.push(cluster);
    }
    config
}
