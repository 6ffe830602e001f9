//! What is judged, as typed.

use crate::scenario::key::{
    Kind,
    Need::{Default, Optional, Required},
    Table, key, word,
};

pub(super) const STEADY: Table = Table {
    name: "steady state",
    keys: &[
        key("check", Kind::Expression, Required, "the condition")
            .example("\"error_share[shop] < 0.1%\""),
        key("over", Kind::Id, Required, "the phase it is judged over").example("steady"),
    ],
};

pub(super) const GUARD: Table = Table {
    name: "guard",
    keys: &[
        key("when", Kind::Expression, Required, "the condition")
            .example("\"error_share[shop] > 30%\""),
        key(
            "for",
            Kind::Duration,
            Default("5s"),
            "how long it must hold: it is judged over the trailing time of this length",
        ),
    ],
};

pub(super) const CHECK: Table = Table {
    name: "check",
    keys: &[
        key("id", Kind::Id, Required, "its id"),
        key(
            "must",
            Kind::Flag,
            Default("false"),
            "if it fails, the run fails, whatever the score",
        ),
        key(
            "weight",
            Kind::Number(0.0),
            Default("1"),
            "its weight in the score, above 0",
        ),
        key(
            "that",
            Kind::Expression,
            Required,
            "a condition; a number, with `pass` and `fail`; or a verdict, with `not`",
        )
        .example("\"p99[shop] < 250ms\""),
        key(
            "pass",
            Kind::Bound,
            Optional("`that` is a condition"),
            "full points at or beyond this",
        )
        .example("600ms"),
        key(
            "fail",
            Kind::Bound,
            Optional("`that` is a condition"),
            "no points at or beyond this",
        )
        .example("1500ms"),
        key(
            "over",
            Kind::OneOrMore(&Kind::Id),
            Optional("all recorded phases"),
            "the phases it is judged over",
        )
        .example("steady"),
        key(
            "from",
            Kind::Text,
            Optional("no `time_to` in `that`"),
            "the moment that `time_to` counts from: `start(FAULT)` or `end(FAULT)`",
        )
        .example("end(slow-payments)"),
        key(
            "not",
            Kind::Word(&[word("regressed"), word("improved"), word("same")]),
            Optional("`that` is no verdict"),
            "with a verdict such as `compare[candidate]`: what it must not be",
        )
        .example("regressed"),
    ],
};

pub(super) const SCORE: Table = Table {
    name: "score",
    keys: &[key(
        "min",
        Kind::Number(0.0),
        Default("100"),
        "the least score that passes, 0 to 100",
    )
    .example("80")],
};
