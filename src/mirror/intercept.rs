//! The take-over of a live port: new connections to it come to our listener instead, while those that are open go on where
//! they are; and the way back, on which none is dropped either.
//!
//! ```text
//!             nft: redirect, but for our mark
//!  client ──SYN──► :8080 ─ ─ ─ ─ ─ ─ ─ ─► service        connections that were open before
//!                    └──► our listener ──mark──► :8080    new ones
//! ```
//!
//! On the way out the redirect goes first: new connections meet the service again. The translation of those that were
//! redirected stands as long as the table's chains do, so these stay until our listener has no connection left.
//!
//! The table is in the journal before it is made. Should we be killed, a waiting `nft` notices the end of its input and
//! removes it, so that the service is out of reach for milliseconds only; what it misses, `meshbed cleanup` finds.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::thread::{CapabilitySet, capabilities};

use crate::journal::{
    Effect, Entry, Journal, MARK,
    process::ProcessId,
    table::{self, Table},
};

mod rules;
mod sockets;

pub use rules::{MARK as SOCKET_MARK, Rules};

/// How long the service may take to accept a connection before the take-over begins.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// The service whose port is taken over, as the kernel's tables tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its port.
    pub port: u16,
    /// Where it listens.
    pub at: Vec<IpAddr>,
    /// Where it is reached.
    pub to: SocketAddr,
}

/// Why a port cannot be taken over.
#[derive(Debug)]
pub enum Error {
    /// The right is missing.
    Right,
    /// Nobody listens on the port.
    Nobody(u16),
    /// The service takes no connection.
    Unreachable(SocketAddr, io::Error),
    /// The kernel's tables cannot be read.
    Sockets(io::Error),
    /// The journal cannot be written.
    Journal(io::Error),
    /// The packet filter was not changed.
    Table(table::Error),
}

/// A port that is taken over. Dropped without [`TakeOver::end`], the waiting `nft` removes the table at once, and
/// redirected connections break.
#[derive(Debug)]
pub struct TakeOver {
    rules: Rules,
    table: Table,
    entry: Entry,
    /// Removes the table when its input ends.
    guard: Mutex<Child>,
    guarded: Entry,
}

impl Service {
    /// Who listens on a port, and whether a connection is taken there; `to` says where it is reached, where that is not
    /// its own port.
    pub fn find(port: u16, to: Option<SocketAddr>) -> Result<Self, Error> {
        let at = sockets::listening(port).map_err(Error::Sockets)?;
        if at.is_empty() {
            return Err(Error::Nobody(port));
        }
        let candidates = to.map_or_else(|| reached(&at, port), |to| vec![to]);
        let mut failed = None;
        for to in candidates {
            match TcpStream::connect_timeout(&to, REACHED_WITHIN) {
                Ok(_) => return Ok(Self { port, at, to }),
                Err(error) => failed = failed.or(Some(Error::Unreachable(to, error))),
            }
        }
        Err(failed.unwrap_or(Error::Nobody(port)))
    }

    /// Where the listener is bound that its connections come to: where the kernel redirects to depends on the interface
    /// that they come from.
    pub fn listener(&self) -> SocketAddr {
        let any: IpAddr = if self.at.iter().any(IpAddr::is_ipv6) {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        (any, 0).into()
    }
}

/// Where a service that listens there may be reached, the likeliest first.
fn reached(at: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut hosts: Vec<IpAddr> = Vec::new();
    for host in at {
        match host {
            IpAddr::V4(host) if host.is_unspecified() => hosts.push(Ipv4Addr::LOCALHOST.into()),
            // It may take both families, or its own only.
            IpAddr::V6(host) if host.is_unspecified() => {
                hosts.extend([
                    IpAddr::from(Ipv4Addr::LOCALHOST),
                    Ipv6Addr::LOCALHOST.into(),
                ]);
            }
            host => hosts.push(*host),
        }
    }
    hosts.into_iter().map(|host| (host, port).into()).collect()
}

/// Whether this process may do it at all; asked before anything is started.
pub fn allowed() -> Result<(), Error> {
    let may =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if !may {
        return Err(Error::Right);
    }
    // Reading nothing and changing nothing, but by the program that will be needed.
    table::apply("").map_err(Error::Table)
}

impl TakeOver {
    /// Redirects new connections to the service's port to our listener's.
    pub fn begin(journal: &Journal, service: &Service, listener: u16) -> Result<Self, Error> {
        let table = Table::of_run(journal.mark()).map_err(Error::Sockets)?;
        let rules = Rules {
            table: table.name.clone(),
            port: service.port,
            at: service.at.clone(),
            listener,
        };
        let guarded = journal
            .intend(Effect::Process, "nft, which waits to undo the take-over")
            .map_err(Error::Journal)?;
        let guard = table::waiting(&table.removal(), |command| {
            command
                .env(MARK, journal.mark())
                // Ctrl-C is for us, not for what cleans up after us.
                .process_group(0)
                .stderr(Stdio::null())
        })
        .map_err(Error::Table)?;
        if let Some(process) = ProcessId::of(guard.id()) {
            journal.made(guarded, process).map_err(Error::Journal)?;
        }
        let entry = journal
            .intend(Effect::Table, &table.id())
            .map_err(Error::Journal)?;
        table::apply(&rules.taking_over()).map_err(Error::Table)?;
        Ok(Self {
            rules,
            table,
            entry,
            guard: Mutex::new(guard),
            guarded,
        })
    }

    /// New connections go to the service again; redirected ones go on.
    pub fn let_go(&self) -> Result<(), Error> {
        table::apply(&self.rules.letting_go()).map_err(Error::Table)
    }

    /// Connections at our listener whose bytes have not all been delivered.
    pub fn redirected(&self) -> Result<usize, Error> {
        sockets::open(self.rules.listener).map_err(Error::Sockets)
    }

    /// Removes the table. Redirected connections that are left break.
    pub fn end(&self, journal: &Journal) -> Result<(), Error> {
        table::apply(&self.table.removal()).map_err(Error::Table)?;
        journal.undone(self.entry).map_err(Error::Journal)?;
        // It has nothing left to do.
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = guard.kill();
        let _ = guard.wait();
        journal.undone(self.guarded).map_err(Error::Journal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => write!(
                f,
                "taking over a port needs the right `cap_net_admin`: run as root"
            ),
            Self::Nobody(port) => write!(
                f,
                "nobody listens on port {port} here: there is nothing to take over"
            ),
            Self::Unreachable(to, _) => write!(f, "the service at {to} takes no connection"),
            Self::Sockets(_) => write!(f, "cannot read what the kernel tells of its sockets"),
            Self::Journal(_) => write!(f, "cannot write the journal"),
            Self::Table(_) => write!(f, "cannot change the packet filter"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Right | Self::Nobody(_) => None,
            Self::Unreachable(_, error) | Self::Sockets(error) | Self::Journal(error) => {
                Some(error)
            }
            Self::Table(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(at: &[&str]) -> Service {
        Service {
            port: 8080,
            at: at.iter().map(|host| host.parse().unwrap()).collect(),
            to: ([127, 0, 0, 1], 8080).into(),
        }
    }

    #[test]
    fn a_service_is_reached_where_it_listens() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&["0.0.0.0"], &["127.0.0.1:8080"]),
            (&["::"], &["127.0.0.1:8080", "[::1]:8080"]),
            (&["10.0.0.5"], &["10.0.0.5:8080"]),
            (&["127.0.0.1", "::1"], &["127.0.0.1:8080", "[::1]:8080"]),
        ];
        for (at, expected) in cases {
            let found: Vec<String> = reached(&service(at).at, 8080)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{at:?}");
        }
    }

    #[test]
    fn a_service_of_both_families_needs_a_listener_of_both() {
        assert_eq!(service(&["0.0.0.0"]).listener().to_string(), "0.0.0.0:0");
        assert_eq!(service(&["127.0.0.1"]).listener().to_string(), "0.0.0.0:0");
        assert_eq!(service(&["::"]).listener().to_string(), "[::]:0");
        let both = service(&["127.0.0.1", "::1"]);
        assert_eq!(both.listener().to_string(), "[::]:0");
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_refused() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        assert_eq!(
            Service::find(port, None).unwrap().to.to_string(),
            format!("127.0.0.1:{port}")
        );
        drop(free);
        let error = Service::find(port, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("nobody listens on port {port} here: there is nothing to take over")
        );
    }
}
