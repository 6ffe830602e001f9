//! What runs, and who calls whom, as typed.

use super::{container::CONTAINER_KEY, policy};
use crate::scenario::key::{
    Key, Kind,
    Naming::{Free, Id as Ids},
    Need::{Default, OneOf, Optional, Required},
    Table, Word, key, word,
};

pub(super) const TOPOLOGY: Table = Table {
    name: "topology",
    keys: &[
        key(
            "workers",
            Kind::Whole(1, 256),
            Optional("the number of cores; `--workers` wins"),
            "event loops of each of our proxies",
        ),
        key(
            "entry",
            Kind::Id,
            Optional("each traffic source says `to`"),
            "the service that traffic goes to unless it says `to`",
        )
        .example("shop"),
        key(
            "compose",
            Kind::Path,
            Optional("none"),
            "a Docker Compose file whose services are taken, beside those of `services`; where both have one, their keys are merged, and those here win",
        )
        .example("docker-compose.yml"),
        key(
            "services",
            Kind::Named(Ids, &Kind::Map(&SERVICE)),
            Required,
            "the services, by id",
        ),
    ],
};

const SERVICE: Table = Table {
    name: "service",
    keys: &[
        BUILTIN_KEY,
        PROCESS_KEY,
        CONTAINER_KEY,
        ADDRESS_KEY,
        RECORDED_KEY,
        key("calls", Kind::Either(&[Kind::List(&Kind::Id), Kind::Named(Ids, &Kind::Address)]), Default("[]"), "the services it calls; each becomes `MESHBED_<PEER>_URL`; as a map: with the outbound port, for an `address`, which cannot learn one").example("[catalog, cart]"),
        key("protocol", Kind::Word(PROTOCOLS), Default("auto"), "what it speaks; `tcp`: bytes that nobody looks into; `tls`: HTTP over TLS, which its callers' sidecars end with a certificate of the run's own authority"),
        key("policy", Kind::Map(&policy::POLICY), Default("{}"), "how calls to it are made"),
    ],
};

pub(super) const BUILTIN_KEY: Key = key(
    "builtin",
    Kind::Map(&BUILTIN),
    OneOf("backing"),
    "a service that comes with meshbed",
)
.example("{ app: shop, version: v1 }");

pub(super) const PROCESS_KEY: Key = key(
    "process",
    Kind::Map(&PROCESS),
    OneOf("backing"),
    "a program started for the run",
)
.example("{ command: [./catalog] }");

pub(super) const ADDRESS_KEY: Key = key(
    "address",
    Kind::OneOrMore(&Kind::Address),
    OneOf("backing"),
    "something that runs already",
)
.example("[127.0.0.1:9001]");

pub(super) const RECORDED_KEY: Key = key(
    "recorded",
    Kind::Anything,
    OneOf("backing"),
    "answers from a capture",
)
.later();

const PROTOCOLS: &[Word] = &[
    word("auto"),
    word("http"),
    word("h2"),
    word("grpc"),
    word("tcp"),
    word("tls"),
];

const BUILTIN: Table = Table {
    name: "builtin",
    keys: &[
        key("app", Kind::Text, Required, "which").example("shop"),
        key("version", Kind::Text, Default("v1"), "its version"),
    ],
};

const PROCESS: Table = Table {
    name: "process",
    keys: &[
        key("command", Kind::List(&Kind::Text), Required, "program and arguments; the program is found in `cwd` if it names a folder, else in PATH").example("[./catalog, --fast]"),
        key("env", Kind::Named(Free, &Kind::Text), Default("{}"), "added to its environment; `${MESHBED_<PEER>_URL}` in a value is filled in").example("{ LOG: debug }"),
        key("cwd", Kind::Path, Default("."), "where it starts, relative to the scenario's folder"),
        key("replicas", Kind::Whole(1, 64), Default("1"), "how many of it"),
        key("ready", Kind::Map(&READY), Default("{}"), "when it counts as ready"),
    ],
};

pub(super) const READY: Table = Table {
    name: "ready",
    keys: &[
        key(
            "http",
            Kind::HttpPath,
            Optional("its port accepts connections"),
            "this path answers 2xx",
        )
        .example("/healthz"),
        key(
            "tcp",
            Kind::Flag,
            Optional("the same"),
            "its port accepts connections",
        ),
        key(
            "within",
            Kind::Duration,
            Default("10s"),
            "the run fails with exit 3 if it takes longer",
        ),
    ],
};
