//! What is written of a run, and what it is held against, as typed.

use crate::scenario::key::{
    Kind,
    Need::{Default, Optional},
    Table, key, word,
};

pub(super) const COMPARE: Table = Table {
    name: "compare",
    keys: &[
        key(
            "baseline",
            Kind::Path,
            Optional("none"),
            "a report folder; `--baseline` wins",
        )
        .example("reports/main"),
        key(
            "design",
            Kind::Anything,
            Optional("one run a side"),
            "how the two sides take turns",
        )
        .later(),
        key(
            "pairs",
            Kind::Anything,
            Optional("one"),
            "how many pairs of runs",
        )
        .later(),
        key(
            "block",
            Kind::Anything,
            Optional("the whole run"),
            "how long a side's turn is",
        )
        .later(),
        key(
            "margins",
            Kind::Map(&MARGINS),
            Default("{}"),
            "changes of a latency that matter, also in checks of `compare[shadow]`",
        )
        .example("{ p50: 3%, p90: 5%, p99: 10% }"),
    ],
};

const MARGINS: Table = Table {
    name: "margins",
    keys: &[
        key(
            "p50",
            Kind::Share,
            Default("5%"),
            "a change of the median by this share, above 0",
        ),
        key(
            "p90",
            Kind::Share,
            Default("5%"),
            "the same of the 90th percentile",
        ),
        key(
            "p99",
            Kind::Share,
            Default("10%"),
            "the same of the 99th percentile; a shadow's verdict has none",
        ),
        key(
            "shape",
            Kind::Anything,
            Optional("10%"),
            "the same of the area between the distributions",
        )
        .later(),
    ],
};

pub(super) const REPORT: Table = Table {
    name: "report",
    keys: &[
        key(
            "dir",
            Kind::Path,
            Optional("`reports` in the current folder"),
            "folder of the reports, relative to this file; the run's own is made in it",
        )
        .example("\"reports/$(name)\""),
        key(
            "requests",
            Kind::Word(&[word("all"), word("sampled"), word("none")]),
            Default("all"),
            "which requests are written; `all`: up to 1,000,000",
        ),
        key(
            "redact",
            Kind::List(&Kind::Text),
            Default("[authorization, cookie, set-cookie]"),
            "headers, cookies and JSON paths whose values are hidden",
        )
        .example("[authorization, \"$.card.*\"]"),
        key(
            "formats",
            Kind::List(&Kind::Word(&[
                word("md"),
                word("junit"),
                word("html"),
                word("csv"),
            ])),
            Default("[md, junit]"),
            "renderings beside the bundle",
        ),
    ],
};
