//! Active health checks: what is asked of an endpoint, how often, and what its answers make of it. All of it as Envoy.

use std::time::Duration;

/// A check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// An answer must have come within this.
    pub timeout: Duration,
    /// How often is asked.
    pub interval: Duration,
    /// How often a cluster is asked that had no request yet.
    pub no_traffic_interval: Duration,
    /// The same, of healthy endpoints.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// How often an unhealthy endpoint is asked.
    pub unhealthy_interval: Option<Duration>,
    /// How often, while a healthy endpoint fails but is not unhealthy yet.
    pub unhealthy_edge_interval: Option<Duration>,
    /// How often, while an unhealthy endpoint succeeds but is not healthy yet.
    pub healthy_edge_interval: Option<Duration>,
    /// Up to so much later, by a draw.
    pub jitter: Duration,
    /// Up to so much later, in percent of the interval.
    pub jitter_percent: u32,
    /// Up to so much later, the first time.
    pub initial_jitter: Duration,
    /// So many failures make a healthy endpoint unhealthy.
    pub unhealthy_threshold: u32,
    /// So many successes make an unhealthy endpoint healthy.
    pub healthy_threshold: u32,
    /// A connection is asked on more than once.
    pub reuse_connection: bool,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// An HTTP request.
    Http(Http),
    /// A connection, and what is said on it.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// What must come, in this order.
        receive: Vec<Vec<u8>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Whose health is asked for; empty: the server's.
        service: String,
        /// `:authority`; empty: the cluster's name.
        authority: String,
    },
}

/// An HTTP request that asks for health.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Its method.
    pub method: String,
    /// Its host; empty: the endpoint's host name, or the cluster's name.
    pub host: String,
    /// Its path.
    pub path: String,
    /// Statuses that are well: `(first, one after the last)`.
    pub expected: Vec<(u16, u16)>,
    /// Statuses that count as a failure only after the threshold.
    pub retriable: Vec<(u16, u16)>,
    /// Headers that are set.
    pub set_headers: Vec<(String, String)>,
    /// Headers that are removed.
    pub remove_headers: Vec<String>,
    /// It is spoken by HTTP/2.
    pub http2: bool,
}

/// Envoy's, but for what it has no defaults for.
impl Default for Check {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp {
                send: Vec::new(),
                receive: Vec::new(),
            },
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            no_traffic_interval: Duration::from_mins(1),
            no_traffic_healthy_interval: None,
            unhealthy_interval: None,
            unhealthy_edge_interval: None,
            healthy_edge_interval: None,
            jitter: Duration::ZERO,
            jitter_percent: 0,
            initial_jitter: Duration::ZERO,
            unhealthy_threshold: 2,
            healthy_threshold: 2,
            reuse_connection: true,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            expected: vec![(200, 201)],
            retriable: Vec::new(),
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            http2: false,
        }
    }
}

/// What a probe came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is well.
    Well,
    /// It is well, and says it is degraded.
    Degraded,
    /// It answered that it is not well.
    Unwell,
    /// It did not answer, or its answer is not held against it at once.
    Failed,
}

/// What is known of an endpoint. It begins unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    healthy: bool,
    first: bool,
    good: u32,
    bad: u32,
    /// The last finding differs from what it is held to be.
    pending: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            healthy: false,
            first: true,
            good: 0,
            bad: 0,
            pending: false,
        }
    }
}

impl Tally {
    /// Of an endpoint that was found healthy before.
    pub fn healthy() -> Self {
        Self {
            healthy: true,
            first: false,
            ..Self::default()
        }
    }

    /// Of an endpoint that was found unhealthy before.
    pub fn unhealthy() -> Self {
        Self {
            first: false,
            ..Self::default()
        }
    }

    /// It is held to be well.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// A probe came to this: whether that changes what it is held to be.
    pub fn count(&mut self, finding: Finding, check: &Check) -> bool {
        let first = std::mem::replace(&mut self.first, false);
        let before = self.healthy;
        self.pending = false;
        match finding {
            Finding::Well | Finding::Degraded => {
                self.bad = 0;
                if !self.healthy {
                    self.good += 1;
                    // The first answer of all is believed at once.
                    self.healthy = first || self.good >= check.healthy_threshold;
                    self.pending = !self.healthy;
                }
            }
            Finding::Unwell | Finding::Failed => {
                self.good = 0;
                if self.healthy {
                    self.bad += 1;
                    let certain = finding == Finding::Unwell;
                    self.healthy = !certain && self.bad < check.unhealthy_threshold;
                    self.pending = self.healthy;
                }
            }
        }
        before != self.healthy
    }

    /// How long until the next probe, without jitter; `traffic`: the cluster has had a request.
    pub fn interval(&self, check: &Check, traffic: bool) -> Duration {
        match (traffic, self.healthy, self.pending) {
            (false, true, _) => check
                .no_traffic_healthy_interval
                .unwrap_or(check.no_traffic_interval),
            (false, false, _) => check.no_traffic_interval,
            (true, true, true) => check
                .unhealthy_edge_interval
                .or(check.unhealthy_interval)
                .unwrap_or(check.interval),
            (true, true, false) => check.interval,
            (true, false, true) => check.healthy_edge_interval.unwrap_or(check.interval),
            (true, false, false) => check.unhealthy_interval.unwrap_or(check.interval),
        }
    }
}

impl Check {
    /// The interval with its jitter, by two draws from 0 to 1.
    pub fn jittered(&self, interval: Duration, draws: [f64; 2]) -> Duration {
        let [fixed, share] = draws;
        interval
            + self.jitter.mul_f64(fixed)
            + interval.mul_f64(share * f64::from(self.jitter_percent) / 100.0)
    }
}

impl Http {
    /// What an answer of this status comes to.
    pub fn finding(&self, status: u16) -> Finding {
        let among = |ranges: &[(u16, u16)]| {
            ranges
                .iter()
                .any(|(first, end)| (*first..*end).contains(&status))
        };
        if among(&self.expected) {
            Finding::Well
        } else if among(&self.retriable) {
            Finding::Failed
        } else {
            Finding::Unwell
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_findings_one_after_the_other() {
        use Finding::{Degraded, Failed, Unwell, Well};
        let check = Check {
            unhealthy_threshold: 2,
            healthy_threshold: 3,
            ..Check::default()
        };
        for (findings, healthy) in [
            // The first answer of all is believed at once.
            (vec![Well], "h"),
            (vec![Degraded], "h"),
            (vec![Failed, Well, Well, Well], "---h"),
            (
                vec![Failed, Well, Well, Failed, Well, Well, Well],
                "------h",
            ),
            (vec![Well, Failed, Well, Failed, Failed], "hhhh-"),
            // A bad answer, unlike none, is believed at once.
            (vec![Well, Unwell], "h-"),
        ] {
            let mut tally = Tally::default();
            let found: String = findings
                .iter()
                .map(|finding| {
                    tally.count(*finding, &check);
                    if tally.is_healthy() { 'h' } else { '-' }
                })
                .collect();
            assert_eq!(found, healthy, "{findings:?}");
        }
    }

    #[test]
    fn the_interval_depends_on_health_and_traffic() {
        let at = Duration::from_secs;
        let check = Check {
            interval: at(1),
            no_traffic_interval: at(2),
            no_traffic_healthy_interval: Some(at(3)),
            unhealthy_interval: Some(at(4)),
            unhealthy_edge_interval: Some(at(5)),
            healthy_edge_interval: Some(at(6)),
            ..Check::default()
        };
        let mut tally = Tally::default();
        assert_eq!(tally.interval(&check, false), at(2));
        assert_eq!(tally.interval(&check, true), at(4));
        tally.count(Finding::Well, &check);
        assert_eq!(tally.interval(&check, false), at(3));
        assert_eq!(tally.interval(&check, true), at(1));
        tally.count(Finding::Failed, &check);
        assert_eq!(tally.interval(&check, true), at(5));
        tally.count(Finding::Failed, &check);
        assert_eq!(tally.interval(&check, true), at(4));
        tally.count(Finding::Well, &check);
        assert_eq!(tally.interval(&check, true), at(6));
    }

    #[test]
    fn statuses_are_well_only_in_their_ranges() {
        let http = Http {
            expected: vec![(200, 201), (204, 206)],
            retriable: vec![(503, 504)],
            ..Http::default()
        };
        for (status, finding) in [
            (200, Finding::Well),
            (201, Finding::Unwell),
            (205, Finding::Well),
            (503, Finding::Failed),
            (500, Finding::Unwell),
        ] {
            assert_eq!(http.finding(status), finding, "{status}");
        }
    }
}
