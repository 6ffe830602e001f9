//! Header compression (RFC 7541). What is sent is not packed by Huffman's code: packing and unpacking it would cost two
//! processors more than the bytes that it saves cost the wire; whatever comes again is an index of one byte anyway.

mod decode;
mod encode;
mod huffman;
mod statics;

use http::HeaderName;

pub use decode::{Decoder, Field, Read, Undecodable, Value};
pub use encode::Encoder;

/// What an entry of a table counts besides its name and value (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// A table's size until something else is said (RFC 9113 §6.5.2).
pub const TABLE: usize = 4 << 10;

/// Whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `:authority`.
    Authority,
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:protocol` (RFC 8441).
    Protocol,
    /// `:scheme`.
    Scheme,
    /// `:status`.
    Status,
    /// A header.
    Header(HeaderName),
    /// None that there may be, of so many bytes.
    Bad(usize),
}
