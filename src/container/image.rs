//! Images: there, pulled, or built.

use std::{collections::HashMap, io::Write, path::Path};

use bollard::{
    Docker,
    errors::Error as Refusal,
    query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder},
};
use futures_util::{StreamExt, stream};

use super::{Error, last_lines, tarball};
use crate::scenario::Build;

/// Bytes of a folder that are sent at once.
const PIECE: usize = 256 << 10;

/// Sees to it that an image is there; if not, it is pulled.
pub(super) async fn there(docker: &Docker, name: &str) -> Result<(), Error> {
    match docker.inspect_image(name).await {
        Ok(_) => return Ok(()),
        Err(Refusal::DockerResponseServerError {
            status_code: 404, ..
        }) => {}
        Err(error) => return Err(Error::Refused(format!("look for the image {name}"), error)),
    }
    let options = CreateImageOptionsBuilder::new().from_image(&tagged(name));
    let mut progress = docker.create_image(Some(options.build()), None, None);
    while let Some(step) = progress.next().await {
        if let Err(error) = step {
            return Err(Error::Missing(name.to_owned(), error));
        }
    }
    Ok(())
}

/// The name with a tag: without one, an engine would pull every tag there is.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// Builds an image and gives its id.
pub(super) async fn build(
    docker: &Docker,
    build: &Build,
    name: &str,
    labels: HashMap<String, String>,
    output: &Path,
) -> Result<String, Error> {
    let folder = build.folder.display().to_string();
    let pack = {
        let (folder, dockerfile) = (build.folder.clone(), build.dockerfile.clone());
        move || tarball::pack(&folder, &dockerfile)
    };
    let packed = match tokio::task::spawn_blocking(pack).await {
        Ok(packed) => packed.map_err(|error| Error::Pack(folder.clone(), error))?,
        Err(error) => return Err(Error::Pack(folder, std::io::Error::other(error))),
    };
    let mut log = std::fs::File::create(output).map_err(Error::Log)?;
    let args: HashMap<String, String> = build.args.clone().into_iter().collect();
    let mut options = BuildImageOptionsBuilder::new()
        .dockerfile(&build.dockerfile)
        .t(name)
        .labels(&labels)
        .buildargs(&args)
        .rm(true)
        .forcerm(true);
    if let Some(target) = &build.target {
        options = options.target(target);
    }
    let pieces = stream::unfold(packed, |mut packed| async move {
        use std::io::Read;
        let mut piece = vec![0; PIECE];
        match packed.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(bytes::Bytes::from(piece)), packed))
            }
            Err(error) => Some((Err(error), packed)),
        }
    });
    let body = bollard::body_try_stream(pieces);
    let mut progress = docker.build_image(options.build(), None, Some(body));
    while let Some(step) = progress.next().await {
        match step {
            Ok(step) => {
                let status = step.status.map(|status| format!("{status}\n"));
                if let Some(text) = step.stream.or(status) {
                    // What cannot be kept is no reason to stop building.
                    let _ = log.write_all(text.as_bytes());
                }
            }
            Err(error) => {
                let why = match error {
                    Refusal::DockerStreamError { error } => error,
                    Refusal::DockerResponseServerError { message, .. } => message,
                    other => other.to_string(),
                };
                return Err(Error::Build(folder, why, last_lines(output)));
            }
        }
    }
    let found = docker
        .inspect_image(name)
        .await
        .map_err(|error| Error::Refused(format!("find what it built of {folder}"), error))?;
    Ok(found.id.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        for (name, expected) in [
            ("shop", "shop:latest"),
            ("shop:2", "shop:2"),
            ("host:5000/shop", "host:5000/shop:latest"),
            ("host:5000/shop:2", "host:5000/shop:2"),
            ("shop@sha256:00", "shop@sha256:00"),
        ] {
            assert_eq!(tagged(name), expected);
        }
    }
}
