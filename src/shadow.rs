//! Compares the answers of a primary and a shadow. Pure.

/// How answers are compared.
#[derive(Debug, Clone, Default)]
pub struct Rules {}
