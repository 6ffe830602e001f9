//! Limits on what a cluster may have under way: beyond them a request is refused at once.

use super::retry;

pub mod trip;

/// Which limits count for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Priority {
    /// Those of most requests.
    #[default]
    Default,
    /// Those of routes that ask for them.
    High,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests under way.
    Requests,
    /// Requests under way that were sent again.
    Retries,
}

/// The limits of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Of [`Priority::Default`].
    pub default: Thresholds,
    /// Of [`Priority::High`].
    pub high: Thresholds,
    /// Connections to one endpoint; `None`: no bound of its own.
    pub host_connections: Option<u32>,
}

/// Limits for one priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Connections.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests under way.
    pub requests: u32,
    /// Retries under way.
    pub retries: retry::Limit,
}

impl Default for Thresholds {
    /// Envoy's.
    fn default() -> Self {
        Self {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            retries: retry::Limit::default(),
        }
    }
}

impl Limits {
    /// Those of a priority.
    pub fn of(&self, priority: Priority) -> &Thresholds {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }
}

impl Thresholds {
    /// How much of this there may be; `busy` are the requests that are under way or wait.
    pub fn limit(&self, kind: Kind, busy: impl FnOnce() -> u32) -> u32 {
        match kind {
            Kind::Connections => self.connections,
            Kind::Pending => self.pending,
            Kind::Requests => self.requests,
            Kind::Retries => match self.retries {
                retry::Limit::Most(most) => most,
                retry::Limit::Budget(budget) => {
                    u32::try_from(budget.most(u64::from(busy()))).unwrap_or(u32::MAX)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_grows_with_the_requests() {
        let thresholds = Thresholds {
            retries: retry::Limit::Budget(retry::Budget::default()),
            ..Thresholds::default()
        };
        for (busy, retries) in [(0, 3), (20, 4), (1_000, 200)] {
            assert_eq!(thresholds.limit(Kind::Retries, || busy), retries, "{busy}");
        }
        assert_eq!(Thresholds::default().limit(Kind::Retries, || 1_000), 3);
    }
}
