//! The proxies of a run.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy},
    net::numbers::Numbers,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    event::RunEvent,
    journal::Effect,
    run::{
        Failure, Options, chain,
        collect::{Collector, Comparing, Origin},
        mesh::{self, Wiring},
    },
    scenario::Scenario,
    shadow::Redaction,
};

/// The proxies, and what listens to them.
pub(super) struct Sidecars {
    pub(super) proxy: Handle,
    pub(super) comparing: Comparing,
    pub(super) told: UnboundedReceiver<RunEvent>,
    pub(super) tell: UnboundedSender<RunEvent>,
    /// Which connections of the generator are which.
    pub(super) numbers: Numbers,
}

impl Sidecars {
    pub(super) fn start(
        scenario: &Scenario,
        options: Options<'_>,
        wiring: &Wiring,
        origin: &Origin,
    ) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::error::Error| {
            Failure::Environment(format!("{what}: {}", chain(error)))
        };
        let (tell, told) = unbounded_channel();
        let redaction = Redaction::parse(&scenario.report.redact)
            .map_err(|error| Failure::Scenario(format!("report.redact: {error}")))?;
        let (collector, comparing) = Collector::start(
            origin.clone(),
            mesh::sides(scenario),
            scenario.diff.rules.clone(),
            redaction,
            tell.clone(),
        )
        .map_err(|error| failed("cannot start the comparison of answers", &error))?;
        let config = mesh::config(scenario, wiring);
        for listener in &config.listeners {
            options
                .journal
                .intend(Effect::Listener, &listener.name)
                .map_err(|error| failed("cannot write the journal", &error))?;
        }
        let numbers = Numbers::default();
        let deps = Deps {
            observer: Arc::new(collector),
            workers: scenario.workers,
            numbers: numbers.clone(),
        };
        let proxy = Proxy::start(config, deps)
            .map_err(|error| failed("cannot start the sidecars", &error))?;
        Ok(Self {
            proxy,
            comparing,
            told,
            tell,
            numbers,
        })
    }

    pub(super) fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        self.proxy
            .addresses()
            .iter()
            .map(|(name, address)| (name.to_string(), *address))
            .collect()
    }
}
