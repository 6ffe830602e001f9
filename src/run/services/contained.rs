//! Services that are containers: one engine, one network, for all of a run.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Environment, Place, What, filled};
use crate::{
    container::{Engine, Error, Order, Running},
    journal::{Journal, Undone},
    run::{Failure, chain, mesh::Party},
    scenario::{Backing, Container},
};

/// The containers of a run.
#[derive(Debug)]
pub(super) struct Contained<'a> {
    journal: &'a Journal,
    engine: Option<Engine<'a>>,
    /// What to call each party's image, by label.
    images: BTreeMap<String, String>,
    started: Vec<Started>,
}

#[derive(Debug)]
struct Started {
    label: String,
    running: Running,
    reported: bool,
}

impl<'a> Contained<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            engine: None,
            images: BTreeMap::new(),
            started: Vec::new(),
        }
    }

    /// Makes images and the network, if there are containers; the answer is this machine's address on it.
    pub(super) async fn prepare(
        &mut self,
        parties: &[Party<'_>],
        place: Place<'_>,
    ) -> Result<Option<IpAddr>, Failure> {
        let mut gateway = None;
        for party in parties {
            let Backing::Container(container) = party.backing() else {
                continue;
            };
            let label = party.label();
            let failed = |error: Error| failure(&label, &error);
            let engine = match &mut self.engine {
                Some(engine) => engine,
                none => none.insert(Engine::open(self.journal).await.map_err(failed)?),
            };
            let output = place.log(&label, "-build");
            let image = engine.image(&label, &container.image, &output).await;
            self.images.insert(label.clone(), image.map_err(failed)?);
            gateway = Some(engine.network().await.map_err(failed)?);
        }
        Ok(gateway)
    }

    /// Starts one; the answer is its place among them, and where it is, unless it ended at once.
    pub(super) async fn start(
        &mut self,
        party: &Party<'_>,
        container: &Container,
        env: Environment,
        place: Place<'_>,
    ) -> Result<(usize, Option<SocketAddr>), Failure> {
        let label = party.label();
        let (Some(engine), Some(image)) = (&mut self.engine, self.images.get(&label)) else {
            return Err(Failure::Environment(format!(
                "service `{label}`: its container was not prepared"
            )));
        };
        let own = filled(&container.env, &env);
        let mut env = env;
        env.insert("PORT".to_owned(), container.port.to_string());
        env.extend(own);
        let order = Order {
            label: &label,
            container,
            image,
            env: &env,
            log: &place.log(&label, ""),
        };
        let running = engine
            .start(&order)
            .await
            .map_err(|error| failure(&label, &error))?;
        let address = running
            .address
            .map(|address| SocketAddr::new(address, container.port));
        // Whatever runs has a network, whose gateway is this machine, or its calls would reach nobody.
        let gateway = engine.gateway().filter(|_| address.is_some());
        let is_here = |gateway: IpAddr| std::net::TcpListener::bind((gateway, 0)).is_ok();
        if let Some(gateway) = gateway.filter(|gateway| !is_here(*gateway)) {
            return Err(Failure::Environment(format!(
                "service `{label}`: not supported yet: a container engine on another machine, or without root: its network's gateway {gateway} is no address of this machine"
            )));
        }
        self.started.push(Started {
            label,
            running,
            reported: false,
        });
        Ok((self.started.len() - 1, address))
    }

    /// What the engine warned of.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        self.started
            .iter_mut()
            .flat_map(|started| {
                let label = started.label.clone();
                std::mem::take(&mut started.running.warnings)
                    .into_iter()
                    .map(move |warning| format!("service `{label}`: {warning}"))
            })
            .collect()
    }

    /// How one has ended, with the end of its output; `None`: it has not.
    pub(super) async fn dead(&mut self, index: usize) -> Option<(String, String)> {
        let running = &mut self.started.get_mut(index)?.running;
        let how = running.ended()?;
        Some((how, running.last_output().await))
    }

    pub(super) async fn last_output(&mut self, index: usize) -> Option<String> {
        let running = &mut self.started.get_mut(index)?.running;
        Some(running.last_output().await)
    }

    /// Whether the engine's own check of it has succeeded; what is no container has none.
    pub(super) async fn is_healthy(&self, what: What) -> bool {
        let What::Container(index) = what else {
            return true;
        };
        match self.started.get(index) {
            Some(started) => started.running.is_healthy().await,
            None => true,
        }
    }

    /// Those that have ended since the last call: label and how.
    pub(super) fn ended(&mut self) -> Vec<(String, String)> {
        self.started
            .iter_mut()
            .filter(|started| !started.reported)
            .filter_map(|started| {
                let how = started.running.ended()?;
                started.reported = true;
                Some((started.label.clone(), how))
            })
            .collect()
    }

    /// Asks all of them to end, at once, and waits.
    pub(super) async fn ask(&mut self, within: Duration) {
        let all = self
            .started
            .iter_mut()
            .map(|started| started.running.stop(within));
        futures_util::future::join_all(all).await;
    }

    /// Removes all that was made.
    pub(super) async fn remove(&mut self) -> Vec<Undone> {
        self.started.clear();
        match self.engine.take() {
            Some(engine) => engine.remove().await,
            None => Vec::new(),
        }
    }
}

fn failure(label: &str, error: &Error) -> Failure {
    Failure::Environment(format!("service `{label}`: {}", chain(error)))
}
