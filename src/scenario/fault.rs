//! What a fault does, and to what: to requests, to connections, or to handshakes. The kinds are the proxy's.

use std::time::Duration;

use meshbed_proxy::policy::fault::{
    self,
    tcp::{
        self, Direction, bandwidth::Bandwidth, latency::Latency, limit_data::LimitData, loss::Loss,
        slicer::Slicer,
    },
    tls::Tls,
};

use super::{Protocol, resolve::Resolver, value::Item};

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// Something to requests, each by its draw.
    Request(fault::Fault),
    /// Something to the bytes of connections, or to connections as a whole, each by its draw.
    Connection(tcp::Fault, Direction),
    /// Something to the handshakes of connections.
    Handshake(Tls),
}

impl FaultKind {
    /// Its key in a scenario.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(it) => it.kind(),
            Self::Connection(it, _) => it.kind(),
            Self::Handshake(_) => "tls",
        }
    }

    /// What it does, in a few words.
    pub fn words(&self) -> String {
        match self {
            Self::Request(it) => it.words(),
            Self::Connection(it, Direction::Both) => it.words(),
            Self::Connection(it, Direction::Upstream) => format!("{} upstream", it.words()),
            Self::Connection(it, Direction::Downstream) => format!("{} downstream", it.words()),
            Self::Handshake(it) => format!("tls {}", it.name()),
        }
    }

    /// It chooses connections, and goes by the clock.
    pub fn is_of_connections(&self) -> bool {
        !matches!(self, Self::Request(_))
    }
}

/// Keys that are about requests.
const OF_REQUESTS: &[&str] = &["match", "place", "max_active", "ramp", "of"];

impl Resolver<'_> {
    /// A kind that is about connections, if it is one.
    pub(super) fn connection_kind(&mut self, item: &Item) -> Option<FaultKind> {
        if let Some(tls) = item.text("tls") {
            return Tls::named(tls).map(FaultKind::Handshake);
        }
        let time = |kind: &str, key: &str| item.get(kind).and_then(|kind| kind.duration(key));
        let kind = if let Some(latency) = item.get("latency") {
            tcp::Fault::Latency(Latency {
                delay: latency.duration("delay")?,
                jitter: latency.duration("jitter")?,
            })
        } else if let Some(bandwidth) = item.get("bandwidth") {
            tcp::Fault::Bandwidth(Bandwidth {
                bytes_per_second: self.bytes_per_second(bandwidth.get("rate")?)?,
            })
        } else if let Some(slicer) = item.get("slicer") {
            tcp::Fault::Slicer(Slicer {
                size: slicer.size("size")?.0 as usize,
                variation: slicer.size("variation")?.0 as usize,
                pause: slicer.duration("pause")?,
            })
        } else if let Some(limit) = item.get("limit_data") {
            tcp::Fault::LimitData(LimitData {
                bytes: limit.size("bytes")?.0,
            })
        } else if let Some(loss) = item.get("loss") {
            tcp::Fault::Loss(Loss {
                share: loss.share("percent")?,
                rto: loss.duration("rto")?,
            })
        } else if item.has("slow_close") {
            tcp::Fault::SlowClose(time("slow_close", "delay")?)
        } else if item.has("blackhole") {
            tcp::Fault::Blackhole(time("blackhole", "after")?)
        } else if item.has("reset") {
            tcp::Fault::Reset(time("reset", "after")?)
        } else if item.has("refuse") {
            tcp::Fault::Refuse
        } else if item.has("slow_accept") {
            tcp::Fault::SlowAccept(time("slow_accept", "delay")?)
        } else if item.has("half_open") {
            tcp::Fault::HalfOpen
        } else {
            return None;
        };
        self.does_something(item, &kind);
        let direction = match item.text("direction") {
            Some("upstream") => Direction::Upstream,
            Some("downstream") => Direction::Downstream,
            _ => Direction::Both,
        };
        Some(FaultKind::Connection(kind, direction))
    }

    fn does_something(&mut self, item: &Item, kind: &tcp::Fault) {
        let at = item.get(kind.kind()).unwrap_or(item);
        if let Err(why) = kind.check() {
            self.tell(at, why, "other settings");
        }
        let nothing = match kind {
            tcp::Fault::Latency(it) => it.delay.max(it.jitter) == Duration::ZERO,
            tcp::Fault::SlowClose(delay) | tcp::Fault::SlowAccept(delay) => delay.is_zero(),
            _ => false,
        };
        if nothing {
            self.tell(at, "a fault that does nothing", "a `delay` above `0s`");
        }
    }

    /// What a fault says beside its kind must be about what it breaks, and its target must speak so.
    pub(super) fn fits(&mut self, item: &Item, kind: &FaultKind, protocol: Protocol) {
        let given = |key: &str| item.get(key).filter(|value| value.given);
        if kind.is_of_connections() {
            for key in OF_REQUESTS {
                if let Some(value) = given(key) {
                    self.tell(
                        value,
                        format!(
                            "`{key}` is about requests, and `{}` breaks connections",
                            kind.kind()
                        ),
                        "leave it out",
                    );
                }
            }
        } else if !protocol.is_http()
            && let Some(at) = item.get("target")
        {
            self.tell(
                at,
                format!(
                    "`{}` breaks requests, and of a service with `protocol: tcp` only bytes are seen",
                    kind.kind()
                ),
                "a kind that breaks connections, or another `protocol`",
            );
        }
        let of_bytes = matches!(kind, FaultKind::Connection(kind, _) if kind.is_of_bytes());
        if let Some(direction) = given("direction").filter(|_| !of_bytes) {
            self.tell(
                direction,
                format!("`{}` is not about the bytes of a direction", kind.kind()),
                "leave it out",
            );
        }
        if matches!(kind, FaultKind::Handshake(_))
            && protocol != Protocol::Tls
            && let Some(at) = item.get("tls")
        {
            self.tell(
                at,
                "there is no handshake: callers of the target speak no TLS",
                "`protocol: tls` at the target",
            );
        }
    }
}
