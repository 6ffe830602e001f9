//! What is broken and when, as typed.

use super::{
    http::{ABORT, DELAY, REWRITTEN, THROTTLE, TRUNCATE},
    tcp,
};
use crate::scenario::key::{
    Kind,
    Naming::Free,
    Need::{Default, OneOf, Optional, Required},
    Table, key, word,
};

pub(super) const FAULT: Table = Table {
    name: "fault",
    keys: &[
        key("id", Kind::Id, Required, "its id"),
        key("target", Kind::Id, Required, "a service: every call to it").example("payments"),
        key(
            "from",
            Kind::Id,
            Optional("every caller"),
            "only calls by this service; `client` is the traffic",
        )
        .example("checkout"),
        key(
            "during",
            Kind::Id,
            Required,
            "the phase in which it is active",
        )
        .example("fault"),
        key(
            "at",
            Kind::Offset,
            Default("+0s"),
            "when it begins in its phase",
        )
        .example("+5s"),
        key(
            "for",
            Kind::Duration,
            Optional("to the end of the phase"),
            "how long it lasts",
        )
        .example("10s"),
        key(
            "repeat",
            Kind::Map(&REPEAT),
            Optional("once"),
            "on for a while, again and again",
        )
        .example("{ every: 5s, for: 1s }"),
        key(
            "ramp",
            Kind::Map(&RAMP),
            Optional("`percent` from the start"),
            "the share grows up to `percent`",
        )
        .example("{ from: 0%, over: 10s }"),
        key(
            "when",
            Kind::Expression,
            Optional("always"),
            "only while this holds",
        )
        .later(),
        key(
            "percent",
            Kind::Share,
            Optional("100%"),
            "this share of the requests; of the connections, where the kind breaks connections",
        )
        .example("50%"),
        key(
            "first",
            Kind::Whole(1, u64::MAX),
            Optional("all"),
            "the first so many requests",
        )
        .example("10"),
        key(
            "every",
            Kind::Whole(1, u64::MAX),
            Optional("all"),
            "every so many-th request",
        )
        .example("3"),
        key(
            "match",
            Kind::Map(&FAULT_MATCH),
            Default("{}"),
            "only these requests",
        ),
        key(
            "place",
            Kind::Word(&[word("request"), word("attempt")]),
            Default("request"),
            "`request`: before timeouts and retries, as Envoy; `attempt`: inside the retry loop",
        ),
        key(
            "max_active",
            Kind::Whole(1, u32::MAX as u64),
            Optional("no bound"),
            "requests that may suffer it at once; more are counted as capped",
        )
        .example("100"),
        key(
            "ttl",
            Kind::Duration,
            Default("10m"),
            "off by then, counted from when it is switched on, whatever happens",
        ),
        key(
            "delay",
            Kind::Either(&[Kind::Duration, Kind::Map(&DELAY)]),
            OneOf("fault"),
            "requests wait",
        )
        .example("400ms"),
        key(
            "of",
            Kind::Word(&[word("request"), word("response")]),
            Default("request"),
            "what a `delay` holds up: the request, or the answer",
        ),
        key(
            "abort",
            Kind::Map(&ABORT),
            OneOf("fault"),
            "requests are answered at once, or their clients cut off",
        )
        .example("{ status: 503 }"),
        key(
            "throttle",
            Kind::Map(&THROTTLE),
            OneOf("fault"),
            "the bodies of answers come slowly",
        ),
        key(
            "truncate",
            Kind::Map(&TRUNCATE),
            OneOf("fault"),
            "the bodies of answers break off",
        ),
        key(
            "rewrite",
            Kind::Map(&REWRITTEN),
            OneOf("fault"),
            "answers are made other ones",
        ),
        key(
            "latency",
            Kind::Map(&tcp::LATENCY),
            OneOf("fault"),
            "bytes come late",
        ),
        key(
            "bandwidth",
            Kind::Map(&tcp::BANDWIDTH),
            OneOf("fault"),
            "bytes come slowly",
        ),
        key(
            "slow_close",
            Kind::Map(&tcp::SLOW_CLOSE),
            OneOf("fault"),
            "the ends of connections come late",
        ),
        key(
            "blackhole",
            Kind::Map(&tcp::BLACKHOLE),
            OneOf("fault"),
            "bytes vanish",
        ),
        key(
            "reset",
            Kind::Map(&tcp::RESET),
            OneOf("fault"),
            "connections are reset",
        ),
        key(
            "slicer",
            Kind::Map(&tcp::SLICER),
            OneOf("fault"),
            "bytes come in small pieces",
        ),
        key(
            "limit_data",
            Kind::Map(&tcp::LIMIT_DATA),
            OneOf("fault"),
            "connections end after so many bytes",
        ),
        key(
            "loss",
            Kind::Map(&tcp::LOSS),
            OneOf("fault"),
            "bytes stall as if segments had been lost",
        ),
        key(
            "refuse",
            Kind::Map(&tcp::NOTHING),
            OneOf("fault"),
            "connections are refused",
        )
        .example("{}"),
        key(
            "slow_accept",
            Kind::Map(&tcp::SLOW_ACCEPT),
            OneOf("fault"),
            "connections are accepted late",
        ),
        key(
            "half_open",
            Kind::Map(&tcp::NOTHING),
            OneOf("fault"),
            "connections are accepted, and nobody is behind them",
        )
        .example("{}"),
        key(
            "direction",
            Kind::Word(&[word("both"), word("downstream"), word("upstream")]),
            Default("both"),
            "which bytes a fault of bytes is for: those to the client (`downstream`), those to the service (`upstream`)",
        ),
        key(
            "tls",
            Kind::Word(&[
                word("expired"),
                word("wrong_name"),
                word("unknown_ca"),
                word("stall"),
            ]),
            OneOf("fault"),
            "handshakes fail: the certificate is too old, for another name, or of an unknown authority; or nothing is answered",
        ),
        key(
            "kill",
            Kind::Anything,
            OneOf("fault"),
            "the service is killed",
        )
        .later(),
        key(
            "stop",
            Kind::Anything,
            OneOf("fault"),
            "the service is stopped",
        )
        .later(),
        key(
            "pause",
            Kind::Anything,
            OneOf("fault"),
            "the service stands still",
        )
        .later(),
        key(
            "restart",
            Kind::Anything,
            OneOf("fault"),
            "the service is restarted",
        )
        .later(),
        key(
            "cpu",
            Kind::Anything,
            OneOf("fault"),
            "the service's processor is busy",
        )
        .later(),
        key(
            "memory",
            Kind::Anything,
            OneOf("fault"),
            "the service's memory is full",
        )
        .later(),
        key(
            "partition",
            Kind::Anything,
            OneOf("fault"),
            "the service cannot be reached",
        )
        .later(),
        key(
            "dns",
            Kind::Anything,
            OneOf("fault"),
            "names do not resolve",
        )
        .later(),
        key(
            "disk",
            Kind::Anything,
            OneOf("fault"),
            "the disk is full or slow",
        )
        .later(),
        key(
            "clock",
            Kind::Anything,
            OneOf("fault"),
            "the clock is wrong",
        )
        .later(),
    ],
};

const REPEAT: Table = Table {
    name: "repeat",
    keys: &[
        key(
            "every",
            Kind::Duration,
            Required,
            "from one beginning to the next",
        )
        .example("5s"),
        key("for", Kind::Duration, Required, "how long each time").example("1s"),
    ],
};

const RAMP: Table = Table {
    name: "ramp",
    keys: &[
        key(
            "from",
            Kind::Share,
            Default("0%"),
            "the share at the beginning",
        ),
        key("over", Kind::Duration, Required, "how long it grows").example("10s"),
    ],
};

const FAULT_MATCH: Table = Table {
    name: "match of a fault",
    keys: &[
        key(
            "methods",
            Kind::List(&Kind::Method),
            Default("[]"),
            "any of these methods; empty: all",
        )
        .example("[POST]"),
        key(
            "path",
            Kind::Text,
            Optional("any"),
            "the path without its query; `*` is any run of characters",
        )
        .example("/pay/*"),
        key(
            "headers",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers and their values; `*` is any run of characters",
        )
        .example("{ x-a: \"1*\" }"),
        key(
            "grpc",
            Kind::Text,
            Optional("any"),
            "gRPC service and method",
        )
        .later(),
    ],
};
