//! Where requests come from, as typed.

use crate::scenario::key::{
    Kind,
    Naming::Free,
    Need::{Default, OneOf, Optional, Required},
    Table, key, later, word,
};

pub(super) const TRAFFIC: Table = Table {
    name: "traffic source",
    keys: &[
        key("id", Kind::Id, Required, "its id"),
        key(
            "to",
            Kind::Id,
            Optional("`topology.entry`"),
            "the service its requests go to",
        )
        .example("shop"),
        key(
            "trace",
            Kind::Map(&TRACE),
            OneOf("kind"),
            "requests from a capture",
        )
        .example("{ file: captures/shop.pcapng }"),
        key(
            "generate",
            Kind::Map(&GENERATE),
            OneOf("kind"),
            "requests made from templates",
        )
        .example("{ rate: 400/s, requests: [{ path: / }] }"),
        key(
            "loop",
            Kind::Either(&[Kind::Word(&[word("open")]), Kind::Map(&LOOP)]),
            Default("open"),
            "`open`: requests go out when they are due, whatever the answers do",
        ),
        key(
            "connections",
            Kind::Either(&[Kind::Word(&[word("recorded")]), Kind::Whole(1, 65_536)]),
            Optional("`recorded` for a trace, 64 for generated requests"),
            "how many connections; `recorded`: each request goes by its own of the recording",
        )
        .example("64"),
        key(
            "max_in_flight",
            Kind::Whole(1, 1_000_000),
            Default("2000"),
            "requests under way at once; beyond it a request waits, which is part of its response time and counted as overflow",
        ),
        key(
            "timeout",
            Kind::Duration,
            Default("30s"),
            "a request is given up after this, counted from its sending",
        ),
        key(
            "rewrite",
            Kind::Map(&REWRITE),
            Default("{}"),
            "what is changed in each request",
        ),
        key(
            "sessions",
            Kind::Word(&[word("off"), later("auto")]),
            Default("off"),
            "values issued by the recorded server are replaced by the new server's; `auto` and rules are not supported yet",
        ),
    ],
};

const LOOP: Table = Table {
    name: "loop",
    keys: &[key(
        "closed",
        Kind::Anything,
        Required,
        "a number of users who wait for each answer",
    )
    .later()],
};

const TRACE: Table = Table {
    name: "trace",
    keys: &[
        key(
            "file",
            Kind::Path,
            Required,
            "the capture; looked for beside this file, then in the current folder",
        )
        .example("captures/shop.pcapng"),
        key("keylog", Kind::Path, Optional("none"), "a TLS key log").later(),
        key(
            "speed",
            Kind::Number(0.001),
            Default("1"),
            "time runs this much faster than recorded",
        ),
        key(
            "window",
            Kind::Span,
            Optional("all of it"),
            "only this part of the recording, counted from its first request",
        )
        .example("0s..30s"),
        key(
            "loop",
            Kind::Whole(1, 1_000_000),
            Default("1"),
            "how often it is played, one after the other",
        ),
        key(
            "filter",
            Kind::Map(&FILTER),
            Default("{}"),
            "only these requests",
        ),
        key(
            "order",
            Kind::Word(&[word("recorded"), later("by_session")]),
            Default("recorded"),
            "in which order requests are due",
        ),
    ],
};

const FILTER: Table = Table {
    name: "filter",
    keys: &[
        key(
            "methods",
            Kind::List(&Kind::Method),
            Default("[]"),
            "any of these methods; empty: all",
        )
        .example("[GET]"),
        key(
            "path",
            Kind::Text,
            Optional("any"),
            "the path without its query; `*` is any run of characters",
        )
        .example("/cart/*"),
        key(
            "host",
            Kind::Text,
            Optional("any"),
            "the host; `*` is any run of characters",
        )
        .example("shop.test"),
        key(
            "headers",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers and their values; `*` is any run of characters",
        )
        .example("{ x-a: \"1*\" }"),
    ],
};

const GENERATE: Table = Table {
    name: "generate",
    keys: &[
        key("rate", Kind::Rate, Required, "requests per second").example("400/s"),
        key(
            "arrival",
            Kind::Word(&[word("constant"), word("poisson")]),
            Default("constant"),
            "evenly, or memoryless as many independent users are",
        ),
        key(
            "shape",
            Kind::Anything,
            Optional("flat"),
            "how the rate changes",
        )
        .later(),
        key(
            "requests",
            Kind::List(&Kind::Map(&REQUEST)),
            Required,
            "what is sent, chosen by weight",
        )
        .example("[{ path: /items }]"),
    ],
};

const REQUEST: Table = Table {
    name: "request",
    keys: &[
        key(
            "weight",
            Kind::Whole(1, 1_000_000),
            Default("1"),
            "its share, relative to the others'",
        ),
        key("method", Kind::Method, Default("GET"), "method"),
        key("path", Kind::HttpPath, Required, "path and query").example("/item/42?full=1"),
        key(
            "headers",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers",
        )
        .example("{ accept: application/json }"),
        key(
            "body",
            Kind::Map(&BODY),
            Optional("none"),
            "what is sent along",
        )
        .example("{ json: { sku: a1 } }"),
        key(
            "data",
            Kind::Path,
            Optional("none"),
            "a CSV file whose rows fill `$(row.column)`",
        )
        .later(),
    ],
};

const BODY: Table = Table {
    name: "body",
    keys: &[
        key(
            "json",
            Kind::Anything,
            OneOf("body"),
            "JSON; `content-type: application/json` unless `headers` says otherwise",
        )
        .example("{ sku: a1 }"),
        key("text", Kind::Text, OneOf("body"), "a text").example("a=1&b=2"),
        key(
            "grpc",
            Kind::Text,
            OneOf("body"),
            "a gRPC message, its bytes in base64; `content-type: application/grpc` and `te: trailers` unless `headers` says otherwise",
        )
        .example("CgR0ZXN0"),
    ],
};

const REWRITE: Table = Table {
    name: "rewrite",
    keys: &[
        key(
            "host",
            Kind::Text,
            Optional("as recorded; for generated requests the service's id"),
            "the host",
        )
        .example("shop.test"),
        key(
            "path",
            Kind::List(&Kind::Map(&PATH_REWRITE)),
            Default("[]"),
            "on path and query; the first that matches is applied",
        ),
        key(
            "headers",
            Kind::Map(&HEADERS),
            Default("{}"),
            "headers set and removed",
        ),
    ],
};

const PATH_REWRITE: Table = Table {
    name: "path rewrite",
    keys: &[
        key("match", Kind::Regex, Required, "regular expression").example("\"^/v1/(.*)\""),
        key(
            "with",
            Kind::Text,
            Required,
            "what it becomes, with `$1` for the first group",
        )
        .example("\"/$1\""),
    ],
};

pub(super) const HEADERS: Table = Table {
    name: "headers",
    keys: &[
        key(
            "set",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers set, replacing those of the same name",
        )
        .example("{ authorization: \"Bearer $(env.TOKEN)\" }"),
        key(
            "remove",
            Kind::List(&Kind::Header),
            Default("[]"),
            "headers removed",
        )
        .example("[cookie]"),
    ],
};
