//! What is behind the sidecars: builtin services, processes, containers, addresses. Ports are chosen first, so that the
//! proxies can be told; then the proxies come up, so that services can be told of them; then services start, and are waited
//! for. Where a container is, only its start tells: the proxies learn it then.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    Failure, chain,
    mesh::{Party, Trust},
};
use crate::{
    backend,
    journal::{Journal, Undone},
    scenario::{Backing, Ready},
};

mod contained;
mod process;

use contained::Contained;
use process::Started;

/// An address that runs already must take a connection within this before the start.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two looks whether a service is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A readiness probe is given up after this, and tried again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A process that was asked to end (SIGTERM) is killed after this. Long enough to flush, short enough that a run's end does
/// not seem to hang.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Ports that are held for what is about to start.
#[derive(Debug, Default)]
pub struct Ports {
    held: BTreeMap<String, Vec<Held>>,
}

/// A port, bound until its owner takes it.
#[derive(Debug)]
enum Held {
    Bound(TcpListener),
    Elsewhere(SocketAddr),
}

impl Held {
    fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Bound(listener) => listener.local_addr(),
            Self::Elsewhere(address) => Ok(*address),
        }
    }
}

/// Chooses a port for every instance of every party, and keeps it bound.
pub fn choose(parties: &[Party<'_>]) -> Result<Ports, Failure> {
    let mut held = BTreeMap::new();
    for party in parties {
        let bind = || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .map(Held::Bound)
                .map_err(|error| environment(&party.label(), "cannot get a port", &error))
        };
        let of_party: Vec<Held> = match party.backing() {
            Backing::Builtin { .. } => vec![bind()?],
            Backing::Process(process) => (0..process.replicas.max(1))
                .map(|_| bind())
                .collect::<Result<_, _>>()?,
            // It has an address of its own, which its start tells.
            Backing::Container(_) => Vec::new(),
            Backing::Address(addresses) => addresses.iter().copied().map(Held::Elsewhere).collect(),
        };
        held.insert(party.label(), of_party);
    }
    Ok(Ports { held })
}

impl Ports {
    /// Where every party listens, by label.
    pub fn addresses(&self) -> Result<BTreeMap<String, Vec<SocketAddr>>, Failure> {
        self.held
            .iter()
            .map(|(label, held)| {
                held.iter()
                    .map(Held::address)
                    .collect::<Result<Vec<_>, _>>()
                    .map(|addresses| (label.clone(), addresses))
                    .map_err(|error| environment(label, "cannot get a port", &error))
            })
            .collect()
    }
}

/// What a party is told: where its peers are, and, if it is a process, its own port.
pub type Environment = BTreeMap<String, String>;

/// The variables that name a party's peers: `MESHBED_<PEER>_URL`, `_HOST`, `_PORT`.
///
/// Where one of them is spoken to over TLS, `MESHBED_CA_PEM` is the certificate of the authority to be believed.
pub fn peers(
    party: &Party<'_>,
    listeners: &BTreeMap<String, SocketAddr>,
    trust: &Trust,
) -> Environment {
    let mut env = Environment::new();
    for (peer, _) in &party.service.calls {
        if let Some(address) = listeners.get(&party.outbound(peer)) {
            let name = peer.to_uppercase().replace('-', "_");
            let secure = trust.covers(peer);
            let scheme = if secure { "https" } else { "http" };
            if let Some(pem) = trust.pem().filter(|_| secure) {
                env.insert(backend::CA.to_owned(), pem.to_owned());
            }
            env.insert(
                format!("MESHBED_{name}_URL"),
                format!("{scheme}://{address}"),
            );
            env.insert(format!("MESHBED_{name}_HOST"), address.ip().to_string());
            env.insert(format!("MESHBED_{name}_PORT"), address.port().to_string());
        }
    }
    env
}

/// A scenario's own values with the peers' variables filled in: `${MESHBED_<PEER>_URL}` and its like, for programs that look
/// for a peer under another name. Others stay as they are.
fn filled(values: &Environment, peers: &Environment) -> Environment {
    let fill = |value: &String| {
        let mut value = value.clone();
        if value.contains("${MESHBED_") {
            for (name, peer) in peers {
                value = value.replace(&format!("${{{name}}}"), peer);
            }
        }
        value
    };
    values
        .iter()
        .map(|(name, value)| (name.clone(), fill(value)))
        .collect()
}

/// What runs behind the sidecars. Dropped, it kills what it started; [`Services::stop`] does so gently, and reports.
#[derive(Debug)]
pub struct Services<'a> {
    journal: &'a Journal,
    builtins: Vec<backend::Running>,
    processes: Vec<Started>,
    contained: Contained<'a>,
    waits: Vec<Wait>,
}

/// Something that is not known to be ready.
#[derive(Debug)]
struct Wait {
    label: String,
    address: SocketAddr,
    ready: Ready,
    what: What,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Something that runs already.
    Elsewhere,
    /// A process, by its place among them.
    Process(usize),
    /// A container, by its place among them.
    Container(usize),
}

/// What a party is started with.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The scenario's folder.
    pub base: &'a Path,
    /// Where output is kept.
    pub logs: &'a Path,
    /// Moves the latencies of builtin services.
    pub seed: u64,
    /// Who is to be believed over TLS.
    pub trust: &'a Trust,
}

impl Place<'_> {
    /// Where a party's output is kept, or another part of it.
    fn log(&self, label: &str, part: &str) -> PathBuf {
        let name = label.trim_start_matches('~');
        self.logs.join(format!("{name}{part}.log"))
    }
}

impl<'a> Services<'a> {
    /// None yet.
    pub fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            builtins: Vec::new(),
            processes: Vec::new(),
            contained: Contained::new(journal),
            waits: Vec::new(),
        }
    }

    /// Makes what containers need before anything starts: their images, and the network; the answer is this machine's
    /// address on it. Without containers nothing is made.
    pub async fn prepare(
        &mut self,
        parties: &[Party<'_>],
        place: Place<'_>,
    ) -> Result<Option<IpAddr>, Failure> {
        self.contained.prepare(parties, place).await
    }

    /// Starts everything; nothing is waited for. The answer is where the containers are, by label.
    pub async fn start(
        &mut self,
        parties: &[Party<'_>],
        mut ports: Ports,
        listeners: &BTreeMap<String, SocketAddr>,
        place: Place<'_>,
    ) -> Result<BTreeMap<String, Vec<SocketAddr>>, Failure> {
        let mut found = BTreeMap::new();
        for party in parties {
            let label = party.label();
            let held = ports.held.remove(&label).unwrap_or_default();
            let env = peers(party, listeners, place.trust);
            if let Backing::Container(container) = party.backing() {
                let mut addresses = Vec::new();
                for replica in 0..container.replicas.max(1) {
                    let replica = (container.replicas > 1).then_some(replica);
                    let started = self
                        .contained
                        .start(party, container, replica, env.clone(), place)
                        .await;
                    let (index, address) = started?;
                    let wait = address.unwrap_or((Ipv4Addr::UNSPECIFIED, container.port).into());
                    self.waits.push(Wait {
                        label: self.contained.name(index).unwrap_or(&label).to_owned(),
                        address: wait,
                        ready: container.ready.clone(),
                        what: What::Container(index),
                    });
                    addresses.extend(address);
                }
                found.insert(label, addresses);
                continue;
            }
            for (replica, held) in held.into_iter().enumerate() {
                let address = held
                    .address()
                    .map_err(|error| environment(&label, "cannot get a port", &error))?;
                match (party.backing(), held) {
                    (Backing::Builtin { app, version }, Held::Bound(listener)) => {
                        let spec = backend::Builtin {
                            app: app.clone(),
                            version: version.clone(),
                            service: party.service.id.to_string(),
                        };
                        let running = backend::start(listener, &spec, env.clone(), place.seed)
                            .map_err(|error| environment(&label, "cannot start", &error))?;
                        self.builtins.push(running);
                    }
                    (Backing::Process(process), Held::Bound(listener)) => {
                        // Held until now lest somebody else gets the port; the process binds it itself.
                        drop(listener);
                        let name = if process.replicas > 1 {
                            format!("{label}-{replica}")
                        } else {
                            label.clone()
                        };
                        let started =
                            Started::spawn(self.journal, name, process, address, &env, place)?;
                        self.waits.push(Wait {
                            label: started.label.clone(),
                            address,
                            ready: process.ready.clone(),
                            what: What::Process(self.processes.len()),
                        });
                        self.processes.push(started);
                    }
                    (_, held) => self.waits.push(Wait {
                        label: label.clone(),
                        address: held
                            .address()
                            .map_err(|error| environment(&label, "cannot get a port", &error))?,
                        ready: Ready {
                            http: None,
                            within: REACHABLE_WITHIN,
                        },
                        what: What::Elsewhere,
                    }),
                }
            }
        }
        Ok(found)
    }

    /// What a person should know of what was started, each once.
    pub fn warnings(&mut self) -> Vec<String> {
        self.contained.warnings()
    }

    /// Waits until everything is ready, each within its own time.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        for wait in std::mem::take(&mut self.waits) {
            loop {
                // Before the probe: the address of something that has ended may be another's.
                if let Some((how, output)) = self.dead(wait.what).await {
                    return Err(Failure::Environment(format!(
                        "service `{}` ended before it was ready ({how}){output}",
                        wait.label
                    )));
                }
                if is_ready(&wait).await && self.contained.is_healthy(wait.what).await {
                    break;
                }
                if start.elapsed() >= wait.ready.within {
                    return Err(Failure::Environment(self.unready(&wait).await));
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// How something that was started has ended, with the end of its output; `None`: it has not.
    async fn dead(&mut self, what: What) -> Option<(String, String)> {
        match what {
            What::Elsewhere => None,
            What::Process(index) => {
                let started = self.processes.get_mut(index)?;
                Some((started.ended()?, started.last_output()))
            }
            What::Container(index) => self.contained.dead(index).await,
        }
    }

    async fn unready(&mut self, wait: &Wait) -> String {
        let within = meshbed_proxy::unit::show_duration(wait.ready.within);
        let output = match wait.what {
            What::Elsewhere => {
                return format!(
                    "service `{}`: nothing accepts connections at {} within {within}",
                    wait.label, wait.address
                );
            }
            What::Process(index) => self.processes.get(index).map(Started::last_output),
            What::Container(index) => self.contained.last_output(index).await,
        };
        let how = match &wait.ready.http {
            _ if is_ready(wait).await => "its healthcheck has not succeeded".to_owned(),
            Some(path) => format!(
                "GET {path} at its PORT {} was not answered 2xx",
                wait.address.port()
            ),
            None => format!("its PORT {} takes no connection", wait.address.port()),
        };
        format!(
            "service `{}` was not ready within {within}: {how}{}",
            wait.label,
            output.unwrap_or_default()
        )
    }

    /// Waits until something may have become of what was started. Processes are not waited for: ask [`Services::news`].
    pub async fn changed(&self) {
        self.contained.changed().await;
    }

    /// What has become since the last call of what was started, though nobody asked it to; for people.
    pub fn news(&mut self) -> Vec<String> {
        let processes = self
            .processes
            .iter_mut()
            .filter(|started| !started.reported)
            .filter_map(|started| {
                let how = started.ended()?;
                started.reported = true;
                Some(format!("service `{}` has ended ({how})", started.label))
            });
        let mut news: Vec<String> = processes.collect();
        news.extend(self.contained.news());
        news
    }

    /// Where parties are now that have moved since the last call, by label.
    pub fn moved(&mut self) -> BTreeMap<String, Vec<SocketAddr>> {
        self.contained.moved()
    }

    /// Ends everything that was started: asks, waits, kills. In a hurry it kills at once.
    pub async fn stop(&mut self, hurry: bool) -> Vec<Undone> {
        if !hurry {
            for started in &mut self.processes {
                started.ask();
            }
            let end = Instant::now() + END_WITHIN;
            self.contained.ask(END_WITHIN).await;
            while Instant::now() < end
                && self
                    .processes
                    .iter_mut()
                    .any(|started| started.ended().is_none())
            {
                sleep(LOOK_AGAIN).await;
            }
        }
        let mut undone: Vec<Undone> = self
            .processes
            .drain(..)
            .map(|mut started| started.end(self.journal))
            .collect();
        undone.extend(self.contained.remove().await);
        for running in self.builtins.drain(..) {
            running.stop();
        }
        undone
    }
}

impl Drop for Services<'_> {
    fn drop(&mut self) {
        for mut started in self.processes.drain(..) {
            started.end(self.journal);
        }
    }
}

async fn is_ready(wait: &Wait) -> bool {
    let probe = async {
        let Ok(mut stream) = TcpStream::connect(wait.address).await else {
            return false;
        };
        let Some(path) = &wait.ready.http else {
            return true;
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: meshbed\r\nconnection: close\r\n\r\n",
            wait.address
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            return false;
        }
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await.is_ok()
            && head.starts_with(b"HTTP/1.")
            && head.get(9) == Some(&b'2')
    };
    timeout(PROBE_TIMEOUT, probe).await.unwrap_or(false)
}

fn environment(label: &str, what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Environment(format!("service `{label}`: {what}: {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use crate::{
        run::{fixture, mesh},
        scenario::{Process, Scenario},
    };

    fn process(command: &[&str], ready: Ready) -> Backing {
        Backing::Process(Process {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: PathBuf::from("."),
            replicas: 1,
            ready,
        })
    }

    fn only(backing: Backing) -> Scenario {
        let mut scenario = fixture::scenario();
        scenario.shadows.clear();
        scenario.services.truncate(1);
        scenario.services[0].calls.clear();
        scenario.services[0].backing = backing;
        scenario
    }

    fn bring_up(scenario: &Scenario) -> (Result<(), Failure>, Vec<Undone>) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(
            folder.path(),
            &format!("t-{}", folder.path().display()).replace('/', "_"),
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let parties = mesh::parties(scenario);
            let mut services = Services::new(&journal);
            let ports = choose(&parties).unwrap();
            let place = Place {
                base: folder.path(),
                logs: folder.path(),
                seed: 1,
                trust: &Trust::default(),
            };
            let started = services
                .start(&parties, ports, &BTreeMap::new(), place)
                .await;
            let result = match started {
                Ok(_) => services.ready().await,
                Err(failure) => Err(failure),
            };
            (result, services.stop(false).await)
        })
    }

    fn message(result: Result<(), Failure>) -> String {
        match result {
            Err(Failure::Environment(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_gets_its_port_and_is_gone_afterwards() {
        let serve = "import http.server, os; \
            http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()";
        let ready = Ready {
            http: Some("/".to_owned()),
            within: Duration::from_secs(20),
        };
        let (result, undone) = bring_up(&only(process(&["python3", "-c", serve], ready)));
        result.unwrap();
        assert!(undone.len() == 1 && undone[0].ok, "{undone:?}");
    }

    #[test]
    fn a_process_that_ends_is_named_with_its_last_output() {
        let ready = Ready {
            http: None,
            within: Duration::from_secs(20),
        };
        let script = "echo no database at 10.0.0.1; exit 3";
        let (result, _) = bring_up(&only(process(&["sh", "-c", script], ready)));
        let text = message(result);
        assert!(
            text.contains("`shop`") && text.contains("no database at 10.0.0.1"),
            "{text}"
        );
        assert!(text.contains('3'), "{text}");
    }

    #[test]
    fn a_process_that_never_listens_fails_after_its_time() {
        let ready = Ready {
            http: None,
            within: Duration::from_millis(200),
        };
        let (result, undone) = bring_up(&only(process(&["sleep", "1000"], ready)));
        let text = message(result);
        assert!(
            text.contains("not ready within 200ms") && text.contains("printed nothing"),
            "{text}"
        );
        assert!(undone[0].ok);
    }

    #[test]
    fn an_address_where_nothing_listens_is_named() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let (result, _) = bring_up(&only(Backing::Address(vec![address])));
        assert!(message(result).contains(&address.to_string()));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let ready = Ready {
            http: None,
            within: Duration::from_secs(1),
        };
        let (result, _) = bring_up(&only(process(&["./no-such-program"], ready)));
        assert!(message(result).contains("./no-such-program"));
    }

    #[test]
    fn peers_can_be_told_under_other_names() {
        let peers = Environment::from([
            ("MESHBED_CART_HOST".to_owned(), "10.0.0.1".to_owned()),
            ("MESHBED_CART_PORT".to_owned(), "81".to_owned()),
        ]);
        let values = Environment::from([(
            "CART".to_owned(),
            "tcp://${MESHBED_CART_HOST}:${MESHBED_CART_PORT}/${HOME}".to_owned(),
        )]);
        assert_eq!(filled(&values, &peers)["CART"], "tcp://10.0.0.1:81/${HOME}");
    }

    #[test]
    fn peers_are_named_as_the_manual_says() {
        let mut scenario = fixture::scenario();
        scenario.services[0].calls = vec![("pay-ments".into(), None)];
        let parties = mesh::parties(&scenario);
        let listeners =
            BTreeMap::from([("out:shop>pay-ments".to_owned(), ([127, 0, 0, 1], 81).into())]);
        let env = peers(&parties[0], &listeners, &Trust::default());
        assert_eq!(env["MESHBED_PAY_MENTS_URL"], "http://127.0.0.1:81");
        assert_eq!(env["MESHBED_PAY_MENTS_HOST"], "127.0.0.1");
        assert_eq!(env["MESHBED_PAY_MENTS_PORT"], "81");
    }
}
