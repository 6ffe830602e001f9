//! Envoy's response flags: short words for what went wrong, or was done, on a request's way.

use std::fmt;

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $long:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name))),*];
            const LONG_NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $long)),*];
        }
    };
}

/// Envoy's response flags, in the order in which they come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u32);

flags! {
    /// Injected delay.
    DI = 0, "DelayInjected";
    /// Injected abort.
    FI = 1, "FaultInjected";
    /// Local rate limit.
    RL = 2, "RateLimited";
    /// Denied by an external service.
    UAEX = 3, "UnauthorizedExternalService";
    /// The rate limit service failed.
    RLSE = 4, "RateLimitServiceError";
    /// A header of Envoy's with a value that it cannot have.
    IH = 5, "InvalidEnvoyRequestHeaders";
    /// No route.
    NR = 6, "NoRouteFound";
    /// No such cluster.
    NC = 7, "NoClusterFound";
    /// A filter without its settings.
    NFCF = 8, "NoFilterConfigFound";
    /// The local service failed its health check.
    LH = 9, "FailedLocalHealthCheck";
    /// Upstream retries exhausted.
    URX = 10, "UpstreamRetryLimitExceeded";
    /// Upstream overflow.
    UO = 11, "UpstreamOverflow";
    /// No healthy upstream.
    UH = 12, "NoHealthyUpstream";
    /// Upstream connection failure.
    UF = 13, "UpstreamConnectionFailure";
    /// Upstream request timeout.
    UT = 14, "UpstreamRequestTimeout";
    /// Upstream connection termination.
    UC = 15, "UpstreamConnectionTermination";
    /// Upstream remote reset.
    UR = 16, "UpstreamRemoteReset";
    /// Local reset.
    LR = 17, "LocalReset";
    /// Upstream protocol error.
    UPE = 18, "UpstreamProtocolError";
    /// The stream lasted too long.
    UMSDR = 19, "UpstreamMaxStreamDurationReached";
    /// The upstream's name could not be resolved.
    DF = 20, "DnsResolutionFailed";
    /// Overload.
    OM = 21, "OverloadManagerTerminated";
    /// Dropped for the cluster's overload.
    DO = 22, "DropOverLoad";
    /// Stream idle timeout.
    SI = 23, "StreamIdleTimeout";
    /// Downstream request timeout (no whole request in time), or a connection's time is over.
    DT = 24, "DurationTimeout";
    /// Downstream protocol error.
    DPE = 25, "DownstreamProtocolError";
    /// Downstream connection termination.
    DC = 26, "DownstreamConnectionTermination";
    /// Downstream remote reset.
    DR = 27, "DownstreamRemoteReset";
}

impl Flags {
    /// Adds these.
    pub fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    /// All of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// None is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flag of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(flag, _)| *flag)
    }

    /// The long names of those that are set.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        Self::LONG_NAMES
            .iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
    }

    /// The long names of those that are set, written as [`Display`](fmt::Display) writes the short ones.
    pub fn long(self) -> String {
        if self.is_empty() {
            return "-".to_owned();
        }
        self.long_names().collect::<Vec<_>>().join(",")
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
