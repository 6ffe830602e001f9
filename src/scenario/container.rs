//! Services in containers.

use super::{
    Build, Container, Healthcheck, Image,
    resolve::Resolver,
    topology::readiness,
    value::{Item, Value},
};

impl Resolver<'_> {
    pub(super) fn container(&mut self, item: &Item) -> Option<Container> {
        let name = item.get("image");
        if name.is_some_and(|name| name.as_text().is_some_and(str::is_empty)) {
            self.tell(
                name?,
                "the name of the image is empty",
                "as in `image: \"shop-cart:2\"`",
            );
            return None;
        }
        let name = name.and_then(Item::as_text).map(str::to_owned);
        let image = match (name, item.get("build")) {
            (name, Some(build)) => Image::Built(self.build(build, name)?),
            (Some(name), None) => Image::Named(name),
            (None, None) => {
                // A wrong one was told already.
                if !item.has("image") && !item.has("build") {
                    self.tell(
                        item,
                        "a container needs `image` or `build`",
                        "an image's name, as in `image: \"shop-cart:2\"`, or a folder with a Dockerfile, as in `build: ./cart`",
                    );
                }
                return None;
            }
        };
        Some(Container {
            image,
            entrypoint: item.texts("entrypoint"),
            command: item.texts("command"),
            env: item.pairs("env").into_iter().collect(),
            port: u16::try_from(item.whole("port")?).ok()?,
            replicas: u16::try_from(item.whole("replicas")?).ok()?,
            memory: item.size("memory"),
            cpus: item.number("cpus"),
            healthcheck: match item.get("healthcheck") {
                Some(check) => Some(self.healthcheck(check)?),
                None => None,
            },
            ready: readiness(item.get("ready"))?,
        })
    }

    fn build(&mut self, item: &Item, name: Option<String>) -> Option<Build> {
        let context = item.get("context");
        let folder = self.own_folder(context.unwrap_or(item))?;
        let dockerfile = item.text("dockerfile").unwrap_or("Dockerfile").to_owned();
        if !folder.join(&dockerfile).is_file() {
            self.tell(
                item.get("dockerfile").or(context).unwrap_or(item),
                format!("there is no `{dockerfile}` in the folder"),
                format!("looked for {}", folder.join(&dockerfile).display()),
            );
            return None;
        }
        Some(Build {
            folder,
            dockerfile,
            args: item.pairs("args").into_iter().collect(),
            target: item.text("target").map(str::to_owned),
            name,
        })
    }

    fn healthcheck(&mut self, item: &Item) -> Option<Healthcheck> {
        let test = item.texts("test");
        let good = match test.first().map(String::as_str) {
            Some("CMD") => test.len() > 1,
            Some("CMD-SHELL") => test.len() == 2,
            _ => false,
        };
        if !good {
            self.tell(
                item.get("test")?,
                "it is not a check",
                "`[CMD, PROGRAM, ARGUMENT…]` or `[CMD-SHELL, \"a line for the shell\"]`",
            );
            return None;
        }
        Some(Healthcheck {
            test,
            interval: item.duration("interval")?,
            timeout: item.duration("timeout")?,
            retries: item.whole("retries")?,
            start_period: item.duration("start_period")?,
        })
    }

    /// A container cannot reach a port of the host's own loopback.
    pub(super) fn ports_of_a_container(&mut self, own: &str, item: &Item) {
        let calls = item.get("calls").map_or(&[][..], Item::entries);
        for (_, port) in calls {
            if matches!(port.value, Value::Address(_)) {
                self.tell(
                    port,
                    format!("`{own}` is a container: its sidecar listens on the run's own network"),
                    "a list, as in `calls: [catalog]`; it learns where in `MESHBED_CATALOG_URL`",
                );
            }
        }
    }
}
