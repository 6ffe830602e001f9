//! Faults of requests and answers, as typed.

use crate::scenario::key::{
    Kind,
    Naming::Free,
    Need::{Default, OneOf, Optional, Required},
    Table, key, word,
};

pub(super) const DELAY: Table = Table {
    name: "delay",
    keys: &[
        key(
            "uniform",
            Kind::Span,
            OneOf("delay"),
            "evenly between two bounds",
        )
        .example("10ms..50ms"),
        key(
            "normal",
            Kind::Map(&NORMAL),
            OneOf("delay"),
            "a bell, cut at 0",
        )
        .example("{ mean: 50ms, sd: 10ms }"),
        key(
            "exponential",
            Kind::Map(&EXPONENTIAL),
            OneOf("delay"),
            "memoryless",
        )
        .example("{ mean: 50ms }"),
        key("pareto", Kind::Map(&PARETO), OneOf("delay"), "a heavy tail")
            .example("{ scale: 10ms, shape: 1.5 }"),
        key(
            "table",
            Kind::Named(Free, &Kind::Duration),
            OneOf("delay"),
            "quantiles, linear between them, from 0ms at p0 unless it is given",
        )
        .example("{ p50: 5ms, p99: 80ms }"),
    ],
};

const NORMAL: Table = Table {
    name: "normal",
    keys: &[
        key("mean", Kind::Duration, Required, "mean").example("50ms"),
        key("sd", Kind::Duration, Required, "standard deviation").example("10ms"),
    ],
};

const EXPONENTIAL: Table = Table {
    name: "exponential",
    keys: &[key("mean", Kind::Duration, Required, "mean").example("50ms")],
};

const PARETO: Table = Table {
    name: "pareto",
    keys: &[
        key("scale", Kind::Duration, Required, "least value").example("10ms"),
        key(
            "shape",
            Kind::Number(0.01),
            Required,
            "tail index; at 1 and below the mean is infinite",
        )
        .example("1.5"),
    ],
};

pub(super) const ABORT: Table = Table {
    name: "abort",
    keys: &[
        key(
            "status",
            Kind::Whole(200, 599),
            OneOf("abort"),
            "the status",
        )
        .example("503"),
        key(
            "body",
            Kind::Text,
            Optional("Envoy's `fault filter abort`"),
            "the body",
        )
        .example("no"),
        key(
            "grpc",
            Kind::Text,
            OneOf("abort"),
            "a gRPC status by name; clients that don't call gRPC get a 200",
        )
        .example("UNAVAILABLE"),
        key(
            "stream",
            Kind::Word(&[word("reset")]),
            OneOf("abort"),
            "HTTP/2's `RST_STREAM`; an HTTP/1 connection is reset",
        )
        .example("reset"),
        key(
            "goaway",
            Kind::Flag,
            OneOf("abort"),
            "HTTP/2's `GOAWAY`; an HTTP/1 connection is closed",
        )
        .example("true"),
    ],
};

pub(super) const THROTTLE: Table = Table {
    name: "throttle",
    keys: &[key("rate", Kind::Text, Required, "bytes a second").example("64KiB/s")],
};

pub(super) const TRUNCATE: Table = Table {
    name: "truncate",
    keys: &[key("after", Kind::Size, Required, "so much comes").example("1KiB")],
};

pub(super) const REWRITTEN: Table = Table {
    name: "fault rewrite",
    keys: &[
        key(
            "status",
            Kind::Whole(200, 599),
            Optional("the service's"),
            "the status",
        )
        .example("500"),
        key(
            "headers",
            Kind::Named(Free, &Kind::Text),
            Default("{}"),
            "headers that are set",
        )
        .example("{ x-broken: \"1\" }"),
        key("body", Kind::Text, Optional("the service's"), "the body").example("nonsense"),
    ],
};
