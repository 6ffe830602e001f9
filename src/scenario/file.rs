//! The scenario file as it is typed: every key of the grammar, those that are not built yet included.

use super::key::{
    Kind,
    Naming::Variable,
    Need::{Default, Optional, Required},
    Table, Word, key, word,
};

mod check;
mod container;
mod diff;
mod fault;
mod http;
mod policy;
mod report;
mod shadow;
mod tcp;
mod topology;
mod traffic;

use self::{
    check::{CHECK, GUARD, SCORE, STEADY},
    diff::DIFF,
    fault::FAULT,
    report::{COMPARE, REPORT},
    shadow::SHADOW,
    topology::TOPOLOGY,
    traffic::TRAFFIC,
};

/// The whole file.
pub const ROOT: Table = Table {
    name: "scenario",
    keys: &[
        key("version", Kind::Whole(1, 1), Default("1"), "version of the grammar"),
        key("name", Kind::Text, Required, "what the scenario is called; elsewhere it is `$(name)`, as the name of a file").example("shop-slow-payments"),
        key("description", Kind::Text, Default("\"\""), "what it is about"),
        key("include", Kind::List(&Kind::Path), Default("[]"), "files merged before this one, relative to it: maps by key, lists of things by `id`, the later wins").example("[fragment.yaml]"),
        key("vars", Kind::Named(Variable, &VARIABLE), Default("{}"), "values to use as `$(name)` and to set with `--set NAME=VALUE`").example("{ rate: { type: rate, default: 400/s }, slow: 400ms }"),
        key("matrix", Kind::Anything, Optional("one run"), "a run for each combination of these values").later(),
        key("seed", Kind::Whole(0, u64::MAX), Optional("drawn and printed; `--seed` wins"), "the number that every choice of the run follows from").example("7"),
        key("errors", Kind::List(&Kind::ErrorClass), Default("[5xx, no_response, grpc_nonzero]"), "what counts as an error").example("[5xx, 404, no_response]"),
        key("topology", Kind::Map(&TOPOLOGY), Required, "the services and who calls whom"),
        key("traffic", Kind::Things(&TRAFFIC), Required, "where the requests come from"),
        key("shadow", Kind::Things(&SHADOW), Default("[]"), "other versions that get copies of requests"),
        key("diff", Kind::Map(&DIFF), Default("{}"), "how the answers of a service and its shadows are compared"),
        key("phases", Kind::Things(&PHASE), Default("[{ id: all, for: 30s }]"), "parts of the timeline, back to back from the start; their ids name windows"),
        key("faults", Kind::Things(&FAULT), Default("[]"), "what is broken, and when"),
        key("steady_state", Kind::List(&Kind::Map(&STEADY)), Default("[]"), "conditions that must hold before the first fault; else nothing is broken, checks are not-run, exit 5"),
        key("guard", Kind::List(&Kind::Map(&GUARD)), Default("[]"), "conditions that switch all faults off and end the run with exit 4"),
        key("checks", Kind::Things(&CHECK), Required, "what is judged"),
        key("score", Kind::Map(&SCORE), Default("{}"), "when the score passes"),
        key("compare", Kind::Map(&COMPARE), Default("{}"), "an earlier report to hold this run against"),
        key("report", Kind::Map(&REPORT), Default("{}"), "what is written"),
    ],
};

/// A file that says only how answers are compared: `meshbed mirror --diff`.
pub(super) const COMPARED: Table = Table {
    name: "diff file",
    keys: &[
        key(
            "version",
            Kind::Whole(1, 1),
            Default("1"),
            "version of the grammar",
        ),
        key(
            "include",
            Kind::List(&Kind::Path),
            Default("[]"),
            "files merged before this one",
        ),
        key(
            "vars",
            Kind::Named(Variable, &VARIABLE),
            Default("{}"),
            "values to use as `$(name)`",
        ),
        key(
            "diff",
            Kind::Map(&DIFF),
            Required,
            "how the answers of a service and its shadows are compared",
        ),
        key(
            "report",
            Kind::Map(&COMPARED_REPORT),
            Default("{}"),
            "what is not to be shown",
        ),
    ],
};

const COMPARED_REPORT: Table = Table {
    name: "report of a diff file",
    keys: &[key(
        "redact",
        Kind::List(&Kind::Text),
        Optional("authorization, cookie, set-cookie"),
        "headers, cookies and JSON paths whose values are hidden",
    )
    .example("[authorization, \"$.card.*\"]")],
};

const VARIABLE: Kind = Kind::Either(&[Kind::Text, Kind::Map(&VARIABLE_TABLE)]);

const VARIABLE_TABLE: Table = Table {
    name: "variable",
    keys: &[
        key(
            "type",
            Kind::Word(VARIABLE_TYPES),
            Optional("any value"),
            "what its values must be",
        ),
        key(
            "default",
            Kind::Text,
            Optional("must be set with `--set`"),
            "its value unless `--set` gives another",
        )
        .example("400/s"),
        key("help", Kind::Text, Default("\"\""), "what it is for"),
    ],
};

const VARIABLE_TYPES: &[Word] = &[
    word("duration"),
    word("rate"),
    word("size"),
    word("share"),
    word("int"),
    word("number"),
    word("string"),
    word("bool"),
];

const PHASE: Table = Table {
    name: "phase",
    keys: &[
        key(
            "id",
            Kind::Id,
            Required,
            "its id, and the name of its window",
        ),
        key("for", Kind::Duration, Required, "how long").example("20s"),
        key(
            "record",
            Kind::Flag,
            Default("true"),
            "whether its requests are measured where no phase is named",
        ),
    ],
};
