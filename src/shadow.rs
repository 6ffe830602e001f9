//! Compares the answers of a primary and a shadow. Pure.
