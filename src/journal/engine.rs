//! What a container engine (Docker, or Podman by its Docker API) keeps for a run: containers, networks and images, each with
//! the run's mark as a label, and their removal by it. What is in them is `container`'s.

use std::{collections::HashMap, path::Path, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    query_parameters::{
        ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use tokio::time::{Instant, sleep, timeout};

use super::{Effect, Undone};

/// The label that marks what a run has made, with the run's mark as its value.
pub const LABEL: &str = "meshbed.run";

/// Docker's own socket.
const DOCKER: &str = "/var/run/docker.sock";

/// A request to an engine may take this many seconds until its answer begins. Removing a container that will not die takes
/// Docker ten.
const PATIENCE: u64 = 120;

/// A healthy engine answers a ping within milliseconds; one that takes longer than this is not there.
const PING_WITHIN: Duration = Duration::from_secs(5);

/// What bears a mark must be gone within this.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// An engine that was asked for something by a process that then died may still be at it: so long after nothing was left, it
/// is looked for again. Creating a container or a network takes Docker some 100 ms.
const LATE: Duration = Duration::from_secs(2);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where the engine is: `DOCKER_HOST`, else Docker's socket, else Podman's.
pub fn address() -> String {
    if let Some(host) = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
    {
        return host;
    }
    let of_user = std::env::var("XDG_RUNTIME_DIR").map(|dir| format!("{dir}/podman/podman.sock"));
    let podman = ["/run/podman/podman.sock".to_owned()];
    let others = of_user.into_iter().chain(podman);
    let found = others
        .filter(|_| !Path::new(DOCKER).exists())
        .find(|path| Path::new(path).exists());
    format!("unix://{}", found.as_deref().unwrap_or(DOCKER))
}

/// Connects to an engine, and settles on a version of the API. It answers, or this is an error.
pub async fn connect(address: &str) -> Result<Docker, Error> {
    let docker = if address.starts_with("unix://") {
        Docker::connect_with_unix(address, PATIENCE, API_DEFAULT_VERSION)?
    } else if address.starts_with("tcp://") || address.starts_with("http://") {
        Docker::connect_with_http(address, PATIENCE, API_DEFAULT_VERSION)?
    } else {
        return Err(Error::UnsupportedURISchemeError {
            uri: address.to_owned(),
        });
    };
    match timeout(PING_WITHIN, docker.negotiate_version()).await {
        Ok(docker) => docker,
        Err(_) => Err(Error::RequestTimeoutError),
    }
}

/// Whether an engine answers, now.
pub async fn answers(docker: &Docker) -> bool {
    matches!(timeout(PING_WITHIN, docker.ping()).await, Ok(Ok(_)))
}

/// Has an engine remove all that bears a mark, and blocks until it is gone. Unless the engine is known to have done all that
/// it was asked for (`sure`), it is looked for once more after a while.
pub fn remove(address: &str, mark: &str, sure: bool) -> Result<Vec<Undone>, Error> {
    // A thread of its own: who calls may stand in a runtime that must not be blocked on.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(async { removed(&connect(address).await?, mark, sure).await })
        });
        worker
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the remover has died").into()))
    })
}

/// As [`remove`], on a connection that there is.
pub async fn removed(docker: &Docker, mark: &str, sure: bool) -> Result<Vec<Undone>, Error> {
    let begun = Instant::now();
    let mut seen: Vec<Kept> = Vec::new();
    let mut quiet_since = begun;
    loop {
        let kept = kept(docker, mark).await?;
        if kept.is_empty() {
            if sure || quiet_since.elapsed() >= LATE {
                break;
            }
            sleep(LOOK_AGAIN).await;
            continue;
        }
        let mut all = true;
        for one in kept {
            // What fails (a network whose container is only just going) is still there at the next look.
            all &= one.remove(docker).await.is_ok();
            if !seen.contains(&one) {
                seen.push(one);
            }
        }
        quiet_since = Instant::now();
        if begun.elapsed() >= GONE_WITHIN {
            break;
        }
        if !all {
            sleep(LOOK_AGAIN).await;
        }
    }
    let left = kept(docker, mark).await?;
    Ok(seen
        .into_iter()
        .map(|one| Undone {
            what: one.effect.name(),
            ok: !left.contains(&one),
            id: one.name,
        })
        .collect())
}

/// Something that an engine keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    effect: Effect,
    id: String,
    name: String,
}

impl Kept {
    async fn remove(&self, docker: &Docker) -> Result<(), Error> {
        match self.effect {
            Effect::Container => {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
                docker
                    .remove_container(&self.id, Some(options.build()))
                    .await
            }
            Effect::Network => docker.remove_network(&self.id).await,
            _ => {
                let options = RemoveImageOptionsBuilder::new().force(true).build();
                docker
                    .remove_image(&self.id, Some(options), None)
                    .await
                    .map(drop)
            }
        }
    }
}

/// All that bears a mark, in the order in which it can be removed.
async fn kept(docker: &Docker, mark: &str) -> Result<Vec<Kept>, Error> {
    let filters = HashMap::from([("label", vec![format!("{LABEL}={mark}")])]);
    let mut kept = Vec::new();
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    for one in docker.list_containers(Some(options)).await? {
        let name = one.names.and_then(|names| names.into_iter().next());
        let id = one.id.unwrap_or_default();
        kept.push(Kept {
            effect: Effect::Container,
            name: name.map_or_else(
                || id.clone(),
                |name| name.trim_start_matches('/').to_owned(),
            ),
            id,
        });
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for one in docker.list_networks(Some(options)).await? {
        let id = one.id.unwrap_or_default();
        kept.push(Kept {
            effect: Effect::Network,
            name: one.name.unwrap_or_else(|| id.clone()),
            id,
        });
    }
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    for one in docker.list_images(Some(options)).await? {
        kept.push(Kept {
            effect: Effect::Image,
            name: one
                .repo_tags
                .into_iter()
                .next()
                .unwrap_or_else(|| one.id.clone()),
            id: one.id,
        });
    }
    Ok(kept)
}
