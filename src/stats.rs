//! The statistics of comparison. Pure.

pub mod histogram;
pub mod proportion;
pub mod quantile;
