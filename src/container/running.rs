//! A container: created, started, watched, stopped.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bollard::{
    Docker,
    errors::Error as Refusal,
    models::{
        ContainerCreateBody, ContainerCreateResponse, ContainerInspectResponse as Inspected,
        ContainerState, HealthConfig, HealthStatusEnum, HostConfig, HostConfigLogConfig,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::StreamExt;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Error, last_lines};
use crate::scenario::{Container, Healthcheck};

/// What a container has printed is read within this after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One that has ended, or whose engine is silent, is looked at this often: somebody may start it again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Whose it is.
    pub label: &'a str,
    /// Which of several; `None`: it is the only one.
    pub replica: Option<u16>,
    /// What the scenario says of it.
    pub container: &'a Container,
    /// Its image, by the name that [`Engine::image`](super::Engine::image) gave.
    pub image: &'a str,
    /// Its environment, whole.
    pub env: &'a BTreeMap<String, String>,
    /// Where its output is kept.
    pub log: &'a Path,
    /// Whom to wake when it ends, or is back.
    pub wake: &'a Arc<Notify>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It runs, at this address; `None`: the engine gave it none, or it has lost it.
    Up(Option<IpAddr>),
    /// It has ended, in words.
    Ended(String),
}

/// A container that was started. Dropped, it goes on; its engine removes it.
#[derive(Debug)]
pub struct Running {
    docker: Docker,
    id: String,
    /// What the engine warns of: limits that this machine does not keep.
    pub warnings: Vec<String>,
    /// Where it was when it started; `None`: it ended at once.
    pub address: Option<IpAddr>,
    log: PathBuf,
    seen: Arc<Mutex<Seen>>,
    watching: JoinHandle<()>,
}

/// What is known of a container.
#[derive(Debug)]
struct Seen {
    standing: Standing,
    /// How often it has ended.
    ends: u64,
    /// Why the engine does not tell how it is; what was known last stands.
    silent: Option<String>,
    /// Keeps what it prints.
    reading: Option<JoinHandle<()>>,
}

pub(super) async fn create(
    docker: &Docker,
    order: &Order<'_>,
    name: &str,
    network: &str,
    labels: HashMap<String, String>,
) -> Result<ContainerCreateResponse, Error> {
    let container = order.container;
    let memory = container
        .memory
        .map(|memory| i64::try_from(memory.0).unwrap_or(i64::MAX));
    let given = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    let body = ContainerCreateBody {
        image: Some(order.image.to_owned()),
        entrypoint: given(&container.entrypoint),
        cmd: given(&container.command),
        env: Some(
            order
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        healthcheck: container.healthcheck.as_ref().map(health),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            memory,
            // No swap beyond it: a limit that swaps is a slow service, not a limit.
            memory_swap: memory,
            nano_cpus: container.cpus.map(|cpus| (cpus * 1e9) as i64),
            // Whatever the engine's own default is: this one can be read back.
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    docker
        .create_container(Some(options), body)
        .await
        .map_err(|error| Error::Refused(format!("create a container of {}", order.image), error))
}

fn health(check: &Healthcheck) -> HealthConfig {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: Some(check.test.clone()),
        interval: Some(nanos(check.interval)),
        timeout: Some(nanos(check.timeout)),
        retries: i64::try_from(check.retries).ok(),
        start_period: Some(nanos(check.start_period)),
        ..HealthConfig::default()
    }
}

impl Running {
    pub(super) async fn start(
        docker: &Docker,
        order: &Order<'_>,
        created: ContainerCreateResponse,
        network: &str,
    ) -> Result<Self, Error> {
        let ContainerCreateResponse { id, warnings } = created;
        let refused = |error| Error::Refused(format!("start {}", order.image), error);
        let log = std::fs::File::create(order.log).map_err(Error::Log)?;
        docker
            .start_container(&id, None::<StartContainerOptions>)
            .await
            .map_err(refused)?;
        let found = inspect(docker, &id).await.map_err(refused)?;
        let address = address_on(&found, network);
        let reader = Reader {
            docker: docker.clone(),
            id: id.clone(),
            log: Arc::new(log),
            kept: Arc::default(),
        };
        let seen = Arc::new(Mutex::new(Seen {
            standing: Standing::Up(address),
            ends: 0,
            silent: None,
            reading: Some(tokio::spawn(reader.clone().read())),
        }));
        let watch = Watch {
            reader,
            network: network.to_owned(),
            seen: Arc::clone(&seen),
            wake: Arc::clone(order.wake),
        };
        Ok(Self {
            docker: docker.clone(),
            id,
            warnings,
            address,
            log: order.log.to_owned(),
            seen,
            watching: tokio::spawn(watch.watch()),
        })
    }

    /// How it is.
    pub fn standing(&self) -> Standing {
        look(&self.seen).standing.clone()
    }

    /// How often it has ended.
    pub fn ends(&self) -> u64 {
        look(&self.seen).ends
    }

    /// Why the engine does not tell how it is, if so.
    pub fn silent(&self) -> Option<String> {
        look(&self.seen).silent.clone()
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<String> {
        match self.standing() {
            Standing::Up(_) => None,
            Standing::Ended(how) => Some(how),
        }
    }

    /// Whether the engine's own check of it has succeeded; without one: yes.
    pub async fn is_healthy(&self) -> bool {
        let health = inspect(&self.docker, &self.id)
            .await
            .ok()
            .and_then(|found| found.state)
            .and_then(|state| state.health)
            .and_then(|health| health.status);
        matches!(
            health,
            None | Some(
                HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY
            )
        )
    }

    /// The end of what it has printed, for a message; of a container that has ended, all of it has been read.
    pub async fn last_output(&mut self) -> String {
        if self.ended().is_some() {
            self.read_on().await;
        }
        last_lines(&self.log)
    }

    /// Asks it to end, and has it killed after so long.
    pub async fn stop(&mut self, within: Duration) {
        self.watching.abort();
        if self.ended().is_none() {
            let seconds = i32::try_from(within.as_secs().max(1)).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            // What goes wrong shows when it is removed.
            let _ = self.docker.stop_container(&self.id, Some(options)).await;
        }
        self.read_on().await;
    }

    /// Waits for the rest of what it printed.
    async fn read_on(&mut self) {
        let reading = look(&self.seen).reading.take();
        if let Some(mut reading) = reading
            && timeout(LAST_WORDS, &mut reading).await.is_err()
        {
            reading.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watching.abort();
        if let Some(reading) = look(&self.seen).reading.take() {
            reading.abort();
        }
    }
}

/// Keeps what a container prints.
#[derive(Debug, Clone)]
struct Reader {
    docker: Docker,
    id: String,
    log: Arc<std::fs::File>,
    /// Bytes that are kept. The engine tells all of it from the beginning each time it is asked.
    kept: Arc<AtomicUsize>,
}

impl Reader {
    async fn read(self) {
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .build();
        let mut output = self.docker.logs(&self.id, Some(options));
        let mut told = 0;
        while let Some(Ok(piece)) = output.next().await {
            let piece = piece.as_ref();
            let known = self.kept.load(Ordering::Relaxed).saturating_sub(told);
            told += piece.len();
            if let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) {
                // A full disk is no reason to disturb the run; the report's own files say so.
                let _ = (&*self.log).write_all(new);
                self.kept.fetch_max(told, Ordering::Relaxed);
            }
        }
    }
}

/// Watches a container.
struct Watch {
    reader: Reader,
    network: String,
    seen: Arc<Mutex<Seen>>,
    wake: Arc<Notify>,
}

impl Watch {
    /// Tells how it is, whenever that changes.
    async fn watch(self) {
        let Reader { docker, id, .. } = self.reader.clone();
        let mut ended = false;
        loop {
            let found = inspect(&docker, &id).await;
            let runs = is_running(&found);
            if self.told(ended, &found) {
                self.wake.notify_one();
            }
            ended = runs && has_ended(&docker, &id).await;
            if !ended {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Takes in whether it has ended since the last time, and how it is now. Whether it is news.
    fn told(&self, ended: bool, found: &Result<Inspected, Refusal>) -> bool {
        let mut seen = look(&self.seen);
        let (now, silent) = match found {
            Ok(inspected) if is_running(found) => {
                (Standing::Up(address_on(inspected, &self.network)), None)
            }
            Ok(inspected) => {
                let how = inspected.state.as_ref().map(told).unwrap_or_default();
                (Standing::Ended(how), None)
            }
            Err(Refusal::DockerResponseServerError {
                status_code: 404, ..
            }) => (Standing::Ended("it was removed".to_owned()), None),
            Err(error) => (seen.standing.clone(), Some(cause(error))),
        };
        let was_up = matches!(seen.standing, Standing::Up(_));
        let is_up = matches!(now, Standing::Up(_));
        // One that was started again before anybody looked has ended all the same.
        let has_ended = was_up && silent.is_none() && (!is_up || ended);
        let news = has_ended || now != seen.standing || silent.is_some() != seen.silent.is_some();
        seen.ends += u64::from(has_ended);
        let again = is_up && silent.is_none() && (has_ended || !was_up || seen.silent.is_some());
        if again
            && let Some(reading) = seen
                .reading
                .replace(tokio::spawn(self.reader.clone().read()))
        {
            reading.abort();
        }
        seen.standing = now;
        seen.silent = silent;
        news
    }
}

fn look(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn inspect(docker: &Docker, id: &str) -> Result<Inspected, Refusal> {
    docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
}

/// Waits for the end of one that runs; whether it has ended, not the engine.
async fn has_ended(docker: &Docker, id: &str) -> bool {
    let mut waiting = docker.wait_container(id, None::<WaitContainerOptions>);
    // An exit code other than 0 comes as an error.
    matches!(
        waiting.next().await,
        Some(Ok(_) | Err(Refusal::DockerContainerWaitError { .. }))
    )
}

fn is_running(found: &Result<Inspected, Refusal>) -> bool {
    let state = found.as_ref().ok().and_then(|found| found.state.as_ref());
    state.is_some_and(|state| state.running == Some(true))
}

fn address_on(found: &Inspected, network: &str) -> Option<IpAddr> {
    let networks = found.network_settings.as_ref()?.networks.as_ref()?;
    networks.get(network)?.ip_address.as_ref()?.parse().ok()
}

/// What is at the bottom of an error: what stands above it says no more than that the engine was not reached.
fn cause(error: &Refusal) -> String {
    let first: &dyn std::error::Error = error;
    let last = std::iter::successors(Some(first), |error| error.source()).last();
    last.unwrap_or(first).to_string()
}

/// How a container ended, in words.
fn told(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or_default();
    if state.oom_killed == Some(true) {
        return "killed: it used more memory than it may".to_owned();
    }
    match code {
        137 => "exit code 137: SIGKILL".to_owned(),
        143 => "exit code 143: SIGTERM".to_owned(),
        139 => "exit code 139: SIGSEGV".to_owned(),
        134 => "exit code 134: SIGABRT".to_owned(),
        code => format!("exit code {code}"),
    }
}
