//! Services and shadows as containers, by the API of Docker (or Podman, which speaks it).
//!
//! ```text
//!   the run's process                        the run's bridge network `meshbed-MARK`
//!  ┌───────────────────────┐                ┌──────────────────────────────────────────┐
//!  │ in:shop ──────────────┼───────────────►│ container `meshbed-MARK-shop` IP:port    │
//!  │ out:shop>cart ◄───────┼── gateway ◄────│   MESHBED_CART_URL=http://GATEWAY:PORT   │
//!  └───────────────────────┘                └──────────────────────────────────────────┘
//! ```
//!
//! A container's sidecar is in the run's process, in front of it: it dials the container's own address on the bridge, and
//! listens for the container's calls on the bridge's gateway, which is this machine.
//!
//! All that is made bears the run's mark as a label and stands in the [`journal`] before it is made, so that
//! [`journal::engine`] finds and removes it, whatever becomes of the run.
//!
//! [`journal`]: crate::journal
//! [`journal::engine`]: crate::journal::engine

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    path::Path,
};

use bollard::{
    Docker,
    models::{Ipam, NetworkCreateRequest},
    query_parameters::InspectNetworkOptions,
};

use crate::{
    journal::{Effect, Entry, Journal, Undone, engine},
    scenario::{Build, Image},
};

mod image;
mod running;
mod tarball;

pub use running::{Order, Running, Standing};

/// A container engine, and what it was asked for.
#[derive(Debug)]
pub struct Engine<'a> {
    docker: Docker,
    address: String,
    journal: &'a Journal,
    asked: Vec<Asked>,
    built: BTreeMap<Build, String>,
    gateway: Option<IpAddr>,
}

/// Something that was asked for.
#[derive(Debug)]
struct Asked {
    entry: Entry,
    what: &'static str,
    name: String,
    /// The engine has said that it is made, or that it will not be.
    made: bool,
}

/// Why something could not be had of a container engine.
#[derive(Debug)]
pub enum Error {
    /// It does not answer: where, why.
    Silent(String, bollard::errors::Error),
    /// It refuses: what was asked for, why.
    Refused(String, bollard::errors::Error),
    /// An image is not there and cannot be pulled: which, why.
    Missing(String, bollard::errors::Error),
    /// A build has failed: the folder, why, the end of what it printed.
    Build(String, String, String),
    /// A folder cannot be packed: which, why.
    Pack(String, std::io::Error),
    /// The journal cannot be written.
    Journal(std::io::Error),
    /// A container's output cannot be kept.
    Log(std::io::Error),
    /// The network has no gateway: its name.
    Gateway(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(address, _) => write!(
                f,
                "the container engine at {address} does not answer (DOCKER_HOST names another)"
            ),
            Self::Refused(what, _) => write!(f, "the container engine cannot {what}"),
            Self::Missing(image, _) => {
                write!(f, "the image `{image}` is not there, and cannot be pulled")
            }
            Self::Build(folder, why, output) => {
                write!(f, "cannot build {folder}: {}{output}", why.trim())
            }
            Self::Pack(folder, _) => write!(f, "cannot pack {folder}"),
            Self::Journal(_) => f.write_str("cannot write the journal"),
            Self::Log(_) => f.write_str("cannot keep its output"),
            Self::Gateway(network) => write!(
                f,
                "the network {network} has no gateway, so its containers cannot reach their sidecars"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Silent(_, source) | Self::Refused(_, source) | Self::Missing(_, source) => {
                Some(source)
            }
            Self::Pack(_, source) | Self::Journal(source) | Self::Log(source) => Some(source),
            Self::Build(..) | Self::Gateway(_) => None,
        }
    }
}

impl<'a> Engine<'a> {
    /// Connects to the engine that `DOCKER_HOST` names, or to the machine's own.
    pub async fn open(journal: &'a Journal) -> Result<Self, Error> {
        let address = engine::address();
        match engine::connect(&address).await {
            Ok(docker) => Ok(Self {
                docker,
                address,
                journal,
                asked: Vec::new(),
                built: BTreeMap::new(),
                gateway: None,
            }),
            Err(error) => Err(Error::Silent(address, error)),
        }
    }

    /// Makes the run's own network, once. The answer is the address of this machine on it.
    pub async fn network(&mut self) -> Result<IpAddr, Error> {
        if let Some(gateway) = self.gateway {
            return Ok(gateway);
        }
        let name = self.name("");
        let asked = self.intend(Effect::Network, &name)?;
        let refused = |error| Error::Refused(format!("make the network {name}"), error);
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam::default()),
            labels: Some(self.labels("")),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(request).await.map_err(refused)?;
        self.made(asked, &made.id)?;
        let found = self
            .docker
            .inspect_network(&made.id, None::<InspectNetworkOptions>)
            .await
            .map_err(refused)?;
        let gateways: Vec<IpAddr> = found
            .ipam
            .and_then(|ipam| ipam.config)
            .into_iter()
            .flatten()
            .filter_map(|config| config.gateway?.split('/').next()?.parse().ok())
            .collect();
        let gateway = gateways
            .iter()
            .find(|gateway| gateway.is_ipv4())
            .or(gateways.first());
        self.gateway = gateway.copied();
        self.gateway.ok_or(Error::Gateway(name))
    }

    /// This machine's address on the run's network, once there is one.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// Sees to it that an image is there: looks for it, builds it or pulls it. The answer is what to call it. `output` gets
    /// what a build prints.
    pub async fn image(
        &mut self,
        label: &str,
        image: &Image,
        output: &Path,
    ) -> Result<String, Error> {
        match image {
            Image::Named(name) => image::there(&self.docker, name)
                .await
                .map(|()| name.clone()),
            Image::Built(build) => {
                if let Some(built) = self.built.get(build) {
                    return Ok(built.clone());
                }
                let (name, labels, asked) = if let Some(name) = &build.name {
                    (name.clone(), HashMap::new(), None)
                } else {
                    let name = self.name(label);
                    let asked = self.intend(Effect::Image, &name)?;
                    (name, self.labels(label), Some(asked))
                };
                let built = image::build(&self.docker, build, &name, labels, output).await;
                if let (Some(asked), Err(error)) = (asked, &built) {
                    self.settle(asked, error);
                }
                let id = built?;
                if let Some(asked) = asked {
                    self.made(asked, &id)?;
                }
                self.built.insert(build.clone(), name.clone());
                Ok(name)
            }
        }
    }

    /// Creates and starts a container on the run's network; nothing is waited for.
    pub async fn start(&mut self, order: &Order<'_>) -> Result<Running, Error> {
        let network = self.name("");
        let mut name = self.name(order.label);
        if let Some(replica) = order.replica {
            // No id has a dot.
            name = format!("{name}.{replica}");
        }
        let labels = self.labels(order.label);
        let asked = self.intend(Effect::Container, &name)?;
        let created = running::create(&self.docker, order, &name, &network, labels).await;
        if let Err(error) = &created {
            self.settle(asked, error);
        }
        let created = created?;
        self.made(asked, &created.id)?;
        Running::start(&self.docker, order, created, &network).await
    }

    /// Whether the engine answers, now.
    pub async fn answers(&self) -> bool {
        engine::answers(&self.docker).await
    }

    /// Removes all that was made, and says what became of it.
    pub async fn remove(self) -> Vec<Undone> {
        let sure = self.asked.iter().all(|asked| asked.made);
        let mark = self.journal.mark();
        let removed = if self.answers().await {
            engine::removed(&self.docker, mark, sure).await.ok()
        } else {
            None
        };
        let Some(undone) = removed else {
            return self
                .asked
                .into_iter()
                .map(|asked| Undone {
                    what: asked.what,
                    id: asked.name,
                    ok: false,
                })
                .collect();
        };
        if undone.iter().all(|one| one.ok) {
            for asked in &self.asked {
                // Not written: the journal's close looks, and finds nothing.
                let _ = self.journal.undone(asked.entry);
            }
        }
        undone
    }

    /// What something of a party's is called; with no party: of the run's.
    fn name(&self, label: &str) -> String {
        let mark = self.journal.mark();
        match (label, label.strip_prefix('~')) {
            ("", _) => format!("meshbed-{mark}"),
            // A shadow may have the id of a service.
            (_, Some(shadow)) => format!("meshbed-{mark}_{shadow}"),
            (service, None) => format!("meshbed-{mark}-{service}"),
        }
    }

    fn labels(&self, label: &str) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (engine::LABEL.to_owned(), self.journal.mark().to_owned()),
            // For people, who find a run by its process.
            ("meshbed.pid".to_owned(), std::process::id().to_string()),
        ]);
        if !label.is_empty() {
            labels.insert("meshbed.service".to_owned(), label.to_owned());
        }
        labels
    }

    fn intend(&mut self, effect: Effect, name: &str) -> Result<usize, Error> {
        let entry = self
            .journal
            .intend_at(effect, name, &self.address)
            .map_err(Error::Journal)?;
        self.asked.push(Asked {
            entry,
            what: effect.name(),
            name: name.to_owned(),
            made: false,
        });
        Ok(self.asked.len() - 1)
    }

    /// After a plain no, nothing comes late: there is nothing to wait for at the end.
    fn settle(&mut self, asked: usize, error: &Error) {
        let is_no = matches!(
            error,
            Error::Build(..)
                | Error::Refused(_, bollard::errors::Error::DockerResponseServerError { .. })
        );
        if let Some(asked) = self.asked.get_mut(asked) {
            asked.made |= is_no;
        }
    }

    fn made(&mut self, asked: usize, id: &str) -> Result<(), Error> {
        let Some(asked) = self.asked.get_mut(asked) else {
            return Ok(());
        };
        asked.made = true;
        self.journal
            .made_as(asked.entry, id)
            .map_err(Error::Journal)
    }
}

/// The end of what something printed, for a message.
pub fn last_lines(log: &Path) -> String {
    /// Lines that go into a message.
    const LAST_LINES: usize = 8;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default();
    if last.is_empty() {
        return "; it printed nothing".to_owned();
    }
    format!("; its last output:\n  {}", last.join("\n  "))
}
