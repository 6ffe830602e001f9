//! The statistics of comparison. Pure.
