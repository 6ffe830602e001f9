//! Envoy v3 bootstrap files become a [`crate::config::Config`].
