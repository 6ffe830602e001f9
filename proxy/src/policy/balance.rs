//! Which endpoint the next request goes to.

pub mod round_robin;

pub use round_robin::RoundRobin;

/// How a cluster spreads its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
}

/// The state of a policy on one event loop.
pub trait Balancer {
    /// The index of the endpoint that is next among those that are usable; `None`: none is.
    fn pick(&mut self, usable: &dyn Fn(usize) -> bool) -> Option<usize>;
}

impl Balance {
    /// The policy over endpoints with these weights, each above 0, beginning at the first.
    pub fn over(self, weights: &[u32]) -> Box<dyn Balancer> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new(weights)),
        }
    }
}
