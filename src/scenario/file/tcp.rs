//! Keys of the faults of connections.

use crate::scenario::key::{
    Key, Kind,
    Need::{Default, Required},
    Table, key,
};

const DELAY: Key = key("delay", Kind::Duration, Required, "how late").example("100ms");

/// How late bytes are.
pub(super) const LATENCY: Table = Table {
    name: "latency",
    keys: &[
        DELAY,
        key(
            "jitter",
            Kind::Duration,
            Default("0s"),
            "up to so much more or less, evenly",
        )
        .example("20ms"),
    ],
};

/// How slow bytes are.
pub(super) const BANDWIDTH: Table = Table {
    name: "bandwidth",
    keys: &[key("rate", Kind::Text, Required, "bytes a second").example("64KiB/s")],
};

/// How late ends are.
pub(super) const SLOW_CLOSE: Table = Table {
    name: "slow_close",
    keys: &[DELAY],
};

/// How late beginnings are.
pub(super) const SLOW_ACCEPT: Table = Table {
    name: "slow_accept",
    keys: &[DELAY],
};

const AFTER: Key = key(
    "after",
    Kind::Duration,
    Default("0s"),
    "so long after the connection has met the fault",
)
.example("1s");

/// When bytes vanish.
pub(super) const BLACKHOLE: Table = Table {
    name: "blackhole",
    keys: &[AFTER],
};

/// When a connection is reset.
pub(super) const RESET: Table = Table {
    name: "reset",
    keys: &[AFTER],
};

/// How small pieces are.
pub(super) const SLICER: Table = Table {
    name: "slicer",
    keys: &[
        key("size", Kind::Size, Required, "bytes of a piece").example("100B"),
        key(
            "variation",
            Kind::Size,
            Default("0B"),
            "up to so many more or fewer; below `size`",
        )
        .example("20B"),
        key(
            "pause",
            Kind::Duration,
            Default("0s"),
            "between one piece and the next",
        )
        .example("1ms"),
    ],
};

/// How much comes.
pub(super) const LIMIT_DATA: Table = Table {
    name: "limit_data",
    keys: &[key("bytes", Kind::Size, Required, "so much comes").example("10KiB")],
};

/// How much is lost.
pub(super) const LOSS: Table = Table {
    name: "loss",
    keys: &[
        key(
            "percent",
            Kind::Share,
            Required,
            "of the segments of 1,448 bytes, those sent again included",
        )
        .example("2%"),
        key(
            "rto",
            Kind::Duration,
            Default("200ms"),
            "until the first retransmission; each further one takes twice as long",
        ),
    ],
};

/// Kinds that need no settings.
pub(super) const NOTHING: Table = Table {
    name: "fault without settings",
    keys: &[],
};
