//! Counts of requests: how many, how they were answered, what was done to them.

use std::collections::BTreeMap;

use crate::event::{Flags, Hop, Request, Served};

/// Counts of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Requests that reached the service's own sidecar, retries included.
    pub attempts: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Errors, as the scenario defines them.
    pub errors: u64,
    /// Bytes of the answers' bodies.
    pub bytes: u64,
    /// Answers by status; 0: none came.
    pub status: BTreeMap<u16, u64>,
    /// Requests by response flag.
    pub flags: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Requests with this flag; one flag, not several.
    pub fn flagged(&self, flag: Flags) -> u64 {
        flag.names().filter_map(|name| self.flags.get(name)).sum()
    }

    /// Adds all that the other counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.errors += other.errors;
        self.bytes += other.bytes;
        for (status, count) in &other.status {
            *self.status.entry(*status).or_default() += count;
        }
        for (flag, count) in &other.flags {
            *self.flags.entry(flag).or_default() += count;
        }
    }

    /// A request as the generator saw it.
    pub(super) fn add_request(&mut self, request: &Request, error: bool) {
        self.requests += 1;
        self.errors += u64::from(error);
        self.bytes += request.bytes_in;
        *self.status.entry(request.status.unwrap_or(0)).or_default() += 1;
    }

    /// Requests that were counted where they passed.
    pub(super) fn add_served(&mut self, served: &Served) {
        self.requests += served.requests;
        self.errors += served.errors;
        self.bytes += served.bytes;
        for (status, count) in &served.status {
            *self.status.entry(*status).or_default() += count;
        }
    }

    /// A request as its caller's sidecar saw it.
    pub(super) fn add_hop(&mut self, hop: &Hop, error: bool) {
        self.requests += 1;
        self.errors += u64::from(error);
        self.bytes += hop.bytes_out;
        *self.status.entry(hop.status.unwrap_or(0)).or_default() += 1;
        self.add_flags(hop);
    }

    /// What only the caller's sidecar knows: its flags and its tries.
    pub(super) fn add_flags(&mut self, hop: &Hop) {
        self.retries += hop.attempts.len().saturating_sub(1) as u64;
        for flag in hop.flags.names() {
            *self.flags.entry(flag).or_default() += 1;
        }
    }
}
