//! Services: what runs them, and who calls whom.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use super::{
    Backing, Part, Process, Protocol, Ready, Service,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};
use crate::{event::Id, measure::CLIENT};

impl Resolver<'_> {
    pub(super) fn services(&mut self, ids: &Ids) -> Vec<Service> {
        let Some(services) = self
            .root
            .get("topology")
            .and_then(|topology| topology.get("services"))
        else {
            return Vec::new();
        };
        if services.entries().is_empty() {
            self.tell(
                services,
                "there is no service",
                "at least one, as in `shop: { builtin: { app: shop } }`",
            );
        }
        let mut ports: BTreeMap<SocketAddr, String> = BTreeMap::new();
        let mut list = Vec::new();
        for (key, item) in services.entries() {
            if key.name == CLIENT {
                self.tell(item, "`client` is the traffic's own name", "another id");
            }
            let calls = self.calls(&key.name, item, &ids.services, &mut ports);
            let Some(backing) = self.backing(item) else {
                continue;
            };
            let part = Part::Service(key.name.as_str().into());
            self.stands(part, item.get("builtin").unwrap_or(item));
            match backing {
                Backing::Address(_) => self.ports_of_an_address(&key.name, item, &calls),
                Backing::Container(_) => self.ports_of_a_container(&key.name, item),
                Backing::Builtin { .. } | Backing::Process(_) => {}
            }
            let policy = self.policy(item);
            list.push(Service {
                id: key.name.as_str().into(),
                backing,
                protocol: match item.text("protocol") {
                    Some("http") => Protocol::Http,
                    Some("h2") => Protocol::H2,
                    Some("grpc") => Protocol::Grpc,
                    Some("tcp") => Protocol::Tcp,
                    Some("tls") => Protocol::Tls,
                    _ => Protocol::Auto,
                },
                calls,
                policy,
            });
        }
        list
    }

    fn calls(
        &mut self,
        own: &str,
        item: &Item,
        known: &[Id],
        ports: &mut BTreeMap<SocketAddr, String>,
    ) -> Vec<(Id, Option<SocketAddr>)> {
        let Some(calls) = item.get("calls") else {
            return Vec::new();
        };
        let mut list: Vec<(Id, Option<SocketAddr>)> = Vec::new();
        for peer in calls.items() {
            if let Some(id) = self.known(peer, "service", known) {
                self.peer(own, peer, &id, &list);
                list.push((id, None));
            }
        }
        for (key, peer) in calls.entries() {
            let id: Id = key.name.as_str().into();
            // The key stands for the peer: it is where a wrong name is.
            let named = Item {
                at: key.at,
                value: Value::Id(id.clone()),
                ..peer.clone()
            };
            if self.known(&named, "service", known).is_none() {
                continue;
            }
            self.peer(own, &named, &id, &list);
            let Value::Address(port) = peer.value else {
                continue;
            };
            if let Some(other) = ports.insert(port, peer.path.clone()) {
                self.tell(
                    peer,
                    format!("the port of {port} is taken by `{other}`"),
                    "each call has its own port",
                );
            }
            list.push((id, Some(port)));
        }
        list
    }

    fn peer(&mut self, own: &str, item: &Item, id: &Id, before: &[(Id, Option<SocketAddr>)]) {
        if **id == *own {
            self.tell(item, format!("`{own}` calls itself"), "other services");
        }
        if before.iter().any(|(other, _)| other == id) {
            self.tell(item, format!("`{id}` stands here twice"), "each peer once");
        }
    }

    fn ports_of_an_address(&mut self, own: &str, item: &Item, calls: &[(Id, Option<SocketAddr>)]) {
        let unknown: Vec<&str> = calls
            .iter()
            .filter(|(_, port)| port.is_none())
            .map(|(id, _)| &**id)
            .collect();
        if let (false, Some(at)) = (unknown.is_empty(), item.get("calls")) {
            self.warn(
                at,
                format!(
                    "`{own}` is an address: it cannot learn the ports for {}",
                    unknown.join(", ")
                ),
                format!(
                    "fix them, as in `calls: {{ {}: \"127.0.0.1:7001\" }}`, and tell the program",
                    unknown.first().copied().unwrap_or("peer")
                ),
            );
        }
    }

    pub(super) fn stands(&mut self, part: Part, item: &Item) {
        self.standing.push((part, item.at, item.path.clone()));
    }

    /// What runs a service or shadow.
    pub(super) fn backing(&mut self, item: &Item) -> Option<Backing> {
        if let Some(builtin) = item.get("builtin") {
            return Some(Backing::Builtin {
                app: builtin.text("app")?.to_owned(),
                version: builtin.text("version")?.to_owned(),
            });
        }
        if let Some(addresses) = item.get("address") {
            let list: Vec<SocketAddr> = addresses
                .items()
                .iter()
                .filter_map(|item| match item.value {
                    Value::Address(address) => Some(address),
                    _ => None,
                })
                .collect();
            if addresses.items().is_empty() {
                self.tell(
                    addresses,
                    "there is no address",
                    "at least one, such as `127.0.0.1:9001`",
                );
            }
            return (!list.is_empty()).then_some(Backing::Address(list));
        }
        if let Some(container) = item.get("container") {
            return self
                .container(container)
                .map(|container| Backing::Container(Box::new(container)));
        }
        let process = item.get("process")?;
        let command = process.get("command")?;
        if command.items().is_empty() {
            self.tell(
                command,
                "there is no program",
                "program and arguments, as in `[./catalog, --fast]`",
            );
        }
        let ready = process.get("ready");
        let cwd = process.get("cwd")?;
        let folder = self.own_folder(cwd)?;
        Some(Backing::Process(Process {
            command: process.texts("command"),
            env: process.pairs("env").into_iter().collect(),
            cwd: folder,
            replicas: process.whole("replicas")? as u32,
            ready: readiness(ready)?,
        }))
    }

    /// A folder beside the file that names it, absolute, so that nobody joins it to a folder again; else it is told.
    pub(super) fn own_folder(&mut self, item: &Item) -> Option<PathBuf> {
        let folder = self.folder_of(item.at).join(item.as_text()?);
        if folder.is_dir() {
            return std::path::absolute(&folder).ok();
        }
        self.tell(
            item,
            format!(
                "there is no folder `{}`",
                item.as_text().unwrap_or_default()
            ),
            format!("looked for {}", folder.display()),
        );
        None
    }
}

/// When something counts as ready.
pub(super) fn readiness(ready: Option<&Item>) -> Option<Ready> {
    Some(Ready {
        http: ready?.text("http").map(str::to_owned),
        within: ready?.duration("within")?,
    })
}
