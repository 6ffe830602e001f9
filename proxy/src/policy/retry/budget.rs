//! How many retries may be under way at once: a share of the requests under way, so that in an outage retries cannot
//! multiply the load.

use crate::unit::Share;

/// A share of what is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Of the requests that are under way or wait for a connection.
    pub share: Share,
    /// So many retries may be under way however few requests are.
    pub least: u32,
}

/// What bounds the retries of a cluster that are under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Their number.
    Most(u32),
    /// Their share.
    Budget(Budget),
}

impl Default for Limit {
    /// Envoy's.
    fn default() -> Self {
        Self::Most(3)
    }
}

impl Default for Budget {
    /// Envoy's.
    fn default() -> Self {
        Self {
            share: Share::new(0.2).unwrap_or(Share::NONE),
            least: 3,
        }
    }
}

impl Budget {
    /// How many retries may be under way beside so many requests.
    pub fn most(&self, requests: u64) -> u64 {
        let share = (requests as f64 * self.share.get()) as u64;
        share.max(u64::from(self.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_what_is_under_way_and_no_less_than_its_least() {
        for (share, least, requests, most) in [
            (0.2, 3, 0, 3),
            (0.2, 3, 15, 3),
            (0.2, 3, 20, 4),
            (0.2, 0, 4, 0),
            (0.2, 0, 1_000, 200),
            (0.0, 0, 1_000, 0),
            (1.0, 10, 3, 10),
        ] {
            let budget = Budget {
                share: Share::new(share).unwrap(),
                least,
            };
            assert_eq!(budget.most(requests), most, "{budget:?} {requests}");
        }
    }
}
