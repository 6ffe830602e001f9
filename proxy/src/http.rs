//! The HTTP pipeline.
