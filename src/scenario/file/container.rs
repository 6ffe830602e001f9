//! A service in a container, as typed. The keys that the grammar shares with Compose files have Compose's names and meaning.

use super::topology::READY;
use crate::scenario::key::{
    Key, Kind,
    Naming::Free,
    Need::{Default, OneOf, Optional, Required},
    Table, key,
};

pub(super) const CONTAINER_KEY: Key = key(
    "container",
    Kind::Map(&CONTAINER),
    OneOf("backing"),
    "a container started for the run, by Docker or Podman",
)
.example("{ image: \"shop-cart:2\", port: 8080 }");

const CONTAINER: Table = Table {
    name: "container",
    keys: &[
        key("image", Kind::Text, Optional("what `build` makes"), "its image; pulled if it is not there; beside `build`: the name that what is built gets, and keeps after the run").example("\"shop-cart:2\""),
        key("build", Kind::Either(&[Kind::Path, Kind::Map(&BUILD)]), Optional("`image` is there, or is pulled"), "a folder with a Dockerfile that its image is built from; `.dockerignore` holds").example("./cart"),
        key("entrypoint", Kind::List(&Kind::Text), Optional("the image's"), "the program that `command` is given to").example("[/bin/cart]"),
        key("command", Kind::List(&Kind::Text), Default("[]"), "in place of the image's").example("[--fast]"),
        key("env", Kind::Named(Free, &Kind::Text), Default("{}"), "added to its environment, which has `PORT` and `MESHBED_<PEER>_URL`; `${MESHBED_<PEER>_URL}` in a value is filled in").example("{ LOG: debug }"),
        key("port", Kind::Whole(1, 65_535), Default("8080"), "where it listens; it is told in `PORT`"),
        key("replicas", Kind::Whole(1, 64), Default("1"), "how many of it, each with an address of its own"),
        key("memory", Kind::Size, Optional("no limit"), "the most memory it may use; more, and it is killed").example("256MiB"),
        key("cpus", Kind::Number(0.01), Optional("no limit"), "the most processor time it may use: 1.5 is one and a half cores").example("1"),
        key("healthcheck", Kind::Map(&HEALTHCHECK), Optional("none"), "a command that the container engine runs in it; it must succeed before the run begins"),
        key("ready", Kind::Map(&READY), Default("{}"), "when it counts as ready"),
    ],
};

const BUILD: Table = Table {
    name: "build",
    keys: &[
        key(
            "context",
            Kind::Path,
            Required,
            "the folder, relative to this file",
        )
        .example("./cart"),
        key(
            "dockerfile",
            Kind::Text,
            Default("Dockerfile"),
            "the Dockerfile, relative to the folder",
        ),
        key(
            "args",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "values of its `ARG`s",
        )
        .example("{ VERSION: \"2\" }"),
        key(
            "target",
            Kind::Text,
            Optional("the last"),
            "the stage that is built",
        )
        .example("release"),
    ],
};

const HEALTHCHECK: Table = Table {
    name: "healthcheck",
    keys: &[
        key(
            "test",
            Kind::List(&Kind::Text),
            Required,
            "`CMD` and a program with arguments, or `CMD-SHELL` and a line for the container's shell",
        )
        .example("[CMD, /bin/check]"),
        key("interval", Kind::Duration, Default("1s"), "how often"),
        key(
            "timeout",
            Kind::Duration,
            Default("30s"),
            "a check that takes longer has failed",
        ),
        key(
            "retries",
            Kind::Whole(1, 1000),
            Default("3"),
            "failures in a row that make it unhealthy",
        ),
        key(
            "start_period",
            Kind::Duration,
            Default("0s"),
            "failures so soon after its start do not count",
        ),
    ],
};
