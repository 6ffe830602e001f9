//! How answers are compared, as typed.

use crate::scenario::key::{
    Kind,
    Naming::Free,
    Need::{Default, Optional, Required},
    Table, key, word,
};

pub(super) const DIFF: Table = Table {
    name: "diff",
    keys: &[
        key(
            "json",
            Kind::Map(&DIFF_JSON),
            Default("{}"),
            "how JSON bodies are compared",
        ),
        key(
            "headers",
            Kind::Map(&DIFF_HEADERS),
            Default("{}"),
            "which headers are compared",
        ),
        key(
            "grpc",
            Kind::Map(&DIFF_GRPC),
            Default("{}"),
            "how messages of gRPC are compared",
        ),
        key(
            "endpoints",
            Kind::List(&Kind::Text),
            Optional("templates found: numbers, uuids, hashes"),
            "templates of endpoints",
        )
        .example("[\"GET /cart/{id}\"]"),
        key(
            "noise",
            Kind::Map(&NOISE),
            Default("{}"),
            "when a difference counts",
        ),
    ],
};

const DIFF_JSON: Table = Table {
    name: "diff of JSON",
    keys: &[
        key(
            "arrays",
            Kind::Named(Free, &ARRAYS),
            Default("{}"),
            "arrays without an order: `set`, or `{ key: FIELD }` by which elements find each other",
        )
        .example("{ \"$.items\": { key: sku }, \"$.tags\": set }"),
        key(
            "tolerance",
            Kind::Named(Free, &TOLERANCE),
            Default("{}"),
            "numbers may differ by this much, by this share of the larger, or by so many units in the last place of a double",
        )
        .example("{ \"$.total\": 0.01, \"$.score\": { rel: 1% }, \"$.ratio\": { ulp: 4 } }"),
        key(
            "format",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "texts may differ if both have the form",
        )
        .example("{ \"$.id\": uuid, \"$.at\": rfc3339 }"),
        key(
            "ignore",
            Kind::List(&Kind::Map(&IGNORE)),
            Default("[]"),
            "what is not compared",
        ),
    ],
};

const TOLERANCE: Kind = Kind::Either(&[Kind::Number(0.0), Kind::Map(&APART)]);

const APART: Table = Table {
    name: "tolerance",
    keys: &[
        key(
            "rel",
            Kind::Share,
            Optional("none"),
            "a share of the larger of the two",
        )
        .example("1%"),
        key(
            "ulp",
            Kind::Whole(0, u32::MAX as u64),
            Optional("none"),
            "units in the last place",
        )
        .example("4"),
    ],
};

const DIFF_GRPC: Table = Table {
    name: "diff of gRPC",
    keys: &[key(
        "descriptors",
        Kind::Path,
        Optional("none: fields are compared by number, as the wire shows them"),
        "a file descriptor set (`protoc --include_imports --descriptor_set_out`), by which fields have their names and types; \
         looked for beside this file, then in the current folder",
    )
    .example("shop.pb")],
};

const ARRAYS: Kind = Kind::Either(&[Kind::Word(&[word("set")]), Kind::Map(&ARRAY_KEY)]);

const ARRAY_KEY: Table = Table {
    name: "array",
    keys: &[key(
        "key",
        Kind::Text,
        Required,
        "the field by which elements find each other",
    )
    .example("sku")],
};

const IGNORE: Table = Table {
    name: "ignore rule",
    keys: &[
        key(
            "path",
            Kind::Text,
            Required,
            "the path in the body, with all below it; of a text its lines: `text` (all), `text[3]`, `text['generated at *']` (`*` is \
             anything); or `header:NAME`, `trailer:NAME`, `status`, `grpc-status`, `body` (one that is compared whole)",
        )
        .example("\"$.trace_id\""),
        key(
            "why",
            Kind::Text,
            Required,
            "the reason, shown where it applies",
        )
        .example("random per answer"),
        key(
            "until",
            Kind::Date,
            Optional("for good"),
            "the last day on which it holds; after it the rule no longer applies, with a warning",
        )
        .example("2027-06-30"),
    ],
};

const DIFF_HEADERS: Table = Table {
    name: "diff of headers",
    keys: &[
        key(
            "compare",
            Kind::List(&Kind::Header),
            Optional("content-type, location, names of set-cookie"),
            "headers to compare",
        )
        .example("[content-type, cache-control]"),
        key(
            "ignore",
            Kind::List(&Kind::Header),
            Default("[]"),
            "headers not to compare",
        )
        .example("[date]"),
    ],
};

const NOISE: Table = Table {
    name: "noise",
    keys: &[
        key(
            "control",
            Kind::Id,
            Optional("the only shadow with `role: control` of the same service, if there is one"),
            "the control shadow whose differences are noise",
        )
        .example("control"),
        key(
            "alpha",
            Kind::Number(0.0),
            Default("0.01"),
            "significance that a field's difference needs",
        ),
        key(
            "min_effect",
            Kind::Share,
            Default("0.1%"),
            "share of answers that must differ for a value to be material",
        ),
    ],
};
