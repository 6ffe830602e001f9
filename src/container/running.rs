//! A container: created, started, watched, stopped.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    Docker,
    errors::Error as Refusal,
    models::{
        ContainerCreateBody, ContainerCreateResponse, ContainerState, HealthConfig,
        HealthStatusEnum, HostConfig, HostConfigLogConfig,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::StreamExt;
use tokio::{task::JoinHandle, time::timeout};

use super::{Error, last_lines};
use crate::scenario::{Container, Healthcheck};

/// What a container has printed is read within this after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Whose it is.
    pub label: &'a str,
    /// What the scenario says of it.
    pub container: &'a Container,
    /// Its image, by the name that [`Engine::image`](super::Engine::image) gave.
    pub image: &'a str,
    /// Its environment, whole.
    pub env: &'a BTreeMap<String, String>,
    /// Where its output is kept.
    pub log: &'a Path,
}

/// A container that was started. Dropped, it goes on; its engine removes it.
#[derive(Debug)]
pub struct Running {
    docker: Docker,
    id: String,
    /// What the engine warns of: limits that this machine does not keep.
    pub warnings: Vec<String>,
    /// Where it is; `None`: it ended at once.
    pub address: Option<IpAddr>,
    log: PathBuf,
    /// How it ended.
    ended: Arc<Mutex<Option<String>>>,
    reading: JoinHandle<()>,
    watching: JoinHandle<()>,
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
        let reading = tokio::spawn(read(docker.clone(), id.clone(), log));
        let ended = Arc::default();
        let watching = tokio::spawn(watch(docker.clone(), id.clone(), Arc::clone(&ended)));
        let found = docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await
            .map_err(refused)?;
        let address = found
            .network_settings
            .and_then(|settings| settings.networks)
            .and_then(|networks| networks.get(network)?.ip_address.clone())
            .and_then(|address| address.parse().ok());
        Ok(Self {
            docker: docker.clone(),
            id,
            warnings,
            address,
            log: order.log.to_owned(),
            ended,
            reading,
            watching,
        })
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the engine's own check of it has succeeded; without one: yes.
    pub async fn is_healthy(&self) -> bool {
        let found = self
            .docker
            .inspect_container(&self.id, None::<InspectContainerOptions>)
            .await;
        let health = found
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
        self.reading.abort();
    }

    /// Waits for the rest of what it printed.
    async fn read_on(&mut self) {
        if !self.reading.is_finished() {
            let _ = timeout(LAST_WORDS, &mut self.reading).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watching.abort();
        self.reading.abort();
    }
}

/// Keeps what a container prints.
async fn read(docker: Docker, id: String, mut log: std::fs::File) {
    let options = LogsOptionsBuilder::new()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .build();
    let mut output = docker.logs(&id, Some(options));
    while let Some(Ok(piece)) = output.next().await {
        // A full disk is no reason to disturb the run; the report's own files say so.
        let _ = log.write_all(piece.as_ref());
    }
}

/// Waits for a container's end, and says how it was.
async fn watch(docker: Docker, id: String, ended: Arc<Mutex<Option<String>>>) {
    let lost = |error: &Refusal| format!("the container engine lost it: {error}");
    let waited = docker
        .wait_container(&id, None::<WaitContainerOptions>)
        .next()
        .await;
    let how = match waited {
        // An exit code other than 0 comes as an error.
        Some(Ok(_) | Err(Refusal::DockerContainerWaitError { .. })) => {
            match docker
                .inspect_container(&id, None::<InspectContainerOptions>)
                .await
            {
                Ok(found) => told(&found.state.unwrap_or_default()),
                Err(error) => lost(&error),
            }
        }
        Some(Err(error)) => lost(&error),
        None => "the container engine has gone".to_owned(),
    };
    *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
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
