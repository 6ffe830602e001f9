//! The immutable compiled configuration, swapped as one pointer.
