//! How calls to a service are made, as typed.

use crate::scenario::key::{
    Key, Kind,
    Need::{Default, Optional, Required},
    Table, Word, key, word,
};

pub(super) const POLICY: Table = Table {
    name: "policy",
    keys: &[
        key(
            "timeout",
            Kind::Duration,
            Default("15s"),
            "for the whole answer; Envoy's default; `0s` for none",
        )
        .example("2s"),
        key(
            "retry",
            Kind::Map(&RETRY),
            Optional("none"),
            "which failures are tried again, how often",
        )
        .example("{ when: [5xx], retries: 2 }"),
        key(
            "balance",
            Kind::Word(BALANCE),
            Default("round_robin"),
            "which replica is called; `ring_hash` and `maglev`: by what `sticky` names",
        ),
        key(
            "sticky",
            Kind::Text,
            Optional("nothing"),
            "what binds a request to a replica: `header:NAME` or `cookie:NAME`",
        )
        .example("header:x-user"),
        key(
            "breaker",
            Kind::Map(&BREAKER),
            Optional("Envoy's limits, as below"),
            "limits on connections and requests; what is beyond is answered 503 with the flag UO",
        )
        .example("{ requests: 64, pending: 16 }"),
        key(
            "outlier",
            Kind::Map(&OUTLIER),
            Optional("none"),
            "when a replica is left out for a while",
        )
        .example("{ consecutive_5xx: 3, ejection: 10s }"),
        key(
            "health",
            Kind::Map(&HEALTH),
            Optional("none"),
            "active health checks of each replica",
        )
        .example("{ path: /healthz }"),
        key(
            "rate_limit",
            Kind::Map(&RATE_LIMIT),
            Optional("none"),
            "requests admitted; what is beyond is answered 429 with the flag RL",
        )
        .example("{ rate: 100/s, burst: 20 }"),
    ],
};

const RETRY: Table = Table {
    name: "retry",
    keys: &[
        key(
            "when",
            Kind::List(&Kind::Word(RETRY_ON)),
            Required,
            "Envoy's conditions",
        )
        .example("[5xx, connect-failure]"),
        key(
            "retries",
            Kind::Whole(0, 1000),
            Default("1"),
            "tries after the first",
        ),
        key(
            "per_try_timeout",
            Kind::Duration,
            Optional("only the whole answer's"),
            "for each try",
        )
        .example("500ms"),
        key(
            "backoff",
            Kind::Span,
            Default("25ms..250ms"),
            "the wait before a retry: drawn below the first, doubled with each retry up to the second",
        ),
        key(
            "budget",
            Kind::Share,
            Optional("3 retries at once"),
            "retries under way, as a share of the requests under way (at least 3)",
        )
        .example("20%"),
    ],
};

const RETRY_ON: &[Word] = &[
    word("5xx"),
    word("gateway-error"),
    word("reset"),
    word("reset-before-request"),
    word("connect-failure"),
    word("refused-stream"),
    word("retriable-4xx"),
    word("envoy-ratelimited"),
    word("cancelled"),
    word("deadline-exceeded"),
    word("internal"),
    word("resource-exhausted"),
    word("unavailable"),
];

const BALANCE: &[Word] = &[
    word("round_robin"),
    word("least_request"),
    word("random"),
    word("ring_hash"),
    word("maglev"),
    word("peak_ewma"),
];

const LIMIT: Kind = Kind::Whole(0, 4_294_967_295);

const BREAKER: Table = Table {
    name: "breaker",
    keys: &[
        limit("connections", "1024", "connections open"),
        limit("pending", "1024", "requests that wait for a connection"),
        limit("requests", "1024", "requests under way"),
        limit("retries", "3", "retries under way"),
    ],
};

const fn limit(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, LIMIT, Default(default), doc)
}

const OUTLIER: Table = Table {
    name: "outlier",
    keys: &[
        limit(
            "consecutive_5xx",
            "5",
            "so many failures in a row; answers 5xx and broken connections",
        ),
        key(
            "ejection",
            Kind::Duration,
            Default("30s"),
            "how long the first time; twice as long the second, and so on",
        ),
        key(
            "every",
            Kind::Duration,
            Default("10s"),
            "how often those are looked at whose time is over",
        ),
        key(
            "max",
            Kind::Share,
            Default("10%"),
            "of the replicas; one may always be left out",
        ),
    ],
};

const HEALTH: Table = Table {
    name: "health",
    keys: &[
        key(
            "path",
            Kind::HttpPath,
            Required,
            "a replica is well if it answers this with 200",
        )
        .example("/healthz"),
        key("every", Kind::Duration, Default("1s"), "how often"),
        key(
            "timeout",
            Kind::Duration,
            Default("1s"),
            "no answer in this time is a failure",
        ),
        key(
            "unhealthy_after",
            Kind::Whole(1, 1000),
            Default("2"),
            "failures in a row",
        ),
        key(
            "healthy_after",
            Kind::Whole(1, 1000),
            Default("1"),
            "successes in a row",
        ),
    ],
};

const RATE_LIMIT: Table = Table {
    name: "rate limit",
    keys: &[
        key("rate", Kind::Rate, Required, "requests").example("100/s"),
        key(
            "burst",
            Kind::Whole(1, 4_294_967_295),
            Optional("what the rate gives in a second, at least 1"),
            "requests at once after a pause",
        )
        .example("20"),
    ],
};
