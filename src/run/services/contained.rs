//! Services that are containers: one engine, one network, for all of a run.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpSocket, sync::Notify};

use super::{Environment, Place, What, filled};
use crate::{
    container::{Engine, Error, Order, Running, Standing},
    journal::{Journal, Undone},
    run::{Failure, chain, mesh::Party},
    scenario::{Backing, Container},
};

/// What is said of an engine that has stopped answering.
const SILENT: &str = "the container engine does not answer any more";

/// The containers of a run.
#[derive(Debug)]
pub(super) struct Contained<'a> {
    journal: &'a Journal,
    engine: Option<Engine<'a>>,
    /// What to call each party's image, by label.
    images: BTreeMap<String, String>,
    started: Vec<Started>,
    /// Woken when one ends, or is back.
    wake: Arc<Notify>,
    /// It was told that the engine does not answer.
    silent: bool,
}

#[derive(Debug)]
struct Started {
    /// What it is called in messages.
    name: String,
    /// The party that it is one of.
    label: String,
    port: u16,
    running: Running,
    /// Where its callers were sent last.
    sent: Option<SocketAddr>,
    /// How it was when that was looked at last, and how often it had ended.
    known: (Standing, u64),
    /// A port where nobody listens, in place of its address while it is not there.
    refusing: Option<Refusing>,
}

/// A port of this machine that is taken, and refuses every connection at once. The address of a container that has ended says
/// nothing at all: who calls it would wait as long as it may.
#[derive(Debug)]
struct Refusing {
    at: SocketAddr,
    /// Bound, it never listens.
    _bound: TcpSocket,
}

impl Refusing {
    fn new() -> std::io::Result<Self> {
        let bound = TcpSocket::new_v4()?;
        bound.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            at: bound.local_addr()?,
            _bound: bound,
        })
    }
}

impl<'a> Contained<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            engine: None,
            images: BTreeMap::new(),
            started: Vec::new(),
            wake: Arc::default(),
            silent: false,
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

    /// Starts one, `replica` of several; the answer is its place among them, and where it is, unless it ended at once.
    pub(super) async fn start(
        &mut self,
        party: &Party<'_>,
        container: &Container,
        replica: Option<u16>,
        env: Environment,
        place: Place<'_>,
    ) -> Result<(usize, Option<SocketAddr>), Failure> {
        let label = party.label();
        let name = replica.map_or_else(|| label.clone(), |replica| format!("{label}-{replica}"));
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
            replica,
            container,
            image,
            env: &env,
            log: &place.log(&name, ""),
            wake: &self.wake,
        };
        let running = engine
            .start(&order)
            .await
            .map_err(|error| failure(&name, &error))?;
        let address = running
            .address
            .map(|address| SocketAddr::new(address, container.port));
        // Whatever runs has a network, whose gateway is this machine, or its calls would reach nobody.
        let gateway = engine.gateway().filter(|_| address.is_some());
        let is_here = |gateway: IpAddr| std::net::TcpListener::bind((gateway, 0)).is_ok();
        if let Some(gateway) = gateway.filter(|gateway| !is_here(*gateway)) {
            return Err(Failure::Environment(format!(
                "service `{name}`: not supported yet: a container engine on another machine, or without root: its network's gateway {gateway} is no address of this machine"
            )));
        }
        self.started.push(Started {
            name,
            label,
            port: container.port,
            known: (Standing::Up(running.address), 0),
            running,
            sent: address,
            refusing: None,
        });
        Ok((self.started.len() - 1, address))
    }

    /// What one is called in messages.
    pub(super) fn name(&self, index: usize) -> Option<&str> {
        let started = self.started.get(index)?;
        Some(&started.name)
    }

    /// What the engine warned of.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        self.started
            .iter_mut()
            .flat_map(|started| {
                let label = started.name.clone();
                std::mem::take(&mut started.running.warnings)
                    .into_iter()
                    .map(move |warning| format!("service `{label}`: {warning}"))
            })
            .collect()
    }

    /// How one has ended, with the end of its output, or why nobody can tell; `None`: it has not.
    pub(super) async fn dead(&mut self, index: usize) -> Option<(String, String)> {
        let running = &mut self.started.get_mut(index)?.running;
        if let Some(why) = running.silent() {
            return Some((format!("{SILENT}: {why}"), String::new()));
        }
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

    /// Waits until something may have become of one.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// What has become of them since the last call, for people.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        let silent = self.started.iter().find_map(|one| one.running.silent());
        if silent.is_some() != self.silent {
            self.silent = silent.is_some();
            news.push(match silent {
                Some(why) => format!(
                    "{SILENT} ({why}): until it does, containers go on as they are, and nobody sees whether they end"
                ),
                None => "the container engine answers again".to_owned(),
            });
        }
        for started in &mut self.started {
            let known = (started.running.standing(), started.running.ends());
            let ended_again = known.1 > started.known.1;
            let name = &started.name;
            match &known.0 {
                Standing::Ended(how) if known != started.known => news.push(format!(
                    "service `{name}` has ended ({how}): calls to it are refused"
                )),
                Standing::Up(_) if ended_again => {
                    news.push(format!("service `{name}` has ended and was started again"));
                }
                Standing::Up(_) if matches!(started.known.0, Standing::Ended(_)) => {
                    news.push(format!("service `{name}` was started again"));
                }
                Standing::Up(_) | Standing::Ended(_) => {}
            }
            started.known = known;
        }
        news
    }

    /// Where those are now whose address has changed since the last call, with all others of the same party; by label.
    pub(super) fn moved(&mut self) -> BTreeMap<String, Vec<SocketAddr>> {
        let mut moved: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        for started in &mut self.started {
            let now = started.address();
            if now != started.sent {
                started.sent = now;
                moved.insert(started.label.clone(), Vec::new());
            }
        }
        for (label, addresses) in &mut moved {
            let of_party = self.started.iter().filter(|one| one.label == *label);
            addresses.extend(of_party.filter_map(|one| one.sent));
        }
        moved
    }

    /// Asks all of them to end, at once, and waits.
    pub(super) async fn ask(&mut self, within: Duration) {
        // Each would wait as long as a request may take.
        if let Some(engine) = &self.engine
            && !engine.answers().await
        {
            return;
        }
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

impl Started {
    /// Where its callers are to be sent: to itself, or, where it is not there, to a port that refuses them.
    fn address(&mut self) -> Option<SocketAddr> {
        if let (Standing::Up(Some(address)), _) = self.known {
            self.refusing = None;
            return Some(SocketAddr::new(address, self.port));
        }
        if self.refusing.is_none() {
            // Without a free port its callers wait; that is slower, not wrong.
            self.refusing = Refusing::new().ok();
        }
        self.refusing.as_ref().map(|one| one.at).or(self.sent)
    }
}

fn failure(label: &str, error: &Error) -> Failure {
    Failure::Environment(format!("service `{label}`: {}", chain(error)))
}
