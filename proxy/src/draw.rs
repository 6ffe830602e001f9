//! Reproducible chance.
