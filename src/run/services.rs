//! What is behind the sidecars: builtin services, processes, addresses. Ports are chosen first, so that the proxies can be
//! told; then the proxies come up, so that services can be told of them; then services start, and are waited for.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
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
    journal::{Effect, Entry, Journal, MARK, Undone, process::ProcessId},
    scenario::{Backing, Process, Ready},
};

/// An address that runs already must take a connection within this before the start.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two looks whether a service is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A readiness probe is given up after this, and tried again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A process that was asked to end (SIGTERM) is killed after this. Long enough to flush, short enough that a run's end does
/// not seem to hang.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Lines of a failed service's output that go into the message.
const LAST_LINES: usize = 8;

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
            let scheme = if trust.covers(peer) { "https" } else { "http" };
            if let Some(pem) = trust.pem().filter(|_| trust.covers(peer)) {
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

/// What runs behind the sidecars. Dropped, it kills what it started; [`Services::stop`] does so gently, and reports.
#[derive(Debug)]
pub struct Services<'a> {
    journal: &'a Journal,
    builtins: Vec<backend::Running>,
    processes: Vec<Started>,
    waits: Vec<Wait>,
}

#[derive(Debug)]
struct Started {
    label: String,
    child: Child,
    id: Option<ProcessId>,
    entry: Entry,
    log: PathBuf,
    reported: bool,
}

/// Something that is not known to be ready.
#[derive(Debug)]
struct Wait {
    label: String,
    address: SocketAddr,
    ready: Ready,
    /// Its place among the processes.
    process: Option<usize>,
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

impl<'a> Services<'a> {
    /// None yet.
    pub fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            builtins: Vec::new(),
            processes: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// Starts everything; nothing is waited for.
    pub fn start(
        &mut self,
        parties: &[Party<'_>],
        mut ports: Ports,
        listeners: &BTreeMap<String, SocketAddr>,
        place: Place<'_>,
    ) -> Result<(), Failure> {
        for party in parties {
            let label = party.label();
            let held = ports.held.remove(&label).unwrap_or_default();
            let env = peers(party, listeners, place.trust);
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
                        self.spawn(name, process, address, env.clone(), place)?;
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
                        process: None,
                    }),
                }
            }
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        label: String,
        process: &Process,
        address: SocketAddr,
        peers: Environment,
        place: Place<'_>,
    ) -> Result<(), Failure> {
        let Some((program, arguments)) = process.command.split_first() else {
            return Err(Failure::Scenario(format!(
                "service `{label}`: its command is empty"
            )));
        };
        let failed = |what: &str, error: &std::io::Error| environment(&label, what, error);
        let log = place
            .logs
            .join(format!("{}.log", label.trim_start_matches('~')));
        let output =
            File::create(&log).map_err(|error| failed("cannot keep its output", &error))?;
        let errors = output
            .try_clone()
            .map_err(|error| failed("cannot keep its output", &error))?;
        let entry = self
            .journal
            .intend(Effect::Process, &label)
            .map_err(|error| failed("cannot write the journal", &error))?;
        let child = std::process::Command::new(located(program, place.base))
            .args(arguments)
            .envs(peers)
            .env("PORT", address.port().to_string())
            .envs(&process.env)
            .env(MARK, self.journal.mark())
            .current_dir(place.base.join(&process.cwd))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                let _ = self.journal.undone(entry);
                return Err(failed(&format!("cannot start `{program}`"), &error));
            }
        };
        let id = ProcessId::of(child.id());
        self.processes.push(Started {
            label: label.clone(),
            child,
            id,
            entry,
            log,
            reported: false,
        });
        if let Some(id) = id {
            self.journal
                .made(entry, id)
                .map_err(|error| failed("cannot write the journal", &error))?;
        }
        self.waits.push(Wait {
            label,
            address,
            ready: process.ready.clone(),
            process: Some(self.processes.len() - 1),
        });
        Ok(())
    }

    /// Waits until everything is ready, each within its own time.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        for wait in std::mem::take(&mut self.waits) {
            loop {
                if is_ready(&wait).await {
                    break;
                }
                let dead = wait
                    .process
                    .and_then(|index| self.processes.get_mut(index))
                    .and_then(|started| match started.child.try_wait() {
                        Ok(Some(status)) => Some((status.to_string(), started.last_output())),
                        _ => None,
                    });
                if let Some((status, output)) = dead {
                    return Err(Failure::Environment(format!(
                        "service `{}` ended before it was ready ({status}){output}",
                        wait.label
                    )));
                }
                if start.elapsed() >= wait.ready.within {
                    return Err(Failure::Environment(self.unready(&wait)));
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    fn unready(&self, wait: &Wait) -> String {
        let within = meshbed_proxy::unit::show_duration(wait.ready.within);
        let started = wait.process.and_then(|index| self.processes.get(index));
        let Some(started) = started else {
            return format!(
                "service `{}`: nothing accepts connections at {} within {within}",
                wait.label, wait.address
            );
        };
        let how = match &wait.ready.http {
            Some(path) => format!(
                "GET {path} at its PORT {} was not answered 2xx",
                wait.address.port()
            ),
            None => format!("its PORT {} takes no connection", wait.address.port()),
        };
        format!(
            "service `{}` was not ready within {within}: {how}{}",
            wait.label,
            started.last_output()
        )
    }

    /// Processes that have ended since the last call, though nobody asked them to: label and how.
    pub fn ended(&mut self) -> Vec<(String, String)> {
        self.processes
            .iter_mut()
            .filter(|started| !started.reported)
            .filter_map(|started| match started.child.try_wait() {
                Ok(Some(status)) => {
                    started.reported = true;
                    Some((started.label.clone(), status.to_string()))
                }
                _ => None,
            })
            .collect()
    }

    /// Ends everything that was started: asks, waits, kills. In a hurry it kills at once.
    pub async fn stop(&mut self, hurry: bool) -> Vec<Undone> {
        if !hurry {
            for started in &mut self.processes {
                started.ask();
            }
            let end = Instant::now() + END_WITHIN;
            while Instant::now() < end
                && self
                    .processes
                    .iter_mut()
                    .any(|started| matches!(started.child.try_wait(), Ok(None)))
            {
                sleep(LOOK_AGAIN).await;
            }
        }
        let undone = self
            .processes
            .drain(..)
            .map(|mut started| started.end(self.journal))
            .collect();
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

impl Started {
    fn group(&self) -> Option<rustix::process::Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
    }

    /// Asks the process and its children to end. Its number is its own as long as it has not been reaped.
    fn ask(&mut self) {
        if let (Ok(None), Some(group)) = (self.child.try_wait(), self.group()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
    }

    /// Kills what is left of it, reaps it, and strikes it from the journal.
    fn end(&mut self, journal: &Journal) -> Undone {
        // Children of it may outlive it in its group. The group's number cannot be another's while they do; once it has
        // been reaped and the group is empty, the journal's mark is what finds the rest.
        if let (Ok(None), Some(group)) = (self.child.try_wait(), self.group()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let reaped = self.child.wait().is_ok();
        let gone = self.id.is_none_or(|id| !id.is_alive());
        let ok = reaped && gone;
        if ok {
            // Not written: the journal's close looks, and finds nothing.
            let _ = journal.undone(self.entry);
        }
        Undone {
            what: Effect::Process.name(),
            id: format!("{} (pid {})", self.label, self.child.id()),
            ok,
        }
    }

    /// The end of what it printed, for a message.
    fn last_output(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
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
}

/// A program with a slash in its name is looked for from the scenario's folder; others on the PATH.
fn located(program: &str, base: &Path) -> PathBuf {
    if program.contains('/') {
        base.join(program)
    } else {
        PathBuf::from(program)
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
    use crate::{
        run::{fixture, mesh},
        scenario::Scenario,
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
            let mut result = services.start(&parties, ports, &BTreeMap::new(), place);
            if result.is_ok() {
                result = services.ready().await;
            }
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
