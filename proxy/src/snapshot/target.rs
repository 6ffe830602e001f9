//! Where requests are sent: clusters by weight, by name or by a header.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Passed, headers::Level};
use crate::{draw::Draw, policy::balance::subset::Metadata};

/// The clusters of a route.
#[derive(Debug)]
pub struct Targets {
    pub(super) all: Vec<Target>,
    pub(super) total: u64,
    pub(super) choice: Draw,
    pub(super) choice_header: Option<HeaderName>,
}

/// One of them.
#[derive(Debug)]
pub struct Target {
    /// Which.
    pub cluster: Choice,
    /// Its part of the sum.
    pub(super) weight: u32,
    /// What is done to headers.
    pub level: Option<Arc<Level>>,
    /// Replaces the host.
    pub host: Option<HeaderValue>,
    /// What is asked for of endpoints' metadata; the route's is in it.
    pub metadata: Option<Metadata>,
    /// What its requests pass in place of what the route's do.
    pub passed: Option<Box<Passed>>,
}

/// How a cluster is chosen.
#[derive(Debug)]
pub enum Choice {
    /// This one, by its index; `None`: there is none of its name.
    Fixed(Option<usize>),
    /// The one that this header names.
    Header(HeaderName),
}

impl Targets {
    /// The place of the one that the request goes to: a draw by its ordinal where there are several, or what its header
    /// says.
    pub fn choose(&self, ordinal: u64, headers: &HeaderMap) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        let said = self.choice_header.as_ref().and_then(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            value.parse::<u64>().ok()
        });
        let mut left = match said {
            Some(said) => said % self.total.max(1),
            None => (self.choice.unit_of(&ordinal.to_le_bytes()) * self.total as f64) as u64,
        };
        for (at, target) in self.all.iter().enumerate() {
            match left.checked_sub(u64::from(target.weight)) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<&Target> {
        self.all.get(at)
    }
}
