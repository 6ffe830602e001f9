//! Other versions that get copies, as typed.

use super::{
    container::CONTAINER_KEY,
    topology::{ADDRESS_KEY, BUILTIN_KEY, PROCESS_KEY, RECORDED_KEY},
    traffic::HEADERS,
};
use crate::scenario::key::{
    Kind,
    Naming::Free,
    Need::{Default, Optional, Required},
    Table, key, word,
};

pub(super) const SHADOW: Table = Table {
    name: "shadow",
    keys: &[
        key("id", Kind::Id, Required, "its id"),
        key(
            "of",
            Kind::Id,
            Required,
            "the service whose calls are copied",
        )
        .example("shop"),
        key(
            "role",
            Kind::Word(&[word("candidate"), word("control")]),
            Default("candidate"),
            "`candidate`: the version in question; `control`: a second instance of the baseline, which shows the noise",
        ),
        key(
            "to",
            Kind::Map(&BACKING),
            Required,
            "what runs it; it calls what `of` calls",
        )
        .example("{ builtin: { app: shop, version: v2 } }"),
        key(
            "sample",
            Kind::Map(&SAMPLE),
            Default("{}"),
            "which share of the calls",
        ),
        key(
            "match",
            Kind::Map(&SHADOW_MATCH),
            Default("{}"),
            "which calls are looked at",
        ),
        key(
            "unsafe",
            Kind::Word(&[word("allow")]),
            Optional("only GET, HEAD and OPTIONS"),
            "copy requests that change something, too",
        ),
        key(
            "headers",
            Kind::Map(&HEADERS),
            Default("{}"),
            "headers set and removed on the copy",
        ),
        key(
            "limits",
            Kind::Map(&LIMITS),
            Default("{}"),
            "what the copies may cost; beyond it they are shed and counted",
        ),
    ],
};

const BACKING: Table = Table {
    name: "service of a shadow",
    keys: &[
        BUILTIN_KEY,
        PROCESS_KEY,
        CONTAINER_KEY,
        ADDRESS_KEY,
        RECORDED_KEY,
    ],
};

const SAMPLE: Table = Table {
    name: "sample",
    keys: &[
        key("percent", Kind::Share, Default("100%"), "this share of the calls").example("10%"),
        key("key", Kind::Text, Default("ordinal"), "what the draw goes by: `ordinal`, `header:NAME` or `cookie:NAME`, so that a user is in or out as a whole").example("\"header:x-user\""),
    ],
};

const SHADOW_MATCH: Table = Table {
    name: "match",
    keys: &[
        key(
            "methods",
            Kind::List(&Kind::Method),
            Default("[GET, HEAD]"),
            "any of these methods",
        ),
        key(
            "path",
            Kind::Text,
            Optional("any"),
            "the path without its query; `*` is any run of characters",
        )
        .example("/cart/*"),
        key(
            "headers",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers and their values; `*` is any run of characters",
        )
        .example("{ x-a: \"1*\" }"),
    ],
};

const LIMITS: Table = Table {
    name: "limits",
    keys: &[
        key(
            "in_flight",
            Kind::Whole(1, 1_000_000),
            Default("64"),
            "copies under way at once, per event loop",
        ),
        key(
            "queue",
            Kind::Whole(0, 1_000_000),
            Default("256"),
            "copies that wait, per event loop",
        ),
        key(
            "deadline",
            Kind::Duration,
            Default("2s"),
            "from a copy's beginning to the end of its answer",
        ),
        key(
            "request_body",
            Kind::Size,
            Default("1MiB"),
            "longest request body that is copied",
        ),
        key(
            "response_body",
            Kind::Size,
            Default("256KiB"),
            "bytes of an answer that are kept; beyond it only length and hash are compared",
        ),
    ],
};
