//! Comparison of two runs.
