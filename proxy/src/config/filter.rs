//! What requests pass between their route and the cluster: the HTTP filters, in the order of the file.

use crate::unit::ByteSize;

/// An HTTP filter that is switched on.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Here requests meet the faults of their route, or of the manager. Where no filter says so, they meet them first.
    Faults,
    /// The request goes on when all of it has come; a longer body is answered 413.
    Buffer(ByteSize),
}
