//! What became of the choices of a fault.

use crate::event::{Connection, Hit, Hop, Id};

/// Counts of one fault, over the primary's requests; of a fault of connections, over the primary's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulted {
    /// The fault.
    pub id: Id,
    /// Requests that it was drawn for.
    pub considered: u64,
    /// Those that it chose.
    pub chosen: u64,
    /// Of those: done.
    pub applied: u64,
    /// Of those: an earlier terminal fault ended the request.
    pub superseded: u64,
    /// Of those: too many were suffering it.
    pub capped: u64,
    /// Of those: the client left before it was done.
    pub abandoned: u64,
}

impl Faulted {
    pub(super) fn new(id: &Id) -> Self {
        Self {
            id: id.clone(),
            considered: 0,
            chosen: 0,
            applied: 0,
            superseded: 0,
            capped: 0,
            abandoned: 0,
        }
    }

    pub(super) fn add(&mut self, hop: &Hop) {
        self.count(&hop.considered, &hop.hits);
    }

    pub(super) fn add_connection(&mut self, connection: &Connection) {
        self.count(&connection.considered, &connection.hits);
    }

    fn count(&mut self, considered: &[Id], hits: &[Hit]) {
        self.considered += considered.iter().filter(|id| **id == self.id).count() as u64;
        for hit in hits.iter().filter(|hit| hit.fault == self.id) {
            self.chosen += 1;
            match hit.effect {
                "applied" => self.applied += 1,
                "superseded" => self.superseded += 1,
                "capped" => self.capped += 1,
                _ => self.abandoned += 1,
            }
        }
    }
}
