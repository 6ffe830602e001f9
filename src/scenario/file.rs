//! The scenario file as it is typed: every key of the grammar, those that are not built yet included.

use super::key::{
    Key, Kind,
    Naming::{Free, Id as Ids, Variable},
    Need::{Default, OneOf, Optional, Required},
    Table, Word, key, later, word,
};

mod container;
mod policy;
mod tcp;

use container::CONTAINER_KEY;

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

const TOPOLOGY: Table = Table {
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

const BUILTIN_KEY: Key = key(
    "builtin",
    Kind::Map(&BUILTIN),
    OneOf("backing"),
    "a service that comes with meshbed",
)
.example("{ app: shop, version: v1 }");
const PROCESS_KEY: Key = key(
    "process",
    Kind::Map(&PROCESS),
    OneOf("backing"),
    "a program started for the run",
)
.example("{ command: [./catalog] }");
const ADDRESS_KEY: Key = key(
    "address",
    Kind::OneOrMore(&Kind::Address),
    OneOf("backing"),
    "something that runs already",
)
.example("[127.0.0.1:9001]");
const RECORDED_KEY: Key = key(
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

const READY: Table = Table {
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

const TRAFFIC: Table = Table {
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

const HEADERS: Table = Table {
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

const SHADOW: Table = Table {
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

const DIFF: Table = Table {
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

const FAULT: Table = Table {
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

const DELAY: Table = Table {
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

const ABORT: Table = Table {
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

const THROTTLE: Table = Table {
    name: "throttle",
    keys: &[key("rate", Kind::Text, Required, "bytes a second").example("64KiB/s")],
};

const TRUNCATE: Table = Table {
    name: "truncate",
    keys: &[key("after", Kind::Size, Required, "so much comes").example("1KiB")],
};

const REWRITTEN: Table = Table {
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

const STEADY: Table = Table {
    name: "steady state",
    keys: &[
        key("check", Kind::Expression, Required, "the condition")
            .example("\"error_share[shop] < 0.1%\""),
        key("over", Kind::Id, Required, "the phase it is judged over").example("steady"),
    ],
};

const GUARD: Table = Table {
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

const CHECK: Table = Table {
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

const SCORE: Table = Table {
    name: "score",
    keys: &[key(
        "min",
        Kind::Number(0.0),
        Default("100"),
        "the least score that passes, 0 to 100",
    )
    .example("80")],
};

const COMPARE: Table = Table {
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

const REPORT: Table = Table {
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
